"""Who lost the right to read is sent nothing that was stored later, whatever their server has heard of by then."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from coreason.foundry.v1.session_event_pb2 import Reply
from coreason.foundry.v1.session_pb2 import ProjectSessionResponse, ServerEvent
from foundry.domain.entry import Entry
from foundry.domain.errors import ProjectAccessDenied, SessionEnded
from foundry.domain.events import RunGrew
from foundry.domain.field import FieldState
from foundry.domain.run import LogLine, Run, RunState
from foundry.domain.session import Position
from foundry.managers.channel import Channel
from foundry.managers.live import LiveSession
from foundry.managers.run_log import RunLogReader
from foundry.managers.runs import WantedRun
from foundry.managers.sessions import OpenSession
from foundry.managers.state import Missed
from foundry.store.runs import Chunk
from tests.backends import commits_in_a_thread
from tests.managers.servers import servers
from tests.managers.workspace import ALICE, BOB, Workspace, opened
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


async def test_lines_that_are_read_as_he_is_told(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """His server hears of the removal, and of everything before the lines, while it reads them for him."""
    bob = await house.bob()
    await until_told(bob, "caught_up")
    runs = house.two.store.runs
    chunk = runs.chunk

    async def goes_first(project_id: str, run_id: str, line: int) -> Chunk | None:
        monkeypatch.undo()
        await house.bob_goes()
        await house.line(house.one, 1, SECRET)
        await house.two.feed.reconcile()
        await soon(bob.ended.wait())
        return await chunk(project_id, run_id, line)

    monkeypatch.setattr(runs, "chunk", goes_first)
    assert bob.console
    bob.console.ready[house.run.run_id] = None
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
    bob.cursor = -1  # the ring has passed it
    events = await rest(bob)
    assert not any(event.entry.HasField("draft_created") for event in events)
    assert reason(bob) == "ACCESS_LOST"


async def test_who_is_here_when_a_slow_reader_catches_up(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """He was removed while it was looked up."""
    bob = await house.bob()
    await until_told(bob, "caught_up")
    lane = house.two.hub._presence
    snapshot = lane.snapshot

    async def goes_first(channel: Channel) -> bytes:
        await house.two.projects.remove_member(ALICE, house.project_id, "bob")
        return await snapshot(channel)

    monkeypatch.setattr(lane, "snapshot", goes_first)
    bob.cursor = -1  # the ring has passed it
    assert not any(event.HasField("presence") or event.HasField("caught_up") for event in await rest(bob))
    assert reason(bob) == "ACCESS_LOST"


async def test_replies_do_not_wait_for_what_others_committed(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lines do, until the entries before them are told; and nobody asks the store for these again and again."""
    bob = await house.bob()
    await until_told(bob, "caught_up")
    entries = house.two.store.entries
    after, asked, answer = entries.after, 0, asyncio.Event()

    async def late(name: str, sequence: int, limit: int) -> list[Entry]:
        nonlocal asked
        asked += 1
        await answer.wait()
        return await after(name, sequence, limit)

    monkeypatch.setattr(entries, "after", late)
    await house.save()
    await house.line(house.two, 1, "one")
    reply = ServerEvent(reply=Reply(command_id=7))
    bob.send(ProjectSessionResponse(events=[reply]).SerializeToString())
    assert ProjectSessionResponse.FromString(await soon(bob.take())).events == [reply]
    taking = asyncio.create_task(bob.take())
    for _ in range(20):
        await asyncio.sleep(0)
    assert not taking.done()
    assert asked == 1
    answer.set()
    events = [*ProjectSessionResponse.FromString(await soon(taking)).events]
    if not any(event.HasField("run_log") for event in events):
        events += await until_told(bob, "run_log")
    kinds = [event.WhichOneof("event") for event in events]
    assert kinds.index("entry") < kinds.index("run_log")


async def test_who_holds_a_field(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """The registry says no at once, but whose lock it is that says a row that was read while he could."""
    two, bob = house.two, await house.bob()
    carol = await two.session(house.project_id)
    await two.locks._registry.acquire(house.project_id, "notes", "alice", carol.session_id, 30.0)
    fields = two.locks._fields
    get = fields.get

    async def goes_first(project_id: str, name: str) -> FieldState | None:
        await house.bob_goes()
        await two.lock(carol, "notes")
        return await get(project_id, name)

    monkeypatch.setattr(fields, "get", goes_first)
    with pytest.raises(ProjectAccessDenied):
        await two.locks.acquire(BOB, house.project_id, bob.session_id, "notes")


async def test_what_one_server_committed_in_a_thread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a slow disk others run between a commit and its news: a stream, or whoever follows a run, may read first."""
    async with opened(tmp_path) as only:
        project_id = await only.project(ALICE, BOB)
        await only.save_unary(project_id, 0, {"notes": "1"})
        run = (await only.runs.start(ALICE, project_id, WantedRun())).run
        house = House(only, only, project_id, run)
        bob = await house.bob()
        await until_told(bob, "caught_up")
        in_thread, committed = asyncio.to_thread, asyncio.Event()

        async def late(work: Callable[[], object]) -> object:
            result = await in_thread(work)
            committed.set()
            for _ in range(5):
                await asyncio.sleep(0)
            return result

        async def reads() -> list[ServerEvent]:
            await committed.wait()
            bob.cursor = -1  # the ring has passed it
            assert bob.console
            bob.console.ready[run.run_id] = None
            return await rest(bob)

        monkeypatch.setattr(asyncio, "to_thread", late)
        with commits_in_a_thread():
            reading = asyncio.create_task(reads())
            await asyncio.gather(house.bob_goes(), house.save(), house.line(only, 1, SECRET))
            events = await soon(reading)
        assert not any(event.entry.HasField("draft_created") or event.HasField("run_log") for event in events)
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
