"""Entries of a project's log, read from their canonical bytes alone."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Entry:
    """An entry of a project's log, as its canonical bytes say.

    Attributes:
        time_us: Wall clock of the database, microseconds since the Unix epoch.
        leaf: Leaf hash of these bytes, hex.
        prev: Leaf hash of the entry before, as the entry names it, hex.
        canonical: Whether the bytes are the canonical form of what they say.
    """

    sequence: int
    event: str
    data: Mapping[str, Any]
    session_id: str
    request_id: str
    actor: str
    time_us: int
    leaf: str
    prev: str
    canonical: bool = True


def parse_entry(entry_bytes: bytes) -> Entry:
    """An entry from the bytes that ``AuditService.ListEntries`` gives."""
    record: dict[str, Any] = json.loads(entry_bytes)
    return Entry(
        sequence=record["seq"],
        event=record["event"],
        data=record["data"],
        session_id=record.get("session_id", ""),
        request_id=record.get("request_id", ""),
        actor=record["actor"]["id"],
        time_us=(datetime.fromisoformat(record["time"]) - _EPOCH) // timedelta(microseconds=1),
        leaf=hashlib.sha256(b"\x00" + entry_bytes).hexdigest(),
        prev=record["prev"],
        canonical=canonical_bytes(record) == entry_bytes,
    )


def canonical_bytes(record: Mapping[str, Any]) -> bytes:
    """Canonical JSON, as far as records without floats go."""
    return json.dumps(record, ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode()
