"""The client library of foundry.

    async with connect("127.0.0.1:50051", token) as foundry:
        project = await foundry.projects.create("Triage agent")
        async with foundry.session(project.project_id) as session:
            async with session.lock("system_prompt") as lock:
                await lock.save("You are a careful assistant.", message="first words")

Messages go in and come out as the generated classes of ``coreason.foundry.v1``. ``connect_sync`` is the same without
``await``, and without what lives on a stream: sessions, and writing to consoles. Every failure is a ``FoundryError``.
"""

from foundry.client.bundle import AsyncBundle, SavedBundle, SyncBundle
from foundry.client.channel import Token
from foundry.client.console.running import RunningRun
from foundry.client.console.writer import RunLogWriter
from foundry.client.errors import (
    AccessDenied,
    AnchorOutOfRange,
    CommentDeleted,
    ContentMismatch,
    DeadlineExceeded,
    EtagMismatch,
    FoundryError,
    FreezeBlocked,
    Internal,
    InvalidContent,
    InvalidRequest,
    LimitExceeded,
    LineNumberMismatch,
    LockHeld,
    LockIntervened,
    LockLost,
    LockRequired,
    LogAltered,
    NotFound,
    NotFrozen,
    NotYours,
    ProjectArchived,
    ProjectFrozen,
    RequestIdReused,
    RunFinished,
    SessionClosed,
    SessionSuperseded,
    StaleVersion,
    Unauthenticated,
    Unavailable,
    VersionMismatch,
    Violation,
)
from foundry.client.foundry import Foundry, SyncFoundry, connect, connect_sync
from foundry.client.live.held_lock import HeldLock
from foundry.client.live.session import ResumeState, Session
from foundry.client.live.workspace import Workspace
from foundry.client.services.audit import AuditClient, LogVerifier, SyncAuditClient, VerifiedLog
from foundry.client.services.comments import CommentClient, SyncCommentClient
from foundry.client.services.drafts import Changes, DraftClient, SyncDraftClient
from foundry.client.services.exports import ExportClient, SyncExportClient
from foundry.client.services.locks import LockClient, SyncLockClient
from foundry.client.services.projects import ProjectClient, SyncProjectClient
from foundry.client.services.runs import RunClient, SyncRunClient
from foundry.client.services.sessions import SessionClient, SyncSessionClient
from foundry.client.statuses import from_rpc_error, from_status

__all__ = [
    "AccessDenied",
    "AnchorOutOfRange",
    "AsyncBundle",
    "AuditClient",
    "Changes",
    "CommentClient",
    "CommentDeleted",
    "ContentMismatch",
    "DeadlineExceeded",
    "DraftClient",
    "EtagMismatch",
    "ExportClient",
    "Foundry",
    "FoundryError",
    "FreezeBlocked",
    "HeldLock",
    "Internal",
    "InvalidContent",
    "InvalidRequest",
    "LimitExceeded",
    "LineNumberMismatch",
    "LockClient",
    "LockHeld",
    "LockIntervened",
    "LockLost",
    "LockRequired",
    "LogAltered",
    "LogVerifier",
    "NotFound",
    "NotFrozen",
    "NotYours",
    "ProjectArchived",
    "ProjectClient",
    "ProjectFrozen",
    "RequestIdReused",
    "ResumeState",
    "RunClient",
    "RunFinished",
    "RunLogWriter",
    "RunningRun",
    "SavedBundle",
    "Session",
    "SessionClient",
    "SessionClosed",
    "SessionSuperseded",
    "StaleVersion",
    "SyncAuditClient",
    "SyncBundle",
    "SyncCommentClient",
    "SyncDraftClient",
    "SyncExportClient",
    "SyncFoundry",
    "SyncLockClient",
    "SyncProjectClient",
    "SyncRunClient",
    "SyncSessionClient",
    "Token",
    "Unauthenticated",
    "Unavailable",
    "VerifiedLog",
    "VersionMismatch",
    "Violation",
    "Workspace",
    "connect",
    "connect_sync",
    "from_rpc_error",
    "from_status",
]
