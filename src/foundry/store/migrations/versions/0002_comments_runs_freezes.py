"""Comments, runs with their consoles, freezes and revisions.

Revision ID: 0002
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

_INT64 = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_TEXT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    """Apply."""
    op.add_column("project", sa.Column("revision_of_project_id", _TEXT, server_default="", nullable=False))
    op.add_column("project", sa.Column("revision_of_fingerprint", _TEXT, server_default="", nullable=False))
    op.create_table(
        "comment",
        sa.Column("project_id", _TEXT, nullable=False),
        sa.Column("comment_id", _TEXT, nullable=False),
        sa.Column("thread_id", _TEXT, nullable=False),
        sa.Column("kind", _TEXT, nullable=False),
        sa.Column("state", _TEXT, nullable=False),
        sa.Column("version_number", _INT64, nullable=False),
        sa.Column("draft_id", _TEXT, nullable=False),
        sa.Column("field", _TEXT, nullable=False),
        sa.Column("start_line", _INT64, nullable=False),
        sa.Column("end_line", _INT64, nullable=False),
        sa.Column("quote", _TEXT, nullable=False),
        sa.Column("field_sha256", sa.LargeBinary(), nullable=False),
        sa.Column("author", _TEXT, nullable=False),
        sa.Column("author_subject", _TEXT, nullable=False),
        sa.Column("assignee", _TEXT, nullable=False),
        sa.Column("run_id", _TEXT, nullable=False),
        sa.Column("text_revision", _INT64, nullable=False),
        sa.Column("create_time_us", _INT64, nullable=False),
        sa.Column("update_time_us", _INT64, nullable=False),
        sa.Column("edit_time_us", _INT64, nullable=False),
        sa.Column("delete_time_us", _INT64, nullable=False),
        sa.Column("closer", _TEXT, nullable=False),
        sa.Column("closed_at_version", _INT64, nullable=False),
        sa.Column("revision", _INT64, nullable=False),
        sa.ForeignKeyConstraint(["project_id"], ["project.project_id"], name=op.f("fk_comment_project_id")),
        sa.PrimaryKeyConstraint("project_id", "comment_id", name=op.f("pk_comment")),
        sqlite_strict=True,
        sqlite_with_rowid=False,
    )
    op.create_index("ix_comment_thread", "comment", ["project_id", "thread_id", "comment_id"], unique=False)
    op.create_table(
        "comment_text",
        sa.Column("project_id", _TEXT, nullable=False),
        sa.Column("comment_id", _TEXT, nullable=False),
        sa.Column("revision", _INT64, nullable=False),
        sa.Column("text", _TEXT, nullable=False),
        sa.ForeignKeyConstraint(
            ["project_id", "comment_id"],
            ["comment.project_id", "comment.comment_id"],
            name=op.f("fk_comment_text_project_id_comment_id"),
        ),
        sa.PrimaryKeyConstraint("project_id", "comment_id", "revision", name=op.f("pk_comment_text")),
        sqlite_strict=True,
        sqlite_with_rowid=False,
    )
    op.create_table(
        "run",
        sa.Column("project_id", _TEXT, nullable=False),
        sa.Column("run_id", _TEXT, nullable=False),
        sa.Column("version_number", _INT64, nullable=False),
        sa.Column("content_sha256", sa.LargeBinary(), nullable=False),
        sa.Column("harness", _TEXT, nullable=False),
        sa.Column("labels", _TEXT, nullable=False),
        sa.Column("attempt", _INT64, nullable=False),
        sa.Column("state", _TEXT, nullable=False),
        sa.Column("starter", _TEXT, nullable=False),
        sa.Column("start_time_us", _INT64, nullable=False),
        sa.Column("finish_time_us", _INT64, nullable=False),
        sa.Column("line_count", _INT64, nullable=False),
        sa.Column("log_bytes", _INT64, nullable=False),
        sa.Column("log_sha256", sa.LargeBinary(), nullable=False),
        sa.Column("results", _TEXT, nullable=False),
        sa.ForeignKeyConstraint(
            ["project_id", "version_number"],
            ["draft.project_id", "draft.version_number"],
            name=op.f("fk_run_project_id_version_number"),
        ),
        sa.ForeignKeyConstraint(["project_id"], ["project.project_id"], name=op.f("fk_run_project_id")),
        sa.PrimaryKeyConstraint("project_id", "run_id", name=op.f("pk_run")),
        sqlite_strict=True,
        sqlite_with_rowid=False,
    )
    op.create_index("ix_run_content", "run", ["project_id", "content_sha256", "state"], unique=False)
    op.create_index(
        "ix_run_running",
        "run",
        ["project_id", "run_id"],
        unique=False,
        sqlite_where=sa.text("state = 'RUNNING'"),
        postgresql_where=sa.text("state = 'RUNNING'"),
    )
    op.create_table(
        "run_log_chunk",
        sa.Column("project_id", _TEXT, nullable=False),
        sa.Column("run_id", _TEXT, nullable=False),
        sa.Column("first_line", _INT64, nullable=False),
        sa.Column("line_count", _INT64, nullable=False),
        sa.Column("data", sa.LargeBinary(), nullable=False),
        sa.CheckConstraint("line_count > 0", name=op.f("ck_run_log_chunk_has_lines")),
        sa.ForeignKeyConstraint(
            ["project_id", "run_id"], ["run.project_id", "run.run_id"], name=op.f("fk_run_log_chunk_project_id_run_id")
        ),
        sa.PrimaryKeyConstraint("project_id", "run_id", "first_line", name=op.f("pk_run_log_chunk")),
        sqlite_strict=True,
    )
    op.create_table(
        "freeze",
        sa.Column("project_id", _TEXT, nullable=False),
        sa.Column("freeze_id", _TEXT, nullable=False),
        sa.Column("version_number", _INT64, nullable=False),
        sa.Column("draft_id", _TEXT, nullable=False),
        sa.Column("content_sha256", sa.LargeBinary(), nullable=False),
        sa.Column("fingerprint", sa.LargeBinary(), nullable=False),
        sa.Column("requester", _TEXT, nullable=False),
        sa.Column("create_time_us", _INT64, nullable=False),
        sa.Column("reason", _TEXT, nullable=False),
        sa.Column("log_sequence", _INT64, nullable=False),
        sa.Column("log_leaf", sa.LargeBinary(), nullable=False),
        sa.Column("sequence", _INT64, nullable=False),
        sa.ForeignKeyConstraint(
            ["project_id", "version_number"],
            ["draft.project_id", "draft.version_number"],
            name=op.f("fk_freeze_project_id_version_number"),
        ),
        sa.ForeignKeyConstraint(["project_id"], ["project.project_id"], name=op.f("fk_freeze_project_id")),
        sa.PrimaryKeyConstraint("project_id", name=op.f("pk_freeze")),
        sqlite_strict=True,
        sqlite_with_rowid=False,
    )
    if op.get_context().dialect.name == "sqlite":
        for sql in _GUARDS:
            op.execute(sql)


#: Those of SQLite, as they were when this revision was made; a later change of a guard is a later revision.
_GUARDS = (
    "CREATE TRIGGER comment_text_no_update BEFORE UPDATE ON comment_text BEGIN SELECT RAISE(ABORT, 'comment_text is append-only'); END",
    "CREATE TRIGGER comment_text_no_delete BEFORE DELETE ON comment_text BEGIN SELECT RAISE(ABORT, 'comment_text is append-only'); END",
    "CREATE TRIGGER run_log_chunk_no_update BEFORE UPDATE ON run_log_chunk BEGIN SELECT RAISE(ABORT, 'run_log_chunk is append-only'); END",
    "CREATE TRIGGER run_log_chunk_no_delete BEFORE DELETE ON run_log_chunk BEGIN SELECT RAISE(ABORT, 'run_log_chunk is append-only'); END",
    "CREATE TRIGGER freeze_no_update BEFORE UPDATE ON freeze BEGIN SELECT RAISE(ABORT, 'freeze is append-only'); END",
    "CREATE TRIGGER freeze_no_delete BEFORE DELETE ON freeze BEGIN SELECT RAISE(ABORT, 'freeze is append-only'); END",
    "CREATE TRIGGER draft_not_frozen_insert BEFORE INSERT ON draft WHEN EXISTS (SELECT 1 FROM head WHERE log = NEW.project_id AND state = 'FROZEN') BEGIN SELECT RAISE(ABORT, 'the project is frozen'); END",
    "CREATE TRIGGER draft_change_not_frozen_insert BEFORE INSERT ON draft_change WHEN EXISTS (SELECT 1 FROM head WHERE log = NEW.project_id AND state = 'FROZEN') BEGIN SELECT RAISE(ABORT, 'the project is frozen'); END",
    "CREATE TRIGGER lock_grant_not_frozen_insert BEFORE INSERT ON lock_grant WHEN EXISTS (SELECT 1 FROM head WHERE log = NEW.project_id AND state = 'FROZEN') BEGIN SELECT RAISE(ABORT, 'the project is frozen'); END",
    "CREATE TRIGGER comment_not_frozen_insert BEFORE INSERT ON comment WHEN EXISTS (SELECT 1 FROM head WHERE log = NEW.project_id AND state = 'FROZEN') BEGIN SELECT RAISE(ABORT, 'the project is frozen'); END",
    "CREATE TRIGGER comment_not_frozen_update BEFORE UPDATE ON comment WHEN EXISTS (SELECT 1 FROM head WHERE log = NEW.project_id AND state = 'FROZEN') BEGIN SELECT RAISE(ABORT, 'the project is frozen'); END",
    "CREATE TRIGGER run_not_frozen_insert BEFORE INSERT ON run WHEN EXISTS (SELECT 1 FROM head WHERE log = NEW.project_id AND state = 'FROZEN') BEGIN SELECT RAISE(ABORT, 'the project is frozen'); END",
    "CREATE TRIGGER run_not_frozen_update BEFORE UPDATE ON run WHEN EXISTS (SELECT 1 FROM head WHERE log = NEW.project_id AND state = 'FROZEN') BEGIN SELECT RAISE(ABORT, 'the project is frozen'); END",
    "CREATE TRIGGER run_log_chunk_not_frozen_insert BEFORE INSERT ON run_log_chunk WHEN EXISTS (SELECT 1 FROM head WHERE log = NEW.project_id AND state = 'FROZEN') BEGIN SELECT RAISE(ABORT, 'the project is frozen'); END",
    "CREATE TRIGGER head_no_delete BEFORE DELETE ON head BEGIN SELECT RAISE(ABORT, 'head is append-only'); END",
    "CREATE TRIGGER head_no_replace BEFORE INSERT ON head WHEN EXISTS (SELECT 1 FROM head WHERE log = NEW.log) BEGIN SELECT RAISE(ABORT, 'head is append-only'); END",
    "CREATE TRIGGER head_keeps BEFORE UPDATE ON head WHEN (NEW.log) IS NOT (OLD.log) BEGIN SELECT RAISE(ABORT, 'this of head never changes'); END",
    "CREATE TRIGGER head_stays_frozen BEFORE UPDATE ON head WHEN OLD.state = 'FROZEN' AND (NEW.state, NEW.head_version, NEW.current_draft_id) IS NOT (OLD.state, OLD.head_version, OLD.current_draft_id) BEGIN SELECT RAISE(ABORT, 'the project is frozen'); END",
    "CREATE TRIGGER comment_no_delete BEFORE DELETE ON comment BEGIN SELECT RAISE(ABORT, 'comment is append-only'); END",
    "CREATE TRIGGER comment_no_replace BEFORE INSERT ON comment WHEN EXISTS (SELECT 1 FROM comment WHERE project_id = NEW.project_id AND comment_id = NEW.comment_id) BEGIN SELECT RAISE(ABORT, 'comment is append-only'); END",
    "CREATE TRIGGER comment_keeps BEFORE UPDATE ON comment WHEN (NEW.project_id, NEW.comment_id, NEW.thread_id, NEW.kind, NEW.version_number, NEW.draft_id, NEW.field, NEW.start_line, NEW.end_line, NEW.quote, NEW.field_sha256, NEW.author, NEW.author_subject, NEW.run_id, NEW.create_time_us) IS NOT (OLD.project_id, OLD.comment_id, OLD.thread_id, OLD.kind, OLD.version_number, OLD.draft_id, OLD.field, OLD.start_line, OLD.end_line, OLD.quote, OLD.field_sha256, OLD.author, OLD.author_subject, OLD.run_id, OLD.create_time_us) OR NEW.revision IS NOT OLD.revision + 1 OR NEW.text_revision < OLD.text_revision OR OLD.delete_time_us > 0 BEGIN SELECT RAISE(ABORT, 'this of comment never changes'); END",
    "CREATE TRIGGER comment_text_no_replace BEFORE INSERT ON comment_text WHEN EXISTS (SELECT 1 FROM comment_text WHERE project_id = NEW.project_id AND comment_id = NEW.comment_id AND revision = NEW.revision) BEGIN SELECT RAISE(ABORT, 'comment_text is append-only'); END",
    "CREATE TRIGGER run_begins BEFORE INSERT ON run WHEN (NEW.state, NEW.finish_time_us, NEW.line_count, NEW.log_bytes, NEW.log_sha256, NEW.results) IS NOT ('RUNNING', 0, 0, 0, x'', '[]') BEGIN SELECT RAISE(ABORT, 'a run begins without lines and without an end'); END",
    "CREATE TRIGGER run_no_delete BEFORE DELETE ON run BEGIN SELECT RAISE(ABORT, 'run is append-only'); END",
    "CREATE TRIGGER run_no_replace BEFORE INSERT ON run WHEN EXISTS (SELECT 1 FROM run WHERE project_id = NEW.project_id AND run_id = NEW.run_id) BEGIN SELECT RAISE(ABORT, 'run is append-only'); END",
    "CREATE TRIGGER run_keeps BEFORE UPDATE ON run WHEN (NEW.project_id, NEW.run_id, NEW.version_number, NEW.content_sha256, NEW.harness, NEW.labels, NEW.attempt, NEW.starter, NEW.start_time_us) IS NOT (OLD.project_id, OLD.run_id, OLD.version_number, OLD.content_sha256, OLD.harness, OLD.labels, OLD.attempt, OLD.starter, OLD.start_time_us) OR OLD.state <> 'RUNNING' OR NEW.state = 'RUNNING' AND (NEW.log_sha256, NEW.results) IS NOT (x'', '[]') OR NEW.line_count < OLD.line_count OR NEW.line_count IS NOT coalesce((SELECT first_line + line_count - 1 FROM run_log_chunk WHERE project_id = NEW.project_id AND run_id = NEW.run_id ORDER BY first_line DESC LIMIT 1), 0) BEGIN SELECT RAISE(ABORT, 'this of run never changes'); END",
    "CREATE TRIGGER run_log_chunk_contiguous BEFORE INSERT ON run_log_chunk WHEN NEW.first_line IS NOT 1 + coalesce((SELECT first_line + line_count - 1 FROM run_log_chunk WHERE project_id = NEW.project_id AND run_id = NEW.run_id ORDER BY first_line DESC LIMIT 1), 0) OR NOT EXISTS (SELECT 1 FROM run WHERE project_id = NEW.project_id AND run_id = NEW.run_id AND state = 'RUNNING') OR EXISTS (SELECT 1 FROM run_log_chunk WHERE rowid = NEW.rowid) BEGIN SELECT RAISE(ABORT, 'run_log_chunk does not continue its run'); END",
    "CREATE TRIGGER freeze_no_replace BEFORE INSERT ON freeze WHEN EXISTS (SELECT 1 FROM freeze WHERE project_id = NEW.project_id) BEGIN SELECT RAISE(ABORT, 'freeze is append-only'); END",
)
