"""A clock that a test owns."""

from __future__ import annotations


class ManualClock:
    """Stands still until it is moved; the wall clock can be stepped on its own, as real ones are."""

    def __init__(self, now_us: int = 1_800_000_000_000_000) -> None:
        self._now_us = now_us
        self._monotonic_s = 1_000.0

    def now_us(self) -> int:
        """Microseconds since the Unix epoch."""
        return self._now_us

    def monotonic_s(self) -> float:
        """Seconds that never step."""
        return self._monotonic_s

    def advance(self, seconds: float) -> None:
        """Let time pass on both."""
        self._now_us += round(seconds * 1_000_000)
        self._monotonic_s += seconds

    def step(self, seconds: float) -> None:
        """Set the wall clock forward or back."""
        self._now_us += round(seconds * 1_000_000)
