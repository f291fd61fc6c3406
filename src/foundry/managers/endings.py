"""How a stream ends, by the reason for which its session was closed."""

from __future__ import annotations

from foundry.domain.errors import FoundryError, GoingAway, SessionEnded, Unauthenticated
from foundry.domain.session import CloseReason

#: Nobody wanted these: the client comes back, with a new session, and asks for its locks anew.
_COME_BACK = frozenset({CloseReason.REPLICA_DEAD, CloseReason.DB_FAILOVER})
_RETRY_S = 1.0


def ending(why: str, session_id: str) -> FoundryError | None:
    """How a stream ends whose session was closed for this reason; None is a good end."""
    endings: dict[str, tuple[str, str]] = {
        CloseReason.SUPERSEDED: ("SESSION_SUPERSEDED", "a newer stream took this session's place"),
        CloseReason.HEARTBEAT: ("SESSION_SILENT", "nothing was heard from the client for too long"),
        CloseReason.SLOW_CONSUMER: ("SLOW_CONSUMER", "the client did not read for too long"),
        CloseReason.ENDED: ("SESSION_ENDED", "somebody ended the session"),
        CloseReason.ACCESS_LOST: ("ACCESS_LOST", "you may no longer read this project"),
        CloseReason.STREAM_GONE: ("SESSION_ENDED", "the session is closed"),
        CloseReason.SERVER_RESTART: ("SESSION_ENDED", "the session was not resumed in time"),
    }
    if why in _COME_BACK:
        return GoingAway(_RETRY_S)
    if why == CloseReason.TOKEN_EXPIRED:
        return Unauthenticated("TOKEN_EXPIRED", "the session's token expired")
    if why in endings:
        reason, text = endings[why]
        return SessionEnded(reason, text, session_id)
    return None
