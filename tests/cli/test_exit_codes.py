"""Exit codes tell scripts what happened."""

from __future__ import annotations

import pytest

from coreason.foundry.v1.error_reason_pb2 import ErrorReason
from foundry.cli.exit_codes import MEANINGS, ExitCode, exit_code_of

_OTHER = {
    "UNSPECIFIED",
    "RESOURCE_NOT_FOUND",
    "INVALID_ARGUMENT",
    "MALFORMED_MESSAGE",
    "MESSAGE_TOO_LARGE",
    "CONTENT_TOO_LARGE",
    "INVALID_CONTENT",
    "PAGE_TOKEN_INVALID",
    "REQUEST_ID_REUSED",
    "REASON_REQUIRED",
    "FIELD_NAME_CONFLICT",
    "LIMIT_EXCEEDED",
    "LAST_OWNER",
    "SESSION_CLOSED",
    "FIRST_MESSAGE_NOT_OPEN",
    "ALREADY_OPEN",
    "SESSION_SUPERSEDED",
    "SESSION_SILENT",
    "SESSION_ENDED",
    "SLOW_CONSUMER",
    "INTERNAL",
    "ANCHOR_OUT_OF_RANGE",
    "COMMENT_DELETED",
    "RUN_FINISHED",
    "LINE_NUMBER_MISMATCH",
    "FREEZE_BLOCKED",
    "NOT_FROZEN",
}
_BY_STATUS = {
    "UNAUTHENTICATED": {"TOKEN_MISSING", "TOKEN_INVALID", "TOKEN_EXPIRED"},
    "PERMISSION_DENIED": {
        "PROJECT_ACCESS_DENIED",
        "ROLE_TOO_LOW",
        "AGENT_ACCESS_DENIED",
        "HUMAN_REQUIRED",
        "ADMINISTRATOR_REQUIRED",
        "RESUME_REFUSED",
        "ACCESS_LOST",
        "NOT_YOURS",
    },
    "UNAVAILABLE": {"STORE_UNAVAILABLE", "GOING_AWAY"},
}


def test_codes_are_stable() -> None:
    assert [(code.name, int(code)) for code in ExitCode] == [
        ("OK", 0),
        ("ERROR", 1),
        ("USAGE", 2),
        ("HELD", 3),
        ("STALE", 4),
        ("CLOSED", 5),
        ("DENIED", 6),
        ("UNAVAILABLE", 7),
        ("LOCK_LOST", 8),
    ]
    assert set(MEANINGS) == set(ExitCode)


@pytest.mark.parametrize(
    ("status", "reason", "code"),
    [
        ("FAILED_PRECONDITION", "LOCK_HELD", ExitCode.HELD),
        ("ABORTED", "STALE_VERSION", ExitCode.STALE),
        ("ABORTED", "ETAG_MISMATCH", ExitCode.STALE),
        ("ABORTED", "VERSION_MISMATCH", ExitCode.STALE),
        ("FAILED_PRECONDITION", "CONTENT_MISMATCH", ExitCode.STALE),
        ("FAILED_PRECONDITION", "PROJECT_FROZEN", ExitCode.CLOSED),
        ("FAILED_PRECONDITION", "PROJECT_ARCHIVED", ExitCode.CLOSED),
        ("PERMISSION_DENIED", "ROLE_TOO_LOW", ExitCode.DENIED),
        ("UNAUTHENTICATED", "TOKEN_EXPIRED", ExitCode.DENIED),
        ("UNAVAILABLE", "STORE_UNAVAILABLE", ExitCode.UNAVAILABLE),
        ("UNAVAILABLE", "", ExitCode.UNAVAILABLE),
        ("DEADLINE_EXCEEDED", "", ExitCode.UNAVAILABLE),
        ("FAILED_PRECONDITION", "LOCK_LOST", ExitCode.LOCK_LOST),
        ("FAILED_PRECONDITION", "LOCK_REQUIRED", ExitCode.LOCK_LOST),
        ("FAILED_PRECONDITION", "LOCK_INTERVENED", ExitCode.LOCK_LOST),
        ("INVALID_ARGUMENT", "INVALID_CONTENT", ExitCode.ERROR),
        ("DATA_LOSS", "", ExitCode.ERROR),
    ],
)
def test_reasons_map_to_codes(status: str, reason: str, code: ExitCode) -> None:
    assert exit_code_of(status, reason) is code


def test_every_reason_of_the_contract_was_thought_of() -> None:
    """A new reason must be put here, and so is given an exit code on purpose."""
    known = {name.removeprefix("ERROR_REASON_") for name in ErrorReason.keys()}  # noqa: SIM118 - no dictionary
    own_code = {
        reason for reason in known - _OTHER if exit_code_of("FAILED_PRECONDITION", reason) is not ExitCode.ERROR
    }
    assert known == _OTHER | own_code | set().union(*_BY_STATUS.values())
