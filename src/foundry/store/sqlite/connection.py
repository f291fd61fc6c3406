"""Driver connections to SQLite. Their coroutines never suspend: what they await is there at once."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import time
from typing import TYPE_CHECKING, Any, TypeVar

from foundry.domain.errors import OutcomeUnknown, Unavailable
from foundry.store.errors import StoreBusyError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
    from pathlib import Path

    from foundry.store.database import Connection
    from foundry.store.statement import Row, Statement

T = TypeVar("T")

#: Commits that take longer than this on average wait for the disk, and transactions move from the event loop to a
#: thread. The rest of a transaction is the interpreter's own work, which a thread would only make slower.
INLINE_SECONDS_MAX = 0.005


class SqliteConnection:
    """One connection, used by one task at a time.

    Args:
        path: The database file; it must exist when ``read_only``.
        read_only: Open the file for reading only; a write fails in the driver.

    Attributes:
        epoch: See ``Connection``; 1 until the store says otherwise.
    """

    epoch = 1

    def __init__(self, path: Path, *, read_only: bool = False) -> None:
        mode = "ro" if read_only else "rwc"
        self._driver = sqlite3.connect(
            f"{path.absolute().as_uri()}?mode={mode}",
            uri=True,
            isolation_level=None,
            check_same_thread=False,
            cached_statements=256,
            timeout=5.0,
        )
        for pragma in ("foreign_keys = ON", "recursive_triggers = ON", "busy_timeout = 5000", "cache_size = -32000"):
            self._driver.execute(f"PRAGMA {pragma}")
        if not read_only:
            self._driver.execute("PRAGMA journal_mode = WAL")
            # Durable first: an acknowledged save must survive a power cut, so every commit is synced.
            self._driver.execute("PRAGMA synchronous = FULL")

    async def row(self, statement: Statement, parameters: Mapping[str, Any]) -> Row | None:
        """See ``Reader.row``."""
        found: Row | None = self._driver.execute(statement.sqlite, _bound(statement, parameters)).fetchone()
        return found

    async def rows(self, statement: Statement, parameters: Mapping[str, Any]) -> list[Row]:
        """See ``Reader.rows``."""
        return self._driver.execute(statement.sqlite, _bound(statement, parameters)).fetchall()

    async def each(self, statement: Statement, parameters: Sequence[Mapping[str, Any]]) -> list[Row]:
        """See ``Connection.each``."""
        execute, sql = self._driver.execute, statement.sqlite
        return [row for one in parameters for row in execute(sql, _bound(statement, one)).fetchall()]

    async def write(self, statement: Statement, parameters: Sequence[Mapping[str, Any]]) -> int:
        """See ``Connection.write``."""
        bound = [_bound(statement, one) for one in parameters]
        if len(bound) == 1:
            return self._driver.execute(statement.sqlite, bound[0]).rowcount
        return self._driver.executemany(statement.sqlite, bound).rowcount

    def sql(self, sql: str) -> None:
        """Run a statement that is not about tables: BEGIN, COMMIT, PRAGMA."""
        self._driver.execute(sql)

    def rows_sql(self, sql: str) -> list[Row]:
        """All rows of a query about the database itself."""
        return self._driver.execute(sql).fetchall()

    @property
    def in_transaction(self) -> bool:
        """Whether a transaction is open."""
        return self._driver.in_transaction

    def close(self) -> None:
        """Close the connection; an open transaction is rolled back."""
        self._driver.close()


class SqliteWriter:
    """Runs transactions on the one writing connection: on the event loop while that is fast, else in a thread."""

    def __init__(self, connection: SqliteConnection) -> None:
        self._connection = connection
        self._commit_seconds = 0.0  # on average

    async def transact(self, work: Callable[[Connection], Awaitable[T]]) -> T:
        """See ``Writer.transact``."""
        if self._commit_seconds <= INLINE_SECONDS_MAX:
            return await self._transact(work)
        try:
            return await asyncio.to_thread(lambda: completed(self._transact(work)))
        except RuntimeError as error:  # no thread to be had
            raise Unavailable("the store could not commit") from error

    async def _transact(self, work: Callable[[Connection], Awaitable[T]]) -> T:
        connection = self._connection
        try:
            connection.sql("BEGIN IMMEDIATE")
        except sqlite3.Error as error:
            self._roll_back()
            raise Unavailable("the store takes no writes now") from error
        try:
            result = await work(connection)
        except sqlite3.OperationalError as error:
            self._roll_back()
            raise StoreBusyError("the store could not write") from error
        except BaseException:
            self._roll_back()
            raise
        began = time.perf_counter()
        try:
            connection.sql("COMMIT")
        except sqlite3.Error as error:
            self._roll_back()
            raise OutcomeUnknown("the store could not commit") from error
        self._commit_seconds += (time.perf_counter() - began - self._commit_seconds) / 16
        return result

    def _roll_back(self) -> None:
        # A rollback that fails leaves the transaction open; the next BEGIN then fails, and rolls back once more.
        with contextlib.suppress(sqlite3.Error):
            if self._connection.in_transaction:
                self._connection.sql("ROLLBACK")


def _bound(statement: Statement, parameters: Mapping[str, Any]) -> Mapping[str, Any]:
    return {**statement.constants, **parameters} if statement.constants else parameters


def completed(work: Coroutine[Any, Any, T]) -> T:
    """The result of a coroutine that never suspends.

    Raises:
        RuntimeError: It did.
    """
    try:
        work.send(None)
    except StopIteration as done:
        result: T = done.value
        return result
    work.close()
    raise RuntimeError("a coroutine over SQLite suspended")
