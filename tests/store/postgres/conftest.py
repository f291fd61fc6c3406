"""Fixtures: a server, and a database in which a short history happened."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from tests.servers.postgres import PostgresServer, execute, finished, postgres_server

HISTORY = (Path(__file__).parent / "history.sql").read_text("utf-8")


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """The server of all tests here."""
    with postgres_server() as server:
        yield server


@pytest.fixture(scope="session")
def told(postgres: PostgresServer) -> str:
    """Name of a database with the history, written by the role that serves; whoever changes it rolls back."""
    name = postgres.create_database()
    finished(execute(postgres.server_url(name), HISTORY))
    return name


@pytest.fixture
def own(postgres: PostgresServer) -> Iterator[str]:
    """Name of a database with the history that is one test's, dropped afterwards."""
    name = postgres.create_database()
    finished(execute(postgres.server_url(name), HISTORY))
    yield name
    postgres.drop_database(name)


async def rolled_back(url: str) -> AsyncIterator[asyncpg.Connection[Any]]:
    """A connection in a transaction that leaves nothing."""
    connection = await asyncpg.connect(url)
    transaction = connection.transaction()
    await transaction.start()
    try:
        yield connection
    finally:
        await transaction.rollback()
        await connection.close()


@pytest.fixture
async def server(postgres: PostgresServer, told: str) -> AsyncIterator[asyncpg.Connection[Any]]:
    """A connection of the role that serves; nothing it does stays."""
    async for connection in rolled_back(postgres.server_url(told)):
        yield connection


@pytest.fixture
async def owner(postgres: PostgresServer, told: str) -> AsyncIterator[asyncpg.Connection[Any]]:
    """A connection of the owner; nothing it does stays."""
    async for connection in rolled_back(postgres.owner_url(told)):
        yield connection


@pytest.fixture
async def admin(postgres: PostgresServer, told: str) -> AsyncIterator[asyncpg.Connection[Any]]:
    """A connection of a superuser; nothing it does stays. Skips in a server that is somebody else's."""
    async for connection in rolled_back(postgres.admin_url(told)):
        yield connection


@pytest.fixture
def empty(postgres: PostgresServer) -> Iterator[str]:
    """Name of a database without a schema, dropped afterwards."""
    name = postgres.create_database(empty=True)
    yield name
    postgres.drop_database(name)
