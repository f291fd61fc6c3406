"""Story C, the rollback: a version breaks the agent, and the one before comes back without losing anything."""

from __future__ import annotations

from typing import Final

from rich.text import Text

from foundry.cli.demo.actor import Actor
from foundry.cli.demo.cast import ALICE, BOB, SRE
from foundry.cli.demo.example import json_problem
from foundry.cli.demo.play import Story, expect, step
from foundry.cli.demo.stage import Stage
from foundry.cli.demo.story_a import PROMPT, save_edit
from foundry.cli.demo.story_talk import LINE
from foundry.cli.diff import delta_lines

GOOD: Final = 14
BAD: Final = 15
BACK: Final = 16


@step("Alice and Bob work on, field by field, up to version 14.")
async def _work_on(stage: Stage) -> None:
    for version in range(4, GOOD + 1):
        number = await save_edit(stage, _author(stage, version), version)
        expect(number == version, f"version {version} became {number}")
    good = await stage.read(PROMPT, GOOD)
    expect(not json_problem(good["text"]), "the JSON example of version 14 is broken already")


@step("Bob saves version 15, and the JSON example in the prompt is broken.")
async def _break_it(stage: Stage) -> None:
    number = await save_edit(stage, _author(stage, BAD), BAD)
    expect(number == BAD, f"it is version {number}")
    bad = await stage.read(PROMPT, BAD)
    problem = json_problem(bad["text"])
    expect(problem, "the JSON example is whole")
    stage.transcript.sees(BOB, f"the agent's answers do not parse any more: {problem}")


@step("Sam opens the history: 15 versions without a gap, each with its author.")
async def _history(stage: Stage) -> None:
    stage.transcript.does(SRE, "foundry draft history PROJECT")
    drafts = (await stage.run(SRE, "draft", "history", stage.project_id)).results
    numbers = [draft["version_number"] for draft in drafts]
    expect(numbers == list(range(BAD, 0, -1)), f"the versions are {numbers}")
    for draft in drafts[:3]:
        stage.transcript.sees(SRE, f"{draft['version_number']}  {draft['author']['display_name']}  {draft['message']}")
    authors = {draft["version_number"]: draft["author"]["subject"] for draft in drafts}
    expect(all(authors[edit.version] == edit.author for edit in stage.example.edits), f"the authors are {authors}")


@step("The difference from 14 to 15 shows the error: a comma is gone.")
async def _diff(stage: Stage) -> None:
    stage.transcript.does(SRE, f"foundry draft diff PROJECT {GOOD} {BAD}")
    delta = (await stage.run(SRE, "draft", "diff", stage.project_id, str(GOOD), str(BAD))).result
    stage.transcript.exhibit(Text("\n").join(delta_lines(delta["unified"])))
    edit = stage.example.edit(BAD)
    removed = [line[1:] for line in delta["unified"].splitlines() if line.startswith("-") and line[:3] != "---"]
    expect(delta["field"] == PROMPT, f"{delta['field']} differs")
    expect(removed == edit.find.splitlines(), f"the removed lines are {removed}")


@step("Sam reverts to version 14: version 16 is there, and its content has the hash of 14.")
async def _revert(stage: Stage) -> None:
    stage.transcript.does(SRE, f"foundry draft revert PROJECT {GOOD}")
    args = (stage.project_id, str(GOOD), "-m", "Version 15 broke the JSON example.")
    saved = (await stage.run(SRE, "draft", "revert", *args)).result["draft"]
    good = await stage.read(PROMPT, GOOD)
    expect(saved["version_number"] == BACK, f"it is version {saved['version_number']}")
    expect(saved["origin"] == "DRAFT_ORIGIN_REVERT", f"its origin is {saved['origin']}")
    expect(saved["source_version"] == GOOD, f"its source is {saved['source_version']}")
    expect(saved["content_sha256"] == good["content_sha256"], "the hashes differ")
    stage.transcript.sees(SRE, f"version {BACK}, back to {GOOD}, content {saved['content_sha256'][:12]} as in {GOOD}")


@step("Alice and Bob see version 16 at once, on their screens.")
async def _everybody_sees(stage: Stage) -> None:
    for person in (ALICE, BOB):
        entry = await stage.actor(person).sees("draft_created", version_number=BACK)
        stage.transcript.sees(person, f"version {BACK} by {entry['actor']['display_name']}, back to {GOOD}")


@step("Nothing is lost: 15 can still be read and is still broken, and 16 is whole.")
async def _nothing_is_lost(stage: Stage) -> None:
    good, bad, back = [(await stage.read(PROMPT, version))["text"] for version in (GOOD, BAD, BACK)]
    expect(json_problem(bad), "version 15 is not what it was")
    expect(not json_problem(back), f"the JSON example of version 16 is broken: {json_problem(back)}")
    expect(back == good, "the prompt of 16 is not that of 14, byte for byte")
    stage.transcript.sees(SRE, f"version {BAD}: {len(bad.encode())} bytes, with the mistake")


@step("Bob's comment is where it belongs: at its line of version 16, though other lines came before it.")
async def _the_comment_moved(stage: Stage) -> None:
    comment = (await stage.actor(ALICE).do("comment_of", comment_id=stage.comment_id)).result
    was, now = comment["anchor"], comment["resolved_anchor"]
    lines = (await stage.read(PROMPT, BACK))["text"].splitlines()
    expect(now["version_number"] == BACK, f"it is in version {now['version_number']}")
    expect(now["start_line"] > was["start_line"], f"it is at line {now['start_line']}, it was at {was['start_line']}")
    line = lines[now["start_line"] - 1]
    expect(line == LINE, f"it is at {line!r}")
    stage.transcript.sees(
        ALICE, f"{PROMPT}:{was['start_line']} at {was['version_number']}, now {now['start_line']}: {line}"
    )


def _author(stage: Stage, version: int) -> Actor:
    return stage.actors[stage.example.edit(version).author]


STORY_C = Story(
    "Story C: the rollback",
    (_work_on, _break_it, _history, _diff, _revert, _everybody_sees, _nothing_is_lost, _the_comment_moved),
)
