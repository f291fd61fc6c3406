"""A COMMIT whose answer is lost: nobody knows whether a session was opened, resumed, or left; none stays for ever."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from foundry.clock import SystemClock
from foundry.coordination.memory import MemoryEventBus
from foundry.domain.entry import Event
from foundry.domain.errors import Unavailable
from foundry.domain.session import CloseReason, SessionState
from foundry.managers import closing
from foundry.managers.sessions import OpenSession
from foundry.settings import Postgres
from foundry.store.postgres.database import PostgresDatabase
from tests.faults.cluster import behind
from tests.faults.commit_proxy import CommitProxy
from tests.managers.servers import until
from tests.managers.workspace import ALICE, BOB, Workspace, opened

if TYPE_CHECKING:
    from tests.faults.commit_proxy import When

_SESSIONS = {Event.SESSION_OPENED, Event.SESSION_RESUMED, Event.SESSION_CLOSED, Event.LOCK_RELEASED}


@dataclass
class Pair:
    """A server that loses answers when it is told to, and another that does not.

    Attributes:
        proxy: Between the first and the database.
    """

    losing: Workspace
    sound: Workspace
    proxy: CommitProxy

    async def settled(self) -> None:
        """Whatever the first has begun for nobody is done."""
        await until(lambda: not self.losing.hub._tasks)

    async def ends(self, project_id: str) -> list[Event]:
        """What happened to sessions, and that locks were released, by the log."""
        return [entry.new.event for entry in await self.sound.log(project_id) if entry.new.event in _SESSIONS]


@pytest.fixture
async def pair(url: str, tmp_path: Path) -> AsyncIterator[Pair]:
    host = url.rpartition("@")[2].partition("/")[0]
    line: list[MemoryEventBus] = []
    async with contextlib.AsyncExitStack() as stack:
        proxy = await stack.enter_async_context(CommitProxy(host))
        made = []
        for each in (behind(url, proxy.address), url):
            database = await PostgresDatabase.open(each, Postgres(pool_max=4), SystemClock())
            made.append(await stack.enter_async_context(opened(tmp_path, shared=database, line=line)))
        yield Pair(made[0], made[1], proxy)


@pytest.mark.parametrize("when", ["before", "after"])
async def test_a_session_that_nobody_knows_of_does_not_stay(pair: Pair, when: When) -> None:
    """Its client is told that it is not known whether it was opened; if it was, it is closed."""
    project_id = await pair.sound.project(ALICE)
    pair.proxy.arm(when)
    with pytest.raises(Unavailable):
        await pair.losing.hub.open(ALICE, OpenSession(project_id, grace_ms=60_000), None)
    await pair.settled()
    assert await pair.sound.sessions.list_sessions(ALICE, project_id, "", 10) == []
    once = [Event.SESSION_OPENED, Event.SESSION_CLOSED] if when == "after" else []
    assert await pair.ends(project_id) == once
    assert not (await pair.losing.stream(project_id)).ended.is_set()


@pytest.mark.parametrize("when", ["before", "after"])
async def test_a_session_that_was_resumed_for_nobody_gives_its_locks_back(pair: Pair, when: When) -> None:
    """Its client has no secret any more that fits. If it was not resumed, it is as it was, with its locks."""
    project_id = await pair.sound.project(ALICE, BOB)
    before = await pair.sound.sessions.open(ALICE, OpenSession(project_id, grace_ms=60_000))
    lock = await pair.sound.lock(before.session, "notes")
    back = OpenSession(
        project_id, resume_session_id=before.session.session_id, resume_secret=before.secret, grace_ms=60_000
    )
    pair.proxy.arm(when)
    with pytest.raises(Unavailable):
        await pair.losing.hub.open(ALICE, back, None)
    await pair.settled()
    now = await pair.sound.sessions.current(before.session)
    if when == "before":
        assert now == before.session
        again = await pair.losing.sessions.open(ALICE, back)
        assert again.resumed
        assert await pair.losing.lock(again.session, "notes") == lock
        return
    assert (now.state, now.close_reason) == (SessionState.CLOSED, CloseReason.STREAM_GONE)
    taken = await pair.sound.lock(await pair.sound.session(project_id, BOB), "notes", BOB)
    assert taken.fencing_token == lock.fencing_token + 1


@pytest.mark.parametrize("when", ["before", "after"])
async def test_a_session_is_closed_after_its_grace_also_if_it_is_not_known_to_be_detached(
    pair: Pair, when: When
) -> None:
    """The stream is lost, and so is the answer to that: it is said again, and the time of its grace begins."""
    project_id = await pair.sound.project(ALICE, BOB)
    live = await pair.losing.hub.open(ALICE, OpenSession(project_id, grace_ms=1), None)
    lock = await pair.losing.lock(live.session, "notes")
    pair.proxy.arm(when)
    await pair.losing.hub.finished(live, CloseReason.STREAM_GONE)
    await pair.settled()
    assert pair.proxy.cuts == 1
    assert (await pair.sound.sessions.current(live.session)).close_reason is CloseReason.STREAM_GONE
    taken = await pair.sound.lock(await pair.sound.session(project_id, BOB), "notes", BOB)
    assert taken.fencing_token == lock.fencing_token + 1


async def test_a_session_that_went_on_elsewhere_is_not_closed_for_a_lost_answer(pair: Pair) -> None:
    """Its client came back over the other server before the first could say again that it was gone."""
    project_id = await pair.sound.project(ALICE)
    before = await pair.sound.sessions.open(ALICE, OpenSession(project_id, grace_ms=60_000))
    back = OpenSession(project_id, resume_session_id=before.session.session_id, resume_secret=before.secret)
    resumed = await pair.sound.sessions.open(ALICE, back)
    pair.proxy.arm("after")
    assert not await closing.until_stored(lambda: pair.losing.sessions.detach(before.session))
    assert await pair.sound.sessions.current(resumed.session) == resumed.session
