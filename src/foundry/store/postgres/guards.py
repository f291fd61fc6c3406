"""The promises of ``foundry.store.sqlite.guards`` on Postgres: triggers that bite whoever writes, and however.

They are ENABLE ALWAYS, so ``session_replication_role`` does not switch them off, and their functions look up names in
our schema only. Nothing is replaced here as on SQLite: ``ON CONFLICT DO UPDATE`` and ``MERGE`` update, and an update is
guarded. Where a guard reads another row that a writer may change meanwhile, it locks it, as honest writers have before.

Each definition below is word for word what Postgres says of it, so that comparing is enough to find it altered.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from foundry.store.guarded import APPEND_ONLY, FROZEN
from foundry.store.postgres.roles import SCHEMA
from foundry.store.tables import metadata

if TYPE_CHECKING:
    import asyncpg

#: SQLSTATE of everything that a guard refuses.
REFUSED = "FD001"
#: Rows of these are never deleted.
_KEPT = ("head", "field", "comment", "run")
#: Tables whose name Postgres puts in quotes.
_KEYWORDS = {"freeze": '"freeze"'}
_COMMENT_KEEPS = (
    "project_id",
    "comment_id",
    "thread_id",
    "kind",
    "version_number",
    "draft_id",
    "field",
    "start_line",
    "end_line",
    "quote",
    "field_sha256",
    "author",
    "author_subject",
    "run_id",
    "create_time_us",
)
_RUN_KEEPS = (
    "project_id",
    "run_id",
    "version_number",
    "content_sha256",
    "harness",
    "labels",
    "attempt",
    "starter",
    "start_time_us",
)
_RUN_BEGINS = {
    "state": "'RUNNING'::text",
    "finish_time_us": "0",
    "line_count": "0",
    "log_bytes": "0",
    "log_sha256": r"'\x'::bytea",
    "results": "'[]'::text",
}


@dataclass(frozen=True, slots=True)
class Guard:
    """A trigger; ``{schema}`` in its SQL stands for our schema, quoted as it has to be.

    Attributes:
        table: The table it is on.
        sql: Its definition, as ``pg_get_triggerdef`` writes it where no schema but ``pg_catalog`` is searched.
    """

    table: str
    sql: str


def _any(*conditions: str) -> str:
    return " OR ".join(f"({condition})" for condition in conditions)


def _changed(*columns: str) -> tuple[str, ...]:
    return tuple(f"new.{column} IS DISTINCT FROM old.{column}" for column in columns)


def _trigger(name: str, verb: str, table: str, call: str, when: str = "") -> tuple[str, Guard]:
    each = "STATEMENT" if verb == "TRUNCATE" else "ROW"
    condition = f"WHEN (({when})) " if when else ""
    return name, Guard(
        table,
        f"CREATE TRIGGER {name} BEFORE {verb} ON {{schema}}.{_KEYWORDS.get(table, table)} FOR EACH {each} {condition}"
        f"EXECUTE FUNCTION {{schema}}.{call}",
    )


def _refuse(table: str, verb: str, sentence: str = "") -> tuple[str, Guard]:
    sentence = sentence or f"{table} is append-only"
    return _trigger(f"{table}_no_{verb.lower()}", verb, table, f"guard_refuse('{sentence}')")


def _function(name: str, body: str) -> tuple[str, str]:
    return name, (
        f"CREATE OR REPLACE FUNCTION {{schema}}.{name}()\n RETURNS trigger\n LANGUAGE plpgsql\n"
        f" SET search_path TO 'pg_catalog', 'pg_temp'\nAS $function$\n{body}\n$function$\n"
    )


def _refusing(declared: str, probe: str, refused: str, sentence: str) -> str:
    """Body of a function that reads a row and refuses on a condition."""
    return (
        f"DECLARE\n  {declared};\nBEGIN\n  {probe};\n  IF {refused} THEN\n"
        f"    RAISE EXCEPTION USING ERRCODE = '{REFUSED}', MESSAGE = '{sentence}';\n  END IF;\n  RETURN NEW;\nEND"
    )


#: The lock makes a seal that is under way wait, or be waited for.
_STATE = (
    "SELECT state INTO state_now FROM {schema}.run\n"
    "    WHERE project_id = NEW.project_id AND run_id = NEW.run_id FOR NO KEY UPDATE"
)
_LAST_LINE = (
    "SELECT first_line + line_count - 1 INTO last_line FROM {schema}.run_log_chunk\n"
    "    WHERE project_id = NEW.project_id AND run_id = NEW.run_id ORDER BY first_line DESC LIMIT 1"
)

#: Name of each function and the SQL that makes it, as ``pg_get_functiondef`` writes it.
POSTGRES_FUNCTIONS: dict[str, str] = dict(
    (
        _function(
            "guard_refuse",
            f"BEGIN\n  RAISE EXCEPTION USING ERRCODE = '{REFUSED}', MESSAGE = TG_ARGV[0];\nEND",
        ),
        _function(
            "guard_not_frozen",
            _refusing(
                "state_now text",
                # The lock makes a freeze that is under way wait, or be waited for.
                "SELECT state INTO state_now FROM {schema}.head WHERE log = NEW.project_id FOR SHARE",
                "state_now = 'FROZEN'",
                "the project is frozen",
            ),
        ),
        _function(
            "guard_log_entry_contiguous",
            _refusing(
                "last record",
                "SELECT sequence, leaf INTO last FROM {schema}.log_entry\n"
                "    WHERE log = NEW.log ORDER BY sequence DESC LIMIT 1",
                "NEW.sequence IS DISTINCT FROM 1 + coalesce(last.sequence, 0)\n"
                "    OR NEW.prev IS DISTINCT FROM coalesce(last.leaf, decode(repeat('00', 32), 'hex'))",
                "log_entry does not continue its log",
            ),
        ),
        _function(
            "guard_draft_contiguous",
            _refusing(
                "last bigint",
                "SELECT version_number INTO last FROM {schema}.draft\n"
                "    WHERE project_id = NEW.project_id ORDER BY version_number DESC LIMIT 1",
                "NEW.version_number IS DISTINCT FROM 1 + coalesce(last, 0)",
                "draft does not continue its project",
            ),
        ),
        _function(
            "guard_draft_change_under_lock",
            _refusing(
                "held boolean",
                "SELECT session_id = NEW.session_id AND holder_subject = NEW.subject AND fence = NEW.fence\n"
                "    AND lock_id = NEW.lock_id AND last_changed_version = NEW.version_number\n"
                # What a version changed is written before the head shows the version, and nothing is added to it later.
                "    AND NEW.version_number > (SELECT head_version FROM {schema}.head WHERE log = NEW.project_id)\n"
                "    INTO held FROM {schema}.field WHERE project_id = NEW.project_id AND name = NEW.field",
                "held IS NOT TRUE",
                "draft_change is not made under its lock",
            ),
        ),
        _function(
            "guard_run_counts_its_lines",
            _refusing(
                "last_line bigint",
                _LAST_LINE,
                "NEW.line_count IS DISTINCT FROM coalesce(last_line, 0)",
                "this of run never changes",
            ),
        ),
        _function(
            "guard_run_log_chunk_contiguous",
            _refusing(
                "last_line bigint;\n  state_now text",
                f"{_STATE};\n  {_LAST_LINE}",
                "state_now IS DISTINCT FROM 'RUNNING' OR NEW.first_line IS DISTINCT FROM 1 + coalesce(last_line, 0)",
                "run_log_chunk does not continue its run",
            ),
        ),
    )
)

#: Name of each guard, and the guard.
POSTGRES_GUARDS: dict[str, Guard] = dict(
    (
        *(_refuse(table, verb) for table in APPEND_ONLY for verb in ("UPDATE", "DELETE")),
        *(_refuse(table, "DELETE") for table in _KEPT),
        *(_refuse(table, "TRUNCATE", f"{table} is never emptied") for table in sorted(metadata.tables)),
        *(_trigger(f"{table}_not_frozen_{verb.lower()}", verb, table, "guard_not_frozen()") for table, verb in FROZEN),
        _trigger("log_entry_contiguous", "INSERT", "log_entry", "guard_log_entry_contiguous()"),
        _trigger("draft_contiguous", "INSERT", "draft", "guard_draft_contiguous()"),
        _trigger("draft_change_under_lock", "INSERT", "draft_change", "guard_draft_change_under_lock()"),
        _trigger(
            "head_keeps",
            "UPDATE",
            "head",
            "guard_refuse('this of head never changes')",
            _any(*_changed("log"), "new.head_version < old.head_version", "new.last_sequence < old.last_sequence"),
        ),
        _trigger(
            "head_stays_frozen",
            "UPDATE",
            "head",
            "guard_refuse('the project is frozen')",
            f"(old.state = 'FROZEN'::text) AND ({_any(*_changed('state', 'head_version', 'current_draft_id'))})",
        ),
        _trigger(
            "field_fence_rises",
            "UPDATE",
            "field",
            "guard_refuse('a field changes hands only by a new grant of a free field')",
            _any(
                *_changed("project_id", "name"),
                "new.fence < old.fence",
                "new.fence > (old.fence + 1)",
                "(new.fence > old.fence) AND ((old.session_id IS NOT NULL) OR (new.session_id IS NULL))",
                "(new.fence = old.fence) AND (new.session_id IS NOT NULL) AND "
                f"({_any(*_changed('session_id', 'lock_id', 'holder_subject'))})",
            ),
        ),
        _trigger(
            "replica_stays_fenced",
            "UPDATE",
            "replica",
            "guard_refuse('a server that has left or was given up does not come back')",
            _any(
                "old.state = 'FENCED'::text",
                "(old.state = 'LEFT'::text) AND (new.state = 'LIVE'::text)",
                "new.renew_count < old.renew_count",
                *_changed("replica_id"),
            ),
        ),
        _trigger(
            "comment_keeps",
            "UPDATE",
            "comment",
            "guard_refuse('this of comment never changes')",
            _any(
                *_changed(*_COMMENT_KEEPS),
                "new.revision IS DISTINCT FROM (old.revision + 1)",
                "new.text_revision < old.text_revision",
                "old.delete_time_us > 0",
            ),
        ),
        _trigger(
            "run_begins",
            "INSERT",
            "run",
            "guard_refuse('a run begins without lines and without an end')",
            _any(*(f"new.{column} IS DISTINCT FROM {value}" for column, value in _RUN_BEGINS.items())),
        ),
        _trigger(
            "run_keeps",
            "UPDATE",
            "run",
            "guard_refuse('this of run never changes')",
            _any(
                *_changed(*_RUN_KEEPS),
                "old.state <> 'RUNNING'::text",
                r"(new.state = 'RUNNING'::text) AND ((new.log_sha256 IS DISTINCT FROM '\x'::bytea)"
                " OR (new.results IS DISTINCT FROM '[]'::text))",
            ),
        ),
        _trigger("run_counts_its_lines", "UPDATE", "run", "guard_run_counts_its_lines()"),
        _trigger(
            "run_log_chunk_contiguous",
            "INSERT",
            "run_log_chunk",
            "guard_run_log_chunk_contiguous()",
        ),
    )
)

_FUNCTIONS = """
SELECT proname, pg_get_functiondef(oid) FROM pg_proc WHERE prokind = 'f' AND pronamespace = $1::text::regnamespace
"""
_TRIGGERS = """
SELECT tgname, relname, tgenabled = 'A', pg_get_triggerdef(t.oid) FROM pg_trigger t JOIN pg_class c ON c.oid = tgrelid
WHERE relnamespace = $1::text::regnamespace AND NOT tgisinternal
"""
#: How Postgres writes a definition depends on these; it would leave out a schema that is searched anyway.
_AS_WRITTEN_HERE = """
SET LOCAL search_path TO pg_catalog; SET LOCAL quote_all_identifiers TO off; SET LOCAL bytea_output TO hex;
SET LOCAL standard_conforming_strings TO on
"""


async def missing_postgres_guards(connection: asyncpg.Connection[Any], *, exact: bool = True) -> list[str]:
    """Names of guards that are absent, switched off, or not the expected ones; those of their functions too.

    Args:
        connection: Its search path finds our tables. A transaction that it is in was begun by asyncpg.
        exact: False for a schema of a newer version: what is there may be another definition then.
    """
    schema = await connection.fetchval(SCHEMA)
    if schema is None:
        return [*POSTGRES_FUNCTIONS, *POSTGRES_GUARDS]
    transaction = connection.transaction()
    await transaction.start()
    try:
        await connection.execute(_AS_WRITTEN_HERE)
        schema = await connection.fetchval("SELECT $1::text::regnamespace::text", schema)
        functions = {row[0]: row[1] for row in await connection.fetch(_FUNCTIONS, schema)}
        triggers = {row[0]: tuple(row)[1:] for row in await connection.fetch(_TRIGGERS, schema)}
    finally:
        await transaction.rollback()
    missing = []
    for name, sql in POSTGRES_FUNCTIONS.items():
        if name not in functions or (exact and functions[name] != sql.replace("{schema}", schema)):
            missing.append(name)
    for name, guard in POSTGRES_GUARDS.items():
        table, always, sql = triggers.get(name, ("", False, ""))
        if table != guard.table or not always or (exact and sql != guard.sql.replace("{schema}", schema)):
            missing.append(name)
    return missing
