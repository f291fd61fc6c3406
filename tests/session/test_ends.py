"""How a session ends when its client goes: cleanly, uncleanly, with a grace and without."""

from __future__ import annotations

import asyncio

import grpc
import pytest

from coreason.foundry.v1 import audit_pb2, lock_pb2, session_event_pb2
from foundry.client import Foundry, LockHeld, SessionClosed
from tests.session.tab import Refusal, Tab, Tabs, request, until_here
from tests.support import PATIENCE_S

LONG = {"seconds": 20}
SHORT = {"nanos": 300_000_000}


async def _go(tab: Tab, how: str) -> None:
    await {"cancel": tab.cancel, "half-close": tab.half_close, "connection lost": tab.vanish}[how]()


async def test_leave_releases_the_locks_and_ends_the_stream_well(tabs: Tabs, alice: Foundry, project: str) -> None:
    watcher, bob = await tabs.open("alice", project), await tabs.open("bob", project, disconnect_grace=LONG)
    got, second = await bob.acquire(), await bob.acquire("topology")
    assert await bob.leave() == Refusal(grpc.StatusCode.OK)
    # The stream ends after the session is closed: who sees its end may acquire.
    assert [lock async for lock in alice.locks.list(project)] == []
    for lock in (got.lock, second.lock):
        entry = await watcher.until_entry("lock_released", lock_id=lock.lock_id)
        assert entry.lock_released.release_reason == lock_pb2.LOCK_RELEASE_REASON_LEAVE
        assert entry.actor.subject == "bob"
    closed = await watcher.until_entry("session_closed", session_id=bob.session_id)
    assert closed.session_closed.close_reason == audit_pb2.SESSION_CLOSE_REASON_LEAVE


@pytest.mark.parametrize("how", ["cancel", "half-close", "connection lost"])
async def test_without_a_grace_every_other_end_releases_at_once(tabs: Tabs, project: str, how: str) -> None:
    """Released on disconnect: as STREAM_GONE, by the server, and the field can be had by whoever waits for it."""
    watcher, bob = await tabs.open("alice", project), await tabs.open("bob", project)
    got = await bob.acquire()
    await _go(bob, how)
    entry = await watcher.until_entry("lock_released", lock_id=got.lock.lock_id)
    assert entry.lock_released.release_reason == lock_pb2.LOCK_RELEASE_REASON_STREAM_GONE
    assert (entry.actor.subject, entry.lock_released.holder) == ("system", "bob")
    closed = await watcher.until_entry("session_closed", session_id=bob.session_id)
    assert closed.session_closed.close_reason == audit_pb2.SESSION_CLOSE_REASON_STREAM_GONE
    assert (await watcher.acquire()).lock.fencing_token == got.lock.fencing_token + 1


async def test_a_half_closed_stream_still_gets_the_answers_it_waits_for(tabs: Tabs, project: str) -> None:
    bob = await tabs.open("bob", project)
    await bob.send(request(9, acquire_lock={"field": "topology"}))
    await bob.half_close()
    reply = await bob.until(lambda event: event.reply.command_id == 9)
    assert reply.reply.acquired.lock.fencing_token == 1
    assert await bob.ended() == Refusal(grpc.StatusCode.OK)


@pytest.mark.parametrize("how", ["cancel", "half-close", "connection lost"])
async def test_a_grace_keeps_the_locks_for_the_session_alone(
    tabs: Tabs, alice: Foundry, bob: Foundry, project: str, how: str
) -> None:
    watcher, tab = await tabs.open("alice", project), await tabs.open("bob", project, disconnect_grace=LONG)
    got = await tab.acquire()
    await tab.until_entry("lock_acquired")
    ticket = tab.ticket()
    await _go(tab, how)
    await watcher.until_presence(lambda update: any(here.reconnecting for here in update.sessions))
    assert [(lock.field, lock.fencing_token) async for lock in alice.locks.list(project)] == [("system_prompt", 1)]
    assert [session.detached async for session in alice.sessions.list(project)] == [False, True]
    with pytest.raises(LockHeld):
        await alice.locks.acquire(project, "system_prompt", watcher.session_id)
    # Without its stream it may neither take more nor give back: only come back.
    with pytest.raises(SessionClosed):
        await bob.locks.acquire(project, "topology", tab.session_id)
    with pytest.raises(SessionClosed):
        await bob.locks.release(project, "system_prompt", tab.session_id, 1)
    back = await tabs.open("bob", project, resume=ticket)
    assert back.opened.attachment == session_event_pb2.ATTACHMENT_RESUMED
    assert (await back.save(got, "saved after the blip")).draft.version_number == 1


async def test_when_the_grace_is_over_the_locks_are_released_and_the_session_is_closed(
    tabs: Tabs, alice: Foundry, project: str
) -> None:
    watcher, tab = await tabs.open("alice", project), await tabs.open("bob", project, disconnect_grace=SHORT)
    got = await tab.acquire()
    ticket = tab.ticket()
    await tab.cancel()
    entry = await watcher.until_entry("lock_released", lock_id=got.lock.lock_id)
    assert entry.lock_released.release_reason == lock_pb2.LOCK_RELEASE_REASON_STREAM_GONE
    await watcher.until_entry("session_closed", session_id=tab.session_id)
    assert [session.session_id async for session in alice.sessions.list(project)] == [watcher.session_id]
    late = await tabs.open("bob", project, resume=ticket)
    assert late.opened.attachment == session_event_pb2.ATTACHMENT_REPLAYED
    assert late.session_id != tab.session_id


async def test_the_timer_of_a_grace_that_was_used_does_nothing(tabs: Tabs, project: str) -> None:
    """A session that came back is not closed when the grace of its lost stream would have been over."""
    watcher = await tabs.open("alice", project)
    grace = {"seconds": 3}  # as long as coming back may take
    first = await tabs.open("bob", project, disconnect_grace=grace)
    got = await first.acquire()
    ticket = first.ticket()
    await first.cancel()
    back = await tabs.open("bob", project, resume=ticket)
    # One that was lost later and stays lost: its grace is over after that of the first.
    other = await tabs.open("carol", project, disconnect_grace=grace)
    await other.cancel()
    await watcher.until_entry("session_closed", session_id=other.session_id)
    assert (await back.touch(got.lock)).lock_id == got.lock.lock_id
    assert [entry.session_closed.session_id for entry in watcher.entries if entry.HasField("session_closed")] == [
        other.session_id
    ]


async def test_the_newest_open_decides_the_grace(tabs: Tabs, project: str) -> None:
    watcher = await tabs.open("alice", project)
    first = await tabs.open("bob", project, disconnect_grace=LONG)
    back = await tabs.open("bob", project, resume=first.ticket())
    await back.cancel()
    await watcher.until_entry("session_closed", session_id=first.session_id)


async def test_a_client_that_is_gone_while_its_session_opens_leaves_nothing_behind(
    tabs: Tabs, alice: Foundry, project: str
) -> None:
    """Whoever opened the session closes it, however early its stream was lost."""
    watcher = await tabs.open("alice", project)
    crowd = [tabs.raw("bob") for _ in range(8)]
    opening = request(1, open={"project_id": project, "disconnect_grace": SHORT})
    await asyncio.gather(*(tab.send(opening) for tab in crowd))
    await watcher.until(lambda event: event.entry.session_opened.session_id not in {"", watcher.session_id})
    await asyncio.gather(*(tab.cancel() for tab in crowd))
    async with asyncio.timeout(PATIENCE_S):
        opened, closed = 0, 0
        while not 0 < closed == opened - 1:  # one that was on its way may open still
            await until_here(alice, project, watcher)
            arms = [entry.WhichOneof("payload") async for entry in alice.audit.entries(project)]
            opened, closed = arms.count("session_opened"), arms.count("session_closed")
