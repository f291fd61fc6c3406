"""Nobody is shown whose session is over, however the news of its end and the showing fall together."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from coreason.foundry.v1.session_pb2 import ProjectSessionResponse
from foundry.domain.entry import Entry
from foundry.domain.project import Role
from foundry.domain.session import CloseReason, Session
from foundry.managers.sessions import OpenSession
from tests.backends import commits_in_a_thread
from tests.managers.servers import PATIENCE_S, servers, until
from tests.managers.workspace import ALICE, BOB, Workspace, opened
from tests.support import soon

COMING_BACK_MS = 20_000


@pytest.fixture
async def workspace(tmp_path: Path) -> AsyncIterator[Workspace]:
    async with opened(tmp_path) as made:
        yield made


async def shown(workspace: Workspace, project_id: str) -> list[str]:
    """Ids of the sessions that the others are shown."""
    present = await workspace.hub._presence._board._registry.present(project_id)
    return [here.session_id for here in present]


async def until_shown(workspace: Workspace, project_id: str, *session_ids: str) -> None:
    """Wait until the others are shown these sessions."""
    async with asyncio.timeout(PATIENCE_S):
        while await shown(workspace, project_id) != list(session_ids):  # noqa: ASYNC110 - the registry tells nobody
            await asyncio.sleep(0.01)


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


async def test_who_left_elsewhere_in_its_grace_is_shown_no_more(url: str, tmp_path: Path) -> None:
    """Nobody on the server that lost its stream was told: it looks when the grace is over."""
    async with servers(tmp_path, url, 2, fates=(0,)) as (one, two):
        project_id = await one.project(ALICE)
        live = await one.hub.open(ALICE, OpenSession(project_id, grace_ms=300), None)
        await one.hub.finished(live, CloseReason.STREAM_GONE)
        assert await shown(one, project_id) == [live.session_id]
        await two.sessions.end(ALICE, project_id, live.session_id)
        await until_shown(one, project_id)


async def test_an_end_that_was_committed_as_somebody_came_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a slow disk others run between a commit and its news; who comes then already finds it in the log."""
    async with opened(tmp_path) as only:
        project_id = await only.project(ALICE, BOB)
        gone = await only.hub.open(ALICE, OpenSession(project_id, grace_ms=10 * COMING_BACK_MS), None)
        await only.hub.finished(gone, CloseReason.STREAM_GONE)
        in_thread, committed, go = asyncio.to_thread, asyncio.Event(), asyncio.Event()

        async def late(work: Callable[[], object]) -> object:
            result = await in_thread(work)
            committed.set()
            await go.wait()
            return result

        monkeypatch.setattr(asyncio, "to_thread", late)
        with commits_in_a_thread():
            closing = asyncio.create_task(only.sessions.close(gone.session, CloseReason.STREAM_GONE))
            await soon(committed.wait())
            coming = asyncio.create_task(only.stream(project_id, BOB))
            await until(lambda: project_id in only.feed._tails and only.feed._tails[project_id].last is not None)
            go.set()
            assert await closing
            bob = await soon(coming)
        await until_shown(only, project_id, bob.session_id)


async def test_a_stream_is_ended_when_another_takes_its_place_though_the_feed_is_behind(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The entry that says so waits behind those of others; nothing is kept for the former stream."""
    async with servers(tmp_path, url, 2, fates=(0,)) as (one, two):
        project_id = await one.project(ALICE, BOB)
        attached = await two.sessions.open(BOB, OpenSession(project_id, tab_id="tab"))
        wanted = OpenSession(project_id, "tab", attached.session.session_id, attached.secret)
        former = await two.hub.open(BOB, wanted, None, {})
        frame = ProjectSessionResponse.FromString(await soon(former.take()))
        secret = frame.events[0].opened.resume_secret
        entries = two.store.entries
        after, go = entries.after, asyncio.Event()

        async def late(name: str, sequence: int, limit: int) -> list[Entry]:
            await go.wait()
            return await after(name, sequence, limit)

        monkeypatch.setattr(entries, "after", late)
        await one.projects.set_member(ALICE, project_id, "carol", Role.EDITOR)
        await two.feed.reconcile()
        coming = asyncio.create_task(
            two.hub.open(BOB, OpenSession(project_id, "tab", attached.session.session_id, secret), None, {})
        )
        await soon(former.ended.wait())
        assert former.ending
        assert former.ending.reason == "SESSION_SUPERSEDED"
        go.set()
        live = await soon(coming)
        assert not live.ended.is_set()
        assert two.feed._tails[project_id].watchers == 1
        assert len(two.hub._console._followers[project_id]) == 1
