"""Closing sessions, however long the store is away: a session without a stream must not hold locks."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import structlog

from foundry.domain.errors import Unavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from foundry.domain.session import CloseReason, Session
    from foundry.managers.sessions import SessionManager

_log = structlog.get_logger(__name__)

_RETRY_S = 1.0


async def until_stored(change: Callable[[], Coroutine[Any, Any, bool]], retry_s: float = 0.0) -> bool:
    """Make a change that must be made, and try again until the store takes it, after ``retry_s`` or a second."""
    while True:
        try:
            return await change()
        except Unavailable:
            _log.debug("session_close_postponed")
        except Exception:  # noqa: BLE001 - whatever it was
            _log.exception("session_close_failed")
        await asyncio.sleep(max(retry_s, _RETRY_S))


async def close_later(sessions: SessionManager, session: Session, delay_s: float, why: CloseReason) -> None:
    """Close a session when its grace is over, unless it was resumed meanwhile.

    While the store is away nobody can resume, so the grace begins anew when it is.
    """
    await asyncio.sleep(delay_s)
    await until_stored(lambda: sessions.close(session, why), retry_s=delay_s)
