"""SQLAlchemy Core statements compiled once, for every database that foundry knows.

SQLAlchemy's own execution costs several times what the database itself does for a point read or a small write, so the
hot paths compile each statement at import and run it on the driver's connection. Schema and SQL still have one source.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import Delete, Insert, SelectBase, Update, literal_column
from sqlalchemy.dialects import sqlite
from sqlalchemy.dialects.postgresql import asyncpg

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sqlalchemy import Select
    from sqlalchemy.sql.compiler import SQLCompiler

Row = tuple[Any, ...]
_SQLITE = sqlite.dialect(paramstyle="named")
_POSTGRES = asyncpg.dialect()  # type: ignore[no-untyped-call]  # untyped in SQLAlchemy


class Statement:
    """A query or a write with named parameters, and the constants that it binds itself.

    Attributes:
        inserts: It only adds rows: it adds every one of them, or fails.
        sqlite: SQL with ``:name`` parameters.
        postgres: SQL with ``$1`` parameters; an update or delete returns a row for each row it touches.
    """

    __slots__ = ("constants", "inserts", "names", "postgres", "sqlite")

    def __init__(self, clause: SelectBase | Insert | Update | Delete) -> None:
        self.inserts = isinstance(clause, Insert)
        compiled = _compile(clause, _SQLITE)
        self.sqlite = str(compiled)
        self.constants: dict[str, Any] = {name: value for name, value in compiled.params.items() if value is not None}
        counted: Any = clause.returning(literal_column("1")) if isinstance(clause, Update | Delete) else clause
        compiled = _compile(counted, _POSTGRES)
        self.postgres = str(compiled)
        self.names = tuple(compiled.positiontup or ())

    def arguments(self, parameters: Mapping[str, Any]) -> tuple[Any, ...]:
        """Parameters by place, as Postgres takes them."""
        if self.constants:
            parameters = {**self.constants, **parameters}
        return tuple([parameters[name] for name in self.names])


def _compile(clause: Any, dialect: Any) -> SQLCompiler:  # noqa: ANN401 - any clause, any dialect
    compiled: SQLCompiler = clause.compile(dialect=dialect, compile_kwargs={"render_postcompile": True})
    return compiled


def compiled_select(query: Select[Any]) -> tuple[str, list[Any]]:
    """SQL and arguments of a query that was built for one call, as Postgres takes them."""
    compiled = _compile(query, _POSTGRES)
    return str(compiled), [compiled.params[name] for name in compiled.positiontup or ()]
