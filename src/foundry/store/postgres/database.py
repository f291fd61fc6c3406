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
from foundry.store.postgres.connection import AWAY, Driver, PostgresConnection, PostgresWriter, connect, to_the_end
from foundry.store.postgres.guards import missing_postgres_guards
from foundry.store.postgres.roles import excess_rights
from foundry.store.postgres.schema import check_schema

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence

    from sqlalchemy import Select

    from foundry.clock import Clock
    from foundry.settings import Postgres
    from foundry.store.database import Reader
    from foundry.store.statement import Row, Statement

T = TypeVar("T")
_log = structlog.get_logger(__name__)

#: Of servers that start together one makes the facts of the installation; the number is ours.
_START_LOCK = 0x666F756E647279 + 1
_TIMELINE = "SELECT left(pg_walfile_name(pg_current_wal_lsn()), 8)"
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
        self._closed = False
        self.instance_id = ""
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
        except (*AWAY, Unavailable, ValueError) as error:
            await database.close()
            cause = error.__cause__ or error
            text = "" if isinstance(cause, ValueError) else f": {cause}"  # which may quote the URL with its password
            raise StoreError(f"the database at --database-url cannot be used{text}") from error
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

    async def _checked(self) -> Driver:
        """A connection for the lane: to a server whose history of the log is the one that is known here."""
        driver = await connect(self._url, self._limits)
        try:
            await self._check_history(driver)
        except BaseException:
            driver.terminate()
            raise
        return driver

    async def _learn(self, driver: Driver) -> str:
        before_s = self._local.monotonic_s()
        now_us = await driver.fetchval(_NOW)
        self.clock.observed(now_us, before_s, self._local.monotonic_s())
        return str(await driver.fetchval(_TIMELINE))

    async def _check_history(self, driver: Driver) -> None:
        """Raise the epoch if the server's timeline is another than the store says: it was promoted, or restored.

        The first server that sees it raises it, under a row lock; the others find it raised.
        """
        timeline = await self._learn(driver)
        facts = dict(await driver.fetch(_FACTS.removesuffix(" FOR UPDATE")))
        if facts.get("wal_timeline") != timeline:
            async with driver.transaction():
                facts = dict(await driver.fetch(_FACTS))
                if facts.get("wal_timeline") != timeline:
                    # A store without a timeline has just been made.
                    facts["epoch"] = str(int(facts["epoch"]) + ("wal_timeline" in facts))
                    await driver.executemany(_SET_FACT, [("wal_timeline", timeline), ("epoch", facts["epoch"])])
        epoch = int(facts["epoch"])
        if epoch != self._epoch:
            _log.warning("database_failed_over", epoch=epoch, timeline=timeline)
            self._epoch = epoch
            # Other connections may lead to the server that was replaced.
            self.writer.renew()
            while self._idle:
                self._idle.pop().terminate()

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
        return await to_the_end(self._on_pooled(work))

    async def _on_pooled(self, work: Callable[[Driver], Awaitable[T]]) -> T:
        async with self._pooled() as driver:
            return await work(driver)

    @contextlib.asynccontextmanager
    async def _pooled(self) -> AsyncIterator[Driver]:
        """A connection of the pool; one that failed is not taken back."""
        async with self._slots:
            driver = await self._take()
            try:
                yield driver
            except (asyncpg.PostgresError, Unavailable):
                if driver.is_closed() or driver.is_in_transaction():
                    driver.terminate()
                else:
                    self._give_back(driver)
                raise
            except BaseException:
                driver.terminate()
                raise
            self._give_back(driver)

    async def _take(self) -> Driver:
        if self._closed:
            raise Unavailable("this server leaves")
        while self._idle:
            driver = self._idle.pop()
            if not driver.is_closed():
                return driver
        return await connect(self._url, self._limits)

    def _give_back(self, driver: Driver) -> None:
        if self._closed:
            driver.terminate()
        else:
            self._idle.append(driver)

    @contextlib.asynccontextmanager
    async def snapshot(self) -> AsyncIterator[Reader]:
        """See ``Database.snapshot``."""
        beginning = asyncio.ensure_future(self._begin_snapshot())
        try:
            held = await to_the_end(_result(beginning))
        except asyncio.CancelledError:
            beginning.add_done_callback(self._end_unwanted)
            raise
        try:
            yield _Snapshot(held)
        finally:
            await to_the_end(self._end_snapshot(held))

    def _end_unwanted(self, beginning: asyncio.Future[Driver]) -> None:
        if not beginning.cancelled() and not beginning.exception():
            beginning.result().terminate()
            self._slots.release()

    async def _begin_snapshot(self) -> Driver:
        await self._slots.acquire()
        driver = None
        try:
            driver = await self._take()
            await driver.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
        except BaseException:
            self._slots.release()
            if driver:
                driver.terminate()
            raise
        return driver

    async def _end_snapshot(self, driver: Driver) -> None:
        try:
            await driver.execute("COMMIT")
            self._give_back(driver)
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


async def _result(future: asyncio.Future[Driver]) -> Driver:
    return await future


class _Snapshot:
    """A ``Reader`` inside one transaction."""

    def __init__(self, driver: Driver) -> None:
        self._connection = PostgresConnection(driver)

    async def row(self, statement: Statement, parameters: Mapping[str, Any]) -> Row | None:
        return await to_the_end(self._connection.row(statement, parameters))

    async def rows(self, statement: Statement, parameters: Mapping[str, Any]) -> list[Row]:
        return await to_the_end(self._connection.rows(statement, parameters))

    async def fetch(self, query: Select[Any]) -> Sequence[Row]:
        return await to_the_end(self._connection.fetch(query))
