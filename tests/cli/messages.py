"""Messages of the contract as a server would send them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from google.protobuf.timestamp_pb2 import Timestamp

from coreason.foundry.v1 import (
    audit_pb2,
    comment_pb2,
    draft_pb2,
    lock_pb2,
    project_pb2,
    run_pb2,
    session_event_pb2,
    session_pb2,
    types_pb2,
)

NOW = datetime(2026, 11, 20, 12, 30, 5, tzinfo=UTC)
PROJECT_ID = "01994b7e-0000-7000-8000-000000000001"
SESSION_ID = "01994b7e-0000-7000-8000-000000000002"
COMMENT_ID = "01994b7e-0000-7000-8000-000000000005"
RUN_ID = "01994b7e-0000-7000-8000-000000000007"

ALICE = types_pb2.Principal(subject="alice", kind=types_pb2.PRINCIPAL_KIND_HUMAN, display_name="Alice A.")
BOB = types_pb2.Principal(subject="bob", kind=types_pb2.PRINCIPAL_KIND_HUMAN, display_name="Bob B.")
ROBOT = types_pb2.Principal(
    subject="bot-7", kind=types_pb2.PRINCIPAL_KIND_AGENT, display_name="Tuner", on_behalf_of="alice"
)


def before(**ago: float) -> Timestamp:
    """Return the moment so long before ``NOW``."""
    stamp = Timestamp()
    stamp.FromDatetime((NOW - timedelta(**ago)).replace(tzinfo=None))
    return stamp


def project(**fields: Any) -> project_pb2.Project:
    return project_pb2.Project(
        **{
            "project_id": PROJECT_ID,
            "name": "Oncology Clinical Protocol Agent",
            "state": project_pb2.PROJECT_STATE_ACTIVE,
            "head_version": 16,
            "labels": {"protocol": "ONC-2041", "area": "oncology"},
            "policy": project_pb2.Policy(agent_access=project_pb2.AGENT_ACCESS_SUGGEST_ONLY, require_reason=True),
            "creator": ALICE,
            "create_time": before(days=3),
            "update_time": before(hours=2),
            "etag": "000000000001-4",
            **fields,
        }
    )


def lock(**fields: Any) -> lock_pb2.Lock:
    return lock_pb2.Lock(
        **{
            "lock_id": "01994b7e-0000-7000-8000-000000000003",
            "project_id": PROJECT_ID,
            "field": "system_prompt",
            "holder": ALICE,
            "session_id": SESSION_ID,
            "fencing_token": 7,
            "acquire_time": before(minutes=4),
            "expire_time": before(minutes=-11),
            "purpose": "inclusion criteria",
            **fields,
        }
    )


def draft(**fields: Any) -> draft_pb2.Draft:
    return draft_pb2.Draft(
        **{
            "draft_id": "01994b7e-0000-7000-8000-000000000004",
            "project_id": PROJECT_ID,
            "version_number": 15,
            "parent_version": 14,
            "origin": draft_pb2.DRAFT_ORIGIN_SAVE,
            "author": BOB,
            "create_time": before(minutes=9),
            "message": "Let the agent ask the site questions.",
            "changed_fields": [
                draft_pb2.ChangedField(field="system_prompt", before_sha256="a" * 64, after_sha256="b" * 64)
            ],
            "content_sha256": "c" * 64,
            **fields,
        }
    )


def session(**fields: Any) -> session_pb2.Session:
    return session_pb2.Session(
        **{
            "session_id": SESSION_ID,
            "principal": ALICE,
            "open_time": before(minutes=30),
            "client": types_pb2.ClientInfo(name="coreason-ide", version="4.2"),
            **fields,
        }
    )


def presence(**fields: Any) -> session_event_pb2.SessionPresence:
    return session_event_pb2.SessionPresence(
        **{
            "session_id": SESSION_ID,
            "principal": ALICE,
            "open_time": before(minutes=30),
            "focus_field": "system_prompt",
            "activity": "editing",
            "client_name": "coreason-ide",
            **fields,
        }
    )


def comment(**fields: Any) -> comment_pb2.Comment:
    return comment_pb2.Comment(
        **{
            "comment_id": COMMENT_ID,
            "kind": comment_pb2.COMMENT_KIND_NOTE,
            "state": comment_pb2.COMMENT_STATE_OPEN,
            "text": "Should this not be 16?\n",
            "author": ALICE,
            "create_time": before(hours=2),
            **fields,
        }
    )


def run(**fields: Any) -> run_pb2.Run:
    return run_pb2.Run(
        **{
            "run_id": RUN_ID,
            "project_id": PROJECT_ID,
            "version_number": 16,
            "content_sha256": "c" * 64,
            "harness": "assay 4.2",
            "labels": {"site": "Basel", "area": "oncology"},
            "attempt": 2,
            "state": run_pb2.RUN_STATE_RUNNING,
            "starter": BOB,
            "start_time": before(minutes=3),
            "line_count": 12345,
            **fields,
        }
    )


def entry(sequence: int = 12, **fields: Any) -> audit_pb2.LogEntry:
    return audit_pb2.LogEntry(
        **{
            "position": types_pb2.Position(epoch=1, sequence=sequence),
            "time": before(minutes=1),
            "actor": ALICE,
            "session_id": SESSION_ID,
            **fields,
        }
    )
