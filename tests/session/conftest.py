"""Fixtures of the session tests: a server on its own copy of an empty store, a clock to turn, tabs, and a project."""

from __future__ import annotations

import shutil
import time
from typing import TYPE_CHECKING, Any

import pytest
import pytest_asyncio

from tests.backends import Backend, using
from tests.session.tab import TOKEN_TTL_S, Tabs
from tests.support import project_with, running_server

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from foundry.client import Foundry
    from tests.support import RunningServer


class TurnedClock:
    """A clock whose wall time a test puts forward; its spans are real, from a zero that is nobody else's."""

    def __init__(self) -> None:
        self._ahead_us = 0

    def now_us(self) -> int:
        return time.time_ns() // 1000 + self._ahead_us

    def monotonic_s(self) -> float:
        return time.monotonic() + 1_000_000.0

    def put_forward(self, seconds: float) -> None:
        self._ahead_us += int(seconds * 1_000_000)


def with_settings(**settings: object) -> pytest.MarkDecorator:
    """Run a test against a server with these settings."""
    return pytest.mark.parametrize("settings", [settings], ids=["tuned"])


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data directory that a server has set up: making its schema is the slowest part of a start."""
    data_dir = tmp_path_factory.mktemp("empty") / "data"
    with using(Backend()):
        async with running_server(data_dir):
            return data_dir


@pytest.fixture
def data_dir(empty_store: Path, tmp_path: Path) -> Path:
    return shutil.copytree(empty_store, tmp_path / "data")


@pytest.fixture
def settings() -> dict[str, Any]:
    """Defaults; ``with_settings`` says otherwise."""
    return {}


@pytest.fixture
def clock() -> TurnedClock:
    return TurnedClock()


@pytest.fixture
async def server(data_dir: Path, clock: TurnedClock, settings: dict[str, Any]) -> AsyncIterator[RunningServer]:
    async with running_server(data_dir, clock=clock, **settings) as running:
        yield running


@pytest.fixture
async def tabs(server: RunningServer) -> AsyncIterator[Tabs]:
    opened = Tabs(server)
    yield opened
    await opened.close()


@pytest.fixture
async def alice(server: RunningServer) -> AsyncIterator[Foundry]:
    """The owner's client for unary calls."""
    async with server.connect("alice", name="Alice", ttl_seconds=TOKEN_TTL_S) as connected:
        yield connected


@pytest.fixture
async def bob(server: RunningServer) -> AsyncIterator[Foundry]:
    """An editor's client for unary calls."""
    async with server.connect("bob", name="Bob", ttl_seconds=TOKEN_TTL_S) as connected:
        yield connected


@pytest.fixture
async def project(alice: Foundry) -> str:
    """A project of alice with the editors bob and carol."""
    return await project_with(alice, "bob", "carol")
