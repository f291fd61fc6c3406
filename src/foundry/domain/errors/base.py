"""What every refusal has: a stable reason, a sentence, and a value for everything the sentence mentions."""

from __future__ import annotations

from typing import ClassVar


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
