"""The locks of a session: over breaks of its stream, and when they must be taken for lost."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import grpc
import pytest

from coreason.foundry.v1 import draft_pb2, lock_pb2, session_event_pb2
from coreason.foundry.v1.session_pb2 import ServerEvent
from foundry.client import HeldLock, LockLost, Session
from foundry.client.live.pulse import Timing
from tests.client.conftest import NewSession
from tests.client.scripted import (
    Peer,
    ScriptedServer,
    acquired,
    at,
    caught_up,
    granted,
    lock_of,
    opened,
    released,
    snapshot,
    soon,
    status,
)

FIELD = "system_prompt"


@asynccontextmanager
async def holding(
    scripted: ScriptedServer, session: Session, *, answers_heartbeats: bool = True
) -> AsyncIterator[tuple[Peer, HeldLock]]:
    """A session ``s1`` at position 8 that holds FIELD with token 6 on head 3; let go of without a clean leave."""
    opening = asyncio.create_task(session.__aenter__())
    peer, _open = await scripted.accept_open()
    peer.answers_heartbeats = answers_heartbeats
    await peer.welcome("s1", head=3, sequence=7)
    await soon(opening)
    acquiring = asyncio.create_task(session.acquire(FIELD, purpose="typo"))
    request = await peer.take("acquire_lock")
    await peer.send(acquired(8, FIELD, "s1", 6))
    await peer.reply(request, acquired=granted(FIELD, "s1", 6, head=3, sequence=8))
    try:
        yield peer, await soon(acquiring)
    finally:
        await session._link.stop()


async def settled(peer: Peer, session: Session) -> None:
    """Wait until the session is live again: only then a command comes through."""
    showing = asyncio.create_task(session.update_presence())
    await peer.reply(await peer.take("update_presence"), done=session_event_pb2.Done())
    await soon(showing)


def saved(version: int, *released_locks: lock_pb2.Lock) -> draft_pb2.CreateDraftResponse:
    return draft_pb2.CreateDraftResponse(
        draft=draft_pb2.Draft(version_number=version),
        outcome=draft_pb2.SAVE_OUTCOME_COMMITTED,
        released_locks=released_locks,
    )


def lock_lost() -> dict[str, object]:
    return {"error": status(grpc.StatusCode.FAILED_PRECONDITION, "LOCK_LOST", field=FIELD, fencing_token="6")}


async def test_a_lock_knows_its_grant(scripted: ScriptedServer, new_session: NewSession) -> None:
    async with holding(scripted, new_session()) as (_peer, lock):
        assert lock.field == FIELD
        assert lock.fencing_token == 6
        assert lock.acquired.head_version == lock.base_version == 3
        assert lock.held
        assert not lock.lost.is_set()


async def test_the_block_of_a_lock_releases_it(scripted: ScriptedServer, new_session: NewSession) -> None:
    session = new_session()

    async def work() -> None:
        async with session.lock("topology"):
            pass

    async with holding(scripted, session) as (peer, _lock):
        working = asyncio.create_task(work())
        await peer.reply(await peer.take("acquire_lock"), acquired=granted("topology", "s1", 1))
        request = await peer.take("release_lock")
        assert request.release_lock.fencing_token == 1
        await peer.reply(request, released=lock_of("topology", "s1", 1))
        await soon(working)


async def test_saving_gives_the_lock_back_and_that_is_no_loss(
    scripted: ScriptedServer, new_session: NewSession
) -> None:
    """Whichever comes first, the reply or the entry that tells of the release."""
    async with holding(scripted, new_session()) as (peer, lock):
        saving = asyncio.create_task(lock.save("better", message="better"))
        request = await peer.take("create_draft")
        assert request.create_draft.base_version == 3
        assert request.create_draft.message == "better"
        await peer.send(released(9, FIELD, "s1", 6, lock_pb2.LOCK_RELEASE_REASON_SAVE))
        await peer.reply(request, saved=saved(4, lock_of(FIELD, "s1", 6)))
        assert (await soon(saving)).draft.version_number == 4
        assert not lock.held
        assert not lock.lost.is_set()
        await soon(lock.release())  # nothing to do


async def test_a_kept_lock_saves_on_top_of_its_own_save(scripted: ScriptedServer, new_session: NewSession) -> None:
    async with holding(scripted, new_session()) as (peer, lock):
        for version in (4, 5):
            saving = asyncio.create_task(lock.save("better", keep=True))
            request = await peer.take("create_draft")
            assert request.create_draft.keep_locks
            assert request.create_draft.base_version == version - 1
            await peer.reply(request, saved=saved(version))
            await soon(saving)
        assert lock.held


async def test_touch_brings_the_new_expiry(scripted: ScriptedServer, new_session: NewSession) -> None:
    async with holding(scripted, new_session()) as (peer, lock):
        touching = asyncio.create_task(lock.touch())
        request = await peer.take("touch")
        assert request.touch.fencing_token == 6
        touched = lock_of(FIELD, "s1", 6)
        touched.expire_time.FromSeconds(1_700_000_000)
        await peer.reply(request, touched=touched)
        assert await soon(touching) == touched
        assert lock.acquired.lock.expire_time.seconds == 1_700_000_000


async def test_acquiring_a_held_field_again_returns_the_same_lock(
    scripted: ScriptedServer, new_session: NewSession
) -> None:
    session = new_session()
    async with holding(scripted, session) as (peer, lock):
        again = asyncio.create_task(session.acquire(FIELD))
        await peer.reply(await peer.take("acquire_lock"), acquired=granted(FIELD, "s1", 6, head=3))
        assert await soon(again) is lock


@pytest.mark.parametrize(
    "why",
    [
        lock_pb2.LOCK_RELEASE_REASON_FORCED,
        lock_pb2.LOCK_RELEASE_REASON_IDLE,
        lock_pb2.LOCK_RELEASE_REASON_FREEZE,
        lock_pb2.LOCK_RELEASE_REASON_ACCESS_LOST,
        lock_pb2.LOCK_RELEASE_REASON_CANCEL,  # by another call that named the session
    ],
)
async def test_a_lock_that_was_taken_away_is_lost(
    scripted: ScriptedServer, new_session: NewSession, why: lock_pb2.LockReleaseReason.ValueType
) -> None:
    session = new_session()
    async with holding(scripted, session) as (peer, lock):
        await peer.send(released(9, FIELD, "s1", 5, why))  # an older grant is none of ours
        await settled(peer, session)
        assert lock.held
        await peer.send(released(10, FIELD, "s1", 6, why))
        await soon(lock.lost.wait())
        assert not lock.held


async def test_locks_stay_over_a_resumed_stream(scripted: ScriptedServer, new_session: NewSession) -> None:
    session = new_session()
    async with holding(scripted, session) as (peer, lock):
        peer.break_off()
        back, request = await scripted.accept_open()
        assert request.open.resume.after == at(8)
        await back.welcome_back("s1", 8)
        await settled(back, session)
        assert lock.held
        assert lock.fencing_token == 6
        assert not lock.lost.is_set()


async def test_a_lock_released_while_away_is_lost(scripted: ScriptedServer, new_session: NewSession) -> None:
    session = new_session()
    async with holding(scripted, session) as (peer, lock):
        peer.break_off()
        back, _open = await scripted.accept_open()
        await back.welcome_back("s1", 9, released(9, FIELD, "s1", 6, lock_pb2.LOCK_RELEASE_REASON_FORCED))
        await settled(back, session)
        assert lock.lost.is_set()
        assert not lock.held


async def test_a_lock_that_the_snapshot_of_a_resumed_session_does_not_have_is_lost(
    scripted: ScriptedServer, new_session: NewSession
) -> None:
    session = new_session()
    async with holding(scripted, session) as (peer, lock):
        peer.break_off()
        back, _open = await scripted.accept_open()
        attachment = session_event_pb2.ATTACHMENT_SNAPSHOT
        await back.send(opened("s1", attachment, 5000), snapshot(head=9), caught_up(5000))
        await settled(back, session)
        assert lock.lost.is_set()


async def test_a_session_that_was_replaced_asks_its_locks_back(
    scripted: ScriptedServer, new_session: NewSession
) -> None:
    session = new_session()
    async with holding(scripted, session) as (peer, lock):
        peer.break_off()
        back, _open = await scripted.accept_open()
        await back.replace("s2", 9, released(9, FIELD, "s1", 6, lock_pb2.LOCK_RELEASE_REASON_STREAM_GONE))
        request = await back.take("acquire_lock")
        assert request.acquire_lock.if_unchanged_since == 6
        assert request.acquire_lock.purpose == "typo"
        await back.reply(request, acquired=granted(FIELD, "s2", 7, head=3, sequence=10))
        await settled(back, session)
        assert session.session_id == "s2"
        assert lock.held
        assert lock.fencing_token == 7
        assert not lock.lost.is_set()


async def test_a_lock_that_is_not_given_back_is_lost(scripted: ScriptedServer, new_session: NewSession) -> None:
    session = new_session()
    async with holding(scripted, session) as (peer, lock):
        peer.break_off()
        back, _open = await scripted.accept_open()
        await back.replace("s2", 8)
        intervened = status(grpc.StatusCode.FAILED_PRECONDITION, "LOCK_INTERVENED", field=FIELD)
        await back.reply(await back.take("acquire_lock"), error=intervened)
        await settled(back, session)
        assert lock.lost.is_set()
        assert not lock.held


async def test_unanswered_heartbeats_lose_the_locks_and_a_resumed_stream_brings_them_back(
    scripted: ScriptedServer, new_session: NewSession
) -> None:
    """Whether they were lost the server decides; until it speaks, nobody may rely on them."""
    session = new_session(timing=Timing(lease_s=0.8, silence_s=1.2))
    async with holding(scripted, session) as (peer, lock):
        peer.answers_heartbeats = False
        await soon(lock.lost.wait())
        assert lock.held
        back, _open = await scripted.accept_open()
        back.answers_heartbeats = False
        await back.welcome_back("s1", 8)
        await settled(back, session)
        assert not lock.lost.is_set()


async def test_the_lease_begins_with_the_stream(scripted: ScriptedServer, new_session: NewSession) -> None:
    """A server that lets a session in and never answers a heartbeat must not be trusted for ever."""
    session = new_session(timing=Timing(lease_s=0.3))
    async with holding(scripted, session, answers_heartbeats=False) as (_peer, lock):
        await soon(lock.lost.wait())
        assert lock.held


async def test_a_grant_whose_reply_got_lost_is_found_in_the_log(
    scripted: ScriptedServer, new_session: NewSession
) -> None:
    """The lock was asked back and granted, and the stream broke before the reply came."""
    session = new_session()
    async with holding(scripted, session) as (peer, lock):
        peer.break_off()
        second, _open = await scripted.accept_open()
        await second.replace("s2", 9, released(9, FIELD, "s1", 6, lock_pb2.LOCK_RELEASE_REASON_STREAM_GONE))
        await second.take("acquire_lock")
        second.break_off()
        third, _open = await scripted.accept_open()
        await third.welcome_back("s2", 10, acquired(10, FIELD, "s2", 7))
        await settled(third, session)
        assert lock.held
        assert lock.fencing_token == 7


async def test_a_late_answer_on_the_same_stream_ends_the_doubt(
    scripted: ScriptedServer, new_session: NewSession
) -> None:
    async with holding(scripted, new_session(timing=Timing(lease_s=0.5))) as (peer, lock):
        peer.answers_heartbeats = False
        await soon(lock.lost.wait())
        peer.answers_heartbeats = True
        async with asyncio.timeout(5):
            while lock.lost.is_set():
                await peer.heartbeats.get()
        assert lock.held


async def test_the_end_of_the_session_loses_its_locks(scripted: ScriptedServer, new_session: NewSession) -> None:
    async with holding(scripted, new_session()) as (peer, lock):
        peer.end(status(grpc.StatusCode.ABORTED, "SESSION_ENDED", session_id="s1"))
        await soon(lock.lost.wait())
        assert not lock.held


async def test_a_save_in_flight_is_sent_again_under_the_same_request_id(
    scripted: ScriptedServer, new_session: NewSession
) -> None:
    async with holding(scripted, new_session()) as (peer, lock):
        saving = asyncio.create_task(lock.save("better"))
        first = await peer.take("create_draft")
        peer.break_off()
        back, _open = await scripted.accept_open()
        await back.welcome_back("s1", 8)
        second = await back.take("create_draft")
        assert second == first
        await back.reply(second, saved=saved(4, lock_of(FIELD, "s1", 6)))
        assert (await soon(saving)).draft.version_number == 4
        assert not lock.held


async def test_commands_given_while_away_wait_for_the_stream(scripted: ScriptedServer, new_session: NewSession) -> None:
    async with holding(scripted, new_session()) as (peer, lock):
        peer.break_off()
        back, _open = await scripted.accept_open()
        saving = asyncio.create_task(lock.save("better"))
        await back.replace("s2", 8)
        await back.reply(await back.take("acquire_lock"), acquired=granted(FIELD, "s2", 7, head=3, sequence=9))
        request = await back.take("create_draft")
        assert request.create_draft.locks[0].fencing_token == 7
        await back.reply(request, saved=saved(4, lock_of(FIELD, "s2", 7)))
        await soon(saving)


async def test_a_save_that_a_replaced_session_refuses_is_tried_under_the_new_token(
    scripted: ScriptedServer, new_session: NewSession
) -> None:
    async with holding(scripted, new_session()) as (peer, lock):
        saving = asyncio.create_task(lock.save("better"))
        first = await peer.take("create_draft")
        peer.break_off()
        back, _open = await scripted.accept_open()
        await back.replace("s2", 8)
        await back.reply(await back.take("acquire_lock"), acquired=granted(FIELD, "s2", 7, head=3, sequence=9))
        await back.reply(await back.take("create_draft"), **lock_lost())
        second = await back.take("create_draft")
        assert second.create_draft.request_id != first.create_draft.request_id
        assert second.create_draft.locks[0].fencing_token == 7
        await back.reply(second, saved=saved(4, lock_of(FIELD, "s2", 7)))
        await soon(saving)


async def test_a_save_under_a_lost_lock_is_refused(scripted: ScriptedServer, new_session: NewSession) -> None:
    async with holding(scripted, new_session()) as (peer, lock):
        saving = asyncio.create_task(lock.save("better"))
        await peer.reply(await peer.take("create_draft"), **lock_lost())
        with pytest.raises(LockLost):
            await soon(saving)


async def test_a_grant_that_overtook_the_snapshot_of_a_resync_is_kept(
    scripted: ScriptedServer, new_session: NewSession
) -> None:
    session = new_session()
    async with holding(scripted, session) as (peer, lock):
        events = session.events()
        reason = session_event_pb2.RESYNC_REASON_SLOW_READER
        await peer.send(ServerEvent(resync=session_event_pb2.Resync(reason=reason)), snapshot(head=3), caught_up(7))
        while not (await soon(anext(events))).HasField("caught_up"):
            pass
        await settled(peer, session)
        assert lock.held
