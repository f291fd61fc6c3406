"""Rows that somebody else holds in a Postgres, and who waits for them."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any, Final

import asyncpg

_PATIENCE_S: Final = 20.0
_WAITING: Final = """
SELECT count(*) FROM pg_locks JOIN pg_stat_activity USING (pid) WHERE datname = current_database() AND NOT granted
"""


@contextlib.asynccontextmanager
async def held(url: str, rows: str, *arguments: object) -> AsyncIterator[asyncpg.Connection[Any]]:
    """A connection in a transaction that holds these rows: whoever writes them is not answered."""
    connection = await asyncpg.connect(url)
    try:
        async with connection.transaction():
            await connection.execute(f"SELECT FROM {rows} FOR UPDATE", *arguments)
            yield connection
    finally:
        await connection.close()


async def waiting(connection: asyncpg.Connection[Any], count: int = 1) -> None:
    """Return when as many wait for what others hold in this database."""
    async with asyncio.timeout(_PATIENCE_S):
        while await connection.fetchval(_WAITING) < count:
            # Within a transaction it is not seen otherwise who has come since the first look.
            await connection.execute("SELECT pg_stat_clear_snapshot()")
