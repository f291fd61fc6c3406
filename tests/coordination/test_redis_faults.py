"""What befalls the mirror of the locks costs hints, never an answer: restarts, outages, edits by hand, cancellation."""

from __future__ import annotations

import asyncio
import json
import random
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from foundry.coordination.redis import RedisLink, RedisLockRegistry
from foundry.domain.lock import Lock
from foundry.domain.principal import Principal
from foundry.metrics import MIRROR_HEALED, REDIS_ERRORS, REDIS_UP
from tests.coordination.conftest import PATIENCE_S, linked, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from redis.asyncio import Redis
    from structlog.typing import EventDict

    from tests.servers.redis import RedisServer

    Logs = list[EventDict]

KEY = "lock:project:p:field:f"
SOUND = {"user_id": "mallory", "expires_at": 1, "session_id": "s9", "replica_id": "r9", "fence": 9}


def lock(session_id: str, fence: int, field: str = "f") -> Lock:
    """A grant to a session."""
    return Lock(f"l{fence}", "p", field, Principal("alice"), session_id, fence, 1, 2)


async def acquire(locks: RedisLockRegistry, session_id: str) -> bool:
    return await locks.acquire("p", "f", "alice", session_id, 5.0)


@pytest.fixture
async def link(own_redis: RedisServer) -> AsyncIterator[RedisLink]:
    async with linked(own_redis.url) as link:
        yield link


@pytest.fixture
def locks(link: RedisLink) -> RedisLockRegistry:
    return RedisLockRegistry(link, replica_id="r1")


async def shown(hand: Redis, key: str = KEY) -> dict[str, Any]:
    """What a key shows, empty when there is none."""
    text = await hand.get(key)
    return dict(json.loads(text)) if text else {}


# --- what a key shows ---


async def test_a_key_shows_what_the_product_document_names(locks: RedisLockRegistry, hand: Redis) -> None:
    """``user_id`` and ``expires_at`` on the clock of Redis, and whose it is; it expires when nobody renews it."""
    await locks.confirm("p", "f", "alice", "s1", 7)
    seconds, micros = await hand.time()
    value = await shown(hand)
    left_ms = value.pop("expires_at") - (seconds * 1000 + micros // 1000)
    assert value == {"user_id": "alice", "session_id": "s1", "replica_id": "r1", "fence": 7}
    assert 10_000 < left_ms <= 15_000
    assert 10_000 < await hand.pttl(KEY) <= 15_000


async def test_names_cannot_reach_into_other_keys(locks: RedisLockRegistry, hand: Redis) -> None:
    """``:`` separates the parts of a key, so no name holds one; nor what spoils a terminal."""
    await locks.confirm("p:field:f", "a%b\x1b:\n", "alice", "s1", 1)
    assert await hand.keys("lock:project:*") == [b"lock:project:p%3Afield%3Af:field:a%25b%1B%3A%0A"]


# --- forgotten and late ---


async def test_everything_flushed_is_shown_again_by_the_next_renewal(locks: RedisLockRegistry, hand: Redis) -> None:
    """Scripts too: they are forgotten by ``SCRIPT FLUSH`` as by a restart."""
    await locks.confirm("p", "f", "alice", "s1", 3)
    await hand.flushall()
    await hand.script_flush()
    await locks.renew([lock("s1", 3)])
    assert (await shown(hand))["fence"] == 3
    assert not await acquire(locks, "s2")


async def test_a_late_renewal_of_an_older_fence_does_nothing_after_a_flush(
    locks: RedisLockRegistry, hand: Redis
) -> None:
    """The field was granted anew after Redis forgot everything: what is renewed of before, or released, is history."""
    await locks.confirm("p", "f", "alice", "s1", 7)
    await hand.flushall()
    await locks.confirm("p", "f", "alice", "s2", 8)
    await locks.renew([lock("s1", 7)])
    await locks.release("p", "f", "s1", 7)
    assert ((await shown(hand))["session_id"], (await shown(hand))["fence"]) == ("s2", 8)


async def test_a_release_does_not_overtake_a_renewal_of_its_lock(locks: RedisLockRegistry, hand: Redis) -> None:
    """In the order in which they were called, from whichever tasks: else the field looks held until the key expires.

    Redis knows the script of the release and not that of the renewal, which so takes two more round trips.
    """
    for number in range(1, 11):
        await hand.script_flush()
        await locks.release("p", "another", "s1", 1)
        renewing = asyncio.create_task(locks.renew([lock("s1", number)]))
        await asyncio.sleep(0)
        await asyncio.gather(locks.release("p", "f", "s1", number), renewing)
        assert not await shown(hand)


async def test_a_renewal_of_a_row_read_before_its_release_does_nothing(locks: RedisLockRegistry, hand: Redis) -> None:
    """Whoever renews has read the rows a while ago; the next grant of the session is another fence."""
    await locks.confirm("p", "f", "alice", "s1", 4)
    await locks.release("p", "f", "s1", 4)
    await locks.renew([lock("s1", 4)])
    await locks.confirm("p", "f", "alice", "s1", 4)
    assert not await shown(hand)
    await locks.renew([lock("s1", 5)])
    assert (await shown(hand))["fence"] == 5


# --- edited by hand ---

SPOILT = {
    "not JSON": "held by me",
    "empty": "",
    "not an object": '"s9"',
    "null": "null",
    "a list": "[1, 2]",
    "without members": "{}",
    **{f"without {member}": json.dumps({**SOUND, member: None}) for member in SOUND},
    "a fence in words": json.dumps({**SOUND, "fence": "9"}),
    "a negative fence": json.dumps({**SOUND, "fence": -1}),
    "a fence beyond all": json.dumps({**SOUND, "fence": 10**300}),
    "a fence that is no number": json.dumps({**SOUND, "fence": float("nan")}),
    "not even text": b"\xff\xfe\x00",
}


@pytest.mark.parametrize("text", SPOILT.values(), ids=SPOILT.keys())
async def test_what_is_unreadable_counts_as_nothing(
    locks: RedisLockRegistry, hand: Redis, text: str | bytes, logs: Logs
) -> None:
    """Claims, grants and renewals replace it and releases remove it; each time that is logged and counted once."""
    writes: list[tuple[Callable[[], Awaitable[object]], str | None]] = [
        (partial(locks.acquire, "p", "f", "alice", "s1", 5.0), "s1"),
        (partial(locks.confirm, "p", "f", "alice", "s1", 2), "s1"),
        (partial(locks.renew, [lock("s1", 2)]), "s1"),
        (partial(locks.release, "p", "f", "s2", 9), None),
    ]
    for write, holder in writes:
        await hand.set(KEY, text, px=60_000)
        healed = MIRROR_HEALED._value.get()
        logs.clear()
        assert await write() is not False
        assert [(line["event"], line["project_id"], line["field"]) for line in logs] == [
            ("mirror_unreadable", "p", "f")
        ]
        assert MIRROR_HEALED._value.get() == healed + 1
        assert (await shown(hand)).get("session_id") == holder


async def test_a_key_of_another_type_counts_as_nothing(locks: RedisLockRegistry, hand: Redis, link: RedisLink) -> None:
    """A list where a lock should be is replaced, and no sign of an outage."""
    await hand.rpush(KEY, "one", "two")
    assert await acquire(locks, "s1")
    assert (await shown(hand))["session_id"] == "s1"
    assert link.up


async def test_a_key_that_would_never_expire_counts_as_nothing(locks: RedisLockRegistry, hand: Redis) -> None:
    """However sound it reads: whoever edits a value by hand loses its expiry, and would block the field for ever."""
    await hand.set(KEY, json.dumps(SOUND))
    assert await acquire(locks, "s1")
    assert not await acquire(locks, "s2")


# --- away ---


async def test_a_redis_that_is_away_refuses_nobody(
    own_redis: RedisServer, locks: RedisLockRegistry, link: RedisLink, logs: Logs
) -> None:
    """Everybody is told to ask the database; the outage is told once, however many notice."""
    await locks.confirm("p", "f", "alice", "s1", 1)
    own_redis.kill()
    assert await asyncio.gather(*[acquire(locks, f"s{number}") for number in range(50)]) == [True] * 50
    await locks.confirm("p", "f", "alice", "s2", 2)
    await locks.renew([lock("s2", 2)])
    await locks.release("p", "f", "s2", 2)
    assert [(line["event"], line["log_level"]) for line in logs] == [("redis_unavailable", "warning")]
    assert (link.up, REDIS_UP._value.get()) == (False, 0)


async def test_a_restarted_redis_is_noticed_and_used(
    own_redis: RedisServer, locks: RedisLockRegistry, link: RedisLink, hand: Redis, logs: Logs
) -> None:
    """Within a second or so, without anybody asking; it is empty, and knows no scripts."""
    await locks.confirm("p", "f", "alice", "s1", 1)
    own_redis.kill()
    assert await acquire(locks, "s2")
    own_redis.start()
    await until(lambda: link.up)
    assert [line["event"] for line in logs] == ["redis_unavailable", "redis_back"]
    assert REDIS_UP._value.get() == 1
    await locks.renew([lock("s1", 1)])
    assert (await shown(hand))["session_id"] == "s1"


async def test_a_restart_between_two_calls_costs_nothing(own_redis: RedisServer, locks: RedisLockRegistry) -> None:
    """Connections that died idle are replaced before they are used."""
    assert await acquire(locks, "s1")
    own_redis.restart()
    assert await acquire(locks, "s2")
    assert not await acquire(locks, "s1")


async def test_a_server_starts_without_redis(own_redis: RedisServer, logs: Logs) -> None:
    """It says so, goes on, and uses Redis when it is there."""
    own_redis.kill()
    async with linked(own_redis.url) as link:
        locks = RedisLockRegistry(link, replica_id="r1")
        assert [line["event"] for line in logs] == ["redis_unavailable"]
        assert await acquire(locks, "s1")
        assert await acquire(locks, "s2")
        own_redis.start()
        await until(lambda: link.up)
        assert await acquire(locks, "s1")
        assert not await acquire(locks, "s2")


async def test_a_redis_that_stands_still_holds_nobody_up(own_redis: RedisServer, hand: Redis) -> None:
    """One call waits as long as the timeout; those after it do not wait at all, until Redis answers again."""
    loop = asyncio.get_running_loop()
    async with linked(own_redis.url, timeout_s=0.15) as link:
        locks = RedisLockRegistry(link, replica_id="r1")
        assert await acquire(locks, "s1")
        await hand.client_pause(4_000)
        before_s = loop.time()
        assert await acquire(locks, "s2")
        waited_s = loop.time() - before_s
        assert [await acquire(locks, "s3") for _ in range(100)] == [True] * 100
        in_all_s = loop.time() - before_s
        assert waited_s > 0.1
        assert in_all_s < 3.0  # if each had waited it would be 15, or until Redis goes on
        await until(lambda: link.up)


async def test_a_redis_that_takes_no_writes_is_away(
    locks: RedisLockRegistry, link: RedisLink, hand: Redis, logs: Logs
) -> None:
    """It answers, and is of no use: full memory is one outage, not one a second."""
    await hand.config_set("maxmemory", "1")
    assert await acquire(locks, "s1")
    assert await acquire(locks, "s2")
    refused = REDIS_ERRORS._value.get()
    await until(lambda: REDIS_ERRORS._value.get() >= refused + 2)  # two probes
    assert not link.up
    await hand.config_set("maxmemory", "0")
    await until(lambda: link.up)
    assert [line["event"] for line in logs] == ["redis_unavailable", "redis_back"]


async def test_no_password_is_ever_told(own_redis: RedisServer, hand: Redis, logs: Logs) -> None:
    """Neither by the log of an outage nor by the error for a URL that is none."""
    await hand.config_set("requirepass", "another")
    host = own_redis.url.removeprefix("redis://")
    for user in ("", "somebody"):
        async with linked(f"redis://{user}:hunter2@{host}") as link:
            assert not link.up
    assert [line["event"] for line in logs] == ["redis_unavailable"] * 2
    assert "hunter2" not in repr(logs)
    for url in (
        "redis://:hunter2/x@localhost:1",
        "http://:hunter2@localhost",
        "redis://:x@localhost?db=hunter2",
        "redis://:x@localhost?bogus=hunter2",
        "redis://:x@localhost?protocol=hunter2",
        "rediss://:x@localhost?ssl_cert_reqs=hunter2",
    ):
        with pytest.raises(ValueError, match="the URL of Redis") as caught:
            RedisLink(url)
        assert "hunter2" not in str(caught.value)
        assert caught.value.__suppress_context__


# --- cancelled callers ---


async def echo(redis: Redis, word: str) -> object:
    return await redis.echo(word)


async def test_a_cancelled_caller_leaves_no_reply_for_the_next(link: RedisLink) -> None:
    """Every caller gets its own answer or none, whoever before it was cancelled, at whatever point."""
    random.seed(7)
    wrong: list[tuple[str, object]] = []

    async def ask(number: int) -> None:
        word = f"{number}" * (1 + number % 7)
        answer = await link.run(partial(echo, word=word))
        if answer != word.encode():
            wrong.append((word, answer))

    for begin in range(0, 2_000, 20):
        callers = [asyncio.create_task(ask(number)) for number in range(begin, begin + 20)]
        for _ in range(random.randrange(8)):
            await asyncio.sleep(0)
        for caller in random.sample(callers, 10):
            caller.cancel()
        await asyncio.gather(*callers, return_exceptions=True)
    assert wrong == []
    assert link.up


async def test_an_answer_that_came_too_late_is_nobodys(own_redis: RedisServer, hand: Redis) -> None:
    """What was given up is not read by whoever asks next."""
    async with linked(own_redis.url, timeout_s=0.05) as link:
        for _ in range(3):
            await until(lambda: link.up)
            await hand.client_pause(200)
            assert await link.run(partial(echo, word="late")) is None
        await until(lambda: link.up)
        answers = [await link.run(partial(echo, word=f"w{number}")) for number in range(20)]
    assert answers == [f"w{number}".encode() for number in range(20)]


async def test_a_cancelled_release_is_made_all_the_same(locks: RedisLockRegistry, hand: Redis) -> None:
    """The task of a call is cancelled when its client goes; what it began in Redis goes on."""
    for number in range(1, 51):
        await locks.confirm("p", "f", "alice", "s1", number)
        releasing = asyncio.create_task(locks.release("p", "f", "s1", number))
        await asyncio.sleep(0)
        releasing.cancel()
        await asyncio.gather(releasing, return_exceptions=True)
        await locks.release("p", "another", "s1", 1)  # behind it in the line
        assert not await shown(hand)


async def test_what_was_begun_is_finished_whoever_waits_for_it(link: RedisLink, hand: Redis) -> None:
    """Nothing stays half done, and what a cancelled caller wanted still happens, whenever it was cancelled."""

    async def twice(redis: Redis) -> None:
        await redis.incr("begun")
        await redis.incr("finished")

    for ticks in range(1, 21):
        asking = asyncio.create_task(link.run(twice))
        for _ in range(ticks):
            await asyncio.sleep(0)
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)
    async with asyncio.timeout(PATIENCE_S):
        while await hand.get("finished") != b"20":
            pass  # each look is a round trip
    assert await hand.get("begun") == b"20"
    assert link.up


async def test_connections_that_never_answered_are_given_up(own_redis: RedisServer) -> None:
    """A black hole takes no connection away for ever: when Redis is there again, it is used."""
    silent: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []
    port = int(own_redis.url.rpartition(":")[2].partition("/")[0])
    async with asyncio.timeout(PATIENCE_S), linked(own_redis.url, timeout_s=0.05) as link:
        own_redis.kill()
        hole = await asyncio.start_server(lambda *streams: silent.append(streams), "127.0.0.1", port)
        assert await asyncio.gather(*[link.run(partial(echo, word="anybody?")) for _ in range(20)]) == [None] * 20
        await until(lambda: bool(silent))
        hole.close()
        own_redis.start()
        await until(lambda: link.up)
        assert await link.run(partial(echo, word="there")) == b"there"
    for _, writer in silent:
        writer.close()
