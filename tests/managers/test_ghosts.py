"""Nobody is shown whose session is over, however the news of its end and the showing fall together."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from foundry.domain.session import CloseReason, Session
from foundry.managers.sessions import OpenSession
from tests.managers.servers import until
from tests.managers.workspace import ALICE, BOB, Workspace, opened

COMING_BACK_MS = 20_000


@pytest.fixture
async def workspace(tmp_path: Path) -> AsyncIterator[Workspace]:
    async with opened(tmp_path) as made:
        yield made


async def shown(workspace: Workspace, project_id: str) -> list[str]:
    """Ids of the sessions that the others are shown."""
    present = await workspace.hub._presence._board._registry.present(project_id)
    return [here.session_id for here in present]


async def test_a_session_that_ends_while_it_is_opened_is_not_shown(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was open when that was read, and its end was told before it was shown."""
    project_id = await workspace.project(ALICE, BOB)
    watcher = await workspace.stream(project_id)
    sessions, read = workspace.sessions, workspace.sessions.current

    async def ends_behind(session: Session) -> Session:
        found = await read(session)
        monkeypatch.setattr(sessions, "current", read)
        assert await sessions.close(session, CloseReason.SUPERSEDED)
        await until(lambda: session.session_id not in workspace.hub._live)
        await asyncio.sleep(0)  # it is taken away, before it was shown
        return found

    monkeypatch.setattr(sessions, "current", ends_behind)
    live = await workspace.stream(project_id, BOB)
    assert live.ended.is_set()
    assert await shown(workspace, project_id) == [watcher.session_id]


async def test_a_session_that_ends_while_it_is_lost_is_not_shown_as_coming_back(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody ended it between the loss of its stream and the showing of that."""
    project_id = await workspace.project(ALICE, BOB)
    watcher = await workspace.stream(project_id)
    live = await workspace.hub.open(BOB, OpenSession(project_id, grace_ms=COMING_BACK_MS), None)
    sessions, detach = workspace.sessions, workspace.sessions.detach

    async def ends_behind(session: Session) -> bool:
        done = await detach(session)
        assert await sessions.close(session, CloseReason.ENDED)
        await until(lambda: len(workspace.hub._tasks) == 0)
        return done

    monkeypatch.setattr(sessions, "detach", ends_behind)
    await workspace.hub.finished(live, CloseReason.STREAM_GONE)
    assert await shown(workspace, project_id) == [watcher.session_id]
