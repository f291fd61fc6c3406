"""Runs that are sealed while somebody writes lines faster than they can be read again."""

from __future__ import annotations

import asyncio
import hashlib
from itertools import chain, repeat
from typing import TYPE_CHECKING, Any

import pytest

from foundry.domain.run import LogLine, RunState
from foundry.managers.runs import WantedRun
from tests.managers.servers import servers
from tests.managers.workspace import ALICE, Workspace, opened
from tests.servers.postgres import LINES_LOST, PostgresServer, execute
from tests.support import soon

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from pathlib import Path

    from foundry.managers.runs import RunAnswer


class Flood:
    """Lines of one run that always come when those before were read: in the middle of what ends the run.

    Args:
        bursts: How many come at first, then, and so on; and ever after a few.
        together: They wait for the same transaction as the end, and stand before it there.
    """

    def __init__(
        self, workspace: Workspace, project_id: str, run_id: str, *, bursts: tuple[int, ...], together: bool
    ) -> None:
        self._workspace, self._project_id, self._run_id = workspace, project_id, run_id
        self._bursts, self._together = chain(bursts, repeat(3)), together
        self._chunks: Any = workspace.store.runs.chunks
        self._appending: list[asyncio.Task[int]] = []
        self._count = 0

    async def more(self) -> None:
        """Append lines, each in a chunk of its own."""
        for _ in range(next(self._bursts)):
            self._count += 1
            line = LogLine(self._count, f"{self._count}")
            appended = self._workspace.runs.append(ALICE, self._project_id, self._run_id, [line])
            self._appending.append(asyncio.create_task(appended))
        if self._together:
            await asyncio.sleep(0)  # they are asked for, and no more
        else:
            await asyncio.gather(*self._appending)

    async def chunks(self, *wanted: str | int) -> AsyncGenerator[tuple[int, int, bytes], None]:
        """Instead of the store's: those there are, while there come more."""
        found = [chunk async for chunk in self._chunks(*wanted)]
        await self.more()
        for chunk in found:
            yield chunk

    async def stop(self) -> None:
        """Wait for what is still to be stored or refused."""
        await asyncio.gather(*self._appending, return_exceptions=True)


async def _end(workspace: Workspace, project_id: str, run_id: str, state: RunState) -> RunAnswer:
    if state is RunState.CANCELLED:
        return await workspace.runs.cancel(ALICE, project_id, run_id)
    return await workspace.runs.finish(ALICE, project_id, run_id, state)


@pytest.mark.parametrize("state", [RunState.PASSED, RunState.CANCELLED])
@pytest.mark.parametrize("together", [False, True], ids=["stored meanwhile", "in the same transaction"])
@pytest.mark.parametrize("burst", [3, 300], ids=["few lines", "more chunks than a transaction reads"])
async def test_a_run_that_becomes_longer_whenever_it_is_read_is_sealed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, state: RunState, burst: int, *, together: bool
) -> None:
    """By all lines that were stored before its end."""
    async with opened(tmp_path) as workspace:
        project_id = await workspace.project(ALICE)
        await workspace.save_unary(project_id, 0, {"notes": "1"})
        run_id = (await workspace.runs.start(ALICE, project_id, WantedRun())).run.run_id
        flood = Flood(workspace, project_id, run_id, bursts=(3, burst), together=together)
        await flood.more()
        with monkeypatch.context() as patched:
            patched.setattr(workspace.store.runs, "chunks", flood.chunks)
            sealed = (await soon(_end(workspace, project_id, run_id, state))).run
        await flood.stop()
        chunks = [chunk async for chunk in workspace.store.runs.chunks(project_id, run_id)]
        assert sealed.state is state
        assert sealed.line_count == sum(count for _, count, _ in chunks) > 3
        assert sealed.log_sha256 == hashlib.sha256(b"".join(data for _, _, data in chunks)).hexdigest()
        assert await workspace.store.runs.get(project_id, run_id) == sealed


@pytest.mark.parametrize("others", [0, 1, 3, 5])
async def test_lines_that_a_failover_lost_are_not_in_the_digest(
    url: str, tmp_path: Path, postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch, others: int
) -> None:
    """They had been read when another Postgres took over that did not have them, and perhaps others came instead."""
    async with servers(tmp_path, url, 1) as (workspace,):
        project_id = await workspace.project(ALICE)
        await workspace.save_unary(project_id, 0, {"notes": "1"})
        run_id = (await workspace.runs.start(ALICE, project_id, WantedRun())).run.run_id
        for number in range(1, 6):
            await workspace.runs.append(ALICE, project_id, run_id, [LogLine(number, f"lost {number}")])
        chunks: Any = workspace.store.runs.chunks

        async def read(*wanted: str | int) -> AsyncGenerator[tuple[int, int, bytes], None]:
            monkeypatch.undo()
            for chunk in [chunk async for chunk in chunks(*wanted)]:
                yield chunk
            await execute(postgres.owner_url(url.rpartition("/")[2]), *LINES_LOST)
            await workspace.database.look()  # type: ignore[attr-defined]  # it is a shared one here
            again = [LogLine(number, f"instead {number}") for number in range(3, 3 + others)]
            await workspace.runs.append(ALICE, project_id, run_id, again)

        monkeypatch.setattr(workspace.store.runs, "chunks", read)
        sealed = (await soon(_end(workspace, project_id, run_id, RunState.CANCELLED))).run
        console = b"".join([data async for _, _, data in chunks(project_id, run_id)])
        assert sealed.line_count == 2 + others
        assert sealed.log_sha256 == hashlib.sha256(console).hexdigest()


async def test_others_get_their_turn_while_a_long_console_is_sealed(tmp_path: Path) -> None:
    """Also where the store answers at once, and so never lets go of the loop by itself."""
    async with opened(tmp_path) as workspace:
        project_id = await workspace.project(ALICE)
        await workspace.save_unary(project_id, 0, {"notes": "1"})
        run_id = (await workspace.runs.start(ALICE, project_id, WantedRun())).run.run_id
        flood = Flood(workspace, project_id, run_id, bursts=(800,), together=False)
        await flood.more()
        sealing = asyncio.create_task(_end(workspace, project_id, run_id, RunState.PASSED))
        turns = 0
        while not sealing.done():
            turns += 1
            await asyncio.sleep(0)
        assert (await sealing).run.line_count == 800
        assert turns >= 800 / 8
