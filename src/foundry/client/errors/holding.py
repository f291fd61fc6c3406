"""Refusals about the pen: locks, and the sessions that hold them."""

# ruff: noqa: N818 - a refusal bears the name of its reason in the contract: LockHeld is LOCK_HELD

from __future__ import annotations

import grpc

from foundry.client.errors.base import FoundryError, Violation


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


class SessionClosed(FoundryError):
    """The session is not open, or not the caller's; or somebody ended it, or it fell silent."""

    default_code = grpc.StatusCode.FAILED_PRECONDITION


class SessionSuperseded(SessionClosed):
    """A newer stream with the same ``tab_id`` took this session's place."""
