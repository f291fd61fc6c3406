"""Another Postgres takes over: nobody goes on with a connection of before, and all agree on one new history."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import asyncpg
import pytest
from sqlalchemy import func, select

from foundry.clock import SystemClock
from foundry.domain.errors import Unavailable
from foundry.settings import Postgres
from foundry.store.errors import StoreError
from foundry.store.postgres.database import PostgresDatabase
from foundry.store.statement import Statement
from tests.managers.workspace import opened
from tests.servers.holding import held, waiting
from tests.servers.postgres import ANOTHER_TIMELINE, PostgresServer, execute, value_of

if TYPE_CHECKING:
    from foundry.store.database import Connection

POOL = 4
#: Longer than anybody is kept waiting here.
LIMITS = Postgres(pool_max=POOL, lock_limit_s=20.0, statement_limit_s=20.0, transaction_limit_s=30.0)
PATIENCE_S = 20.0
_FACTS = "instance WHERE name IN ('epoch', 'wal_timeline')"
_EPOCH = "SELECT value FROM instance WHERE name = 'epoch'"
_SET_EPOCH = "UPDATE instance SET value = '{}' WHERE name = 'epoch'"
#: Of the process behind a connection; it takes a while, so that reads at once need connections of their own.
_PID = Statement(select(func.pg_backend_pid(), func.pg_sleep(0.02)))
_GATE = 1
#: The same, answered when the gate is open.
_LATE_PID = Statement(select(func.pg_backend_pid(), func.pg_advisory_xact_lock(_GATE)))


def owner_of(postgres: PostgresServer, url: str) -> str:
    """URL of the database for its owner."""
    return postgres.owner_url(url.rpartition("/")[2])


@contextlib.asynccontextmanager
async def a_server(url: str) -> AsyncIterator[PostgresDatabase]:
    """The database as a server of its own has it."""
    database = await PostgresDatabase.open(url, LIMITS, SystemClock())
    try:
        yield database
    finally:
        await database.close()


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
    """It may lead to the server that was replaced."""
    database = await PostgresDatabase.open(url, LIMITS, SystemClock())
    reading, writing = await readers(database), await writer(database)
    assert len(reading) == POOL
    assert await writer(database) == writing
    await execute(owner_of(postgres, url), ANOTHER_TIMELINE)
    await database.look()
    assert not await readers(database) & reading
    assert await writer(database) != writing
    await database.close()


async def test_the_lane_looks_before_it_writes(postgres: PostgresServer, url: str) -> None:
    """On each connection that is new to it: the first transaction knows which history it writes to."""
    database = await PostgresDatabase.open(url, LIMITS, SystemClock())
    await execute(owner_of(postgres, url), ANOTHER_TIMELINE)

    async def epoch(_: Any) -> int:
        return database.epoch

    assert await database.writer.transact(epoch) > 1
    await database.close()


async def test_servers_that_find_another_history_at_once_raise_the_epoch_once(
    postgres: PostgresServer, url: str
) -> None:
    """All have seen that it is another before the first of them may say so."""
    databases = [await PostgresDatabase.open(url, LIMITS, SystemClock()) for _ in range(POOL)]
    await execute(owner_of(postgres, url), ANOTHER_TIMELINE)
    await _all_look(databases, owner_of(postgres, url))


async def _all_look(databases: list[PostgresDatabase], owner: str) -> None:
    """Each finds something by itself, before the first of them may say so; then all have the one epoch of it."""
    try:
        async with held(owner, _FACTS) as holding:
            looking = [asyncio.create_task(database.look()) for database in databases]
            await waiting(holding, len(databases))
        await asyncio.gather(*looking)
        assert len({database.epoch for database in databases}) == 1
        for database in databases:
            await database.look()
        raised = int(await value_of(owner, _EPOCH))
        assert raised > 1
        assert [database.epoch for database in databases] == [raised] * len(databases)
    finally:
        await asyncio.gather(*(database.close() for database in databases))


async def test_a_log_that_ends_before_where_it_ended_is_another_history(postgres: PostgresServer, url: str) -> None:
    """A restored copy can have the timeline of before; what it lacks tells it apart, once for all servers."""
    databases = [await PostgresDatabase.open(url, LIMITS, SystemClock()) for _ in range(POOL)]
    for database in databases:
        assert database._wal_end
        database._wal_end += 1 << 40
    await _all_look(databases, owner_of(postgres, url))


async def test_no_two_histories_have_one_epoch(postgres: PostgresServer, url: str) -> None:
    """Not even those of two standbys that were promoted by themselves: a position of one means nothing in the other."""
    elsewhere = postgres.create_database()
    epochs = []
    for each in (url, postgres.server_url(elsewhere)):
        database = await PostgresDatabase.open(each, LIMITS, SystemClock())
        await execute(owner_of(postgres, each), ANOTHER_TIMELINE)
        await database.look()
        epochs.append(database.epoch)
        await database.close()
    assert len({1, *epochs}) == 3
    assert min(epochs) > 1
    postgres.drop_database(elsewhere)


async def test_an_epoch_never_falls(postgres: PostgresServer, url: str) -> None:
    """What leads to an older history is refused and not kept, in reads and in the lane, until it is as it was."""
    owner = owner_of(postgres, url)
    async with a_server(url) as database:
        await execute(owner, ANOTHER_TIMELINE)
        await database.look()
        epoch = database.epoch
        await database.look()
        assert len(database._idle) == 1
        await execute(owner, _SET_EPOCH.format(epoch - 1))
        with pytest.raises(Unavailable):
            await database.look()
        assert len(database._idle) == 0
        with pytest.raises(Unavailable):
            await writer(database)
        assert database.epoch == epoch
        await execute(owner, _SET_EPOCH.format(epoch))
        await database.look()
        assert await writer(database)
        assert database.epoch == epoch


async def test_what_was_under_way_leaves_no_connection_of_before(postgres: PostgresServer, url: str) -> None:
    """A read and a snapshot may end where they began, at the server that was replaced; nobody comes after them."""
    owner = owner_of(postgres, url)
    async with a_server(url) as database, contextlib.AsyncExitStack() as stack:
        gate = await asyncpg.connect(owner)
        stack.push_async_callback(gate.close)
        await gate.execute("SELECT pg_advisory_lock($1)", _GATE)
        late = asyncio.create_task(database.row(_LATE_PID, {}))
        async with database.snapshot() as reader:
            await waiting(gate, 1)
            await execute(owner, ANOTHER_TIMELINE)
            await database.look()
            in_snapshot = await reader.row(_PID, {})
        await gate.execute("SELECT pg_advisory_unlock($1)", _GATE)
        before = {row[0] for row in (in_snapshot, await late) if row}
        assert len(before) == 2
        now = await readers(database)
    assert not before & now


# --- what is written meanwhile ---------------------------------------------------------------------------------------


async def test_a_transaction_knows_the_history_it_writes_to(postgres: PostgresServer, url: str) -> None:
    """That of its connection, whatever the server has learned since it began."""
    async with a_server(url) as database:

        async def meanwhile(connection: Connection) -> tuple[int, int]:
            await execute(owner_of(postgres, url), ANOTHER_TIMELINE)
            await database.look()
            return connection.epoch, database.epoch

        async def now(connection: Connection) -> int:
            return connection.epoch

        assert await database.writer.transact(now) == 1
        before, known = await database.writer.transact(meanwhile)
        assert before == 1 < known
        assert await database.writer.transact(now) == known


async def test_a_session_that_was_under_way_is_of_the_history_that_it_was_written_to(
    postgres: PostgresServer, url: str, tmp_path: Path
) -> None:
    """Else it passes for one of the new history, and its locks for granted there."""
    owner = owner_of(postgres, url)
    database = await PostgresDatabase.open(url, LIMITS, SystemClock())
    async with opened(tmp_path, shared=database) as workspace:
        project_id = await workspace.project()
        async with held(owner, "head WHERE log = $1", project_id) as holding:
            opening = asyncio.create_task(workspace.session(project_id))
            await waiting(holding, 1)
            await execute(owner, ANOTHER_TIMELINE)
            await database.look()
        assert (await opening).epoch == 1 < database.epoch


# --- the start -------------------------------------------------------------------------------------------------------


async def test_a_start_that_has_to_wait_for_too_long_is_refused_in_words(postgres: PostgresServer, url: str) -> None:
    """Somebody holds the log of the installation, and the server neither waits for ever nor ends with a traceback."""
    async with a_server(url), held(owner_of(postgres, url), "head WHERE log = 'instance'"):
        with pytest.raises(StoreError, match="cannot be used"):
            await PostgresDatabase.open(url, Postgres(lock_limit_s=0.1), SystemClock())
