"""The shared database: opening it, checking that this server may use it, and the connections to it."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any, Self, TypeVar

import asyncpg
import structlog

from foundry.domain.errors import Unavailable
from foundry.store import instance
from foundry.store.errors import StoreError
from foundry.store.postgres.clock import DatabaseClock
from foundry.store.postgres.connection import (
    AWAY,
    Driver,
    PostgresConnection,
    PostgresWriter,
    connect,
    to_the_end,
)
from foundry.store.postgres.guards import missing_postgres_guards
from foundry.store.postgres.reasons import reason
from foundry.store.postgres.roles import excess_rights
from foundry.store.postgres.schema import check_schema

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence

    from sqlalchemy import Select

    from foundry.clock import Clock
    from foundry.settings import Postgres
    from foundry.store.database import Reader
    from foundry.store.postgres.outage import Outage
    from foundry.store.statement import Row, Statement

T = TypeVar("T")
_log = structlog.get_logger(__name__)

#: Of servers that start together one makes the facts of the installation; the number is ours.
_START_LOCK = 0x666F756E647279 + 1
_WAL = "SELECT left(pg_walfile_name(lsn), 8), (lsn - '0/0')::bigint FROM pg_current_wal_flush_lsn() AS at (lsn)"
_NOW = "SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint"
_FACTS = "SELECT name, value FROM instance WHERE name IN ('epoch', 'wal_timeline') ORDER BY name FOR UPDATE"
_SET_FACT = "INSERT INTO instance (name, value) VALUES ($1, $2) ON CONFLICT (name) DO UPDATE SET value = excluded.value"


class PostgresDatabase:
    """A store that several servers share. See ``SharedDatabase``.

    Reads take a pooled connection each and run to their end, whoever goes away meanwhile. The pool keeps no
    transaction open; the write lane and the snapshot reads have theirs for as long as they last.

    Attributes:
        clock: The database's time.
    """

    shared = True

    def __init__(self, url: str, limits: Postgres, local: Clock) -> None:
        self._url = url
        self._limits = limits
        self._local = local
        self.clock = DatabaseClock(local)
        self.writer = PostgresWriter(self._checked, limits)
        self._idle: list[Driver] = []
        self._slots = asyncio.Semaphore(limits.pool_max)
        self._epoch = 1
        self._wal_end = 0
        self._closed = False
        self.instance_id = ""
        self.schema = ""
        self.page_token_key = b""

    @classmethod
    async def open(cls, url: str, limits: Postgres, local: Clock) -> Self:
        """Connect, and check everything that this server rests on.

        Raises:
            StoreError: The database cannot be reached, its schema is none that this version can serve, a guard is
                missing, this role may do more than it should, or the end of a log is not what its head says.
        """
        database = cls(url, limits, local)
        try:
            await database._begin()
        except asyncpg.InsufficientPrivilegeError as error:
            await database.close()
            raise StoreError(
                f"the server's role may do too little: {error}; run foundry migrate --server-role with this role"
            ) from error
        except (*AWAY, asyncpg.PostgresError, Unavailable, ValueError, OverflowError) as error:
            await database.close()
            raise StoreError(
                f"the database at --database-url cannot be used: {reason(error.__cause__ or error)}"
            ) from error
        except BaseException:
            await database.close()
            raise
        return database

    async def _begin(self) -> None:
        driver = await connect(self._url, self._limits)
        try:
            revision, exact = await check_schema(driver)
            missing = await missing_postgres_guards(driver, exact=exact)
            if missing:
                raise StoreError(
                    f"the guards {', '.join(missing)} of the database are missing or altered; "
                    "the server does not run without them"
                )
            excess = await excess_rights(driver)
            if excess:
                raise StoreError(f"the server's role may do too much: {'; '.join(excess)}")
            await self._learn(driver)
            async with driver.transaction(isolation="repeatable_read", readonly=True):
                await driver.execute("SET LOCAL statement_timeout TO 0")
                await instance.check_tails(PostgresConnection(driver))
            async with driver.transaction():
                await driver.execute("SELECT pg_advisory_xact_lock($1)", _START_LOCK)
                facts = await instance.begin(PostgresConnection(driver), self.clock.now_us(), revision)
            self.instance_id, self.page_token_key = facts.instance_id, facts.page_token_key
            self.schema = revision
            await self._check_history(driver)
        finally:
            await driver.close(timeout=self._limits.connect_limit_s)

    # --- the history of the log ---

    @property
    def epoch(self) -> int:
        """See ``Database.epoch``."""
        return self._epoch

    async def look(self) -> None:
        """See ``SharedDatabase.look``."""
        await self._read(self._check_history)

    async def _checked(self) -> tuple[Driver, int]:
        """A connection for the lane, and which history of the log it leads to."""
        driver = await connect(self._url, self._limits)
        try:
            return driver, await self._check_history(driver)
        except BaseException:
            driver.terminate()
            raise

    async def _learn(self, driver: Driver) -> None:
        before_s = self._local.monotonic_s()
        now_us = await driver.fetchval(_NOW)
        self.clock.observed(now_us, before_s, self._local.monotonic_s())

    async def _check_history(self, driver: Driver) -> int:
        """The epoch that a connection leads to. It is raised if the server was promoted or restored.

        Then its timeline is another than the store says, or it has less than it had before. The first of us that sees
        it raises the epoch, under a row lock; the others find it raised. It becomes the time, so that no two histories
        have the same, not even those of two standbys that never heard of each other.

        Raises:
            Unavailable: It leads to an older history than is known here; the connection is ended.
        """
        await self._learn(driver)
        had, before = self._wal_end, self._epoch
        [(timeline, wal_end)] = await driver.fetch(_WAL)
        lost = wal_end < had
        facts = dict(await driver.fetch(_FACTS.removesuffix(" FOR UPDATE")))
        if facts.get("wal_timeline") != timeline or (lost and int(facts["epoch"]) == before):
            async with driver.transaction():
                facts = dict(await driver.fetch(_FACTS))
                known = int(facts["epoch"])
                if "wal_timeline" not in facts:  # a store that has just been made
                    await driver.execute(_SET_FACT, "wal_timeline", timeline)
                elif facts["wal_timeline"] != timeline or (lost and known == before):
                    facts["epoch"] = str(max(known + 1, self._epoch + 1, self.clock.now_us()))
                    await driver.executemany(_SET_FACT, [("wal_timeline", timeline), ("epoch", facts["epoch"])])
        epoch = int(facts["epoch"])
        if epoch < self._epoch:
            driver.terminate()
            raise Unavailable("the connection leads to a database that was replaced")
        self._wal_end = max(self._wal_end, wal_end) if epoch == self._epoch else wal_end
        if epoch > self._epoch:
            _log.warning("database_failed_over", epoch=epoch, timeline=timeline)
            self._epoch = epoch
            # Other connections may lead to the server that was replaced.
            self.writer.renew()
            while self._idle:
                self._idle.pop().terminate()
        return epoch

    # --- reads ---

    async def row(self, statement: Statement, parameters: Mapping[str, Any]) -> Row | None:
        """See ``Reader.row``."""
        return await self._read(lambda driver: PostgresConnection(driver).row(statement, parameters))

    async def rows(self, statement: Statement, parameters: Mapping[str, Any]) -> list[Row]:
        """See ``Reader.rows``."""
        return await self._read(lambda driver: PostgresConnection(driver).rows(statement, parameters))

    async def fetch(self, query: Select[Any]) -> Sequence[Row]:
        """See ``Reader.fetch``."""
        return await self._read(lambda driver: PostgresConnection(driver).fetch(query))

    async def write(self, statement: Statement, parameters: Mapping[str, Any]) -> int:
        """See ``SharedDatabase.write``."""
        return await self._read(lambda driver: PostgresConnection(driver).write(statement, [parameters]))

    async def _read(self, work: Callable[[Driver], Awaitable[T]]) -> T:
        return await to_the_end(self._on_pooled(work), self.writer.outage)

    async def _on_pooled(self, work: Callable[[Driver], Awaitable[T]]) -> T:
        async with self._pooled() as driver:
            return await work(driver)

    @contextlib.asynccontextmanager
    async def _pooled(self) -> AsyncIterator[Driver]:
        """A connection of the pool; one that failed is not taken back."""
        async with self._slots:
            driver, epoch = await self._take(), self._epoch
            try:
                yield driver
            except (asyncpg.PostgresError, Unavailable):
                self._give_back(driver, epoch)
                raise
            except BaseException:
                driver.terminate()
                raise
            self._give_back(driver, epoch)

    async def _take(self) -> Driver:
        if self._closed:
            raise Unavailable("this server leaves")
        while self._idle:
            driver = self._idle.pop()
            if not driver.is_closed():
                return driver
        return await connect(self._url, self._limits)

    def _give_back(self, driver: Driver, epoch: int) -> None:
        """Keep a connection for the next, unless it is spoilt or may lead to a server that was replaced meanwhile."""
        if self._closed or epoch != self._epoch or driver.is_closed() or driver.is_in_transaction():
            driver.terminate()
        else:
            self._idle.append(driver)

    @contextlib.asynccontextmanager
    async def snapshot(self) -> AsyncIterator[Reader]:
        """See ``Database.snapshot``."""
        beginning = asyncio.ensure_future(self._begin_snapshot())
        try:
            held, epoch = await to_the_end(_result(beginning), self.writer.outage)
        except asyncio.CancelledError:
            beginning.add_done_callback(self._end_unwanted)
            raise
        try:
            yield _Snapshot(held, self.writer.outage)
        finally:
            await to_the_end(self._end_snapshot(held, epoch))

    def _end_unwanted(self, beginning: asyncio.Future[tuple[Driver, int]]) -> None:
        if not beginning.cancelled() and not beginning.exception():
            beginning.result()[0].terminate()
            self._slots.release()

    async def _begin_snapshot(self) -> tuple[Driver, int]:
        await self._slots.acquire()
        driver = None
        try:
            driver, epoch = await self._take(), self._epoch
            await driver.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
        except BaseException:
            self._slots.release()
            if driver:
                driver.terminate()
            raise
        return driver, epoch

    async def _end_snapshot(self, driver: Driver, epoch: int) -> None:
        try:
            await driver.execute("COMMIT")
            self._give_back(driver, epoch)
        except Exception:  # noqa: BLE001 - nothing was written
            driver.terminate()
        finally:
            self._slots.release()

    async def close(self) -> None:
        """Close everything, when what still runs for callers who went away has come to its end."""
        self._closed = True
        await self.writer.close()
        while self._idle:
            with contextlib.suppress(Exception):
                await self._idle.pop().close(timeout=self._limits.connect_limit_s)
        held = 0
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._limits.statement_limit_s):
                while held < self._limits.pool_max:
                    await self._slots.acquire()
                    held += 1
        for _ in range(held):  # whoever still comes is refused
            self._slots.release()


async def _result(future: asyncio.Future[T]) -> T:
    return await future


class _Snapshot:
    """A ``Reader`` inside one transaction."""

    def __init__(self, driver: Driver, outage: Outage) -> None:
        self._connection = PostgresConnection(driver)
        self._outage = outage

    async def row(self, statement: Statement, parameters: Mapping[str, Any]) -> Row | None:
        return await to_the_end(self._connection.row(statement, parameters), self._outage)

    async def rows(self, statement: Statement, parameters: Mapping[str, Any]) -> list[Row]:
        return await to_the_end(self._connection.rows(statement, parameters), self._outage)

    async def fetch(self, query: Select[Any]) -> Sequence[Row]:
        return await to_the_end(self._connection.fetch(query), self._outage)
