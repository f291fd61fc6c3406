"""The FoundryLog: how an entry becomes canonical bytes, chained to the one before.

An entry is RFC 8785 canonical JSON, stored as bytes, with its sequence number and the leaf hash of its predecessor.
``leaf = SHA-256(0x00 || entry)`` is the RFC 6962 leaf hash, so that chain and Merkle tree share one hash. Free text is
committed to by ``SHA-256(0x02 || salt || text)`` and kept beside the chain, so it can be redacted.
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from foundry import __version__
from foundry.content.canonical import canonical_json, canonical_record, is_plain
from foundry.domain.entry import Entry, Event, NewEntry, Value
from foundry.domain.principal import Principal, PrincipalKind

FORMAT = 1
BUILD = f"foundry {__version__}"
NO_LEAF = bytes(32)

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class SealedText:
    """Free text of an entry with the salt of its commitment, 32 random bytes."""

    salt: bytes
    text: bytes


def leaf_hash(entry_bytes: bytes) -> bytes:
    """The RFC 6962 leaf hash of an entry."""
    return hashlib.sha256(b"\x00" + entry_bytes).digest()


def seal(text: dict[str, str]) -> SealedText | None:
    """Salt an entry's free text; None when there is none."""
    shown = {key: value for key, value in text.items() if value}
    return SealedText(os.urandom(32), canonical_record(shown)) if shown else None


def chain(log: str, new: NewEntry, sequence: int, prev: bytes, time_us: int) -> tuple[Entry, SealedText | None]:
    """Give an entry its place: canonical bytes, leaf hash, sealed text.

    Args:
        log: Project id, or ``instance``.
        new: What to write.
        sequence: Its number, one over the predecessor's.
        prev: Leaf hash of the predecessor, 32 bytes; zeros for the first entry.
        time_us: Database time, not before the predecessor's.
    """
    text = dict(new.text)
    if new.actor.display_name:
        text["actor_name"] = new.actor.display_name
    sealed = seal(text)
    record: dict[str, Value] = {
        "actor": _actor(new.actor),
        "build": BUILD,
        "data": new.data,
        "event": new.event.value,
        "log": log,
        "outcome": "denied" if new.event in _DENIALS else "ok",
        "prev": prev.hex(),
        "seq": sequence,
        "time": iso_time(time_us),
        "v": FORMAT,
    }
    ids = {"session_id": new.session_id, "request_id": new.request_id, "correlation_id": new.correlation_id}
    record |= {name: value for name, value in ids.items() if value}
    if sealed:
        record["text"] = "sha256:" + hashlib.sha256(b"\x02" + sealed.salt + sealed.text).hexdigest()
    # Only the data is others' words; the rest of the record is known to be plain.
    entry_bytes = canonical_record(record) if is_plain(new.data) else canonical_json(record)
    return Entry(log, sequence, time_us, new, entry_bytes, leaf_hash(entry_bytes)), sealed


_DENIALS = frozenset({Event.LOCK_DENIED, Event.AUTHENTICATION_FAILED})


def _actor(actor: Principal) -> dict[str, Value]:
    shown: dict[str, Value] = {"id": actor.subject, "kind": actor.kind.value}
    if actor.on_behalf_of:
        shown["on_behalf_of"] = actor.on_behalf_of
    if actor.client_id:
        shown["client_id"] = actor.client_id
    return shown


def parse(log: str, sequence: int, entry_bytes: bytes, leaf: bytes, text: bytes | None) -> Entry:
    """Read a stored entry back.

    Args:
        text: The entry's free text as stored, or None when it has none or was redacted.
    """
    record: dict[str, Any] = json.loads(entry_bytes)
    words: dict[str, str] = json.loads(text) if text else {}
    actor = record["actor"]
    new = NewEntry(
        event=Event(record["event"]),
        actor=Principal(
            actor["id"],
            PrincipalKind(actor["kind"]),
            words.pop("actor_name", ""),
            actor.get("on_behalf_of", ""),
            actor.get("client_id", ""),
        ),
        data=record["data"],
        text=words,
        session_id=record.get("session_id", ""),
        request_id=record.get("request_id", ""),
        correlation_id=record.get("correlation_id", ""),
    )
    return Entry(log, sequence, parse_time_us(record["time"]), new, entry_bytes, leaf)


def iso_time(time_us: int) -> str:
    """RFC 3339 UTC with six decimals, always of the same length."""
    seconds, microseconds = divmod(time_us, 1_000_000)
    return f"{_iso_seconds(seconds)}.{microseconds:06d}Z"


@functools.lru_cache(maxsize=16)
def _iso_seconds(seconds: int) -> str:
    """Cached: the entries of one second share all but its fraction."""
    return (_EPOCH + timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%S")


def parse_time_us(iso: str) -> int:
    """Microseconds since the Unix epoch of a time written by ``iso_time``."""
    return (datetime.fromisoformat(iso) - _EPOCH) // timedelta(microseconds=1)
