"""The append-only guards bite: each is attacked through a plain connection, where nothing else protects the data.

A plain connection has foreign keys off and no recursive triggers, so ``REPLACE`` deletes without a DELETE trigger: what
is refused here is refused by the named guard alone, and each attack is also shown to succeed without it.
"""

from __future__ import annotations

import sqlite3
from typing import Any

import pytest

from foundry.store.sqlite.guards import SQLITE_GUARDS
from tests.store.attacks_on_releases import ATTACKS_ON_COMMENTS, ATTACKS_ON_RELEASES, spelt_out
from tests.store.attacks_on_runs import ATTACKS_ON_RUNS

#: Every guard with attacks that it alone refuses.
ATTACKS: dict[str, list[str]] = {
    "log_entry_no_update": ["UPDATE log_entry SET actor_subject = 'mallory' WHERE sequence = 1"],
    "log_entry_no_delete": [
        "DELETE FROM log_entry WHERE log = 'instance' AND sequence = 1",
        "DELETE FROM log_entry WHERE event = 'authentication_failed'",
        "DELETE FROM log_entry",
    ],
    "log_entry_contiguous": [
        # In the place of an entry, after a gap, before the first, into an empty log not from 1.
        (
            "INSERT OR REPLACE INTO log_entry SELECT log, sequence, event, 'mallory', prev, leaf, entry FROM log_entry"
            " WHERE log = 'instance' AND sequence = 2"
        ),
        (
            "INSERT INTO log_entry SELECT log, max(sequence) + 2, event, 'mallory', leaf, leaf, entry FROM log_entry"
            " WHERE log = 'instance'"
        ),
        (
            "INSERT INTO log_entry SELECT log, 0, event, 'mallory', leaf, leaf, entry FROM log_entry"
            " WHERE log = 'instance' AND sequence = 1"
        ),
        "INSERT INTO log_entry VALUES ('new', 2, 'log_genesis', 'mallory', zeroblob(32), zeroblob(32), x'7b7d')",
        # The next number, but not the leaf of the entry before.
        (
            "INSERT INTO log_entry SELECT log, max(sequence) + 1, event, 'mallory', prev, leaf, entry FROM log_entry"
            " WHERE log = 'instance'"
        ),
        "INSERT INTO log_entry VALUES ('new', 1, 'log_genesis', 'mallory', randomblob(32), zeroblob(32), x'7b7d')",
    ],
    "lock_grant_no_update": ["UPDATE lock_grant SET subject = 'mallory'"],
    "lock_grant_no_delete": ["DELETE FROM lock_grant WHERE field = 'system_prompt' AND fence = 1"],
    "lock_grant_no_replace": [
        (
            "INSERT OR REPLACE INTO lock_grant"
            " SELECT project_id, field, fence, lock_id, session_id, 'mallory', sequence FROM lock_grant"
            " WHERE field = 'system_prompt' AND fence = 1 AND project_id = @open"
        ),
    ],
    "draft_no_update": ["UPDATE draft SET message = 'nothing to see here' WHERE version_number = 1"],
    "draft_no_delete": ["DELETE FROM draft WHERE version_number = (SELECT max(version_number) FROM draft)"],
    "draft_contiguous": [
        (
            "INSERT OR REPLACE INTO draft SELECT project_id, version_number, 'x', parent_version, origin,"
            " source_version, author, 'mallory', session_id, create_time_us, message, content_sha256, sequence"
            " FROM draft WHERE version_number = 1 AND project_id = @open"
        ),
        (
            "INSERT INTO draft SELECT project_id, version_number + 2, 'x', version_number + 1, origin, source_version,"
            " author, 'mallory', session_id, create_time_us, message, content_sha256, sequence FROM draft"
            " WHERE version_number = 3"
        ),
    ],
    "draft_no_replace": [
        # A next version that bears the id of an older one would push that one out.
        (
            "INSERT OR REPLACE INTO draft SELECT project_id, 4, draft_id, 3, origin, source_version,"
            " author, 'mallory', session_id, create_time_us, message, content_sha256, sequence FROM draft"
            " WHERE version_number = 1 AND project_id = @open"
        ),
    ],
    "draft_change_no_update": ["UPDATE draft_change SET after_sha256 = zeroblob(32)"],
    "draft_change_no_delete": ["DELETE FROM draft_change WHERE version_number = 1"],
    "content_no_update": ["UPDATE content SET data = x'00'"],
    "content_no_delete": ["DELETE FROM content"],
    "content_no_replace": [
        "INSERT OR REPLACE INTO content SELECT project_id, sha256, x'00' FROM content",
        # By way of the hidden row number, under a hash of its own.
        (
            "INSERT OR REPLACE INTO content (rowid, project_id, sha256, data)"
            " SELECT rowid, project_id, randomblob(32), x'00' FROM content LIMIT 1"
        ),
    ],
    "field_no_delete": ["DELETE FROM field WHERE name = 'system_prompt'"],
    "field_no_replace": [
        (
            "INSERT OR REPLACE INTO field SELECT project_id, name, kind, media_type, sha256, size,"
            " last_changed_version, last_author, 1, '', NULL, '', '', 0, 0, '' FROM field WHERE name = 'system_prompt'"
        ),
    ],
    "field_fence_rises": [
        "UPDATE field SET fence = fence - 1 WHERE name = 'system_prompt'",
        "UPDATE field SET fence = fence + 2, lock_id = 'x', session_id = 's' WHERE name = 'system_prompt'",
        # Nobody is granted the next token.
        "UPDATE field SET fence = fence + 1 WHERE name = 'system_prompt'",
        # Taking a held field, by a new token, by the old one, and under the holder's session.
        "UPDATE field SET fence = fence + 1, lock_id = 'x', session_id = 's' WHERE name = 'topology'",
        "UPDATE field SET session_id = 's' WHERE name = 'topology'",
        "UPDATE field SET holder_subject = 'mallory' WHERE name = 'topology'",
        "UPDATE field SET lock_id = 'x' WHERE name = 'topology'",
        # Taking a free field without a new token.
        "UPDATE field SET lock_id = 'x', session_id = 's' WHERE name = 'system_prompt'",
        # Putting one field in the place of another.
        "UPDATE OR REPLACE field SET name = 'topology' WHERE name = 'system_prompt'",
        "UPDATE field SET name = 'hidden' WHERE name = 'topology'",
    ],
    **ATTACKS_ON_COMMENTS,
    **ATTACKS_ON_RELEASES,
    **ATTACKS_ON_RUNS,
}
#: What is attacked in tests of its own.
ATTACKED_BELOW = {"draft_change_under_lock", "draft_change_no_replace"}
PAIRS = [
    pytest.param(guard, sql, id=f"{guard}-{number}") for guard in ATTACKS for number, sql in enumerate(ATTACKS[guard])
]

#: A save of ``topology`` under Bob's lock, as the server writes it; each altered value breaks it in one way.
HONEST_CHANGE: dict[str, str] = {
    "version_number": "4",
    "field": "'topology'",
    "lock_id": "lock_id",
    "fence": "fence",
    "session_id": "session_id",
    "subject": "holder_subject",
}
CHANGES: dict[str, dict[str, str]] = {
    "an old fence": {"fence": "fence - 1"},
    "a fence to come": {"fence": "fence + 1"},
    "another session": {"session_id": "'s'"},
    "another holder": {"subject": "'alice'"},
    "another grant": {"lock_id": "'x'"},
    "a version that the field does not show": {"version_number": "5"},
    "a field that nobody holds": {"field": "'system_prompt'"},
    "a field that does not exist": {"field": "'nowhere'"},
}


def change(values: dict[str, str]) -> str:
    """The insert of a draft_change with such values, taken from the row of ``topology``."""
    v = HONEST_CHANGE | values
    return (
        f"INSERT INTO draft_change SELECT project_id, {v['field']}, {v['version_number']}, 'TEXT', '', x'', x'',"  # noqa: S608
        f" 0, {v['lock_id']}, {v['fence']}, {v['session_id']}, {v['subject']} FROM field WHERE name = 'topology'"
    )


@pytest.fixture
def saving(plain: sqlite3.Connection) -> sqlite3.Connection:
    """In the middle of Bob's save of version 4: the field shows it, the change is still to be written."""
    plain.execute("UPDATE field SET last_changed_version = 4 WHERE name = 'topology'")
    return plain


def prepared(connection: sqlite3.Connection, sql: str) -> str:
    """Run all statements of an attack but the last, which nothing forbids; returns that one."""
    *before, attack = spelt_out(sql).split(";")
    for statement in before:
        assert connection.execute(statement).rowcount > 0
    return attack


def everything(connection: sqlite3.Connection) -> list[Any]:
    """All rows of all tables."""
    return list(connection.iterdump())


def test_every_guard_is_attacked() -> None:
    """A guard without an attack is a guess."""
    assert {*ATTACKS, *ATTACKED_BELOW} == SQLITE_GUARDS.keys()


@pytest.mark.parametrize(("guard", "sql"), PAIRS)
def test_an_attack_is_refused(plain: sqlite3.Connection, guard: str, sql: str) -> None:
    """The statement fails with the sentence of its guard, and no row is another."""
    attack = prepared(plain, sql)
    before = everything(plain)
    sentence = SQLITE_GUARDS[guard].split("ABORT, '")[1].split("'")[0]
    with pytest.raises(sqlite3.IntegrityError, match=sentence):
        plain.execute(attack)
    assert everything(plain) == before


@pytest.mark.parametrize(("guard", "sql"), PAIRS)
def test_without_its_guard_it_succeeds(plain: sqlite3.Connection, guard: str, sql: str) -> None:
    """Nothing else would have stopped it: each guard is needed, and each attack is a real one."""
    plain.execute(f"DROP TRIGGER {guard}")
    assert plain.execute(prepared(plain, sql)).rowcount > 0


@pytest.mark.parametrize("values", CHANGES.values(), ids=CHANGES)
def test_a_change_is_made_under_its_lock(saving: sqlite3.Connection, values: dict[str, str]) -> None:
    """Session, holder, grant and fence of a change must be those that its field row shows at this moment."""
    with pytest.raises(sqlite3.IntegrityError, match="draft_change is not made under its lock"):
        saving.execute(change(values))


def test_a_change_cannot_follow_its_release(saving: sqlite3.Connection) -> None:
    """A save that comes after the lock is gone finds no lock."""
    saving.execute("UPDATE field SET session_id = NULL, lock_id = '', holder_subject = '' WHERE name = 'topology'")
    with pytest.raises(sqlite3.IntegrityError, match="draft_change is not made under its lock"):
        saving.execute(change({"lock_id": "''", "subject": "'bob'"}))


def test_nothing_is_added_to_a_version_of_before(saving: sqlite3.Connection) -> None:
    """Not even under a lock that is held, by a field that says it changed then."""
    saving.execute("UPDATE field SET last_changed_version = 3 WHERE name = 'topology'")
    with pytest.raises(sqlite3.IntegrityError, match="draft_change is not made under its lock"):
        saving.execute(change({"version_number": "3"}))
    saving.execute("DROP TRIGGER draft_change_under_lock")
    assert saving.execute(change({"version_number": "3"})).rowcount == 1


def test_a_change_is_written_once(saving: sqlite3.Connection) -> None:
    """The honest change passes; the same row again, as it would be to replace it, does not."""
    assert saving.execute(change({})).rowcount == 1
    with pytest.raises(sqlite3.IntegrityError, match="draft_change is append-only"):
        saving.execute(change({}).replace("INSERT", "INSERT OR REPLACE"))
    saving.execute("DROP TRIGGER draft_change_no_replace")
    assert saving.execute(change({}).replace("INSERT", "INSERT OR REPLACE")).rowcount == 1


def test_without_its_guard_a_change_needs_no_lock(saving: sqlite3.Connection) -> None:
    """What keeps changes under locks is this guard."""
    saving.execute("DROP TRIGGER draft_change_under_lock")
    assert saving.execute(change({"fence": "0", "subject": "'mallory'"})).rowcount == 1


def test_the_guards_let_the_server_work(plain: sqlite3.Connection) -> None:
    """Release, grant by the next fence, renewal, and content that is there already are not refused."""
    for sql in (
        "UPDATE field SET session_id = NULL, lock_id = '', holder_subject = '' WHERE name = 'topology'",
        "UPDATE field SET fence = fence + 1, session_id = 's', lock_id = 'y' WHERE name = 'topology'",
        "UPDATE field SET expire_time_us = 5 WHERE name = 'topology'",
    ):
        assert plain.execute(sql).rowcount == 1
    again = "INSERT OR IGNORE INTO content SELECT project_id, sha256, data FROM content"
    assert plain.execute(again).rowcount == 0


def test_the_guards_let_comments_change(plain: sqlite3.Connection) -> None:
    """What may change in a comment that is there, one revision after the other, and a new text beside the earlier."""
    for sql in (
        "UPDATE comment SET state = 'DONE', assignee = '', revision = revision + 1 WHERE @task",
        "UPDATE comment SET text_revision = 3, edit_time_us = 9, revision = revision + 1 WHERE @task",
        "UPDATE comment SET delete_time_us = 9, revision = revision + 1 WHERE @task",
        "INSERT INTO comment_text SELECT project_id, comment_id, 3, 'More.' FROM comment WHERE @task",
    ):
        assert plain.execute(spelt_out(sql)).rowcount == 1


def test_a_frozen_project_still_has_a_log(plain: sqlite3.Connection) -> None:
    """Exports, sessions, members and the archive go on: entries are written and the head follows them."""
    entry = (
        "INSERT INTO log_entry SELECT log, max(sequence) + 1, event, 'alice', leaf, zeroblob(32), entry FROM log_entry"
        " WHERE log = @frozen"
    )
    moved = "UPDATE head SET last_sequence = last_sequence + 1, tail = zeroblob(32) WHERE log = @frozen"
    for sql in (entry, moved):
        assert plain.execute(spelt_out(sql)).rowcount == 1
