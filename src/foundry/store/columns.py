"""How columns are made: never null, with the same types on every database."""

from __future__ import annotations

from typing import Any

from sqlalchemy import BigInteger, Column, ColumnElement, Integer, LargeBinary, Text, literal_column
from sqlalchemy.schema import SchemaItem

#: STRICT tables check column types; WITHOUT ROWID keeps rows in primary key order, which is how they are read.
KEYED: dict[str, Any] = {"sqlite_strict": True, "sqlite_with_rowid": False}
STRICT: dict[str, Any] = {"sqlite_strict": True}


#: 64 bits everywhere; STRICT tables of SQLite know the type as INTEGER only.
_INT64 = BigInteger().with_variant(Integer(), "sqlite")
#: Ordered by code points everywhere, as SQLite and Python do it, whatever the locale of the database.
TEXT = Text().with_variant(Text(collation="C"), "postgresql")


def text_(name: str, *constraints: SchemaItem, **options: Any) -> Column[str]:  # noqa: ANN401 - passed on to Column
    """A column of text."""
    return Column(name, TEXT, *constraints, nullable=False, **options)


def int_(name: str, *constraints: SchemaItem, **options: Any) -> Column[int]:  # noqa: ANN401 - passed on to Column
    """A column of 64-bit integers."""
    return Column(name, _INT64, *constraints, nullable=False, **options)


def equals(column: Column[str], word: str) -> ColumnElement[bool]:
    """A condition of an index and of the questions that it answers, with the word in the SQL; see ``only``."""
    return column == literal_column(f"'{word}'", TEXT)


def is_not(column: Column[str], word: str) -> ColumnElement[bool]:
    """The opposite, likewise."""
    return column.bool_op("<>")(literal_column(f"'{word}'", TEXT))


def only(condition: ColumnElement[bool]) -> dict[str, Any]:
    """Options of an index of only those rows that meet a condition.

    It answers only questions that have the same condition word for word: where a word of it is a parameter, a plan that
    is made for all parameters cannot rely on the index. Everything works without, until the table is large.
    """
    return {"sqlite_where": condition, "postgresql_where": condition}


def bytes_(name: str, *constraints: SchemaItem, **options: Any) -> Column[bytes]:  # noqa: ANN401 - passed on to Column
    """A column of bytes."""
    return Column(name, LargeBinary, *constraints, nullable=False, **options)
