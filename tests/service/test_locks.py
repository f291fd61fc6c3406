"""The LockService and the unary calls of the SessionService: what a stream does, done by RPC."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from coreason.foundry.v1 import lock_pb2, project_pb2, session_pb2
from tests.service.clocks import LateClock
from tests.service.house import House, housed
from tests.service.logs import entries_of
from tests.service.refusals import refused
from tests.service.saves import sha256
from tests.support import running_server

pytestmark = pytest.mark.asyncio(loop_scope="module")

SECOND_NS = 1_000_000_000


def _acquire(project_id: str, session_id: str, field: str, **more: Any) -> lock_pb2.AcquireLockRequest:
    return lock_pb2.AcquireLockRequest(project_id=project_id, session_id=session_id, field=field, **more)


def _release(project_id: str, session_id: str, field: str, token: int) -> lock_pb2.ReleaseLockRequest:
    return lock_pb2.ReleaseLockRequest(project_id=project_id, session_id=session_id, field=field, fencing_token=token)


async def _last(house: House, project_id: str) -> Any:
    return (await entries_of(house.olga, project_id))[-1]


async def test_a_grant_tells_what_the_field_holds(house: House) -> None:
    """So that nobody starts typing on old text; position and log entry are those of the grant."""
    project_id = await house.project(bob=project_pb2.ROLE_EDITOR)
    await house.olga.save(project_id, a="1", b="1")
    await house.olga.save(project_id, 1, b="2")
    bob = house.caller("bob", name="Bob B.")
    async with bob.session(project_id) as session:
        acquired = (await bob.call(_acquire(project_id, session.session_id, "a", purpose="typos"))).acquired
        assert (acquired.field_version, acquired.field_sha256, acquired.head_version) == (1, sha256("1"), 2)
        lock = acquired.lock
        assert (lock.project_id, lock.field, lock.session_id) == (project_id, "a", session.session_id)
        assert (lock.holder.subject, lock.holder.display_name, lock.purpose) == ("bob", "Bob B.", "typos")
        assert lock.expire_time.ToNanoseconds() - lock.acquire_time.ToNanoseconds() == 900 * SECOND_NS
        entry = await _last(house, project_id)
        assert (entry.lock_acquired.lock_id, entry.position) == (lock.lock_id, acquired.position)
        get = lock_pb2.GetLockRequest(project_id=project_id, field="a")
        assert (await house.olga.call(get)).lock == lock
        assert list((await house.olga.call(lock_pb2.ListLocksRequest(project_id=project_id))).locks) == [lock]
        new = (await bob.call(_acquire(project_id, session.session_id, "new"))).acquired
        assert (new.field_version, new.field_sha256) == (0, "")


async def test_a_held_field_is_refused_with_its_holder(house: House) -> None:
    """Every time alike, also for the first who asks after a refusal; free again, it is granted under the next token."""
    project_id = await house.project(bob=project_pb2.ROLE_EDITOR)
    bob = house.caller("bob", name="Bob B.")
    async with bob.session(project_id) as his, house.olga.session(project_id) as hers:
        await bob.call(_acquire(project_id, his.session_id, "a"))
        async with house.unchanged(project_id):
            for _ in range(3):
                refusal = await refused(
                    house.olga.call(_acquire(project_id, hers.session_id, "a")),
                    "LOCK_HELD",
                    holder="bob",
                    holder_name="Bob B.",
                    session_id=his.session_id,
                    fencing_token="1",
                )
                assert refusal.violations == [("fields/a", "held by Bob B. (bob)")]
        await bob.call(_release(project_id, his.session_id, "a", 1))
        granted = (await house.olga.call(_acquire(project_id, hers.session_id, "a"))).acquired
        assert granted.lock.fencing_token == 2


async def test_a_release_is_logged_as_cancelled(house: House) -> None:
    """Only the holder's own, under its token; then the field is free."""
    project_id = await house.project(bob=project_pb2.ROLE_EDITOR)
    bob = house.caller("bob")
    async with bob.session(project_id) as session, bob.session(project_id) as other:
        granted = (await bob.call(_acquire(project_id, session.session_id, "a"))).acquired
        async with house.unchanged(project_id):
            await refused(bob.call(_release(project_id, session.session_id, "a", 2)), "LOCK_LOST")
            await refused(bob.call(_release(project_id, other.session_id, "a", 1)), "LOCK_LOST", holder="bob")
        released = await bob.call(_release(project_id, session.session_id, "a", 1))
        assert released.lock == granted.lock
        entry = await _last(house, project_id)
        assert entry.lock_released.release_reason == lock_pb2.LOCK_RELEASE_REASON_CANCEL
        assert (entry.position, entry.actor.subject) == (released.position, "bob")
        get = lock_pb2.GetLockRequest(project_id=project_id, field="a")
        await refused(bob.call(get), "RESOURCE_NOT_FOUND", resource_type="lock", resource_id="a")


async def test_a_conditional_acquire_finds_who_was_there(house: House) -> None:
    """Granted only if nobody held the field since; to get back what a blip took, and never over somebody's work."""
    project_id = await house.project(bob=project_pb2.ROLE_EDITOR)
    bob = house.caller("bob")
    async with bob.session(project_id) as his, house.olga.session(project_id) as hers:
        await bob.call(_acquire(project_id, his.session_id, "a"))
        await bob.call(_release(project_id, his.session_id, "a", 1))
        back = (await bob.call(_acquire(project_id, his.session_id, "a", if_unchanged_since=1))).acquired
        assert back.lock.fencing_token == 2
        await bob.call(_release(project_id, his.session_id, "a", 2))
        await house.olga.call(_acquire(project_id, hers.session_id, "a"))
        await house.olga.call(_release(project_id, hers.session_id, "a", 3))
        late = _acquire(project_id, his.session_id, "a", if_unchanged_since=2)
        async with house.unchanged(project_id):
            await refused(
                bob.call(late), "LOCK_INTERVENED", field="a", if_unchanged_since="2", current_fencing_token="3"
            )


async def test_a_break_takes_the_lock_that_was_seen(house: House) -> None:
    """FORCED with breaker, holder and reason; a lock that changed hands meanwhile is not broken by mistake."""
    project_id = await house.project(bob=project_pb2.ROLE_EDITOR)
    bob = house.caller("bob")
    async with bob.session(project_id) as session:
        granted = (await bob.call(_acquire(project_id, session.session_id, "a"))).acquired
        request = lock_pb2.BreakLockRequest(project_id=project_id, field="a", fencing_token=2, reason="vacation")
        async with house.unchanged(project_id):
            await refused(house.olga.call(request), "LOCK_LOST", holder="bob", current_fencing_token="1")
        request.fencing_token = 1
        broken = await house.olga.call(request)
        assert broken.lock == granted.lock
        entry = await _last(house, project_id)
        assert entry.lock_released.release_reason == lock_pb2.LOCK_RELEASE_REASON_FORCED
        assert (entry.actor.subject, entry.lock_released.holder, entry.reason) == ("olga", "bob", "vacation")
        assert entry.position == broken.position
        renew = lock_pb2.RenewLockRequest(
            project_id=project_id, session_id=session.session_id, field="a", fencing_token=1
        )
        await refused(bob.call(renew), "LOCK_LOST", current_fencing_token="1")
        async with house.unchanged(project_id):
            await refused(house.olga.call(request), "LOCK_LOST")


async def test_ending_a_session_releases_its_locks(house: House) -> None:
    """FORCED, in the same transaction, with who ended it and why."""
    project_id = await house.project(bob=project_pb2.ROLE_EDITOR)
    bob = house.caller("bob")
    async with bob.session(project_id, client_name="editor") as session:
        for field in "ba":
            await session.acquire(field)
        [listed] = (await house.olga.call(session_pb2.ListSessionsRequest(project_id=project_id))).sessions
        assert (listed.session_id, listed.principal.subject) == (session.session_id, "bob")
        assert (listed.client.name, listed.detached) == ("editor", False)
        request = session_pb2.EndSessionRequest(
            project_id=project_id, session_id=session.session_id, reason="went home"
        )
        ended = await house.olga.call(request)
        entries = (await entries_of(house.olga, project_id))[-3:]
    assert [entry.lock_released.field for entry in entries[:2]] == ["a", "b"]
    assert {entry.lock_released.release_reason for entry in entries[:2]} == {lock_pb2.LOCK_RELEASE_REASON_FORCED}
    assert {(entry.actor.subject, entry.reason) for entry in entries} == {("olga", "went home")}
    assert (entries[2].session_closed.subject, entries[2].position) == ("bob", ended.position)
    assert not (await house.olga.call(session_pb2.ListSessionsRequest(project_id=project_id))).sessions


@pytest.fixture
async def clock() -> LateClock:
    return LateClock()


@pytest.fixture
async def timed(tmp_path: Path, clock: LateClock) -> AsyncIterator[House]:
    """A house whose clock the test moves."""
    async with running_server(tmp_path / "data", clock=clock) as server, housed(server) as house:
        yield house


@pytest.mark.asyncio(loop_scope="function")
async def test_a_renewal_puts_off_the_idle_release(timed: House, clock: LateClock) -> None:
    """By the idle limit from now, without an entry; under the holder's own token only."""
    project_id = await timed.project()
    async with timed.olga.session(project_id) as session:
        lock = (await timed.olga.call(_acquire(project_id, session.session_id, "a"))).acquired.lock
        before = (await timed.state(project_id)).entries
        clock.ahead_s = 60
        renew = lock_pb2.RenewLockRequest(
            project_id=project_id, session_id=session.session_id, field="a", fencing_token=1
        )
        renewed = (await timed.olga.call(renew)).lock
        put_off = renewed.expire_time.ToNanoseconds() - lock.expire_time.ToNanoseconds()
        assert 60 * SECOND_NS <= put_off < 65 * SECOND_NS
        assert (renewed.lock_id, renewed.acquire_time) == (lock.lock_id, lock.acquire_time)
        assert (await timed.olga.call(lock_pb2.GetLockRequest(project_id=project_id, field="a"))).lock == renewed
        assert (await timed.state(project_id)).entries == before
        renew.fencing_token = 2
        async with timed.unchanged(project_id):
            await refused(timed.olga.call(renew), "LOCK_LOST", fencing_token="2", current_fencing_token="1")
