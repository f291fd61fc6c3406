"""Grants that come when whoever asked for them has given up: given back for certain, and never taken from somebody."""

from __future__ import annotations

import asyncio

import grpc
import pytest

from coreason.foundry.v1 import lock_pb2, session_command_pb2, session_event_pb2
from coreason.foundry.v1.session_pb2 import ServerEvent
from foundry.client import DeadlineExceeded, FoundryError, Session
from tests.client.conftest import NewSession
from tests.client.scripted import Peer, ScriptedServer, acquired, entered, granted, nothing_more_is_asked, soon, status


async def too_late(session: Session, peer: Peer) -> int:
    """Ask for the field ``a`` and give up; returns the id of the command."""
    with pytest.raises(DeadlineExceeded):
        await session.acquire("a", timeout=0.05)
    return (await peer.take("acquire_lock")).command_id


def reply(command_id: int) -> ServerEvent:
    """That the field ``a`` is granted, always by the same token."""
    return ServerEvent(reply=session_event_pb2.Reply(command_id=command_id, acquired=granted("a", "s1", 6, sequence=8)))


async def given_back(peer: Peer) -> session_command_pb2.SessionReleaseLock:
    """What is given back next."""
    return (await peer.take("release_lock")).release_lock


A_6 = session_command_pb2.SessionReleaseLock(field="a", fencing_token=6)


async def test_what_is_given_back_in_vain_is_given_back_again(
    scripted: ScriptedServer, new_session: NewSession
) -> None:
    """The stream broke before the server had answered."""
    session = new_session()
    async with entered(scripted, session) as peer:
        await peer.send(reply(await too_late(session, peer)))
        assert await given_back(peer) == A_6
        peer.break_off()
        second, _open = await scripted.accept_open()
        await second.welcome_back("s1", 8, acquired(8, "a", "s1", 6))
        assert await given_back(second) == A_6
        second.break_off()
        third, _open = await scripted.accept_open()
        await third.welcome_back("s1", 8)
        request = await third.take("release_lock")
        assert request.release_lock == A_6
        await third.reply(request, released=lock_pb2.Lock())
        third.break_off()
        back, _open = await scripted.accept_open()
        await back.welcome_back("s1", 8)
        await nothing_more_is_asked(session, back)


async def test_a_late_grant_is_given_back_when_the_next_who_asked_is_refused(
    scripted: ScriptedServer, new_session: NewSession
) -> None:
    """It was kept for them; the lock would be nobody's."""
    session = new_session()
    async with entered(scripted, session) as peer:
        late = await too_late(session, peer)
        asking = asyncio.create_task(session.acquire("a"))
        again = await peer.take("acquire_lock")
        await peer.send(reply(late))
        await peer.reply(again, error=status(grpc.StatusCode.UNAVAILABLE, "STORE_UNAVAILABLE"))
        assert await given_back(peer) == A_6
        with pytest.raises(FoundryError):
            await soon(asking)


async def test_a_late_grant_is_given_back_when_the_next_who_asked_gives_up_too(
    scripted: ScriptedServer, new_session: NewSession
) -> None:
    session = new_session()
    async with entered(scripted, session) as peer:
        events, late = session.events(), await too_late(session, peer)
        asking = asyncio.create_task(session.acquire("a"))
        await peer.take("acquire_lock")
        await peer.send(reply(late), acquired(8, "a", "s1", 6))
        while not (await soon(anext(events))).HasField("entry"):
            pass
        asking.cancel()
        assert await given_back(peer) == A_6


async def test_a_lock_whose_taker_has_not_heard_yet_is_not_given_back(
    scripted: ScriptedServer, new_session: NewSession
) -> None:
    """Two asked and one gave up; both answers come in one message."""
    session = new_session()
    async with entered(scripted, session) as peer:
        asking = asyncio.create_task(session.acquire("a"))
        first = (await peer.take("acquire_lock")).command_id
        second = await too_late(session, peer)
        await peer.send(reply(first), reply(second))
        lock = await soon(asking)
        await nothing_more_is_asked(session, peer)
        assert lock.held


async def test_a_grant_that_comes_in_the_moment_of_giving_up_is_given_back(
    scripted: ScriptedServer, new_session: NewSession
) -> None:
    """The answer is there, and whoever asked is cancelled before they can look at it."""
    session = new_session()
    async with entered(scripted, session) as peer:
        asking = asyncio.create_task(session.acquire("a"))
        answer = reply((await peer.take("acquire_lock")).command_id).reply
        assert session._link._commands.resolve(answer)
        asking.cancel()
        assert await given_back(peer) == A_6
