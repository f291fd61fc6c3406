"""When the store cannot commit: the batch is refused as a whole, nothing of it stays, and the lane goes on."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from foundry.domain.entry import INSTANCE_LOG, Event, NewEntry
from foundry.domain.errors import OutcomeUnknown, Unavailable
from foundry.domain.principal import SYSTEM
from foundry.domain.project import Member, Role
from foundry.store.needs import Needs
from foundry.store.unit_of_work import UnitOfWork
from tests.managers.workspace import Workspace, opened
from tests.store.operations import INSTANCE, marks, note, noting


@pytest.fixture
async def workspace(tmp_path: Path) -> AsyncIterator[Workspace]:
    async with opened(tmp_path) as made:
        made.database.connection.sql("PRAGMA busy_timeout = 1")
        yield made


def bulky(unit: UnitOfWork) -> int:
    """An operation that needs many new pages."""
    new = NewEntry(Event.AUTHENTICATION_FAILED, SYSTEM, {"cause": "bulky"}, {"reason": "x" * 1_000_000})
    return unit.record(new, INSTANCE_LOG)


async def both(workspace: Workspace) -> list[object]:
    """Two operations of one batch, and what became of them."""
    operations = [workspace.lane.submit(INSTANCE, noting(mark)) for mark in ("a", "b")]
    return list(await asyncio.gather(*operations, return_exceptions=True))


async def test_a_locked_database_refuses_the_batch(workspace: Workspace, tmp_path: Path) -> None:
    """Somebody else writes: every caller is told to come back, with a time; when it is over, they can."""
    with closing(sqlite3.connect(tmp_path / "foundry.sqlite3", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        refusals = await both(workspace)
        other.execute("ROLLBACK")
    assert [type(refusal) for refusal in refusals] == [Unavailable, Unavailable]
    assert all(refusal.retry_after_s for refusal in refusals if isinstance(refusal, Unavailable))
    assert await marks(workspace) == []
    assert [type(result) for result in await both(workspace)] == [int, int]
    assert await marks(workspace) == ["a", "b"]


async def test_a_store_that_goes_on_failing_is_said_once(workspace: Workspace, tmp_path: Path) -> None:
    """Until it takes a batch; then it is said anew."""
    with capture_logs() as lines:
        for _ in range(2):
            with closing(sqlite3.connect(tmp_path / "foundry.sqlite3", isolation_level=None)) as other:
                other.execute("BEGIN IMMEDIATE")
                for _ in range(3):
                    assert [type(refusal) for refusal in await both(workspace)] == [Unavailable, Unavailable]
            await both(workspace)
    assert {line["event"] for line in lines} == {"transaction_failed"}
    assert [line["log_level"] for line in lines] == ["warning", "debug", "debug"] * 2


async def test_a_failed_commit_refuses_the_batch(workspace: Workspace) -> None:
    """COMMIT itself fails, after every operation was decided and written: nobody gets an answer that is not durable."""
    before = len(workspace.batches)

    def poison(unit: UnitOfWork) -> int:
        # A constraint that SQLite checks only when it commits.
        workspace.database.connection.sql("PRAGMA defer_foreign_keys = ON")
        unit.put_member(Member("no such project", "mallory", Role.OWNER))
        return note(unit, "poison")

    operations = [noting("a"), poison, noting("b")]
    results = await asyncio.gather(
        *[workspace.lane.submit(INSTANCE, operation) for operation in operations], return_exceptions=True
    )
    assert [type(result) for result in results] == [OutcomeUnknown] * 3
    assert (await marks(workspace), len(workspace.batches)) == ([], before)
    await both(workspace)
    assert await marks(workspace) == ["a", "b"]


async def test_a_full_disk_refuses_the_batch(workspace: Workspace) -> None:
    """SQLite gives the transaction up when there is no space: nobody is answered, and smaller ones go on after it."""
    (pages,) = workspace.database.connection.rows_sql("PRAGMA page_count")[0]
    workspace.database.connection.sql(f"PRAGMA max_page_count = {pages + 20}")
    results = await asyncio.gather(
        *[workspace.lane.submit(INSTANCE, operation) for operation in (noting("a"), bulky, noting("b"))],
        return_exceptions=True,
    )
    assert [type(result) for result in results] == [Unavailable] * 3
    assert (await marks(workspace), workspace.batches[-1:]) == ([], [])
    await both(workspace)
    workspace.database.connection.sql("PRAGMA max_page_count = 1073741823")
    await workspace.lane.submit(INSTANCE, bulky)
    assert await marks(workspace) == ["a", "b", "bulky"]


async def test_a_disk_that_fills_up_is_survived(workspace: Workspace) -> None:
    """Written to until nothing fits any more: all that was acknowledged is there, in order, and nothing else."""
    (pages,) = workspace.database.connection.rows_sql("PRAGMA page_count")[0]
    workspace.database.connection.sql(f"PRAGMA max_page_count = {pages}")
    acknowledged = []
    for _ in range(200):
        results = await both(workspace)
        acknowledged += [mark for mark, result in zip("ab", results, strict=True) if isinstance(result, int)]
        if not any(isinstance(result, int) for result in results):
            break
    else:
        pytest.fail("the disk never filled up")
    assert await marks(workspace) == acknowledged
    workspace.database.connection.sql("PRAGMA max_page_count = 1073741823")
    assert [type(result) for result in await both(workspace)] == [int, int]


async def test_reads_go_on_while_nothing_can_be_written(workspace: Workspace, tmp_path: Path) -> None:
    """A locked database answers readers."""
    await both(workspace)
    with closing(sqlite3.connect(tmp_path / "foundry.sqlite3", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        assert await marks(workspace) == ["a", "b"]
        with pytest.raises(Unavailable):
            await workspace.lane.submit(Needs(), lambda unit: unit.forget_requests(before_us=0))
