"""Another Postgres takes over: nobody goes on with a connection of before, and all agree on one new history."""

from __future__ import annotations

import asyncio
from typing import Any

import asyncpg
from sqlalchemy import func, select

from foundry.clock import SystemClock
from foundry.settings import Postgres
from foundry.store.postgres.database import PostgresDatabase
from foundry.store.statement import Statement
from tests.servers.postgres import PostgresServer, execute

POOL = 4
#: Longer than anybody is kept waiting here.
LIMITS = Postgres(pool_max=POOL, lock_limit_s=20.0, statement_limit_s=20.0, transaction_limit_s=30.0)
PATIENCE_S = 20.0
_ELSEWHERE = "UPDATE instance SET value = 'FFFFFFFF' WHERE name = 'wal_timeline'"
_HOLD = "SELECT FROM instance WHERE name IN ('epoch', 'wal_timeline') FOR UPDATE"
_WAITING = """
SELECT count(*) FROM pg_locks JOIN pg_stat_activity USING (pid) WHERE datname = current_database() AND NOT granted
"""
#: Of the process behind a connection; it takes a while, so that reads at once need connections of their own.
_PID = Statement(select(func.pg_backend_pid(), func.pg_sleep(0.02)))


def owner_of(postgres: PostgresServer, url: str) -> str:
    """URL of the database for its owner."""
    return postgres.owner_url(url.rpartition("/")[2])


async def readers(database: PostgresDatabase) -> set[int]:
    """The processes behind the pool, all at work."""
    rows = await asyncio.gather(*(database.rows(_PID, {}) for _ in range(POOL)))
    return {int(row[0][0]) for row in rows}


async def writer(database: PostgresDatabase) -> int:
    """The process behind the lane."""
    row = await database.writer.transact(lambda connection: connection.row(_PID, {}))
    assert row
    return int(row[0])


async def test_nobody_goes_on_with_a_connection_of_before(postgres: PostgresServer, url: str) -> None:
    """It may lead to the server that was replaced. Kept is the one that the new history was seen on."""
    database = await PostgresDatabase.open(url, LIMITS, SystemClock())
    reading, writing = await readers(database), await writer(database)
    assert len(reading) == POOL
    assert await writer(database) == writing
    await execute(owner_of(postgres, url), _ELSEWHERE)
    await database.look()
    assert len(await readers(database) & reading) <= 1
    assert await writer(database) != writing
    await database.close()


async def test_the_lane_looks_before_it_writes(postgres: PostgresServer, url: str) -> None:
    """On each connection that is new to it: the first transaction knows which history it writes to."""
    database = await PostgresDatabase.open(url, LIMITS, SystemClock())
    await execute(owner_of(postgres, url), _ELSEWHERE)

    async def epoch(_: Any) -> int:
        return database.epoch

    assert await database.writer.transact(epoch) > 1
    await database.close()


async def test_servers_that_find_another_history_at_once_raise_the_epoch_once(
    postgres: PostgresServer, url: str
) -> None:
    """All have seen that it is another before the first of them may say so."""
    databases = [await PostgresDatabase.open(url, LIMITS, SystemClock()) for _ in range(POOL)]
    await execute(owner_of(postgres, url), _ELSEWHERE)
    owner = await asyncpg.connect(owner_of(postgres, url))
    async with owner.transaction():
        await owner.execute(_HOLD)
        looking = [asyncio.create_task(database.look()) for database in databases]
        async with asyncio.timeout(PATIENCE_S):
            while await owner.fetchval(_WAITING) < POOL:
                pass
    await asyncio.gather(*looking)
    for database in databases:
        await database.look()
    raised = int(await owner.fetchval("SELECT value FROM instance WHERE name = 'epoch'"))
    assert raised > 1
    assert [database.epoch for database in databases] == [raised] * POOL
    await owner.close()
    await asyncio.gather(*(database.close() for database in databases))
