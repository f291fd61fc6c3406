"""How a session comes back: as what, with which token, and when not at all."""

from __future__ import annotations

import asyncio

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration

from coreason.foundry.v1 import audit_pb2, session_event_pb2
from coreason.foundry.v1.session_pb2 import ServerEvent
from foundry.client import AccessDenied, FoundryError, ResumeState, Session, Unauthenticated
from tests.client.conftest import NewSession
from tests.client.scripted import Peer, ScriptedServer, acquired, at, caught_up, entry, opened, snapshot, soon, status


async def open_session(scripted: ScriptedServer, session: Session) -> Peer:
    opening = asyncio.create_task(session.__aenter__())
    peer, _open = await scripted.accept_open()
    await peer.welcome("s1", sequence=7)
    await soon(opening)
    return peer


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        (grpc.StatusCode.ABORTED, "SESSION_SUPERSEDED"),
        (grpc.StatusCode.ABORTED, "SESSION_ENDED"),
        (grpc.StatusCode.PERMISSION_DENIED, "ACCESS_LOST"),
        (grpc.StatusCode.PERMISSION_DENIED, "PROJECT_ACCESS_DENIED"),
        (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_ARGUMENT"),
        (grpc.StatusCode.UNAUTHENTICATED, "TOKEN_EXPIRED"),
    ],
)
async def test_some_ends_are_final(
    scripted: ScriptedServer, new_session: NewSession, code: grpc.StatusCode, reason: str
) -> None:
    session = new_session()
    peer = await open_session(scripted, session)
    events = session.events()
    peer.end(status(code, reason))
    assert [event async for event in events] == []
    assert session.error is not None
    assert session.error.reason == reason
    assert scripted.no_further_stream()


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        (grpc.StatusCode.UNAVAILABLE, ""),
        (grpc.StatusCode.UNAVAILABLE, "GOING_AWAY"),
        (grpc.StatusCode.ABORTED, "SESSION_SILENT"),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, "SLOW_CONSUMER"),
        (grpc.StatusCode.INTERNAL, "INTERNAL"),
        (grpc.StatusCode.CANCELLED, ""),
    ],
)
async def test_after_other_ends_it_comes_back(
    scripted: ScriptedServer, new_session: NewSession, code: grpc.StatusCode, reason: str
) -> None:
    peer = await open_session(scripted, new_session())
    peer.end(status(code, reason))
    _peer, request = await scripted.accept_open()
    assert request.open.resume.session_id == "s1"


async def test_it_comes_back_after_an_end_without_error_that_it_did_not_ask_for(
    scripted: ScriptedServer, new_session: NewSession
) -> None:
    peer = await open_session(scripted, new_session())
    peer.end()
    await scripted.accept_open()


async def test_a_refused_resume_is_followed_by_one_with_the_position_alone(
    scripted: ScriptedServer, new_session: NewSession
) -> None:
    session = new_session()
    peer = await open_session(scripted, session)
    peer.break_off()
    peer, _open = await scripted.accept_open()
    refused = status(grpc.StatusCode.PERMISSION_DENIED, "RESUME_REFUSED", session_id="s1")
    peer.end(refused)
    peer, request = await scripted.accept_open()
    assert not request.open.resume.session_id
    assert not request.open.resume.resume_secret
    assert request.open.resume.after == at(7)
    events = session.events()
    peer.end(refused)
    assert [event async for event in events] == []
    assert isinstance(session.error, AccessDenied)


async def test_each_stream_brings_a_new_secret(scripted: ScriptedServer, new_session: NewSession) -> None:
    session = new_session()
    peer = await open_session(scripted, session)
    peer.break_off()
    peer, _open = await scripted.accept_open()
    await peer.welcome_back("s1", 7, secret="second")
    peer.break_off()
    _peer, request = await scripted.accept_open()
    assert request.open.resume.resume_secret == "second"


async def test_a_break_within_a_snapshot_asks_for_it_anew(scripted: ScriptedServer, new_session: NewSession) -> None:
    """A position is only good with the state that belongs to it."""
    session = new_session()
    peer = await open_session(scripted, session)
    peer.break_off()
    peer, _open = await scripted.accept_open()
    events = session.events()
    await peer.send(opened("s2", session_event_pb2.ATTACHMENT_SNAPSHOT, 5000))
    assert (await soon(anext(events))).HasField("opened")
    peer.break_off()
    _peer, request = await scripted.accept_open()
    assert request.open.resume.session_id == "s2"
    assert not request.open.resume.HasField("after")


async def test_an_expired_token_is_followed_by_one_try_with_a_new_one(
    scripted: ScriptedServer, new_session: NewSession
) -> None:
    tokens = ["old"]
    session = new_session(token=lambda: tokens[-1])
    peer = await open_session(scripted, session)
    assert peer.authorization == "Bearer old"
    tokens.append("new")
    expired = status(grpc.StatusCode.UNAUTHENTICATED, "TOKEN_EXPIRED")
    peer.end(expired)
    peer, _open = await scripted.accept_open()
    assert peer.authorization == "Bearer new"
    tokens.append("newest")
    events = session.events()
    peer.end(expired)
    assert [event async for event in events] == []
    assert isinstance(session.error, Unauthenticated)


async def test_an_expired_refreshed_token_gives_way_to_that_of_the_callable(
    scripted: ScriptedServer, new_session: NewSession
) -> None:
    tokens = ["old"]
    session = new_session(token=lambda: tokens[-1])
    peer = await open_session(scripted, session)
    refreshing = asyncio.create_task(session.refresh_token("refreshed"))
    await peer.reply(await peer.take("refresh_token"), done=session_event_pb2.Done())
    await soon(refreshing)
    tokens.append("new")
    peer.end(status(grpc.StatusCode.UNAUTHENTICATED, "TOKEN_EXPIRED"))
    peer, _open = await scripted.accept_open()
    assert peer.authorization == "Bearer new"


async def test_going_away_brings_it_back_even_if_the_server_stays(
    scripted: ScriptedServer, new_session: NewSession
) -> None:
    session = new_session()
    peer = await open_session(scripted, session)
    await peer.send(ServerEvent(going_away=session_event_pb2.GoingAway(retry_after=Duration(seconds=3))))
    _peer, request = await scripted.accept_open()  # jitter is 0: at once
    assert request.open.resume.session_id == "s1"
    await peer.gone()


async def test_a_session_is_taken_up_by_another_process(scripted: ScriptedServer, new_session: NewSession) -> None:
    first = new_session()
    peer = await open_session(scripted, first)
    await peer.send(acquired(8, "a", "s2", 1))
    while first.position != at(8):
        await soon(peer.heartbeats.get())
    kept = first.resume_state
    assert kept == ResumeState("s1", "secret of s1", 1, 8)
    await first._link.stop()
    second = new_session(resume=kept)
    events = second.events()
    opening = asyncio.create_task(second.__aenter__())
    peer, request = await scripted.accept_open()
    assert request.open.resume.session_id == "s1"
    assert request.open.resume.resume_secret == "secret of s1"
    assert request.open.resume.after == at(8)
    await peer.welcome_back("s1", 9, acquired(9, "b", "s2", 1))
    await soon(opening)
    kinds = [(await soon(anext(events))).WhichOneof("event") for _ in range(3)]
    assert kinds == ["opened", "entry", "caught_up"]
    assert not second.state.complete
    assert set(second.state.locks) == {"b"}


async def test_a_kept_session_that_is_gone_is_replaced_from_its_position(
    scripted: ScriptedServer, new_session: NewSession
) -> None:
    session = new_session(resume=ResumeState("s1", "used", 1, 8))
    opening = asyncio.create_task(session.__aenter__())
    peer, _open = await scripted.accept_open()
    peer.end(status(grpc.StatusCode.PERMISSION_DENIED, "RESUME_REFUSED", session_id="s1"))
    peer, request = await scripted.accept_open()
    assert not request.open.resume.session_id
    assert request.open.resume.after == at(8)
    await peer.replace("s2", 8)
    await soon(opening)
    assert session.session_id == "s2"


async def test_a_kept_state_without_position_asks_for_a_snapshot(
    scripted: ScriptedServer, new_session: NewSession
) -> None:
    opening = asyncio.create_task(new_session(resume=ResumeState("s1", "secret")).__aenter__())
    peer, request = await scripted.accept_open()
    assert request.open.resume.session_id == "s1"
    assert not request.open.resume.HasField("after")
    await peer.welcome("s1")
    await soon(opening)


async def test_a_replaced_session_shows_its_presence_again(scripted: ScriptedServer, new_session: NewSession) -> None:
    session = new_session()
    peer = await open_session(scripted, session)
    showing = asyncio.create_task(session.update_presence(focus_field="a", activity="reading"))
    await peer.reply(await peer.take("update_presence"), done=session_event_pb2.Done())
    await soon(showing)
    peer.break_off()
    peer, _open = await scripted.accept_open()
    await peer.replace("s2", 7)
    request = await peer.take("update_presence")
    assert request.update_presence.focus_field == "a"


async def test_leaving_while_away_does_not_come_back(scripted: ScriptedServer, new_session: NewSession) -> None:
    session = new_session()
    peer = await open_session(scripted, session)
    peer.break_off()
    peer, _open = await scripted.accept_open()
    await soon(session.leave())
    await peer.gone()
    assert session.ended
    assert session.error is None
    assert scripted.no_further_stream()


async def test_a_full_project_refuses_the_first_stream_but_not_a_return(
    scripted: ScriptedServer, new_session: NewSession
) -> None:
    full = status(grpc.StatusCode.RESOURCE_EXHAUSTED, "LIMIT_EXCEEDED", limit_name="sessions in a project")
    opening = asyncio.create_task(new_session().__aenter__())
    peer, _open = await scripted.accept_open()
    peer.end(full)
    with pytest.raises(FoundryError, match="no"):
        await soon(opening)
    peer = await open_session(scripted, new_session())
    peer.break_off()
    peer, _open = await scripted.accept_open()
    peer.end(full)
    peer, _open = await scripted.accept_open()
    await peer.send(opened("s1", session_event_pb2.ATTACHMENT_RESUMED, 7), caught_up(7))


async def test_entries_of_a_new_epoch_are_not_taken_for_seen(scripted: ScriptedServer, new_session: NewSession) -> None:
    """After a restored backup sequences start over; only positions of one epoch compare."""
    session = new_session()
    peer = await open_session(scripted, session)
    peer.break_off()
    peer, _open = await scripted.accept_open()
    events = session.events()
    attachment = session_event_pb2.ATTACHMENT_SNAPSHOT
    await peer.send(opened("s2", attachment, 2), snapshot(head=1), caught_up(2, epoch=2))
    await peer.send(entry(3, epoch=2, project_archived=audit_pb2.ProjectArchived()))
    while not (event := await soon(anext(events))).HasField("entry"):
        pass
    assert event.entry.position == at(3, epoch=2)
