"""A driver connection to SQLite that runs SQLAlchemy Core statements compiled once.

SQLAlchemy's own execution costs several times what SQLite itself does for a point read or a small write, so the hot
paths compile each statement at import and run it on the driver. Schema and SQL still have one source.
"""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING, Any

from sqlalchemy.dialects import sqlite as sqlite_dialect

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from sqlalchemy import ClauseElement

Row = tuple[Any, ...]
_DIALECT = sqlite_dialect.dialect(paramstyle="named")


class Statement:
    """SQL of a Core statement, with named parameters, and the constants that the statement binds itself."""

    __slots__ = ("constants", "sql")

    def __init__(self, clause: ClauseElement) -> None:
        compiled = clause.compile(dialect=_DIALECT, compile_kwargs={"render_postcompile": True})
        self.sql = str(compiled)
        self.constants: dict[str, Any] = {name: value for name, value in compiled.params.items() if value is not None}


class SqliteConnection:
    """One connection, used by one task at a time.

    Args:
        path: The database file; it must exist when ``read_only``.
        read_only: Open the file for reading only; a write fails in the driver.
    """

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

    def rows(self, statement: Statement, parameters: Mapping[str, Any]) -> list[Row]:
        """All rows of a query."""
        if statement.constants:
            parameters = {**statement.constants, **parameters}
        return self._driver.execute(statement.sql, parameters).fetchall()

    def row(self, statement: Statement, parameters: Mapping[str, Any]) -> Row | None:
        """The first row of a query, or None."""
        if statement.constants:
            parameters = {**statement.constants, **parameters}
        found: Row | None = self._driver.execute(statement.sql, parameters).fetchone()
        return found

    def execute(self, statement: Statement, parameters: Mapping[str, Any]) -> int:
        """Run one write; returns how many rows it touched."""
        if statement.constants:
            parameters = {**statement.constants, **parameters}
        return self._driver.execute(statement.sql, parameters).rowcount

    def execute_many(self, statement: Statement, parameters: Iterable[Mapping[str, Any]]) -> None:
        """Run one write for each set of parameters."""
        self._driver.executemany(statement.sql, parameters)

    def sql(self, sql: str) -> None:
        """Run a statement that is not about tables: BEGIN, COMMIT, SAVEPOINT, PRAGMA."""
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
