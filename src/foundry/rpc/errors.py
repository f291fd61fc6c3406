"""The one list of which refusal becomes which gRPC status, and how its details are written.

Every error carries one ``google.rpc.ErrorInfo``; where it helps, a ``BadRequest``, ``PreconditionFailure``,
``ResourceInfo`` or ``RetryInfo``. Anything that is not in this list is INTERNAL with an id and nothing else: the text
of an exception never reaches a client.
"""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Final

import grpc
import structlog
from google.rpc import code_pb2, error_details_pb2, status_pb2

from foundry.domain.errors import FoundryError, FreezeBlocked, InvalidArgument, InvalidContent, LockHeld, NotFound

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from google.protobuf.message import Message

_log = structlog.get_logger(__name__)

DOMAIN: Final = "foundry.coreason.ai"

#: Status details travel in HTTP/2 trailers, which peers may refuse above 8 KiB; long values are cut.
_METADATA_BYTES_MAX = 512
_DETAILS_MAX = 16
#: Each is a short sentence of our own.
_BLOCKERS_MAX = 20
#: Together with an ErrorInfo and a message still below 8 KiB.
_LIST_BYTES_MAX = 5 * 1024
#: What a row of a list takes beside its two texts.
_ROW_BYTES = 20

#: gRPC code of each reason. A test compares it with the comments of ``error_reason.proto``.
CODES: Final[dict[str, grpc.StatusCode]] = {
    "TOKEN_MISSING": grpc.StatusCode.UNAUTHENTICATED,
    "TOKEN_INVALID": grpc.StatusCode.UNAUTHENTICATED,
    "TOKEN_EXPIRED": grpc.StatusCode.UNAUTHENTICATED,
    "PROJECT_ACCESS_DENIED": grpc.StatusCode.PERMISSION_DENIED,
    "ROLE_TOO_LOW": grpc.StatusCode.PERMISSION_DENIED,
    "AGENT_ACCESS_DENIED": grpc.StatusCode.PERMISSION_DENIED,
    "HUMAN_REQUIRED": grpc.StatusCode.PERMISSION_DENIED,
    "ADMINISTRATOR_REQUIRED": grpc.StatusCode.PERMISSION_DENIED,
    "NOT_YOURS": grpc.StatusCode.PERMISSION_DENIED,
    "RESUME_REFUSED": grpc.StatusCode.PERMISSION_DENIED,
    "ACCESS_LOST": grpc.StatusCode.PERMISSION_DENIED,
    "RESOURCE_NOT_FOUND": grpc.StatusCode.NOT_FOUND,
    "ANCHOR_OUT_OF_RANGE": grpc.StatusCode.OUT_OF_RANGE,
    "INVALID_ARGUMENT": grpc.StatusCode.INVALID_ARGUMENT,
    "MALFORMED_MESSAGE": grpc.StatusCode.INVALID_ARGUMENT,
    "CONTENT_TOO_LARGE": grpc.StatusCode.INVALID_ARGUMENT,
    "INVALID_CONTENT": grpc.StatusCode.INVALID_ARGUMENT,
    "PAGE_TOKEN_INVALID": grpc.StatusCode.INVALID_ARGUMENT,
    "REQUEST_ID_REUSED": grpc.StatusCode.INVALID_ARGUMENT,
    "FIRST_MESSAGE_NOT_OPEN": grpc.StatusCode.INVALID_ARGUMENT,
    "ALREADY_OPEN": grpc.StatusCode.INVALID_ARGUMENT,
    "MESSAGE_TOO_LARGE": grpc.StatusCode.RESOURCE_EXHAUSTED,
    "LIMIT_EXCEEDED": grpc.StatusCode.RESOURCE_EXHAUSTED,
    "SLOW_CONSUMER": grpc.StatusCode.RESOURCE_EXHAUSTED,
    "REASON_REQUIRED": grpc.StatusCode.FAILED_PRECONDITION,
    "FIELD_NAME_CONFLICT": grpc.StatusCode.FAILED_PRECONDITION,
    "PROJECT_ARCHIVED": grpc.StatusCode.FAILED_PRECONDITION,
    "PROJECT_FROZEN": grpc.StatusCode.FAILED_PRECONDITION,
    "NOT_FROZEN": grpc.StatusCode.FAILED_PRECONDITION,
    "FREEZE_BLOCKED": grpc.StatusCode.FAILED_PRECONDITION,
    "CONTENT_MISMATCH": grpc.StatusCode.FAILED_PRECONDITION,
    "COMMENT_DELETED": grpc.StatusCode.FAILED_PRECONDITION,
    "RUN_FINISHED": grpc.StatusCode.FAILED_PRECONDITION,
    "LINE_NUMBER_MISMATCH": grpc.StatusCode.FAILED_PRECONDITION,
    "LAST_OWNER": grpc.StatusCode.FAILED_PRECONDITION,
    "LOCK_HELD": grpc.StatusCode.FAILED_PRECONDITION,
    "LOCK_REQUIRED": grpc.StatusCode.FAILED_PRECONDITION,
    "LOCK_LOST": grpc.StatusCode.FAILED_PRECONDITION,
    "LOCK_INTERVENED": grpc.StatusCode.FAILED_PRECONDITION,
    "SESSION_CLOSED": grpc.StatusCode.FAILED_PRECONDITION,
    "ETAG_MISMATCH": grpc.StatusCode.ABORTED,
    "VERSION_MISMATCH": grpc.StatusCode.ABORTED,
    "STALE_VERSION": grpc.StatusCode.ABORTED,
    "SESSION_SUPERSEDED": grpc.StatusCode.ABORTED,
    "SESSION_SILENT": grpc.StatusCode.ABORTED,
    "SESSION_ENDED": grpc.StatusCode.ABORTED,
    "STORE_UNAVAILABLE": grpc.StatusCode.UNAVAILABLE,
    "GOING_AWAY": grpc.StatusCode.UNAVAILABLE,
    "INTERNAL": grpc.StatusCode.INTERNAL,
}

_RETRY_AFTER_S = {"SLOW_CONSUMER": 5.0}


def to_status(error: BaseException) -> status_pb2.Status:
    """The status of any exception; one that is no ``FoundryError`` is logged and told as INTERNAL with an id only."""
    if not isinstance(error, FoundryError) or error.reason not in CODES or error.reason == "INTERNAL":
        error_id = secrets.token_hex(8)
        _log.error("internal_error", error_id=error_id, exc_info=error)
        info = error_details_pb2.ErrorInfo(reason="INTERNAL", domain=DOMAIN, metadata={"error_id": error_id})
        return _status(code_pb2.INTERNAL, f"internal error {error_id}", [info])
    metadata = {key: _cut(value) for key, value in list(error.details.items())[:_DETAILS_MAX]}
    details: list[Message] = [error_details_pb2.ErrorInfo(reason=error.reason, domain=DOMAIN, metadata=metadata)]
    details += _more(error)
    retry_after_s = error.retry_after_s or _RETRY_AFTER_S.get(error.reason)
    if retry_after_s is not None:
        retry = error_details_pb2.RetryInfo()
        retry.retry_delay.FromMilliseconds(int(retry_after_s * 1000))
        details.append(retry)
    code: int = CODES[error.reason].value[0]
    return _status(code, _cut(error.message), details)


def _more(error: FoundryError) -> list[Message]:
    if isinstance(error, InvalidArgument):
        bad = error_details_pb2.BadRequest()
        for field, description in _fitting((found.field, found.description) for found in error.violations):
            bad.field_violations.add(field=field, description=description)
        return [bad]
    if isinstance(error, InvalidContent):
        bad = error_details_pb2.BadRequest()
        bad.field_violations.add(field=error.field, description=_cut(error.message))
        return [bad]
    if isinstance(error, LockHeld):
        failure = error_details_pb2.PreconditionFailure()
        held = (
            (f"fields/{lock.field}", f"held by {lock.holder.label} ({lock.holder.subject})") for lock in error.locks
        )
        for subject, description in _fitting(held):
            failure.violations.add(type="LOCK_HELD", subject=subject, description=description)
        return [failure]
    if isinstance(error, FreezeBlocked):
        failure = error_details_pb2.PreconditionFailure()
        for kind, subject, text in error.blockers[:_BLOCKERS_MAX]:
            failure.violations.add(type=kind, subject=subject, description=text)
        return [failure]
    if isinstance(error, NotFound):
        kind, name = error.details["resource_type"], error.details["resource_id"]
        return [error_details_pb2.ResourceInfo(resource_type=kind, resource_name=_cut(name))]
    return []


def _fitting(rows: Iterable[tuple[str, str]]) -> Iterator[tuple[str, str]]:
    """As many rows of a list as there is room for: all, unless their texts are unusually long."""
    left = _LIST_BYTES_MAX
    for row in rows:
        first, second = _cut(row[0]), _cut(row[1])
        left -= len(first.encode()) + len(second.encode()) + _ROW_BYTES
        if left < 0:
            return
        yield first, second


def _status(code: int, message: str, details: list[Message]) -> status_pb2.Status:
    status = status_pb2.Status(code=code, message=message)
    for detail in details:
        status.details.add().Pack(detail)
    return status


def _cut(text: str) -> str:
    encoded = text.encode()
    if len(encoded) <= _METADATA_BYTES_MAX:
        return text
    return encoded[: _METADATA_BYTES_MAX - 3].decode(errors="ignore") + "..."
