"""Fixtures of the stories: a server in a process of its own."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from tests.stories.processes import ServerProcess

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path


def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Function
) -> dict[str, Callable[[], asyncio.AbstractEventLoop]] | None:
    """Processes are started from asyncio's own loop: uvloop forks, and gRPC's threads do not take that well."""
    return None if "server" in item.fixturenames else {"asyncio": asyncio.new_event_loop}


@pytest.fixture
async def served(tmp_path: Path) -> AsyncIterator[ServerProcess]:
    """A running server process on fresh data."""
    async with ServerProcess(tmp_path / "data") as server:
        yield server
