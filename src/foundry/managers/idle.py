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

    async def run(self) -> None:
        """Look for as long as the server runs."""
        while True:
            try:
                await self.look()
            except Unavailable:
                _log.warning("idle_release_postponed")
            await asyncio.sleep(self._interval_s)

    async def look(self) -> None:
        """Warn holders of locks that are about to end, and release those that are over."""
        now_us = self._clock.now_us()
        warned: dict[str, int] = {}
        for lock in await self._fields.expiring(now_us + self._warning_us):
            if lock.expire_time_us <= now_us:
                await self._locks.release_idle(lock)
                continue
            warned[lock.lock_id] = lock.expire_time_us
            if self._warned.get(lock.lock_id) != lock.expire_time_us:
                self._hub.warn_idle(lock)
        self._warned = warned
