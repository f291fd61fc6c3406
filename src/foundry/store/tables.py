"""The tables. SQL elsewhere is built from these; the migrations are proven equal to them by a test.

Times are microseconds since 1970 in 64-bit integers, hashes raw 32 bytes, principals canonical JSON. The append-only
tables are guarded by triggers, see the ``guards`` of each database.
"""

from __future__ import annotations

from sqlalchemy import (
    CheckConstraint,
    Column,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    MetaData,
    Table,
    UniqueConstraint,
)

from foundry.store.columns import KEYED, STRICT, TEXT, bytes_, equals, int_, is_not, only, text_

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)

#: Facts of the installation: its id, the log epoch, the key of page tokens.
instance = Table("instance", metadata, text_("name", primary_key=True), text_("value"), **KEYED)

project = Table(
    "project",
    metadata,
    text_("project_id", primary_key=True),
    text_("name"),
    text_("name_folded"),
    text_("description"),
    text_("labels"),
    text_("policy"),
    text_("agent_access"),
    text_("creator"),
    int_("create_time_us"),
    int_("update_time_us"),
    int_("archive_time_us"),
    int_("revision"),
    text_("revision_of_project_id", server_default=""),
    text_("revision_of_fingerprint", server_default=""),
    **KEYED,
)

#: Labels once more, one a row, to find projects by them.
project_label = Table(
    "project_label",
    metadata,
    text_("project_id", ForeignKey("project.project_id"), primary_key=True),
    text_("key", primary_key=True),
    text_("value"),
    **KEYED,
)

#: State, head version, head draft, next sequence and log tail of a log are one row, locked last by every writer.
head = Table(
    "head",
    metadata,
    text_("log", primary_key=True),
    text_("state"),
    int_("head_version"),
    text_("current_draft_id"),
    int_("last_sequence"),
    bytes_("tail"),
    int_("last_time_us"),
    CheckConstraint("length(tail) = 32", name="tail_is_a_hash"),
    **KEYED,
)

member = Table(
    "member",
    metadata,
    text_("project_id", ForeignKey("project.project_id"), primary_key=True),
    text_("subject", primary_key=True),
    text_("role"),
    text_("display_name"),
    int_("add_time_us"),
    **KEYED,
)
Index("ix_member_subject", member.c.subject, member.c.project_id)

session = Table(
    "session",
    metadata,
    text_("session_id", primary_key=True),
    text_("project_id", ForeignKey("project.project_id")),
    text_("subject"),
    text_("principal"),
    text_("state"),
    int_("stream_epoch"),
    bytes_("resume_hash"),
    text_("server_boot_id"),
    text_("tab_id"),
    text_("client_name"),
    text_("client_version"),
    int_("grace_ms"),
    int_("open_time_us"),
    int_("detach_time_us"),
    int_("close_time_us"),
    text_("close_reason"),
    int_("epoch", server_default="1"),
    CheckConstraint("state IN ('ATTACHED', 'DETACHED', 'CLOSED')", name="state"),
    **KEYED,
)
#: Sessions stay for ever and few of them are open: whoever asks for those must ask in these words, see ``only``.
SESSION_IS_OPEN = is_not(session.c.state, "CLOSED")
Index("ix_session_open", session.c.project_id, session.c.subject, **only(SESSION_IS_OPEN))
Index("ix_session_served", session.c.server_boot_id, **only(SESSION_IS_OPEN))

#: One row per field for ever: what it holds in the head, and who holds its lock. The fence never goes down.
field = Table(
    "field",
    metadata,
    text_("project_id", ForeignKey("project.project_id"), primary_key=True),
    text_("name", primary_key=True),
    text_("kind"),
    text_("media_type"),
    bytes_("sha256"),
    int_("size"),
    int_("last_changed_version"),
    text_("last_author"),
    int_("fence"),
    text_("lock_id"),
    Column("session_id", TEXT, ForeignKey("session.session_id"), nullable=True),
    text_("holder"),
    text_("holder_subject"),
    int_("acquire_time_us"),
    int_("expire_time_us"),
    text_("purpose"),
    CheckConstraint("(session_id IS NULL) = (lock_id = '')", name="lock_has_a_session"),
    CheckConstraint("fence >= 0", name="fence"),
    **KEYED,
)
FIELD_IS_HELD = field.c.session_id.is_not(None)
Index("ix_field_held", field.c.session_id, **only(FIELD_IS_HELD))

#: Append-only: who was given which fencing token.
lock_grant = Table(
    "lock_grant",
    metadata,
    text_("project_id", primary_key=True),
    text_("field", primary_key=True),
    int_("fence", primary_key=True),
    text_("lock_id"),
    text_("session_id", ForeignKey("session.session_id")),
    text_("subject"),
    int_("sequence"),
    UniqueConstraint("project_id", "field", "fence", "session_id", "subject"),
    ForeignKeyConstraint(["project_id", "field"], ["field.project_id", "field.name"]),
    **KEYED,
)

#: Append-only: the versions.
draft = Table(
    "draft",
    metadata,
    text_("project_id", ForeignKey("project.project_id"), primary_key=True),
    int_("version_number", primary_key=True),
    text_("draft_id", unique=True),
    int_("parent_version"),
    text_("origin"),
    int_("source_version"),
    text_("author"),
    text_("author_subject"),
    text_("session_id", ForeignKey("session.session_id")),
    int_("create_time_us"),
    text_("message"),
    bytes_("content_sha256"),
    int_("sequence"),
    CheckConstraint("parent_version = version_number - 1", name="contiguous"),
    **KEYED,
)

#: Append-only: what each version changed. An empty hash means absent. Tied to the one grant it was made under.
draft_change = Table(
    "draft_change",
    metadata,
    text_("project_id", primary_key=True),
    text_("field", primary_key=True),
    int_("version_number", primary_key=True),
    text_("kind"),
    text_("media_type"),
    bytes_("before_sha256"),
    bytes_("after_sha256"),
    int_("size"),
    text_("lock_id"),
    int_("fence"),
    text_("session_id"),
    text_("subject"),
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
    **KEYED,
)
Index("ix_draft_change_version", draft_change.c.project_id, draft_change.c.version_number)

#: Append-only: content by (project, hash). Knowing a hash gives no access to another project's text.
content = Table(
    "content",
    metadata,
    text_("project_id", ForeignKey("project.project_id"), primary_key=True),
    bytes_("sha256", primary_key=True),
    bytes_("data"),
    **STRICT,
)

#: What people say. The anchor never changes; a deleted comment keeps its row.
comment = Table(
    "comment",
    metadata,
    text_("project_id", ForeignKey("project.project_id"), primary_key=True),
    text_("comment_id", primary_key=True),
    text_("thread_id"),
    text_("kind"),
    text_("state"),
    int_("version_number"),
    text_("draft_id"),
    text_("field"),
    int_("start_line"),
    int_("end_line"),
    text_("quote"),
    bytes_("field_sha256"),
    text_("author"),
    text_("author_subject"),
    text_("assignee"),
    text_("run_id"),
    int_("text_revision"),
    int_("create_time_us"),
    int_("update_time_us"),
    int_("edit_time_us"),
    int_("delete_time_us"),
    text_("closer"),
    int_("closed_at_version"),
    int_("revision"),
    **KEYED,
)
Index("ix_comment_thread", comment.c.project_id, comment.c.thread_id, comment.c.comment_id)

#: Append-only: every text a comment ever had.
comment_text = Table(
    "comment_text",
    metadata,
    text_("project_id", primary_key=True),
    text_("comment_id", primary_key=True),
    int_("revision", primary_key=True),
    text_("text"),
    ForeignKeyConstraint(["project_id", "comment_id"], ["comment.project_id", "comment.comment_id"]),
    **KEYED,
)

#: Runs; a finished one never changes.
run = Table(
    "run",
    metadata,
    text_("project_id", ForeignKey("project.project_id"), primary_key=True),
    text_("run_id", primary_key=True),
    int_("version_number"),
    bytes_("content_sha256"),
    text_("harness"),
    text_("labels"),
    int_("attempt"),
    text_("state"),
    text_("starter"),
    int_("start_time_us"),
    int_("finish_time_us"),
    int_("line_count"),
    int_("log_bytes"),
    bytes_("log_sha256"),
    text_("results"),
    ForeignKeyConstraint(["project_id", "version_number"], ["draft.project_id", "draft.version_number"]),
    **KEYED,
)
#: To be asked for in these words, like open sessions.
RUN_IS_GOING = equals(run.c.state, "RUNNING")
Index("ix_run_running", run.c.project_id, run.c.run_id, **only(RUN_IS_GOING))
Index("ix_run_content", run.c.project_id, run.c.content_sha256, run.c.state)

#: Append-only: the lines of consoles, as they came in; each row goes on where the one before ends.
run_log_chunk = Table(
    "run_log_chunk",
    metadata,
    text_("project_id", primary_key=True),
    text_("run_id", primary_key=True),
    int_("first_line", primary_key=True),
    int_("line_count"),
    bytes_("data"),
    ForeignKeyConstraint(["project_id", "run_id"], ["run.project_id", "run.run_id"]),
    CheckConstraint("line_count > 0", name="has_lines"),
    **STRICT,
)

#: Append-only: the freeze of a project, one at most.
freeze = Table(
    "freeze",
    metadata,
    text_("project_id", ForeignKey("project.project_id"), primary_key=True),
    text_("freeze_id"),
    int_("version_number"),
    text_("draft_id"),
    bytes_("content_sha256"),
    bytes_("fingerprint"),
    text_("requester"),
    int_("create_time_us"),
    text_("reason"),
    int_("log_sequence"),
    bytes_("log_leaf"),
    int_("sequence"),
    ForeignKeyConstraint(["project_id", "version_number"], ["draft.project_id", "draft.version_number"]),
    **KEYED,
)

#: Append-only: the logs. Canonical bytes, chained by leaf hash.
log_entry = Table(
    "log_entry",
    metadata,
    text_("log", ForeignKey("head.log"), primary_key=True),
    int_("sequence", primary_key=True),
    text_("event"),
    text_("actor_subject"),
    bytes_("prev"),
    bytes_("leaf"),
    bytes_("entry"),
    CheckConstraint("length(prev) = 32 AND length(leaf) = 32", name="hashes"),
    **KEYED,
)

#: Free text of entries with its salt: committed to by the entry, redactable without breaking the chain.
log_text = Table(
    "log_text",
    metadata,
    text_("log", primary_key=True),
    int_("sequence", primary_key=True),
    bytes_("salt"),
    bytes_("text"),
    ForeignKeyConstraint(["log", "sequence"], ["log_entry.log", "log_entry.sequence"]),
    **KEYED,
)

#: Answers to repeated requests, kept for 24 hours.
request_record = Table(
    "request_record",
    metadata,
    text_("subject", primary_key=True),
    text_("rpc", primary_key=True),
    text_("request_id", primary_key=True),
    bytes_("command_hash"),
    bytes_("answer"),
    int_("create_time_us"),
    **KEYED,
)
Index("ix_request_record_create_time_us", request_record.c.create_time_us)

#: The servers of this installation: a row for each process there ever was, whose count rises while it lives. One that
#: has LEFT or was FENCED serves no more.
replica = Table(
    "replica",
    metadata,
    text_("replica_id", primary_key=True),
    text_("state"),
    int_("renew_count"),
    int_("start_time_us"),
    text_("address"),
    CheckConstraint("state IN ('LIVE', 'LEFT', 'FENCED')", name="state"),
    **KEYED,
)
#: Everybody asks for these each second, among all there ever were.
REPLICA_IS_OPEN = is_not(replica.c.state, "FENCED")
Index("ix_replica_open", replica.c.replica_id, **only(REPLICA_IS_OPEN))
