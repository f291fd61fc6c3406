"""The database's clock, read on this machine: every server of an installation has the same time."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from foundry.clock import Clock

#: A reading that took longer than this says too little of when it was made.
_ROUND_TRIP_S_MAX = 0.1


class DatabaseClock:
    """A ``Clock`` that shows the database's time.

    How far the database's clock is from this machine's monotonic one is learned with every renewal. So times in the
    log come from one clock, whichever server wrote them, and nothing asks the database for the time of a transaction.

    Args:
        local: Spans are measured with it.
    """

    def __init__(self, local: Clock) -> None:
        self._local = local
        self._offset_us: int | None = None
        self._newest_us = 0

    def observed(self, database_us: int, before_s: float, after_s: float) -> None:
        """Learn from a reading of the database's clock, made between two of the local monotonic one."""
        if self._offset_us is None or after_s - before_s <= _ROUND_TRIP_S_MAX:
            self._offset_us = database_us - int((before_s + after_s) / 2 * 1_000_000)

    def now_us(self) -> int:
        """Microseconds since the Unix epoch; never runs backwards."""
        if self._offset_us is None:
            return self._local.now_us()
        self._newest_us = max(self._newest_us, self._offset_us + int(self._local.monotonic_s() * 1_000_000))
        return self._newest_us

    def monotonic_s(self) -> float:
        """See ``Clock.monotonic_s``."""
        return self._local.monotonic_s()
