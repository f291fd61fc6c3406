"""Errors of the client: one class for each kind of refusal, with its values as attributes.

Every refusal of the server carries a ``google.rpc.ErrorInfo`` whose ``reason`` is an ``ErrorReason`` of the contract
(``error_reason.proto``). It decides the class here; a status without one is classed by its code alone.
"""

from foundry.client.errors.access import (
    AccessDenied,
    NotYours,
    Unauthenticated,
)
from foundry.client.errors.base import (
    FoundryError,
    Violation,
)
from foundry.client.errors.circumstances import (
    DeadlineExceeded,
    Internal,
    LimitExceeded,
    LogAltered,
    Unavailable,
)
from foundry.client.errors.holding import (
    LockHeld,
    LockIntervened,
    LockLost,
    LockRequired,
    SessionClosed,
    SessionSuperseded,
)
from foundry.client.errors.request import (
    AnchorOutOfRange,
    InvalidContent,
    InvalidRequest,
    NotFound,
    RequestIdReused,
)
from foundry.client.errors.runs import (
    ContentMismatch,
    LineNumberMismatch,
    RunFinished,
)
from foundry.client.errors.state import (
    CommentDeleted,
    EtagMismatch,
    FreezeBlocked,
    NotFrozen,
    ProjectArchived,
    ProjectFrozen,
    StaleVersion,
    VersionMismatch,
)

__all__ = [
    "AccessDenied",
    "AnchorOutOfRange",
    "CommentDeleted",
    "ContentMismatch",
    "DeadlineExceeded",
    "EtagMismatch",
    "FoundryError",
    "FreezeBlocked",
    "Internal",
    "InvalidContent",
    "InvalidRequest",
    "LimitExceeded",
    "LineNumberMismatch",
    "LockHeld",
    "LockIntervened",
    "LockLost",
    "LockRequired",
    "LogAltered",
    "NotFound",
    "NotFrozen",
    "NotYours",
    "ProjectArchived",
    "ProjectFrozen",
    "RequestIdReused",
    "RunFinished",
    "SessionClosed",
    "SessionSuperseded",
    "StaleVersion",
    "Unauthenticated",
    "Unavailable",
    "VersionMismatch",
    "Violation",
]
