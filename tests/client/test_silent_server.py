"""A server from which nothing comes any more: the session goes on at another one, if that one will have it."""

from __future__ import annotations

import asyncio
import time

import grpc
import pytest

from coreason.foundry.v1 import session_event_pb2
from coreason.foundry.v1.session_pb2 import ServerEvent
from foundry.client import DeadlineExceeded
from foundry.client.live.pulse import Timing
from tests.client.conftest import NewSession
from tests.client.scripted import (
    PATIENCE_S,
    Peer,
    ScriptedServer,
    acquired,
    caught_up,
    entered,
    entry,
    granted,
    nothing_more_is_asked,
    opened,
    snapshot,
    soon,
    status,
)

IMPATIENT = Timing(jeopardy_s=0.3, silence_s=0.6)


async def second_stream(scripted: ScriptedServer, silent: Peer) -> Peer:
    """The stream that a session asks to go on with, once this one is silent."""
    silent.answers_heartbeats = False
    peer, request = await scripted.accept_open()
    assert (request.open.resume.session_id, request.open.resume.after.sequence) == ("s1", 7)
    return peer


async def test_a_server_that_does_not_answer_open_is_given_up(
    scripted: ScriptedServer, new_session: NewSession
) -> None:
    opening = asyncio.create_task(new_session(timing=Timing(open_s=0.05)).__aenter__())
    peer, _open = await scripted.accept_open()
    await peer.gone()
    peer, _open = await scripted.accept_open()
    await peer.welcome()
    await soon(opening)


async def test_a_silent_server_is_left_only_when_the_session_goes_on_elsewhere(
    scripted: ScriptedServer, new_session: NewSession
) -> None:
    """If it is there after all, the end of its stream would be the end of the session, and of its locks."""
    session = new_session(timing=IMPATIENT)
    async with entered(scripted, session) as peer:
        assert not session.jeopardy
        back = await second_stream(scripted, peer)
        assert session.jeopardy
        assert peer.is_open
        await back.welcome_back("s1", 7)
        await peer.gone()
        assert not session.jeopardy


async def test_what_a_silent_server_says_at_last_is_of_no_account(
    scripted: ScriptedServer, new_session: NewSession
) -> None:
    """Neither what it sends, nor that it ends the stream because the session went on elsewhere."""
    session = new_session(timing=IMPATIENT)
    async with entered(scripted, session) as peer:
        events = session.events()
        back = await second_stream(scripted, peer)
        await peer.send(entry(8, actor="nobody"))
        peer.end(status(grpc.StatusCode.FAILED_PRECONDITION, "SESSION_SUPERSEDED"))
        await back.welcome_back("s1", 8, entry(8, actor="bob"))
        event = await soon(anext(events))
        while not event.HasField("entry"):
            event = await soon(anext(events))
        assert event.entry.actor.subject == "bob"


async def test_a_stream_that_takes_the_place_of_a_silent_one_waits_no_longer_than_the_session_lasts(
    scripted: ScriptedServer, new_session: NewSession
) -> None:
    """Whom the server hears, but who hears nothing, would hold the locks for as long as it waits."""
    session = new_session(timing=Timing(silence_s=0.1, open_s=60.0))
    opening = asyncio.create_task(session.__aenter__())
    peer, _open = await scripted.accept_open()
    attachment = session_event_pb2.ATTACHMENT_SNAPSHOT
    await peer.send(opened("s1", attachment, 7, silence_limit_s=3), snapshot(), caught_up(7))
    await soon(opening)
    back = await second_stream(scripted, peer)
    await back.gone()
    await session._link.stop()


async def test_what_comes_from_a_silent_server_before_the_next_stream_does_not_make_the_session_live(
    scripted: ScriptedServer, new_session: NewSession
) -> None:
    """Commands that were under way are repeated on the next one."""
    session = new_session(timing=IMPATIENT, jitter=1.0)
    async with entered(scripted, session) as peer:
        peer.answers_heartbeats = False
        acquiring = asyncio.create_task(session.acquire("a"))
        await peer.take("acquire_lock")
        async with asyncio.timeout(PATIENCE_S):
            while session._link._former is None:  # noqa: ASYNC110 - nothing tells of it from outside
                await asyncio.sleep(0.01)
        await peer.send(ServerEvent(resync=session_event_pb2.Resync()), snapshot(head=3), caught_up(7))
        back = await second_stream(scripted, peer)
        await back.welcome_back("s1", 7)
        await back.reply(await back.take("acquire_lock"), acquired=granted("a", "s1", 6, sequence=8))
        await soon(acquiring)


async def test_a_grant_that_nobody_waits_for_is_given_back_also_when_its_reply_is_lost(
    scripted: ScriptedServer, new_session: NewSession
) -> None:
    session = new_session(timing=IMPATIENT)
    async with entered(scripted, session) as peer:
        with pytest.raises(DeadlineExceeded):
            await session.acquire("a", timeout=0.1)
        request = await peer.take("acquire_lock")
        back = await second_stream(scripted, peer)
        await peer.reply(request, acquired=granted("a", "s1", 6, sequence=8))
        await back.welcome_back("s1", 8, acquired(8, "a", "s1", 6))
        release = (await back.take("release_lock")).release_lock
        assert (release.field, release.fencing_token) == ("a", 6)


@pytest.mark.parametrize("refused", [True, False], ids=["it was refused", "its session was lost"])
async def test_of_a_field_once_asked_for_in_vain_a_later_grant_is_kept(
    scripted: ScriptedServer, new_session: NewSession, *, refused: bool
) -> None:
    """Nobody waits for it on the stream: the program asked by a call that names the session."""
    session = new_session()
    async with entered(scripted, session) as peer:
        with pytest.raises(DeadlineExceeded):
            await session.acquire("a", timeout=0.05)
        request = await peer.take("acquire_lock")
        if refused:
            await peer.reply(request, error=status(grpc.StatusCode.ABORTED, "LOCK_HELD"))
        peer.break_off()
        back, _open = await scripted.accept_open()
        if refused:
            await back.welcome_back("s1", 8, acquired(8, "a", "s1", 6))
        else:
            await back.replace("s2", 8, acquired(8, "a", "s2", 6))
        await nothing_more_is_asked(session, back)


async def test_a_grant_that_came_too_late_is_kept_for_who_asks_again(
    scripted: ScriptedServer, new_session: NewSession
) -> None:
    """Both are told of the same grant."""
    session = new_session()
    async with entered(scripted, session) as peer:
        with pytest.raises(DeadlineExceeded):
            await session.acquire("a", timeout=0.05)
        late = await peer.take("acquire_lock")
        acquiring = asyncio.create_task(session.acquire("a"))
        again = await peer.take("acquire_lock")
        for request in (late, again):
            await peer.reply(request, acquired=granted("a", "s1", 6, sequence=8))
        lock = await soon(acquiring)
        await nothing_more_is_asked(session, peer)
        assert lock.held


async def test_a_grant_that_somebody_waits_for_again_is_kept(scripted: ScriptedServer, new_session: NewSession) -> None:
    session = new_session(timing=IMPATIENT)
    async with entered(scripted, session) as peer:
        with pytest.raises(DeadlineExceeded):
            await session.acquire("a", timeout=0.1)
        await peer.take("acquire_lock")
        acquiring = asyncio.create_task(session.acquire("a"))
        await peer.take("acquire_lock")
        back = await second_stream(scripted, peer)
        await back.welcome_back("s1", 8, acquired(8, "a", "s1", 6))
        await back.reply(await back.take("acquire_lock"), acquired=granted("a", "s1", 6, sequence=8))
        assert (await soon(acquiring)).fencing_token == 6
        await nothing_more_is_asked(session, back)


async def test_locks_are_not_trusted_by_a_lease_that_is_over_when_it_begins(
    scripted: ScriptedServer, new_session: NewSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server took 10 s to let the session in again; the lease counts from when it was asked to."""
    session = new_session()
    async with entered(scripted, session) as peer:
        acquiring = asyncio.create_task(session.acquire("a"))
        await peer.reply(await peer.take("acquire_lock"), acquired=granted("a", "s1", 6, sequence=8))
        lock = await soon(acquiring)
        peer.break_off()
        back, _open = await scripted.accept_open()
        back.answers_heartbeats = False
        loop = asyncio.get_running_loop()
        real_time = loop.time
        monkeypatch.setattr(loop, "time", lambda: real_time() + 10.0)
        await back.send(opened("s1", session_event_pb2.ATTACHMENT_RESUMED, 8))
        await soon(back.heartbeats.get())
        await back.send(acquired(8, "a", "s1", 6), caught_up(8))
        await nothing_more_is_asked(session, back)
        assert lock.lost.is_set()
        assert lock.held


async def test_a_program_that_stands_still_does_not_leave_what_opens_meanwhile(
    scripted: ScriptedServer, new_session: NewSession
) -> None:
    session = new_session(timing=Timing(open_s=0.3))
    opening = asyncio.create_task(session.__aenter__())
    peer, _open = await scripted.accept_open()
    await peer.welcome()
    time.sleep(0.8)  # noqa: ASYNC251 - this is the standing still
    await soon(opening)
    assert scripted.no_further_stream()
    await session._link.stop()


async def test_a_program_that_stood_still_itself_does_not_take_that_for_silence(
    scripted: ScriptedServer, new_session: NewSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What came meanwhile lies unread."""

    async def heartbeats() -> None:
        for _ in range(3):
            await soon(peer.heartbeats.get())

    async with entered(scripted, new_session()) as peer:
        await heartbeats()
        peer.answers_heartbeats = False
        await heartbeats()
        loop = asyncio.get_running_loop()
        real_time = loop.time
        monkeypatch.setattr(loop, "time", lambda: real_time() + 14.0)
        await heartbeats()
        assert scripted.no_further_stream()
