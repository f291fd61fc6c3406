"""A lock that nobody touches is warned about, then released; by the clock of the test, on a real database."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path

import pytest

from coreason.foundry.v1 import session_event_pb2, session_pb2
from foundry.domain.entry import Event
from foundry.domain.errors import Unavailable
from foundry.domain.lock import Lock
from foundry.managers.live import LiveSession
from tests.managers.workspace import ALICE, BOB, LIVENESS, Workspace, opened
from tests.support import soon

LIMIT_S, WARNING_S = LIVENESS.idle_limit_s, LIVENESS.idle_warning_s


@pytest.fixture
async def workspace(tmp_path: Path) -> AsyncIterator[Workspace]:
    async with opened(tmp_path) as made:
        yield made


@pytest.fixture
async def stream(workspace: Workspace) -> LiveSession:
    """Alice's stream in a new project."""
    return await workspace.stream(await workspace.project(ALICE, BOB))


async def warnings(stream: LiveSession) -> list[str]:
    """Fields that the stream was warned about since the last time."""
    stream.send(
        session_pb2.ProjectSessionResponse(
            events=[session_pb2.ServerEvent(tick=session_event_pb2.Tick())]
        ).SerializeToString()
    )
    warned: list[str] = []
    while True:
        data = await soon(stream.take())
        for event in session_pb2.ProjectSessionResponse.FromString(data).events:
            if event.WhichOneof("event") == "tick":
                return warned
            if event.WhichOneof("event") == "idle_warning":
                warned.append(event.idle_warning.lock.field)


async def held(workspace: Workspace, lock: Lock) -> bool:
    """Whether the grant still stands."""
    locks = await workspace.locks.list_locks(ALICE, lock.project_id, "", 100)
    return lock.lock_id in {other.lock_id for other in locks}


def releases(workspace: Workspace) -> list[tuple[object, object, str]]:
    """Field, reason and actor of every release."""
    return [
        (entry.new.data["field"], entry.new.data["release_reason"], entry.new.actor.subject)
        for entry in workspace.committed
        if entry.new.event is Event.LOCK_RELEASED
    ]


async def test_a_warning_comes_before_the_release_and_once(workspace: Workspace, stream: LiveSession) -> None:
    """Nothing before 13 minutes, one warning from there on, released at 15, by the server and as idle."""
    lock = await workspace.lock(stream.session, "topology")
    workspace.clock.advance(LIMIT_S - WARNING_S - 1)
    await workspace.idle.look()
    assert await warnings(stream) == []
    workspace.clock.advance(2)
    await workspace.idle.look()
    await workspace.idle.look()
    assert await warnings(stream) == ["topology"]
    workspace.clock.advance(WARNING_S - 2)
    await workspace.idle.look()
    assert (await held(workspace, lock), releases(workspace)) == (True, [])
    workspace.clock.advance(1)
    await workspace.idle.look()
    assert not await held(workspace, lock)
    assert releases(workspace) == [("topology", "LOCK_RELEASE_REASON_IDLE", "system")]
    assert await warnings(stream) == []


async def test_after_an_outage_of_the_store_there_is_time_for_a_touch(
    workspace: Workspace, stream: LiveSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody could touch a lock meanwhile: whoever does it as soon as it is back keeps it, the others lose it later."""
    kept, forgotten = [await workspace.lock(stream.session, field) for field in ("kept", "forgotten")]
    asking = workspace.store.fields.expiring

    async def away(_: int) -> list[Lock]:
        raise Unavailable("away")

    monkeypatch.setattr(workspace.store.fields, "expiring", away)
    workspace.clock.advance(LIMIT_S + 1)
    with pytest.raises(Unavailable):
        await workspace.idle.look()
    monkeypatch.setattr(workspace.store.fields, "expiring", asking)
    await workspace.idle.look()
    assert releases(workspace) == []
    assert sorted(await warnings(stream)) == ["forgotten", "kept"]
    await workspace.locks.renew(ALICE, kept.project_id, kept.session_id, kept.field, kept.fencing_token)
    workspace.clock.advance(WARNING_S - 1)
    await workspace.idle.look()
    assert releases(workspace) == []
    workspace.clock.advance(1)
    await workspace.idle.look()
    assert (await held(workspace, kept), await held(workspace, forgotten)) == (True, False)


@pytest.mark.parametrize("touch", ["renew", "save"])
async def test_a_touch_puts_it_off(workspace: Workspace, stream: LiveSession, touch: str) -> None:
    """A renewal or a save that keeps the lock starts the time anew, and there is a new warning before its end."""
    lock = await workspace.lock(stream.session, "topology")
    workspace.clock.advance(LIMIT_S - 10)
    await workspace.idle.look()
    assert await warnings(stream) == ["topology"]
    if touch == "renew":
        await workspace.locks.renew(ALICE, lock.project_id, lock.session_id, "topology", lock.fencing_token)
    else:
        await workspace.save(lock, "{}", 0, keep=True)
    workspace.clock.advance(LIMIT_S - WARNING_S - 1)
    await workspace.idle.look()
    assert (await held(workspace, lock), await warnings(stream)) == (True, [])
    workspace.clock.advance(WARNING_S - 5)
    await workspace.idle.look()
    assert await warnings(stream) == ["topology"]
    workspace.clock.advance(6)
    await workspace.idle.look()
    assert not await held(workspace, lock)


async def test_only_what_is_idle_is_released(workspace: Workspace, stream: LiveSession) -> None:
    """Locks have their own times: an idle one ends, its neighbour of the same session and one elsewhere stay."""
    idle = await workspace.lock(stream.session, "topology")
    workspace.clock.advance(LIMIT_S / 2)
    other = await workspace.session(await workspace.project(BOB), BOB)
    kept = [await workspace.lock(stream.session, "system_prompt"), await workspace.lock(other, "topology", BOB)]
    workspace.clock.advance(LIMIT_S / 2 + 1)
    await workspace.idle.look()
    assert not await held(workspace, idle)
    assert await held(workspace, kept[0])
    await workspace.locks.release(BOB, other.project_id, other.session_id, "topology", kept[1].fencing_token)


async def test_a_holder_without_a_stream_is_released_too(workspace: Workspace) -> None:
    """Nobody to warn is no reason to keep a lock."""
    session = await workspace.session(await workspace.project())
    lock = await workspace.lock(session, "topology")
    workspace.clock.advance(LIMIT_S - 1)
    await workspace.idle.look()
    workspace.clock.advance(2)
    await workspace.idle.look()
    assert not await held(workspace, lock)


async def test_a_touch_that_wins_the_race_keeps_the_lock(workspace: Workspace, stream: LiveSession) -> None:
    """The release is decided on the row as it is then, not as the watch saw it."""
    seen = await workspace.lock(stream.session, "topology")
    workspace.clock.advance(LIMIT_S + 1)
    await workspace.locks.renew(ALICE, seen.project_id, seen.session_id, "topology", seen.fencing_token)
    assert await workspace.locks.release_idle(seen) is False
    assert await held(workspace, seen)


async def test_a_new_grant_is_not_released_for_the_old_one(workspace: Workspace, stream: LiveSession) -> None:
    """The watch saw a grant that ended meanwhile; the next holder's stands."""
    seen = await workspace.lock(stream.session, "topology")
    workspace.clock.advance(LIMIT_S + 1)
    await workspace.locks.release(ALICE, seen.project_id, seen.session_id, "topology", seen.fencing_token)
    newer = await workspace.lock(await workspace.session(seen.project_id, BOB), "topology", BOB)
    workspace.clock.advance(LIMIT_S + 1)
    assert await workspace.locks.release_idle(seen) is False
    assert await held(workspace, newer)


async def test_a_store_that_is_away_only_postpones(workspace: Workspace, stream: LiveSession, tmp_path: Path) -> None:
    """The release is tried again at the next look; the watch is not ended by it."""
    lock = await workspace.lock(stream.session, "topology")
    workspace.clock.advance(LIMIT_S + 1)
    workspace.database.connection.sql("PRAGMA busy_timeout = 1")
    with closing(sqlite3.connect(tmp_path / "foundry.sqlite3", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(Unavailable):
            await workspace.idle.look()
    assert await held(workspace, lock)
    released = asyncio.Event()
    workspace.feed.subscribe(lambda _: released.set())
    watching = asyncio.create_task(workspace.idle.run())
    await soon(released.wait())
    assert (await held(workspace, lock), watching.done()) == (False, False)
    watching.cancel()
    await asyncio.gather(watching, return_exceptions=True)
