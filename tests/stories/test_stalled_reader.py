"""A client that stops reading: it costs nobody anything, and loses nothing itself."""

from __future__ import annotations

import asyncio
import contextlib
import statistics
from typing import TYPE_CHECKING

import grpc
import pytest

from coreason.foundry.v1 import draft_pb2, lock_pb2, session_command_pb2, session_event_pb2
from foundry.client import LockHeld
from tests.stories.log_replay import verified_replay
from tests.stories.raw import RawStream, pause
from tests.support import project_with

if TYPE_CHECKING:
    from coreason.foundry.v1.session_pb2 import ServerEvent
    from foundry.client import HeldLock, Session
    from tests.stories.processes import ServerProcess

STALL_S = 30.0
FIELD = "scratchpad"
#: Entries are as big as they get: 64 changed fields with the longest names, about 28 KiB.
NAMES = [f"{'long/' * 39}{number:03}" for number in range(64)]
SAVES_WARM = 60
#: At least 11 MiB: more than the ring (4 MiB), a replay (1 MiB) and the transport to the sleeper hold together.
SAVES_MIN, SAVE_EVERY_S = 400, 0.05
#: A connection of its own, whose window does not grow with what the reader once took.
SLEEPERS_CHANNEL = [("grpc.use_local_subchannel_pool", 1), ("grpc.http2.bdp_probe", 0)]


class Writer:
    """Saves all its fields at once, again and again, and measures how long each save takes."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._locks: list[HeldLock] = []
        self._version = 0

    async def begin(self) -> None:
        """Take all locks."""
        self._locks = [await self._session.acquire(name) for name in NAMES]

    async def save(self) -> float:
        """Save once; returns the seconds it took."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        saved = await self._session.save(
            {name: f"{name} {self._version}" for name in NAMES},
            base_version=self._version,
            locks=self._locks,
            keep_locks=True,
        )
        self._version = saved.draft.version_number
        return loop.time() - began


@pytest.mark.slow
async def test_a_client_that_stops_reading_costs_the_others_nothing_and_keeps_its_lock(served: ServerProcess) -> None:
    """Half a minute without reading, while more is written than all buffers on the way hold.

    The others' saves take as long as before and nobody else is resynchronised; the lock stays. When the client reads
    again it finds the entries in order up to a ``resync``, a snapshot that is the truth, and its lock in it.
    """
    token = await served.token("sleeper")
    async with (
        await served.connect("alice") as alice,
        grpc.aio.insecure_channel(served.address, options=SLEEPERS_CHANNEL) as channel,
    ):
        project_id = await project_with(alice, "sleeper")
        async with alice.session(project_id) as hers, alice.session(project_id) as watching:
            sleeper = RawStream(channel, token)
            await sleeper.open(project_id)
            acquired = await sleeper.ask(acquire_lock=session_command_pb2.SessionAcquireLock(field=FIELD))
            writer, events = Writer(hers), watching.events()
            await writer.begin()
            await sleeper.until(lambda event: event.entry.lock_acquired.field == NAMES[-1])
            before = [await writer.save() for _ in range(SAVES_WARM)]
            await sleeper.until(lambda event: event.entry.draft_created.version_number == SAVES_WARM)

            during = await _save_while_nobody_reads(writer, sleeper, watching)
            last = SAVES_WARM + len(during)
            slow, usual = statistics.median(during), statistics.median(before)
            figures = f"{usual * 1000:.1f} ms, {slow * 1000:.1f} ms over {len(during)} saves nobody reads on one side"
            print(f"\np50 of a save: {figures}")  # noqa: T201 - a figure for the reader
            assert slow < 3 * usual + 0.5  # being held up would cost seconds
            await _saw_everything(events, last)

            await _comes_back(sleeper, acquired.acquired.lock, last)
            assert (await verified_replay(alice, project_id)).head_version == last + 1
        sleeper.drop()


async def _save_while_nobody_reads(writer: Writer, sleeper: RawStream, other: Session) -> list[float]:
    """Save for half a minute; the sleeper sends its heartbeats all the while, and nobody gets its lock."""

    async def beat() -> None:
        while True:
            await sleeper.send(heartbeat=session_command_pb2.Heartbeat())
            await pause(3.0)

    taken: list[float] = []
    beating = asyncio.create_task(beat())
    loop = asyncio.get_running_loop()
    over = loop.time() + STALL_S
    while loop.time() < over or len(taken) < SAVES_MIN:
        taken.append(await writer.save())
        await pause(max(0.0, SAVE_EVERY_S - taken[-1]))
    with pytest.raises(LockHeld) as refusal:
        await other.acquire(FIELD)
    assert refusal.value.session_id == sleeper.session_id
    beating.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await beating
    return taken


async def _saw_everything(events: object, last: int) -> None:
    """Whoever did read saw each version once, in order, without a resync."""
    seen = 0
    async for event in events:  # type: ignore[attr-defined]
        assert not event.HasField("resync")
        if event.entry.HasField("draft_created"):
            seen += 1
            assert event.entry.draft_created.version_number == seen
        if seen == last:
            return


async def _comes_back(sleeper: RawStream, lock: lock_pb2.Lock, last: int) -> None:
    """In order up to the resync, then a snapshot as of now with the lock still held; and the lock still writes."""
    since = len(sleeper.seen)
    resync = await sleeper.until(lambda event: event.HasField("resync") or _version(event) == last, since=since)
    assert resync.HasField("resync"), "the buffers held everything: nothing was put to the test"
    assert resync.resync.reason == session_event_pb2.RESYNC_REASON_SLOW_READER
    versions = [_version(event) for event in sleeper.seen if event.entry.HasField("draft_created")]
    assert versions == list(range(1, len(versions) + 1))
    assert SAVES_WARM < len(versions) < last
    page = (await sleeper.until(lambda event: event.snapshot.last, since=since)).snapshot
    (held,) = [held for held in page.locks if held.field == FIELD]
    assert (held.lock_id, held.fencing_token) == (lock.lock_id, lock.fencing_token)
    assert page.project.head_version == last
    await sleeper.until(lambda event: event.HasField("caught_up"), since=since)

    token = lock_pb2.LockToken(field=FIELD, fencing_token=lock.fencing_token)
    change = draft_pb2.FieldChange(field=FIELD, text="I slept.")
    reply = await sleeper.ask(
        create_draft=draft_pb2.CreateDraftRequest(changes=[change], base_version=last, locks=[token])
    )
    assert reply.saved.draft.version_number == last + 1


def _version(event: ServerEvent) -> int:
    return event.entry.draft_created.version_number
