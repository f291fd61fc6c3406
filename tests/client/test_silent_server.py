"""A server from which nothing comes any more: the session goes on at another one, if that one will have it."""

from __future__ import annotations

import asyncio

import grpc
import pytest

from coreason.foundry.v1 import session_event_pb2
from foundry.client.live.pulse import Timing
from tests.client.conftest import NewSession
from tests.client.scripted import Peer, ScriptedServer, caught_up, entered, entry, opened, snapshot, soon, status

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
    session = new_session(timing=Timing(silence_s=0.6, open_s=60.0))
    opening = asyncio.create_task(session.__aenter__())
    peer, _open = await scripted.accept_open()
    attachment = session_event_pb2.ATTACHMENT_SNAPSHOT
    await peer.send(opened("s1", attachment, 7, silence_limit_s=1), snapshot(), caught_up(7))
    await soon(opening)
    back = await second_stream(scripted, peer)
    await back.gone()
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
