"""Followers of runs that other servers write: whatever is told late or in another order, they get every line once."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from coreason.foundry.v1.session_pb2 import ProjectSessionResponse
from foundry.domain.events import RunGrew
from foundry.domain.run import LogLine, Run, RunState, SeenLine
from foundry.managers.live import LiveSession
from foundry.managers.runs import WantedRun
from foundry.managers.sessions import OpenSession
from tests.managers.servers import servers, until
from tests.managers.workspace import ALICE, BOB, Workspace
from tests.support import soon

END = 0


@dataclass
class Reader:
    """Somebody who reads a stream as it comes; ``numbers`` are those of the lines, and END."""

    live: LiveSession
    numbers: list[int] = field(default_factory=list)

    async def read(self) -> None:
        while frame := await self.live.take():
            for event in ProjectSessionResponse.FromString(frame).events:
                self.numbers += [line.number for line in event.run_log.lines]
                self.numbers += [END] if event.run_log.HasField("finished_run") else []


@dataclass
class House:
    """Two servers that hear nothing of each other but what a test rings. Runs are at one, readers at the other."""

    one: Workspace
    two: Workspace
    project_id: str
    stack: contextlib.AsyncExitStack

    async def reader(self, seen: dict[str, SeenLine] | None = None) -> Reader:
        """A new stream that follows runs, and is read."""
        reader = Reader(await self.two.hub.open(BOB, OpenSession(self.project_id), None, seen or {}))
        reading = asyncio.create_task(reader.read())
        self.stack.callback(reading.cancel)
        return reader

    async def run(self) -> Run:
        return (await self.one.runs.start(ALICE, self.project_id, WantedRun())).run

    async def append(self, run: Run, numbers: Sequence[int]) -> None:
        lines = [LogLine(number, "x") for number in numbers]
        await self.one.runs.append(ALICE, self.project_id, run.run_id, lines)

    def ring(self, run: Run, line_count: int) -> None:
        """Let the second server hear of lines."""
        self.two.feed._rung(RunGrew(self.project_id, run.run_id, line_count))

    async def look(self) -> None:
        """Let it hear of everything else."""
        await self.two.feed.reconcile()
        await until(lambda: self.two.feed._tails[self.project_id].reading is None)


@pytest.fixture
async def house(url: str, tmp_path: Path) -> AsyncIterator[House]:
    async with servers(tmp_path, url, 2, fates=(0,)) as (one, two), contextlib.AsyncExitStack() as stack:
        project_id = await one.project(ALICE, BOB)
        await one.save_unary(project_id, 0, {"notes": "1"})
        yield House(one, two, project_id, stack)


async def test_lines_that_were_heard_of_before_anybody_followed(house: House) -> None:
    """Their run is told to have begun as somebody comes."""
    await house.two.stream(house.project_id)  # follows no runs
    run = await house.run()
    await house.append(run, range(1, 6))
    house.ring(run, 5)
    reader = await house.reader()
    await house.look()
    await until(lambda: reader.numbers == [1, 2, 3, 4, 5])


@pytest.mark.parametrize("rung_first", [True, False])
async def test_lines_that_were_heard_of_before_the_start(house: House, *, rung_first: bool) -> None:
    """By one who follows already, while another comes, and has not taken anything."""
    reader = await house.reader()
    run = await house.run()
    await house.append(run, range(1, 4))
    if rung_first:
        house.ring(run, 3)
    await house.two.hub._console.attach(house.project_id, house.two.database.epoch, {}, lambda: None)
    await house.append(run, range(4, 6))
    house.ring(run, 5)
    await house.look()
    await until(lambda: reader.numbers == [1, 2, 3, 4, 5])


@pytest.mark.parametrize("ends", [True, False])
async def test_what_was_seen_elsewhere_is_not_told_again(
    house: House, monkeypatch: pytest.MonkeyPatch, *, ends: bool
) -> None:
    """Though it is told that the run began, and ended, while its follower comes."""
    await house.two.stream(house.project_id)
    run = await house.run()
    await house.append(run, range(1, 7))
    if ends:
        await house.one.runs.finish(ALICE, house.project_id, run.run_id, RunState.PASSED)
    runs = house.two.store.runs
    running = runs.running

    async def told_meanwhile(project_id: str) -> tuple[Run, ...]:
        found = await running(project_id)
        await house.look()
        return found

    monkeypatch.setattr(runs, "running", told_meanwhile)
    reader = await soon(house.reader({run.run_id: SeenLine(5, house.two.database.epoch)}))
    await until(lambda: reader.numbers == ([6, END] if ends else [6]))
