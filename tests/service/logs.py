"""Reading a log, and recomputing its chain without the server's code."""

from __future__ import annotations

import hashlib
import json
from typing import Any, Final

import rfc8785

from coreason.foundry.v1 import audit_pb2
from tests.service.house import Caller

NOTHING: Final = "0" * 64


async def entries_of(
    caller: Caller,
    log: str,
    **filters: Any,
) -> list[audit_pb2.LogEntry]:
    """All entries of a log, through its pages."""
    request = audit_pb2.ListEntriesRequest(project_id=log, page_size=1000, **filters)
    entries: list[audit_pb2.LogEntry] = []
    while True:
        answer = await caller.call(request)
        entries += answer.entries
        request.page_token = answer.next_page_token
        if not request.page_token:
            return entries


def events_of(entries: list[audit_pb2.LogEntry]) -> list[str]:
    """What happened, by the names of the arms."""
    return [entry.WhichOneof("payload") or "" for entry in entries]


def check_chain(log: str, entries: list[audit_pb2.LogEntry]) -> None:
    """Recompute a whole log from the bytes alone, as the contract tells a verifier to."""
    previous, time = NOTHING, ""
    for sequence, entry in enumerate(entries, start=1):
        stored = json.loads(entry.entry_bytes)
        assert rfc8785.dumps(stored) == entry.entry_bytes
        assert entry.leaf == hashlib.sha256(b"\0" + entry.entry_bytes).digest()
        assert (stored["v"], stored["log"], stored["seq"], stored["prev"]) == (1, log, sequence, previous)
        assert (entry.position.sequence, entry.position.epoch) == (sequence, 1)
        assert stored["event"] == entry.WhichOneof("payload")
        assert stored["actor"]["id"] == entry.actor.subject
        assert stored.get("session_id", "") == entry.session_id
        assert stored["time"] >= time
        previous, time = entry.leaf.hex(), stored["time"]
