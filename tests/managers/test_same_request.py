"""One request id at the same time on two servers: one of the two requests is it, and the other is told so in words."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import pytest

from foundry.domain.entry import Event
from foundry.domain.errors import RequestIdReused
from foundry.store.database import Connection, Writer
from foundry.store.statement import Statement
from tests.managers.servers import PATIENCE_S, servers
from tests.managers.workspace import ALICE, Workspace
from tests.store.batches import Recorded

T = TypeVar("T")


class Meeting(Recorded):
    """A connection whose first write waits until the other server has decided too."""

    def __init__(self, connection: Connection, barrier: asyncio.Barrier) -> None:
        super().__init__(connection, [])
        self._barrier: asyncio.Barrier | None = barrier

    async def write(self, statement: Statement, parameters: Sequence[Mapping[str, Any]]) -> int:
        if self._barrier:
            barrier, self._barrier = self._barrier, None
            async with asyncio.timeout(PATIENCE_S):
                await barrier.wait()
        return await super().write(statement, parameters)


class MeetingWriter:
    """The writer of a server whose next transaction meets that of the other."""

    def __init__(self, writer: Writer, barrier: asyncio.Barrier) -> None:
        self._writer = writer
        self._barrier = barrier
        self.meets = False

    async def transact(self, work: Callable[[Connection], Awaitable[T]]) -> T:
        if not self.meets:
            return await self._writer.transact(work)
        self.meets = False
        return await self._writer.transact(lambda connection: work(Meeting(connection, self._barrier)))


@pytest.fixture
async def pair(url: str, tmp_path: Path) -> AsyncIterator[list[Workspace]]:
    async with servers(tmp_path, url, 2) as made:
        yield made


async def together(pair: Sequence[Workspace], *work: Awaitable[T]) -> list[T | BaseException]:
    """What came of it when both servers decided before either had written."""
    barrier = asyncio.Barrier(2)
    for workspace in pair:
        writer = MeetingWriter(workspace.lane._writer, barrier)
        workspace.lane._writer, writer.meets = writer, True
    return await asyncio.gather(*work, return_exceptions=True)


async def saves(workspace: Workspace, project_id: str) -> int:
    """How many versions a project has."""
    return sum(entry.new.event is Event.DRAFT_CREATED for entry in await workspace.log(project_id))


async def test_one_id_in_two_projects_at_once(pair: list[Workspace]) -> None:
    """One saves; the other is run again, and hears that the id is taken."""
    one, two = pair
    projects = [await one.project(), await one.project()]

    def saving(workspace: Workspace, project_id: str) -> Awaitable[Any]:
        return workspace.save_unary(project_id, 0, {"notes": "x"}, request_id="same")

    answers = await together(pair, saving(one, projects[0]), saving(two, projects[1]))
    assert sorted(isinstance(answer, RequestIdReused) for answer in answers) == [False, True]
    lost = int(isinstance(answers[1], RequestIdReused))
    won = 1 - lost
    assert not isinstance(answers[won], BaseException)
    for workspace in pair:
        with pytest.raises(RequestIdReused):
            await saving(workspace, projects[lost])
        assert await saving(workspace, projects[won]) == answers[won]
    assert [await saves(one, projects[each]) for each in (won, lost)] == [1, 0]
    assert (await pair[lost].save_unary(projects[lost], 0, {"notes": "x"}, request_id="another")).draft


async def test_a_request_that_is_made_often_at_once_is_one(pair: list[Workspace]) -> None:
    """In one project, or of one that is to be made, whoever comes later waits, and finds the answer of the first."""
    those = tuple(pair) * 4
    made = await asyncio.gather(*(each.projects.create_project(ALICE, "Protocol", request_id="made") for each in those))
    [project_id] = {project.project_id for project in made}
    saved = await asyncio.gather(
        *(each.save_unary(project_id, 0, {"notes": "x"}, request_id="saved") for each in those)
    )
    assert {result.draft.version_number for result in saved if result.draft} == {1}
    assert await saves(pair[0], project_id) == 1
