"""The promises of a ``LockRegistry``, for every backend."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from foundry.coordination.ports import LockRegistry
from foundry.domain.lock import Lock
from foundry.domain.principal import Principal
from tests.store.manual_clock import ManualClock

TTL_S = 15.0

TimePasses = Callable[[float], Awaitable[None]]


async def acquire(locks: LockRegistry, session_id: str, *, project_id: str = "p", field: str = "f") -> bool:
    """A claim by a session of a user of the same name."""
    return await locks.acquire(project_id, field, f"user of {session_id}", session_id, TTL_S)


def lock(session_id: str, fence: int, field: str = "f") -> Lock:
    """A grant to a session of a user of the same name."""
    return Lock(f"l{fence}", "p", field, Principal(f"user of {session_id}"), session_id, fence, 1, 2)


async def test_of_many_callers_one_wins(locks: LockRegistry) -> None:
    """Acquire is atomic: fifty sessions at once, one claim."""
    won = await asyncio.gather(*[acquire(locks, f"s{number}") for number in range(50)])
    assert won.count(True) == 1


async def test_the_winner_asks_again_and_is_told_yes(locks: LockRegistry) -> None:
    """A session never stands in its own way, claimed or held; a session of the same user does."""
    assert await acquire(locks, "s1")
    assert await acquire(locks, "s1")
    await locks.confirm("p", "f", "user of s1", "s1", 1)
    assert await acquire(locks, "s1")
    assert not await locks.acquire("p", "f", "user of s1", "s2", TTL_S)


async def test_fields_and_projects_are_apart(locks: LockRegistry) -> None:
    """A claim is on one field of one project."""
    assert await acquire(locks, "s1")
    assert await acquire(locks, "s2", field="g")
    assert await acquire(locks, "s3", project_id="q")
    assert not await acquire(locks, "s4")


async def test_a_claim_that_nobody_confirms_expires(locks: LockRegistry, time_passes: TimePasses) -> None:
    """A server that dies between claim and grant blocks a field for the claim's time and no longer."""
    assert await acquire(locks, "s1")
    await time_passes(TTL_S - 5)
    assert not await acquire(locks, "s2")
    await time_passes(5.001)
    assert await acquire(locks, "s2")
    assert not await acquire(locks, "s1")


async def test_a_claim_that_is_made_again_counts_again(locks: LockRegistry, time_passes: TimePasses) -> None:
    """Whoever is told yes has the field for the claim's time from then on, also after an older claim ran out."""
    for wait_s in (0, TTL_S + 1, TTL_S - 5, TTL_S - 5):
        await time_passes(wait_s)
        assert await acquire(locks, "s1")
        assert not await acquire(locks, "s2")


async def test_a_step_of_the_wall_clock_expires_nothing(locks: LockRegistry, clock: ManualClock) -> None:
    """Spans are measured on a clock that never steps."""
    assert await acquire(locks, "s1")
    clock.step(24 * 3600)
    assert not await acquire(locks, "s2")


async def test_a_grant_does_not_expire(locks: LockRegistry, time_passes: TimePasses) -> None:
    """What the database granted is shown until it says otherwise."""
    assert await acquire(locks, "s1")
    await locks.confirm("p", "f", "user of s1", "s1", 1)
    await time_passes(24 * 3600)
    assert not await acquire(locks, "s2")


async def test_a_grant_replaces_any_claim_and_any_older_grant(locks: LockRegistry) -> None:
    """The database is right: whoever it granted the field to has it, whoever claimed it."""
    assert await acquire(locks, "s1")
    await locks.confirm("p", "f", "user of s2", "s2", 4)
    assert not await acquire(locks, "s1")
    await locks.confirm("p", "f", "user of s3", "s3", 5)
    assert not await acquire(locks, "s2")
    assert await acquire(locks, "s3")


async def test_a_late_confirm_of_an_older_holder_does_nothing(locks: LockRegistry) -> None:
    """News that arrive out of order cannot bring an older grant back."""
    await locks.confirm("p", "f", "user of s2", "s2", 5)
    await locks.confirm("p", "f", "user of s1", "s1", 4)
    assert await acquire(locks, "s2")
    assert not await acquire(locks, "s1")


async def test_a_late_release_of_an_older_grant_does_nothing(locks: LockRegistry) -> None:
    """Neither the release of an older holder, nor that of an older grant of the same session, frees a newer grant."""
    await locks.confirm("p", "f", "user of s2", "s2", 5)
    await locks.release("p", "f", "s1", 4)
    await locks.release("p", "f", "s2", 4)
    await locks.release("p", "f", "s1", 9)
    assert not await acquire(locks, "s3")


async def test_a_release_frees_the_field(locks: LockRegistry) -> None:
    """Its own fence, or a newer one that the registry never heard of, ends what is shown; twice does no harm."""
    await locks.confirm("p", "f", "user of s1", "s1", 1)
    await locks.release("p", "f", "s1", 1)
    await locks.release("p", "f", "s1", 1)
    assert await acquire(locks, "s2")
    await locks.confirm("p", "f", "user of s2", "s2", 2)
    await locks.release("p", "f", "s2", 3)
    assert await acquire(locks, "s3")


async def test_fence_0_gives_only_a_claim_back(locks: LockRegistry) -> None:
    """A refused acquire lets go of its claim, but never of a grant that was made meanwhile."""
    assert await acquire(locks, "s1")
    await locks.release("p", "f", "s2", 0)
    assert not await acquire(locks, "s2")
    await locks.release("p", "f", "s1", 0)
    assert await acquire(locks, "s2")
    await locks.confirm("p", "f", "user of s2", "s2", 1)
    await locks.release("p", "f", "s2", 0)
    assert not await acquire(locks, "s3")


async def test_releasing_what_is_not_there_is_nothing(locks: LockRegistry) -> None:
    """A registry that forgot everything hears of releases, and frees nothing and fails nowhere."""
    await locks.release("p", "f", "s1", 3)
    assert await acquire(locks, "s1")


async def test_a_grant_that_is_renewed_does_not_expire(locks: LockRegistry, time_passes: TimePasses) -> None:
    """However long it is held: each renewal counts from when it is made, for all that are renewed together."""
    held = [lock("s1", 1), lock("s1", 4, "g"), lock("s2", 2, "h")]
    for one in held:
        await locks.confirm("p", one.field, one.holder.subject, one.session_id, one.fencing_token)
    for _ in range(4):
        await time_passes(TTL_S - 5)
        await locks.renew(held)
        assert [await acquire(locks, "s3", field=one.field) for one in held] == [False] * 3


async def test_a_renewal_shows_what_was_forgotten(locks: LockRegistry) -> None:
    """A registry that lost everything is told by the next renewal, over any claim that was made meanwhile."""
    assert await acquire(locks, "s2")
    await locks.renew([lock("s1", 3)])
    assert not await acquire(locks, "s2")
    assert await acquire(locks, "s1")
    await locks.renew([])


async def test_a_late_renewal_of_an_older_holder_does_nothing(locks: LockRegistry) -> None:
    """Neither another session's older grant nor an older one of the same session comes back."""
    await locks.confirm("p", "f", "user of s2", "s2", 5)
    await locks.renew([lock("s1", 4)])
    await locks.renew([lock("s2", 4)])
    assert await acquire(locks, "s2")
    assert not await acquire(locks, "s1")
    await locks.release("p", "f", "s2", 4)
    assert not await acquire(locks, "s1")
