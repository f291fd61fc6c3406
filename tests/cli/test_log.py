"""``foundry log --verify`` notices a log that was altered."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import grpc
import grpc.aio
import pytest
from typer.testing import CliRunner, Result

from coreason.foundry.v1 import audit_pb2, audit_pb2_grpc, types_pb2
from foundry.cli import app
from tests.cli.messages import PROJECT_ID

_EVENTS = ("log_genesis", "project_created", "project_archived", "project_unarchived")


def _log(*events: str) -> list[audit_pb2.LogEntry]:
    """Return a whole log of some events."""
    entries, prev = [], "0" * 64
    for sequence, event in enumerate(events, 1):
        stored = json.dumps({"event": event, "prev": prev, "seq": sequence}).encode()
        leaf = hashlib.sha256(b"\0" + stored).digest()
        entry = audit_pb2.LogEntry(
            position=types_pb2.Position(epoch=1, sequence=sequence), entry_bytes=stored, leaf=leaf
        )
        getattr(entry, event).SetInParent()
        entries.append(entry)
        prev = leaf.hex()
    return entries


class _Audit(audit_pb2_grpc.AuditServiceServicer):
    def __init__(self, entries: list[audit_pb2.LogEntry]) -> None:
        self.entries = entries

    async def ListEntries(
        self, request: audit_pb2.ListEntriesRequest, context: object
    ) -> audit_pb2.ListEntriesResponse:
        return audit_pb2.ListEntriesResponse(entries=self.entries, head=self.entries[-1].position)


@asynccontextmanager
async def _serving(service: _Audit) -> AsyncIterator[str]:
    """Serve a log that tests may alter; yields the target."""
    server = grpc.aio.server()
    audit_pb2_grpc.add_AuditServiceServicer_to_server(service, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    yield f"127.0.0.1:{port}"
    await server.stop(None)


async def _verify(service: _Audit) -> Result:
    async with _serving(service) as target:
        args = ["--target", target, "--token", "any", "--json", "log", PROJECT_ID, "--verify"]
        return await asyncio.to_thread(CliRunner().invoke, app, args)


async def test_a_whole_log_verifies() -> None:
    service = _Audit(_log(*_EVENTS))
    result = await _verify(service)
    assert result.exit_code == 0
    assert json.loads(result.stdout.splitlines()[-1]) == {
        "verified": True,
        "entries": 4,
        "head": service.entries[-1].leaf.hex(),
    }


@pytest.mark.parametrize("how", ["altered", "removed", "swapped"])
async def test_an_altered_log_does_not(how: str) -> None:
    service = _Audit(_log(*_EVENTS))
    match how:
        case "altered":
            service.entries[2].entry_bytes = service.entries[2].entry_bytes.replace(b"archived", b"updated")
        case "removed":
            del service.entries[2]
        case "swapped":
            service.entries[2].CopyFrom(_log("log_genesis", "project_updated", "project_archived")[2])
    result = await _verify(service)
    assert result.exit_code == 1
    error = json.loads(result.stderr)
    assert error["reason"] == "LOG_ALTERED"
    assert error["metadata"]["sequence"] == "3"
    assert error["message"].startswith("the log was altered at entry 3: ")
