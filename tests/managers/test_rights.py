"""Who lost the right to read is sent nothing that was stored later, whatever their server has heard of by then."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from coreason.foundry.v1.session_pb2 import ProjectSessionResponse, ServerEvent
from foundry.domain.errors import SessionEnded
from foundry.domain.events import RunGrew
from foundry.domain.run import LogLine, Run, RunState
from foundry.domain.session import Position
from foundry.managers.live import LiveSession
from foundry.managers.run_log import RunLogReader
from foundry.managers.runs import WantedRun
from foundry.managers.sessions import OpenSession
from foundry.managers.state import Missed
from tests.managers.servers import servers
from tests.managers.workspace import ALICE, BOB, Workspace
from tests.support import soon

SECRET = "secret"


@dataclass
class House:
    """Two servers that hear nothing of each other but what they look up. Bob's stream is on the second one."""

    one: Workspace
    two: Workspace
    project_id: str
    run: Run

    async def bob(self, after: Position | None = None) -> LiveSession:
        """Bob's stream; he follows runs."""
        return await self.two.hub.open(BOB, OpenSession(self.project_id), after, {})

    async def bob_goes(self) -> None:
        """Remove Bob; on the other server."""
        await self.one.projects.remove_member(ALICE, self.project_id, "bob")

    async def line(self, where: Workspace, number: int, text: str) -> None:
        """Append a line to the console of the run."""
        await where.runs.append(ALICE, self.project_id, self.run.run_id, [LogLine(number, text)])

    async def save(self) -> None:
        """Save what Bob is not to see any more; on the other server."""
        await self.one.save_unary(self.project_id, 1, {SECRET: "text"})


@pytest.fixture
async def house(url: str, tmp_path: Path) -> AsyncIterator[House]:
    async with servers(tmp_path, url, 2, fates=(0,)) as (one, two):
        project_id = await one.project(ALICE, BOB)
        await one.save_unary(project_id, 0, {"notes": "1"})
        run = (await one.runs.start(ALICE, project_id, WantedRun())).run
        yield House(one, two, project_id, run)


async def rest(live: LiveSession) -> list[ServerEvent]:
    """Everything that a stream is sent up to its end."""
    events: list[ServerEvent] = []
    while frame := await soon(live.take()):
        events += ProjectSessionResponse.FromString(frame).events
    return events


async def until_told(live: LiveSession, what: str) -> list[ServerEvent]:
    """What a stream is sent up to an event."""
    events: list[ServerEvent] = []
    while not any(event.HasField(what) for event in events):  # type: ignore[arg-type]  # one of its names
        events += ProjectSessionResponse.FromString(await soon(live.take())).events
    return events


def reason(live: LiveSession) -> str:
    """Why a stream has ended."""
    assert live.ending
    return live.ending.reason


async def test_lines_that_are_appended_on_the_same_server(house: House) -> None:
    """They are at hand there at once; that Bob was removed is not."""
    bob = await house.bob()
    await house.line(house.two, 1, "one")
    await until_told(bob, "run_log")
    await house.bob_goes()
    await house.line(house.two, 2, SECRET)
    assert not any(event.HasField("run_log") for event in await rest(bob))
    assert reason(bob) == "ACCESS_LOST"


async def test_lines_that_are_read_from_the_store(house: House) -> None:
    """It was heard that there are more, and nothing else."""
    bob = await house.bob()
    await until_told(bob, "caught_up")
    await house.bob_goes()
    await house.line(house.one, 1, SECRET)
    house.two.feed._grew(RunGrew(house.project_id, house.run.run_id, 1))
    assert not any(event.HasField("run_log") for event in await rest(bob))
    assert reason(bob) == "ACCESS_LOST"


async def test_the_end_of_a_run(house: House) -> None:
    """It says how it ended, and with which results."""
    await house.line(house.one, 1, "one")
    bob = await house.bob()
    await until_told(bob, "run_log")
    await house.bob_goes()
    await house.one.runs.finish(ALICE, house.project_id, house.run.run_id, RunState.PASSED)
    assert bob.console
    bob.console.ready[house.run.run_id] = None
    assert not any(event.HasField("run_log") for event in await rest(bob))
    assert reason(bob) == "ACCESS_LOST"


async def test_what_a_slow_reader_reads_on_from_the_log(house: House) -> None:
    """Entries behind the one that ends his stream are not his."""
    bob = await house.bob()
    await until_told(bob, "caught_up")
    await house.bob_goes()
    await house.save()
    bob.channel.skip()
    events = await rest(bob)
    assert not any(event.entry.HasField("draft_created") for event in events)
    assert reason(bob) == "ACCESS_LOST"


@pytest.mark.parametrize("knows", [True, False])
async def test_what_a_stream_begins_with(house: House, monkeypatch: pytest.MonkeyPatch, *, knows: bool) -> None:
    """Neither in the entries he missed, nor in a snapshot, though he was a member when he came."""
    state = house.two.hub._state
    since = state.since

    async def goes_first(project_id: str, subject: str, after: Position | None) -> Missed:
        await house.bob_goes()
        await house.save()
        return await since(project_id, subject, after) if knows else await since(project_id, "alice", after)

    monkeypatch.setattr(state, "since", goes_first)
    bob = await house.bob(Position(1, 1) if knows else None)
    assert await rest(bob) == []
    assert reason(bob) == "ACCESS_LOST"


@pytest.mark.parametrize("follow", [True, False])
async def test_a_console_that_is_read_by_a_call(house: House, monkeypatch: pytest.MonkeyPatch, *, follow: bool) -> None:
    """Between looking at the right and at the console: neither lines nor the end of the run."""
    store = house.two.store
    reader = RunLogReader(store.projects, store.runs, house.two.feed, house.two.clock, drain_s=1.0)
    get = store.runs.get
    reads = 0

    async def goes_first(project_id: str, run_id: str) -> Run | None:
        nonlocal reads
        reads += 1
        if reads == 2:  # the first read is that of whether there is such a run
            await house.bob_goes()
            await house.line(house.one, 1, SECRET)
        return await get(project_id, run_id)

    monkeypatch.setattr(store.runs, "get", goes_first)
    reading = reader.read(BOB, house.project_id, house.run.run_id, follow=follow)
    with pytest.raises(SessionEnded) as ended:
        await soon(anext(reading))
    assert ended.value.reason == "ACCESS_LOST"
    await reading.aclose()
