"""What all errors of the client have in common."""

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
