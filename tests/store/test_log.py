"""The FoundryLog: canonical, chained, and readable for ever."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path
from typing import Any

import pytest
import rfc8785
from hypothesis import given
from hypothesis import strategies as st

from foundry.domain.entry import INSTANCE_LOG, Event, NewEntry
from foundry.domain.principal import Principal, PrincipalKind
from foundry.store.entries import EntryRepository
from foundry.store.log import NO_LEAF, chain, iso_time, leaf_hash, parse, parse_time_us, seal
from foundry.store.sqlite.database import SqliteDatabase
from tests.store.manual_clock import ManualClock
from tests.store.stored_logs import Stored, stored_logs, verify

PRINCIPALS = st.builds(
    Principal,
    st.text(min_size=1),
    st.sampled_from(PrincipalKind),
    st.text(),
    st.text(),
    st.text(),
)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)
ENTRIES = st.builds(
    NewEntry,
    st.sampled_from(Event),
    PRINCIPALS,
    st.dictionaries(st.text(), VALUES, max_size=4),
    st.dictionaries(st.text().filter(lambda key: key != "actor_name"), st.text(min_size=1), max_size=3),
    st.text(),
    st.text(),
    st.text(),
)


@pytest.fixture
def stored(plain: sqlite3.Connection) -> dict[str, list[Stored]]:
    """The entries of every log of a whole history."""
    return stored_logs(plain)


def test_every_log_verifies_from_its_bytes(stored: dict[str, list[Stored]]) -> None:
    """Canonical bytes, leaf hashes, predecessors, positions, times and commitments of a whole history."""
    assert len(stored) == 4
    for log, rows in stored.items():
        verify(rows, log)


def test_every_event_is_in_the_history(stored: dict[str, list[Stored]]) -> None:
    """The logs above show each event of the closed table, so the checks here miss none."""
    events = {json.loads(row[3])["event"] for rows in stored.values() for row in rows}
    assert events == {event.value for event in Event}


def test_the_logs_begin_with_their_rules(stored: dict[str, list[Stored]]) -> None:
    """Genesis first, everywhere; the instance's log then tells of the migration and of each new project.

    The log of a revision goes on with the import of its first version.
    """
    events = {log: [json.loads(row[3])["event"] for row in rows] for log, rows in stored.items()}
    of_instance = ["log_genesis", "migration_applied", *["project_created"] * 3, "authentication_failed"]
    assert events.pop(INSTANCE_LOG) == of_instance
    assert [found[:3] for found in events.values()] == [["log_genesis", "project_created", "member_set"]] * 3
    revision = next(found for found in events.values() if "revision_started" not in found and len(found) < 20)
    assert [event for event in revision[3:] if not event.startswith("lock_")] == [
        "session_opened",
        "draft_created",
        "session_closed",
    ]
    rules = [json.loads(rows[0][3])["data"] for rows in stored.values()]
    assert rules == [rules[0]] * 4
    assert rules[0].items() >= {"format": 1, "hash": "sha256", "canonical": "rfc8785"}.items()


def test_free_text_stands_beside_the_chain(stored: dict[str, list[Stored]]) -> None:
    """Names, reasons and messages are in no chained byte: what must be forgotten later can be."""
    chained = b"".join(row[3] for rows in stored.values() for row in rows)
    texts = b"".join(row[5] or b"" for rows in stored.values() for row in rows)
    said = (b"Alice A.", b"because", b"why not", b"Renamed", b"Oncology", b"It is time.", b"Next year", b"pytest 9")
    for words in said:
        assert words not in chained
        assert words in texts


def test_salts_are_fresh(stored: dict[str, list[Stored]]) -> None:
    """Equal texts get different commitments: nobody can guess a redacted text by hashing."""
    commitments = [json.loads(row[3])["text"] for rows in stored.values() for row in rows if row[5]]
    assert len(set(commitments)) == len(commitments) > 5
    one, two = seal({"reason": "x"}), seal({"reason": "x"})
    assert one is not None
    assert two is not None
    assert (one.text, one.salt == two.salt) == (two.text, False)


async def test_redacted_text_breaks_nothing(data_dir: Path, plain: sqlite3.Connection) -> None:
    """All text deleted: the chain verifies, the server starts, and every entry can be read, without its words."""
    logs = [log for (log,) in plain.execute("SELECT log FROM head")]
    assert plain.execute("DELETE FROM log_text").rowcount > 5
    database = SqliteDatabase(data_dir, ManualClock())
    for log in logs:
        rows = plain.execute(
            "SELECT sequence, prev, leaf, entry, NULL, NULL FROM log_entry WHERE log = ? ORDER BY sequence", (log,)
        )
        verify(rows.fetchall(), log)
        entries = await EntryRepository(database).after(log, 0, 1_000)
        assert entries
        assert all(entry.new.text == {} and entry.new.actor.display_name == "" for entry in entries)
    await database.close()


@given(ENTRIES, st.integers(1, 2**53 - 1), st.binary(min_size=32, max_size=32), st.integers(0, 4 * 10**15))
def test_an_entry_is_read_back_as_it_was_written(new: NewEntry, sequence: int, prev: bytes, time_us: int) -> None:
    """Whatever its words: canonical, chained to its predecessor, and the same after reading."""
    entry, sealed = chain("a log", new, sequence, prev, time_us)
    record = json.loads(entry.entry_bytes)
    assert entry.entry_bytes == rfc8785.dumps(record)
    assert (entry.leaf, record["prev"], record["seq"]) == (leaf_hash(entry.entry_bytes), prev.hex(), sequence)
    text = sealed.text if sealed else None
    assert parse("a log", sequence, entry.entry_bytes, entry.leaf, text) == entry


@pytest.mark.parametrize("event", Event)
def test_every_event_of_the_table_is_read_back(event: Event) -> None:
    """Each event survives the way into the log and out of it, with all that an entry may carry."""
    actor = Principal("agent", PrincipalKind.AGENT, "An agent", "alice", "gateway")
    new = NewEntry(event, actor, {"n": 1, "list": [{"a": None}]}, {"reason": "é"}, "session", "request", "correlation")
    entry, sealed = chain("log", new, 7, NO_LEAF, 1)
    assert sealed is not None
    assert parse("log", 7, entry.entry_bytes, entry.leaf, sealed.text) == entry
    denied = event in {Event.LOCK_DENIED, Event.AUTHENTICATION_FAILED}
    assert json.loads(entry.entry_bytes)["outcome"] == ("denied" if denied else "ok")


def test_empty_text_is_no_text() -> None:
    """An entry without words has no commitment and no row beside the chain."""
    new = NewEntry(Event.PROJECT_ARCHIVED, Principal("alice"), {}, {"reason": "", "message": ""})
    entry, sealed = chain("log", new, 1, NO_LEAF, 0)
    assert (sealed, "text" in json.loads(entry.entry_bytes)) == (None, False)


@given(st.integers(0, 4 * 10**15))
def test_times_are_exact_and_sort_as_text(time_us: int) -> None:
    """To the microsecond, always of one length, so that times of the log compare as strings."""
    assert parse_time_us(iso_time(time_us)) == time_us
    assert len(iso_time(time_us)) == len("2026-01-01T00:00:00.000000Z")
    assert iso_time(time_us) < iso_time(time_us + 1)


@pytest.mark.parametrize("value", [2**53, {"a": float("nan")}, "\ud800", b"x", object()])
def test_what_is_not_canonical_is_not_written(value: object) -> None:
    """A value that RFC 8785 cannot carry exactly is refused before it is chained."""
    data: dict[str, Any] = {"value": value}
    new = NewEntry(Event.PROJECT_CREATED, Principal("alice"), data)
    with pytest.raises((ValueError, TypeError)):
        chain("log", new, 1, NO_LEAF, 0)
