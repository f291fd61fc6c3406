"""The write lane outlives whatever fails in it: one dead task would refuse every write until the next start."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from foundry.domain.errors import Unavailable
from foundry.store.lane import WriteLane
from foundry.store.sqlite import connection as connections
from foundry.store.sqlite.connection import SqliteConnection, SqliteWriter
from foundry.store.unit_of_work import UnitOfWork
from tests.managers.workspace import Workspace, opened
from tests.store.operations import INSTANCE, marks, note, noting
from tests.support import soon


class FlakyConnection(SqliteConnection):
    """A disk that fails the next statements of ``failing``, each once, in order."""

    failing: tuple[str, ...] = ()

    def sql(self, sql: str) -> None:
        if self.failing[:1] == (sql,):
            self.failing = self.failing[1:]
            raise sqlite3.OperationalError("disk I/O error")
        super().sql(sql)


@pytest.fixture
async def workspace(tmp_path: Path) -> AsyncIterator[Workspace]:
    async with opened(tmp_path) as made:
        yield made


@pytest.fixture
async def flaky(workspace: Workspace, tmp_path: Path) -> AsyncIterator[FlakyConnection]:
    """The writing connection of ``lane``."""
    await workspace.lane.stop()
    made = FlakyConnection(tmp_path / "foundry.sqlite3")
    yield made
    made.close()


@pytest.fixture(params=[1.0, -1.0], ids=["on the event loop", "in a thread"])
async def lane(
    workspace: Workspace, flaky: FlakyConnection, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[WriteLane]:
    """A lane over the flaky connection; where its transactions run is measured, so here it is said."""
    monkeypatch.setattr(connections, "INLINE_SECONDS_MAX", request.param)
    workspace.database.writer = SqliteWriter(flaky)
    made = WriteLane(workspace.database, workspace.clock, workspace.on_commit)
    made.start()
    yield made
    await soon(made.stop())


async def written(lane: WriteLane, mark: str) -> bool:
    """Write a mark; whether it was."""
    try:
        await soon(lane.submit(INSTANCE, noting(mark)))
    except Unavailable:
        return False
    return True


@pytest.mark.parametrize("failing", [("COMMIT",), ("COMMIT", "ROLLBACK"), ("BEGIN IMMEDIATE",)])
async def test_the_lane_outlives_a_failing_disk(
    workspace: Workspace, lane: WriteLane, flaky: FlakyConnection, failing: tuple[str, ...]
) -> None:
    """Whoever was in the failed batch is told to come back; at the latest the second one after it is served."""
    assert await written(lane, "before")
    flaky.failing = failing
    assert not any(await asyncio.gather(written(lane, "a"), written(lane, "b")))
    # A rollback that failed left the transaction open: one more batch pays for that.
    assert await written(lane, "c") is ("ROLLBACK" not in failing)
    assert await written(lane, "d")
    assert flaky.failing == ()
    assert await marks(workspace) == ["before", "d"] if "ROLLBACK" in failing else ["before", "c", "d"]


class _Awkward(Exception):  # noqa: N818 - it is none of ours
    """An exception that nothing can be asked about."""

    def __str__(self) -> str:
        raise ValueError


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        RecursionError(),
        StopIteration(),
        StopAsyncIteration(),
        TimeoutError(),
        ExceptionGroup("two", [KeyError(), KeyError()]),
        _Awkward(),
    ],
    ids=lambda error: type(error).__name__,
)
async def test_the_lane_outlives_whatever_a_decision_raises(
    workspace: Workspace, lane: WriteLane, error: Exception
) -> None:
    """It reaches its own caller as a failure; the others of the batch and all after it are served."""

    def odd(unit: UnitOfWork) -> int:
        note(unit, "odd")
        raise error

    batch = [written(lane, "a"), lane.submit(INSTANCE, odd), written(lane, "b")]
    first, failed, last = await soon(asyncio.gather(*batch, return_exceptions=True))
    assert (first, last) == (True, True)
    assert isinstance(failed, Exception)
    assert await written(lane, "c")
    assert await marks(workspace) == ["a", "b", "c"]
