"""How columns are made: never null, with the same types on every database."""

from __future__ import annotations

from typing import Any

from sqlalchemy import BigInteger, Column, Integer, LargeBinary, Text
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


def bytes_(name: str, *constraints: SchemaItem, **options: Any) -> Column[bytes]:  # noqa: ANN401 - passed on to Column
    """A column of bytes."""
    return Column(name, LargeBinary, *constraints, nullable=False, **options)
