"""The embedded database: opening it, migrating it, checking its guards, and the connections to it."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import sqlite3
from pathlib import Path
from typing import TYPE_CHECKING, Any

from alembic import command
from alembic.config import Config
from alembic.util.exc import CommandError
from sqlalchemy import create_engine, event
from sqlalchemy.exc import DatabaseError
from sqlalchemy.ext.asyncio import create_async_engine

from foundry.store import instance
from foundry.store.errors import StoreError
from foundry.store.sqlite import guards
from foundry.store.sqlite.connection import SqliteConnection, SqliteWriter, completed

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence

    from sqlalchemy import Connection, Select

    from foundry.clock import Clock
    from foundry.store.database import Reader
    from foundry.store.instance import Facts
    from foundry.store.statement import Row, Statement

_FILE = "foundry.sqlite3"
_LOCK_FILE = "foundry.lock"
_MIGRATIONS = Path(__file__).parent.parent / "migrations"


class SqliteDatabase:
    """The embedded store in a directory of its own, held by one process at a time. See ``Database``.

    Attributes:
        connection: The one writing connection; the writer's.
        reader: A read-only connection for point reads on the event loop, each well under a millisecond.
    """

    shared = False

    def __init__(self, directory: Path, clock: Clock) -> None:
        """Open the store, creating and migrating it as needed. Blocks; call before serving.

        Raises:
            StoreError: Another process has it, its schema is from a newer version, a guard is missing, or the tail of
                a log is not what its head says.
        """
        self._path = directory / _FILE
        with contextlib.ExitStack() as opened:  # whatever is refused, nothing stays open
            self._hold(directory)
            opened.callback(os.close, self._lock_file)
            try:
                revision = self._migrate()
                self.connection = SqliteConnection(self._path)
                opened.callback(self.connection.close)
                self._path.chmod(0o600)
                self._check_guards()
                completed(instance.check_tails(self.connection))
                facts = self._begin(clock, revision)
                self.reader = SqliteConnection(self._path, read_only=True)
            except (DatabaseError, sqlite3.Error) as error:
                why = getattr(error, "orig", None) or error
                raise StoreError(f"{self._path} cannot be opened as a database: {why}") from error
            opened.pop_all()
        self.writer = SqliteWriter(self.connection)
        self.schema = revision
        self.connection.epoch = facts.epoch
        self.instance_id, self.epoch, self.page_token_key = facts.instance_id, facts.epoch, facts.page_token_key
        # Lists and filters, whose size or shape varies, go through ordinary SQLAlchemy connections in threads.
        self._engine = create_async_engine(f"sqlite+aiosqlite:///file:{self._path.absolute()}?mode=ro&uri=true")

    def _hold(self, directory: Path) -> None:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._lock_file = os.open(directory / _LOCK_FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._lock_file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            os.close(self._lock_file)
            raise StoreError(f"another server uses the data directory {directory}") from error

    def _migrate(self) -> str:
        """Bring the schema up to date; returns its revision."""
        engine = create_engine(f"sqlite:///{self._path.absolute()}")
        event.listen(engine, "connect", _leave_transactions_alone)
        event.listen(engine, "begin", _begin)
        config = Config()
        config.set_main_option("script_location", str(_MIGRATIONS))
        with contextlib.ExitStack() as opened:
            opened.callback(engine.dispose)
            # One transaction: an interrupted migration leaves the schema as it was.
            connection = opened.enter_context(engine.begin())
            config.attributes["connection"] = connection
            try:
                command.upgrade(config, "head")
            except CommandError as error:
                raise StoreError(
                    f"the schema of {self._path} is from another version of foundry ({error}); run that version"
                ) from error
            return current_revision(connection)

    def _check_guards(self) -> None:
        missing = guards.missing_sqlite_guards(self.connection)
        if missing:
            raise StoreError(
                f"the append-only guards {', '.join(missing)} of {self._path} are missing or altered; "
                "the server does not run without them"
            )

    def _begin(self, clock: Clock, revision: str) -> Facts:
        self.connection.sql("BEGIN IMMEDIATE")
        facts = completed(instance.begin(self.connection, clock.now_us(), revision))
        self.connection.sql("COMMIT")
        return facts

    async def row(self, statement: Statement, parameters: Mapping[str, Any]) -> Row | None:
        """See ``Reader.row``. At once, on the event loop."""
        return await self.reader.row(statement, parameters)

    async def rows(self, statement: Statement, parameters: Mapping[str, Any]) -> list[Row]:
        """See ``Reader.rows``. At once, on the event loop."""
        return await self.reader.rows(statement, parameters)

    async def fetch(self, query: Select[Any]) -> Sequence[Row]:
        """See ``Reader.fetch``. On a pooled connection, off the event loop."""
        async with self._engine.connect() as connection:
            return [tuple(row) for row in (await connection.execute(query)).all()]

    @contextlib.asynccontextmanager
    async def snapshot(self) -> AsyncIterator[Reader]:
        """See ``Database.snapshot``. Only ``row`` and ``rows``, which do not suspend: everybody shares a connection."""
        self.reader.sql("BEGIN")
        try:
            yield self
        finally:
            self.reader.sql("COMMIT")

    async def close(self) -> None:
        """Close everything and let go of the directory."""
        await self._engine.dispose()
        await asyncio.to_thread(self._close_files)

    def _close_files(self) -> None:
        self.reader.close()
        self.connection.close()
        os.close(self._lock_file)


def _leave_transactions_alone(driver: sqlite3.Connection, _record: object) -> None:
    """The driver would begin a transaction before rows change, but not before tables do."""
    driver.isolation_level = None


def _begin(connection: Connection) -> None:
    connection.exec_driver_sql("BEGIN IMMEDIATE")


def current_revision(connection: Any) -> str:  # noqa: ANN401 - a SQLAlchemy connection
    """Schema revision of a database, empty when it has none yet."""
    from alembic.runtime.migration import MigrationContext  # noqa: PLC0415 - only needed while migrating

    return MigrationContext.configure(connection).get_current_revision() or ""
