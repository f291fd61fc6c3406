"""What the exit code of ``foundry`` says, so that scripts need not read sentences."""

from __future__ import annotations

from enum import IntEnum
from typing import Final


class ExitCode(IntEnum):
    """Exit codes; stable for ever."""

    OK = 0
    ERROR = 1
    USAGE = 2
    HELD = 3
    STALE = 4
    CLOSED = 5
    DENIED = 6
    UNAVAILABLE = 7
    LOCK_LOST = 8


MEANINGS: Final = {
    ExitCode.OK: "done",
    ExitCode.ERROR: "any other error",
    ExitCode.USAGE: "the command line is wrong",
    ExitCode.HELD: "somebody else holds the lock",
    ExitCode.STALE: "changed by somebody else in the meantime",
    ExitCode.CLOSED: "the project is frozen or archived",
    ExitCode.DENIED: "not allowed, or no valid token",
    ExitCode.UNAVAILABLE: "the server cannot be reached, or cannot answer now",
    ExitCode.LOCK_LOST: "the lock is lost, or none was shown",
}

_BY_STATUS: Final = {
    "UNAUTHENTICATED": ExitCode.DENIED,
    "PERMISSION_DENIED": ExitCode.DENIED,
    "UNAVAILABLE": ExitCode.UNAVAILABLE,
    "DEADLINE_EXCEEDED": ExitCode.UNAVAILABLE,
}

_BY_REASON: Final = {
    "LOCK_HELD": ExitCode.HELD,
    "STALE_VERSION": ExitCode.STALE,
    "ETAG_MISMATCH": ExitCode.STALE,
    "VERSION_MISMATCH": ExitCode.STALE,
    "CONTENT_MISMATCH": ExitCode.STALE,
    "PROJECT_FROZEN": ExitCode.CLOSED,
    "PROJECT_ARCHIVED": ExitCode.CLOSED,
    "LOCK_LOST": ExitCode.LOCK_LOST,
    "LOCK_REQUIRED": ExitCode.LOCK_LOST,
    "LOCK_INTERVENED": ExitCode.LOCK_LOST,
}


def exit_code_of(status: str, reason: str) -> ExitCode:
    """Return the exit code for a refusal.

    Args:
        status: Name of the gRPC status code.
        reason: Name of the ``ErrorReason`` without its prefix; may be empty.
    """
    return _BY_STATUS.get(status) or _BY_REASON.get(reason, ExitCode.ERROR)
