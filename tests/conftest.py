"""Fixtures of the whole suite: a real server on a real port, in this process, on a fresh data directory."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import uvloop

from tests.support import RunningServer, running_server

if TYPE_CHECKING:
    import asyncio
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path


def pytest_asyncio_loop_factories(config: object, item: object) -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Test on the loop that serves."""
    return {"uvloop": uvloop.new_event_loop}


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[RunningServer]:
    """A server with default settings."""
    async with running_server(tmp_path / "data") as running:
        yield running
