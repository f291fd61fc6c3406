"""Attacks on the history: each is what its guard alone refuses, and nothing else in the database.

Where an attack takes several statements, all but the last are what nothing forbids.
"""

from __future__ import annotations

from typing import Final

from foundry.store.tables import metadata

_HASH: Final = "sha256('mallory')"
_RUNNING: Final = "run_id = 'running'"
_PASSED: Final = "run_id = 'passed'"
#: Without lines, so that no row of its console tells where it was.
_SILENT: Final = "run_id = 'silent'"
_TASK: Final = "project_id = 'open' AND comment_id = 'task'"


def quoted(table: str) -> str:
    return f'"{table}"' if table == "freeze" else table


def copy_of(table: str, where: str, **values: str) -> str:
    """The insert of a row like that which is there, with other values."""
    columns = [values.get(column.name, column.name) for column in metadata.tables[table].columns]
    return f"INSERT INTO {quoted(table)} SELECT {', '.join(columns)} FROM {quoted(table)} WHERE {where}"  # noqa: S608


def in_place_of(table: str, where: str, **values: str) -> str:
    """The insert of a row in the place of that which is there."""
    key = ", ".join(column.name for column in metadata.tables[table].primary_key.columns)
    told = ", ".join(f"{column} = EXCLUDED.{column}" for column in values)
    return copy_of(table, where, **values) + f" ON CONFLICT ({key}) DO UPDATE SET {told}"


def merged_into(table: str, change: str) -> str:
    """The same change of all rows, by MERGE."""
    same = " AND ".join(f"t.{key.name} = s.{key.name}" for key in metadata.tables[table].primary_key.columns)
    return f"MERGE INTO {quoted(table)} t USING {quoted(table)} s ON {same} WHEN MATCHED THEN {change}"


def changed(table: str, where: str, **values: str) -> str:
    """The update of rows with such values."""
    told = ", ".join(f"{column} = {value}" for column, value in values.items())
    return f"UPDATE {quoted(table)} SET {told} WHERE {where}"  # noqa: S608 - constants of this file


#: Of each append-only table a column that is no key, and a false value for it.
FORGED: Final = {
    "log_entry": ("actor_subject", "'mallory'"),
    "lock_grant": ("lock_id", "'mallory'"),
    "draft": ("message", "'nothing to see here'"),
    "draft_change": ("after_sha256", _HASH),
    "content": ("data", "'forged'"),
    "comment_text": ("text", "'never said'"),
    "run_log_chunk": ("data", "'forged'"),
    "freeze": ("fingerprint", _HASH),
}
#: What never changes in a comment, with something else to put there.
COMMENT_KEEPS: Final = {
    **dict.fromkeys(("project_id", "comment_id", "thread_id", "draft_id", "field"), "'x'"),
    "kind": "'NOTE'",
    "version_number": "2",
    "start_line": "2",
    "end_line": "2",
    "quote": "'never said'",
    "field_sha256": _HASH,
    "author": '\'{"s":"mallory"}\'',
    "author_subject": "'mallory'",
    "run_id": "''",
    "create_time_us": "0",
}
#: What never changes in a run.
RUN_KEEPS: Final = {
    "project_id": "'x'",
    "run_id": "'x'",
    "version_number": "1",
    "content_sha256": _HASH,
    "harness": "'another'",
    "labels": '\'{"a":"b"}\'',
    "attempt": "2",
    "starter": "'{}'",
    "start_time_us": "0",
}
#: What a finished run keeps as well.
RUN_SEALED: Final = {
    "state": "'FAILED'",
    "finish_time_us": "0",
    "log_bytes": "0",
    "log_sha256": _HASH,
    "results": "'[{}]'",
}
#: A run as it begins.
FRESH_RUN: Final = {
    "run_id": "'x'",
    "state": "'RUNNING'",
    "finish_time_us": "0",
    "line_count": "0",
    "log_bytes": "0",
    "log_sha256": "''::bytea",
    "results": "'[]'",
}
#: A project in which everything goes on is frozen behind everybody's back.
_FREEZING: Final = "UPDATE head SET state = 'FROZEN' WHERE log = 'open'; "


def chunk(run_id: str, first_line: str) -> str:
    return f"INSERT INTO run_log_chunk VALUES ('open', '{run_id}', {first_line}, 1, 'x')"  # noqa: S608 - see above


def comment(**values: str) -> str:
    """An update of a comment that counts as a change like any other."""
    return changed("comment", _TASK, **({"revision": "revision + 1"} | values))


#: The two guards that each append-only table has.
ON_APPEND_ONLY: Final[dict[str, list[str]]] = {
    name: attacks
    for table, (column, value) in FORGED.items()
    for name, attacks in (
        (
            f"{table}_no_update",
            [changed(table, "true", **{column: value}), merged_into(table, f"UPDATE SET {column} = {value}")],
        ),
        (f"{table}_no_delete", [f"DELETE FROM {quoted(table)}", merged_into(table, "DELETE")]),  # noqa: S608
    )
}
#: Inserts that would become updates; what guards come before those of updates does not matter.
REPLACING: Final = {
    table: in_place_of(table, "true", **{column: value}) for table, (column, value) in FORGED.items()
} | {
    "head": in_place_of("head", "state = 'FROZEN'", state="'ACTIVE'"),
    "field": in_place_of("field", "name = 'topology'", holder_subject="'mallory'"),
    "comment": in_place_of("comment", _TASK, author_subject="'mallory'"),
    "run": in_place_of("run", _PASSED, **(FRESH_RUN | {"run_id": "run_id"})),
}

_ENTRY: Final = "log = 'instance' AND sequence = 3"
_NEXT_ENTRY: Final = {"sequence": "4", "prev": "leaf", "leaf": _HASH}

#: Every guard with attacks that it alone refuses.
ATTACKS: Final[dict[str, list[str]]] = ON_APPEND_ONLY | {
    "log_entry_contiguous": [
        # After a gap, before the first, into an empty log not from 1.
        copy_of("log_entry", _ENTRY, **(_NEXT_ENTRY | {"sequence": "5"})),
        copy_of("log_entry", _ENTRY, **(_NEXT_ENTRY | {"sequence": "0"})),
        copy_of("log_entry", _ENTRY, log="'new'", sequence="2", prev="decode(repeat('00', 32), 'hex')"),
        # The next number, but not the leaf of the entry before.
        copy_of("log_entry", _ENTRY, **(_NEXT_ENTRY | {"prev": "prev"})),
        copy_of("log_entry", _ENTRY, log="'new'", sequence="1", prev=_HASH),
        # Two at once, of which only the first goes on from what is there.
        (
            "INSERT INTO log_entry VALUES ('instance', 4, '', '', sha256('i3'), sha256('i4'), ''),"
            " ('instance', 5, '', '', sha256('i3'), sha256('i5'), '')"
        ),
    ],
    "draft_contiguous": [
        copy_of("draft", "draft_id = 'd3'", version_number="5", parent_version="4", draft_id="'x'"),
        copy_of("draft", "draft_id = 'd3'", version_number="0", parent_version="-1", draft_id="'x'"),
    ],
    "head_no_delete": ["DELETE FROM head WHERE state = 'FROZEN'", "DELETE FROM head WHERE log = 'instance'"],
    "head_keeps": [
        # A frozen project without a head is none to the other guards; neither is one with another's head.
        "UPDATE head SET log = 'hidden' WHERE state = 'FROZEN'",
        # One that goes back lets something be added to what was saved, or told, long ago.
        "UPDATE head SET head_version = head_version - 1 WHERE log = 'open'",
        "UPDATE head SET last_sequence = last_sequence - 1 WHERE log = 'open'",
    ],
    "head_stays_frozen": [
        "UPDATE head SET state = 'ACTIVE' WHERE state = 'FROZEN'",
        "UPDATE head SET state = 'IN_REVIEW', last_sequence = last_sequence + 1 WHERE state = 'FROZEN'",
        "UPDATE head SET head_version = head_version + 1 WHERE state = 'FROZEN'",
        "UPDATE head SET current_draft_id = 'x' WHERE state = 'FROZEN'",
        merged_into("head", "UPDATE SET state = 'ACTIVE'"),
    ],
    "replica_stays_fenced": [
        changed("replica", "replica_id = 'dead'", state="'LIVE'"),
        changed("replica", "replica_id = 'gone'", state="'LIVE'"),
        changed("replica", "replica_id = 'dead'", renew_count="renew_count + 1"),
        changed("replica", "replica_id = 'r'", renew_count="0"),
        changed("replica", "replica_id = 'r'", replica_id="'dead again'"),
    ],
    "field_no_delete": ["DELETE FROM field WHERE name = 'system_prompt'"],
    "field_fence_rises": [
        changed("field", "name = 'topology'", fence="fence - 1"),
        changed("field", "name = 'system_prompt'", fence="fence + 2", lock_id="'x'", session_id="'s'"),
        # Nobody is granted the next token.
        changed("field", "name = 'system_prompt'", fence="fence + 1"),
        # Taking a held field, by a new token, by the old one, and under the holder's session.
        changed("field", "name = 'topology'", fence="fence + 1", lock_id="'x'", session_id="'s'"),
        changed("field", "name = 'topology'", session_id="'s'"),
        changed("field", "name = 'topology'", holder_subject="'mallory'"),
        changed("field", "name = 'topology'", lock_id="'x'"),
        # Taking a free field without a new token; putting one field in the place of another.
        changed("field", "name = 'system_prompt'", lock_id="'x'", session_id="'s'"),
        changed("field", "name = 'topology'", name="'hidden'"),
        changed("field", "name = 'topology'", project_id="'released'"),
    ],
    "comment_no_delete": [
        "DELETE FROM comment WHERE comment_id = 'task'",
        "DELETE FROM comment WHERE delete_time_us > 0",
    ],
    "comment_keeps": [
        *(comment(**{column: value}) for column, value in COMMENT_KEEPS.items()),
        # Unnoticed, as if several changes were one, and back to an earlier one.
        *(comment(revision=value, assignee="'mallory'") for value in ("revision", "revision + 2", "revision - 1")),
        comment(text_revision="text_revision - 1"),
        "UPDATE comment SET delete_time_us = 0, revision = revision + 1 WHERE delete_time_us > 0",
    ],
    "run_no_delete": ["DELETE FROM run WHERE run_id = 'silent'", "DELETE FROM run"],
    "run_begins": [
        copy_of("run", _PASSED, **(FRESH_RUN | {column: value}))
        for column, value in {**RUN_SEALED, "finish_time_us": "1", "log_bytes": "1", "line_count": "1"}.items()
    ],
    "run_keeps": [
        *(changed("run", _SILENT, **{column: value}) for column, value in RUN_KEEPS.items()),
        *(changed("run", _PASSED, **{column: value}) for column, value in RUN_SEALED.items()),
        # A verdict before the end; once more to the end, and back.
        *(changed("run", _RUNNING, **{column: RUN_SEALED[column]}) for column in ("log_sha256", "results")),
        changed("run", _PASSED, state="'RUNNING'"),
        changed("run", _PASSED, line_count="line_count"),
    ],
    "run_counts_its_lines": [
        # Lines that are not there, and lines that are, left out; alone and with the seal.
        *(changed("run", _RUNNING, line_count=value) for value in ("line_count - 1", "line_count + 1", "0")),
        changed("run", _RUNNING, line_count="0", state="'PASSED'"),
        # A seal that leaves out the line that was stored last.
        chunk("running", "4") + ";" + changed("run", _RUNNING, state="'PASSED'"),
    ],
    "run_log_chunk_contiguous": [
        # After a gap, over lines that are there, before the first.
        *(chunk("running", first_line) for first_line in ("5", "2", "0", "-1")),
        # Behind the seal, into a run that nobody started, not from the beginning.
        *(chunk(*where) for where in (("passed", "2"), ("x", "1"), ("silent", "2"))),
    ],
    "draft_not_frozen_insert": [
        copy_of("draft", "project_id = 'released'", version_number="2", draft_id="'x'", parent_version="1"),
    ],
    "draft_change_under_lock": [
        # The released version itself gets one more field, under a lock that was made for it.
        copy_of(
            "field",
            "project_id = 'released'",
            name="'backdoor'",
            fence="1",
            lock_id="'x'",
            session_id="'s'",
            holder_subject="'mallory'",
        )
        + ";"
        + copy_of(
            "draft_change",
            "project_id = 'released'",
            field="'backdoor'",
            lock_id="'x'",
            fence="1",
            session_id="'s'",
            subject="'mallory'",
        ),
    ],
    "lock_grant_not_frozen_insert": [copy_of("lock_grant", "project_id = 'released'", fence="fence + 1")],
    "comment_not_frozen_insert": [copy_of("comment", "project_id = 'released'", comment_id="'x'")],
    "comment_not_frozen_update": [
        "UPDATE comment SET state = 'CLOSED', revision = revision + 1 WHERE project_id = 'released'"
    ],
    "run_not_frozen_insert": [copy_of("run", _PASSED, project_id="'released'", **FRESH_RUN)],
    "run_not_frozen_update": [_FREEZING + changed("run", _RUNNING, state="'PASSED'")],
    "run_log_chunk_not_frozen_insert": [_FREEZING + chunk("running", "4")],
}

#: A save of ``topology`` under bob's lock, as the server writes it; each altered value breaks it in one way.
HONEST_CHANGE: Final = {"version_number": "4", "field": "'topology'"} | {
    "lock_id": "'held'",
    "fence": "1",
    "session_id": "'his'",
    "subject": "'bob'",
}
CHANGES: Final[dict[str, dict[str, str]]] = {
    "an old fence": {"fence": "0"},
    "a fence to come": {"fence": "2"},
    "another session": {"session_id": "'mine'"},
    "another holder": {"subject": "'alice'"},
    "another grant": {"lock_id": "'x'"},
    "a version that the field does not show": {"version_number": "5"},
    "a field that nobody holds": {"field": "'system_prompt'"},
    "a field that does not exist": {"field": "'nowhere'"},
    "a session that is unknown": {"session_id": "NULL"},
}


def change(values: dict[str, str]) -> str:
    """The insert of a draft_change with such values."""
    v = HONEST_CHANGE | values
    return (
        f"INSERT INTO draft_change VALUES ('open', {v['field']}, {v['version_number']}, 'TEXT', '', '', '', 0,"  # noqa: S608
        f" {v['lock_id']}, {v['fence']}, {v['session_id']}, {v['subject']})"
    )


#: Until the change itself, the middle of bob's save of version 4.
SAVING: Final = (
    "INSERT INTO draft VALUES ('open', 4, 'd4', 3, 'SAVE', 0, '{}', 'bob', 'his', 1, '', sha256('4'), 4);"
    "UPDATE field SET last_changed_version = 4 WHERE name = 'topology'"
)
