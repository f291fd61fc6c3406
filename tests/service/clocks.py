"""A clock that tests set."""

from __future__ import annotations

from foundry.clock import SystemClock


class LateClock(SystemClock):
    """The wall clock of this machine, but ``ahead_s`` seconds fast. Spans are measured as ever."""

    ahead_s = 0

    def now_us(self) -> int:
        return super().now_us() + self.ahead_s * 1_000_000
