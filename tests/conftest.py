"""Fixtures of the whole suite: a real server on a real port, in this process, on a fresh data directory."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support import RunningServer, running_server

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[RunningServer]:
    """A server with default settings."""
    async with running_server(tmp_path / "data") as running:
        yield running
