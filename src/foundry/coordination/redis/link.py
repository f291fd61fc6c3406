"""The one connection of this process to Redis that everything but the subscription uses, and whether Redis is there."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, TypeVar

import structlog
from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.maint_notifications import MaintNotificationsConfig

from foundry.coordination.redis.line import Line
from foundry.metrics import REDIS_ERRORS, REDIS_UP

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Sequence

    from foundry.coordination.redis.scripts import Call

_log = structlog.get_logger(__name__)
_T = TypeVar("_T")

_CONNECTIONS_MAX = 8
#: After a failure nothing is asked for this long, then one probe.
_RETRY_S = 1.0
#: A timer that fires this late tells of a stall of this process, not of Redis.
_STALL_S = 0.02
#: What a call may take, seconds: Redis answers in less than one millisecond, and nothing rests on it.
TIMEOUT_S = 0.15
#: Written to see that Redis takes writes: one that is full, read-only or unable to persist answers a PING all the same.
_PROBE_KEY = "lock:probe"


class RedisLink:
    """Asks Redis and never waits for it long, nor fails because of it.

    What is asked while Redis is away is answered with None at once. An outage is noticed by the first call that fails,
    and its end by a probe every second: one call pays with its timeout, not each.

    Args:
        url: ``redis://``, ``rediss://`` or ``unix://``, with user, password and database where needed.
        timeout_s: Bound on each call, connecting included; ``TIMEOUT_S`` when absent.

    Raises:
        ValueError: The URL is not one; the message does not quote it, since it may hold a password.
    """

    def __init__(self, url: str, *, timeout_s: float | None = None) -> None:
        self._url = url
        self._timeout_s = TIMEOUT_S if timeout_s is None else timeout_s
        self._redis = self._client(_CONNECTIONS_MAX)
        self._up = False
        self._asked: set[asyncio.Task[Any]] = set()
        self._recovering: asyncio.Task[None] | None = None
        self._line = Line(self.run)

    @property
    def up(self) -> bool:
        """Whether Redis answered when it was last asked."""
        return self._up

    async def start(self) -> None:
        """See whether Redis is there; if not, say so in the log and go on without it until it is."""
        self._up = True
        REDIS_UP.set(1)
        await self.run(_probe)

    async def close(self) -> None:
        """Let what was asked end, within its timeout, and part. Nothing is answered any more."""
        await self._line.drained()
        self._up = False
        REDIS_UP.set(0)
        if self._recovering:
            self._recovering.cancel()
            await asyncio.wait({self._recovering})
        if self._asked:
            await asyncio.wait(self._asked, timeout=3 * self._timeout_s)
        await self._redis.aclose(close_connection_pool=True)

    async def run(self, command: Callable[[Redis], Awaitable[_T]]) -> _T | None:
        """Run a command, within the timeout, to its end also when the caller is cancelled.

        So no reply is left on a connection for the next who uses it, and no command stays half sent.

        Returns:
            Its answer, or None when Redis is away, late or refuses: then it is unknown whether it was done.
        """
        if not self._up:
            return None
        return await asyncio.shield(self._task(self._ask(command)))

    async def evaluate(self, calls: Sequence[Call]) -> list[Any] | None:
        """Run scripts, after all that were given before and before all that are given later. Place is taken at once.

        Returns:
            The answers in the order of the calls, or None, see ``run``.
        """
        if not self._up or not calls:
            return None if calls else []
        return await self._line.evaluate(calls)

    def listener(self) -> Redis:
        """Return a client with a single connection of its own, which may be silent for ever: for a subscription."""
        return self._client(1)

    def _client(self, connections_max: int) -> Redis:
        try:
            pool = BlockingConnectionPool.from_url(
                self._url,
                max_connections=connections_max,
                timeout=None,
                # One bound on everything, ours: a second inside it would only blur who gave up.
                socket_timeout=None,
                socket_connect_timeout=None,
                retry=Retry(NoBackoff(), 0),
                protocol=2,
                driver_info=None,
                # With them on, the pool no longer looks whether a connection it hands out is clean.
                maint_notifications_config=MaintNotificationsConfig(enabled=False),
            )
            # Opens nothing yet; refuses options that there are not.
            pool.make_connection()  # type: ignore[no-untyped-call]  # it has no annotations
        except (ValueError, TypeError, RedisError):
            raise ValueError(
                "the URL of Redis is not one, or has an option that there is not: redis://, rediss:// or unix://, "
                "reserved characters in a password percent-encoded"
            ) from None
        return Redis.from_pool(pool)

    async def _ask(self, command: Callable[[Redis], Awaitable[_T]]) -> _T | None:
        try:
            return await self._in_time(command)
        except Exception as error:  # noqa: BLE001 - whatever is wrong with a hint must not reach an edit
            self._lost(error)
            return None

    async def _in_time(self, command: Callable[[Redis], Awaitable[_T]]) -> _T:
        loop = asyncio.get_running_loop()
        asking = self._task(_awaited(command(self._redis)))
        due = loop.time() + self._timeout_s
        try:
            await asyncio.wait({asking}, timeout=self._timeout_s)
            if not asking.done() and loop.time() > due + _STALL_S:
                # The answer may lie unread in the socket.
                await asyncio.wait({asking}, timeout=self._timeout_s)
            if not asking.done():
                raise TimeoutError(f"no answer within {self._timeout_s * 1000:.0f} ms")
            return asking.result()
        finally:
            # Cancelled, the client drops the connection with whatever may still come on it.
            asking.cancel()

    def _task(self, work: Coroutine[Any, Any, _T]) -> asyncio.Task[_T]:
        task = asyncio.create_task(work)
        self._asked.add(task)
        task.add_done_callback(self._forget)
        return task

    def _forget(self, task: asyncio.Task[Any]) -> None:
        self._asked.discard(task)
        if not task.cancelled():
            task.exception()  # looked at: nobody waits any more for what was given up

    def _lost(self, error: Exception) -> None:
        REDIS_ERRORS.inc()
        if not self._up:
            return
        self._up = False
        REDIS_UP.set(0)
        known = isinstance(error, RedisError | OSError | TimeoutError)
        _log.warning(
            "redis_unavailable", error=type(error).__name__, reason=str(error), exc_info=None if known else error
        )
        self._recovering = asyncio.create_task(self._recover())

    async def _recover(self) -> None:
        loop = asyncio.get_running_loop()
        since = loop.time()
        while not self._up:
            await asyncio.sleep(_RETRY_S)
            try:
                await self._in_time(_probe)
            except Exception:  # noqa: BLE001 - still away; said once
                REDIS_ERRORS.inc()
            else:
                self._up = True
                REDIS_UP.set(1)
                _log.warning("redis_back", away_s=round(loop.time() - since, 1))


async def _awaited(answer: Awaitable[_T]) -> _T:
    return await answer


async def _probe(redis: Redis) -> bool:
    return bool(await redis.set(_PROBE_KEY, "1", px=1000))
