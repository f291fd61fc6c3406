"""Writing what the operations of a transaction staged, in as few round trips as their order allows.

A round trip costs more than the row in it. So writes of one statement go together, unless a row between them is one
that the later of them rests on: a version's change is written while its field shows the lock it was made under, which
is released only behind it.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from foundry.store import entries
from foundry.store.errors import RowConflictError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from foundry.store.database import Connection
    from foundry.store.needs import Head
    from foundry.store.statement import Statement

#: Names a row: a word for its table, and its key.
Key = tuple[object, ...]


@dataclass(frozen=True, slots=True)
class Write:
    """A staged write.

    Attributes:
        makes: The rows it writes, or whose order it keeps.
        rests_on: Rows that must be as they were staged when it is written: foreign keys, and what guards look at.
        expected: Rows it must touch, None when that does not matter.
    """

    statement: Statement
    parameters: Mapping[str, Any]
    makes: tuple[Key, ...]
    rests_on: tuple[Key, ...] = ()
    expected: int | None = 1


async def flush(connection: Connection, writes: Sequence[Write], heads: Sequence[tuple[Head, Head]]) -> None:
    """Write what was staged, and the head rows last.

    Args:
        heads: Each as it was loaded and as it is now.

    Raises:
        RowConflictError: A row was not as it was loaded.
        Exception: The driver's own: a guard or constraint of the database refused.
    """
    for group in _in_order(writes):
        statement = group[0].statement
        touched = await connection.write(statement, [write.parameters for write in group])
        expected = sum(write.expected or 0 for write in group)
        if group[0].expected is not None and not statement.inserts and touched != expected:
            raise RowConflictError(statement.sqlite)
    if heads:
        parameters = [
            {**head_parameters(head), "key": head.log, "old_last_sequence": stored.last_sequence}
            for stored, head in heads
        ]
        if await connection.write(entries.UPDATE_HEAD, parameters) != len(heads):
            raise RowConflictError(entries.UPDATE_HEAD.sqlite)


def head_parameters(head: Head) -> dict[str, Any]:
    """The columns of a head that change."""
    return {
        "state": head.state.value,
        "head_version": head.head_version,
        "current_draft_id": head.current_draft_id,
        "last_sequence": head.last_sequence,
        "tail": head.tail,
        "last_time_us": head.last_time_us,
    }


def _in_order(writes: Iterable[Write]) -> list[list[Write]]:
    """Groups of writes with the same statement. Each write comes behind all that it rests on or that rest on its rows.

    Inserts of one statement keep their order within a group, so they need none between groups.
    """
    groups: defaultdict[tuple[int, Statement], list[Write]] = defaultdict(list)
    made: dict[Key, tuple[int, Statement]] = {}
    rested: dict[Key, int] = {}
    for write in writes:
        level = 0
        for key in write.makes:
            if key in made:
                before, statement = made[key]
                level = max(level, before + (not (statement is write.statement and statement.inserts)))
            if key in rested:
                level = max(level, rested[key] + 1)
        for key in write.rests_on:
            if key in made:
                level = max(level, made[key][0] + 1)
        for key in write.makes:
            made[key] = level, write.statement
        for key in write.rests_on:
            rested[key] = max(level, rested.get(key, 0))
        groups[level, write.statement].append(write)
    return [groups[key] for key in sorted(groups, key=_level)]


def _level(key: tuple[int, Statement]) -> int:
    return key[0]
