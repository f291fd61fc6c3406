"""The write lane: what waits becomes one transaction, and nobody pays for anybody else."""

from __future__ import annotations

import asyncio
import sqlite3
import struct
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import closing
from pathlib import Path

import pytest

from foundry.domain.entry import INSTANCE_LOG, Event
from foundry.domain.errors import NotFound, Unavailable
from foundry.domain.events import Committed
from foundry.domain.project import Member, Project, Role
from foundry.store.lane import BATCH_MAX, WAITING_MAX, WriteLane
from foundry.store.needs import Needs
from foundry.store.unit_of_work import UnitOfWork
from tests.managers.workspace import ALICE, Workspace, opened
from tests.store.operations import INSTANCE, marks, note, noting


@pytest.fixture
async def workspace(tmp_path: Path) -> AsyncIterator[Workspace]:
    async with opened(tmp_path) as made:
        yield made


def refused(unit: UnitOfWork) -> int:
    """An operation that stages something and is then refused."""
    note(unit, "refused")
    raise NotFound("thing", "1")


def broken(unit: UnitOfWork) -> int:
    """An operation that stages something and then fails."""
    note(unit, "broken")
    raise ZeroDivisionError


def violating(unit: UnitOfWork) -> int:
    """An operation whose second row points to a project that does not exist."""
    noted = note(unit, "violating")
    unit.put_member(Member("no such project", "mallory", Role.OWNER))
    return noted


def wal_commits(directory: Path) -> int:
    """Transactions in the write-ahead log: frames that carry the database's size (SQLite file format, 4.1)."""
    data = (directory / "foundry.sqlite3-wal").read_bytes()
    page_size, salt = struct.unpack(">I", data[8:12])[0], data[16:24]
    frames = range(32, len(data), 24 + page_size)
    return sum(data[at + 8 : at + 16] == salt and data[at + 4 : at + 8] != b"\0\0\0\0" for at in frames)


async def test_what_waits_is_one_transaction(workspace: Workspace, tmp_path: Path) -> None:
    """Operations that wait together are committed, synced and published once, in the order they came."""
    before, published = wal_commits(tmp_path), len(workspace.batches)
    given = [workspace.lane.submit(INSTANCE, noting(f"m{number}")) for number in range(BATCH_MAX)]
    sequences = await asyncio.gather(*given)
    assert wal_commits(tmp_path) - before == 1
    assert len(workspace.batches) - published == 1
    assert sequences == list(range(sequences[0], sequences[0] + BATCH_MAX))
    assert [entry.sequence for entry in workspace.batches[-1]] == sequences
    assert await marks(workspace) == [f"m{number}" for number in range(BATCH_MAX)]


async def test_a_transaction_has_a_bound(workspace: Workspace, tmp_path: Path) -> None:
    """More than ``BATCH_MAX`` operations are several transactions, or the first would wait for all."""
    before = wal_commits(tmp_path)
    await asyncio.gather(*[workspace.lane.submit(INSTANCE, note) for _ in range(BATCH_MAX + 1)])
    assert wal_commits(tmp_path) - before == 2


async def test_one_operation_is_a_plain_transaction(workspace: Workspace, tmp_path: Path) -> None:
    """Nothing waits for a batch to fill: each awaited operation is committed before its answer."""
    with closing(sqlite3.connect(tmp_path / "foundry.sqlite3")) as other:
        for _ in range(3):
            version = other.execute("PRAGMA data_version").fetchone()
            before = wal_commits(tmp_path)
            await workspace.lane.submit(INSTANCE, note)
            assert wal_commits(tmp_path) - before == 1
            assert other.execute("PRAGMA data_version").fetchone() != version


async def test_an_operation_sees_what_those_before_it_wrote(workspace: Workspace) -> None:
    """Inside one transaction each operation loads the rows as the ones before it left them."""

    def look(unit: UnitOfWork) -> int:
        return unit.last_sequence(INSTANCE_LOG)

    found = await asyncio.gather(*[workspace.lane.submit(INSTANCE, operation) for operation in (look, note, look)])
    assert found == [found[0], found[0] + 1, found[0] + 1]


@pytest.mark.parametrize(
    ("bad", "error", "commits"),
    [
        pytest.param(refused, NotFound, 1, id="refused"),
        pytest.param(broken, ZeroDivisionError, 1, id="broken"),
        # What the database refuses ends the transaction; each operation then has one of its own.
        pytest.param(violating, sqlite3.IntegrityError, 3, id="violating"),
    ],
)
async def test_a_failure_is_its_own_operations_alone(
    workspace: Workspace, tmp_path: Path, bad: Callable[[UnitOfWork], int], error: type[Exception], commits: int
) -> None:
    """A refusal, a bug in a decision and a broken constraint reach their caller and leave nothing; others commit."""
    before = wal_commits(tmp_path)
    operations = [noting("a"), bad, noting("b"), bad, noting("c")]
    results = await asyncio.gather(
        *[workspace.lane.submit(INSTANCE, operation) for operation in operations], return_exceptions=True
    )
    assert [type(result) for result in results] == [int, error, int, error, int]
    assert wal_commits(tmp_path) - before == commits
    assert await marks(workspace) == ["a", "b", "c"]
    published = [entry.new.data.get("cause") for batch in workspace.batches[-commits:] for entry in batch]
    assert published == ["a", "b", "c"]


async def test_a_failing_receiver_costs_no_caller_its_answer(tmp_path: Path) -> None:
    """What is committed is committed, whoever fails to hear of it, and the lane goes on."""
    async with opened(tmp_path) as workspace:
        heard: list[int] = []

        def deaf(news: list[Committed]) -> None:
            heard.append(len(news))
            raise ConnectionError

        await workspace.lane.stop()
        lane = WriteLane(workspace.database, workspace.clock, deaf)
        lane.start()
        first, second = await lane.submit(INSTANCE, note), await lane.submit(INSTANCE, note)
        await lane.stop()
        assert (second - first, heard) == (1, [1, 1])


async def test_a_cancelled_caller_cancels_nothing(workspace: Workspace) -> None:
    """What was handed over is written; the same request id then finds it instead of doing it again."""
    request_id = "11111111-1111-4111-8111-111111111111"

    async def create() -> Project:
        return await workspace.projects.create_project(ALICE, "P", request_id=request_id)

    caller = asyncio.create_task(create())
    await asyncio.sleep(0)  # handed over, not yet run
    caller.cancel()
    with pytest.raises(asyncio.CancelledError):
        await caller
    found = await create()
    created = [entry for entry in workspace.committed if entry.new.event is Event.PROJECT_CREATED]
    assert [entry.new.data["project_id"] for entry in created] == [found.project_id] * 2
    assert {entry.log for entry in created} == {found.project_id, INSTANCE_LOG}


async def test_stopping_finishes_what_waits(workspace: Workspace) -> None:
    """Operations that were taken are committed and answered; new ones are refused with a time to come back."""
    waiting = [asyncio.create_task(workspace.lane.submit(INSTANCE, noting(str(n)))) for n in range(BATCH_MAX * 2)]
    await asyncio.sleep(0)
    await workspace.lane.stop()
    with pytest.raises(Unavailable) as caught:
        await workspace.lane.submit(INSTANCE, note)
    assert caught.value.retry_after_s
    assert len(await asyncio.gather(*waiting)) == BATCH_MAX * 2
    assert await marks(workspace) == [str(number) for number in range(BATCH_MAX * 2)]


async def test_too_much_waiting_is_refused(workspace: Workspace) -> None:
    """The queue has a bound: beyond it callers are told to come back, and those who wait are served."""
    await workspace.lane.stop()
    lane = WriteLane(workspace.database, workspace.clock, workspace.on_commit)
    done: list[int] = []
    waiting = [asyncio.create_task(lane.submit(Needs(), lambda _, n=n: done.append(n))) for n in range(WAITING_MAX)]  # type: ignore[misc]  # mypy cannot infer a lambda with a default
    await asyncio.sleep(0)
    with pytest.raises(Unavailable):
        await lane.submit(Needs(), lambda _: done.append(-1))
    lane.start()
    await asyncio.gather(*waiting)
    assert done == list(range(WAITING_MAX))
    await lane.submit(Needs(), lambda _: done.append(-1))
    await lane.stop()


async def test_a_slow_store_does_not_stop_the_event_loop(workspace: Workspace) -> None:
    """Transactions that take long move to a thread, and back to the loop when they are fast again."""
    threads: list[int] = []

    def decide(unit: UnitOfWork) -> int:
        threads.append(threading.get_ident())
        return note(unit)

    workspace.database.writer._commit_seconds = 1.0
    sequence = await workspace.lane.submit(INSTANCE, decide)
    workspace.database.writer._commit_seconds = 0.0
    assert await workspace.lane.submit(INSTANCE, decide) == sequence + 1
    here = threading.get_ident()
    assert [thread == here for thread in threads] == [False, True]
