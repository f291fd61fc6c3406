"""The bell between replicas, over publish and subscribe: heard by whoever listens at that moment, kept nowhere."""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

import structlog
from pydantic import TypeAdapter, ValidationError

from foundry.coordination.memory import deliver
from foundry.coordination.redis.scripts import percent_encoded
from foundry.domain.events import LogGrew, PresenceChanged, Ring, RunGrew

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from redis.asyncio import Redis
    from redis.asyncio.client import PubSub

    from foundry.coordination.redis.link import RedisLink

_log = structlog.get_logger(__name__)

_PATTERN: Final = "project:*:events"
#: Logs, runs and projects that may wait to be rung for; beyond, rings are lost.
_WAITING_MAX: Final = 10_000
#: Rings of one round trip.
_BATCH_MAX: Final = 500
#: A subscription that is silent this long is asked whether it lives, and given up when it is silent as long again.
_SILENCE_S: Final = 5.0
#: How long to wait before subscribing again, at least and at most: replicas do not come back all at once.
_RETRY_S: Final = (0.2, 1.0)


@dataclass(frozen=True, slots=True)
class _Message:
    """What is published: who rang, and exactly one of the rings."""

    replica_id: str
    log_grew: LogGrew | None = None
    run_grew: RunGrew | None = None
    presence_changed: PresenceChanged | None = None


_MESSAGE = TypeAdapter(_Message)


class RedisEventBus:
    """An ``EventBus`` over the channels ``project:{id}:events``, mute and deaf without its ``Upkeep``.

    Rings while Redis is away are lost, as the port allows.

    Args:
        replica_id: This process; its own rings, which come back to it, are not heard.
    """

    def __init__(self, link: RedisLink, *, replica_id: str) -> None:
        self._link = link
        self._replica_id = replica_id
        self._receivers: list[Callable[[Ring], None]] = []
        self._waiting: dict[tuple[str, ...], Ring] = {}
        self._rung = asyncio.Event()
        self._listening = False

    @property
    def listening(self) -> bool:
        """Whether rings of others are heard now."""
        return self._listening

    def ring(self, rings: Sequence[Ring]) -> None:
        """See ``EventBus.ring``."""
        for ring in rings:
            key = _key(ring)
            if key in self._waiting:
                self._waiting[key] = _newest(self._waiting[key], ring)
            elif len(self._waiting) < _WAITING_MAX:
                self._waiting[key] = ring
        self._rung.set()

    def subscribe(self, receiver: Callable[[Ring], None]) -> None:
        """See ``EventBus.subscribe``."""
        self._receivers.append(receiver)

    async def run(self) -> None:
        """See ``Upkeep.run``: ring for what waits, and listen."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._publish())
            tasks.create_task(self._subscribe())

    async def _publish(self) -> None:
        while True:
            await self._rung.wait()
            self._rung.clear()
            while self._waiting:
                rings = [self._waiting.pop(key) for key in list(islice(self._waiting, _BATCH_MAX))]
                await self._link.run(partial(self._send, rings=rings))

    async def _send(self, redis: Redis, rings: list[Ring]) -> list[Any]:
        async with redis.pipeline(transaction=False) as pipeline:
            for ring in rings:
                pipeline.publish(
                    _channel(ring), _MESSAGE.dump_json(_message(self._replica_id, ring), exclude_none=True)
                )
            return await pipeline.execute()

    async def _subscribe(self) -> None:
        told = False
        while True:
            try:
                async with self._link.listener() as redis, redis.pubsub() as pubsub:
                    async with asyncio.timeout(_SILENCE_S):
                        await pubsub.psubscribe(_PATTERN)
                    await self._listen(pubsub)
            except Exception as error:  # noqa: BLE001 - it may lose rings, it must not end
                if self._listening or not told:
                    _log.warning("redis_subscription_lost", error=type(error).__name__, reason=str(error))
                told = True
            finally:
                self._listening = False
            await asyncio.sleep(random.uniform(*_RETRY_S))  # noqa: S311 - spread, not secrecy

    async def _listen(self, pubsub: PubSub) -> None:
        asked = False
        while True:
            message = await pubsub.get_message(timeout=_SILENCE_S)
            if message is None and asked:
                raise TimeoutError(f"silent for {2 * _SILENCE_S:.0f} s")
            if message is None:
                await pubsub.ping()
            elif message["type"] == "psubscribe":
                self._listening = True
            elif message["type"] == "pmessage":
                self._hear(message["data"])
            asked = message is None

    def _hear(self, data: bytes) -> None:
        try:
            message = _MESSAGE.validate_json(data, strict=True)
        except ValidationError:
            _log.debug("ring_unreadable")
            return
        ring = message.log_grew or message.run_grew or message.presence_changed
        if ring and message.replica_id != self._replica_id:
            deliver([ring], self._receivers)


def _key(ring: Ring) -> tuple[str, ...]:
    match ring:
        case LogGrew():
            return ("log", ring.log)
        case RunGrew():
            return ("run", ring.project_id, ring.run_id)
        case PresenceChanged():
            return ("presence", ring.project_id)


def _newest(one: Ring, other: Ring) -> Ring:
    """The one that says more of two rings for the same thing."""
    match one, other:
        case LogGrew(), LogGrew():
            return max(one, other, key=lambda ring: ring.sequence)
        case RunGrew(), RunGrew():
            return max(one, other, key=lambda ring: ring.line_count)
        case _:
            return other


def _channel(ring: Ring) -> str:
    project_id = ring.log if isinstance(ring, LogGrew) else ring.project_id
    return f"project:{percent_encoded(project_id)}:events"


def _message(replica_id: str, ring: Ring) -> _Message:
    match ring:
        case LogGrew():
            return _Message(replica_id, log_grew=ring)
        case RunGrew():
            return _Message(replica_id, run_grew=ring)
        case PresenceChanged():
            return _Message(replica_id, presence_changed=ring)
