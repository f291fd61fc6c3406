"""Text that Postgres cannot hold: it has no U+0000, which the contract allows and SQLite keeps.

U+0000 is written as U+FFFF ``0`` and U+FFFF itself, which is no character, as U+FFFF ``1``; reading turns both back. So
whatever was written is read, and equal texts stay equal.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

    from foundry.store.statement import Row

_NUL, _MARK = "\0", "\uffff"


def to_postgres(arguments: Sequence[Any]) -> Sequence[Any]:
    """Arguments as Postgres can hold them."""
    for argument in arguments:
        if argument.__class__ is str and (_NUL in argument or _MARK in argument):
            return [_written(one) for one in arguments]
    return arguments


def from_postgres(values: Row) -> Row:
    """A row as it was written."""
    for value in values:
        if value.__class__ is str and _MARK in value:
            return tuple(_read(one) for one in values)
    return values


def _written(value: Any) -> Any:  # noqa: ANN401 - whatever a column holds
    if isinstance(value, list):  # of an IN
        return [_written(one) for one in value]
    return value.replace(_MARK, _MARK + "1").replace(_NUL, _MARK + "0") if isinstance(value, str) else value


def _read(value: Any) -> Any:  # noqa: ANN401 - as above
    return value.replace(_MARK + "0", _NUL).replace(_MARK + "1", _MARK) if isinstance(value, str) else value
