"""Fields and their locks: rows, statements, queries."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import bindparam, insert, select, update

from foundry.domain.field import FieldDigest, FieldKind, FieldState
from foundry.domain.lock import Lock
from foundry.store import tables as t
from foundry.store.codec import dump_principal, load_principal
from foundry.store.statement import Row, Statement

if TYPE_CHECKING:
    from foundry.store.database import Reader

_COLUMNS = (
    t.field.c.project_id,
    t.field.c.name,
    t.field.c.kind,
    t.field.c.media_type,
    t.field.c.sha256,
    t.field.c.size,
    t.field.c.last_changed_version,
    t.field.c.last_author,
    t.field.c.fence,
    t.field.c.lock_id,
    t.field.c.session_id,
    t.field.c.holder,
    t.field.c.acquire_time_us,
    t.field.c.expire_time_us,
    t.field.c.purpose,
)
_FIELD = select(*_COLUMNS)

FIELD = Statement(_FIELD.where(t.field.c.project_id == bindparam("project_id"), t.field.c.name == bindparam("name")))
FIELDS = Statement(_FIELD.where(t.field.c.project_id == bindparam("project_id")).order_by(t.field.c.name))
HELD_BY = Statement(_FIELD.where(t.field.c.session_id == bindparam("session_id")).order_by(t.field.c.name))
INSERT_FIELD = Statement(insert(t.field))

#: The conditional update on which safety rests: it touches the row only if nobody else did since it was read.
UPDATE_FIELD = Statement(
    update(t.field)
    .where(
        t.field.c.project_id == bindparam("key_project_id"),
        t.field.c.name == bindparam("key_name"),
        t.field.c.fence == bindparam("old_fence"),
        t.field.c.lock_id == bindparam("old_lock_id"),
        t.field.c.last_changed_version == bindparam("old_version"),
    )
    .values({column.name: bindparam(column.name) for column in t.field.c if column.name not in {"project_id", "name"}})
)
INSERT_GRANT = Statement(insert(t.lock_grant))


def to_field(row: Row) -> FieldState:
    """A field from a row of ``FIELD``."""
    project_id, name, kind, media_type, sha256, size, version, author, fence, lock_id = row[:10]
    content = FieldDigest(name, FieldKind(kind), media_type, sha256.hex(), size, version, author) if sha256 else None
    lock = (
        Lock(lock_id, project_id, name, load_principal(row[11]), row[10], fence, row[12], row[13], row[14])
        if lock_id
        else None
    )
    return FieldState(name, content, version, author, fence, lock)


def field_parameters(project_id: str, state: FieldState) -> dict[str, object]:
    """The columns of a field."""
    content, lock = state.content, state.lock
    return {
        "project_id": project_id,
        "name": state.name,
        "kind": content.kind.value if content else FieldKind.TEXT.value,
        "media_type": content.media_type if content else "",
        "sha256": bytes.fromhex(content.sha256) if content else b"",
        "size": content.size if content else 0,
        "last_changed_version": state.last_changed_version,
        "last_author": state.last_author,
        "fence": state.fence,
        "lock_id": lock.lock_id if lock else "",
        "session_id": lock.session_id if lock else None,
        "holder": dump_principal(lock.holder) if lock else "",
        "holder_subject": lock.holder.subject if lock else "",
        "acquire_time_us": lock.acquire_time_us if lock else 0,
        "expire_time_us": lock.expire_time_us if lock else 0,
        "purpose": lock.purpose if lock else "",
    }


class FieldRepository:
    """Reads the head's fields and the locks on them."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader

    async def get(self, project_id: str, name: str) -> FieldState | None:
        """The row of a field, or None when it was never locked or saved."""
        row = await self._reader.row(FIELD, {"project_id": project_id, "name": name})
        return to_field(row) if row else None

    async def all(self, project_id: str) -> list[FieldState]:
        """All rows of a project, by name; at most ``FIELDS_PER_PROJECT_MAX``."""
        return [to_field(row) for row in await self._reader.rows(FIELDS, {"project_id": project_id})]

    async def locks(self, project_id: str, after: str, limit: int) -> list[Lock]:
        """Held locks by field, from behind the field ``after``; at most ``limit``."""
        query = (
            _FIELD.where(t.field.c.project_id == project_id, t.field.c.name > after, t.FIELD_IS_HELD)
            .order_by(t.field.c.name)
            .limit(limit)
        )
        found = [to_field(tuple(row)).lock for row in await self._reader.fetch(query)]
        return [lock for lock in found if lock]

    async def held_on(self, boot_id: str) -> list[Lock]:
        """Locks of the open sessions that a server process serves, in all projects."""
        held = t.field.c.session_id == t.session.c.session_id
        served = (t.session.c.server_boot_id == boot_id, t.SESSION_IS_OPEN)
        query = _FIELD.join(t.session, held).where(*served)
        found = [to_field(tuple(row)).lock for row in await self._reader.fetch(query)]
        return [lock for lock in found if lock]

    async def expiring(self, before_us: int) -> list[Lock]:
        """Locks of all projects whose ``expire_time_us`` is before the given time."""
        query = _FIELD.where(t.FIELD_IS_HELD, t.field.c.expire_time_us < before_us)
        found = [to_field(tuple(row)).lock for row in await self._reader.fetch(query)]
        return [lock for lock in found if lock]
