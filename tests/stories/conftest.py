"""Fixtures of the stories: a server in a process of its own."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from tests.stories.processes import ServerProcess

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator
    from pathlib import Path


def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Function
) -> dict[str, Callable[[], asyncio.AbstractEventLoop]] | None:
    """Processes are started from asyncio's own loop: uvloop forks, and gRPC's threads do not take that well."""
    return None if "server" in item.fixturenames else {"asyncio": asyncio.new_event_loop}


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """A story that asks for a second server is told with one embedded server, and with two that share their stores."""
    if "elsewhere" in metafunc.fixturenames:
        metafunc.parametrize("stores", ["embedded", "shared"], indirect=True)


@pytest.fixture
def stores(request: pytest.FixtureRequest) -> Iterator[dict[str, str]]:
    """Where servers of this test keep everything, as settings in the environment; none is their data directory."""
    if getattr(request, "param", "embedded") == "embedded":
        yield {}
        return
    postgres, redis = request.getfixturevalue("postgres"), request.getfixturevalue("shared_redis")
    name = postgres.create_database()
    yield {"FOUNDRY_DATABASE_URL": postgres.server_url(name), "FOUNDRY_REDIS_URL": redis.url}
    postgres.drop_database(name)


@pytest.fixture
async def served(tmp_path: Path, stores: dict[str, str]) -> AsyncIterator[ServerProcess]:
    """A running server process on fresh data."""
    async with ServerProcess(tmp_path / "data", env=stores) as server:
        yield server


@pytest.fixture
async def elsewhere(served: ServerProcess, stores: dict[str, str]) -> AsyncIterator[ServerProcess]:
    """The server that the others in a story use: another one where there are two, else the same."""
    if not stores:
        yield served
        return
    async with ServerProcess(served.data_dir, env=stores) as server:
        yield server
