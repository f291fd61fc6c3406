"""What arrives on the wire becomes the documented error, with its values as attributes."""

from __future__ import annotations

import grpc
import grpc.aio
import pytest
from google.rpc import error_details_pb2

from coreason.foundry.v1 import error_reason_pb2
from foundry.client import (
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
    from_rpc_error,
    from_status,
)
from tests.client.scripted import retry_info, status

Code = grpc.StatusCode

#: Every reason of the contract with its code as documented there, and the class a program catches.
REASONS = {
    "TOKEN_MISSING": (Code.UNAUTHENTICATED, Unauthenticated),
    "TOKEN_INVALID": (Code.UNAUTHENTICATED, Unauthenticated),
    "TOKEN_EXPIRED": (Code.UNAUTHENTICATED, Unauthenticated),
    "PROJECT_ACCESS_DENIED": (Code.PERMISSION_DENIED, AccessDenied),
    "ROLE_TOO_LOW": (Code.PERMISSION_DENIED, AccessDenied),
    "AGENT_ACCESS_DENIED": (Code.PERMISSION_DENIED, AccessDenied),
    "HUMAN_REQUIRED": (Code.PERMISSION_DENIED, AccessDenied),
    "ADMINISTRATOR_REQUIRED": (Code.PERMISSION_DENIED, AccessDenied),
    "RESUME_REFUSED": (Code.PERMISSION_DENIED, AccessDenied),
    "RESOURCE_NOT_FOUND": (Code.NOT_FOUND, NotFound),
    "INVALID_ARGUMENT": (Code.INVALID_ARGUMENT, InvalidRequest),
    "MALFORMED_MESSAGE": (Code.INVALID_ARGUMENT, InvalidRequest),
    "MESSAGE_TOO_LARGE": (Code.RESOURCE_EXHAUSTED, LimitExceeded),
    "CONTENT_TOO_LARGE": (Code.INVALID_ARGUMENT, InvalidRequest),
    "INVALID_CONTENT": (Code.INVALID_ARGUMENT, InvalidContent),
    "PAGE_TOKEN_INVALID": (Code.INVALID_ARGUMENT, InvalidRequest),
    "REQUEST_ID_REUSED": (Code.INVALID_ARGUMENT, RequestIdReused),
    "REASON_REQUIRED": (Code.FAILED_PRECONDITION, FoundryError),
    "FIELD_NAME_CONFLICT": (Code.FAILED_PRECONDITION, FoundryError),
    "LIMIT_EXCEEDED": (Code.RESOURCE_EXHAUSTED, LimitExceeded),
    "PROJECT_ARCHIVED": (Code.FAILED_PRECONDITION, ProjectArchived),
    "PROJECT_FROZEN": (Code.FAILED_PRECONDITION, ProjectFrozen),
    "LAST_OWNER": (Code.FAILED_PRECONDITION, FoundryError),
    "ETAG_MISMATCH": (Code.ABORTED, EtagMismatch),
    "STALE_VERSION": (Code.ABORTED, StaleVersion),
    "LOCK_HELD": (Code.FAILED_PRECONDITION, LockHeld),
    "LOCK_REQUIRED": (Code.FAILED_PRECONDITION, LockRequired),
    "LOCK_LOST": (Code.FAILED_PRECONDITION, LockLost),
    "LOCK_INTERVENED": (Code.FAILED_PRECONDITION, LockIntervened),
    "SESSION_CLOSED": (Code.FAILED_PRECONDITION, SessionClosed),
    "FIRST_MESSAGE_NOT_OPEN": (Code.INVALID_ARGUMENT, InvalidRequest),
    "ALREADY_OPEN": (Code.INVALID_ARGUMENT, InvalidRequest),
    "SESSION_SUPERSEDED": (Code.ABORTED, SessionSuperseded),
    "SESSION_SILENT": (Code.ABORTED, SessionClosed),
    "SESSION_ENDED": (Code.ABORTED, SessionClosed),
    "SLOW_CONSUMER": (Code.RESOURCE_EXHAUSTED, LimitExceeded),
    "ACCESS_LOST": (Code.PERMISSION_DENIED, AccessDenied),
    "STORE_UNAVAILABLE": (Code.UNAVAILABLE, Unavailable),
    "GOING_AWAY": (Code.UNAVAILABLE, Unavailable),
    "INTERNAL": (Code.INTERNAL, Internal),
    "NOT_YOURS": (Code.PERMISSION_DENIED, NotYours),
    "ANCHOR_OUT_OF_RANGE": (Code.OUT_OF_RANGE, AnchorOutOfRange),
    "COMMENT_DELETED": (Code.FAILED_PRECONDITION, CommentDeleted),
    "RUN_FINISHED": (Code.FAILED_PRECONDITION, RunFinished),
    "LINE_NUMBER_MISMATCH": (Code.FAILED_PRECONDITION, LineNumberMismatch),
    "CONTENT_MISMATCH": (Code.FAILED_PRECONDITION, ContentMismatch),
    "VERSION_MISMATCH": (Code.ABORTED, VersionMismatch),
    "FREEZE_BLOCKED": (Code.FAILED_PRECONDITION, FreezeBlocked),
    "NOT_FROZEN": (Code.FAILED_PRECONDITION, NotFrozen),
}


def test_the_table_has_every_reason_of_the_contract() -> None:
    names = {name.removeprefix("ERROR_REASON_") for name in error_reason_pb2.ErrorReason.keys()}  # noqa: SIM118 - no dict
    assert names - {"UNSPECIFIED"} == REASONS.keys()


@pytest.mark.parametrize("reason", REASONS)
def test_each_reason_has_its_class(reason: str) -> None:
    code, kind = REASONS[reason]
    error = from_status(status(code, reason, "a sentence", key="value"))
    assert type(error) is kind
    assert error.code is code
    assert error.reason == reason
    assert error.message == str(error) == "a sentence"
    assert error.metadata == {"key": "value"}
    assert error.retry_after_s is None


def test_a_held_lock_names_every_holder() -> None:
    violations = [
        error_details_pb2.PreconditionFailure.Violation(type="LOCK_HELD", subject=f"fields/{field}", description=who)
        for field, who in (("a", "a is being edited by Bob"), ("b", "b is being edited by Eve"))
    ]
    error = from_status(
        status(
            Code.FAILED_PRECONDITION,
            "LOCK_HELD",
            "held",
            error_details_pb2.PreconditionFailure(violations=violations),
            field="a",
            holder="bob",
            holder_name="Bob",
            session_id="s2",
            fencing_token="7",
            same_principal="false",
        )
    )
    assert isinstance(error, LockHeld)
    assert (error.field, error.holder, error.holder_name, error.session_id) == ("a", "bob", "Bob", "s2")
    assert error.fencing_token == 7
    assert not error.same_principal
    assert error.holders == [
        Violation("fields/a", "a is being edited by Bob"),
        Violation("fields/b", "b is being edited by Eve"),
    ]


def test_a_stale_version_says_who_changed_what() -> None:
    metadata = {
        "base_version": "14",
        "head_version": "16",
        "changed:system_prompt:version": "15",
        "changed:system_prompt:author": "bob",
        "changed:few_shot/a.jsonl:version": "16",
        "changed:few_shot/a.jsonl:author": "urn:people:eve",
    }
    error = from_status(status(Code.ABORTED, "STALE_VERSION", **metadata))
    assert isinstance(error, StaleVersion)
    assert (error.base, error.head) == (14, 16)
    assert error.changed == {"system_prompt": (15, "bob"), "few_shot/a.jsonl": (16, "urn:people:eve")}


def test_invalid_content_says_where() -> None:
    metadata = {"field": "model_config", "problem": "given twice", "line": "4", "column": "3"}
    error = from_status(status(Code.INVALID_ARGUMENT, "INVALID_CONTENT", **metadata))
    assert isinstance(error, InvalidContent)
    assert (error.field, error.problem, error.line, error.column) == ("model_config", "given twice", 4, 3)


def test_an_invalid_request_lists_every_violation() -> None:
    violation = error_details_pb2.BadRequest.FieldViolation(field="page_size", description="at most 1000")
    bad = error_details_pb2.BadRequest(field_violations=[violation])
    error = from_status(status(Code.INVALID_ARGUMENT, "INVALID_ARGUMENT", "no", bad, field="page_size"))
    assert isinstance(error, InvalidRequest)
    assert error.violations == (Violation("page_size", "at most 1000"),)


def test_what_else_the_errors_tell() -> None:
    missing = from_status(status(Code.NOT_FOUND, "RESOURCE_NOT_FOUND", resource_type="draft", resource_id="17"))
    assert isinstance(missing, NotFound)
    assert (missing.resource_type, missing.resource_id) == ("draft", "17")
    tag = from_status(status(Code.ABORTED, "ETAG_MISMATCH", current_etag="1-4"))
    assert isinstance(tag, EtagMismatch)
    assert tag.current_etag == "1-4"
    frozen = from_status(status(Code.FAILED_PRECONDITION, "PROJECT_FROZEN", state="IN_REVIEW"))
    assert isinstance(frozen, ProjectFrozen)
    assert frozen.state == "IN_REVIEW"
    lost = from_status(status(Code.FAILED_PRECONDITION, "LOCK_LOST", field="a", current_fencing_token="8"))
    assert isinstance(lost, LockLost)
    assert (lost.field, lost.holder, lost.current_fencing_token) == ("a", "", 8)
    later = from_status(status(Code.FAILED_PRECONDITION, "LOCK_INTERVENED", field="a", current_fencing_token="9"))
    assert isinstance(later, LockIntervened)
    assert later.current_fencing_token == 9


def test_what_the_errors_of_comments_runs_and_releases_tell() -> None:
    def refused(code: grpc.StatusCode, reason: str, **metadata: str) -> FoundryError:
        return from_status(status(code, reason, **metadata))

    theirs = refused(Code.PERMISSION_DENIED, "NOT_YOURS", resource_type="run", resource_id="r1", owner="bob")
    assert isinstance(theirs, AccessDenied)
    assert isinstance(theirs, NotYours)
    assert (theirs.resource_type, theirs.resource_id, theirs.owner) == ("run", "r1", "bob")
    beyond = refused(
        Code.OUT_OF_RANGE,
        "ANCHOR_OUT_OF_RANGE",
        field="a",
        version_number="3",
        start_line="10",
        end_line="12",
        line_count="9",
    )
    assert isinstance(beyond, AnchorOutOfRange)
    assert (beyond.field, beyond.version, beyond.start_line, beyond.end_line, beyond.line_count) == ("a", 3, 10, 12, 9)
    gone = refused(Code.FAILED_PRECONDITION, "COMMENT_DELETED", comment_id="c1")
    assert isinstance(gone, CommentDeleted)
    assert gone.comment_id == "c1"
    over = refused(Code.FAILED_PRECONDITION, "RUN_FINISHED", run_id="r1", state="PASSED")
    assert isinstance(over, RunFinished)
    assert (over.run_id, over.state) == ("r1", "PASSED")
    gap = refused(Code.FAILED_PRECONDITION, "LINE_NUMBER_MISMATCH", run_id="r1", expected_line="1001", line="1003")
    assert isinstance(gap, LineNumberMismatch)
    assert (gap.run_id, gap.expected_line, gap.line) == ("r1", 1001, 1003)
    other = refused(Code.FAILED_PRECONDITION, "CONTENT_MISMATCH", version_number="14", content_sha256="6d")
    assert isinstance(other, ContentMismatch)
    assert (other.version, other.content_sha256) == (14, "6d")
    moved = refused(Code.ABORTED, "VERSION_MISMATCH", expected_version="14", head_version="16")
    assert isinstance(moved, VersionMismatch)
    assert (moved.expected, moved.head) == (14, 16)
    open_still = refused(Code.FAILED_PRECONDITION, "NOT_FROZEN", project_id="p1", state="ACTIVE")
    assert isinstance(open_still, NotFrozen)
    assert open_still.state == "ACTIVE"


def test_a_blocked_freeze_lists_everything_in_its_way() -> None:
    violations = [
        error_details_pb2.PreconditionFailure.Violation(type=kind, subject=subject, description=why)
        for kind, subject, why in (
            ("RUN_RUNNING", "runs/r1", "a run is not finished"),
            ("EVIDENCE_MISSING", "evidence", "no run passed"),
        )
    ]
    details = error_details_pb2.PreconditionFailure(violations=violations)
    error = from_status(
        status(Code.FAILED_PRECONDITION, "FREEZE_BLOCKED", "no", details, blocker="RUN_RUNNING", blocker_count="2")
    )
    assert isinstance(error, FreezeBlocked)
    assert error.blocker == "RUN_RUNNING"
    assert error.blockers == [
        Violation("runs/r1", "a run is not finished"),
        Violation("evidence", "no run passed"),
    ]


def test_retry_info_is_seconds() -> None:
    error = from_status(status(Code.UNAVAILABLE, "STORE_UNAVAILABLE", "no", retry_info(1.5)))
    assert isinstance(error, Unavailable)
    assert error.retry_after == error.retry_after_s == 1.5


def test_reasons_of_others_are_not_ours() -> None:
    """A proxy may attach an ErrorInfo of its own; its reason means nothing in this contract."""
    error = from_status(status(Code.UNAVAILABLE, "LOCK_HELD", domain="proxy.example.org"))
    assert type(error) is Unavailable
    assert error.reason == ""


def test_a_status_without_details_is_classed_by_its_code() -> None:
    metadata = grpc.aio.Metadata()
    error = grpc.aio.AioRpcError(Code.DEADLINE_EXCEEDED, metadata, metadata, details="too slow")
    mapped = from_rpc_error(error)
    assert type(mapped) is DeadlineExceeded
    assert mapped.message == "too slow"
    assert mapped.reason == ""


def test_unreadable_details_are_left_out() -> None:
    trailers = grpc.aio.Metadata(("grpc-status-details-bin", b"\xff\xff"))
    error = grpc.aio.AioRpcError(Code.NOT_FOUND, grpc.aio.Metadata(), trailers, details="gone")
    assert type(from_rpc_error(error)) is NotFound


def test_a_code_without_class_is_a_plain_error() -> None:
    error = from_status(status(Code.UNIMPLEMENTED))
    assert type(error) is FoundryError
    assert error.code is Code.UNIMPLEMENTED
