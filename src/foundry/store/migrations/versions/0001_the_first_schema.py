"""The first schema: projects, sessions, fields with their locks, versions, and the logs with their guards.

Revision ID: 0001
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

_INT64 = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_TEXT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    """Apply."""
    op.create_table(
        "head",
        sa.Column("log", _TEXT, nullable=False),
        sa.Column("state", _TEXT, nullable=False),
        sa.Column("head_version", _INT64, nullable=False),
        sa.Column("current_draft_id", _TEXT, nullable=False),
        sa.Column("last_sequence", _INT64, nullable=False),
        sa.Column("tail", sa.LargeBinary(), nullable=False),
        sa.Column("last_time_us", _INT64, nullable=False),
        sa.CheckConstraint("length(tail) = 32", name=op.f("ck_head_tail_is_a_hash")),
        sa.PrimaryKeyConstraint("log", name=op.f("pk_head")),
        sqlite_strict=True,
        sqlite_with_rowid=False,
    )
    op.create_table(
        "instance",
        sa.Column("name", _TEXT, nullable=False),
        sa.Column("value", _TEXT, nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_instance")),
        sqlite_strict=True,
        sqlite_with_rowid=False,
    )
    op.create_table(
        "project",
        sa.Column("project_id", _TEXT, nullable=False),
        sa.Column("name", _TEXT, nullable=False),
        sa.Column("name_folded", _TEXT, nullable=False),
        sa.Column("description", _TEXT, nullable=False),
        sa.Column("labels", _TEXT, nullable=False),
        sa.Column("policy", _TEXT, nullable=False),
        sa.Column("agent_access", _TEXT, nullable=False),
        sa.Column("creator", _TEXT, nullable=False),
        sa.Column("create_time_us", _INT64, nullable=False),
        sa.Column("update_time_us", _INT64, nullable=False),
        sa.Column("archive_time_us", _INT64, nullable=False),
        sa.Column("revision", _INT64, nullable=False),
        sa.PrimaryKeyConstraint("project_id", name=op.f("pk_project")),
        sqlite_strict=True,
        sqlite_with_rowid=False,
    )
    op.create_table(
        "request_record",
        sa.Column("subject", _TEXT, nullable=False),
        sa.Column("rpc", _TEXT, nullable=False),
        sa.Column("request_id", _TEXT, nullable=False),
        sa.Column("command_hash", sa.LargeBinary(), nullable=False),
        sa.Column("answer", sa.LargeBinary(), nullable=False),
        sa.Column("create_time_us", _INT64, nullable=False),
        sa.PrimaryKeyConstraint("subject", "rpc", "request_id", name=op.f("pk_request_record")),
        sqlite_strict=True,
        sqlite_with_rowid=False,
    )
    op.create_index("ix_request_record_create_time_us", "request_record", ["create_time_us"], unique=False)
    op.create_table(
        "content",
        sa.Column("project_id", _TEXT, nullable=False),
        sa.Column("sha256", sa.LargeBinary(), nullable=False),
        sa.Column("data", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(["project_id"], ["project.project_id"], name=op.f("fk_content_project_id")),
        sa.PrimaryKeyConstraint("project_id", "sha256", name=op.f("pk_content")),
        sqlite_strict=True,
    )
    op.create_table(
        "log_entry",
        sa.Column("log", _TEXT, nullable=False),
        sa.Column("sequence", _INT64, nullable=False),
        sa.Column("event", _TEXT, nullable=False),
        sa.Column("actor_subject", _TEXT, nullable=False),
        sa.Column("prev", sa.LargeBinary(), nullable=False),
        sa.Column("leaf", sa.LargeBinary(), nullable=False),
        sa.Column("entry", sa.LargeBinary(), nullable=False),
        sa.CheckConstraint("length(prev) = 32 AND length(leaf) = 32", name=op.f("ck_log_entry_hashes")),
        sa.ForeignKeyConstraint(["log"], ["head.log"], name=op.f("fk_log_entry_log")),
        sa.PrimaryKeyConstraint("log", "sequence", name=op.f("pk_log_entry")),
        sqlite_strict=True,
        sqlite_with_rowid=False,
    )
    op.create_table(
        "member",
        sa.Column("project_id", _TEXT, nullable=False),
        sa.Column("subject", _TEXT, nullable=False),
        sa.Column("role", _TEXT, nullable=False),
        sa.Column("display_name", _TEXT, nullable=False),
        sa.Column("add_time_us", _INT64, nullable=False),
        sa.ForeignKeyConstraint(["project_id"], ["project.project_id"], name=op.f("fk_member_project_id")),
        sa.PrimaryKeyConstraint("project_id", "subject", name=op.f("pk_member")),
        sqlite_strict=True,
        sqlite_with_rowid=False,
    )
    op.create_index("ix_member_subject", "member", ["subject", "project_id"], unique=False)
    op.create_table(
        "project_label",
        sa.Column("project_id", _TEXT, nullable=False),
        sa.Column("key", _TEXT, nullable=False),
        sa.Column("value", _TEXT, nullable=False),
        sa.ForeignKeyConstraint(["project_id"], ["project.project_id"], name=op.f("fk_project_label_project_id")),
        sa.PrimaryKeyConstraint("project_id", "key", name=op.f("pk_project_label")),
        sqlite_strict=True,
        sqlite_with_rowid=False,
    )
    op.create_table(
        "session",
        sa.Column("session_id", _TEXT, nullable=False),
        sa.Column("project_id", _TEXT, nullable=False),
        sa.Column("subject", _TEXT, nullable=False),
        sa.Column("principal", _TEXT, nullable=False),
        sa.Column("state", _TEXT, nullable=False),
        sa.Column("stream_epoch", _INT64, nullable=False),
        sa.Column("resume_hash", sa.LargeBinary(), nullable=False),
        sa.Column("server_boot_id", _TEXT, nullable=False),
        sa.Column("tab_id", _TEXT, nullable=False),
        sa.Column("client_name", _TEXT, nullable=False),
        sa.Column("client_version", _TEXT, nullable=False),
        sa.Column("grace_ms", _INT64, nullable=False),
        sa.Column("open_time_us", _INT64, nullable=False),
        sa.Column("detach_time_us", _INT64, nullable=False),
        sa.Column("close_time_us", _INT64, nullable=False),
        sa.Column("close_reason", _TEXT, nullable=False),
        sa.CheckConstraint("state IN ('ATTACHED', 'DETACHED', 'CLOSED')", name=op.f("ck_session_state")),
        sa.ForeignKeyConstraint(["project_id"], ["project.project_id"], name=op.f("fk_session_project_id")),
        sa.PrimaryKeyConstraint("session_id", name=op.f("pk_session")),
        sqlite_strict=True,
        sqlite_with_rowid=False,
    )
    op.create_index(
        "ix_session_open",
        "session",
        ["project_id", "subject"],
        unique=False,
        sqlite_where=sa.text("state <> 'CLOSED'"),
        postgresql_where=sa.text("state <> 'CLOSED'"),
    )
    op.create_table(
        "draft",
        sa.Column("project_id", _TEXT, nullable=False),
        sa.Column("version_number", _INT64, nullable=False),
        sa.Column("draft_id", _TEXT, nullable=False),
        sa.Column("parent_version", _INT64, nullable=False),
        sa.Column("origin", _TEXT, nullable=False),
        sa.Column("source_version", _INT64, nullable=False),
        sa.Column("author", _TEXT, nullable=False),
        sa.Column("author_subject", _TEXT, nullable=False),
        sa.Column("session_id", _TEXT, nullable=False),
        sa.Column("create_time_us", _INT64, nullable=False),
        sa.Column("message", _TEXT, nullable=False),
        sa.Column("content_sha256", sa.LargeBinary(), nullable=False),
        sa.Column("sequence", _INT64, nullable=False),
        sa.CheckConstraint("parent_version = version_number - 1", name=op.f("ck_draft_contiguous")),
        sa.ForeignKeyConstraint(["project_id"], ["project.project_id"], name=op.f("fk_draft_project_id")),
        sa.ForeignKeyConstraint(["session_id"], ["session.session_id"], name=op.f("fk_draft_session_id")),
        sa.PrimaryKeyConstraint("project_id", "version_number", name=op.f("pk_draft")),
        sa.UniqueConstraint("draft_id", name=op.f("uq_draft_draft_id")),
        sqlite_strict=True,
        sqlite_with_rowid=False,
    )
    op.create_table(
        "field",
        sa.Column("project_id", _TEXT, nullable=False),
        sa.Column("name", _TEXT, nullable=False),
        sa.Column("kind", _TEXT, nullable=False),
        sa.Column("media_type", _TEXT, nullable=False),
        sa.Column("sha256", sa.LargeBinary(), nullable=False),
        sa.Column("size", _INT64, nullable=False),
        sa.Column("last_changed_version", _INT64, nullable=False),
        sa.Column("last_author", _TEXT, nullable=False),
        sa.Column("fence", _INT64, nullable=False),
        sa.Column("lock_id", _TEXT, nullable=False),
        sa.Column("session_id", _TEXT, nullable=True),
        sa.Column("holder", _TEXT, nullable=False),
        sa.Column("holder_subject", _TEXT, nullable=False),
        sa.Column("acquire_time_us", _INT64, nullable=False),
        sa.Column("expire_time_us", _INT64, nullable=False),
        sa.Column("purpose", _TEXT, nullable=False),
        sa.CheckConstraint("(session_id IS NULL) = (lock_id = '')", name=op.f("ck_field_lock_has_a_session")),
        sa.CheckConstraint("fence >= 0", name=op.f("ck_field_fence")),
        sa.ForeignKeyConstraint(["project_id"], ["project.project_id"], name=op.f("fk_field_project_id")),
        sa.ForeignKeyConstraint(["session_id"], ["session.session_id"], name=op.f("fk_field_session_id")),
        sa.PrimaryKeyConstraint("project_id", "name", name=op.f("pk_field")),
        sqlite_strict=True,
        sqlite_with_rowid=False,
    )
    op.create_index(
        "ix_field_held",
        "field",
        ["session_id"],
        unique=False,
        sqlite_where=sa.text("session_id IS NOT NULL"),
        postgresql_where=sa.text("session_id IS NOT NULL"),
    )
    op.create_table(
        "log_text",
        sa.Column("log", _TEXT, nullable=False),
        sa.Column("sequence", _INT64, nullable=False),
        sa.Column("salt", sa.LargeBinary(), nullable=False),
        sa.Column("text", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(
            ["log", "sequence"], ["log_entry.log", "log_entry.sequence"], name=op.f("fk_log_text_log_sequence")
        ),
        sa.PrimaryKeyConstraint("log", "sequence", name=op.f("pk_log_text")),
        sqlite_strict=True,
        sqlite_with_rowid=False,
    )
    op.create_table(
        "lock_grant",
        sa.Column("project_id", _TEXT, nullable=False),
        sa.Column("field", _TEXT, nullable=False),
        sa.Column("fence", _INT64, nullable=False),
        sa.Column("lock_id", _TEXT, nullable=False),
        sa.Column("session_id", _TEXT, nullable=False),
        sa.Column("subject", _TEXT, nullable=False),
        sa.Column("sequence", _INT64, nullable=False),
        sa.ForeignKeyConstraint(
            ["project_id", "field"], ["field.project_id", "field.name"], name=op.f("fk_lock_grant_project_id_field")
        ),
        sa.ForeignKeyConstraint(["session_id"], ["session.session_id"], name=op.f("fk_lock_grant_session_id")),
        sa.PrimaryKeyConstraint("project_id", "field", "fence", name=op.f("pk_lock_grant")),
        sa.UniqueConstraint(
            "project_id",
            "field",
            "fence",
            "session_id",
            "subject",
            name=op.f("uq_lock_grant_project_id_field_fence_session_id_subject"),
        ),
        sqlite_strict=True,
        sqlite_with_rowid=False,
    )
    op.create_table(
        "draft_change",
        sa.Column("project_id", _TEXT, nullable=False),
        sa.Column("field", _TEXT, nullable=False),
        sa.Column("version_number", _INT64, nullable=False),
        sa.Column("kind", _TEXT, nullable=False),
        sa.Column("media_type", _TEXT, nullable=False),
        sa.Column("before_sha256", sa.LargeBinary(), nullable=False),
        sa.Column("after_sha256", sa.LargeBinary(), nullable=False),
        sa.Column("size", _INT64, nullable=False),
        sa.Column("lock_id", _TEXT, nullable=False),
        sa.Column("fence", _INT64, nullable=False),
        sa.Column("session_id", _TEXT, nullable=False),
        sa.Column("subject", _TEXT, nullable=False),
        sa.ForeignKeyConstraint(
            ["project_id", "field", "fence", "session_id", "subject"],
            [
                "lock_grant.project_id",
                "lock_grant.field",
                "lock_grant.fence",
                "lock_grant.session_id",
                "lock_grant.subject",
            ],
            name=op.f("fk_draft_change_project_id_field_fence_session_id_subject"),
        ),
        sa.ForeignKeyConstraint(
            ["project_id", "version_number"],
            ["draft.project_id", "draft.version_number"],
            name=op.f("fk_draft_change_project_id_version_number"),
        ),
        sa.PrimaryKeyConstraint("project_id", "field", "version_number", name=op.f("pk_draft_change")),
        sqlite_strict=True,
        sqlite_with_rowid=False,
    )
    op.create_index("ix_draft_change_version", "draft_change", ["project_id", "version_number"], unique=False)
    if op.get_context().dialect.name == "sqlite":
        for sql in _GUARDS:
            op.execute(sql)


#: Those of SQLite, as they were when this revision was made; a later change of a guard is a later revision.
_GUARDS = (
    "CREATE TRIGGER log_entry_no_update BEFORE UPDATE ON log_entry BEGIN SELECT RAISE(ABORT, 'log_entry is append-only'); END",
    "CREATE TRIGGER log_entry_no_delete BEFORE DELETE ON log_entry BEGIN SELECT RAISE(ABORT, 'log_entry is append-only'); END",
    "CREATE TRIGGER lock_grant_no_update BEFORE UPDATE ON lock_grant BEGIN SELECT RAISE(ABORT, 'lock_grant is append-only'); END",
    "CREATE TRIGGER lock_grant_no_delete BEFORE DELETE ON lock_grant BEGIN SELECT RAISE(ABORT, 'lock_grant is append-only'); END",
    "CREATE TRIGGER draft_no_update BEFORE UPDATE ON draft BEGIN SELECT RAISE(ABORT, 'draft is append-only'); END",
    "CREATE TRIGGER draft_no_delete BEFORE DELETE ON draft BEGIN SELECT RAISE(ABORT, 'draft is append-only'); END",
    "CREATE TRIGGER draft_change_no_update BEFORE UPDATE ON draft_change BEGIN SELECT RAISE(ABORT, 'draft_change is append-only'); END",
    "CREATE TRIGGER draft_change_no_delete BEFORE DELETE ON draft_change BEGIN SELECT RAISE(ABORT, 'draft_change is append-only'); END",
    "CREATE TRIGGER content_no_update BEFORE UPDATE ON content BEGIN SELECT RAISE(ABORT, 'content is append-only'); END",
    "CREATE TRIGGER content_no_delete BEFORE DELETE ON content BEGIN SELECT RAISE(ABORT, 'content is append-only'); END",
    "CREATE TRIGGER log_entry_contiguous BEFORE INSERT ON log_entry WHEN NEW.sequence IS NOT 1 + coalesce((SELECT max(sequence) FROM log_entry WHERE log = NEW.log), 0) OR NEW.prev IS NOT coalesce((SELECT leaf FROM log_entry WHERE log = NEW.log ORDER BY sequence DESC LIMIT 1), zeroblob(32)) BEGIN SELECT RAISE(ABORT, 'log_entry does not continue its log'); END",
    "CREATE TRIGGER lock_grant_no_replace BEFORE INSERT ON lock_grant WHEN EXISTS (SELECT 1 FROM lock_grant WHERE project_id = NEW.project_id AND field = NEW.field AND fence = NEW.fence) BEGIN SELECT RAISE(ABORT, 'lock_grant is append-only'); END",
    "CREATE TRIGGER draft_contiguous BEFORE INSERT ON draft WHEN NEW.version_number IS NOT 1 + coalesce((SELECT max(version_number) FROM draft WHERE project_id = NEW.project_id), 0) BEGIN SELECT RAISE(ABORT, 'draft does not continue its project'); END",
    "CREATE TRIGGER draft_no_replace BEFORE INSERT ON draft WHEN EXISTS (SELECT 1 FROM draft WHERE draft_id = NEW.draft_id) BEGIN SELECT RAISE(ABORT, 'draft is append-only'); END",
    "CREATE TRIGGER draft_change_no_replace BEFORE INSERT ON draft_change WHEN EXISTS (SELECT 1 FROM draft_change WHERE project_id = NEW.project_id AND field = NEW.field AND version_number = NEW.version_number) BEGIN SELECT RAISE(ABORT, 'draft_change is append-only'); END",
    "CREATE TRIGGER draft_change_under_lock BEFORE INSERT ON draft_change WHEN NOT EXISTS (SELECT 1 FROM field WHERE project_id = NEW.project_id AND name = NEW.field AND session_id = NEW.session_id AND holder_subject = NEW.subject AND fence = NEW.fence AND lock_id = NEW.lock_id AND last_changed_version = NEW.version_number) BEGIN SELECT RAISE(ABORT, 'draft_change is not made under its lock'); END",
    "CREATE TRIGGER content_no_replace BEFORE INSERT ON content WHEN EXISTS (SELECT 1 FROM content WHERE project_id = NEW.project_id AND sha256 = NEW.sha256 AND data IS NOT NEW.data OR rowid = NEW.rowid) BEGIN SELECT RAISE(ABORT, 'content is append-only'); END",
    "CREATE TRIGGER field_no_delete BEFORE DELETE ON field BEGIN SELECT RAISE(ABORT, 'field is append-only'); END",
    "CREATE TRIGGER field_no_replace BEFORE INSERT ON field WHEN EXISTS (SELECT 1 FROM field WHERE project_id = NEW.project_id AND name = NEW.name) BEGIN SELECT RAISE(ABORT, 'field is append-only'); END",
    "CREATE TRIGGER field_fence_rises BEFORE UPDATE ON field WHEN (NEW.project_id, NEW.name) IS NOT (OLD.project_id, OLD.name) OR NEW.fence < OLD.fence OR NEW.fence > OLD.fence + 1 OR (NEW.fence > OLD.fence AND (OLD.session_id IS NOT NULL OR NEW.session_id IS NULL)) OR (NEW.fence = OLD.fence AND NEW.session_id IS NOT NULL AND (NEW.session_id, NEW.lock_id, NEW.holder_subject) IS NOT (OLD.session_id, OLD.lock_id, OLD.holder_subject)) BEGIN SELECT RAISE(ABORT, 'a field changes hands only by a new grant of a free field'); END",
)
