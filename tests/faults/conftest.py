"""Fixtures of the faults: a Postgres and a Redis of their own, which may be broken, and a cluster over them."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from tests.faults import figures
from tests.faults.cluster import Cluster
from tests.servers.postgres import private_postgres
from tests.servers.redis import private_redis

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator
    from pathlib import Path

    from tests.servers.postgres import PrivateServer
    from tests.servers.redis import RedisServer


def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Function
) -> dict[str, Callable[[], asyncio.AbstractEventLoop]] | None:
    """Processes are started from asyncio's own loop: uvloop forks, and gRPC's threads do not take that well."""
    return {"asyncio": asyncio.new_event_loop} if "own_postgres" in item.fixturenames else None


@pytest.fixture(scope="session")
def _figures() -> None:
    figures.forget()


@pytest.fixture(scope="module")
def own_postgres(_figures: None) -> Iterator[PrivateServer]:
    """A Postgres that keeps what it acknowledged; whoever breaks it has it running again in the end."""
    with private_postgres(fsync=True) as server:
        yield server


@pytest.fixture(scope="module")
def own_redis() -> Iterator[RedisServer]:
    """A Redis, as above."""
    with private_redis() as server:
        yield server


@pytest.fixture
async def cluster(own_postgres: PrivateServer, own_redis: RedisServer, tmp_path: Path) -> AsyncIterator[Cluster]:
    """A cluster on a fresh database, without a server yet."""
    async with Cluster(tmp_path, own_postgres, own_redis) as made:
        yield made
