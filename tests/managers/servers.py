"""Several servers without their edges on one Postgres, and a line between them that loses, repeats and delays."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from random import Random

from foundry.clock import SystemClock
from foundry.coordination.memory import MemoryEventBus
from foundry.coordination.ports import EventBus
from foundry.domain.entry import Entry
from foundry.domain.events import News, Ring
from foundry.settings import Liveness, Postgres
from foundry.store.postgres.database import PostgresDatabase
from tests.managers.workspace import LIVENESS, Workspace, opened
from tests.store.manual_clock import ManualClock

#: Bound on every wait, seconds.
PATIENCE_S = 20.0
#: Of servers that wait for each other on a slow machine, which is nobody's failure.
PATIENT = Postgres(
    pool_max=4, lock_limit_s=20.0, statement_limit_s=20.0, idle_in_transaction_limit_s=20.0, transaction_limit_s=30.0
)


class ShakyBus:
    """Rings through another bus, of each ring by chance never, once, twice, or late.

    Args:
        fates: How often each ring is passed on: 0, 1, 2, or -1 for once but late.
    """

    def __init__(self, bus: EventBus, chance: Random, fates: Sequence[int]) -> None:
        self._bus = bus
        self._chance = chance
        self._fates = fates

    def ring(self, rings: Sequence[Ring]) -> None:
        for ring in rings:
            fate = self._chance.choice(self._fates)
            if fate < 0:
                asyncio.get_running_loop().call_later(self._chance.random() * 0.02, self._bus.ring, [ring])
            else:
                self._bus.ring([ring] * fate)

    def subscribe(self, receiver: Callable[[Ring], None]) -> None:
        self._bus.subscribe(receiver)


class Heard:
    """What a feed told since the test began to listen."""

    def __init__(self, workspace: Workspace) -> None:
        self.news: list[News] = []
        workspace.feed.subscribe(self.news.append)

    def sequences(self, log: str) -> list[int]:
        """Numbers of the entries of a log, in the order they were told."""
        return [item.sequence for item in self.news if isinstance(item, Entry) and item.log == log]


async def until(condition: Callable[[], bool]) -> None:
    """Return as soon as it holds; fail when it does not in time."""
    async with asyncio.timeout(PATIENCE_S):
        while not condition():  # noqa: ASYNC110 - what is waited for happens in another process
            await asyncio.sleep(0.002)


@contextlib.asynccontextmanager
async def servers(
    directory: Path,
    url: str,
    count: int,
    *,
    fates: Sequence[int] = (1,),
    seed: int = 0,
    liveness: Liveness = LIVENESS,
    limits: Postgres | None = None,
) -> AsyncIterator[list[Workspace]]:
    """Servers on one database, each with a clock and a connection pool of its own, that ring at each other."""
    line: list[MemoryEventBus] = []
    chance = Random(seed)
    async with contextlib.AsyncExitStack() as stack:
        made = []
        for _ in range(count):
            database = await PostgresDatabase.open(url, limits or PATIENT, SystemClock())
            entered = opened(directory, ManualClock(), shared=database, line=line, liveness=liveness)
            workspace = await stack.enter_async_context(entered)
            workspace.feed._bus = ShakyBus(workspace.feed._bus, chance, fates)
            made.append(workspace)
        yield made
