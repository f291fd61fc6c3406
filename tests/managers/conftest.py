"""The event loops of the managers' tests."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest


class OwnedTimeLoop(asyncio.SelectorEventLoop):
    """An event loop whose time the test owns: timers go off when the test says so."""

    now_s = 1_000.0

    def time(self) -> float:
        return self.now_s

    async def advance(self, seconds: float) -> None:
        """Let time pass and what is due happen."""
        self.now_s += seconds
        await asyncio.sleep(0)
        await asyncio.sleep(0)


def pytest_asyncio_loop_factories(
    config: object, item: pytest.Item
) -> dict[str, Callable[[], asyncio.AbstractEventLoop]] | None:
    """Give the tests of what lingers such a loop; the others run on the loop that serves."""
    return {"owned": OwnedTimeLoop} if item.path.name in {"test_channel.py", "test_console.py"} else None
