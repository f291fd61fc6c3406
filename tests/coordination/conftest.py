"""The backends that the contract suites run over, and a real Redis under one of them."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass

import pytest
from redis.asyncio import Redis
from structlog.testing import capture_logs
from structlog.typing import EventDict

from foundry.clock import SystemClock
from foundry.coordination.memory import MemoryEventBus, MemoryLockRegistry, MemoryPresenceRegistry
from foundry.coordination.ports import EventBus, LockRegistry, PresenceRegistry
from foundry.coordination.redis import RedisEventBus, RedisLink, RedisLockRegistry, RedisPresenceRegistry
from tests.servers.redis import ForeignRedis, RedisServer, private_redis
from tests.store.manual_clock import ManualClock

#: Bound on every wait, seconds.
PATIENCE_S = 10.0

#: What a backend cannot promise, by test, and why. Everything else holds for each of them.
CANNOT = {
    "memory": {},
    "redis": {
        "test_a_grant_does_not_expire": "a replica that died renews nothing; what it showed must go",
        "test_a_step_of_the_wall_clock_expires_nothing": "Redis expires by its own wall clock, which no test may step",
    },
}


@dataclass(frozen=True)
class Kind:
    """Registries and buses of one kind; ``url`` is that of a Redis, or empty."""

    name: str
    url: str = ""


async def until(condition: Callable[[], bool]) -> None:
    """Return as soon as it holds; fail when it does not in time."""
    async with asyncio.timeout(PATIENCE_S):
        while not condition():  # noqa: ASYNC110 - what is waited for happens in another process
            await asyncio.sleep(0.002)


@contextlib.asynccontextmanager
async def linked(url: str, *, timeout_s: float = 2.0) -> AsyncIterator[RedisLink]:
    """A link that is up if Redis is, with a timeout that a busy machine does not reach unless a test asks for it."""
    link = RedisLink(url, timeout_s=timeout_s)
    await link.start()
    try:
        yield link
    finally:
        await link.close()


@contextlib.asynccontextmanager
async def kept_up(work: Awaitable[None]) -> AsyncIterator[asyncio.Task[None]]:
    """Something that runs for ever, meanwhile; if it ended, that shows."""
    task = asyncio.ensure_future(work)
    try:
        yield task
        assert not task.done()
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


@contextlib.asynccontextmanager
async def listening_bus(url: str, replica_id: str) -> AsyncIterator[RedisEventBus]:
    """The bus of one replica, when it hears and rings."""
    async with linked(url) as link:
        bus = RedisEventBus(link, replica_id=replica_id)
        async with kept_up(bus.run()):
            await until(lambda: bus.listening)
            yield bus


async def age(redis: Redis, seconds: float) -> None:
    """Make everything of ours in Redis older, as if that time had passed."""
    lost_ms = round(seconds * 1000)
    for key in [key async for key in redis.scan_iter("*:project:*")]:
        left_ms = await redis.pttl(key) - lost_ms
        if left_ms <= 0:
            await redis.delete(key)
            continue
        await redis.pexpire(key, left_ms)
        if await redis.type(key) == b"hash":
            for member, text in (await redis.hgetall(key)).items():
                value = json.loads(text)
                value["expires_at"] -= lost_ms
                await redis.hset(key, member, json.dumps(value))


@pytest.fixture
def own_redis() -> Iterator[RedisServer]:
    """A Redis of this test alone, to be stopped, paused and spoilt."""
    with private_redis() as server:
        yield server


@pytest.fixture
async def hand(own_redis: RedisServer) -> AsyncIterator[Redis]:
    """A second connection to it: what is edited by hand."""
    # Under protocol 2 the client sees that an idle connection died, and makes another. With a timeout of its own it
    # swallows cancellations now and then (``asyncio.wait_for`` before Python 3.12), and no bound of a test would hold.
    async with Redis.from_url(own_redis.url, protocol=2, socket_timeout=None) as redis:
        yield redis


@pytest.fixture
async def redis(shared_redis: RedisServer | ForeignRedis) -> AsyncIterator[Redis]:
    """A second connection to the Redis of all tests, which holds nothing of ours when a test begins."""
    async with Redis.from_url(shared_redis.url) as redis:
        for pattern in ("lock:*", "presence:*"):
            async for key in redis.scan_iter(pattern):
                await redis.delete(key)
        yield redis


@pytest.fixture
def logs() -> Iterator[list[EventDict]]:
    """Every line that is logged, at whatever level."""
    with capture_logs() as lines:
        yield lines


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture(params=["memory", "redis"])
def kind(request: pytest.FixtureRequest) -> Kind:
    test = request.node.originalname
    if reason := CANNOT[request.param].get(test):
        pytest.skip(f"{request.param}: {reason}")
    if request.param == "memory":
        return Kind("memory")
    request.getfixturevalue("redis")
    return Kind("redis", request.getfixturevalue("shared_redis").url)


@pytest.fixture
async def locks(kind: Kind, clock: ManualClock) -> AsyncIterator[LockRegistry]:
    if not kind.url:
        yield MemoryLockRegistry(clock)
        return
    async with linked(kind.url) as link:
        yield RedisLockRegistry(link, replica_id="r1")


@pytest.fixture
def time_passes(kind: Kind, clock: ManualClock) -> Callable[[float], Awaitable[None]]:
    """Let seconds pass for a backend, whichever clock it goes by."""

    async def pass_(seconds: float) -> None:
        clock.advance(seconds)
        if kind.url:
            async with Redis.from_url(kind.url) as redis:
                await age(redis, seconds)

    return pass_


@pytest.fixture
async def presence(kind: Kind) -> AsyncIterator[PresenceRegistry]:
    if not kind.url:
        yield MemoryPresenceRegistry()
        return
    async with linked(kind.url) as link:
        yield RedisPresenceRegistry(link, replica_id="r1", clock=SystemClock())


@pytest.fixture
async def buses(kind: Kind) -> AsyncIterator[tuple[EventBus, EventBus, EventBus]]:
    """The buses of three processes."""
    if not kind.url:
        line: list[MemoryEventBus] = []
        yield MemoryEventBus(line), MemoryEventBus(line), MemoryEventBus(line)
        return
    async with (
        listening_bus(kind.url, "r1") as one,
        listening_bus(kind.url, "r2") as two,
        listening_bus(kind.url, "r3") as three,
    ):
        yield one, two, three
