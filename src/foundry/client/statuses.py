"""From what arrives on the wire, ``google.rpc.Status`` and ``grpc.RpcError``, to the errors of the client."""

from __future__ import annotations

import contextlib
from typing import Any, Final, TypeVar

import grpc
from google.protobuf.message import DecodeError, Message
from google.rpc import error_details_pb2, status_pb2

from foundry.client import errors

#: ``domain`` of every ErrorInfo of the server; others come from proxies and say nothing about the contract.
_DOMAIN: Final = "foundry.coreason.ai"

#: Trailer in which gRPC carries the whole ``google.rpc.Status``.
_DETAILS: Final = "grpc-status-details-bin"

_BY_REASON: Final[dict[str, type[errors.FoundryError]]] = {
    "INVALID_CONTENT": errors.InvalidContent,
    "REQUEST_ID_REUSED": errors.RequestIdReused,
    "LOCK_HELD": errors.LockHeld,
    "LOCK_REQUIRED": errors.LockRequired,
    "LOCK_LOST": errors.LockLost,
    "LOCK_INTERVENED": errors.LockIntervened,
    "STALE_VERSION": errors.StaleVersion,
    "ETAG_MISMATCH": errors.EtagMismatch,
    "PROJECT_FROZEN": errors.ProjectFrozen,
    "PROJECT_ARCHIVED": errors.ProjectArchived,
    "SESSION_CLOSED": errors.SessionClosed,
    "SESSION_ENDED": errors.SessionClosed,
    "SESSION_SILENT": errors.SessionClosed,
    "SESSION_SUPERSEDED": errors.SessionSuperseded,
    "NOT_YOURS": errors.NotYours,
    "ANCHOR_OUT_OF_RANGE": errors.AnchorOutOfRange,
    "COMMENT_DELETED": errors.CommentDeleted,
    "RUN_FINISHED": errors.RunFinished,
    "LINE_NUMBER_MISMATCH": errors.LineNumberMismatch,
    "CONTENT_MISMATCH": errors.ContentMismatch,
    "VERSION_MISMATCH": errors.VersionMismatch,
    "FREEZE_BLOCKED": errors.FreezeBlocked,
    "NOT_FROZEN": errors.NotFrozen,
}

_BY_CODE: Final[dict[grpc.StatusCode, type[errors.FoundryError]]] = {
    kind.default_code: kind
    for kind in (
        errors.Unauthenticated,
        errors.AccessDenied,
        errors.NotFound,
        errors.InvalidRequest,
        errors.LimitExceeded,
        errors.DeadlineExceeded,
        errors.Unavailable,
        errors.Internal,
    )
}

_CODES: Final[dict[int, grpc.StatusCode]] = {code.value[0]: code for code in grpc.StatusCode}

_M = TypeVar("_M", bound=Message)


def from_status(status: status_pb2.Status) -> errors.FoundryError:
    """Return the error that a status means.

    Args:
        status: Any status but OK, with or without details.

    Returns:
        The error, of the class of its reason, else of its code, else plain ``FoundryError``. Details of unknown types
        are left out.
    """
    code = _CODES.get(status.code, grpc.StatusCode.UNKNOWN)
    info = _detail(status, error_details_pb2.ErrorInfo)
    if info.domain != _DOMAIN:
        info = error_details_pb2.ErrorInfo()
    request = _detail(status, error_details_pb2.BadRequest).field_violations
    state = _detail(status, error_details_pb2.PreconditionFailure).violations
    delay = _detail(status, error_details_pb2.RetryInfo)
    kind = _BY_REASON.get(info.reason) or _BY_CODE.get(code, errors.FoundryError)
    return kind(
        code,
        info.reason,
        status.message,
        info.metadata,
        violations=(
            *(errors.Violation(violation.field, violation.description) for violation in request),
            *(errors.Violation(violation.subject, violation.description) for violation in state),
        ),
        retry_after_s=delay.retry_delay.ToMilliseconds() / 1000 if delay.HasField("retry_delay") else None,
    )


def from_rpc_error(error: grpc.RpcError) -> errors.FoundryError:
    """Return the error that a failed call of gRPC means, synchronous or not.

    Args:
        error: What the call raised, with a code other than OK.

    Returns:
        As for ``from_status``; by its code and text alone when it carries no status details, or unreadable ones.
    """
    trailers: Any = error.trailing_metadata()  # pairs, in a container that differs between the two kinds
    for key, value in trailers or ():
        if key == _DETAILS and isinstance(value, bytes):
            with contextlib.suppress(DecodeError):
                return from_status(status_pb2.Status.FromString(value))
    return from_status(status_pb2.Status(code=_number(error.code()), message=error.details() or ""))


def _number(code: grpc.StatusCode) -> int:
    number: int = code.value[0]
    return number


def _detail(status: status_pb2.Status, kind: type[_M]) -> _M:
    """The first detail of a type, or an empty one."""
    found = kind()
    for detail in status.details:
        with contextlib.suppress(DecodeError):
            if detail.Unpack(found):
                return found
    return kind()
