"""Locks over a failover of the database: versions and tokens are given a second time, so only content tells."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from coreason.foundry.v1 import draft_pb2, lock_pb2, session_event_pb2
from coreason.foundry.v1.session_pb2 import ProjectSessionRequest
from foundry.client import HeldLock, Session
from tests.client.conftest import NewSession
from tests.client.scripted import Peer, ScriptedServer, at, caught_up, lock_of, opened, snapshot, soon

FIELD = "system_prompt"
OURS, THEIRS, SAVED = "11" * 32, "22" * 32, "33" * 32


def granted(session_id: str, token: int, head: int, sha256: str, epoch: int) -> lock_pb2.AcquiredLock:
    """A grant that tells what the field holds."""
    lock = lock_of(FIELD, session_id, token)
    return lock_pb2.AcquiredLock(lock=lock, head_version=head, position=at(8, epoch), field_sha256=sha256)


@asynccontextmanager
async def holding(scripted: ScriptedServer, session: Session) -> AsyncIterator[tuple[Peer, HeldLock]]:
    """A session ``s1`` that holds FIELD with token 6 on head 9 of the first history."""
    opening = asyncio.create_task(session.__aenter__())
    peer, _open = await scripted.accept_open()
    await peer.welcome("s1", head=9, sequence=7)
    await soon(opening)
    acquiring = asyncio.create_task(session.acquire(FIELD, purpose="typo"))
    await peer.reply(await peer.take("acquire_lock"), acquired=granted("s1", 6, 9, OURS, epoch=1))
    try:
        yield peer, await soon(acquiring)
    finally:
        await session._link.stop()


async def failed_over(scripted: ScriptedServer, peer: Peer) -> tuple[Peer, ProjectSessionRequest]:
    """The session comes back as ``s2`` into another history, and asks for its lock."""
    peer.break_off()
    back, _open = await scripted.accept_open()
    snapshot_of_it = session_event_pb2.ATTACHMENT_SNAPSHOT
    await back.send(opened("s2", snapshot_of_it, 7, epoch=2), snapshot(head=4), caught_up(7, epoch=2))
    return back, await back.take("acquire_lock")


async def settled(peer: Peer, session: Session) -> None:
    """Wait until the session is live again: only then a command comes through."""
    showing = asyncio.create_task(session.update_presence())
    await peer.reply(await peer.take("update_presence"), done=session_event_pb2.Done())
    await soon(showing)


def draft(version: int, sha256: str) -> draft_pb2.CreateDraftResponse:
    """The answer to a save that keeps its lock."""
    change = draft_pb2.ChangedField(field=FIELD, after_sha256=sha256)
    return draft_pb2.CreateDraftResponse(
        draft=draft_pb2.Draft(version_number=version, changed_fields=[change]),
        outcome=draft_pb2.SAVE_OUTCOME_COMMITTED,
    )


async def test_a_lock_is_got_back_over_a_failover_if_its_field_is_the_same(
    scripted: ScriptedServer, new_session: NewSession
) -> None:
    """No number of before is shown, and the next save is based on a version of the new history."""
    session = new_session()
    async with holding(scripted, session) as (peer, lock):
        back, asked = await failed_over(scripted, peer)
        assert asked.acquire_lock.if_unchanged_since == 0
        await back.reply(asked, acquired=granted("s2", 2, 4, OURS, epoch=2))
        await settled(back, session)
        saving = asyncio.create_task(lock.save("better", keep=True))
        save = (await back.take("create_draft")).create_draft
        assert save.base_version == 4
        assert save.locks[0].fencing_token == 2
        assert not lock.lost.is_set()
        saving.cancel()


async def test_a_save_that_waits_for_the_session_is_of_the_history_it_is_sent_in(
    scripted: ScriptedServer, new_session: NewSession
) -> None:
    """Called while the session was away: token and base are those of the grant that the lock was got back under."""
    session = new_session()
    async with holding(scripted, session) as (peer, lock):
        back, asked = await failed_over(scripted, peer)
        saving = asyncio.create_task(lock.save("better", keep=True))
        await asyncio.sleep(0)
        await back.reply(asked, acquired=granted("s2", 2, 4, OURS, epoch=2))
        save = (await back.take("create_draft")).create_draft
        assert (save.base_version, save.locks[0].fencing_token) == (4, 2)
        saving.cancel()


async def test_a_lock_is_lost_over_a_failover_if_its_field_is_another(
    scripted: ScriptedServer, new_session: NewSession
) -> None:
    """Somebody else has changed it, or a change of one's own is gone: it is given back, or nobody would get it."""
    session = new_session()
    async with holding(scripted, session) as (peer, lock):
        back, asked = await failed_over(scripted, peer)
        await back.reply(asked, acquired=granted("s2", 6, 9, THEIRS, epoch=2))
        given_back = await back.take("release_lock")
        assert (given_back.release_lock.field, given_back.release_lock.fencing_token) == (FIELD, 6)
        await back.reply(given_back, released=lock_of(FIELD, "s2", 6))
        await soon(lock.lost.wait())
        assert not lock.held


@pytest.mark.parametrize(("found", "kept"), [(SAVED, True), (OURS, False)], ids=["its own save", "what was before it"])
async def test_what_a_field_held_is_the_own_newest_save_of_it(
    scripted: ScriptedServer, new_session: NewSession, found: str, kept: bool
) -> None:
    session = new_session()
    async with holding(scripted, session) as (peer, lock):
        saving = asyncio.create_task(lock.save("better", keep=True))
        await peer.reply(await peer.take("create_draft"), saved=draft(10, SAVED))
        await soon(saving)
        back, asked = await failed_over(scripted, peer)
        await back.reply(asked, acquired=granted("s2", 2, 4, found, epoch=2))
        if not kept:
            await back.reply(await back.take("release_lock"), released=lock_of(FIELD, "s2", 2))
        await settled(back, session)
        assert lock.held == kept
        assert lock.lost.is_set() != kept
