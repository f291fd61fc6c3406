"""Log entries: rows, statements, queries."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import bindparam, insert, select, update

from foundry.store import log
from foundry.store import tables as t
from foundry.store.statement import Row, Statement

if TYPE_CHECKING:
    from collections.abc import Sequence

    from foundry.domain.entry import Entry
    from foundry.store.database import Reader

_ENTRY = select(
    t.log_entry.c.log, t.log_entry.c.sequence, t.log_entry.c.entry, t.log_entry.c.leaf, t.log_text.c.text
).outerjoin(t.log_text, (t.log_text.c.log == t.log_entry.c.log) & (t.log_text.c.sequence == t.log_entry.c.sequence))

_HEAD = select(
    t.head.c.log,
    t.head.c.state,
    t.head.c.head_version,
    t.head.c.current_draft_id,
    t.head.c.last_sequence,
    t.head.c.tail,
    t.head.c.last_time_us,
).where(t.head.c.log == bindparam("log"))
#: The head, locked until the transaction ends: one writer at a time has a project.
HEAD_TO_WRITE = Statement(_HEAD.with_for_update())
LAST_SEQUENCE = Statement(select(t.head.c.last_sequence).where(t.head.c.log == bindparam("log")))
INSERT_HEAD = Statement(insert(t.head))
UPDATE_HEAD = Statement(
    update(t.head)
    .where(t.head.c.log == bindparam("key"), t.head.c.last_sequence == bindparam("old_last_sequence"))
    .values(
        {
            name: bindparam(name)
            for name in ("state", "head_version", "current_draft_id", "last_sequence", "tail", "last_time_us")
        }
    )
)
INSERT_ENTRY = Statement(insert(t.log_entry))
INSERT_TEXT = Statement(insert(t.log_text))
AFTER = Statement(
    _ENTRY.where(t.log_entry.c.log == bindparam("log"), t.log_entry.c.sequence > bindparam("after"))
    .order_by(t.log_entry.c.sequence)
    .limit(bindparam("most"))
)


def to_entry(row: Row) -> Entry:
    """An entry from a row of ``AFTER``."""
    return log.parse(*row)


#: Number, bytes, and salt and free text if there is any and it was not redacted.
StoredEntry = tuple[int, bytes, bytes | None, bytes | None]
#: Entries as they are stored, with the free text that they commit to.
STORED = Statement(
    select(t.log_entry.c.sequence, t.log_entry.c.entry, t.log_text.c.salt, t.log_text.c.text)
    .outerjoin(t.log_text, (t.log_text.c.log == t.log_entry.c.log) & (t.log_text.c.sequence == t.log_entry.c.sequence))
    .where(
        t.log_entry.c.log == bindparam("log"),
        t.log_entry.c.sequence > bindparam("after"),
        t.log_entry.c.sequence <= bindparam("last"),
    )
    .order_by(t.log_entry.c.sequence)
    .limit(bindparam("most"))
)


class EntryRepository:
    """Reads the logs."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader

    async def last_sequence(self, name: str) -> int:
        """Sequence number of the newest entry of a log, 0 when it is empty."""
        row = await self._reader.row(LAST_SEQUENCE, {"log": name})
        return row[0] if row else 0

    async def last_sequences(self, logs: Sequence[str]) -> list[tuple[str, int]]:
        """Of each of these logs the sequence number of the newest entry."""
        query = select(t.head.c.log, t.head.c.last_sequence).where(t.head.c.log.in_(logs))
        return [(row[0], row[1]) for row in await self._reader.fetch(query)]

    async def after(self, name: str, sequence: int, limit: int) -> list[Entry]:
        """Entries behind ``sequence`` in order; at most ``limit``."""
        rows = await self._reader.rows(AFTER, {"log": name, "after": sequence, "most": limit})
        return [to_entry(row) for row in rows]

    async def stored(self, name: str, after: int, last: int, limit: int) -> list[StoredEntry]:
        """Entries behind ``after`` up to ``last`` as they are stored; at most ``limit``."""
        parameters = {"log": name, "after": after, "last": last, "most": limit}
        return [(row[0], row[1], row[2], row[3]) for row in await self._reader.rows(STORED, parameters)]

    async def page(self, name: str, after: int, limit: int, events: Sequence[str], actor: str) -> list[Entry]:
        """Entries behind ``after`` in order; at most ``limit``, of some events or one actor if these are given."""
        query = (
            _ENTRY.where(t.log_entry.c.log == name, t.log_entry.c.sequence > after)
            .order_by(t.log_entry.c.sequence)
            .limit(limit)
        )
        if events:
            query = query.where(t.log_entry.c.event.in_(events))
        if actor:
            query = query.where(t.log_entry.c.actor_subject == actor)
        return [to_entry(tuple(row)) for row in await self._reader.fetch(query)]
