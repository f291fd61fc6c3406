"""Who is let in: a refusal keeps no place at the door, and a server that leaves lets nobody in."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from coreason.foundry.v1 import session_pb2
from foundry.domain.errors import GoingAway, ProjectAccessDenied
from foundry.domain.principal import Caller
from foundry.domain.session import SessionState
from foundry.managers.sessions import AttachedSession, Attempt, OpenSession
from foundry.settings import Liveness
from tests.managers.workspace import ALICE, BOB, Workspace, opened


@pytest.fixture
async def narrow(tmp_path: Path) -> AsyncIterator[Workspace]:
    """One is let in at a time, and others wait for as good as no time."""
    async with opened(tmp_path, liveness=Liveness(openings_max=1, opening_wait_s=0.05)) as made:
        yield made


async def test_who_is_refused_keeps_no_place_at_the_door(narrow: Workspace) -> None:
    project_id = await narrow.project(ALICE)
    for _ in range(3):
        with pytest.raises(ProjectAccessDenied):
            await narrow.stream(project_id, BOB)
    assert not (await narrow.stream(project_id)).ended.is_set()


async def test_a_server_that_leaves_lets_nobody_in(narrow: Workspace) -> None:
    """Whoever comes is told when to come back, and no session is opened for nobody."""
    project_id = await narrow.project(ALICE)
    await narrow.hub.drain()
    with pytest.raises(GoingAway) as sent_away:
        await narrow.stream(project_id)
    assert sent_away.value.retry_after_s
    assert await narrow.sessions.list_sessions(ALICE, project_id, "", 10) == []


async def test_who_was_let_in_while_the_server_began_to_leave_is_sent_away_too(
    narrow: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the session and its secret: it was stored, and not yet among the streams, when these were told."""
    project_id = await narrow.project(ALICE)
    sessions, opening = narrow.sessions, narrow.sessions.open

    async def leaves_behind(caller: Caller, wanted: OpenSession, attempt: Attempt) -> AttachedSession:
        attached = await opening(caller, wanted, attempt)
        await narrow.hub.drain()
        return attached

    monkeypatch.setattr(sessions, "open", leaves_behind)
    live = await narrow.stream(project_id)
    assert isinstance(live.ending, GoingAway)
    assert live.keeps_session
    told = []
    while data := await live.take():
        told += [event.WhichOneof("event") for event in session_pb2.ProjectSessionResponse.FromString(data).events]
    assert (told[0], told[-1]) == ("opened", "going_away")
    assert (await sessions.current(live.session)).state is SessionState.ATTACHED
