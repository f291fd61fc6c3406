"""What the bell between replicas survives: restarts, cut connections, nonsense on its channels, too much ringing."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import pytest

from foundry.coordination.redis import RedisEventBus
from foundry.domain.events import LogGrew, PresenceChanged, Ring, RunGrew
from tests.coordination.conftest import kept_up, linked, listening_bus, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from redis.asyncio import Redis
    from structlog.typing import EventDict

    from tests.servers.redis import RedisServer

LAST = PresenceChanged("the last")


@pytest.fixture
async def ours(own_redis: RedisServer) -> AsyncIterator[RedisEventBus]:
    async with listening_bus(own_redis.url, "r1") as bus:
        yield bus


@pytest.fixture
async def theirs(own_redis: RedisServer) -> AsyncIterator[RedisEventBus]:
    async with listening_bus(own_redis.url, "r2") as bus:
        yield bus


async def test_a_channel_carries_what_a_reader_expects(
    ours: RedisEventBus, own_redis: RedisServer, hand: Redis
) -> None:
    """One JSON object a ring, on ``project:{id}:events``; names cannot reach into other channels."""
    async with hand.pubsub(ignore_subscribe_messages=True) as pubsub:
        await pubsub.psubscribe("*")
        await pubsub.get_message(timeout=5)
        ours.ring([LogGrew("p", 3), RunGrew("p", "r", 7), PresenceChanged("q:x")])
        heard: list[tuple[str, dict[str, Any]]] = []
        while len(heard) < 3:
            message = await pubsub.get_message(timeout=5)
            assert message
            heard.append((message["channel"].decode(), json.loads(message["data"])))
    assert heard == [
        ("project:p:events", {"replica_id": "r1", "log_grew": {"log": "p", "sequence": 3}}),
        (
            "project:p:events",
            {"replica_id": "r1", "run_grew": {"project_id": "p", "run_id": "r", "line_count": 7}},
        ),
        ("project:q%3Ax:events", {"replica_id": "r1", "presence_changed": {"project_id": "q:x"}}),
    ]


async def test_nonsense_on_a_channel_is_passed_over(
    ours: RedisEventBus, theirs: RedisEventBus, hand: Redis, logs: list[EventDict]
) -> None:
    """Whatever anybody publishes there; it is no news for an operator either."""
    heard: list[Ring] = []
    ours.subscribe(heard.append)
    nonsense = [
        b"",
        b"\xff",
        b"null",
        b"[1]",
        b"{}",
        b'{"replica_id":"r2"}',
        b'{"replica_id":"r2","log_grew":{"log":"p"}}',
        b'{"replica_id":"r2","log_grew":{"log":"p","sequence":"3"}}',
        b'{"replica_id":2,"presence_changed":{"project_id":"p"}}',
        b'{"replica_id":"r2","log_grew":3}',
        b"x" * 1_000_000,
    ]
    for data in nonsense:
        await hand.publish("project:p:events", data)
    theirs.ring([LAST])
    await until(lambda: bool(heard))
    assert heard == [LAST]
    assert {line["log_level"] for line in logs} <= {"debug"}


async def test_it_listens_again_after_a_restart(
    own_redis: RedisServer, ours: RedisEventBus, theirs: RedisEventBus, logs: list[EventDict]
) -> None:
    """By itself; what was rung meanwhile is lost, and ringing neither fails nor waits."""
    heard: list[Ring] = []
    ours.subscribe(heard.append)
    own_redis.kill()
    await until(lambda: not ours.listening)
    theirs.ring([LogGrew("p", 1)])
    own_redis.start()
    await until(lambda: ours.listening and theirs.listening and theirs._link.up)
    theirs.ring([LAST])
    await until(lambda: LAST in heard)
    told = [line["event"] for line in logs]
    assert told.count("redis_subscription_lost") == 2  # once for each of the two


async def test_a_subscription_that_is_cut_is_made_again(
    ours: RedisEventBus, theirs: RedisEventBus, hand: Redis
) -> None:
    """Redis itself cuts off whoever reads too slowly."""
    heard: list[Ring] = []
    ours.subscribe(heard.append)
    for _ in range(3):
        await hand.client_kill_filter(_type="pubsub")
        await until(lambda: not ours.listening)
        await until(lambda: ours.listening)
    theirs.ring([LAST])
    await until(lambda: LAST in heard)


async def test_what_waits_is_rung_once(own_redis: RedisServer, ours: RedisEventBus) -> None:
    """The newest ring of a log and of a run says all the older ones said, in whatever order they came."""
    heard: list[Ring] = []
    ours.subscribe(heard.append)
    async with linked(own_redis.url) as link:
        bus = RedisEventBus(link, replica_id="r2")
        for number in [*range(1, 500), 900, *range(500, 600)]:
            bus.ring([LogGrew("p", number), RunGrew("p", "r", number), PresenceChanged("p"), LogGrew("q", 1)])
        bus.ring([LAST])
        async with kept_up(bus.run()):
            await until(lambda: LAST in heard)
    assert heard == [LogGrew("p", 900), RunGrew("p", "r", 900), PresenceChanged("p"), LogGrew("q", 1), LAST]


async def test_what_may_wait_is_bounded(own_redis: RedisServer) -> None:
    """A process whose Redis is away rings on; its memory does not grow with it."""
    own_redis.kill()
    async with linked(own_redis.url) as link:
        bus = RedisEventBus(link, replica_id="r2")
        for begin in range(0, 50_000, 1_000):
            bus.ring([LogGrew(f"p{number}", 1) for number in range(begin, begin + 1_000)])
        assert len(bus._waiting) == 10_000
        async with kept_up(bus.run()):
            await until(lambda: not bus._waiting)


async def test_many_rings_arrive_in_order(ours: RedisEventBus, theirs: RedisEventBus) -> None:
    """More than fit into one round trip, and none left out: each is for another log."""
    heard: list[Ring] = []
    ours.subscribe(heard.append)
    rings = [LogGrew(f"p{number}", number) for number in range(3_000)]
    theirs.ring(rings)
    await until(lambda: len(heard) == len(rings))
    assert heard == rings


async def test_it_ends_when_it_is_cancelled(own_redis: RedisServer) -> None:
    """At once, whether Redis is there or not."""
    async with linked(own_redis.url) as link:
        bus = RedisEventBus(link, replica_id="r2")
        await end(running := asyncio.create_task(bus.run()), when=lambda: bus.listening)
        assert running.cancelled()
        assert not bus.listening
        own_redis.kill()
        assert await link.run(lambda redis: redis.echo("anybody?")) is None
        await end(running := asyncio.create_task(bus.run()), when=lambda: not link.up)
        assert running.cancelled()


async def end(running: asyncio.Task[None], *, when: Callable[[], bool]) -> None:
    """Cancel it then, and wait for it, not for long."""
    await until(when)
    running.cancel()
    async with asyncio.timeout(2):
        await asyncio.wait({running})
