"""Delays by chance wherever a server waits for Postgres or Redis: orders of events that a quick machine hardly shows.

For ``pytest --jitter SEED`` over several servers: what is only a matter of time then comes out. A failure names a race
of the product, or a test that assumes what nobody promises.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Awaitable, Callable
from random import Random
from typing import Any, Final

import pytest

from foundry.coordination.redis.bus import RedisEventBus
from foundry.coordination.redis.link import RedisLink
from foundry.store.postgres.connection import PostgresWriter
from foundry.store.postgres.database import PostgresDatabase

#: Of ten waits one is long, by so many seconds on average, and eight times as long at most.
_SHARE: Final = 0.1
_MEAN_S: Final = 0.015
#: Rings are only looked for when they come: theirs is longer.
_RING_MEAN_S: Final = 4 * _MEAN_S
_PLACES: Final = (
    (PostgresDatabase, "row"),
    (PostgresDatabase, "rows"),
    (PostgresDatabase, "fetch"),
    (PostgresWriter, "transact"),
    (RedisLink, "run"),
)


def shake(patched: pytest.MonkeyPatch, seed: int) -> None:
    """Delay calls before and behind their work, and rings, until ``patched`` is undone."""
    chance = Random(seed)

    def delay_s(mean_s: float) -> float:
        return min(chance.expovariate(1 / mean_s), 8 * mean_s) if chance.random() < _SHARE else 0.0

    def late(work: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
        @functools.wraps(work)
        async def shaken(*args: object, **options: object) -> Any:
            await asyncio.sleep(delay_s(_MEAN_S))
            try:
                return await work(*args, **options)
            finally:
                await asyncio.sleep(delay_s(_MEAN_S))

        return shaken

    for owner, name in _PLACES:
        patched.setattr(owner, name, late(getattr(owner, name)))
    hear = RedisEventBus._hear

    def heard(bus: RedisEventBus, data: bytes) -> None:
        asyncio.get_running_loop().call_later(delay_s(_RING_MEAN_S), hear, bus, data)

    patched.setattr(RedisEventBus, "_hear", heard)
