"""Clocks. Everything that needs the time is given one, so that tests own it."""

from __future__ import annotations

import time
from typing import Protocol


class Clock(Protocol):
    """Two readings: one for records, one for spans."""

    def now_us(self) -> int:
        """Wall clock, microseconds since the Unix epoch. For records only; no decision compares two of them."""
        ...

    def monotonic_s(self) -> float:
        """Seconds on a clock that never steps. For deadlines and spans."""
        ...


class SystemClock:
    """The clocks of this machine."""

    def now_us(self) -> int:
        """Microseconds since the Unix epoch."""
        return time.time_ns() // 1000

    def monotonic_s(self) -> float:
        """Seconds since some point; runs on during suspend where the system has such a clock."""
        return time.clock_gettime(_SUSPEND_AWARE)


#: CLOCK_MONOTONIC stands still while a laptop sleeps; CLOCK_BOOTTIME does not.
_SUSPEND_AWARE = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
