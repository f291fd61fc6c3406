"""Logs as they lie in the database, and what an outsider checks of them."""

from __future__ import annotations

import hashlib
import json
import sqlite3
from typing import Any

import rfc8785

#: Of an entry: sequence, prev, leaf, entry, salt, text.
Stored = tuple[Any, ...]


def stored_logs(connection: sqlite3.Connection) -> dict[str, list[Stored]]:
    """The entries of every log."""
    rows = connection.execute(
        "SELECT e.log, e.sequence, e.prev, e.leaf, e.entry, t.salt, t.text FROM log_entry e"
        " LEFT JOIN log_text t ON t.log = e.log AND t.sequence = e.sequence ORDER BY e.log, e.sequence"
    )
    logs: dict[str, list[Stored]] = {}
    for log, *row in rows:
        logs.setdefault(log, []).append(tuple(row))
    return logs


def verify(rows: list[Stored], log: str) -> None:
    """What an outsider checks with SHA-256 and RFC 8785 alone."""
    prev, time = bytes(32), ""
    for number, (sequence, stored_prev, leaf, entry, salt, text) in enumerate(rows, 1):
        record = json.loads(entry)
        assert entry == rfc8785.dumps(record)
        assert leaf == hashlib.sha256(b"\x00" + entry).digest()
        assert (sequence, stored_prev, record["seq"], record["prev"]) == (number, prev, number, prev.hex())
        assert (record["log"], record["v"]) == (log, 1)
        assert record["time"] >= time
        if text is not None:
            assert record["text"] == "sha256:" + hashlib.sha256(b"\x02" + salt + text).hexdigest()
            assert len(salt) == 32
        prev, time = leaf, record["time"]
