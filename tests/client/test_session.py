"""A live session: opening, events, commands and its end."""

from __future__ import annotations

import asyncio

import grpc
import pytest

from coreason.foundry.v1 import (
    draft_pb2,
    lock_pb2,
    project_pb2,
    session_command_pb2,
    session_event_pb2,
)
from coreason.foundry.v1.session_pb2 import ServerEvent
from foundry.client import (
    AccessDenied,
    DeadlineExceeded,
    Foundry,
    LockHeld,
    SessionClosed,
    SessionSuperseded,
    Unavailable,
    connect,
)
from foundry.client.live.pulse import Timing
from tests.client.conftest import NewSession
from tests.client.scripted import (
    ScriptedServer,
    acquired,
    at,
    caught_up,
    entered,
    granted,
    lock_of,
    snapshot,
    soon,
    status,
)


async def test_opens_with_what_it_was_asked_for_and_learns_the_state(
    scripted: ScriptedServer, foundry: Foundry
) -> None:
    session = foundry.session("p1", tab_id="tab", client_name="ide", disconnect_grace=12.5)
    opening = asyncio.create_task(session.__aenter__())
    peer, request = await scripted.accept_open()
    assert peer.authorization == "Bearer first-token"
    assert request.open.project_id == "p1"
    assert request.open.tab_id == "tab"
    assert request.open.client.name == "ide"
    assert request.open.disconnect_grace.ToMilliseconds() == 12_500
    assert not request.open.HasField("resume")
    await peer.welcome("s1", lock_of("topology", "s0", 4, "bob"), head=3, sequence=7)
    await soon(opening)
    assert session.session_id == "s1"
    assert session.role == project_pb2.ROLE_EDITOR
    assert session.position == at(7)
    assert session.state.complete
    assert session.state.project.name == "Triage"
    assert session.state.head_version == 3
    assert session.state.locks["topology"].holder.subject == "bob"
    leaving = asyncio.create_task(session.leave())
    await peer.reply(await peer.take("leave"), done=session_event_pb2.Done())
    peer.end()
    await soon(leaving)
    assert session.ended
    assert session.error is None


async def test_leaving_the_block_says_leave(scripted: ScriptedServer, new_session: NewSession) -> None:
    async def work() -> None:
        async with new_session():
            pass

    working = asyncio.create_task(work())
    peer, _open = await scripted.accept_open()
    await peer.welcome()
    request = await peer.take("leave")
    await peer.reply(request, done=session_event_pb2.Done())
    peer.end()
    await soon(working)
    assert scripted.no_further_stream()


async def test_leaving_does_not_wait_for_a_server_that_says_nothing(
    scripted: ScriptedServer, new_session: NewSession
) -> None:
    session = new_session(timing=Timing(leave_s=0.3))
    async with entered(scripted, session) as peer:
        await soon(session.leave())
        await peer.take("leave")
        await peer.gone()


async def test_names_a_tab_of_its_own_and_keeps_it(scripted: ScriptedServer, new_session: NewSession) -> None:
    """A stream whose end the server has not noticed yet must not keep its locks from the one that follows it."""
    opening = asyncio.create_task(new_session().__aenter__())
    peer, first = await scripted.accept_open()
    await peer.welcome()
    await soon(opening)
    peer.break_off()
    peer, second = await scripted.accept_open()
    assert first.open.tab_id
    assert second.open.tab_id == first.open.tab_id


async def test_a_refusal_to_open_is_raised_at_once(scripted: ScriptedServer, new_session: NewSession) -> None:
    opening = asyncio.create_task(new_session().__aenter__())
    peer, _open = await scripted.accept_open()
    peer.end(status(grpc.StatusCode.PERMISSION_DENIED, "PROJECT_ACCESS_DENIED", project_id="p1"))
    with pytest.raises(AccessDenied) as refused:
        await soon(opening)
    assert refused.value.reason == "PROJECT_ACCESS_DENIED"
    assert scripted.no_further_stream()


async def test_opening_waits_for_a_server_that_is_not_there_yet(
    scripted: ScriptedServer, new_session: NewSession
) -> None:
    opening = asyncio.create_task(new_session().__aenter__())
    peer, _open = await scripted.accept_open()
    peer.break_off()
    peer, _open = await scripted.accept_open()
    await peer.welcome()
    assert (await soon(opening)).session_id == "s1"


async def test_opening_ends_at_its_timeout_with_the_reason(new_session: NewSession) -> None:
    async with connect("127.0.0.1:1", "token") as nowhere:
        with pytest.raises((Unavailable, DeadlineExceeded)):
            await soon(nowhere.session("p1", timeout=0.2).__aenter__())


async def test_events_come_in_order_and_each_entry_once_over_a_reconnect(
    scripted: ScriptedServer, new_session: NewSession
) -> None:
    session = new_session()
    async with entered(scripted, session) as peer:
        events = session.events()
        others = session.events()
        await peer.send(acquired(8, "a", "s2", 1), acquired(9, "b", "s2", 1))
        sequences = [(await soon(anext(events))).entry.position.sequence for _ in range(2)]
        peer.break_off()
        back, request = await scripted.accept_open()
        assert request.open.resume.session_id == "s1"
        assert request.open.resume.resume_secret == "secret of s1"
        assert request.open.resume.after == at(9)
        await back.welcome_back("s1", 10, acquired(9, "b", "s2", 1), acquired(10, "c", "s2", 1))
        kinds = []
        while len(sequences) < 3:
            event = await soon(anext(events))
            kinds.append(event.WhichOneof("event"))
            if kinds[-1] == "entry":
                sequences.append(event.entry.position.sequence)
        assert sequences == [8, 9, 10]
        assert kinds == ["opened", "entry"]
        assert set(session.state.locks) == {"a", "b", "c"}
        assert (await soon(anext(others))).entry.position.sequence == 8


async def test_events_asked_for_before_entering_begin_with_the_opening(
    scripted: ScriptedServer, new_session: NewSession
) -> None:
    session = new_session()
    events = session.events()
    async with entered(scripted, session):
        kinds = [(await soon(anext(events))).WhichOneof("event") for _ in range(3)]
    assert kinds == ["opened", "snapshot", "caught_up"]


async def test_a_tick_does_not_move_the_position(scripted: ScriptedServer, new_session: NewSession) -> None:
    """It names the newest entry, which may not have been sent yet; taking it for seen would lose that entry."""
    session = new_session()
    async with entered(scripted, session) as peer:
        events = session.events()
        await peer.send(ServerEvent(tick=session_event_pb2.Tick(position=at(8))), acquired(8, "a", "s2", 1))
        assert (await soon(anext(events))).HasField("tick")
        assert (await soon(anext(events))).entry.position == at(8)


async def test_events_end_with_the_session_and_error_says_why(
    scripted: ScriptedServer, new_session: NewSession
) -> None:
    session = new_session()
    async with entered(scripted, session) as peer:
        events = session.events()
        await peer.send(acquired(8, "a", "s2", 1))
        peer.end(status(grpc.StatusCode.ABORTED, "SESSION_SUPERSEDED", session_id="s1"))
        assert [event.entry.position.sequence async for event in events] == [8]
        assert isinstance(session.error, SessionSuperseded)
        assert [event async for event in session.events()] == []
        with pytest.raises(SessionSuperseded):
            await soon(session.acquire("a"))
        assert scripted.no_further_stream()


async def test_a_resync_replaces_the_state_on_the_same_stream(
    scripted: ScriptedServer, new_session: NewSession
) -> None:
    session = new_session()
    async with entered(scripted, session) as peer:
        events = session.events()
        reason = session_event_pb2.RESYNC_REASON_SLOW_READER
        await peer.send(ServerEvent(resync=session_event_pb2.Resync(reason=reason)))
        await peer.send(snapshot(lock_of("x", "s9", 2), head=9), caught_up(40), acquired(41, "y", "s9", 1))
        kinds = [(await soon(anext(events))).WhichOneof("event") for _ in range(4)]
        assert kinds == ["resync", "snapshot", "caught_up", "entry"]
        assert session.state.head_version == 9
        assert set(session.state.locks) == {"x", "y"}
        assert session.position == at(41)


async def test_a_refused_command_raises_and_the_session_goes_on(
    scripted: ScriptedServer, new_session: NewSession
) -> None:
    session = new_session()
    async with entered(scripted, session) as peer:
        acquiring = asyncio.create_task(session.acquire("system_prompt", purpose="typo"))
        request = await peer.take("acquire_lock")
        assert request.acquire_lock.purpose == "typo"
        held = status(
            grpc.StatusCode.FAILED_PRECONDITION, "LOCK_HELD", field="system_prompt", holder="bob", holder_name="Bob B."
        )
        await peer.reply(request, error=held)
        with pytest.raises(LockHeld) as refused:
            await soon(acquiring)
        assert refused.value.holder_name == "Bob B."
        showing = asyncio.create_task(session.update_presence(activity="waiting"))
        await peer.reply(await peer.take("update_presence"), done=session_event_pb2.Done())
        await soon(showing)


async def test_a_command_without_answer_ends_at_its_deadline(scripted: ScriptedServer, new_session: NewSession) -> None:
    session = new_session()
    async with entered(scripted, session) as peer:
        with pytest.raises(DeadlineExceeded):
            await session.update_presence(activity="waiting", timeout=0.05)
        await peer.take("update_presence")


async def test_a_grant_that_nobody_waits_for_any_more_is_given_back(
    scripted: ScriptedServer, new_session: NewSession
) -> None:
    session = new_session()
    async with entered(scripted, session) as peer:
        with pytest.raises(DeadlineExceeded):
            await session.acquire("system_prompt", timeout=0.05)
        await peer.reply(await peer.take("acquire_lock"), acquired=granted("system_prompt", "s1", 6))
        request = await peer.take("release_lock")
        assert request.release_lock == session_command_pb2.SessionReleaseLock(field="system_prompt", fencing_token=6)


async def test_heartbeats_acknowledge_the_position(scripted: ScriptedServer, new_session: NewSession) -> None:
    session = new_session()
    async with entered(scripted, session) as peer:
        await peer.send(acquired(8, "a", "s2", 1))
        while (beat := await soon(peer.heartbeats.get())).heartbeat.acknowledged != at(8):
            assert beat.heartbeat.acknowledged in (at(7), at(0, epoch=0))


async def test_a_new_token_is_used_for_the_streams_to_come(scripted: ScriptedServer, new_session: NewSession) -> None:
    session = new_session()
    async with entered(scripted, session) as peer:
        refreshing = asyncio.create_task(session.refresh_token("second-token"))
        request = await peer.take("refresh_token")
        assert request.refresh_token.token == "second-token"
        await peer.reply(request, done=session_event_pb2.Done())
        await soon(refreshing)
        peer.break_off()
        back, _open = await scripted.accept_open()
        assert back.authorization == "Bearer second-token"


async def test_save_sends_changes_locks_and_a_request_id(scripted: ScriptedServer, new_session: NewSession) -> None:
    session = new_session()
    async with entered(scripted, session) as peer:
        acquiring = asyncio.create_task(session.acquire("a"))
        await peer.reply(await peer.take("acquire_lock"), acquired=granted("a", "s1", 6, head=3))
        lock = await soon(acquiring)
        saving = asyncio.create_task(
            session.save({"a": "text", "b": b"\x00", "c": None}, base_version=3, locks=[lock], keep_locks=True)
        )
        request = await peer.take("create_draft")
        draft = request.create_draft
        assert [(change.field, change.WhichOneof("content")) for change in draft.changes] == [
            ("a", "text"),
            ("b", "data"),
            ("c", "remove"),
        ]
        assert list(draft.locks) == [lock_pb2.LockToken(field="a", fencing_token=6)]
        assert draft.request_id
        saved = draft_pb2.CreateDraftResponse(
            draft=draft_pb2.Draft(version_number=4), outcome=draft_pb2.SAVE_OUTCOME_COMMITTED
        )
        await peer.reply(request, saved=saved)
        assert await soon(saving) == saved
        assert lock.held
        assert lock.base_version == 4


async def test_an_unexpected_failure_of_the_client_ends_the_session_instead_of_hanging(
    scripted: ScriptedServer, new_session: NewSession
) -> None:
    def broken_token() -> str:
        if tokens:
            return tokens.pop()
        raise RuntimeError("the keychain is locked")

    tokens = ["only-token"]
    session = new_session(token=broken_token)
    async with entered(scripted, session) as peer:
        peer.break_off()
        with pytest.raises(Exception, match="the keychain is locked"):
            await soon(session.acquire("a"))


async def test_commands_after_leaving_say_that_the_session_is_closed(
    scripted: ScriptedServer, new_session: NewSession
) -> None:
    session = new_session(timing=Timing(leave_s=0.01))
    async with entered(scripted, session):
        await soon(session.leave())
        with pytest.raises(SessionClosed):
            await soon(session.acquire("a"))


async def test_closing_the_connection_lets_go_of_its_sessions(scripted: ScriptedServer) -> None:
    foundry = connect(scripted.target, "token")
    session = foundry.session("p1")
    opening = asyncio.create_task(session.__aenter__())
    peer, _open = await scripted.accept_open()
    await peer.welcome()
    await soon(opening)
    closing = asyncio.create_task(foundry.close())
    await peer.reply(await peer.take("leave"), done=session_event_pb2.Done())
    peer.end()
    await soon(closing)
    assert session.ended


async def test_a_session_is_entered_once(scripted: ScriptedServer, new_session: NewSession) -> None:
    session = new_session()
    async with entered(scripted, session):
        with pytest.raises(RuntimeError, match="once"):
            await session.__aenter__()
