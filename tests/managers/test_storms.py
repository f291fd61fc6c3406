"""Many streams that begin at once: they wait in line, and not for ever."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path

import pytest

from foundry.domain.errors import GoingAway
from foundry.domain.session import CloseReason
from foundry.settings import Liveness
from foundry.store.needs import Needs
from foundry.store.sqlite import connection
from foundry.store.unit_of_work import UnitOfWork
from tests.managers.workspace import opened

PATIENCE_S = 20.0


async def test_who_must_wait_for_too_long_is_told_when_to_come_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While the store is slow, who stands at the door comes in, and who stands behind is sent away with a time."""
    async with opened(tmp_path, liveness=Liveness(openings_max=1, opening_wait_s=0.05)) as workspace:
        project_id = await workspace.project()
        monkeypatch.setattr(connection, "INLINE_SECONDS_MAX", -1.0)  # the store is slow in its own thread
        fast = threading.Event()

        def slow(_: UnitOfWork) -> bool:
            return fast.wait(PATIENCE_S)

        slowing = asyncio.create_task(workspace.lane.submit(Needs(), slow))
        await asyncio.sleep(0)
        first = asyncio.create_task(workspace.stream(project_id))
        await asyncio.sleep(0)
        with pytest.raises(GoingAway) as sent_away:
            await workspace.stream(project_id)
        assert sent_away.value.retry_after_s
        fast.set()
        assert await slowing
        for stream in (await first, await workspace.stream(project_id)):
            await workspace.hub.finished(stream, CloseReason.LEAVE)
