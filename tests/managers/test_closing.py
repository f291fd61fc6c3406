"""Sessions whose streams are gone, while the store is away: they are closed in the end, and not before their time."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from foundry.domain.errors import Unavailable
from foundry.domain.session import CloseReason, Session, SessionState
from foundry.managers import closing
from tests.managers.workspace import opened

GRACE_S = 0.1


async def test_the_grace_begins_anew_when_the_store_was_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody could resume while it was: who comes back with it finds the session."""
    monkeypatch.setattr(closing, "_RETRY_S", 0.001)
    async with opened(tmp_path) as workspace:
        session = await workspace.session(await workspace.project(), grace_ms=int(GRACE_S * 1_000))
        assert await workspace.sessions.detach(session)
        close, loop = workspace.sessions.close, asyncio.get_running_loop()
        tried_s: list[float] = []

        async def away_at_first(which: Session, why: CloseReason) -> bool:
            tried_s.append(loop.time())
            if len(tried_s) == 1:
                raise Unavailable("away")
            return await close(which, why)

        monkeypatch.setattr(workspace.sessions, "close", away_at_first)
        await closing.close_later(workspace.sessions, session, GRACE_S, CloseReason.STREAM_GONE)
        first, second = tried_s
        assert second - first > GRACE_S / 2  # the loop counts in milliseconds
        assert (await workspace.sessions.current(session)).state is SessionState.CLOSED
