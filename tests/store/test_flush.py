"""Writing a batch: what rests on a row comes behind it, and a row costs no round trip of its own."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from foundry.domain.session import CloseReason
from foundry.store import comments, drafts, entries, fields, runs, sessions
from foundry.store.errors import RowConflictError
from foundry.store.flush import Key, Write, _in_order
from foundry.store.statement import Statement
from tests.managers.workspace import ALICE, BOB
from tests.store.batches import Batches, batched


@pytest.fixture(params=["sqlite", "postgres"])
async def batches(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Batches]:
    postgres = request.getfixturevalue("postgres") if request.param == "postgres" else None
    async with batched(tmp_path, postgres) as made:
        yield made


def written(batches: Batches) -> list[Statement]:
    """The statements of the last transaction that write, in order."""
    return [statement for statement, _ in batches.writer.transactions[-1] if _writes(statement)]


def _writes(statement: Statement) -> bool:
    return not statement.sqlite.startswith("SELECT")


# --- order -----------------------------------------------------------------------------------------------------------


async def test_a_change_is_written_while_its_field_shows_its_lock(batches: Batches) -> None:
    """Grant, version, change, release: the guards of the database would refuse any other order."""
    workspace = batches.workspace
    project_id = await workspace.project(ALICE)
    await workspace.save_unary(project_id, 0, {"notes": "1"})
    await batches.together(workspace.save_unary(project_id, 1, {"notes": "2"}))
    order = written(batches)
    granted, *_, released = (at for at, statement in enumerate(order) if statement is fields.UPDATE_FIELD)
    session, grant, version, change = map(
        order.index, (sessions.INSERT_SESSION, fields.INSERT_GRANT, drafts.INSERT_DRAFT, drafts.INSERT_CHANGE)
    )
    assert session < granted < grant < change < released
    assert session < version < change


async def test_the_head_is_written_last(batches: Batches) -> None:
    """Once per log, however many entries there are: what it says is there when it says it."""
    workspace = batches.workspace
    project_id = await workspace.project(ALICE)
    await batches.together(*(workspace.save_unary(project_id, 0, {f"notes/{n}": "1"}) for n in range(4)))
    assert written(batches)[-1] is entries.UPDATE_HEAD
    assert written(batches).count(entries.UPDATE_HEAD) == 1


async def test_one_field_may_change_hands_within_a_batch(batches: Batches) -> None:
    """Each of its grants, saves and releases is written in its turn, and the guards let it pass."""
    workspace = batches.workspace
    project_id = await workspace.project(ALICE, BOB)
    mine = await workspace.session(project_id)
    answers = await batches.together(
        workspace.save_unary(project_id, 0, {"notes": "1"}),
        workspace.save_unary(project_id, 1, {"notes": "2"}, BOB),
        workspace.locks.acquire(ALICE, project_id, mine.session_id, "notes"),
        workspace.sessions.close(mine, CloseReason.LEAVE),
        workspace.save_unary(project_id, 2, {"notes": "3"}, BOB),
    )
    assert [type(answer).__name__ for answer in answers if isinstance(answer, Exception)] == []
    later = await workspace.session(project_id)
    assert (await workspace.lock(later, "notes")).fencing_token == 5


_STATEMENTS = (
    fields.INSERT_GRANT,
    drafts.INSERT_CHANGE,
    fields.UPDATE_FIELD,
    sessions.UPDATE_SESSION,
    runs.INSERT_CHUNK,
    comments.UPDATE_COMMENT,
)
_KEYS: st.SearchStrategy[tuple[Key, ...]] = st.lists(
    st.integers(0, 4).map(lambda number: ("row", number)), max_size=2, unique=True
).map(tuple)


@given(st.lists(st.tuples(st.sampled_from(_STATEMENTS), _KEYS, _KEYS), max_size=14))
def test_every_write_is_behind_what_it_rests_on(
    staged: list[tuple[Statement, tuple[Key, ...], tuple[Key, ...]]],
) -> None:
    """And before whatever changes that again; two writes of one row keep their order."""
    writes = [
        Write(statement, {"number": number}, makes, tuple(key for key in rests_on if key not in makes))
        for number, (statement, makes, rests_on) in enumerate(staged)
    ]
    groups = _in_order(writes)
    assert sorted(write.parameters["number"] for group in groups for write in group) == list(range(len(writes)))
    assert all(write.statement is group[0].statement for group in groups for write in group)
    place = {
        write.parameters["number"]: (at, inside)
        for at, group in enumerate(groups)
        for inside, write in enumerate(group)
    }
    for late in writes:
        for early in writes[: late.parameters["number"]]:
            before, after = place[early.parameters["number"]], place[late.parameters["number"]]
            if set(early.makes) & set(late.makes):
                assert before < after
                assert early.statement.inserts or before[0] < after[0]  # two updates of one row are two statements
            if set(early.makes) & set(late.rests_on) or set(early.rests_on) & set(late.makes):
                assert before[0] < after[0]


# --- round trips -----------------------------------------------------------------------------------------------------


async def test_sixteen_saves_take_as_many_round_trips_as_one(batches: Batches) -> None:
    """Of sixteen people in sixteen projects, or of one project's sixteen fields."""
    workspace = batches.workspace
    projects = [await workspace.project(ALICE) for _ in range(16)]
    trips = []
    for some in (projects[:1], projects[1:]):
        for base in range(2):  # the first save of a field inserts it
            saves = (workspace.save_unary(project_id, base, {"notes": f"{base}"}) for project_id in some)
            answers = await batches.together(*saves)
            assert {answer.draft.version_number for answer in answers} == {base + 1}
        trips.append(len(batches.writer.transactions[-1]))
    assert trips[0] == trips[1] <= 20
    project_id = await workspace.project(ALICE)
    await workspace.save_unary(project_id, 0, {f"field_{number}": "0" for number in range(16)})
    answers = await batches.together(
        *(workspace.save_unary(project_id, 1, {f"field_{number}": "1"}) for number in range(16))
    )
    assert [answer.draft.version_number for answer in answers] == list(range(2, 18))
    assert len(batches.writer.transactions[-1]) <= trips[0] + 1


async def test_a_batch_of_refusals_writes_nothing(batches: Batches) -> None:
    workspace = batches.workspace
    project_id = await workspace.project(ALICE)
    await batches.together(*(workspace.save_unary(project_id, 7, {"notes": "1"}) for _ in range(3)))
    assert written(batches) == []


# --- rows that changed meanwhile -------------------------------------------------------------------------------------


async def test_a_row_that_is_not_as_it_was_loaded_is_not_overwritten(batches: Batches) -> None:
    """One of a group is enough: nothing of the transaction stays."""
    workspace = batches.workspace
    project_id = await workspace.project(ALICE)
    mine = await workspace.session(project_id)
    lock = await workspace.lock(mine, "notes")
    before = await workspace.log(project_id)

    async def work(connection: Any) -> None:
        key = {"key": mine.session_id, "old_state": mine.state.value}
        stale = {**sessions.session_parameters(mine), **key, "old_stream_epoch": mine.stream_epoch + 1}
        fresh = {**stale, "old_stream_epoch": mine.stream_epoch}
        if await connection.write(sessions.UPDATE_SESSION, [fresh, stale]) != 2:
            raise RowConflictError("session")

    with pytest.raises(RowConflictError):
        await batches.writer.transact(work)
    assert await workspace.log(project_id) == before
    assert await workspace.lock(mine, "notes") == lock
