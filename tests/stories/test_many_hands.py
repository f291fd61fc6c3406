"""Many sessions on one project: who wins, and that nobody loses anything."""

from __future__ import annotations

import asyncio
import hashlib
from typing import TYPE_CHECKING

from coreason.foundry.v1 import draft_pb2, session_command_pb2
from coreason.foundry.v1.session_event_pb2 import Reply
from foundry.client import LockHeld
from tests.stories.log_replay import check_chain, read_log, verified_replay
from tests.stories.raw import RawStream
from tests.support import project_with

if TYPE_CHECKING:
    from coreason.foundry.v1.lock_pb2 import Lock
    from foundry.client import Foundry
    from tests.support import RunningServer

FIELD = "system_prompt"
SAVES_EACH = 500
RACERS = 16
RACES = 1_000


async def test_two_fields_saved_alternately_by_two_sessions_lose_nothing(server: RunningServer) -> None:
    """Two people each save their own field 500 times at the same time: 1,000 versions and no refusal.

    Every version changes one field and leaves the other one as it was.
    """
    async with server.connect("alice") as alice, server.connect("bob") as bob:
        project_id = await project_with(alice, "bob")
        async with (
            alice.session(project_id) as hers,
            bob.session(project_id) as his,
            hers.lock("system_prompt") as prompt,
            his.lock("notes") as notes,
        ):
            for count in range(SAVES_EACH):
                await asyncio.gather(prompt.save(f"prompt {count}", keep=True), notes.save(f"notes {count}", keep=True))
        replayed = await verified_replay(alice, project_id)
        assert replayed.head_version == 2 * SAVES_EACH
        assert replayed.fences == {"system_prompt": 1, "notes": 1}
        await _each_version_changed_one_field(alice, project_id)


async def _each_version_changed_one_field(alice: Foundry, project_id: str) -> None:
    drafts: list[draft_pb2.Draft] = []
    for start in range(1, 2 * SAVES_EACH + 1, 50):
        reads = [alice.drafts.get(project_id, version, omit_content=True) for version in range(start, start + 50)]
        drafts += await asyncio.gather(*reads)
    counts, before = {"system_prompt": 0, "notes": 0}, dict[str, str]()
    for draft in drafts:
        (change,) = draft.changed_fields
        text = f"{'prompt' if change.field == 'system_prompt' else 'notes'} {counts[change.field]}"
        counts[change.field] += 1
        after = {**before, change.field: hashlib.sha256(text.encode()).hexdigest()}
        assert {value.name: value.sha256 for value in draft.fields} == after
        before = after
    assert set(counts.values()) == {SAVES_EACH}


async def test_a_thousand_races_for_one_field_have_one_winner_each(server: RunningServer) -> None:
    """Sixteen sessions ask for a field at once, a thousand times over: one gets it, all others learn who.

    Fences rise by one from 1 to 1,000, and the log alternates between acquired and released.
    """
    async with server.connect("alice") as alice, server.channel() as channel:
        project_id = await project_with(alice)
        racers = [RawStream(channel, server.token("alice")) for _ in range(RACERS)]
        for racer in racers:
            await racer.open(project_id)
        winners = [await _race(racers[race % RACERS :] + racers[: race % RACERS]) for race in range(RACES)]
        assert [lock.fencing_token for lock in winners] == list(range(1, RACES + 1))
        assert len({lock.session_id for lock in winners}) == RACERS, "it is always the same that win: nothing raced"
        entries = await read_log(alice, project_id)
        check_chain(entries)
        arms = [entry.WhichOneof("payload") for entry in entries]
        assert [arm for arm in arms if arm in {"lock_acquired", "lock_released"}] == [
            "lock_acquired",
            "lock_released",
        ] * RACES
        assert (await verified_replay(alice, project_id)).fences == {FIELD: RACES}
        for racer in racers:
            racer.drop()


async def _race(racers: list[RawStream]) -> Lock:
    """All ask at once; the one that wins is named to all others, and gives the lock back."""
    ask = session_command_pb2.SessionAcquireLock(field=FIELD)
    answers = await asyncio.gather(*(racer.ask(acquire_lock=ask) for racer in racers), return_exceptions=True)
    ((winner, won),) = [
        (racer, answer) for racer, answer in zip(racers, answers, strict=True) if isinstance(answer, Reply)
    ]
    lock = won.acquired.lock
    assert lock.session_id == winner.session_id
    for answer in answers:
        if answer is not won:
            assert isinstance(answer, LockHeld), answer
            assert (answer.session_id, answer.metadata["fencing_token"]) == (lock.session_id, str(lock.fencing_token))
    release = session_command_pb2.SessionReleaseLock(field=FIELD, fencing_token=lock.fencing_token)
    await winner.ask(release_lock=release)
    return lock
