"""Servers that share a store, and on Postgres the guards, which SQLite has had from the first revision on.

Revision ID: 0003
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_INT64 = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_TEXT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    """Apply."""
    op.create_table(
        "replica",
        sa.Column("replica_id", _TEXT, nullable=False),
        sa.Column("state", _TEXT, nullable=False),
        sa.Column("renew_count", _INT64, nullable=False),
        sa.Column("start_time_us", _INT64, nullable=False),
        sa.Column("address", _TEXT, nullable=False),
        sa.CheckConstraint("state IN ('LIVE', 'LEFT', 'FENCED')", name=op.f("ck_replica_state")),
        sa.PrimaryKeyConstraint("replica_id", name=op.f("pk_replica")),
        sqlite_strict=True,
        sqlite_with_rowid=False,
    )
    op.create_index(
        "ix_replica_open",
        "replica",
        ["replica_id"],
        unique=False,
        sqlite_where=sa.text("state <> 'FENCED'"),
        postgresql_where=sa.text("state <> 'FENCED'"),
    )
    op.add_column("session", sa.Column("epoch", _INT64, server_default="1", nullable=False))
    op.create_index(
        "ix_session_served",
        "session",
        ["server_boot_id"],
        unique=False,
        sqlite_where=sa.text("state <> 'CLOSED'"),
        postgresql_where=sa.text("state <> 'CLOSED'"),
    )
    # The oldest code that can serve this schema is that of this revision.
    op.execute("INSERT INTO instance (name, value) VALUES ('schema_serves_from', '0003')")
    if op.get_context().dialect.name == "postgresql":
        _guard()
    else:
        op.execute("DROP TRIGGER draft_change_not_frozen_insert")  # a stricter one does what it did
        for sql in _SQLITE_GUARDS:
            op.execute(f"DROP TRIGGER {sql.split()[2]}")
            op.execute(sql)


def _guard() -> None:
    connection = op.get_bind()
    schema = connection.exec_driver_sql("SELECT quote_ident(current_schema())").scalar_one()
    for sql in _FUNCTIONS:
        connection.exec_driver_sql(sql.replace("{schema}", schema))
    for sql in _TRIGGERS:
        name, table = sql.split()[2], sql.split(" ON ")[1].split()[0]
        connection.exec_driver_sql(sql.replace("{schema}", schema))
        connection.exec_driver_sql(f"ALTER TABLE {table} ENABLE ALWAYS TRIGGER {name}".replace("{schema}", schema))


#: Those that are stricter now on SQLite, which has had them all since the revisions before.
_SQLITE_GUARDS = (
    "CREATE TRIGGER head_keeps BEFORE UPDATE ON head WHEN (NEW.log) IS NOT (OLD.log) OR NEW.head_version < OLD.head_version OR NEW.last_sequence < OLD.last_sequence BEGIN SELECT RAISE(ABORT, 'this of head never changes'); END",
    "CREATE TRIGGER draft_change_under_lock BEFORE INSERT ON draft_change WHEN NOT EXISTS (SELECT 1 FROM field WHERE project_id = NEW.project_id AND name = NEW.field AND session_id = NEW.session_id AND holder_subject = NEW.subject AND fence = NEW.fence AND lock_id = NEW.lock_id AND last_changed_version = NEW.version_number) OR NEW.version_number <= (SELECT head_version FROM head WHERE log = NEW.project_id) BEGIN SELECT RAISE(ABORT, 'draft_change is not made under its lock'); END",
)

#: Those of Postgres, as they were when this revision was made; a later change of a guard is a later revision.
_FUNCTIONS = (
    """CREATE OR REPLACE FUNCTION {schema}.guard_refuse()
 RETURNS trigger
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
BEGIN
  RAISE EXCEPTION USING ERRCODE = 'FD001', MESSAGE = TG_ARGV[0];
END
$function$
""",
    """CREATE OR REPLACE FUNCTION {schema}.guard_not_frozen()
 RETURNS trigger
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
DECLARE
  state_now text;
BEGIN
  SELECT state INTO state_now FROM {schema}.head WHERE log = NEW.project_id FOR SHARE;
  IF state_now = 'FROZEN' THEN
    RAISE EXCEPTION USING ERRCODE = 'FD001', MESSAGE = 'the project is frozen';
  END IF;
  RETURN NEW;
END
$function$
""",
    """CREATE OR REPLACE FUNCTION {schema}.guard_log_entry_contiguous()
 RETURNS trigger
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
DECLARE
  last record;
BEGIN
  SELECT sequence, leaf INTO last FROM {schema}.log_entry
    WHERE log = NEW.log ORDER BY sequence DESC LIMIT 1;
  IF NEW.sequence IS DISTINCT FROM 1 + coalesce(last.sequence, 0)
    OR NEW.prev IS DISTINCT FROM coalesce(last.leaf, decode(repeat('00', 32), 'hex')) THEN
    RAISE EXCEPTION USING ERRCODE = 'FD001', MESSAGE = 'log_entry does not continue its log';
  END IF;
  RETURN NEW;
END
$function$
""",
    """CREATE OR REPLACE FUNCTION {schema}.guard_draft_contiguous()
 RETURNS trigger
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
DECLARE
  last bigint;
BEGIN
  SELECT version_number INTO last FROM {schema}.draft
    WHERE project_id = NEW.project_id ORDER BY version_number DESC LIMIT 1;
  IF NEW.version_number IS DISTINCT FROM 1 + coalesce(last, 0) THEN
    RAISE EXCEPTION USING ERRCODE = 'FD001', MESSAGE = 'draft does not continue its project';
  END IF;
  RETURN NEW;
END
$function$
""",
    """CREATE OR REPLACE FUNCTION {schema}.guard_draft_change_under_lock()
 RETURNS trigger
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
DECLARE
  held boolean;
BEGIN
  SELECT session_id = NEW.session_id AND holder_subject = NEW.subject AND fence = NEW.fence
    AND lock_id = NEW.lock_id AND last_changed_version = NEW.version_number
    AND NEW.version_number > (SELECT head_version FROM {schema}.head WHERE log = NEW.project_id)
    INTO held FROM {schema}.field WHERE project_id = NEW.project_id AND name = NEW.field;
  IF held IS NOT TRUE THEN
    RAISE EXCEPTION USING ERRCODE = 'FD001', MESSAGE = 'draft_change is not made under its lock';
  END IF;
  RETURN NEW;
END
$function$
""",
    """CREATE OR REPLACE FUNCTION {schema}.guard_run_counts_its_lines()
 RETURNS trigger
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
DECLARE
  last_line bigint;
BEGIN
  SELECT first_line + line_count - 1 INTO last_line FROM {schema}.run_log_chunk
    WHERE project_id = NEW.project_id AND run_id = NEW.run_id ORDER BY first_line DESC LIMIT 1;
  IF NEW.line_count IS DISTINCT FROM coalesce(last_line, 0) THEN
    RAISE EXCEPTION USING ERRCODE = 'FD001', MESSAGE = 'this of run never changes';
  END IF;
  RETURN NEW;
END
$function$
""",
    """CREATE OR REPLACE FUNCTION {schema}.guard_run_log_chunk_contiguous()
 RETURNS trigger
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
DECLARE
  last_line bigint;
  state_now text;
BEGIN
  SELECT state INTO state_now FROM {schema}.run
    WHERE project_id = NEW.project_id AND run_id = NEW.run_id FOR NO KEY UPDATE;
  SELECT first_line + line_count - 1 INTO last_line FROM {schema}.run_log_chunk
    WHERE project_id = NEW.project_id AND run_id = NEW.run_id ORDER BY first_line DESC LIMIT 1;
  IF state_now IS DISTINCT FROM 'RUNNING' OR NEW.first_line IS DISTINCT FROM 1 + coalesce(last_line, 0) THEN
    RAISE EXCEPTION USING ERRCODE = 'FD001', MESSAGE = 'run_log_chunk does not continue its run';
  END IF;
  RETURN NEW;
END
$function$
""",
)
_TRIGGERS = (
    "CREATE TRIGGER log_entry_no_update BEFORE UPDATE ON {schema}.log_entry FOR EACH ROW EXECUTE FUNCTION {schema}.guard_refuse('log_entry is append-only')",
    "CREATE TRIGGER log_entry_no_delete BEFORE DELETE ON {schema}.log_entry FOR EACH ROW EXECUTE FUNCTION {schema}.guard_refuse('log_entry is append-only')",
    "CREATE TRIGGER lock_grant_no_update BEFORE UPDATE ON {schema}.lock_grant FOR EACH ROW EXECUTE FUNCTION {schema}.guard_refuse('lock_grant is append-only')",
    "CREATE TRIGGER lock_grant_no_delete BEFORE DELETE ON {schema}.lock_grant FOR EACH ROW EXECUTE FUNCTION {schema}.guard_refuse('lock_grant is append-only')",
    "CREATE TRIGGER draft_no_update BEFORE UPDATE ON {schema}.draft FOR EACH ROW EXECUTE FUNCTION {schema}.guard_refuse('draft is append-only')",
    "CREATE TRIGGER draft_no_delete BEFORE DELETE ON {schema}.draft FOR EACH ROW EXECUTE FUNCTION {schema}.guard_refuse('draft is append-only')",
    "CREATE TRIGGER draft_change_no_update BEFORE UPDATE ON {schema}.draft_change FOR EACH ROW EXECUTE FUNCTION {schema}.guard_refuse('draft_change is append-only')",
    "CREATE TRIGGER draft_change_no_delete BEFORE DELETE ON {schema}.draft_change FOR EACH ROW EXECUTE FUNCTION {schema}.guard_refuse('draft_change is append-only')",
    "CREATE TRIGGER content_no_update BEFORE UPDATE ON {schema}.content FOR EACH ROW EXECUTE FUNCTION {schema}.guard_refuse('content is append-only')",
    "CREATE TRIGGER content_no_delete BEFORE DELETE ON {schema}.content FOR EACH ROW EXECUTE FUNCTION {schema}.guard_refuse('content is append-only')",
    "CREATE TRIGGER comment_text_no_update BEFORE UPDATE ON {schema}.comment_text FOR EACH ROW EXECUTE FUNCTION {schema}.guard_refuse('comment_text is append-only')",
    "CREATE TRIGGER comment_text_no_delete BEFORE DELETE ON {schema}.comment_text FOR EACH ROW EXECUTE FUNCTION {schema}.guard_refuse('comment_text is append-only')",
    "CREATE TRIGGER run_log_chunk_no_update BEFORE UPDATE ON {schema}.run_log_chunk FOR EACH ROW EXECUTE FUNCTION {schema}.guard_refuse('run_log_chunk is append-only')",
    "CREATE TRIGGER run_log_chunk_no_delete BEFORE DELETE ON {schema}.run_log_chunk FOR EACH ROW EXECUTE FUNCTION {schema}.guard_refuse('run_log_chunk is append-only')",
    "CREATE TRIGGER freeze_no_update BEFORE UPDATE ON {schema}.\"freeze\" FOR EACH ROW EXECUTE FUNCTION {schema}.guard_refuse('freeze is append-only')",
    "CREATE TRIGGER freeze_no_delete BEFORE DELETE ON {schema}.\"freeze\" FOR EACH ROW EXECUTE FUNCTION {schema}.guard_refuse('freeze is append-only')",
    "CREATE TRIGGER head_no_delete BEFORE DELETE ON {schema}.head FOR EACH ROW EXECUTE FUNCTION {schema}.guard_refuse('head is append-only')",
    "CREATE TRIGGER field_no_delete BEFORE DELETE ON {schema}.field FOR EACH ROW EXECUTE FUNCTION {schema}.guard_refuse('field is append-only')",
    "CREATE TRIGGER comment_no_delete BEFORE DELETE ON {schema}.comment FOR EACH ROW EXECUTE FUNCTION {schema}.guard_refuse('comment is append-only')",
    "CREATE TRIGGER run_no_delete BEFORE DELETE ON {schema}.run FOR EACH ROW EXECUTE FUNCTION {schema}.guard_refuse('run is append-only')",
    "CREATE TRIGGER comment_no_truncate BEFORE TRUNCATE ON {schema}.comment FOR EACH STATEMENT EXECUTE FUNCTION {schema}.guard_refuse('comment is never emptied')",
    "CREATE TRIGGER comment_text_no_truncate BEFORE TRUNCATE ON {schema}.comment_text FOR EACH STATEMENT EXECUTE FUNCTION {schema}.guard_refuse('comment_text is never emptied')",
    "CREATE TRIGGER content_no_truncate BEFORE TRUNCATE ON {schema}.content FOR EACH STATEMENT EXECUTE FUNCTION {schema}.guard_refuse('content is never emptied')",
    "CREATE TRIGGER draft_no_truncate BEFORE TRUNCATE ON {schema}.draft FOR EACH STATEMENT EXECUTE FUNCTION {schema}.guard_refuse('draft is never emptied')",
    "CREATE TRIGGER draft_change_no_truncate BEFORE TRUNCATE ON {schema}.draft_change FOR EACH STATEMENT EXECUTE FUNCTION {schema}.guard_refuse('draft_change is never emptied')",
    "CREATE TRIGGER field_no_truncate BEFORE TRUNCATE ON {schema}.field FOR EACH STATEMENT EXECUTE FUNCTION {schema}.guard_refuse('field is never emptied')",
    "CREATE TRIGGER freeze_no_truncate BEFORE TRUNCATE ON {schema}.\"freeze\" FOR EACH STATEMENT EXECUTE FUNCTION {schema}.guard_refuse('freeze is never emptied')",
    "CREATE TRIGGER head_no_truncate BEFORE TRUNCATE ON {schema}.head FOR EACH STATEMENT EXECUTE FUNCTION {schema}.guard_refuse('head is never emptied')",
    "CREATE TRIGGER instance_no_truncate BEFORE TRUNCATE ON {schema}.instance FOR EACH STATEMENT EXECUTE FUNCTION {schema}.guard_refuse('instance is never emptied')",
    "CREATE TRIGGER lock_grant_no_truncate BEFORE TRUNCATE ON {schema}.lock_grant FOR EACH STATEMENT EXECUTE FUNCTION {schema}.guard_refuse('lock_grant is never emptied')",
    "CREATE TRIGGER log_entry_no_truncate BEFORE TRUNCATE ON {schema}.log_entry FOR EACH STATEMENT EXECUTE FUNCTION {schema}.guard_refuse('log_entry is never emptied')",
    "CREATE TRIGGER log_text_no_truncate BEFORE TRUNCATE ON {schema}.log_text FOR EACH STATEMENT EXECUTE FUNCTION {schema}.guard_refuse('log_text is never emptied')",
    "CREATE TRIGGER member_no_truncate BEFORE TRUNCATE ON {schema}.member FOR EACH STATEMENT EXECUTE FUNCTION {schema}.guard_refuse('member is never emptied')",
    "CREATE TRIGGER project_no_truncate BEFORE TRUNCATE ON {schema}.project FOR EACH STATEMENT EXECUTE FUNCTION {schema}.guard_refuse('project is never emptied')",
    "CREATE TRIGGER project_label_no_truncate BEFORE TRUNCATE ON {schema}.project_label FOR EACH STATEMENT EXECUTE FUNCTION {schema}.guard_refuse('project_label is never emptied')",
    "CREATE TRIGGER replica_no_truncate BEFORE TRUNCATE ON {schema}.replica FOR EACH STATEMENT EXECUTE FUNCTION {schema}.guard_refuse('replica is never emptied')",
    "CREATE TRIGGER request_record_no_truncate BEFORE TRUNCATE ON {schema}.request_record FOR EACH STATEMENT EXECUTE FUNCTION {schema}.guard_refuse('request_record is never emptied')",
    "CREATE TRIGGER run_no_truncate BEFORE TRUNCATE ON {schema}.run FOR EACH STATEMENT EXECUTE FUNCTION {schema}.guard_refuse('run is never emptied')",
    "CREATE TRIGGER run_log_chunk_no_truncate BEFORE TRUNCATE ON {schema}.run_log_chunk FOR EACH STATEMENT EXECUTE FUNCTION {schema}.guard_refuse('run_log_chunk is never emptied')",
    "CREATE TRIGGER session_no_truncate BEFORE TRUNCATE ON {schema}.session FOR EACH STATEMENT EXECUTE FUNCTION {schema}.guard_refuse('session is never emptied')",
    "CREATE TRIGGER draft_not_frozen_insert BEFORE INSERT ON {schema}.draft FOR EACH ROW EXECUTE FUNCTION {schema}.guard_not_frozen()",
    "CREATE TRIGGER lock_grant_not_frozen_insert BEFORE INSERT ON {schema}.lock_grant FOR EACH ROW EXECUTE FUNCTION {schema}.guard_not_frozen()",
    "CREATE TRIGGER comment_not_frozen_insert BEFORE INSERT ON {schema}.comment FOR EACH ROW EXECUTE FUNCTION {schema}.guard_not_frozen()",
    "CREATE TRIGGER comment_not_frozen_update BEFORE UPDATE ON {schema}.comment FOR EACH ROW EXECUTE FUNCTION {schema}.guard_not_frozen()",
    "CREATE TRIGGER run_not_frozen_insert BEFORE INSERT ON {schema}.run FOR EACH ROW EXECUTE FUNCTION {schema}.guard_not_frozen()",
    "CREATE TRIGGER run_not_frozen_update BEFORE UPDATE ON {schema}.run FOR EACH ROW EXECUTE FUNCTION {schema}.guard_not_frozen()",
    "CREATE TRIGGER run_log_chunk_not_frozen_insert BEFORE INSERT ON {schema}.run_log_chunk FOR EACH ROW EXECUTE FUNCTION {schema}.guard_not_frozen()",
    "CREATE TRIGGER log_entry_contiguous BEFORE INSERT ON {schema}.log_entry FOR EACH ROW EXECUTE FUNCTION {schema}.guard_log_entry_contiguous()",
    "CREATE TRIGGER draft_contiguous BEFORE INSERT ON {schema}.draft FOR EACH ROW EXECUTE FUNCTION {schema}.guard_draft_contiguous()",
    "CREATE TRIGGER draft_change_under_lock BEFORE INSERT ON {schema}.draft_change FOR EACH ROW EXECUTE FUNCTION {schema}.guard_draft_change_under_lock()",
    "CREATE TRIGGER head_keeps BEFORE UPDATE ON {schema}.head FOR EACH ROW WHEN (((new.log IS DISTINCT FROM old.log) OR (new.head_version < old.head_version) OR (new.last_sequence < old.last_sequence))) EXECUTE FUNCTION {schema}.guard_refuse('this of head never changes')",
    "CREATE TRIGGER head_stays_frozen BEFORE UPDATE ON {schema}.head FOR EACH ROW WHEN (((old.state = 'FROZEN'::text) AND ((new.state IS DISTINCT FROM old.state) OR (new.head_version IS DISTINCT FROM old.head_version) OR (new.current_draft_id IS DISTINCT FROM old.current_draft_id)))) EXECUTE FUNCTION {schema}.guard_refuse('the project is frozen')",
    "CREATE TRIGGER field_fence_rises BEFORE UPDATE ON {schema}.field FOR EACH ROW WHEN (((new.project_id IS DISTINCT FROM old.project_id) OR (new.name IS DISTINCT FROM old.name) OR (new.fence < old.fence) OR (new.fence > (old.fence + 1)) OR ((new.fence > old.fence) AND ((old.session_id IS NOT NULL) OR (new.session_id IS NULL))) OR ((new.fence = old.fence) AND (new.session_id IS NOT NULL) AND ((new.session_id IS DISTINCT FROM old.session_id) OR (new.lock_id IS DISTINCT FROM old.lock_id) OR (new.holder_subject IS DISTINCT FROM old.holder_subject))))) EXECUTE FUNCTION {schema}.guard_refuse('a field changes hands only by a new grant of a free field')",
    "CREATE TRIGGER replica_stays_fenced BEFORE UPDATE ON {schema}.replica FOR EACH ROW WHEN (((old.state = 'FENCED'::text) OR ((old.state = 'LEFT'::text) AND (new.state = 'LIVE'::text)) OR (new.renew_count < old.renew_count) OR (new.replica_id IS DISTINCT FROM old.replica_id))) EXECUTE FUNCTION {schema}.guard_refuse('a server that has left or was given up does not come back')",
    "CREATE TRIGGER comment_keeps BEFORE UPDATE ON {schema}.comment FOR EACH ROW WHEN (((new.project_id IS DISTINCT FROM old.project_id) OR (new.comment_id IS DISTINCT FROM old.comment_id) OR (new.thread_id IS DISTINCT FROM old.thread_id) OR (new.kind IS DISTINCT FROM old.kind) OR (new.version_number IS DISTINCT FROM old.version_number) OR (new.draft_id IS DISTINCT FROM old.draft_id) OR (new.field IS DISTINCT FROM old.field) OR (new.start_line IS DISTINCT FROM old.start_line) OR (new.end_line IS DISTINCT FROM old.end_line) OR (new.quote IS DISTINCT FROM old.quote) OR (new.field_sha256 IS DISTINCT FROM old.field_sha256) OR (new.author IS DISTINCT FROM old.author) OR (new.author_subject IS DISTINCT FROM old.author_subject) OR (new.run_id IS DISTINCT FROM old.run_id) OR (new.create_time_us IS DISTINCT FROM old.create_time_us) OR (new.revision IS DISTINCT FROM (old.revision + 1)) OR (new.text_revision < old.text_revision) OR (old.delete_time_us > 0))) EXECUTE FUNCTION {schema}.guard_refuse('this of comment never changes')",
    r"CREATE TRIGGER run_begins BEFORE INSERT ON {schema}.run FOR EACH ROW WHEN (((new.state IS DISTINCT FROM 'RUNNING'::text) OR (new.finish_time_us IS DISTINCT FROM 0) OR (new.line_count IS DISTINCT FROM 0) OR (new.log_bytes IS DISTINCT FROM 0) OR (new.log_sha256 IS DISTINCT FROM '\x'::bytea) OR (new.results IS DISTINCT FROM '[]'::text))) EXECUTE FUNCTION {schema}.guard_refuse('a run begins without lines and without an end')",
    r"CREATE TRIGGER run_keeps BEFORE UPDATE ON {schema}.run FOR EACH ROW WHEN (((new.project_id IS DISTINCT FROM old.project_id) OR (new.run_id IS DISTINCT FROM old.run_id) OR (new.version_number IS DISTINCT FROM old.version_number) OR (new.content_sha256 IS DISTINCT FROM old.content_sha256) OR (new.harness IS DISTINCT FROM old.harness) OR (new.labels IS DISTINCT FROM old.labels) OR (new.attempt IS DISTINCT FROM old.attempt) OR (new.starter IS DISTINCT FROM old.starter) OR (new.start_time_us IS DISTINCT FROM old.start_time_us) OR (old.state <> 'RUNNING'::text) OR ((new.state = 'RUNNING'::text) AND ((new.log_sha256 IS DISTINCT FROM '\x'::bytea) OR (new.results IS DISTINCT FROM '[]'::text))))) EXECUTE FUNCTION {schema}.guard_refuse('this of run never changes')",
    "CREATE TRIGGER run_counts_its_lines BEFORE UPDATE ON {schema}.run FOR EACH ROW EXECUTE FUNCTION {schema}.guard_run_counts_its_lines()",
    "CREATE TRIGGER run_log_chunk_contiguous BEFORE INSERT ON {schema}.run_log_chunk FOR EACH ROW EXECUTE FUNCTION {schema}.guard_run_log_chunk_contiguous()",
)
