"""Between the stories: people point at lines, and set each other tasks."""

from __future__ import annotations

from typing import Final

from foundry.cli.demo.cast import ALICE, BOB
from foundry.cli.demo.play import Story, expect, step
from foundry.cli.demo.stage import Stage
from foundry.cli.demo.story_a import PROMPT

LINE: Final = "E4  Another malignancy within the last 3 years."
_QUESTION: Final = "Basal cell carcinoma as well? The protocol excepts it."
_TASK: Final = "Ask the sponsor about skin tumours"


@step("Bob comments on a line of the prompt, and Alice has his words at once.")
async def _comment(stage: Stage) -> None:
    alice, bob = stage.actor(ALICE), stage.actor(BOB)
    lines = (await bob.do("read", field=PROMPT)).result["text"].splitlines()
    number = lines.index(LINE) + 1
    stage.transcript.does(BOB, f"comments on {PROMPT}:{number}")
    reply = await bob.do("comment", field=PROMPT, first=str(number), last=str(number), text=_QUESTION)
    expect(not reply.reason, f"it was refused: {reply.message}")
    stage.comment_id = reply.result["comment_id"]
    entry = await alice.sees("comment_created", comment_id=stage.comment_id)
    place = entry["comment_created"]
    expect((place["field"], place["start_line"]) == (PROMPT, number), f"it is on {place}")
    comment = (await alice.do("comment_of", comment_id=stage.comment_id)).result
    expect(comment["text"] == _QUESTION, f"it says {comment['text']!r}")
    expect(comment["anchor"]["quote"] == LINE, f"it is about {comment['anchor']['quote']!r}")
    who = entry["actor"]["display_name"]
    stage.transcript.sees(ALICE, f"{who} on {PROMPT}:{number} \u201c{LINE}\u201d: {comment['text']}")


@step("Alice makes a task of it for Bob; he ticks it off, and she sees the tick.")
async def _task(stage: Stage) -> None:
    alice, bob = stage.actor(ALICE), stage.actor(BOB)
    task = (await alice.do("task", text=_TASK, assignee=BOB.subject)).result
    entry = await bob.sees("comment_created", comment_id=task["comment_id"])
    expect(entry["comment_created"]["assignee"] == BOB.subject, "it is somebody else's")
    stage.transcript.sees(BOB, f"[ ] {_TASK}")
    done = await bob.do("done", comment_id=task["comment_id"])
    expect(not done.reason, f"it was refused: {done.message}")
    changed = await alice.sees("comment_state_changed", comment_id=task["comment_id"])
    after = changed["comment_state_changed"]["after"]
    expect(after == "COMMENT_STATE_DONE", f"it is {after}")
    stage.transcript.sees(ALICE, f"[x] {_TASK}, by {changed['actor']['display_name']}")


STORY_TALK = Story("In between: a question and a task", (_comment, _task))
