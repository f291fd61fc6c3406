"""Redis is emptied, killed, spoilt, paused or not there at all: nobody at work notices, and it is soon right again."""

from __future__ import annotations

import asyncio
import contextlib
import json
from typing import TYPE_CHECKING, Final

import pytest
from redis.asyncio import Redis
from redis.exceptions import RedisError

from tests.faults.cluster import calm_since, saves, session_of
from tests.faults.figures import SLACK_S, tell
from tests.faults.mirror import TTL_S, read_key, take_samples
from tests.faults.recorder import now_ns
from tests.faults.store import PATIENCE_S

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from tests.faults.cluster import Cluster
    from tests.faults.mirror import Sample
    from tests.faults.programs import RecordedClient
    from tests.servers.redis import RedisServer

pytestmark = pytest.mark.fault

#: Locks are shown again this often, seconds; a server looks this often whether Redis is back.
_SHOWN_AGAIN_S: Final = 5.0
_RETRY_S: Final = 1.0
_SAMPLE_S: Final = 0.25
#: A server that waits for the other one's commit on a slow machine, and its client, are not what is looked at.
_LIMIT_S: Final = "20"
#: So many keys at least are looked at, while it happens or behind it.
_KEYS_MIN: Final = 5


@contextlib.asynccontextmanager
async def sampled(cluster: Cluster) -> AsyncIterator[list[Sample]]:
    """Samples of the mirror, taken all the time while the block lasts, whenever Redis is there."""
    samples: list[Sample] = []
    enough = asyncio.Event()

    async def sample() -> None:
        async with Redis.from_url(cluster.redis.url) as redis:
            while not enough.is_set():
                with contextlib.suppress(RedisError, OSError):
                    samples.extend(await take_samples(redis, cluster.store.query, cluster.store.project_id))
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(_SAMPLE_S):
                        await enough.wait()

    sampling = asyncio.create_task(sample())
    try:
        yield samples
        async with asyncio.timeout(PATIENCE_S):
            while len(samples) < _KEYS_MIN:  # noqa: ASYNC110 - a list tells nobody
                await asyncio.sleep(_SAMPLE_S)
    finally:
        # Told to end and not cancelled: redis-py with a socket timeout sends by `asyncio.wait_for`, which before
        # Python 3.12 loses a cancellation that comes just as the sending is done.
        enough.set()
        await sampling


def key_of(cluster: Cluster, field: str) -> str:
    """The key that shows a lock."""
    return f"lock:project:{cluster.store.project_id}:field:{field}"


async def right(cluster: Cluster, clients: list[RecordedClient], within_s: float) -> None:
    """Wait until the mirror shows every lock that these clients hold."""
    async with Redis.from_url(cluster.redis.url) as redis:
        for client in clients:
            session_id = session_of(client)
            for field, fence in (await cluster.store.held_by(session_id)).items():
                await shows(redis, key_of(cluster, field), (session_id, fence), within_s + SLACK_S)


async def shows(redis: Redis, key: str, wanted: tuple[str, int], within_s: float) -> None:
    """Wait until a key shows a session and a fence."""
    deadline_ns = now_ns() + within_s * 1e9
    while (found := await shown(redis, key)) != wanted:
        assert now_ns() < deadline_ns, f"{key} shows {found} and not {wanted}"
        await asyncio.sleep(0.05)


async def shown(redis: Redis, key: str) -> tuple[str, int] | None:
    """Session and fence that a key shows, None for none."""
    with contextlib.suppress(RedisError, OSError):
        value = await read_key(redis, key)
        return (value["session_id"], int(value["fence"])) if value else None
    return None


async def flushed(cluster: Cluster, redis: RedisServer) -> float:
    """FLUSHALL; returns how long the mirror may be wrong, seconds."""
    async with Redis.from_url(redis.url) as asking:
        await asking.flushall()
    return _SHOWN_AGAIN_S


async def restarted(cluster: Cluster, redis: RedisServer) -> float:
    """SIGKILL, and an empty one a while later; as above."""
    redis.kill()
    await cluster.store.grows(15)  # goes on without it
    redis.start()
    return _SHOWN_AGAIN_S + _RETRY_S


async def paused(cluster: Cluster, redis: RedisServer) -> float:
    """CLIENT PAUSE; as above."""
    async with Redis.from_url(redis.url) as asking:
        await asking.client_pause(5_000)
    return 5.0 + _SHOWN_AGAIN_S + _RETRY_S


async def edited(cluster: Cluster, redis: RedisServer) -> float:
    """Somebody writes into keys: another holder, what is no JSON, a list, and a holder of a free field; as above."""
    async with Redis.from_url(redis.url) as asking:
        value = await read_key(asking, key_of(cluster, "here"))
        assert value
        wrong = json.dumps({**value, "session_id": "somebody", "user_id": "somebody"})
        px = int(TTL_S * 1_000)
        await asking.set(key_of(cluster, "here"), wrong, px=px)
        await asking.set(key_of(cluster, "here_too"), "no JSON", px=px)
        await asking.delete(key_of(cluster, "there"))
        await asking.rpush(key_of(cluster, "there"), "a", "list")
        claimed = json.dumps({**value, "session_id": "somebody", "user_id": "somebody", "fence": 0})
        await asking.set(key_of(cluster, "free"), claimed, px=px)
    return TTL_S + _SHOWN_AGAIN_S


FAULTS: Final[dict[str, Callable[[Cluster, RedisServer], Awaitable[float]]]] = {
    "FLUSHALL": flushed,
    "SIGKILL": restarted,
    "CLIENT PAUSE": paused,
    "keys edited by hand": edited,
}


@pytest.mark.parametrize("how", FAULTS)
async def test_whatever_happens_to_redis_nobody_at_work_notices(
    cluster: Cluster, own_redis: RedisServer, how: str
) -> None:
    """No save, no grant fails or is doubtful because of it, no lock is lost, and what it shows is soon right again."""
    fault = f"redis {how}"
    await cluster.serve(FOUNDRY_POSTGRES__LOCK_LIMIT_S=_LIMIT_S, FOUNDRY_POSTGRES__STATEMENT_LIMIT_S=_LIMIT_S)
    here = await cluster.client("here", cluster.servers[0], holds="here", timeout_s=30.0)
    assert (await here.do("acquire", field="here_too"))["outcome"] == "ok"
    there = await cluster.client("there", cluster.servers[1], holds="there", timeout_s=30.0)
    await cluster.load(2, pause_s=0.1, timeout_s=30.0)
    await right(cluster, [here, there], _SHOWN_AGAIN_S)
    async with sampled(cluster) as samples:
        begin_ns = now_ns()
        bound_s, _ = await asyncio.gather(FAULTS[how](cluster, own_redis), work(here, there))
        worked_s = (now_ns() - begin_ns) / 1e9
        await right(cluster, [here, there], bound_s)
        tell(fault, "it shows every lock again after", (now_ns() - begin_ns) / 1e9, max(bound_s, worked_s))
        await cluster.store.grows(20)
    calm = calm_since(begin_ns, fault, here, there)
    report = await cluster.judge(fault, calms=[calm], samples=samples)
    report.demand(**{"keys sampled": _KEYS_MIN})
    assert not report.violations, report.summary()
    unsure = {what: times for what, times in cluster.done.items() if what.endswith("unknown")}
    assert not unsure, "nobody was left in doubt"
    assert not cluster.robbed


async def work(here: RecordedClient, there: RecordedClient) -> None:
    """Save, take and give back, over and over, while it happens; the first answer is the only one that is asked for."""
    for number in range(12):
        for client, field in ((here, "here"), (here, "here_too"), (there, "there")):
            done = await client.do("save", field=field, text=f"{number}", keep=True)
            assert done["outcome"] == "ok", done
        for command in ("acquire", "release"):
            done = await there.do(command, field="free", way="call")
            assert done["outcome"] == "ok", done


async def test_servers_that_find_no_redis_begin_without_it(cluster: Cluster, own_redis: RedisServer) -> None:
    """Everything works, by the database alone; once it is there, it shows what is held."""
    own_redis.kill()
    try:
        await cluster.serve()
        here = await cluster.client("here", cluster.servers[0], holds="here")
        there = await cluster.client("there", cluster.servers[1], holds="there")
        assert (await there.do("acquire", field="here"))["reason"] == "LOCK_HELD"
        await cluster.load(2, pause_s=0.1)
    finally:
        own_redis.start()
    begin_ns = now_ns()
    async with sampled(cluster) as samples:
        await right(cluster, [here, there], _SHOWN_AGAIN_S + _RETRY_S)
        tell(
            "redis gone at the start",
            "it shows every lock after",
            (now_ns() - begin_ns) / 1e9,
            _SHOWN_AGAIN_S + _RETRY_S,
        )
        await saves(here, "here", "still mine")
        await saves(there, "there", "still mine")
        await cluster.store.grows(20)
    calm = calm_since(begin_ns, "redis gone at the start", here, there)
    await cluster.judge("redis gone at the start", calms=[calm], samples=samples)
    assert not cluster.robbed
