"""Server processes that share a store, and what they know of each other.

Every process raises its own counter in the store, on the event loop it vouches for: a hung loop must not keep its
sessions alive. Whoever sees a counter stand still for long enough, by its own monotonic clock, gives that process up
with a compare-and-set, and its sessions are closed. A process that finds itself given up stops at once. No wall clock
is compared, and while the store is away nobody counts.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

import structlog

from foundry.domain.errors import Unavailable
from foundry.domain.session import CloseReason
from foundry.metrics import DATABASE_UP, REPLICA_RENEWED
from foundry.store.replicas import ReplicaRepository

if TYPE_CHECKING:
    from collections.abc import Callable

    from foundry.clock import Clock
    from foundry.managers.hub import SessionHub
    from foundry.managers.sessions import SessionManager
    from foundry.settings import Liveness
    from foundry.store.database import SharedDatabase

_log = structlog.get_logger(__name__)

_POLL_S = 1.0
#: A renewal that is late by this much means that the store is away.
_UNHEALTHY_S = 3.0


class FencedError(Exception):
    """The other processes gave this one up: it was silent for too long, and its sessions are closed."""


class Replicas:
    """This process among the others.

    Args:
        boot_id: Id of this process.
    """

    def __init__(
        self,
        database: SharedDatabase,
        sessions: SessionManager,
        hub: SessionHub,
        *,
        clock: Clock,
        liveness: Liveness,
        boot_id: str,
    ) -> None:
        self._database = database
        self._store = ReplicaRepository(database)
        self._sessions = sessions
        self._hub = hub
        self._clock = clock
        self._liveness = liveness
        self._boot_id = boot_id
        self._on_health: Callable[[bool], None] = lambda _: None
        self._renewed_s = clock.monotonic_s()
        self._healthy = True
        #: Of each other process its counter, and when it was first seen to have this value.
        self._seen: dict[str, tuple[int, float]] = {}

    def report(self, on_health: Callable[[bool], None]) -> None:
        """Tell ``on_health`` whether the store can be reached: False after three seconds without a renewal."""
        self._on_health = on_health

    async def join(self, address: str) -> None:
        """Make this process known. Before it, no session can be opened here.

        Args:
            address: Where it serves, for people who look.
        """
        await self._store.join(self._boot_id, self._clock.now_us(), address)
        self._renewed_s = self._clock.monotonic_s()
        DATABASE_UP.set(1)

    async def leave(self) -> None:
        """Say that this process ends as it should, once its sessions were seen off; nothing happens without the store.

        Nobody's sessions are closed by it: their clients were sent to the others, and are waited for there.
        """
        if self._healthy:
            with contextlib.suppress(Unavailable):
                await self._store.leave(self._boot_id)

    async def run(self) -> None:
        """Renew, observe, and close what the dead left behind; for as long as the server runs.

        Raises:
            FencedError: This process was given up.
        """
        # Each by itself: the store may let a question wait for longer than it takes to say that it is away, and what
        # many dead sessions left is long in closing.
        try:
            async with asyncio.TaskGroup() as tasks:
                for work in (self._look_after(), self._clear_up(), self._judge()):
                    tasks.create_task(work)
        except ExceptionGroup as failed:
            raise failed.exceptions[0] from failed

    async def _look_after(self) -> None:
        next_renewal_s = self._clock.monotonic_s()
        while True:
            now_s = self._clock.monotonic_s()
            try:
                if now_s >= next_renewal_s or not self._healthy:
                    await self._renew()
                    next_renewal_s = now_s + self._liveness.replica_renewal_s
                await self._observe()
            except Unavailable:
                _log.debug("replica_renewal_postponed")
            await asyncio.sleep(_POLL_S)

    async def _renew(self) -> None:
        await self._database.look()
        self._hub.end_older()
        if not await self._store.renew(self._boot_id):
            _log.error("replica_fenced", replica_id=self._boot_id)
            raise FencedError("the other servers gave this one up")
        now_s = self._clock.monotonic_s()
        if now_s - self._renewed_s > 2 * max(self._liveness.replica_renewal_s, _POLL_S):
            # The store was away, or stood still in the midst of this, for everybody perhaps: the others have not been
            # silent, they were not heard.
            self._seen.clear()
        self._renewed_s = now_s
        REPLICA_RENEWED.set_to_current_time()

    async def _observe(self) -> None:
        now_s = self._clock.monotonic_s()
        others = await self._store.open()
        others.pop(self._boot_id, None)
        self._seen = {
            name: self._seen[name] if name in self._seen and self._seen[name][0] == count else (count, now_s)
            for name, (count, _, _) in others.items()
        }
        for name, (count, since_s) in self._seen.items():
            left, address = others[name].left, others[name].address
            limit_s = self._liveness.departure_grace_s if left else self._liveness.replica_silence_s
            if now_s - since_s >= limit_s and await self._store.fence(name, count):
                if left:
                    _log.info("replica_left", replica_id=name, address=address)
                else:
                    _log.warning("replica_given_up", replica_id=name, address=address)

    async def _clear_up(self) -> None:
        while True:
            with contextlib.suppress(Unavailable):  # the next look finds the same
                await self._reap()
            await asyncio.sleep(_POLL_S)

    async def _reap(self) -> None:
        """Close sessions by state, not by event: whatever was missed is found by the next look."""
        while orphans := await self._sessions.orphans():
            reaped = await asyncio.gather(*(self._sessions.close(one, CloseReason.REPLICA_DEAD) for one in orphans))
            _log.info("sessions_reaped", count=sum(reaped))
        # The last commits of an older history may be lost, so whatever was held in it is void.
        if closed := await self._sessions.close_older(self._database.epoch):
            _log.warning("sessions_closed_by_failover", count=closed, epoch=self._database.epoch)

    async def _judge(self) -> None:
        while True:
            silent_s = self._clock.monotonic_s() - self._renewed_s
            healthy = silent_s <= self._liveness.replica_renewal_s + _UNHEALTHY_S
            if healthy != self._healthy:
                self._healthy = healthy
                DATABASE_UP.set(healthy)
                self._on_health(healthy)
            await asyncio.sleep(_POLL_S)
