"""Drafts, what they changed, and content: rows, statements, queries."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from sqlalchemy import Text, bindparam, exists, func, select
from sqlalchemy.dialects.postgresql import insert  # its ON CONFLICT is what SQLite understands too

from foundry.domain.draft import Draft, DraftOrigin, FieldChange
from foundry.domain.field import FieldDigest, FieldKind, FieldValue
from foundry.store import tables as t
from foundry.store.codec import dump_principal, load_principal
from foundry.store.flush import Write
from foundry.store.statement import Row, Statement

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from foundry.store.database import Reader

_DRAFT_COLUMNS = tuple(column for column in t.draft.c if column.name != "author_subject")
_DRAFT = select(*_DRAFT_COLUMNS)
_CHANGE_COLUMNS = (
    t.draft_change.c.version_number,
    t.draft_change.c.field,
    t.draft_change.c.before_sha256,
    t.draft_change.c.after_sha256,
    t.draft_change.c.lock_id,
    t.draft_change.c.fence,
    t.draft_change.c.kind,
    t.draft_change.c.media_type,
    t.draft_change.c.size,
)
_CHANGE = select(*_CHANGE_COLUMNS)

DRAFT = Statement(
    _DRAFT.where(
        t.draft.c.project_id == bindparam("project_id"), t.draft.c.version_number == bindparam("version_number")
    )
)
DRAFT_BY_ID = Statement(
    _DRAFT.where(t.draft.c.draft_id == bindparam("draft_id"), t.draft.c.project_id == bindparam("project_id"))
)
CHANGES = Statement(
    _CHANGE.where(
        t.draft_change.c.project_id == bindparam("project_id"),
        t.draft_change.c.version_number == bindparam("version_number"),
    ).order_by(t.draft_change.c.field)
)
CONTENT = Statement(
    select(t.content.c.data).where(
        t.content.c.project_id == bindparam("project_id"), t.content.c.sha256 == bindparam("sha256")
    )
)
INSERT_DRAFT = Statement(insert(t.draft))
INSERT_CHANGE = Statement(insert(t.draft_change))
COPY_CONTENT = Statement(
    insert(t.content)
    .from_select(
        ["project_id", "sha256", "data"],
        select(bindparam("project_id", type_=Text), t.content.c.sha256, t.content.c.data).where(
            t.content.c.project_id == bindparam("source_id"), t.content.c.sha256 == bindparam("sha256")
        ),
    )
    .on_conflict_do_nothing()
)
INSERT_CONTENT = Statement(insert(t.content).on_conflict_do_nothing())

#: The fields as they were at a version: of each field the newest change up to it. One index probe per field, so the
#: cost grows with the number of fields and not with the length of the history.
_newest = (
    select(func.max(t.draft_change.c.version_number))
    .where(
        t.draft_change.c.project_id == t.field.c.project_id,
        t.draft_change.c.field == t.field.c.name,
        t.draft_change.c.version_number <= bindparam("version_number"),
    )
    .correlate(t.field)
    .scalar_subquery()
)
FIELDS_AT = Statement(
    select(
        t.draft_change.c.field,
        t.draft_change.c.kind,
        t.draft_change.c.media_type,
        t.draft_change.c.after_sha256,
        t.draft_change.c.size,
        t.draft_change.c.version_number,
        t.draft_change.c.subject,
    )
    .select_from(t.field)
    .join(
        t.draft_change,
        (t.draft_change.c.project_id == t.field.c.project_id)
        & (t.draft_change.c.field == t.field.c.name)
        & (t.draft_change.c.version_number == _newest),
    )
    .where(t.field.c.project_id == bindparam("project_id"), func.length(t.draft_change.c.after_sha256) > 0)
    .order_by(t.field.c.name)
)


def to_draft(row: Row, changes: Iterable[FieldChange]) -> Draft:
    """A draft from a row of ``DRAFT`` and its changes."""
    return Draft(
        project_id=row[0],
        version_number=row[1],
        draft_id=row[2],
        parent_version=row[3],
        origin=DraftOrigin(row[4]),
        source_version=row[5],
        author=load_principal(row[6]),
        session_id=row[7],
        create_time_us=row[8],
        message=row[9],
        content_sha256=row[10].hex(),
        sequence=row[11],
        changed_fields=tuple(changes),
    )


def draft_parameters(draft: Draft) -> dict[str, object]:
    """The columns of a draft."""
    return {
        "project_id": draft.project_id,
        "version_number": draft.version_number,
        "draft_id": draft.draft_id,
        "parent_version": draft.parent_version,
        "origin": draft.origin.value,
        "source_version": draft.source_version,
        "author": dump_principal(draft.author),
        "author_subject": draft.author.subject,
        "session_id": draft.session_id,
        "create_time_us": draft.create_time_us,
        "message": draft.message,
        "content_sha256": bytes.fromhex(draft.content_sha256),
        "sequence": draft.sequence,
    }


def _to_change(row: Row) -> FieldChange:
    return FieldChange(row[1], row[2].hex(), row[3].hex(), row[4], row[5], FieldKind(row[6]), row[7], row[8])


def change_parameters(draft: Draft, change: FieldChange) -> dict[str, object]:
    """The columns of a change."""
    return {
        "project_id": draft.project_id,
        "field": change.field,
        "version_number": draft.version_number,
        "kind": change.kind.value,
        "media_type": change.media_type,
        "before_sha256": bytes.fromhex(change.before_sha256),
        "after_sha256": bytes.fromhex(change.after_sha256),
        "size": change.size,
        "lock_id": change.lock_id,
        "fence": change.fencing_token,
        "session_id": draft.session_id,
        "subject": draft.author.subject,
    }


def draft_writes(draft: Draft, contents: Mapping[str, bytes]) -> list[Write]:
    """What inserts a version with its changes and new contents (by hash). Changes are made under their locks."""
    project_id, version = draft.project_id, draft.version_number
    row, project = ("draft", project_id, version), ("project", project_id)
    rests_on = (project, ("session", draft.session_id))
    writes = [Write(INSERT_DRAFT, draft_parameters(draft), (row, ("drafts", project_id)), rests_on)]
    for change in draft.changed_fields:
        field = ("field", project_id, change.field)
        grant = ("grant", project_id, change.field, change.fencing_token)
        key = ("change", project_id, change.field, version)
        writes.append(Write(INSERT_CHANGE, change_parameters(draft, change), (key,), (row, field, grant)))
    for sha256, data in contents.items():
        content = {"project_id": project_id, "sha256": bytes.fromhex(sha256), "data": data}
        writes.append(Write(INSERT_CONTENT, content, (("content", project_id, sha256),), (project,), expected=None))
    return writes


class DraftRepository:
    """Reads versions and content."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader

    async def get(self, project_id: str, version_number: int) -> Draft | None:
        """A version by number."""
        row = await self._reader.row(DRAFT, {"project_id": project_id, "version_number": version_number})
        return await self._with_changes(project_id, row) if row else None

    async def get_by_id(self, project_id: str, draft_id: str) -> Draft | None:
        """A version by id; None also when it is another project's."""
        row = await self._reader.row(DRAFT_BY_ID, {"project_id": project_id, "draft_id": draft_id})
        return await self._with_changes(project_id, row) if row else None

    async def _with_changes(self, project_id: str, row: Row) -> Draft:
        changes = await self._reader.rows(CHANGES, {"project_id": project_id, "version_number": row[1]})
        return to_draft(row, [_to_change(change) for change in changes])

    async def fields_at(self, project_id: str, version_number: int) -> tuple[FieldDigest, ...]:
        """The fields as they were at a version, by name; none at version 0."""
        rows = await self._reader.rows(FIELDS_AT, {"project_id": project_id, "version_number": version_number})
        return tuple(FieldDigest(r[0], FieldKind(r[1]), r[2], r[3].hex(), r[4], r[5], r[6]) for r in rows)

    async def content(self, project_id: str, sha256: str) -> bytes | None:
        """Content of a project by hash."""
        row = await self._reader.row(CONTENT, {"project_id": project_id, "sha256": bytes.fromhex(sha256)})
        return row[0] if row else None

    async def saved(self, project_id: str, sha256: str) -> bytes:
        """Content of a saved version by hash.

        Raises:
            LookupError: It is missing: the store was damaged.
        """
        content = await self.content(project_id, sha256)
        if content is None:
            raise LookupError(f"content {sha256} of a saved version is missing")
        return content

    async def value(self, project_id: str, digest: FieldDigest) -> FieldValue:
        """A field of a saved version with its content; raises as ``saved``."""
        return FieldValue(digest, await self.saved(project_id, digest.sha256))

    async def page(self, project_id: str, author: str, field: str, before: int, limit: int) -> Sequence[Draft]:
        """Versions below ``before``, newest first; at most ``limit``, of an author or a field if these are given."""
        query = (
            _DRAFT.where(t.draft.c.project_id == project_id, t.draft.c.version_number < before)
            .order_by(t.draft.c.version_number.desc())
            .limit(limit)
        )
        if author:
            query = query.where(t.draft.c.author_subject == author)
        if field:
            query = query.where(
                exists().where(
                    t.draft_change.c.project_id == t.draft.c.project_id,
                    t.draft_change.c.version_number == t.draft.c.version_number,
                    t.draft_change.c.field == field,
                )
            )
        rows: list[Row] = [tuple(row) for row in await self._reader.fetch(query)]
        if not rows:
            return []
        versions = [row[1] for row in rows]
        changes: defaultdict[int, list[FieldChange]] = defaultdict(list)
        of_page = _CHANGE.where(
            t.draft_change.c.project_id == project_id, t.draft_change.c.version_number.in_(versions)
        ).order_by(t.draft_change.c.field)
        for found in await self._reader.fetch(of_page):
            change: Row = tuple(found)
            changes[change[0]].append(_to_change(change))
        return [to_draft(row, changes[row[1]]) for row in rows]
