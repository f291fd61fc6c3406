"""The idle watch: a lock that nobody touches is warned about, then released."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import structlog

from foundry.domain.errors import Unavailable

if TYPE_CHECKING:
    from foundry.clock import Clock
    from foundry.managers.hub import SessionHub
    from foundry.managers.locks import LockManager
    from foundry.settings import Liveness
    from foundry.store.fields import FieldRepository

_log = structlog.get_logger(__name__)


class IdleWatch:
    """Looks at all held locks now and then. It works by state, not by events, so a missed look costs one interval."""

    def __init__(
        self, locks: LockManager, fields: FieldRepository, hub: SessionHub, clock: Clock, liveness: Liveness
    ) -> None:
        self._locks = locks
        self._fields = fields
        self._hub = hub
        self._clock = clock
        self._warning_us = int(liveness.idle_warning_s * 1_000_000)
        self._interval_s = min(5.0, max(0.05, liveness.idle_limit_s / 60))
        self._warned: dict[str, int] = {}
        self._away = False
        self._spared_until_s = float("-inf")

    async def run(self) -> None:
        """Look for as long as the server runs."""
        while True:
            try:
                await self.look()
            except Unavailable:
                _log.debug("idle_release_postponed")
            await asyncio.sleep(self._interval_s)

    async def look(self) -> None:
        """Warn holders of locks that are about to end, and release those that are over.

        While the store was away nobody could touch a lock, so after it they have the time of a warning to do it.
        """
        now_us = self._clock.now_us()
        try:
            expiring = await self._fields.expiring(now_us + self._warning_us)
        except Unavailable:
            self._away = True
            raise
        now_s = self._clock.monotonic_s()
        if self._away:
            self._away, self._spared_until_s = False, now_s + self._warning_us / 1_000_000
        warned: dict[str, int] = {}
        for lock in expiring:
            if lock.expire_time_us <= now_us and now_s >= self._spared_until_s:
                await self._locks.release_idle(lock)
                continue
            warned[lock.lock_id] = lock.expire_time_us
            if self._warned.get(lock.lock_id) != lock.expire_time_us:
                self._hub.warn_idle(lock)
        self._warned = warned
