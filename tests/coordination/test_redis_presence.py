"""What presence keeps when Redis forgets, goes away, or is edited by hand, and when a replica dies or is left."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from foundry.coordination.redis import RedisLink, RedisPresenceRegistry
from foundry.domain.principal import Principal
from foundry.domain.session import Activity, Presence
from tests.coordination.conftest import PATIENCE_S, age, kept_up, linked, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from redis.asyncio import Redis

    from tests.servers.redis import RedisServer
    from tests.store.manual_clock import ManualClock

KEY = "presence:project:p"
ALICE = Presence("s1", Principal("alice"), 1)
BOB = Presence("s2", Principal("bob"), 2)


@pytest.fixture
async def link(own_redis: RedisServer) -> AsyncIterator[RedisLink]:
    async with linked(own_redis.url) as link:
        yield link


@pytest.fixture
def here(link: RedisLink, clock: ManualClock) -> RedisPresenceRegistry:
    """The registry of one replica."""
    return RedisPresenceRegistry(link, replica_id="r1", clock=clock)


@pytest.fixture
async def there(own_redis: RedisServer, clock: ManualClock) -> AsyncIterator[RedisPresenceRegistry]:
    """That of another."""
    async with linked(own_redis.url) as link:
        yield RedisPresenceRegistry(link, replica_id="r2", clock=clock)


Registry = RedisPresenceRegistry


async def test_replicas_see_each_other(here: Registry, there: Registry) -> None:
    """Everybody in the project, wherever their stream is; taken away wherever their end is noticed."""
    await here.put("p", ALICE)
    await there.put("p", BOB)
    assert await here.present("p") == await there.present("p") == [ALICE, BOB]
    await here.remove("p", "s2")
    assert await here.present("p") == [ALICE]


async def test_where_a_session_was_before_shows_it_too_late(here: Registry, there: Registry) -> None:
    """It moved, and is shown where it is; also to those it left, and after the next renewal of both."""
    former, now = replace(ALICE, stream_epoch=1), replace(ALICE, stream_epoch=2)
    await here.put("p", former)
    await there.put("p", now)
    await here.put("p", replace(former, reconnecting=True))
    here.let_go("p", "s1")
    for _ in range(2):
        assert await here.present("p") == await there.present("p") == [now]
        await here.renew()
        await there.renew()


async def test_where_a_session_is_shows_it_though_redis_forgot(here: Registry, there: Registry, hand: Redis) -> None:
    """Where it was before may renew first, as long as it does not know."""
    now = replace(ALICE, stream_epoch=2)
    await here.put("p", replace(ALICE, stream_epoch=1, reconnecting=True))
    await there.put("p", now)
    await hand.flushall()
    await here.renew()
    await there.renew()
    assert await there.present("p") == [now]


async def test_who_took_a_session_away_does_not_believe_who_shows_it_late(here: Registry, there: Registry) -> None:
    """Its end was told here, and comes to the other one a moment later."""
    await here.put("p", ALICE)
    await here.remove("p", "s1")
    await there.put("p", ALICE)
    assert await here.present("p") == []


async def test_the_sessions_of_a_dead_replica_go_when_their_lease_is_over(
    here: Registry, there: Registry, hand: Redis
) -> None:
    """Those that are renewed stay. The key itself goes with the last."""
    await here.put("p", ALICE)
    await there.put("p", BOB)
    for seconds in (10, 4):
        await age(hand, seconds)
        await here.renew()
        assert await here.present("p") == [ALICE, BOB]
    await age(hand, 1.001)
    assert await here.present("p") == [ALICE]
    assert await hand.hkeys(KEY) == [b"s1"]
    await age(hand, 15.001)
    assert not await hand.exists(KEY)


async def test_its_upkeep_renews_leases(link: RedisLink, hand: Redis, clock: ManualClock) -> None:
    """Again and again, three times a lease, without anybody asking."""
    registry = RedisPresenceRegistry(link, replica_id="r1", ttl_s=0.3, clock=clock)
    await registry.put("p", ALICE)
    leases: set[int] = set()
    async with kept_up(registry.run()), asyncio.timeout(PATIENCE_S):
        while len(leases) < 5:
            if text := await hand.hget(KEY, "s1"):
                leases.add(json.loads(text)["expires_at"])


async def test_everything_flushed_is_back_with_the_next_renewal(here: Registry, there: Registry, hand: Redis) -> None:
    """A process never forgets its own sessions."""
    await here.put("p", ALICE)
    await there.put("p", BOB)
    await hand.flushall()
    await hand.script_flush()
    assert await here.present("p") == [ALICE]
    await there.renew()
    assert await here.present("p") == [ALICE, BOB]
    await here.renew()
    assert await there.present("p") == [ALICE, BOB]


async def test_without_redis_the_own_and_those_last_seen_are_present(
    own_redis: RedisServer, here: Registry, there: Registry, clock: ManualClock
) -> None:
    """Until the leases of the others are over, on a clock that never steps; own sessions go on coming and going."""
    await here.put("p", ALICE)
    await there.put("p", BOB)
    assert await here.present("p") == [ALICE, BOB]
    own_redis.kill()
    carol = replace(ALICE, session_id="s3")
    await here.put("p", carol)
    await here.remove("p", "s1")
    clock.advance(14)
    clock.step(3600)
    assert await here.present("p") == [BOB, carol]
    clock.advance(1.5)
    await here.renew()
    assert await here.present("p") == [carol]
    assert await here.present("q") == []


async def test_an_end_that_redis_missed_is_an_end(
    own_redis: RedisServer, here: Registry, link: RedisLink, hand: Redis
) -> None:
    """Who left while Redis was away is not seen again by the process they left, though Redis still lists them."""
    await here.put("p", ALICE)
    kept = await hand.hget(KEY, "s1")
    assert kept
    own_redis.kill()
    await here.remove("p", "s1")
    own_redis.start()
    await until(lambda: link.up)
    await hand.hset(KEY, "s1", kept)
    assert await here.present("p") == []
    await here.put("p", ALICE)
    assert await here.present("p") == [ALICE]


async def test_a_session_that_moved_is_shown_as_its_new_replica_shows_it(here: Registry, there: Registry) -> None:
    """Nothing of the old one takes it back: no renewal, and not what it remembers."""
    typing = replace(ALICE, shown=Activity("system_prompt", "1:1", "typing"))
    await here.put("p", ALICE)
    await there.put("p", typing)
    await here.renew()
    assert await here.present("p") == await there.present("p") == [typing]
    here.let_go("p", "s1")
    await here.renew()
    await there.remove("p", "s1")
    await here.renew()
    assert await here.present("p") == await there.present("p") == []


async def test_a_session_that_was_let_go_stays_until_its_lease_is_over(
    own_redis: RedisServer, here: Registry, there: Registry, hand: Redis, clock: ManualClock
) -> None:
    """Whoever took it over may need a moment; if nobody does, it goes. Letting go twice is nothing."""
    await here.put("p", ALICE)
    here.let_go("p", "s1")
    here.let_go("p", "s1")
    await age(hand, 10)
    await here.renew()
    assert await here.present("p") == await there.present("p") == [ALICE]
    await age(hand, 5.001)
    assert await here.present("p") == await there.present("p") == []
    own_redis.kill()
    await here.put("p", BOB)
    here.let_go("p", "s2")
    assert await here.present("p") == [BOB]
    clock.advance(15.001)
    assert await here.present("p") == []


@pytest.mark.parametrize(
    "text",
    [
        b"not JSON",
        b"",
        b"null",
        b"[]",
        b'"s9"',
        b"{}",
        b"\xff\xfe",
        b'{"expires_at":9e15}',
        b'{"expires_at":"soon","replica_id":"r9"}',
        b'{"expires_at":9e15,"replica_id":"r9"}',
        b'{"expires_at":9e15,"replica_id":"r9","presence":{"session_id":"s9"}}',
        b'{"expires_at":9e15,"replica_id":9,"presence":null}',
        b'{"expires_at":NaN,"replica_id":"r9"}',
    ],
)
async def test_what_is_unreadable_is_not_present(here: Registry, link: RedisLink, hand: Redis, text: bytes) -> None:
    """Members edited by hand are passed over, replaced by who has that session, and no sign of an outage."""
    await here.put("p", ALICE)
    await hand.hset(KEY, "s9", text)
    await hand.hset(KEY, "s1", text)
    assert await here.present("p") == [ALICE]
    await here.renew()
    await here.put("p", replace(BOB, session_id="s9"))
    assert await here.present("p") == [ALICE, replace(BOB, session_id="s9")]
    assert link.up


async def test_a_lease_that_was_made_far_too_long_is_right_with_the_next_put(
    here: Registry, there: Registry, link: RedisLink, hand: Redis
) -> None:
    """Whatever somebody set the expiry of the key to, by hand; also to none at all."""
    await here.put("p", ALICE)
    for endless in (False, True):
        assert await (hand.persist(KEY) if endless else hand.pexpire(KEY, 4_500_000_000_000_000_000))
        await here.put("p", BOB)
        assert link.up
        assert 0 < await hand.pttl(KEY) <= 15_000
    assert await there.present("p") == [ALICE, BOB]


async def test_a_key_of_another_type_makes_room(here: Registry, there: Registry, link: RedisLink, hand: Redis) -> None:
    """Whatever lies where the hash should be, for reading, putting, renewing and removing alike."""
    await here.put("p", ALICE)
    for act in (here.present("p"), here.put("p", ALICE), here.renew(), here.remove("p", "s2")):
        await hand.delete(KEY)
        await hand.rpush(KEY, "one")
        await act
        assert await hand.type(KEY) in (b"hash", b"none")
    await here.renew()
    assert await there.present("p") == [ALICE]
    assert link.up
