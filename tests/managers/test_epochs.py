"""Another history of the log: what was opened, held and streamed in the one before is void, on every server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from coreason.foundry.v1.session_pb2 import ProjectSessionResponse
from foundry.domain.entry import Event
from foundry.domain.errors import GoingAway, SessionClosed
from foundry.domain.run import LogLine
from foundry.domain.session import Position, SessionState
from foundry.managers.live import LiveSession
from foundry.managers.runs import WantedRun
from foundry.managers.sessions import OpenSession
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


async def test_lines_of_another_history_are_seen_by_nobody_who_comes_in_this_one(
    pair: list[Workspace], postgres: PostgresServer, url: str
) -> None:
    """Neither those a server has at hand, nor by those who say how far they had seen."""
    one, two = pair
    project_id = await one.project()
    await one.save_unary(project_id, 0, {"notes": "1"})
    run_id = (await one.runs.start(ALICE, project_id, WantedRun())).run.run_id

    async def append(numbers: range, text: str) -> None:
        for number in numbers:
            await two.runs.append(ALICE, project_id, run_id, [LogLine(number, text)])

    async def told(live: LiveSession, last: int) -> list[tuple[int, str]]:
        lines: list[tuple[int, str]] = []
        while not lines or lines[-1][0] < last:
            for event in ProjectSessionResponse.FromString(await soon(live.take())).events:
                lines += [(line.number, line.text) for line in event.run_log.lines]
        return lines

    await append(range(1, 6), "lost")
    before = await two.hub.open(ALICE, OpenSession(project_id), None, {})
    assert await told(before, 5) == [(number, "lost") for number in range(1, 6)]
    seen = Position(two.database.epoch, before.seen_sequence)
    await execute(postgres.owner_url(url.rpartition("/")[2]), *LINES_LOST)
    await two.database.look()  # type: ignore[attr-defined]  # it is a shared one here
    await append(range(3, 6), "instead")
    after = await two.hub.open(ALICE, OpenSession(project_id), seen, {run_id: 5})
    assert await told(after, 5) == [(1, "lost"), (2, "lost"), (3, "instead"), (4, "instead"), (5, "instead")]
