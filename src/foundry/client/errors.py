"""Errors of the client: one class for each kind of refusal, with its values as attributes.

Every refusal of the server carries a ``google.rpc.ErrorInfo`` whose ``reason`` is an ``ErrorReason`` of the contract
(``error_reason.proto``). It decides the class here; a status without one is classed by its code alone.
"""

# ruff: noqa: N818 - a refusal bears the name of its reason in the contract: LockHeld is LOCK_HELD

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import grpc

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True)
class Violation:
    """One of several things that were wrong.

    Attributes:
        subject: The request field (``changes[0].text``), or what a precondition is about (``fields/system_prompt``).
        description: A sentence for people.
    """

    subject: str
    description: str


class FoundryError(Exception):
    """A call or command failed.

    Attributes:
        code: The gRPC status code.
        reason: Name of the ``ErrorReason`` without its prefix; empty when the failure did not come from foundry, such
            as a deadline that passed here or a connection that could not be made.
        message: A sentence for people; never parse it.
        metadata: What the sentence mentions, as documented at the reason; all strings.
        violations: The single things that were wrong, for the reasons that list them.
        retry_after_s: Seconds after which the server says a retry may succeed, or None.
    """

    #: Code of an error that is raised here and not received.
    default_code: ClassVar[grpc.StatusCode] = grpc.StatusCode.UNKNOWN

    def __init__(
        self,
        code: grpc.StatusCode | None = None,
        reason: str = "",
        message: str = "",
        metadata: Mapping[str, str] | None = None,
        *,
        violations: tuple[Violation, ...] = (),
        retry_after_s: float | None = None,
    ) -> None:
        self.code = code or self.default_code
        self.reason = reason
        self.message = message
        self.metadata = dict(metadata or {})
        self.violations = violations
        self.retry_after_s = retry_after_s
        super().__init__(message or reason or self.code.name)

    def _text(self, key: str) -> str:
        return self.metadata.get(key, "")

    def _number(self, key: str) -> int:
        return int(self.metadata.get(key) or 0)


# --- who may -----------------------------------------------------------------------------------------------------


class Unauthenticated(FoundryError):
    """TOKEN_MISSING, TOKEN_INVALID or TOKEN_EXPIRED."""

    default_code = grpc.StatusCode.UNAUTHENTICATED


class AccessDenied(FoundryError):
    """The caller may not do this; ``reason`` says what is missing. Also the answer for an unknown project."""

    default_code = grpc.StatusCode.PERMISSION_DENIED


# --- what was asked ----------------------------------------------------------------------------------------------


class NotFound(FoundryError):
    """Something inside a project the caller may read does not exist."""

    default_code = grpc.StatusCode.NOT_FOUND

    @property
    def resource_type(self) -> str:
        """What kind of thing is missing, such as ``draft``."""
        return self._text("resource_type")

    @property
    def resource_id(self) -> str:
        """How it was named."""
        return self._text("resource_id")


class InvalidRequest(FoundryError):
    """The request breaks a documented bound; ``violations`` lists each broken one."""

    default_code = grpc.StatusCode.INVALID_ARGUMENT


class InvalidContent(InvalidRequest):
    """The content of a field is not what its kind demands."""

    @property
    def field(self) -> str:
        """The field."""
        return self._text("field")

    @property
    def problem(self) -> str:
        """What is wrong with its content."""
        return self._text("problem")

    @property
    def line(self) -> int:
        """Line of the problem, from 1; 0 when not known."""
        return self._number("line")

    @property
    def column(self) -> int:
        """Column of the problem in code points, from 1; 0 when not known."""
        return self._number("column")


class RequestIdReused(InvalidRequest):
    """The ``request_id`` was used for a different request."""


# --- locks -------------------------------------------------------------------------------------------------------


class _Lock(FoundryError):
    """What refusals about locks have in common."""

    default_code = grpc.StatusCode.FAILED_PRECONDITION

    @property
    def field(self) -> str:
        """The field."""
        return self._text("field")

    @property
    def holder(self) -> str:
        """Subject of who holds it now; empty when nobody does."""
        return self._text("holder")

    @property
    def holder_name(self) -> str:
        """Name to show for the holder; may be empty."""
        return self._text("holder_name")

    @property
    def session_id(self) -> str:
        """Session that holds it now; empty when none does."""
        return self._text("session_id")


class LockHeld(_Lock):
    """Another session holds one or more of the fields. The attributes name the first holder, ``holders`` all."""

    @property
    def holders(self) -> list[Violation]:
        """One for each held field; ``subject`` is ``fields/{field}``, ``description`` names its holder."""
        return list(self.violations)

    @property
    def fencing_token(self) -> int:
        """Fencing token of the first holder's grant, from 1."""
        return self._number("fencing_token")

    @property
    def same_principal(self) -> bool:
        """Whether it is the caller's own, in another session."""
        return self._text("same_principal") == "true"


class LockRequired(_Lock):
    """The write changes a field and names no lock for it."""


class LockLost(_Lock):
    """The named lock is not the caller's: another session's, an older grant, or released."""

    @property
    def current_fencing_token(self) -> int:
        """The field's fence now."""
        return self._number("current_fencing_token")


class LockIntervened(_Lock):
    """A conditional acquire found that somebody held the field in between."""

    @property
    def current_fencing_token(self) -> int:
        """The field's fence now."""
        return self._number("current_fencing_token")


# --- state of things ---------------------------------------------------------------------------------------------


class StaleVersion(FoundryError):
    """A changed field was changed by somebody else after ``base_version``."""

    default_code = grpc.StatusCode.ABORTED

    @property
    def base(self) -> int:
        """The version the request was based on."""
        return self._number("base_version")

    @property
    def head(self) -> int:
        """The newest version."""
        return self._number("head_version")

    @property
    def changed(self) -> dict[str, tuple[int, str]]:
        """The fields in conflict, each with the version that last changed it and that version's author."""
        fields = [key.split(":")[1] for key in self.metadata if key.startswith("changed:") and key.endswith(":version")]
        return {
            field: (self._number(f"changed:{field}:version"), self._text(f"changed:{field}:author")) for field in fields
        }


class EtagMismatch(FoundryError):
    """The resource changed since it was read."""

    default_code = grpc.StatusCode.ABORTED

    @property
    def current_etag(self) -> str:
        """Its tag now."""
        return self._text("current_etag")


class ProjectFrozen(FoundryError):
    """The project's content can no longer change."""

    default_code = grpc.StatusCode.FAILED_PRECONDITION

    @property
    def state(self) -> str:
        """IN_REVIEW or FROZEN."""
        return self._text("state")


class ProjectArchived(FoundryError):
    """The project is archived: it can be read, and unarchived."""

    default_code = grpc.StatusCode.FAILED_PRECONDITION


class SessionClosed(FoundryError):
    """The session is not open, or not the caller's; or somebody ended it, or it fell silent."""

    default_code = grpc.StatusCode.FAILED_PRECONDITION


class SessionSuperseded(SessionClosed):
    """A newer stream with the same ``tab_id`` took this session's place."""


# --- circumstances -----------------------------------------------------------------------------------------------


class LimitExceeded(FoundryError):
    """A bound on how many or how much is reached."""

    default_code = grpc.StatusCode.RESOURCE_EXHAUSTED


class DeadlineExceeded(FoundryError):
    """No answer came in time. A write may have happened all the same; its ``request_id`` tells."""

    default_code = grpc.StatusCode.DEADLINE_EXCEEDED


class Unavailable(FoundryError):
    """The server cannot be reached, cannot commit now, or is shutting down."""

    default_code = grpc.StatusCode.UNAVAILABLE

    @property
    def retry_after(self) -> float | None:
        """Seconds after which the server says a retry may succeed, or None."""
        return self.retry_after_s


class Internal(FoundryError):
    """The server failed; ``metadata["error_id"]`` is what its operators need."""

    default_code = grpc.StatusCode.INTERNAL


class LogAltered(FoundryError):
    """A log does not verify.

    Attributes:
        sequence: Sequence number of the first bad entry.
        problem: What is wrong with it.
    """

    default_code = grpc.StatusCode.DATA_LOSS

    def __init__(self, sequence: int, problem: str) -> None:
        super().__init__(message=f"entry {sequence}: {problem}")
        self.sequence = sequence
        self.problem = problem
