"""A log verifies, and whatever was done to it is found."""

from __future__ import annotations

import hashlib
import json

import pytest

from coreason.foundry.v1 import audit_pb2
from foundry.client import LogAltered, LogVerifier, VerifiedLog
from tests.client.scripted import at

EVENTS = ("log_genesis", "project_created", "session_opened", "lock_acquired", "draft_created", "lock_released")


def seal(sequence: int, previous: str, event: str) -> audit_pb2.LogEntry:
    content = json.dumps({"event": event, "prev": previous, "seq": sequence}, separators=(",", ":")).encode()
    return audit_pb2.LogEntry(position=at(sequence), entry_bytes=content, leaf=hashlib.sha256(b"\0" + content).digest())


def a_log(first: str = "0" * 64) -> list[audit_pb2.LogEntry]:
    entries: list[audit_pb2.LogEntry] = []
    for sequence, event in enumerate(EVENTS, 1):
        entries.append(seal(sequence, entries[-1].leaf.hex() if entries else first, event))
    return entries


def verify(entries: list[audit_pb2.LogEntry], length: int = len(EVENTS)) -> VerifiedLog:
    verifier = LogVerifier()
    half = len(entries) // 2
    for part in (entries[:half], entries[half:]):
        verifier.add_page(audit_pb2.ListEntriesResponse(entries=part, head=at(length)))
    return verifier.finish()


def test_an_unaltered_log_verifies() -> None:
    entries = a_log()
    entries[1].project_created.project_id = "p1"
    assert verify(entries) == VerifiedLog(6, entries[-1].leaf.hex())


def test_an_empty_log_verifies() -> None:
    assert verify([], 0) == VerifiedLog(0, "0" * 64)


def test_altered_bytes_are_found() -> None:
    entries = a_log()
    entries[2].entry_bytes = entries[2].entry_bytes.replace(b"opened", b"closed")
    with pytest.raises(LogAltered, match="hash") as altered:
        verify(entries)
    assert altered.value.sequence == 3


def test_an_altered_entry_with_a_fresh_leaf_is_found_at_the_next() -> None:
    entries = a_log()
    entries[2] = seal(3, entries[1].leaf.hex(), "session_closed")
    with pytest.raises(LogAltered, match="leaf of the entry before") as altered:
        verify(entries)
    assert altered.value.sequence == 4


def test_a_missing_entry_is_found() -> None:
    entries = a_log()
    del entries[3]
    with pytest.raises(LogAltered, match="missing") as altered:
        verify(entries)
    assert altered.value.sequence == 4


def test_renumbered_entries_are_found() -> None:
    entries = a_log()
    del entries[3]
    for sequence, entry in enumerate(entries, 1):
        entry.position.sequence = sequence
    with pytest.raises(LogAltered, match="entry 5") as altered:
        verify(entries)
    assert altered.value.sequence == 4


def test_a_cut_off_end_is_found() -> None:
    with pytest.raises(LogAltered, match="missing") as altered:
        verify(a_log()[:4])
    assert altered.value.sequence == 5


def test_a_log_that_does_not_begin_is_found() -> None:
    with pytest.raises(LogAltered, match="leaf of the entry before") as altered:
        verify(a_log(first="1" * 64))
    assert altered.value.sequence == 1


def test_a_payload_that_its_bytes_do_not_tell_is_found() -> None:
    entries = a_log()
    entries[3].lock_released.field = "a"
    with pytest.raises(LogAltered, match="lock_acquired") as altered:
        verify(entries)
    assert altered.value.sequence == 4


@pytest.mark.parametrize("content", [b"", b"no json", b"[]", b"{}"])
def test_bytes_that_are_no_entry_are_found(content: bytes) -> None:
    leaf = hashlib.sha256(b"\0" + content).digest()
    entry = audit_pb2.LogEntry(position=at(1), entry_bytes=content, leaf=leaf)
    with pytest.raises(LogAltered, match="no entry"):
        verify([entry], 1)
