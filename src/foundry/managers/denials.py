"""Refusals worth an entry: counted, and written at most every five seconds, so that logging cannot be used to flood."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import TYPE_CHECKING

import structlog

from foundry.domain.entry import INSTANCE_LOG, Event
from foundry.domain.errors import Unavailable
from foundry.managers.entries import SERVER, entry
from foundry.metrics import LOCK_DENIALS
from foundry.store.needs import Needs

if TYPE_CHECKING:
    from foundry.clock import Clock
    from foundry.domain.entry import Value
    from foundry.store.lane import WriteLane
    from foundry.store.unit_of_work import UnitOfWork

_log = structlog.get_logger(__name__)

WINDOW_S = 5.0
#: Distinct (project, field, subject) in one window; beyond it refusals are counted under the subject ``others``.
_KEYS_MAX = 1_000


class Denials:
    """Counts refused locks and calls without a valid token, and logs the counts. A crash may lose one window.

    What could not be written is written with the next window, which is so much longer; a commit whose answer was lost
    is so written twice.
    """

    def __init__(self, lane: WriteLane, clock: Clock) -> None:
        self._lane = lane
        self._clock = clock
        self._locks: Counter[tuple[str, str, str]] = Counter()
        self._tokens: Counter[str] = Counter()
        self._since_s = clock.monotonic_s()
        #: Of logs that could not be written, since when their counts are.
        self._kept_since_s: dict[str, float] = {}

    def lock_denied(self, project_id: str, field: str, subject: str) -> None:
        """Count an acquire, or a save that would have taken the lock itself, refused because the field was held."""
        LOCK_DENIALS.inc()
        self._count(project_id, field, subject, 1)

    def _count(self, project_id: str, field: str, subject: str, count: int) -> None:
        key = (project_id, field, subject)
        if key not in self._locks and len(self._locks) >= _KEYS_MAX:
            key = (project_id, field, "others")
        self._locks[key] += count

    def authentication_failed(self, cause: str) -> None:
        """Count a call without a valid token; ``cause`` is the reason it was given."""
        self._tokens[cause] += 1

    async def run(self) -> None:
        """Write the counts every ``WINDOW_S`` seconds, for as long as the server runs."""
        while True:
            await asyncio.sleep(WINDOW_S)
            await self.flush()

    async def flush(self) -> None:
        """Write what was counted since the last time, each log by itself."""
        now_s = self._clock.monotonic_s()
        since_s, self._since_s = self._since_s, now_s
        kept_since_s, self._kept_since_s = self._kept_since_s, {}
        locks, self._locks = self._locks, Counter()
        tokens, self._tokens = self._tokens, Counter()
        by_project: dict[str, list[tuple[str, str, int]]] = {}
        for (project_id, field, subject), count in locks.items():
            by_project.setdefault(project_id, []).append((field, subject, count))

        async def write(log: str) -> None:
            began_s = kept_since_s.get(log, since_s)
            window_ms = int((now_s - began_s) * 1000)
            try:
                if log == INSTANCE_LOG:
                    await self._write_tokens(tokens, window_ms)
                else:
                    await self._write_locks(log, sorted(by_project[log]), window_ms)
            except Unavailable:
                _log.debug("denials_postponed", log=log)
                self._kept_since_s[log] = began_s
                self._tokens.update(tokens if log == INSTANCE_LOG else {})
                for field, subject, count in by_project.get(log, ()):
                    self._count(log, field, subject, count)

        await asyncio.gather(*(write(log) for log in (*by_project, *([INSTANCE_LOG] if tokens else []))))

    async def _write_locks(self, project_id: str, counts: list[tuple[str, str, int]], window_ms: int) -> None:
        def decide(unit: UnitOfWork) -> None:
            for field, subject, count in counts:
                data: dict[str, Value] = {"field": field, "count": count, "window_ms": window_ms, "subject": subject}
                unit.record(entry(Event.LOCK_DENIED, SERVER, data))

        await self._lane.submit(Needs(project_id), decide)

    async def _write_tokens(self, tokens: Counter[str], window_ms: int) -> None:
        def decide(unit: UnitOfWork) -> None:
            for cause, count in sorted(tokens.items()):
                data: dict[str, Value] = {"count": count, "window_ms": window_ms, "cause": cause}
                unit.record(entry(Event.AUTHENTICATION_FAILED, SERVER, data), INSTANCE_LOG)

        await self._lane.submit(Needs(instance_log=True), decide)
