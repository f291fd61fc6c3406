"""The steps that change who holds a field, shared by every operation that does: grant, release, close a session.

These three functions are the only places where a lock begins or ends.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from foundry.domain.entry import Event
from foundry.domain.errors import (
    FieldNameConflict,
    LimitExceeded,
    LockHeld,
    LockIntervened,
    SessionClosed,
)
from foundry.domain.field import prefix_conflict
from foundry.domain.lock import Lock, ReleaseReason
from foundry.domain.project import FIELDS_PER_PROJECT_MAX
from foundry.domain.session import CloseReason, Session, SessionState
from foundry.ids import new_id
from foundry.managers.endings import ending
from foundry.managers.entries import entry, lock_acquired, lock_released

if TYPE_CHECKING:
    from foundry.domain.field import FieldState
    from foundry.domain.principal import Caller
    from foundry.store.unit_of_work import UnitOfWork


def attached_session(unit: UnitOfWork, caller: Caller, session_id: str, stream_epoch: int = 0) -> Session:
    """The caller's own attached session: the only kind that may hold and write.

    Args:
        stream_epoch: When over 0: only as long as it is attached by this stream.

    Raises:
        SessionClosed: Unknown, of another principal or project, of another history of the log, lost or ended.
        SessionEnded: Another stream has attached it since.
    """
    session = unit.session(session_id)
    if (
        session is None
        or session.state is not SessionState.ATTACHED
        or session.epoch != unit.epoch
        or session.project_id != unit.project.project_id
        or not session.principal.same_actor(caller.principal)
    ):
        raise SessionClosed(session_id)
    if stream_epoch not in {0, session.stream_epoch} and (error := ending(CloseReason.SUPERSEDED, session_id)):
        raise error
    return session


def check_free(unit: UnitOfWork, caller: Caller, names: list[str], leaving: frozenset[str] = frozenset()) -> None:
    """Refuse unless all fields are free and their names fit beside the live ones.

    Args:
        leaving: Of these, the fields that the same save removes; they make room.

    Raises:
        LockHeld: Some are held; names every holder.
        FieldNameConflict: A name is a prefix path of a live field, or has one as its prefix.
        LimitExceeded: The project would have too many fields.
    """
    held = [lock for name in names if (lock := unit.field(name).lock)]
    if held:
        same = all(lock.holder.same_actor(caller.principal) for lock in held)
        raise LockHeld(held, same_principal=same)
    live = {state.name for state in unit.fields if state.live} - leaving
    for name in names:
        if name not in live and name not in leaving:
            conflict = prefix_conflict(name, live)
            if conflict:
                raise FieldNameConflict(name, conflict)
            live.add(name)
    known = {state.name for state in unit.fields}
    if len(known.union(names)) > FIELDS_PER_PROJECT_MAX and not known.issuperset(names):
        raise LimitExceeded("fields in a project", FIELDS_PER_PROJECT_MAX)


def grant(
    unit: UnitOfWork,
    caller: Caller,
    session: Session,
    state: FieldState,
    *,
    idle_limit_us: int,
    purpose: str = "",
    if_unchanged_since: int = 0,
) -> Lock:
    """Grant a free field to a session: raise the fence, take the row, record who got which token.

    Raises:
        LockIntervened: ``if_unchanged_since`` is given and the fence has moved on.
    """
    if if_unchanged_since and state.fence != if_unchanged_since:
        raise LockIntervened(state.name, if_unchanged_since, state.fence)
    lock = Lock(
        lock_id=new_id(),
        project_id=session.project_id,
        field=state.name,
        holder=caller.principal,
        session_id=session.session_id,
        fencing_token=state.fence + 1,
        acquire_time_us=unit.now_us,
        expire_time_us=unit.now_us + idle_limit_us,
        purpose=purpose,
    )
    unit.put_field(replace(state, fence=lock.fencing_token, lock=lock))
    new = entry(Event.LOCK_ACQUIRED, caller, lock_acquired(lock), session_id=session.session_id)
    unit.add_grant(lock, unit.record(new))
    return lock


def release(
    unit: UnitOfWork, caller: Caller, lock: Lock, why: ReleaseReason, *, reason: str = "", request_id: str = ""
) -> int:
    """Free the field of a held lock; returns the sequence number of its entry.

    Args:
        caller: Who ends it; the holder stands in the entry's data.
        reason: Free text, for a forced release.
    """
    unit.put_field(replace(unit.field(lock.field), lock=None))
    new = entry(
        Event.LOCK_RELEASED,
        caller,
        lock_released(lock, why),
        session_id=lock.session_id,
        reason=reason,
        request_id=request_id,
    )
    return unit.record(new)


_RELEASED_BY: dict[CloseReason, ReleaseReason] = {
    CloseReason.LEAVE: ReleaseReason.LEAVE,
    CloseReason.STREAM_GONE: ReleaseReason.STREAM_GONE,
    CloseReason.HEARTBEAT: ReleaseReason.HEARTBEAT,
    CloseReason.SUPERSEDED: ReleaseReason.STREAM_GONE,
    CloseReason.TOKEN_EXPIRED: ReleaseReason.ACCESS_LOST,
    CloseReason.ENDED: ReleaseReason.FORCED,
    CloseReason.ACCESS_LOST: ReleaseReason.ACCESS_LOST,
    CloseReason.SLOW_CONSUMER: ReleaseReason.STREAM_GONE,
    CloseReason.SERVER_RESTART: ReleaseReason.SERVER_RESTART,
    CloseReason.REPLICA_DEAD: ReleaseReason.REPLICA_DEAD,
    CloseReason.DB_FAILOVER: ReleaseReason.DB_FAILOVER,
    CloseReason.UNARY: ReleaseReason.SAVE,
}


def close(
    unit: UnitOfWork, caller: Caller, session: Session, why: CloseReason, *, reason: str = "", request_id: str = ""
) -> int:
    """Close an open session and release everything it holds; returns the sequence number of the last entry."""
    for lock in unit.held_by(session.session_id):
        release(unit, caller, lock, _RELEASED_BY[why], reason=reason)
    closed = replace(session, state=SessionState.CLOSED, close_time_us=unit.now_us, close_reason=why)
    unit.put_session(closed)
    new = entry(
        Event.SESSION_CLOSED,
        caller,
        {
            "session_id": session.session_id,
            "subject": session.principal.subject,
            "close_reason": f"SESSION_CLOSE_REASON_{why.value}",
        },
        session_id=session.session_id,
        reason=reason,
        request_id=request_id,
    )
    return unit.record(new)
