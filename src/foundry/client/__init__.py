"""The client library of foundry.

    async with connect("127.0.0.1:50051", token) as foundry:
        project = await foundry.projects.create("Triage agent")
        async with foundry.session(project.project_id) as session:
            async with session.lock("system_prompt") as lock:
                await lock.save("You are a careful assistant.", message="first words")

Messages go in and come out as the generated classes of ``coreason.foundry.v1``. ``connect_sync`` is the same without
``await``, and without sessions. Every failure is a ``FoundryError``.
"""

from foundry.client.channel import Token
from foundry.client.errors import (
    AccessDenied,
    DeadlineExceeded,
    EtagMismatch,
    FoundryError,
    Internal,
    InvalidContent,
    InvalidRequest,
    LimitExceeded,
    LockHeld,
    LockIntervened,
    LockLost,
    LockRequired,
    LogAltered,
    NotFound,
    ProjectArchived,
    ProjectFrozen,
    RequestIdReused,
    SessionClosed,
    SessionSuperseded,
    StaleVersion,
    Unauthenticated,
    Unavailable,
    Violation,
)
from foundry.client.foundry import Foundry, SyncFoundry, connect, connect_sync
from foundry.client.live.held_lock import HeldLock
from foundry.client.live.session import ResumeState, Session
from foundry.client.live.workspace import Workspace
from foundry.client.services.audit import AuditClient, LogVerifier, SyncAuditClient, VerifiedLog
from foundry.client.services.drafts import Changes, DraftClient, SyncDraftClient
from foundry.client.services.locks import LockClient, SyncLockClient
from foundry.client.services.projects import ProjectClient, SyncProjectClient
from foundry.client.services.sessions import SessionClient, SyncSessionClient
from foundry.client.statuses import from_rpc_error, from_status

__all__ = [
    "AccessDenied",
    "AuditClient",
    "Changes",
    "DeadlineExceeded",
    "DraftClient",
    "EtagMismatch",
    "Foundry",
    "FoundryError",
    "HeldLock",
    "Internal",
    "InvalidContent",
    "InvalidRequest",
    "LimitExceeded",
    "LockClient",
    "LockHeld",
    "LockIntervened",
    "LockLost",
    "LockRequired",
    "LogAltered",
    "LogVerifier",
    "NotFound",
    "ProjectArchived",
    "ProjectClient",
    "ProjectFrozen",
    "RequestIdReused",
    "ResumeState",
    "Session",
    "SessionClient",
    "SessionClosed",
    "SessionSuperseded",
    "StaleVersion",
    "SyncAuditClient",
    "SyncDraftClient",
    "SyncFoundry",
    "SyncLockClient",
    "SyncProjectClient",
    "SyncSessionClient",
    "Token",
    "Unauthenticated",
    "Unavailable",
    "VerifiedLog",
    "Violation",
    "Workspace",
    "connect",
    "connect_sync",
    "from_rpc_error",
    "from_status",
]
