"""Another history of the log: what was opened, held and streamed in the one before is void, on every server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from coreason.foundry.v1.session_pb2 import ProjectSessionResponse
from foundry.domain.entry import Event
from foundry.domain.errors import GoingAway, SessionClosed
from foundry.domain.principal import Caller
from foundry.domain.run import LogLine, RunState, SeenLine
from foundry.domain.session import Position, SessionState
from foundry.managers.live import LiveSession
from foundry.managers.runs import WantedRun
from foundry.managers.sessions import AttachedSession, Attempt, OpenSession
from foundry.managers.state import Missed
from tests.managers.servers import servers
from tests.managers.workspace import ALICE, BOB, Workspace
from tests.servers.postgres import ANOTHER_TIMELINE, LINES_LOST, PostgresServer, execute
from tests.support import soon

TAB = "tab of a person"
ANOTHER_TAB = "another tab of theirs"


@pytest.fixture
async def pair(url: str, tmp_path: Path) -> AsyncIterator[list[Workspace]]:
    async with servers(tmp_path, url, 2) as made:
        yield made


async def another_history(postgres: PostgresServer, url: str, *those: Workspace) -> None:
    """Another Postgres has taken over, as far as servers can tell; these have seen it."""
    await execute(postgres.owner_url(url.rpartition("/")[2]), ANOTHER_TIMELINE)
    for one in those:
        await one.database.look()  # type: ignore[attr-defined]  # it is a shared one here
        assert one.database.epoch > 1


async def test_a_session_of_another_history_is_not_resumed(
    pair: list[Workspace], postgres: PostgresServer, url: str
) -> None:
    """Its client gets a new one in its place, and the one of before is closed.

    Nor is one that a server has opened which had not heard of the new history, after the others had cleared up.
    """
    one, two = pair
    project_id = await one.project()
    before = await one.sessions.open(ALICE, OpenSession(project_id, tab_id=TAB))
    await another_history(postgres, url, two)
    await two.session(project_id)
    late = await one.sessions.open(ALICE, OpenSession(project_id, tab_id=ANOTHER_TAB))
    for tab, old in ((TAB, before), (ANOTHER_TAB, late)):
        coming_back = OpenSession(project_id, tab, old.session.session_id, old.secret)
        after = await two.sessions.open(ALICE, coming_back)
        assert not after.resumed
        assert after.session.session_id != old.session.session_id
        assert (old.session.epoch, after.session.epoch) == (1, two.database.epoch)
        assert (await two.sessions.current(old.session)).state is SessionState.CLOSED


async def test_a_session_of_another_history_neither_locks_nor_saves(
    pair: list[Workspace], postgres: PostgresServer, url: str
) -> None:
    """Though it is not closed yet: what it was granted may have been lost, and its number given to somebody else."""
    one, _ = pair
    project_id = await one.project()
    session = await one.session(project_id)
    lock = await one.lock(session, "notes")
    await another_history(postgres, url, one)
    with pytest.raises(SessionClosed):
        await one.lock(session, "topology")
    with pytest.raises(SessionClosed):
        await one.save(lock, "late", 0)


async def test_who_comes_in_another_history_finds_nothing_held_by_the_one_before(
    pair: list[Workspace], postgres: PostgresServer, url: str
) -> None:
    """Whoever comes first, wherever, and before anybody has looked for what is left."""
    one, two = pair
    project_id = await one.project(ALICE, BOB)
    before = await one.session(project_id)
    await one.lock(before, "notes")
    await another_history(postgres, url, one, two)
    sessions = await asyncio.gather(*(where.session(project_id, BOB) for where in (two, one, two)))
    assert {session.epoch for session in sessions} == {two.database.epoch}
    assert (await two.lock(sessions[0], "notes", BOB)).fencing_token == 2
    [closed] = [entry.new.data for entry in await one.log(project_id) if entry.new.event is Event.SESSION_CLOSED]
    assert (closed["session_id"], closed["close_reason"]) == (before.session_id, "SESSION_CLOSE_REASON_DB_FAILOVER")


async def test_every_session_of_another_history_is_closed_once(
    pair: list[Workspace], postgres: PostgresServer, url: str
) -> None:
    """Whatever state they are in, whoever served them, though both servers look at once; and those of now go on."""
    one, two = pair
    project_id = await one.project(ALICE, BOB)
    old = [await one.session(project_id), await two.session(project_id, BOB, grace_ms=30_000)]
    await one.lock(old[0], "notes")
    assert await two.sessions.detach(old[1])
    await another_history(postgres, url, one, two)
    new = await one.session(project_id)
    assert one.replicas
    assert two.replicas
    await asyncio.gather(one.replicas._reap(), two.replicas._reap())
    ends = [entry.new for entry in await one.log(project_id)]
    closed = [new.data for new in ends if new.event is Event.SESSION_CLOSED]
    assert sorted(str(data["session_id"]) for data in closed) == sorted(session.session_id for session in old)
    assert {data["close_reason"] for data in closed} == {"SESSION_CLOSE_REASON_DB_FAILOVER"}
    [released] = [new.data for new in ends if new.event is Event.LOCK_RELEASED]
    assert released["release_reason"] == "LOCK_RELEASE_REASON_DB_FAILOVER"
    assert (await two.sessions.current(new)).state is SessionState.ATTACHED


async def test_streams_of_another_history_end_with_the_next_renewal(
    pair: list[Workspace], postgres: PostgresServer, url: str
) -> None:
    """With a time to come back, before anybody has closed their sessions; those that begin then go on."""
    one, _ = pair
    project_id = await one.project(ALICE, BOB)
    before = await one.stream(project_id)
    await another_history(postgres, url)
    assert one.replicas
    await one.replicas._renew()
    assert before.ended.is_set()
    assert isinstance(before.ending, GoingAway)
    after = await one.stream(project_id, BOB)
    await one.replicas._renew()
    assert not after.ended.is_set()


@dataclass
class Replaced:
    """A run whose lines are lost and replaced by a failover, on the second of two servers.

    Attributes:
        before: A stream that has seen all of the lost lines.
    """

    two: Workspace
    project_id: str
    run_id: str
    before: LiveSession

    async def append(self, numbers: range, text: str) -> None:
        for number in numbers:
            await self.two.runs.append(ALICE, self.project_id, self.run_id, [LogLine(number, text)])

    @property
    def seen(self) -> dict[str, SeenLine]:
        """What a client of before says of itself."""
        return {self.run_id: SeenLine(5, self.before.session.epoch)}


async def told(live: LiveSession, last: int = 0) -> list[tuple[int, str]]:
    """Lines that a stream is told, up to one, or up to the end of their run; number 0 stands for that."""
    lines: list[tuple[int, str]] = []
    while not lines or lines[-1][0] != last:
        for event in ProjectSessionResponse.FromString(await soon(live.take())).events:
            lines += [(line.number, line.text) for line in event.run_log.lines]
            lines += [(0, "")] if event.run_log.HasField("finished_run") else []
    return lines


@pytest.fixture
async def replaced(pair: list[Workspace]) -> Replaced:
    _, two = pair
    project_id = await two.project()
    await two.save_unary(project_id, 0, {"notes": "1"})
    run_id = (await two.runs.start(ALICE, project_id, WantedRun())).run.run_id
    before = await two.hub.open(ALICE, OpenSession(project_id), None, {})
    made = Replaced(two, project_id, run_id, before)
    await made.append(range(1, 6), "lost")
    assert await told(before, 5) == [(number, "lost") for number in range(1, 6)]
    return made


@pytest.mark.parametrize("ends", [True, False])
async def test_lines_of_another_history_are_seen_by_nobody_who_comes_in_this_one(
    replaced: Replaced, postgres: PostgresServer, url: str, *, ends: bool
) -> None:
    """Neither those a server has at hand, nor by those who say how far they had seen; whether the run ended or not."""
    await execute(postgres.owner_url(url.rpartition("/")[2]), *LINES_LOST)
    await replaced.two.database.look()  # type: ignore[attr-defined]  # it is a shared one here
    await replaced.append(range(3, 6), "instead")
    if ends:
        await replaced.two.runs.finish(ALICE, replaced.project_id, replaced.run_id, RunState.PASSED)
    after = await replaced.two.hub.open(ALICE, OpenSession(replaced.project_id), None, replaced.seen)
    lines = [(1, "lost"), (2, "lost"), (3, "instead"), (4, "instead"), (5, "instead")]
    assert await told(after, 0 if ends else 5) == ([*lines, (0, "")] if ends else lines)


async def test_a_stream_of_another_history_is_told_nothing_of_this_one(
    replaced: Replaced, postgres: PostgresServer, url: str
) -> None:
    """Neither lines nor what it reads on from the log, before anybody has ended it."""
    before, two = replaced.before, replaced.two
    await execute(postgres.owner_url(url.rpartition("/")[2]), *LINES_LOST)
    await two.database.look()  # type: ignore[attr-defined]  # it is a shared one here
    await replaced.append(range(3, 9), "instead")
    await two.feed.reconcile()  # it is known where the log of this one ends
    assert before.console
    before.console.ready[replaced.run_id] = None
    assert await before.console.take(1_000_000) == b""
    assert not before.ended.is_set()
    before.cursor = -1  # the ring has passed it
    while frame := await soon(before.take()):
        events = ProjectSessionResponse.FromString(frame).events
        assert not any(event.HasField("entry") or event.HasField("run_log") for event in events)
    assert isinstance(before.ending, GoingAway)


async def test_a_stream_that_opens_as_another_history_begins_misses_nothing(
    url: str, tmp_path: Path, postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is watched in the one before and opened in this one; what others commit right behind its state is told."""
    async with servers(tmp_path, url, 2) as (one, two):
        project_id = await one.project(ALICE, BOB)
        await another_history(postgres, url, one)
        opening, since = two.sessions.open, two.hub._state.since

        async def reconnected(caller: Caller, wanted: OpenSession, attempt: Attempt | None = None) -> AttachedSession:
            await two.database.look()  # type: ignore[attr-defined]  # it is a shared one here
            return await opening(caller, wanted, attempt)

        async def goes_behind(project: str, subject: str, after: Position | None) -> Missed:
            found = await since(project, subject, after)
            await one.projects.remove_member(ALICE, project_id, "bob")
            return found

        monkeypatch.setattr(two.sessions, "open", reconnected)
        monkeypatch.setattr(two.hub._state, "since", goes_behind)
        bob = await two.hub.open(BOB, OpenSession(project_id), None)
        await two.feed.reconcile()
        await soon(bob.ended.wait())
        assert bob.ending
        assert bob.ending.reason == "ACCESS_LOST"
