"""The closed family of refusals. ``foundry.rpc.errors`` alone knows which gRPC status each becomes.

Every error has a stable ``reason`` (an ``ErrorReason`` of the contract), a sentence for people, and ``details``: a
value for everything the sentence mentions, so that no client has to parse the sentence.
"""

from foundry.domain.errors.access import (
    AdministratorRequired,
    AgentAccessDenied,
    HumanRequired,
    ProjectAccessDenied,
    ResumeRefused,
    RoleTooLow,
    Unauthenticated,
)
from foundry.domain.errors.base import FoundryError
from foundry.domain.errors.holding import (
    AlreadyOpen,
    FirstMessageNotOpen,
    LockHeld,
    LockIntervened,
    LockLost,
    LockRequired,
    SessionClosed,
    SessionEnded,
)
from foundry.domain.errors.request import (
    ContentTooLarge,
    FieldNameConflict,
    InvalidArgument,
    InvalidContent,
    LimitExceeded,
    MalformedMessage,
    MessageTooLarge,
    NotFound,
    PageTokenInvalid,
    ReasonRequired,
    RequestIdReused,
    Violation,
)
from foundry.domain.errors.state import (
    EtagMismatch,
    GoingAway,
    LastOwner,
    ProjectArchived,
    ProjectFrozen,
    StaleVersion,
    Unavailable,
)

__all__ = [
    "AdministratorRequired",
    "AgentAccessDenied",
    "AlreadyOpen",
    "ContentTooLarge",
    "EtagMismatch",
    "FieldNameConflict",
    "FirstMessageNotOpen",
    "FoundryError",
    "GoingAway",
    "HumanRequired",
    "InvalidArgument",
    "InvalidContent",
    "LastOwner",
    "LimitExceeded",
    "LockHeld",
    "LockIntervened",
    "LockLost",
    "LockRequired",
    "MalformedMessage",
    "MessageTooLarge",
    "NotFound",
    "PageTokenInvalid",
    "ProjectAccessDenied",
    "ProjectArchived",
    "ProjectFrozen",
    "ReasonRequired",
    "RequestIdReused",
    "ResumeRefused",
    "RoleTooLow",
    "SessionClosed",
    "SessionEnded",
    "StaleVersion",
    "Unauthenticated",
    "Unavailable",
    "Violation",
]
