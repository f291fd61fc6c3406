"""Database rules that make the log, the versions and the grants append-only, whatever the program does.

An UPDATE or DELETE trigger alone is not enough on SQLite: ``INSERT OR REPLACE`` slips past both. So an entry's insert
must also name the next sequence number and the leaf of the entry before, and a version's change must be made under the
lock that its field row shows; and no insert may meet an existing row in any key, be it a unique column or the rowid.
The server checks the guards at start and refuses to serve without them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from foundry.store.guarded import APPEND_ONLY, FROZEN

if TYPE_CHECKING:
    from foundry.store.sqlite.connection import SqliteConnection


def _refuse(table: str, verb: str) -> str:
    return (
        f"CREATE TRIGGER {table}_no_{verb.lower()} BEFORE {verb} ON {table} "
        f"BEGIN SELECT RAISE(ABORT, '{table} is append-only'); END"
    )


def _refuse_replace(table: str, *key: str) -> str:
    same = " AND ".join(f"{column} = NEW.{column}" for column in key)
    exists = f"EXISTS (SELECT 1 FROM {table} WHERE {same})"  # noqa: S608 - names of our own tables
    refuse = f"RAISE(ABORT, '{table} is append-only')"
    return f"CREATE TRIGGER {table}_no_replace BEFORE INSERT ON {table} WHEN {exists} BEGIN SELECT {refuse}; END"


def _refuse_frozen(table: str, verb: str) -> str:
    frozen = "EXISTS (SELECT 1 FROM head WHERE log = NEW.project_id AND state = 'FROZEN')"
    return (
        f"CREATE TRIGGER {table}_not_frozen_{verb.lower()} BEFORE {verb} ON {table} WHEN {frozen} "
        "BEGIN SELECT RAISE(ABORT, 'the project is frozen'); END"
    )


def _refuse_change(table: str, *columns: str, when: str = "") -> str:
    """What never changes in a row that otherwise does."""
    new, old = (", ".join(f"{row}.{column}" for column in columns) for row in ("NEW", "OLD"))
    changed = f"({new}) IS NOT ({old})" + (f" OR {when}" if when else "")
    return (
        f"CREATE TRIGGER {table}_keeps BEFORE UPDATE ON {table} WHEN {changed} "
        f"BEGIN SELECT RAISE(ABORT, 'this of {table} never changes'); END"
    )


#: Name of each guard and the SQL that makes it.
SQLITE_GUARDS: dict[str, str] = {
    **{f"{table}_no_{verb.lower()}": _refuse(table, verb) for table in APPEND_ONLY for verb in ("UPDATE", "DELETE")},
    **{f"{table}_not_frozen_{verb.lower()}": _refuse_frozen(table, verb) for table, verb in FROZEN},
    "head_no_delete": _refuse("head", "DELETE"),
    "head_no_replace": _refuse_replace("head", "log"),
    "head_keeps": _refuse_change(
        "head", "log", when="NEW.head_version < OLD.head_version OR NEW.last_sequence < OLD.last_sequence"
    ),
    "head_stays_frozen": (
        "CREATE TRIGGER head_stays_frozen BEFORE UPDATE ON head WHEN OLD.state = 'FROZEN' "
        "AND (NEW.state, NEW.head_version, NEW.current_draft_id) IS NOT "
        "(OLD.state, OLD.head_version, OLD.current_draft_id) "
        "BEGIN SELECT RAISE(ABORT, 'the project is frozen'); END"
    ),
    "comment_no_delete": _refuse("comment", "DELETE"),
    "comment_no_replace": _refuse_replace("comment", "project_id", "comment_id"),
    "comment_keeps": _refuse_change(
        "comment",
        *("project_id", "comment_id", "thread_id", "kind", "version_number", "draft_id", "field", "start_line"),
        *("end_line", "quote", "field_sha256", "author", "author_subject", "run_id", "create_time_us"),
        when="NEW.revision IS NOT OLD.revision + 1 OR NEW.text_revision < OLD.text_revision OR OLD.delete_time_us > 0",
    ),
    "comment_text_no_replace": _refuse_replace("comment_text", "project_id", "comment_id", "revision"),
    "run_begins": (
        "CREATE TRIGGER run_begins BEFORE INSERT ON run "
        "WHEN (NEW.state, NEW.finish_time_us, NEW.line_count, NEW.log_bytes, NEW.log_sha256, NEW.results) "
        "IS NOT ('RUNNING', 0, 0, 0, x'', '[]') "
        "BEGIN SELECT RAISE(ABORT, 'a run begins without lines and without an end'); END"
    ),
    "run_no_delete": _refuse("run", "DELETE"),
    "run_no_replace": _refuse_replace("run", "project_id", "run_id"),
    "run_keeps": _refuse_change(
        "run",
        *("project_id", "run_id", "version_number", "content_sha256", "harness", "labels", "attempt", "starter"),
        "start_time_us",
        when="OLD.state <> 'RUNNING' "
        "OR NEW.state = 'RUNNING' AND (NEW.log_sha256, NEW.results) IS NOT (x'', '[]') "
        "OR NEW.line_count < OLD.line_count OR NEW.line_count IS NOT coalesce((SELECT "
        "first_line + line_count - 1 FROM run_log_chunk WHERE project_id = NEW.project_id AND run_id = NEW.run_id "
        "ORDER BY first_line DESC LIMIT 1), 0)",
    ),
    "run_log_chunk_contiguous": (
        "CREATE TRIGGER run_log_chunk_contiguous BEFORE INSERT ON run_log_chunk "
        "WHEN NEW.first_line IS NOT 1 + coalesce((SELECT first_line + line_count - 1 FROM run_log_chunk "
        "WHERE project_id = NEW.project_id AND run_id = NEW.run_id ORDER BY first_line DESC LIMIT 1), 0) "
        "OR NOT EXISTS (SELECT 1 FROM run WHERE project_id = NEW.project_id AND run_id = NEW.run_id "
        "AND state = 'RUNNING') OR EXISTS (SELECT 1 FROM run_log_chunk WHERE rowid = NEW.rowid) "
        "BEGIN SELECT RAISE(ABORT, 'run_log_chunk does not continue its run'); END"
    ),
    "freeze_no_replace": _refuse_replace("freeze", "project_id"),
    "log_entry_contiguous": (
        "CREATE TRIGGER log_entry_contiguous BEFORE INSERT ON log_entry "
        "WHEN NEW.sequence IS NOT 1 + coalesce((SELECT max(sequence) FROM log_entry WHERE log = NEW.log), 0) "
        "OR NEW.prev IS NOT coalesce((SELECT leaf FROM log_entry WHERE log = NEW.log ORDER BY sequence DESC LIMIT 1), "
        "zeroblob(32)) "
        "BEGIN SELECT RAISE(ABORT, 'log_entry does not continue its log'); END"
    ),
    "lock_grant_no_replace": _refuse_replace("lock_grant", "project_id", "field", "fence"),
    "draft_contiguous": (
        "CREATE TRIGGER draft_contiguous BEFORE INSERT ON draft "
        "WHEN NEW.version_number IS NOT 1 + coalesce((SELECT max(version_number) FROM draft "
        "WHERE project_id = NEW.project_id), 0) "
        "BEGIN SELECT RAISE(ABORT, 'draft does not continue its project'); END"
    ),
    "draft_no_replace": _refuse_replace("draft", "draft_id"),
    "draft_change_no_replace": _refuse_replace("draft_change", "project_id", "field", "version_number"),
    "draft_change_under_lock": (
        "CREATE TRIGGER draft_change_under_lock BEFORE INSERT ON draft_change "
        "WHEN NOT EXISTS (SELECT 1 FROM field WHERE project_id = NEW.project_id AND name = NEW.field "
        "AND session_id = NEW.session_id AND holder_subject = NEW.subject AND fence = NEW.fence "
        "AND lock_id = NEW.lock_id AND last_changed_version = NEW.version_number) "
        # What a version changed is written before the head shows the version, and nothing is added to it later.
        "OR NEW.version_number <= (SELECT head_version FROM head WHERE log = NEW.project_id) "
        "BEGIN SELECT RAISE(ABORT, 'draft_change is not made under its lock'); END"
    ),
    "content_no_replace": (
        "CREATE TRIGGER content_no_replace BEFORE INSERT ON content WHEN EXISTS (SELECT 1 FROM content "
        "WHERE project_id = NEW.project_id AND sha256 = NEW.sha256 AND data IS NOT NEW.data OR rowid = NEW.rowid) "
        "BEGIN SELECT RAISE(ABORT, 'content is append-only'); END"
    ),
    "field_no_delete": _refuse("field", "DELETE"),
    "field_no_replace": _refuse_replace("field", "project_id", "name"),
    "field_fence_rises": (
        "CREATE TRIGGER field_fence_rises BEFORE UPDATE ON field "
        "WHEN (NEW.project_id, NEW.name) IS NOT (OLD.project_id, OLD.name) "
        "OR NEW.fence < OLD.fence OR NEW.fence > OLD.fence + 1 "
        "OR (NEW.fence > OLD.fence AND (OLD.session_id IS NOT NULL OR NEW.session_id IS NULL)) "
        "OR (NEW.fence = OLD.fence AND NEW.session_id IS NOT NULL "
        "AND (NEW.session_id, NEW.lock_id, NEW.holder_subject) IS NOT "
        "(OLD.session_id, OLD.lock_id, OLD.holder_subject)) "
        "BEGIN SELECT RAISE(ABORT, 'a field changes hands only by a new grant of a free field'); END"
    ),
}


def missing_sqlite_guards(connection: SqliteConnection) -> list[str]:
    """Names of guards that are absent, or whose SQL is not the expected one."""
    found = {
        row[0]: row[1] for row in connection.rows_sql("SELECT name, sql FROM sqlite_master WHERE type = 'trigger'")
    }
    return [name for name, sql in SQLITE_GUARDS.items() if found.get(name) != sql]
