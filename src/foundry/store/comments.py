"""Comments: rows, statements, queries."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import Text, bindparam, func, insert, select, update

from foundry.domain.comment import Anchor, Comment, CommentFilter, CommentKind, CommentState
from foundry.store import tables as t
from foundry.store.codec import dump_principal, load_principal
from foundry.store.statement import Row, Statement

if TYPE_CHECKING:
    from foundry.store.database import Reader

#: The newest text; a tombstone has none to show.
_TEXT = (
    select(t.comment_text.c.text)
    .where(
        t.comment_text.c.project_id == t.comment.c.project_id,
        t.comment_text.c.comment_id == t.comment.c.comment_id,
        t.comment_text.c.revision == t.comment.c.text_revision,
        t.comment.c.delete_time_us == 0,
    )
    .correlate(t.comment)
    .scalar_subquery()
)
_COMMENT = select(*(column for column in t.comment.c if column.name != "author_subject"), func.coalesce(_TEXT, ""))
_KEY = (t.comment.c.project_id == bindparam("project_id"), t.comment.c.comment_id == bindparam("comment_id"))

#: Place of the column in a row of ``COMMENT``.
TEXT_REVISION = 15
COMMENT = Statement(_COMMENT.where(*_KEY))
COUNT = Statement(
    select(
        bindparam("project_id", type_=Text),
        bindparam("thread_id", type_=Text),
        func.count(),
        func.count().filter(t.comment.c.thread_id == bindparam("thread_id", type_=Text)),
    ).where(t.comment.c.project_id == bindparam("project_id"))
)
INSERT_COMMENT = Statement(insert(t.comment))
INSERT_TEXT = Statement(insert(t.comment_text))
_CHANGING = (
    "state",
    "assignee",
    "text_revision",
    "update_time_us",
    "edit_time_us",
    "delete_time_us",
    "closer",
    "closed_at_version",
    "revision",
)
UPDATE_COMMENT = Statement(
    update(t.comment)
    .where(
        t.comment.c.project_id == bindparam("key_project_id"),
        t.comment.c.comment_id == bindparam("key_comment_id"),
        t.comment.c.revision == bindparam("old_revision"),
    )
    .values({name: bindparam(name) for name in _CHANGING})
)


def to_comment(row: Row) -> Comment:
    """A comment from a row of ``COMMENT``."""
    (project_id, comment_id, thread_id, kind, state, version, draft_id, field, start, end, quote, sha256) = row[:12]
    (author, assignee, run_id, _, created, updated, edited, deleted, closer, closed_at, revision, text) = row[12:]
    return Comment(
        comment_id=comment_id,
        project_id=project_id,
        thread_id=thread_id,
        kind=CommentKind(kind),
        state=CommentState(state) if state else None,
        anchor=Anchor(version, draft_id, field, start, end, quote, sha256.hex()) if field else None,
        text=text,
        author=load_principal(author),
        assignee=assignee,
        run_id=run_id,
        create_time_us=created,
        update_time_us=updated,
        revision=revision,
        edit_time_us=edited,
        delete_time_us=deleted,
        closer=load_principal(closer) if closer else None,
        closed_at_version=closed_at,
    )


def comment_parameters(comment: Comment, text_revision: int) -> dict[str, object]:
    """The columns of a new comment."""
    anchor = comment.anchor or Anchor(0, "", "", 0, 0, "", "")
    return {
        "project_id": comment.project_id,
        "comment_id": comment.comment_id,
        "thread_id": comment.thread_id,
        "kind": comment.kind.value,
        "version_number": anchor.version_number,
        "draft_id": anchor.draft_id,
        "field": anchor.field,
        "start_line": anchor.start_line,
        "end_line": anchor.end_line,
        "quote": anchor.quote,
        "field_sha256": bytes.fromhex(anchor.field_sha256),
        "author": dump_principal(comment.author),
        "author_subject": comment.author.subject,
        "run_id": comment.run_id,
        "create_time_us": comment.create_time_us,
        **changing_parameters(comment, text_revision),
    }


def changing_parameters(comment: Comment, text_revision: int) -> dict[str, object]:
    """The columns of a comment that may change."""
    return {
        "state": comment.state.value if comment.state else "",
        "assignee": comment.assignee,
        "text_revision": text_revision,
        "update_time_us": comment.update_time_us,
        "edit_time_us": comment.edit_time_us,
        "delete_time_us": comment.delete_time_us,
        "closer": dump_principal(comment.closer) if comment.closer else "",
        "closed_at_version": comment.closed_at_version,
        "revision": comment.revision,
    }


class CommentRepository:
    """Reads comments."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader

    async def get(self, project_id: str, comment_id: str) -> Comment | None:
        """A comment by id."""
        row = await self._reader.row(COMMENT, {"project_id": project_id, "comment_id": comment_id})
        return to_comment(row) if row else None

    async def page(self, project_id: str, wanted: CommentFilter, after: str, limit: int) -> list[Comment]:
        """Comments by age, from behind the id ``after``; at most ``limit``."""
        c = t.comment.c
        query = _COMMENT.where(c.project_id == project_id, c.comment_id > after).order_by(c.comment_id).limit(limit)
        equal = (
            (c.thread_id, wanted.thread_id),
            (c.kind, wanted.kind),
            (c.state, wanted.state),
            (c.field, wanted.field),
            (c.author_subject, wanted.author),
            (c.assignee, wanted.assignee),
            (c.run_id, wanted.run_id),
        )
        for column, value in equal:
            if value:
                query = query.where(column == str(value))
        if wanted.state:  # a tombstone is neither open nor closed to anybody who looks for work
            query = query.where(c.delete_time_us == 0)
        return [to_comment(tuple(row)) for row in await self._reader.fetch(query)]
