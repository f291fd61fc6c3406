"""A batch is loaded once: each of its operations sees what those before it changed, as if it had been loaded again."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from foundry.domain.entry import Event
from foundry.domain.errors import (
    FieldNameConflict,
    LockHeld,
    LockLost,
    NotFound,
    ProjectAccessDenied,
    RequestIdReused,
    RoleTooLow,
    RunFinished,
    SessionClosed,
    StaleVersion,
)
from foundry.domain.field import FieldState
from foundry.domain.project import Role
from foundry.domain.run import RunState
from foundry.domain.session import CloseReason, SessionState
from foundry.managers.comments import WantedComment
from foundry.managers.drafts import RequestedChange, SaveRequest
from foundry.managers.runs import WantedRun
from foundry.managers.sessions import OpenSession
from foundry.store.needs import Needs
from foundry.store.unit_of_work import UnitOfWork
from tests.managers.workspace import ALICE, BOB, Workspace
from tests.store.batches import Batches, batched

REQUEST_ID = "11111111-1111-4111-8111-111111111111"
OTHER_ID = "22222222-2222-4222-8222-222222222222"


@pytest.fixture(params=["sqlite", "postgres"])
async def batches(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Batches]:
    postgres = request.getfixturevalue("postgres") if request.param == "postgres" else None
    async with batched(tmp_path, postgres) as made:
        yield made


@pytest.fixture
def workspace(batches: Batches) -> Workspace:
    return batches.workspace


async def _fields(workspace: Workspace, project_id: str) -> list[FieldState]:
    return await workspace.lane.submit(Needs(project_id, all_fields=True), lambda unit: unit.fields)


# --- sessions --------------------------------------------------------------------------------------------------------


async def test_sessions_opened_and_closed_before_it_count(batches: Batches, workspace: Workspace) -> None:
    """The bound on open sessions is a bound within a batch too."""
    project_id = await workspace.project(ALICE, BOB)
    first = await workspace.session(project_id)

    def count() -> Any:
        return workspace.lane.submit(Needs(project_id, count_sessions=True), lambda unit: unit.open_session_count)

    answers = await batches.together(
        count(),
        workspace.session(project_id),
        count(),
        workspace.session(project_id, BOB),
        count(),
        workspace.sessions.close(first, CloseReason.LEAVE),
        count(),
        workspace.sessions.close(first, CloseReason.LEAVE),
        count(),
    )
    assert [answers[at] for at in (0, 2, 4, 6, 8)] == [1, 2, 3, 2, 2]
    assert (answers[5], answers[7]) == (True, False)
    [stored] = await batches.together(count())
    assert stored == 2


async def test_a_session_of_the_same_tab_that_came_before_it_is_superseded(
    batches: Batches, workspace: Workspace
) -> None:
    """Of many that open one tab in one batch the last stays, and what the others could have held is free."""
    project_id = await workspace.project(ALICE)
    opened = await batches.together(*(workspace.session(project_id, tab_id="tab") for _ in range(5)))
    stored = await workspace.store.sessions.open_in(project_id, "", 10)
    assert [session.session_id for session in stored] == [opened[-1].session_id]
    closed = [entry for entry in workspace.committed if entry.new.event is Event.SESSION_CLOSED]
    assert [entry.new.data["session_id"] for entry in closed] == [one.session_id for one in opened[:-1]]


async def test_a_session_that_was_resumed_before_it_is_not_closed_by_a_late_teardown(
    batches: Batches, workspace: Workspace
) -> None:
    """The teardown names the stream before; its lock stays."""
    project_id = await workspace.project(ALICE)
    attached = await workspace.sessions.open(ALICE, OpenSession(project_id))
    lock = await workspace.lock(attached.session, "system_prompt")
    coming_back = OpenSession(project_id, resume_session_id=attached.session.session_id, resume_secret=attached.secret)
    resumed, closed, refused = await batches.together(
        workspace.sessions.open(ALICE, coming_back),
        workspace.sessions.close(attached.session, CloseReason.STREAM_GONE),
        workspace.sessions.open(ALICE, coming_back),
    )
    assert (resumed.resumed, closed) == (True, False)
    assert type(refused).__name__ == "ResumeRefused"  # the secret was used up within the batch
    assert await workspace.lock(resumed.session, "system_prompt") == lock


async def test_a_session_that_was_closed_before_it_does_nothing_more(batches: Batches, workspace: Workspace) -> None:
    """Neither take a lock, nor save under the one it had, which is free."""
    project_id = await workspace.project(ALICE, BOB)
    mine, his = await workspace.session(project_id), await workspace.session(project_id, BOB)
    lock = await workspace.lock(mine, "notes")
    answers = await batches.together(
        workspace.sessions.close(mine, CloseReason.LEAVE),
        workspace.lock(mine, "topology"),
        workspace.save(lock, "late", 0),
    )
    assert [type(answer) for answer in answers] == [bool, SessionClosed, SessionClosed]
    [taken] = await batches.together(workspace.lock(his, "notes", BOB))
    assert (taken.session_id, taken.fencing_token) == (his.session_id, 2)


async def test_closing_a_session_releases_what_it_was_granted_before_in_the_batch(
    batches: Batches, workspace: Workspace
) -> None:
    """A lock that was granted after the batch was loaded is released with the rest."""
    project_id = await workspace.project(ALICE, BOB)
    mine, his = await workspace.session(project_id), await workspace.session(project_id, BOB)
    await workspace.save_unary(project_id, 0, {"notes": "1", "topology": "{}"})
    await batches.together(
        workspace.lock(mine, "notes"),
        workspace.lock(mine, "topology"),
        workspace.sessions.close(mine, CloseReason.LEAVE),
    )
    taken = await batches.together(workspace.lock(his, "notes", BOB), workspace.lock(his, "topology", BOB))
    assert [lock.session_id for lock in taken] == [his.session_id] * 2


# --- members ---------------------------------------------------------------------------------------------------------


async def test_members_removed_and_added_before_it_are(batches: Batches, workspace: Workspace) -> None:
    """Rights are decided on as the operations before left them."""
    project_id = await workspace.project(ALICE, BOB)
    say = WantedComment("Too cheerful?")
    denied, said, low = 1, 3, 5
    answers = await batches.together(
        workspace.projects.remove_member(ALICE, project_id, "bob"),
        workspace.comments.create(BOB, project_id, say),
        workspace.projects.set_member(ALICE, project_id, "bob", Role.EDITOR),
        workspace.comments.create(BOB, project_id, say),
        workspace.projects.set_member(ALICE, project_id, "bob", Role.VIEWER),
        workspace.save_unary(project_id, 0, {"notes": "1"}, BOB),
    )
    assert isinstance(answers[denied], ProjectAccessDenied)
    assert not isinstance(answers[said], Exception)
    assert isinstance(answers[low], RoleTooLow)


async def test_a_removed_member_loses_sessions_that_were_opened_before_in_the_batch(
    batches: Batches, workspace: Workspace
) -> None:
    """No session outlives the access it rests on, however close together they came."""
    project_id = await workspace.project(ALICE, BOB)
    session, _ = await batches.together(
        workspace.session(project_id, BOB), workspace.projects.remove_member(ALICE, project_id, "bob")
    )
    stored = await workspace.store.sessions.get(session.session_id)
    assert stored is not None
    assert stored.state is SessionState.CLOSED


# --- locks and fields ------------------------------------------------------------------------------------------------


async def test_a_field_has_one_holder_within_a_batch(batches: Batches, workspace: Workspace) -> None:
    """Of many who ask at once the first gets it; after its release the next, with the next fence."""
    project_id = await workspace.project(ALICE, BOB)
    mine, his = await workspace.session(project_id), await workspace.session(project_id, BOB)
    granted, held, released, next_one = await batches.together(
        workspace.lock(mine, "notes"),
        workspace.lock(his, "notes", BOB),
        workspace.locks.release(ALICE, project_id, mine.session_id, "notes", 1),
        workspace.lock(his, "notes", BOB),
    )
    assert (granted.fencing_token, type(held), next_one.fencing_token) == (1, LockHeld, 2)
    assert not isinstance(released, Exception)


async def test_a_lock_that_was_lost_before_it_saves_nothing(batches: Batches, workspace: Workspace) -> None:
    """A save behind its own lock's break is refused, whatever was loaded for it."""
    project_id = await workspace.project(ALICE, BOB)
    his = await workspace.session(project_id, BOB)
    lock = await workspace.lock(his, "notes", BOB)
    broken, saved = await batches.together(
        workspace.locks.break_(ALICE, project_id, "notes", lock.fencing_token, reason="stuck"),
        workspace.save(lock, "late", 0, BOB),
    )
    assert not isinstance(broken, Exception)
    assert isinstance(saved, LockLost)


async def test_versions_follow_each_other_within_a_batch(batches: Batches, workspace: Workspace) -> None:
    """Saves of different fields on one base all succeed, in order; of one field only the first."""
    project_id = await workspace.project(ALICE)
    answers = await batches.together(
        workspace.save_unary(project_id, 0, {"notes": "1"}),
        workspace.save_unary(project_id, 0, {"topology": "{}"}),
        workspace.save_unary(project_id, 0, {"notes": "2"}),
        workspace.save_unary(project_id, 2, {"notes": "3"}),
    )
    assert isinstance(answers[2], StaleVersion)
    assert [answer.draft.version_number for at, answer in enumerate(answers) if at != 2] == [1, 2, 3]


async def test_a_field_that_came_free_before_it_is_looked_up_in_the_next_transaction(
    batches: Batches, workspace: Workspace
) -> None:
    """Its name must be checked against all others now, which were not loaded; the operation is answered all the same.

    The lock was all there was of the field, so its name is free with it.
    """
    project_id = await workspace.project(ALICE, BOB)
    mine, his = await workspace.session(project_id), await workspace.session(project_id, BOB)
    await workspace.save_unary(project_id, 0, {"topology": "{}"})
    lock = await workspace.lock(mine, "notes/a")
    released, late, other = await batches.together(
        workspace.locks.release(ALICE, project_id, mine.session_id, "notes/a", lock.fencing_token),
        workspace.locks.acquire(ALICE, project_id, mine.session_id, "notes/a"),
        workspace.lock(his, "topology", BOB),
        transactions=2,
    )
    assert not isinstance(released, Exception)
    assert (late.lock.field, late.lock.fencing_token) == ("notes/a", 2)
    assert other.field == "topology"


async def test_those_who_wait_for_the_next_transaction_keep_their_order(batches: Batches, workspace: Workspace) -> None:
    """Whoever asked first is asked first there."""
    project_id = await workspace.project(ALICE, BOB)
    mine, his = await workspace.session(project_id), await workspace.session(project_id, BOB)
    lock = await workspace.lock(mine, "notes/a")
    _, first, second = await batches.together(
        workspace.locks.release(ALICE, project_id, mine.session_id, "notes/a", lock.fencing_token),
        workspace.locks.acquire(ALICE, project_id, mine.session_id, "notes/a"),
        workspace.lane.submit(
            Needs(project_id, fields=("notes/a",), sessions=(his.session_id,)), lambda unit: unit.field("notes/a").lock
        ),
        transactions=2,
    )
    assert first.lock.fencing_token == 2
    assert second == first.lock


async def test_names_made_before_it_are_names(batches: Batches, workspace: Workspace) -> None:
    """A name below one that another operation of the batch has just made is refused."""
    project_id = await workspace.project(ALICE)
    made, refused = await batches.together(
        workspace.save_unary(project_id, 0, {"notes": "1"}), workspace.save_unary(project_id, 0, {"notes/a": "1"})
    )
    assert not isinstance(made, Exception)
    assert isinstance(refused, FieldNameConflict)


async def test_a_refused_operation_leaves_nothing_for_those_behind_it(batches: Batches, workspace: Workspace) -> None:
    """Also if it had staged changes of every kind before it was refused."""
    project_id = await workspace.project(ALICE, BOB)
    mine = await workspace.session(project_id)
    await workspace.save_unary(project_id, 0, {"notes": "1"})
    wanted = Needs(project_id, "bob", members=("alice",), sessions=(mine.session_id,), fields=("notes",))

    def refused(unit: UnitOfWork) -> None:
        unit.remove_member(unit.members[0])
        unit.put_session(replace(mine, state=SessionState.DETACHED))
        unit.put_field(replace(unit.field("notes"), fence=9))
        unit.put_project(replace(unit.project, name="changed", revision=unit.project.revision + 1))
        unit.record(workspace.committed[-1].new)
        raise NotFound("thing", "1")

    def look(unit: UnitOfWork) -> tuple[object, ...]:
        session = unit.session(mine.session_id)
        assert session
        seen = (unit.project.name, len(unit.members), session.state, unit.field("notes").fence)
        return (*seen, unit.last_sequence())

    before, failed, after = await batches.together(
        workspace.lane.submit(wanted, look), workspace.lane.submit(wanted, refused), workspace.lane.submit(wanted, look)
    )
    assert isinstance(failed, NotFound)
    assert after == before == (before[0], 2, SessionState.ATTACHED, 1, before[-1])


async def test_an_operation_gets_its_own_copy_of_the_rows(batches: Batches, workspace: Workspace) -> None:
    """Whatever a decision does to its view, the shelf keeps only what succeeded."""
    project_id = await workspace.project(ALICE)
    wanted = Needs(project_id, "alice", all_members=True, all_fields=True)

    def spoil(unit: UnitOfWork) -> None:
        unit.rows.members.clear()
        unit.rows.fields["spoilt"] = FieldState("spoilt")
        unit.rows.heads.clear()
        raise NotFound("thing", "1")

    _, seen = await batches.together(
        workspace.lane.submit(wanted, spoil),
        workspace.lane.submit(wanted, lambda unit: (len(unit.members), len(unit.fields), unit.has_log(project_id))),
    )
    assert seen == (1, 0, True)


# --- comments and runs -----------------------------------------------------------------------------------------------


async def test_comments_made_before_it_count(batches: Batches, workspace: Workspace) -> None:
    """In the project and in their thread; the bounds hold within a batch too."""
    project_id = await workspace.project(ALICE)
    first = (await workspace.comments.create(ALICE, project_id, WantedComment("First"))).comment
    wanted = Needs(project_id, comments=(first.comment_id,), count_comments=True)

    def count() -> Any:
        return workspace.lane.submit(wanted, lambda unit: unit.comment_counts)

    reply = WantedComment("And?", parent_comment_id=first.comment_id)
    answers = await batches.together(
        count(),
        workspace.comments.create(ALICE, project_id, WantedComment("Another thread")),
        count(),
        workspace.comments.create(ALICE, project_id, reply),
        workspace.comments.create(ALICE, project_id, reply),
        count(),
    )
    assert [answers[at] for at in (0, 2, 5)] == [(1, 1), (2, 1), (4, 3)]
    [stored] = await batches.together(count())
    assert stored == (4, 3)


async def test_a_run_ends_once_within_a_batch(batches: Batches, workspace: Workspace) -> None:
    """The second end of it is refused, or is the same."""
    project_id = await workspace.project(ALICE)
    await workspace.save_unary(project_id, 0, {"notes": "1"})
    run = (await workspace.runs.start(ALICE, project_id, WantedRun())).run
    first, second, looked = await batches.together(
        workspace.runs.finish(ALICE, project_id, run.run_id, RunState.PASSED),
        workspace.runs.cancel(ALICE, project_id, run.run_id),
        workspace.lane.submit(Needs(project_id, running_runs=True), lambda unit: unit.running_runs),
    )
    assert not isinstance(first, Exception)
    assert isinstance(second, RunFinished)
    assert looked == []


# --- requests --------------------------------------------------------------------------------------------------------


async def test_a_request_that_comes_twice_in_one_batch_is_done_once(batches: Batches, workspace: Workspace) -> None:
    """The second gets the first one's answer; another command with the same id is refused."""
    project_id = await workspace.project(ALICE)
    first, again, other, new = await batches.together(
        workspace.save_unary(project_id, 0, {"notes": "1"}, request_id=REQUEST_ID),
        workspace.save_unary(project_id, 0, {"notes": "1"}, request_id=REQUEST_ID),
        workspace.save_unary(project_id, 0, {"notes": "2"}, request_id=REQUEST_ID),
        workspace.save_unary(project_id, 1, {"notes": "2"}, request_id=OTHER_ID),
    )
    assert again == first
    assert isinstance(other, RequestIdReused)
    assert new.draft.version_number == 2
    saved = [entry for entry in workspace.committed if entry.new.event is Event.DRAFT_CREATED]
    assert len(saved) == 2


async def test_what_is_only_validated_is_seen_by_nobody(batches: Batches, workspace: Workspace) -> None:
    """Those behind it in the batch decide as if it had not been there, and its request id is still to be used."""
    project_id = await workspace.project(ALICE)

    def save(*, validate_only: bool) -> Any:
        request = SaveRequest(project_id, 0, {}, request_id=REQUEST_ID, validate_only=validate_only)
        return workspace.drafts.create_draft(ALICE, request, [RequestedChange("notes", content=b"1")])

    before = (await workspace.log(project_id))[-1].sequence
    tried, again = await batches.together(save(validate_only=True), save(validate_only=True))
    assert tried.draft.version_number == again.draft.version_number == 1
    assert (await workspace.log(project_id))[-1].sequence == before
    tried, done, late = await batches.together(
        save(validate_only=True), save(validate_only=False), save(validate_only=True)
    )
    assert tried.draft.version_number == done.draft.version_number == 1
    assert isinstance(late, StaleVersion)
    assert [(state.name, state.fence) for state in await _fields(workspace, project_id)] == [("notes", 1)]


# --- whole batches ---------------------------------------------------------------------------------------------------


async def test_a_batch_leaves_what_its_operations_one_by_one_would(batches: Batches, workspace: Workspace) -> None:
    """Projects that live through the same, together and one after the other, say the same in the end."""
    together, apart = await workspace.project(ALICE, BOB), await workspace.project(ALICE, BOB)

    async def story(project_id: str) -> list[Any]:
        mine, his = await workspace.session(project_id), await workspace.session(project_id, BOB)
        return [
            workspace.lock(mine, "notes"),
            workspace.lock(his, "topology", BOB),
            workspace.save_unary(project_id, 0, {"system_prompt": "1"}),
            workspace.save_unary(project_id, 0, {"notes": "1"}, BOB),
            workspace.locks.release(ALICE, project_id, mine.session_id, "notes", 1),
            workspace.save_unary(project_id, 1, {"notes": "1"}, BOB),
            workspace.sessions.close(his, CloseReason.LEAVE),
            workspace.lock(mine, "topology"),
        ]

    joined = await batches.together(*await story(together))
    single = [(await asyncio.gather(one, return_exceptions=True))[0] for one in await story(apart)]
    assert [type(answer) for answer in joined] == [type(answer) for answer in single]
    ids = {"project_id", "session_id", "lock_id", "draft_id", "draft_hash"}

    async def told(project_id: str) -> list[tuple[Any, ...]]:
        entries = (await workspace.log(project_id))[1:]
        return [
            (entry.new.event, {name: value for name, value in entry.new.data.items() if name not in ids})
            for entry in entries
            if entry.new.event not in {Event.SESSION_OPENED, Event.DRAFT_CREATED}
        ]

    assert await told(together) == await told(apart)
