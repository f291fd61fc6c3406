"""The closed family of refusals. ``foundry.rpc.errors`` alone knows which gRPC status each becomes.

Every error has a stable ``reason`` (an ``ErrorReason`` of the contract), a sentence for people, and ``details``: a
value for everything the sentence mentions, so that no client has to parse the sentence.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from collections.abc import Sequence

    from foundry.domain.lock import Lock


class FoundryError(Exception):
    """A refusal with a documented reason.

    Attributes:
        reason: Name of the ``ErrorReason`` without its prefix; stable for ever.
        details: Machine-readable values, all strings.
        retry_after_s: Seconds after which a retry may succeed, or None when a plain retry will not help.
    """

    reason: ClassVar[str] = "INTERNAL"
    retry_after_s: float | None = None

    def __init__(self, message: str, /, **details: str | int | bool) -> None:
        super().__init__(message)
        self.message = message
        self.details: dict[str, str] = {key: _text(value) for key, value in details.items()}


def _text(value: str | int | bool) -> str:  # noqa: FBT001 - a value to print, not a switch
    return str(value).lower() if isinstance(value, bool) else str(value)


# --- who may -----------------------------------------------------------------------------------------------------


class Unauthenticated(FoundryError):
    """No usable credential: TOKEN_MISSING, TOKEN_INVALID or TOKEN_EXPIRED."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason  # type: ignore[misc]  # one class, three reasons: they differ in nothing else


class ProjectAccessDenied(FoundryError):
    """The project does not exist or the caller is no member of it; which of the two is never said."""

    reason = "PROJECT_ACCESS_DENIED"

    def __init__(self, project_id: str) -> None:
        super().__init__("there is no such project, or you are not a member of it", project_id=project_id)


class RoleTooLow(FoundryError):
    """The caller's role in the project does not include the action."""

    reason = "ROLE_TOO_LOW"

    def __init__(self, action: str, role: str, required: str) -> None:
        super().__init__(
            f"{action} needs the role {required}; yours is {role}", action=action, role=role, required_role=required
        )


class AgentAccessDenied(FoundryError):
    """The project's policy keeps AI agents from the action."""

    reason = "AGENT_ACCESS_DENIED"

    def __init__(self, action: str, policy: str) -> None:
        super().__init__(
            f"agents may not {action} here: the project's agent_access is {policy}", action=action, agent_access=policy
        )


class HumanRequired(FoundryError):
    """Only a HUMAN principal may do this, whatever the token's scopes."""

    reason = "HUMAN_REQUIRED"

    def __init__(self, action: str, kind: str) -> None:
        super().__init__(f"{action} is for people; you are a {kind}", action=action, kind=kind)


class AdministratorRequired(FoundryError):
    """Only an administrator of the installation may do this."""

    reason = "ADMINISTRATOR_REQUIRED"

    def __init__(self, action: str) -> None:
        super().__init__(f"{action} is for administrators of the installation", action=action)


class ResumeRefused(FoundryError):
    """The resume secret is not the current one of a session of this principal in this project."""

    reason = "RESUME_REFUSED"

    def __init__(self, session_id: str) -> None:
        super().__init__("this session cannot be resumed with this secret", session_id=session_id)


# --- what is not there -------------------------------------------------------------------------------------------


class NotFound(FoundryError):
    """Something inside a project the caller may read does not exist."""

    reason = "RESOURCE_NOT_FOUND"

    def __init__(self, resource_type: str, resource_id: str) -> None:
        super().__init__(
            f"there is no {resource_type} {resource_id!r} in this project",
            resource_type=resource_type,
            resource_id=resource_id,
        )


# --- what was asked ----------------------------------------------------------------------------------------------


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

    def __init__(self, what: str, limit: int, *, retry_after_s: float | None = None) -> None:
        super().__init__(f"at most {limit} {what}", limit_name=what, limit=limit)
        self.retry_after_s = retry_after_s


# --- state of things ---------------------------------------------------------------------------------------------


class ProjectArchived(FoundryError):
    """The project is archived; it can be read and unarchived."""

    reason = "PROJECT_ARCHIVED"

    def __init__(self, project_id: str) -> None:
        super().__init__("the project is archived", project_id=project_id)


class ProjectFrozen(FoundryError):
    """The project's content can no longer change (IN_REVIEW or FROZEN)."""

    reason = "PROJECT_FROZEN"

    def __init__(self, project_id: str, state: str) -> None:
        super().__init__(f"the project is {state}; its content cannot change", project_id=project_id, state=state)


class LastOwner(FoundryError):
    """The last OWNER cannot be removed or demoted."""

    reason = "LAST_OWNER"

    def __init__(self, subject: str) -> None:
        super().__init__(f"{subject} is the last OWNER of the project", subject=subject)


class EtagMismatch(FoundryError):
    """Somebody changed the resource since it was read."""

    reason = "ETAG_MISMATCH"

    def __init__(self, current_etag: str) -> None:
        super().__init__("the resource changed since you read it", current_etag=current_etag)


class StaleVersion(FoundryError):
    """A changed field was changed by somebody else after ``base_version``."""

    reason = "STALE_VERSION"

    def __init__(self, base_version: int, head_version: int, changed: dict[str, tuple[int, str]]) -> None:
        """Args: changed maps each conflicting field to (version, author subject) of its last change."""
        who = ", ".join(f"{name} in version {version} by {author}" for name, (version, author) in changed.items())
        details: dict[str, str | int] = {"base_version": base_version, "head_version": head_version}
        for name, (version, author) in changed.items():
            details[f"changed:{name}:version"] = version
            details[f"changed:{name}:author"] = author
        super().__init__(f"changed since version {base_version}: {who}", **details)
        self.base_version, self.head_version, self.changed = base_version, head_version, changed


# --- locks and sessions ------------------------------------------------------------------------------------------


class LockHeld(FoundryError):
    """Another session holds one or more of the fields; every holder is named."""

    reason = "LOCK_HELD"

    def __init__(self, locks: Sequence[Lock], *, same_principal: bool = False) -> None:
        first = locks[0]
        text = "; ".join(f"{lock.field} is being edited by {lock.holder.label}" for lock in locks)
        super().__init__(
            text,
            field=first.field,
            holder=first.holder.subject,
            holder_name=first.holder.display_name,
            holder_kind=first.holder.kind.value,
            session_id=first.session_id,
            fencing_token=first.fencing_token,
            same_principal=same_principal,
        )
        self.locks = tuple(locks)


class LockRequired(FoundryError):
    """The write names no lock for a field that it changes."""

    reason = "LOCK_REQUIRED"

    def __init__(self, field: str) -> None:
        super().__init__(f"{field} can only be changed by the session that holds its lock", field=field)


class LockLost(FoundryError):
    """The named lock is no longer, or never was, the caller's: other session, older fence, or released."""

    reason = "LOCK_LOST"

    def __init__(self, field: str, fencing_token: int, current: Lock | None, current_fence: int) -> None:
        """Args: current is the lock that is held now, None when the field is free."""
        state = f"it is held by {current.holder.label}" if current else "it is free"
        details: dict[str, str | int] = {
            "field": field,
            "fencing_token": fencing_token,
            "current_fencing_token": current_fence,
        }
        if current:
            details |= {
                "holder": current.holder.subject,
                "holder_name": current.holder.display_name,
                "session_id": current.session_id,
            }
        super().__init__(f"you do not hold {field} with token {fencing_token}; {state}", **details)
        self.current = current


class LockIntervened(FoundryError):
    """A conditional acquire found that the field was held by somebody in between."""

    reason = "LOCK_INTERVENED"

    def __init__(self, field: str, if_unchanged_since: int, current_fence: int) -> None:
        super().__init__(
            f"{field} was held by somebody else since token {if_unchanged_since}",
            field=field,
            if_unchanged_since=if_unchanged_since,
            current_fencing_token=current_fence,
        )


class SessionClosed(FoundryError):
    """The named session is unknown, ended, detached, or not the caller's: it can hold and write nothing."""

    reason = "SESSION_CLOSED"

    def __init__(self, session_id: str) -> None:
        super().__init__("the session is not open, or not yours", session_id=session_id)


class FirstMessageNotOpen(FoundryError):
    """The first message on a session stream is something else than ``open``, or did not come in time."""

    reason = "FIRST_MESSAGE_NOT_OPEN"

    def __init__(self, got: str) -> None:
        super().__init__(f"the first message of a session stream must be open; got {got}", got=got)


class AlreadyOpen(FoundryError):
    """A second ``open`` on a stream."""

    reason = "ALREADY_OPEN"

    def __init__(self, session_id: str) -> None:
        super().__init__("this stream is open already", session_id=session_id)


class SessionEnded(FoundryError):
    """Why a stream was ended: SESSION_SUPERSEDED, SESSION_SILENT, SLOW_CONSUMER, SESSION_ENDED or ACCESS_LOST."""

    def __init__(self, reason: str, message: str, session_id: str = "") -> None:
        super().__init__(message, session_id=session_id)
        self.reason = reason  # type: ignore[misc]  # one class, several endings: they differ in nothing else


# --- the server itself -------------------------------------------------------------------------------------------


class Unavailable(FoundryError):
    """The store cannot commit now; nothing of the request took effect, or its request id will tell."""

    reason = "STORE_UNAVAILABLE"
    retry_after_s = 1.0


class GoingAway(FoundryError):
    """The server is shutting down; sessions keep their locks and may resume."""

    reason = "GOING_AWAY"

    def __init__(self, retry_after_s: float) -> None:
        super().__init__("the server is shutting down; resume in a moment")
        self.retry_after_s = retry_after_s
