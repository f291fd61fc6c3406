"""What a server under test stands on: the suites run unchanged over each of these.

What a test does behind the servers' back it does through the backend too.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import asyncpg

from coreason.foundry.v1 import audit_pb2, lock_pb2
from foundry.store.postgres.guards import REFUSED
from foundry.store.sqlite import connection as sqlite_connection
from tests.servers.postgres import finished

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from tests.servers.postgres import PostgresServer

SQLITE: Final = "sqlite+memory"
#: Name of each backend, and how many server processes it has.
REPLICAS: Final = {SQLITE: 1, "postgres+memory": 1, "postgres+redis": 1, "postgres+redis*2": 2}

#: How long what is done behind the servers' back may wait for them, seconds.
_PATIENCE_S: Final = 20.0
#: A place for a parameter, as SQLite writes it: the next one, or one by its number.
_PLACE: Final = re.compile(r"\?(\d*)")


@dataclass
class Backend:
    """Where the servers of one module's tests keep what they share; nothing of it is another module's.

    Attributes:
        databases: By data directory, the database of the installation that has it.
    """

    name: str = SQLITE
    postgres: PostgresServer | None = None
    redis_url: str = ""
    databases: dict[Path, str] = field(default_factory=dict)

    @property
    def replicas(self) -> int:
        """How many servers there are at one address."""
        return REPLICAS[self.name]

    @property
    def why_after_restart(self) -> tuple[int, int]:
        """Why a session that did not come back after a restart is closed, and its lock released."""
        if self.postgres:
            return audit_pb2.SESSION_CLOSE_REASON_REPLICA_DEAD, lock_pb2.LOCK_RELEASE_REASON_REPLICA_DEAD
        return audit_pb2.SESSION_CLOSE_REASON_SERVER_RESTART, lock_pb2.LOCK_RELEASE_REASON_SERVER_RESTART

    def settings(self, data_dir: Path) -> dict[str, Any]:
        """Settings of a server of the installation with this data directory."""
        if self.postgres is None:
            return {}
        if data_dir not in self.databases:
            self.databases[data_dir] = self.postgres.create_database()
        settings = {"database_url": self.postgres.server_url(self.databases[data_dir])}
        return settings | ({"redis_url": self.redis_url} if self.redis_url else {})

    def drop(self) -> None:
        """Remove what was made."""
        for name in self.databases.values():
            assert self.postgres
            self.postgres.drop_database(name)

    # --- behind the servers' back ---

    def execute(self, data_dir: Path, statement: str, *rows: Sequence[object]) -> list[tuple[Any, ...]]:
        """Run a statement as the owner of the database, for each row of parameters, as one transaction.

        Args:
            data_dir: That of the installation.
            statement: With SQLite's ``?`` or ``?1`` for parameters.

        Returns:
            What it finds.
        """
        if self.postgres is None:
            with self._file(data_dir) as file, file:
                file.execute("BEGIN IMMEDIATE")
                return [found for row in rows for found in file.execute(statement, row).fetchall()]
        owner = _Owner(self.postgres.owner_url(self.databases[data_dir]))
        found: list[tuple[Any, ...]] = finished(owner.execute(statement, rows))
        return found

    def columns(self, data_dir: Path, table: str) -> list[str]:
        """Names of a table's columns."""
        if self.postgres is None:
            return [row[1] for row in self.execute(data_dir, "SELECT * FROM pragma_table_info(?)", (table,))]
        columns = "SELECT attname::text FROM pg_attribute WHERE attrelid = ?::text::regclass AND attnum > 0"
        return [row[0] for row in self.execute(data_dir, columns, (table,))]

    @contextlib.contextmanager
    def guard_refuses(self) -> Iterator[None]:
        """What is executed inside is refused by a guard of the database."""
        try:
            yield
        except sqlite3.IntegrityError:
            return
        except asyncpg.PostgresError as error:
            assert error.sqlstate == REFUSED, error  # noqa: PT017 - which kind of refusal, not whether there is one
            return
        raise AssertionError("no guard refused")

    @contextlib.contextmanager
    def writes_blocked(self, data_dir: Path) -> Iterator[None]:
        """Nobody can write to any project meanwhile; everybody can read, and the event loop goes on."""
        if self.postgres is None:
            with commits_in_a_thread(), self._file(data_dir) as file:
                file.execute("BEGIN IMMEDIATE")
                yield
                file.execute("ROLLBACK")
            return
        owner = _Owner(self.postgres.owner_url(self.databases[data_dir]))
        with ThreadPoolExecutor(1) as thread:
            runner = asyncio.Runner()
            thread.submit(runner.run, owner.lock("head")).result()
            try:
                yield
            finally:
                thread.submit(runner.run, owner.unlock()).result()
                thread.submit(runner.close).result()

    @staticmethod
    @contextlib.contextmanager
    def _file(data_dir: Path) -> Iterator[sqlite3.Connection]:
        file = data_dir / "foundry.sqlite3"
        with contextlib.closing(sqlite3.connect(file, timeout=_PATIENCE_S, isolation_level=None)) as opened:
            yield opened


@contextlib.contextmanager
def commits_in_a_thread() -> Iterator[None]:
    """SQLite commits off the event loop meanwhile, as Postgres always does: what waits then waits together."""
    before, sqlite_connection.INLINE_SECONDS_MAX = sqlite_connection.INLINE_SECONDS_MAX, -1.0
    try:
        yield
    finally:
        sqlite_connection.INLINE_SECONDS_MAX = before


class _Owner:
    """The owner of a database in Postgres."""

    def __init__(self, url: str) -> None:
        self._url = url

    async def execute(self, statement: str, rows: Sequence[Sequence[object]]) -> list[tuple[Any, ...]]:
        """See ``Backend.execute``."""
        count = iter(range(1, len(rows[0]) + 1))
        statement = _PLACE.sub(lambda place: f"${place[1] or next(count)}", statement)
        connection = await self._connect()
        try:
            return [tuple(record) for record in await connection.fetchmany(statement, rows)]
        finally:
            await connection.close()

    async def lock(self, table: str) -> None:
        """Hold a table that others may read until ``unlock``."""
        self._holding = await self._connect()
        await self._holding.execute(f"BEGIN; LOCK TABLE {table} IN EXCLUSIVE MODE")

    async def unlock(self) -> None:
        """Let go of it."""
        await self._holding.close()

    async def _connect(self) -> asyncpg.Connection[Any]:
        return await asyncpg.connect(self._url, timeout=_PATIENCE_S)


#: The one that servers are started on now; the fixture ``backend`` sets it.
current = Backend()


@contextlib.contextmanager
def using(backend: Backend) -> Iterator[Backend]:
    """Start servers on this one meanwhile."""
    global current  # noqa: PLW0603 - module fixtures start servers, and nothing is handed to all of them
    before, current = current, backend
    try:
        yield backend
    finally:
        current = before
