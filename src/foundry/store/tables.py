"""The tables. SQL elsewhere is built from these; the migrations are proven equal to them by a test.

Times are microseconds since the Unix epoch in 64-bit integers, hashes raw 32 bytes, principals canonical JSON text.
Append-only tables (``lock_grant``, ``draft``, ``draft_change``, ``content``, ``comment_text``, ``run_log_chunk``,
``freeze``, ``log_entry``) are guarded by triggers, see ``foundry.store.guards``.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.schema import SchemaItem

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)

#: STRICT tables check column types; WITHOUT ROWID keeps rows in primary key order, which is how they are read.
_KEYED: dict[str, Any] = {"sqlite_strict": True, "sqlite_with_rowid": False}
_STRICT: dict[str, Any] = {"sqlite_strict": True}


#: 64 bits everywhere; STRICT tables of SQLite know the type as INTEGER only.
_INT64 = BigInteger().with_variant(Integer(), "sqlite")


def _text(name: str, *constraints: SchemaItem, **options: Any) -> Column[str]:  # noqa: ANN401 - passed on to Column
    return Column(name, Text, *constraints, nullable=False, **options)


def _int(name: str, *constraints: SchemaItem, **options: Any) -> Column[int]:  # noqa: ANN401 - passed on to Column
    return Column(name, _INT64, *constraints, nullable=False, **options)


def _bytes(name: str, *constraints: SchemaItem, **options: Any) -> Column[bytes]:  # noqa: ANN401 - passed on to Column
    return Column(name, LargeBinary, *constraints, nullable=False, **options)


#: Facts of the installation: its id, the log epoch, the key of page tokens.
instance = Table("instance", metadata, _text("name", primary_key=True), _text("value"), **_KEYED)

project = Table(
    "project",
    metadata,
    _text("project_id", primary_key=True),
    _text("name"),
    _text("name_folded"),
    _text("description"),
    _text("labels"),
    _text("policy"),
    _text("agent_access"),
    _text("creator"),
    _int("create_time_us"),
    _int("update_time_us"),
    _int("archive_time_us"),
    _int("revision"),
    _text("revision_of_project_id", server_default=""),
    _text("revision_of_fingerprint", server_default=""),
    **_KEYED,
)

#: Labels once more, one a row, to find projects by them.
project_label = Table(
    "project_label",
    metadata,
    _text("project_id", ForeignKey("project.project_id"), primary_key=True),
    _text("key", primary_key=True),
    _text("value"),
    **_KEYED,
)

#: State, head version, head draft, next sequence and log tail of a log are one row, locked last by every writer.
head = Table(
    "head",
    metadata,
    _text("log", primary_key=True),
    _text("state"),
    _int("head_version"),
    _text("current_draft_id"),
    _int("last_sequence"),
    _bytes("tail"),
    _int("last_time_us"),
    CheckConstraint("length(tail) = 32", name="tail_is_a_hash"),
    **_KEYED,
)

member = Table(
    "member",
    metadata,
    _text("project_id", ForeignKey("project.project_id"), primary_key=True),
    _text("subject", primary_key=True),
    _text("role"),
    _text("display_name"),
    _int("add_time_us"),
    **_KEYED,
)
Index("ix_member_subject", member.c.subject, member.c.project_id)

session = Table(
    "session",
    metadata,
    _text("session_id", primary_key=True),
    _text("project_id", ForeignKey("project.project_id")),
    _text("subject"),
    _text("principal"),
    _text("state"),
    _int("stream_epoch"),
    _bytes("resume_hash"),
    _text("server_boot_id"),
    _text("tab_id"),
    _text("client_name"),
    _text("client_version"),
    _int("grace_ms"),
    _int("open_time_us"),
    _int("detach_time_us"),
    _int("close_time_us"),
    _text("close_reason"),
    CheckConstraint("state IN ('ATTACHED', 'DETACHED', 'CLOSED')", name="state"),
    **_KEYED,
)
Index(
    "ix_session_open",
    session.c.project_id,
    session.c.subject,
    sqlite_where=text("state <> 'CLOSED'"),
    postgresql_where=text("state <> 'CLOSED'"),
)

#: One row per field for ever: what it holds in the head, and who holds its lock. The fence never goes down.
field = Table(
    "field",
    metadata,
    _text("project_id", ForeignKey("project.project_id"), primary_key=True),
    _text("name", primary_key=True),
    _text("kind"),
    _text("media_type"),
    _bytes("sha256"),
    _int("size"),
    _int("last_changed_version"),
    _text("last_author"),
    _int("fence"),
    _text("lock_id"),
    Column("session_id", Text, ForeignKey("session.session_id"), nullable=True),
    _text("holder"),
    _text("holder_subject"),
    _int("acquire_time_us"),
    _int("expire_time_us"),
    _text("purpose"),
    CheckConstraint("(session_id IS NULL) = (lock_id = '')", name="lock_has_a_session"),
    CheckConstraint("fence >= 0", name="fence"),
    **_KEYED,
)
Index(
    "ix_field_held",
    field.c.session_id,
    sqlite_where=text("session_id IS NOT NULL"),
    postgresql_where=text("session_id IS NOT NULL"),
)

#: Append-only: who was given which fencing token.
lock_grant = Table(
    "lock_grant",
    metadata,
    _text("project_id", primary_key=True),
    _text("field", primary_key=True),
    _int("fence", primary_key=True),
    _text("lock_id"),
    _text("session_id", ForeignKey("session.session_id")),
    _text("subject"),
    _int("sequence"),
    UniqueConstraint("project_id", "field", "fence", "session_id", "subject"),
    ForeignKeyConstraint(["project_id", "field"], ["field.project_id", "field.name"]),
    **_KEYED,
)

#: Append-only: the versions.
draft = Table(
    "draft",
    metadata,
    _text("project_id", ForeignKey("project.project_id"), primary_key=True),
    _int("version_number", primary_key=True),
    _text("draft_id", unique=True),
    _int("parent_version"),
    _text("origin"),
    _int("source_version"),
    _text("author"),
    _text("author_subject"),
    _text("session_id", ForeignKey("session.session_id")),
    _int("create_time_us"),
    _text("message"),
    _bytes("content_sha256"),
    _int("sequence"),
    CheckConstraint("parent_version = version_number - 1", name="contiguous"),
    **_KEYED,
)

#: Append-only: what each version changed. An empty hash means absent. Tied to the one grant it was made under.
draft_change = Table(
    "draft_change",
    metadata,
    _text("project_id", primary_key=True),
    _text("field", primary_key=True),
    _int("version_number", primary_key=True),
    _text("kind"),
    _text("media_type"),
    _bytes("before_sha256"),
    _bytes("after_sha256"),
    _int("size"),
    _text("lock_id"),
    _int("fence"),
    _text("session_id"),
    _text("subject"),
    ForeignKeyConstraint(["project_id", "version_number"], ["draft.project_id", "draft.version_number"]),
    ForeignKeyConstraint(
        ["project_id", "field", "fence", "session_id", "subject"],
        [
            "lock_grant.project_id",
            "lock_grant.field",
            "lock_grant.fence",
            "lock_grant.session_id",
            "lock_grant.subject",
        ],
    ),
    **_KEYED,
)
Index("ix_draft_change_version", draft_change.c.project_id, draft_change.c.version_number)

#: Append-only: content by (project, hash). Knowing a hash gives no access to another project's text.
content = Table(
    "content",
    metadata,
    _text("project_id", ForeignKey("project.project_id"), primary_key=True),
    _bytes("sha256", primary_key=True),
    _bytes("data"),
    **_STRICT,
)

#: What people say. The anchor never changes; a deleted comment keeps its row.
comment = Table(
    "comment",
    metadata,
    _text("project_id", ForeignKey("project.project_id"), primary_key=True),
    _text("comment_id", primary_key=True),
    _text("thread_id"),
    _text("kind"),
    _text("state"),
    _int("version_number"),
    _text("draft_id"),
    _text("field"),
    _int("start_line"),
    _int("end_line"),
    _text("quote"),
    _bytes("field_sha256"),
    _text("author"),
    _text("author_subject"),
    _text("assignee"),
    _text("run_id"),
    _int("text_revision"),
    _int("create_time_us"),
    _int("update_time_us"),
    _int("edit_time_us"),
    _int("delete_time_us"),
    _text("closer"),
    _int("closed_at_version"),
    _int("revision"),
    **_KEYED,
)
Index("ix_comment_thread", comment.c.project_id, comment.c.thread_id, comment.c.comment_id)

#: Append-only: every text a comment ever had.
comment_text = Table(
    "comment_text",
    metadata,
    _text("project_id", primary_key=True),
    _text("comment_id", primary_key=True),
    _int("revision", primary_key=True),
    _text("text"),
    ForeignKeyConstraint(["project_id", "comment_id"], ["comment.project_id", "comment.comment_id"]),
    **_KEYED,
)

#: Runs; a finished one never changes.
run = Table(
    "run",
    metadata,
    _text("project_id", ForeignKey("project.project_id"), primary_key=True),
    _text("run_id", primary_key=True),
    _int("version_number"),
    _bytes("content_sha256"),
    _text("harness"),
    _text("labels"),
    _int("attempt"),
    _text("state"),
    _text("starter"),
    _int("start_time_us"),
    _int("finish_time_us"),
    _int("line_count"),
    _int("log_bytes"),
    _bytes("log_sha256"),
    _text("results"),
    ForeignKeyConstraint(["project_id", "version_number"], ["draft.project_id", "draft.version_number"]),
    **_KEYED,
)
Index(
    "ix_run_running",
    run.c.project_id,
    run.c.run_id,
    sqlite_where=text("state = 'RUNNING'"),
    postgresql_where=text("state = 'RUNNING'"),
)
Index("ix_run_content", run.c.project_id, run.c.content_sha256, run.c.state)

#: Append-only: the lines of consoles, as they came in; each row goes on where the one before ends.
run_log_chunk = Table(
    "run_log_chunk",
    metadata,
    _text("project_id", primary_key=True),
    _text("run_id", primary_key=True),
    _int("first_line", primary_key=True),
    _int("line_count"),
    _bytes("data"),
    ForeignKeyConstraint(["project_id", "run_id"], ["run.project_id", "run.run_id"]),
    CheckConstraint("line_count > 0", name="has_lines"),
    **_STRICT,
)

#: Append-only: the freeze of a project, one at most.
freeze = Table(
    "freeze",
    metadata,
    _text("project_id", ForeignKey("project.project_id"), primary_key=True),
    _text("freeze_id"),
    _int("version_number"),
    _text("draft_id"),
    _bytes("content_sha256"),
    _bytes("fingerprint"),
    _text("requester"),
    _int("create_time_us"),
    _text("reason"),
    _int("log_sequence"),
    _bytes("log_leaf"),
    _int("sequence"),
    ForeignKeyConstraint(["project_id", "version_number"], ["draft.project_id", "draft.version_number"]),
    **_KEYED,
)

#: Append-only: the logs. Canonical bytes, chained by leaf hash.
log_entry = Table(
    "log_entry",
    metadata,
    _text("log", ForeignKey("head.log"), primary_key=True),
    _int("sequence", primary_key=True),
    _text("event"),
    _text("actor_subject"),
    _bytes("prev"),
    _bytes("leaf"),
    _bytes("entry"),
    CheckConstraint("length(prev) = 32 AND length(leaf) = 32", name="hashes"),
    **_KEYED,
)

#: Free text of entries with its salt: committed to by the entry, redactable without breaking the chain.
log_text = Table(
    "log_text",
    metadata,
    _text("log", primary_key=True),
    _int("sequence", primary_key=True),
    _bytes("salt"),
    _bytes("text"),
    ForeignKeyConstraint(["log", "sequence"], ["log_entry.log", "log_entry.sequence"]),
    **_KEYED,
)

#: Answers to repeated requests, kept for 24 hours.
request_record = Table(
    "request_record",
    metadata,
    _text("subject", primary_key=True),
    _text("rpc", primary_key=True),
    _text("request_id", primary_key=True),
    _bytes("command_hash"),
    _bytes("answer"),
    _int("create_time_us"),
    **_KEYED,
)
Index("ix_request_record_create_time_us", request_record.c.create_time_us)
