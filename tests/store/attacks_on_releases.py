"""Attacks on comments and releases: each is what its guard alone refuses.

Where an attack takes several statements, all but the last are what nothing forbids.
"""

from __future__ import annotations

from typing import Final

from foundry.store.tables import metadata

#: What stands for what in the SQL of the attacks: the project that goes on, the one that was released, their rows.
SHORT: Final = {
    "@task": "project_id = @open AND kind = 'TASK'",
    "@deleted": "project_id = @open AND delete_time_us > 0",
    "@running": "project_id = @open AND state = 'RUNNING'",
    # A project in which everything goes on is frozen behind everybody's back.
    "@freezing": "UPDATE head SET state = 'FROZEN' WHERE log = @open",
    "@open": "(SELECT project_id FROM draft WHERE version_number = 3)",
    "@frozen": "(SELECT project_id FROM freeze)",
}


def spelt_out(sql: str) -> str:
    """The SQL that an attack stands for."""
    for short, meaning in SHORT.items():
        sql = sql.replace(short, meaning)
    return sql


def copy_of(table: str, where: str, verb: str = "INSERT", **values: str) -> str:
    """The insert of a row like that which is there, with other values."""
    columns = [values.get(column.name, column.name) for column in metadata.tables[table].columns]
    return f"{verb} INTO {table} SELECT {', '.join(columns)} FROM {table} WHERE {where}"  # noqa: S608 - our own names


#: A run as it begins.
FRESH_RUN: Final = {
    "state": "'RUNNING'",
    "finish_time_us": "0",
    "line_count": "0",
    "log_bytes": "0",
    "log_sha256": "x''",
    "results": "'[]'",
}


def changed(**values: str) -> str:
    """The update of a comment with such values, which counts as a change like any other."""
    told = ", ".join(f"{column} = {value}" for column, value in {"revision": "revision + 1", **values}.items())
    return f"UPDATE comment SET {told} WHERE @task"  # noqa: S608 - constants of this file


#: What never changes in a comment, with something else to put there.
KEPT: Final = {
    "project_id": "'elsewhere'",
    "comment_id": "'x'",
    "thread_id": "'x'",
    "kind": "'NOTE'",
    "version_number": "2",
    "draft_id": "'x'",
    "field": "'topology'",
    "start_line": "2",
    "end_line": "2",
    "quote": "'never said'",
    "field_sha256": "zeroblob(32)",
    "author": "replace(author, 'alice', 'mallory')",
    "author_subject": "'mallory'",
    "run_id": "''",
    "create_time_us": "0",
}

ATTACKS_ON_COMMENTS: Final[dict[str, list[str]]] = {
    "comment_no_delete": [
        "DELETE FROM comment WHERE @task",
        "DELETE FROM comment WHERE @deleted",
    ],
    "comment_no_replace": [copy_of("comment", "@task", "INSERT OR REPLACE", author_subject="'mallory'")],
    "comment_keeps": [
        *(changed(**{column: value}) for column, value in KEPT.items()),
        # Unnoticed, as if several changes were one, and back to an earlier one.
        changed(revision="revision", assignee="'mallory'"),
        changed(revision="revision + 2", assignee="'mallory'"),
        changed(revision="revision - 1", assignee="'mallory'"),
        changed(text_revision="text_revision - 1"),
        # A deleted comment comes back; one comment takes the place of another.
        "UPDATE comment SET delete_time_us = 0, revision = revision + 1 WHERE @deleted",
        changed(comment_id="(SELECT comment_id FROM comment WHERE @deleted)").replace("UPDATE", "UPDATE OR REPLACE", 1),
    ],
    "comment_text_no_update": ["UPDATE comment_text SET text = 'never said'"],
    "comment_text_no_delete": ["DELETE FROM comment_text WHERE revision = 1", "DELETE FROM comment_text"],
    "comment_text_no_replace": [
        copy_of("comment_text", "project_id = @open", "INSERT OR REPLACE", text="'never said'")
    ],
}

ATTACKS_ON_RELEASES: Final[dict[str, list[str]]] = {
    "freeze_no_update": [
        "UPDATE freeze SET fingerprint = zeroblob(32)",
        "UPDATE freeze SET version_number = 2",
        "UPDATE OR REPLACE freeze SET project_id = 'elsewhere'",
    ],
    "freeze_no_delete": ["DELETE FROM freeze"],
    "freeze_no_replace": [copy_of("freeze", "true", "INSERT OR REPLACE", log_leaf="zeroblob(32)")],
    "head_no_delete": ["DELETE FROM head WHERE state = 'FROZEN'", "DELETE FROM head WHERE log = 'instance'"],
    "head_no_replace": [
        copy_of("head", "state = 'FROZEN'", "INSERT OR REPLACE", state="'ACTIVE'"),
        copy_of("head", "state = 'FROZEN'", "INSERT OR REPLACE", head_version="9"),
    ],
    "head_keeps": [
        # A frozen project without a head is none to the other guards; neither is one with another's head.
        "UPDATE head SET log = 'hidden' WHERE state = 'FROZEN'",
        "UPDATE OR REPLACE head SET log = @frozen WHERE log = @open",
        # One that goes back lets something be added to what was saved, or told, long ago.
        "UPDATE head SET head_version = head_version - 1 WHERE log = @open",
        "UPDATE head SET last_sequence = last_sequence - 1 WHERE log = @open",
    ],
    "head_stays_frozen": [
        "UPDATE head SET state = 'ACTIVE' WHERE state = 'FROZEN'",
        "UPDATE head SET state = 'IN_REVIEW', last_sequence = last_sequence + 1 WHERE state = 'FROZEN'",
        "UPDATE head SET head_version = head_version + 1 WHERE state = 'FROZEN'",
        "UPDATE head SET current_draft_id = 'x' WHERE state = 'FROZEN'",
    ],
    "draft_not_frozen_insert": [
        copy_of("draft", "project_id = @frozen", version_number="2", draft_id="'x'", parent_version="1"),
    ],
    "draft_change_under_lock": [
        # The released version itself gets one more field, under a lock that was made for it.
        copy_of(
            "field",
            "project_id = @frozen AND name = 'system_prompt'",
            name="'backdoor'",
            last_changed_version="1",
            fence="1",
            lock_id="'x'",
            session_id="'s'",
            holder_subject="'mallory'",
        )
        + ";"
        + copy_of(
            "draft_change",
            "project_id = @frozen AND field = 'system_prompt'",
            field="'backdoor'",
            lock_id="'x'",
            fence="1",
            session_id="'s'",
            subject="'mallory'",
        ),
    ],
    "lock_grant_not_frozen_insert": [
        copy_of("lock_grant", "project_id = @frozen AND field = 'system_prompt'", fence="fence + 1"),
    ],
    "comment_not_frozen_insert": [copy_of("comment", "project_id = @frozen", comment_id="'x' || comment_id")],
    "comment_not_frozen_update": [
        "UPDATE comment SET state = 'CLOSED', revision = revision + 1 WHERE project_id = @frozen AND kind = 'TASK'",
    ],
    "run_not_frozen_insert": [copy_of("run", "project_id = @frozen", run_id="'x'", **FRESH_RUN)],
    "run_not_frozen_update": ["@freezing; UPDATE run SET state = 'PASSED' WHERE @running"],
    "run_log_chunk_not_frozen_insert": [
        (
            "@freezing; INSERT INTO run_log_chunk SELECT project_id, run_id, line_count + 1, 1, x'7b7d0a' FROM run"
            " WHERE @running"
        ),
    ],
}
