"""The shared database: what its connections are bound by, and that nobody's going away harms anybody else's reads."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Iterator
from typing import Any

import asyncpg
import pytest
from sqlalchemy import bindparam, func, select

from foundry.clock import SystemClock
from foundry.domain.errors import Unavailable
from foundry.settings import Postgres
from foundry.store import tables as t
from foundry.store.postgres.database import PostgresDatabase
from foundry.store.replicas import ReplicaRepository
from foundry.store.statement import Statement
from tests.servers.postgres import PostgresServer, PrivateServer, execute, private_postgres

POOL = 4
LIMITS = Postgres(pool_max=POOL)
#: Gives back what it was asked, after some of the database's time.
ECHO = Statement(select(bindparam("number", type_=t.head.c.last_sequence.type), func.pg_sleep(bindparam("seconds"))))
RENEWALS = Statement(select(func.sum(t.replica.c.renew_count)))


async def echo(database: PostgresDatabase, number: int, seconds: float = 0.0) -> int:
    """A read whose answer is its question."""
    [row] = await database.rows(ECHO, {"number": number, "seconds": seconds})
    return int(row[0])


@pytest.fixture
async def database(url: str) -> AsyncIterator[PostgresDatabase]:
    opened = await PostgresDatabase.open(url, LIMITS, SystemClock())
    yield opened
    await opened.close()


async def whole(database: PostgresDatabase) -> None:
    """Every connection of the pool is there, and each answers its own question."""
    assert database._slots._value == POOL
    numbers = list(range(100, 100 + 4 * POOL))
    assert await asyncio.gather(*(echo(database, number, 0.001) for number in numbers)) == numbers
    assert len(database._idle) <= POOL
    for driver in database._idle:
        assert not driver.is_in_transaction()


# --- what a connection is bound by -----------------------------------------------------------------------------------


async def test_nothing_can_be_waited_for_without_end(url: str) -> None:
    """Statements, locks, and transactions that stand still end by the limits of the settings."""
    limits = Postgres(statement_limit_s=1.5, lock_limit_s=0.25, idle_in_transaction_limit_s=2.5)
    database = await PostgresDatabase.open(url, limits, SystemClock())
    names = ("statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout")
    shown = Statement(select(*(func.current_setting(name) for name in names)))
    in_lane = await database.writer.transact(lambda connection: connection.row(shown, {}))
    assert await database.row(shown, {}) == in_lane == ("1500ms", "250ms", "2500ms")
    await database.close()


async def test_a_statement_that_takes_too_long_is_unavailable(url: str) -> None:
    """It ends at its limit, and its connection is good for the next."""
    database = await PostgresDatabase.open(url, Postgres(statement_limit_s=1.0, pool_max=1), SystemClock())
    with pytest.raises(Unavailable):
        await echo(database, 1, seconds=10.0)
    assert await echo(database, 2) == 2
    await database.close()


@pytest.mark.parametrize(
    ("default", "wanted"), [("off", "on"), ("local", "local"), ("remote_apply", "remote_apply"), ("on", "on")]
)
async def test_an_acknowledged_write_is_durable_whatever_the_default_is(
    postgres: PostgresServer, url: str, default: str, wanted: str
) -> None:
    """``synchronous_commit`` is never off; a stricter choice of the operator's stands."""
    name = url.rpartition("/")[2]
    await execute(postgres.owner_url(name), f"ALTER DATABASE {name} SET synchronous_commit TO {default}")
    database = await PostgresDatabase.open(url, LIMITS, SystemClock())
    setting = Statement(select(func.current_setting("synchronous_commit")))
    assert await database.writer.transact(lambda connection: connection.row(setting, {})) == (wanted,)
    assert await database.row(setting, {}) == (wanted,)
    await database.close()


async def test_reads_have_so_many_connections_and_no_more(database: PostgresDatabase) -> None:
    """Whoever comes when all are busy waits for one; they are used again."""
    numbers = list(range(POOL * 6))
    reads = asyncio.gather(*(echo(database, number, 0.01) for number in numbers))
    assert await reads == numbers
    assert len(database._idle) == POOL


# --- callers who go away ---------------------------------------------------------------------------------------------


async def _cancelled_after(work: Any, seconds: float) -> None:
    task = asyncio.ensure_future(work)
    await asyncio.wait({task}, timeout=seconds)
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


async def _in_snapshot(database: PostgresDatabase, number: int) -> None:
    async with database.snapshot() as reader:
        for _ in range(3):
            row = await reader.row(ECHO, {"number": number, "seconds": 0.001})
            assert row is not None
            assert row[0] == number


async def test_a_cancelled_caller_poisons_no_connection(database: PostgresDatabase) -> None:
    """Cancelled at any moment, reads, writes and snapshots leave no answer for the next, no transaction, no gap."""
    chance = random.Random(7)
    await ReplicaRepository(database).join("r", 0, "")
    for round_ in range(25):
        work: list[Any] = [echo(database, number, chance.choice([0.0, 0.003])) for number in range(6)]
        work += [_in_snapshot(database, number) for number in range(3)]
        work += [ReplicaRepository(database).renew("r") for _ in range(2)]
        await asyncio.gather(*(_cancelled_after(one, chance.random() * 0.006) for one in work))
        if round_ % 5 == 4:
            await _settled(database)
            await whole(database)
    [renewed] = await database.rows(RENEWALS, {})
    assert renewed[0] == 50  # what was begun is done, whoever waits for it


async def _settled(database: PostgresDatabase) -> None:
    """What goes on behind cancelled callers has come to its end."""
    async with asyncio.timeout(10):
        while database._slots._value != POOL:  # noqa: ASYNC110 - the end of work that nobody waits for any more
            await asyncio.sleep(0.001)


async def test_a_cancelled_snapshot_gives_its_place_back(database: PostgresDatabase) -> None:
    """Before it begins, while it begins, while it reads, and while it ends."""
    for seconds in (0.0, 0.0005, 0.001, 0.002, 0.004, 0.008):
        for _ in range(POOL + 1):
            await _cancelled_after(_in_snapshot(database, 1), seconds)
    await _settled(database)
    await whole(database)


async def test_a_cancelled_wait_for_a_place_takes_none(database: PostgresDatabase) -> None:
    """Callers that were cancelled while all connections were busy."""
    busy = [asyncio.create_task(echo(database, number, 0.05)) for number in range(POOL)]
    await asyncio.sleep(0)
    waiting = [asyncio.create_task(_in_snapshot(database, 1)) for _ in range(POOL * 2)]
    await asyncio.sleep(0)
    for task in waiting:
        task.cancel()
    assert await asyncio.gather(*busy) == list(range(POOL))
    await asyncio.gather(*waiting, return_exceptions=True)
    await _settled(database)
    await whole(database)


async def test_closing_waits_for_what_nobody_waits_for_any_more(url: str) -> None:
    """A read that runs on behind its cancelled caller leaves no connection open; whoever comes later is refused."""
    database = await PostgresDatabase.open(url, LIMITS, SystemClock())
    reads = [asyncio.create_task(echo(database, number, 0.1)) for number in range(POOL * 2)]
    while not database._slots.locked():  # noqa: ASYNC110 - every connection is taken
        await asyncio.sleep(0)
    for read in reads:
        read.cancel()
    await database.close()
    assert database._idle == []
    assert database._slots._value == POOL
    with pytest.raises(Unavailable):
        await echo(database, 1)
    with pytest.raises(Unavailable):
        await _in_snapshot(database, 1)
    name = url.rpartition("/")[2]
    watching = await asyncpg.connect(url)
    mine = "SELECT count(*) FROM pg_stat_activity WHERE datname = $1 AND application_name = 'foundry'"
    async with asyncio.timeout(10):
        while await watching.fetchval(mine, name):
            pass  # the last of them says goodbye
    await watching.close()


# --- snapshots -------------------------------------------------------------------------------------------------------


async def test_a_snapshot_sees_one_state(database: PostgresDatabase) -> None:
    """What is committed between two of its reads is not in the second."""
    replicas = ReplicaRepository(database)
    await replicas.join("r", 0, "")
    async with database.snapshot() as reader:
        before = await reader.row(RENEWALS, {})
        assert await replicas.renew("r")
        assert await database.row(RENEWALS, {}) == (1,)
        assert await reader.row(RENEWALS, {}) == before == (0,)
        [found] = await reader.fetch(select(t.replica.c.renew_count))
        assert found == (0,)


async def test_a_snapshot_that_fails_inside_gives_its_place_back(database: PostgresDatabase) -> None:
    """Also when the failure is the database's own, which ends the transaction."""
    for _ in range(POOL + 1):
        with pytest.raises(asyncpg.DivisionByZeroError):
            async with database.snapshot() as reader:
                await reader.fetch(select(bindparam("one", value=1, type_=t.head.c.last_sequence.type) / 0))
    await whole(database)


async def test_a_refused_statement_costs_no_connection(database: PostgresDatabase) -> None:
    """The pool keeps it: it is not in a transaction, and the next read is answered."""
    await ReplicaRepository(database).join("r", 0, "")
    [kept] = database._idle
    for _ in range(POOL + 1):
        with pytest.raises(asyncpg.UniqueViolationError):
            await ReplicaRepository(database).join("r", 0, "")
        assert database._idle == [kept]
    await whole(database)


# --- a database that goes away ---------------------------------------------------------------------------------------


@pytest.fixture
def own_postgres() -> Iterator[PrivateServer]:
    """A server that a test may stop."""
    with private_postgres() as server:
        yield server


async def test_a_database_that_goes_away_is_unavailable_and_comes_back(own_postgres: PrivateServer) -> None:
    """Every read and write says so, none hangs, and when it is there again the same object serves."""
    url = own_postgres.server_url(own_postgres.create_database())
    database = await PostgresDatabase.open(url, LIMITS, SystemClock())
    await asyncio.gather(*(echo(database, number, 0.01) for number in range(POOL)))

    async def commits() -> int:
        async def work(connection: Any) -> int:
            [row] = await connection.rows(ECHO, {"number": 5, "seconds": 0.0})
            return int(row[0])

        return await database.writer.transact(work)

    assert await commits() == 5
    await asyncio.to_thread(own_postgres.kill)
    for _ in range(POOL + 1):
        with pytest.raises(Unavailable):
            await echo(database, 1)
        with pytest.raises(Unavailable):
            await commits()
        with pytest.raises(Unavailable):
            await _in_snapshot(database, 1)
        with pytest.raises(Unavailable):
            await database.look()
    await asyncio.to_thread(own_postgres.start)
    await whole(database)
    assert await commits() == 5
    await database.look()
    assert database.epoch == 1  # a restart is no other history
    await database.close()
