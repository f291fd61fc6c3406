"""The embedded database: opening it, migrating it, checking its guards, and the connections to it."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import secrets
import sqlite3
from pathlib import Path
from typing import TYPE_CHECKING, Any

from alembic import command
from alembic.config import Config
from alembic.util.exc import CommandError
from sqlalchemy import bindparam, create_engine, event, exists, insert, literal, select, union
from sqlalchemy.exc import DatabaseError
from sqlalchemy.ext.asyncio import create_async_engine

from foundry.domain.entry import INSTANCE_LOG, Event, NewEntry
from foundry.domain.principal import SYSTEM
from foundry.ids import new_id
from foundry.store import entries, guards, log
from foundry.store import tables as t
from foundry.store.needs import Needs
from foundry.store.sqlite import SqliteConnection, Statement
from foundry.store.unit_of_work import UnitOfWork

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import Connection, Select
    from sqlalchemy import Row as SqlAlchemyRow

    from foundry.clock import Clock

_FILE = "foundry.sqlite3"
_LOCK_FILE = "foundry.lock"

_INSTANCE = Statement(select(t.instance.c.name, t.instance.c.value))
_INSERT_INSTANCE = Statement(insert(t.instance))
_LAST_ENTRY = Statement(
    select(t.log_entry.c.sequence, t.log_entry.c.leaf, t.log_entry.c.entry)
    .where(t.log_entry.c.log == bindparam("log"))
    .order_by(t.log_entry.c.sequence.desc())
    .limit(1)
)
_HEADS = Statement(select(t.head.c.log, t.head.c.last_sequence, t.head.c.tail))
#: The logs that there must be: one of each project, and that of the installation once it has an identity.
_LOGS = Statement(
    union(select(t.project.c.project_id), select(literal(INSTANCE_LOG)).where(exists(select(t.instance.c.name))))
)
_ALTERED = "the log {} does not end where its head says; it was altered or cut"


class StoreError(Exception):
    """The store cannot be opened; the text is one sentence for the operator."""


class Database:
    """The embedded store in a directory of its own, held by one process at a time.

    Attributes:
        writer: The one writing connection; the lane's.
        reader: A read-only connection for point reads on the event loop, each well under a millisecond.
        instance_id: Id of this installation, made when the database was.
        epoch: Identity of the log's history, from 1.
        page_token_key: Key with which page tokens are signed, 32 bytes.
    """

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
                applied = self._migrate()
                self.writer = SqliteConnection(self._path)
                opened.callback(self.writer.close)
                self._path.chmod(0o600)
                self._check_guards()
                self._check_tails()
                self.instance_id, self.epoch, self.page_token_key = self._facts(clock, applied)
                self.reader = SqliteConnection(self._path, read_only=True)
            except (DatabaseError, sqlite3.Error) as error:
                why = getattr(error, "orig", None) or error
                raise StoreError(f"{self._path} cannot be opened as a database: {why}") from error
            opened.pop_all()
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
        """Bring the schema up to date; returns the new revision, or nothing when it was."""
        engine = create_engine(f"sqlite:///{self._path.absolute()}")
        event.listen(engine, "connect", _leave_transactions_alone)
        event.listen(engine, "begin", _begin)
        config = Config()
        config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
        with contextlib.ExitStack() as opened:
            opened.callback(engine.dispose)
            # One transaction: an interrupted migration leaves the schema as it was.
            connection = opened.enter_context(engine.begin())
            config.attributes["connection"] = connection
            try:
                before = current_revision(connection)
                command.upgrade(config, "head")
            except CommandError as error:
                raise StoreError(
                    f"the schema of {self._path} is from another version of foundry ({error}); run that version"
                ) from error
            after = current_revision(connection)
        return after if after != before else ""

    def _check_guards(self) -> None:
        missing = guards.missing_sqlite_guards(self.writer)
        if missing:
            raise StoreError(
                f"the append-only guards {', '.join(missing)} of {self._path} are missing or altered; "
                "the server does not run without them"
            )

    def _facts(self, clock: Clock, applied: str) -> tuple[str, int, bytes]:
        writer = self.writer
        writer.sql("BEGIN IMMEDIATE")
        facts: dict[str, str] = dict(writer.rows(_INSTANCE, {}))
        if not facts:
            facts = {"instance_id": new_id(), "epoch": "1", "page_token_key": secrets.token_hex(32)}
            writer.execute_many(_INSERT_INSTANCE, [{"name": k, "value": v} for k, v in facts.items()])
        unit = UnitOfWork(writer, Needs(instance_log=True), clock.now_us())
        if not writer.row(entries.HEAD, {"log": INSTANCE_LOG}):
            unit.add_log(INSTANCE_LOG)
            unit.record(genesis(facts["instance_id"]), INSTANCE_LOG)
        if applied:
            data = {"revision": applied, "build": log.BUILD}
            unit.record(NewEntry(Event.MIGRATION_APPLIED, SYSTEM, data), INSTANCE_LOG)
        unit.flush(writer)
        writer.sql("COMMIT")
        return facts["instance_id"], int(facts["epoch"]), bytes.fromhex(facts["page_token_key"])

    def _check_tails(self) -> None:
        heads: dict[str, tuple[int, bytes]] = {row[0]: row[1:] for row in self.writer.rows(_HEADS, {})}
        for name in sorted({row[0] for row in self.writer.rows(_LOGS, {})} ^ heads.keys()):
            raise StoreError(_ALTERED.format(name))
        for name, (sequence, tail) in heads.items():
            last = self.writer.row(_LAST_ENTRY, {"log": name})
            if last is None or (last[0], last[1]) != (sequence, tail) or log.leaf_hash(last[2]) != tail:
                raise StoreError(_ALTERED.format(name))

    async def fetch(self, query: Select[Any]) -> Sequence[SqlAlchemyRow[Any]]:
        """All rows of a list query, read on a pooled connection off the event loop."""
        async with self._engine.connect() as connection:
            rows: Sequence[SqlAlchemyRow[Any]] = (await connection.execute(query)).all()
            return rows

    @contextlib.contextmanager
    def snapshot(self) -> Any:  # noqa: ANN401 - a context manager without a value
        """Let several reads of ``reader`` see one state. Do not await anything that suspends inside."""
        self.reader.sql("BEGIN")
        try:
            yield
        finally:
            self.reader.sql("COMMIT")

    async def close(self) -> None:
        """Close everything and let go of the directory."""
        await self._engine.dispose()
        await asyncio.to_thread(self._close_files)

    def _close_files(self) -> None:
        self.reader.close()
        self.writer.close()
        os.close(self._lock_file)


def genesis(instance_id: str) -> NewEntry:
    """The first entry of a log: the rules it is written by."""
    return NewEntry(
        Event.LOG_GENESIS,
        SYSTEM,
        {"format": log.FORMAT, "hash": "sha256", "canonical": "rfc8785", "instance_id": instance_id},
    )


def _leave_transactions_alone(driver: sqlite3.Connection, _record: object) -> None:
    """The driver would begin a transaction before rows change, but not before tables do."""
    driver.isolation_level = None


def _begin(connection: Connection) -> None:
    connection.exec_driver_sql("BEGIN IMMEDIATE")


def current_revision(connection: Any) -> str:  # noqa: ANN401 - a SQLAlchemy connection
    """Schema revision of a database, empty when it has none yet."""
    from alembic.runtime.migration import MigrationContext  # noqa: PLC0415 - only needed while migrating

    return MigrationContext.configure(connection).get_current_revision() or ""
