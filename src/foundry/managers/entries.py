"""How managers word log entries."""

from __future__ import annotations

from typing import TYPE_CHECKING

from foundry.domain.entry import Event, NewEntry, Value
from foundry.domain.principal import SYSTEM, Caller

if TYPE_CHECKING:
    from collections.abc import Mapping

    from foundry.domain.lock import Lock, ReleaseReason
    from foundry.domain.project import Policy

#: Calls of the server itself: sweeps and timers.
SERVER = Caller(SYSTEM)


def entry(
    event: Event,
    caller: Caller,
    data: Mapping[str, Value],
    *,
    session_id: str = "",
    request_id: str = "",
    reason: str = "",
    **text: str,
) -> NewEntry:
    """An entry of ``caller``.

    Args:
        data: The arm's fields; ids, hashes and numbers only.
        reason: Why, as the caller gave it; free text.
        text: More free text, by the names of the contract.
    """
    return NewEntry(
        event=event,
        actor=caller.principal,
        data=data,
        text={"reason": reason, **text},
        session_id=session_id,
        request_id=request_id,
        correlation_id=caller.correlation_id,
    )


def lock_acquired(lock: Lock) -> dict[str, Value]:
    """Data of a ``lock_acquired`` entry."""
    return {
        "lock_id": lock.lock_id,
        "field": lock.field,
        "session_id": lock.session_id,
        "fencing_token": lock.fencing_token,
    }


def lock_released(lock: Lock, reason: ReleaseReason) -> dict[str, Value]:
    """Data of a ``lock_released`` entry."""
    released: dict[str, Value] = {
        "release_reason": f"LOCK_RELEASE_REASON_{reason.value}",
        "holder": lock.holder.subject,
    }
    return lock_acquired(lock) | released


def policy_data(policy: Policy) -> dict[str, Value]:
    """A policy as it stands in entries."""
    return {
        "agent_access": f"AGENT_ACCESS_{policy.agent_access.value}",
        "require_reason": policy.require_reason,
        "require_evidence": policy.require_evidence,
        "min_approvals": policy.min_approvals,
        "viewers_may_comment": policy.viewers_may_comment,
        "log_retention_days": policy.log_retention_days,
    }
