"""What was asked: unknown things, broken bounds, malformed bytes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from foundry.domain.errors.base import FoundryError


class NotFound(FoundryError):
    """Something inside a project the caller may read does not exist."""

    reason = "RESOURCE_NOT_FOUND"

    def __init__(self, resource_type: str, resource_id: str) -> None:
        super().__init__(
            f"there is no {resource_type} {resource_id!r} in this project",
            resource_type=resource_type,
            resource_id=resource_id,
        )


@dataclass(frozen=True, slots=True)
class Violation:
    """One request field that broke its bound."""

    field: str
    description: str


class InvalidArgument(FoundryError):
    """One or more request fields break their documented bounds."""

    reason = "INVALID_ARGUMENT"

    def __init__(self, field: str, description: str, *, more: Sequence[Violation] = ()) -> None:
        self.violations: tuple[Violation, ...] = (Violation(field, description), *more)
        super().__init__(f"{field}: {description}", field=field)


class MalformedMessage(FoundryError):
    """The bytes are no message of the expected type: invalid protobuf, or a string that is not UTF-8."""

    reason = "MALFORMED_MESSAGE"

    def __init__(self, message_type: str) -> None:
        super().__init__(
            f"the bytes are no valid {message_type}: not protobuf, or text that is not UTF-8", message_type=message_type
        )


class MessageTooLarge(FoundryError):
    """The message is over the limit for one message."""

    reason = "MESSAGE_TOO_LARGE"

    def __init__(self, size_bytes: int, limit_bytes: int) -> None:
        super().__init__(
            f"a message has at most {limit_bytes} bytes; this one has {size_bytes}",
            size_bytes=size_bytes,
            limit_bytes=limit_bytes,
        )


class ContentTooLarge(FoundryError):
    """A field's content, or an answer that would carry several, is over its limit."""

    reason = "CONTENT_TOO_LARGE"

    def __init__(self, field: str, size_bytes: int, limit_bytes: int) -> None:
        super().__init__(
            f"{field} has {size_bytes} bytes; at most {limit_bytes} are allowed",
            field=field,
            size_bytes=size_bytes,
            limit_bytes=limit_bytes,
        )


class InvalidContent(FoundryError):
    """The content of a field is not what its kind demands."""

    reason = "INVALID_CONTENT"

    def __init__(self, field: str, problem: str, line: int = 0, column: int = 0) -> None:
        """Args: line and column are 1-based, columns count code points; 0 means not known."""
        where = f" at line {line}, column {column}" if line else ""
        super().__init__(f"{field}{where}: {problem}", field=field, problem=problem, line=line, column=column)
        self.field, self.problem, self.line, self.column = field, problem, line, column


class AnchorOutOfRange(FoundryError):
    """A comment's lines are not lines of the field in that version."""

    reason = "ANCHOR_OUT_OF_RANGE"

    def __init__(self, field: str, version_number: int, start_line: int, end_line: int, line_count: int) -> None:
        super().__init__(
            f"{field} has {line_count} lines in version {version_number}; {start_line} to {end_line} are none of it",
            field=field,
            version_number=version_number,
            start_line=start_line,
            end_line=end_line,
            line_count=line_count,
        )


class PageTokenInvalid(FoundryError):
    """The page token was not issued by this server for a request with these arguments."""

    reason = "PAGE_TOKEN_INVALID"

    def __init__(self) -> None:
        super().__init__("page_token was not issued for this request; start again without one")


class RequestIdReused(FoundryError):
    """The request id was already used for another command."""

    reason = "REQUEST_ID_REUSED"

    def __init__(self, request_id: str) -> None:
        super().__init__("this request_id was used for a different request", request_id=request_id)


class ReasonRequired(FoundryError):
    """The project's policy demands a reason for this."""

    reason = "REASON_REQUIRED"

    def __init__(self) -> None:
        super().__init__("this project requires a reason for every change")


class FieldNameConflict(FoundryError):
    """The field name is a prefix path of a live field, or has one as its prefix."""

    reason = "FIELD_NAME_CONFLICT"

    def __init__(self, field: str, existing_field: str) -> None:
        super().__init__(
            f"{field} cannot exist beside {existing_field}: fields are leaves",
            field=field,
            existing_field=existing_field,
        )


class LimitExceeded(FoundryError):
    """A bound on how many there may be is reached."""

    reason = "LIMIT_EXCEEDED"

    def __init__(self, what: str, limit: int) -> None:
        super().__init__(f"at most {limit} {what}", limit_name=what, limit=limit)
