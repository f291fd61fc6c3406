"""Story A, the locked edit: one person holds the pen, everybody sees who, and nobody else can write."""

from __future__ import annotations

import time
from typing import Final

from foundry.cli.demo.actor import Actor
from foundry.cli.demo.cast import ALICE, BOB
from foundry.cli.demo.play import Story, expect, step
from foundry.cli.demo.stage import Stage
from foundry.cli.exit_codes import ExitCode

PROMPT: Final = "system_prompt"
#: Some hundredths of a second; a machine that is busy with other things takes longer.
_FREE_AFTER_S: Final = 5.0


@step("Alice clicks into the system prompt, and the server grants her the lock.")
async def _alice_acquires(stage: Stage) -> None:
    stage.transcript.does(ALICE, "clicks into the system prompt")
    reply = await stage.actor(ALICE).do("acquire", field=PROMPT, purpose="inclusion criteria")
    expect(not reply.reason, f"it was refused: {reply.message}")
    lock = reply.result["lock"]
    expect(lock["holder"]["subject"] == "alice", f"the holder is {lock['holder']['subject']}")
    stage.transcript.sees(ALICE, f"lock granted, fencing token {lock['fencing_token']}")


@step("Bob is told LOCK_ACQUIRED with Alice's name: his box turns grey.")
async def _bob_sees_it(stage: Stage) -> None:
    entry = await stage.actor(BOB).sees("lock_acquired", field=PROMPT)
    expect(entry["actor"]["display_name"] == ALICE.name, f"the name is {entry['actor']['display_name']!r}")
    stage.transcript.sees(BOB, f"system_prompt [read-only]  Being edited by {entry['actor']['display_name']}")


@step("Bob's own acquire is denied, naming Alice.")
async def _bob_is_denied(stage: Stage) -> None:
    stage.transcript.does(BOB, "clicks into the system prompt all the same")
    reply = await stage.actor(BOB).do("acquire", field=PROMPT)
    expect(reply.reason == "LOCK_HELD", f"the answer is {reply.reason or 'a grant'}")
    expect(reply.metadata.get("holder_name") == ALICE.name, f"it names {reply.metadata.get('holder_name')!r}")
    stage.transcript.sees(BOB, f"LOCK_HELD: {reply.message}")


@step("Bob cannot save past the lock, neither in his session nor from a script.")
async def _bob_cannot_save(stage: Stage) -> None:
    stage.transcript.does(BOB, "saves without the lock")
    reply = await stage.actor(BOB).do("save", field=PROMPT, text="Bob was here.")
    expect(reply.reason == "LOCK_REQUIRED", f"the answer is {reply.reason or 'a new version'}")
    stage.transcript.sees(BOB, f"LOCK_REQUIRED: {reply.message}")
    stage.transcript.does(BOB, f"foundry draft save PROJECT {PROMPT}='Bob was here.'")
    ran = await stage.run(BOB, "draft", "save", stage.project_id, f"{PROMPT}=Bob was here.")
    expect(ran.exit_code == ExitCode.HELD, f"the exit code is {ran.exit_code}")
    expect(ran.error["metadata"].get("holder_name") == ALICE.name, f"it says {ran.error['message']}")
    stage.transcript.sees(BOB, f"exit code {ran.exit_code}: {ran.error['message']}")
    head = (await stage.actor(BOB).do("read", field=PROMPT)).result["version"]
    expect(head == 1, f"the head is version {head}")


@step("Alice saves: version 2, and her lock is released with it.")
async def _alice_saves(stage: Stage) -> None:
    version = await save_edit(stage, stage.actor(ALICE), 2, acquired=True)
    expect(version == 2, f"it is version {version}")  # noqa: PLR2004 - the story says which


@step("Bob is told DRAFT_CREATED and LOCK_RELEASED: his box unlocks.")
async def _bob_is_unlocked(stage: Stage) -> None:
    bob = stage.actor(BOB)
    created = await bob.sees("draft_created", version_number=2)
    expect(created["actor"]["subject"] == "alice", f"the author is {created['actor']['subject']}")
    released = await bob.sees("lock_released", field=PROMPT)
    reason = released["lock_released"]["release_reason"]
    expect(reason == "LOCK_RELEASE_REASON_SAVE", f"the reason is {reason}")
    expect(released["lock_released"]["holder"] == "alice", "another's lock was released")
    stage.transcript.sees(BOB, f"version 2 by {created['actor']['display_name']}; system_prompt [free]")


@step("Bob clicks again, and now the lock is his.")
async def _bob_acquires(stage: Stage) -> None:
    stage.transcript.does(BOB, "clicks into the system prompt")
    reply = await stage.actor(BOB).do("acquire", field=PROMPT, purpose="output example")
    expect(not reply.reason, f"it was refused: {reply.message}")
    expect(reply.result["field_version"] == 2, "he was not told that the text is of version 2")  # noqa: PLR2004 - same
    stage.transcript.sees(BOB, f"lock granted, fencing token {reply.result['lock']['fencing_token']}")


@step("Bob's program is killed (SIGKILL) while it holds the lock, and the field is free at once.")
async def _bob_is_killed(stage: Stage) -> None:
    stage.transcript.does(BOB, "kill -9: his program dies with the lock in its hand")
    before = time.monotonic()
    await stage.actor(BOB).die()
    entry = await stage.actor(ALICE).sees("lock_released", field=PROMPT, holder="bob")
    took_s = time.monotonic() - before
    reason = entry["lock_released"]["release_reason"]
    expect(reason == "LOCK_RELEASE_REASON_STREAM_GONE", f"the reason is {reason}")
    expect(took_s < _FREE_AFTER_S, f"it took {took_s:.1f} s")
    stage.transcript.sees(ALICE, f"system_prompt [free], stream gone, after {took_s * 1000:.0f} ms")


@step("Alice takes the field over and goes on: version 3.")
async def _alice_goes_on(stage: Stage) -> None:
    version = await save_edit(stage, stage.actor(ALICE), 3)
    expect(version == 3, f"it is version {version}")  # noqa: PLR2004 - the story says which


async def save_edit(stage: Stage, actor: Actor, version: int, *, acquired: bool = False) -> int:
    """Have somebody make an edit of the example in their session and return the version it became."""
    edit = stage.example.edit(version)
    if not acquired:
        reply = await actor.do("acquire", field=edit.field, purpose=edit.message)
        expect(not reply.reason, f"{edit.field} was refused: {reply.message}")
    now = await actor.do("read", field=edit.field)
    text = edit.apply(now.result["text"])
    reply = await actor.do("save", field=edit.field, text=text, message=edit.message)
    expect(not reply.reason, f"the save was refused: {reply.message}")
    released = [lock["field"] for lock in reply.result["released_locks"]]
    expect(released == [edit.field], f"the save released {released}")
    number: int = reply.result["draft"]["version_number"]
    stage.transcript.does(actor.person, f"saves {edit.field}, version {number}: {edit.message}")
    return number


STORY_A = Story(
    "Story A: the locked edit",
    (
        _alice_acquires,
        _bob_sees_it,
        _bob_is_denied,
        _bob_cannot_save,
        _alice_saves,
        _bob_is_unlocked,
        _bob_acquires,
        _bob_is_killed,
        _alice_goes_on,
    ),
)
