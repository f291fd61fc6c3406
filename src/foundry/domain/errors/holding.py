"""Locks and sessions: held, lost, ended."""

from __future__ import annotations

from typing import TYPE_CHECKING

from foundry.domain.errors.base import FoundryError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from foundry.domain.lock import Lock


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
