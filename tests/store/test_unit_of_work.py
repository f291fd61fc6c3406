"""What one operation sees and does: discarding, repeating, the time, and rows that changed meanwhile."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from foundry.domain.entry import INSTANCE_LOG, Event
from foundry.domain.errors import RequestIdReused
from foundry.domain.principal import Caller, Principal, PrincipalKind
from foundry.domain.project import Member, Project, Role
from foundry.domain.session import SessionState
from foundry.managers.drafts import RequestedChange, SaveRequest
from foundry.store.errors import RowConflictError
from foundry.store.needs import Needs
from foundry.store.requests import KEPT_US, request_key
from foundry.store.unit_of_work import UnitOfWork
from tests.managers.workspace import AGENT, ALICE, BOB, Workspace, opened
from tests.store.operations import INSTANCE, flush_unit, note, unit_of

REQUEST_ID = "11111111-1111-4111-8111-111111111111"


@pytest.fixture
async def workspace(tmp_path: Path) -> AsyncIterator[Workspace]:
    async with opened(tmp_path) as made:
        yield made


def everything(directory: Path) -> list[str]:
    """All rows of all tables."""
    with closing(sqlite3.connect(directory / "foundry.sqlite3")) as plain:
        return list(plain.iterdump())


# --- discard ---


async def test_what_is_discarded_leaves_nothing(workspace: Workspace, tmp_path: Path) -> None:
    """An operation that was only tried writes no row and no entry, and nobody hears of it."""
    project_id = await workspace.project()
    before, batches = everything(tmp_path), len(workspace.batches)

    def decide(unit: UnitOfWork) -> int:
        stands_at = unit.last_sequence()
        unit.put_project(replace(unit.project, name="changed", revision=unit.project.revision + 1))
        unit.put_member(Member(project_id, "carol", Role.OWNER))
        unit.record(workspace.committed[-1].new)
        note(unit)
        unit.discard()
        assert (unit.last_sequence(), unit.news) == (stands_at, [])
        return stands_at

    await workspace.lane.submit(Needs(project_id, instance_log=True), decide)
    assert everything(tmp_path) == before
    assert len(workspace.batches) == batches


async def test_a_save_that_is_only_validated_leaves_nothing(workspace: Workspace, tmp_path: Path) -> None:
    """``validate_only`` decides as a save would, with the version it would make, and changes not one row."""
    project_id = await workspace.project()
    before, sequence = everything(tmp_path), workspace.committed[-2].sequence
    request = SaveRequest(project_id, 0, {}, request_id=REQUEST_ID, validate_only=True)
    result = await workspace.drafts.create_draft(ALICE, request, [RequestedChange("system_prompt", content=b"one")])
    assert result.draft is not None
    assert (result.draft.version_number, result.released_locks, result.sequence) == (1, (), sequence)
    assert everything(tmp_path) == before


# --- repeated requests ---


async def test_a_repeated_request_gets_the_first_answer(workspace: Workspace, tmp_path: Path) -> None:
    """The same answer to the last digit, however things have moved on since, and nothing happens again."""
    project_id = await workspace.project()
    first = await workspace.save_unary(project_id, 0, {"system_prompt": "one"}, request_id=REQUEST_ID)
    await workspace.save_unary(project_id, 1, {"system_prompt": "two"})
    workspace.clock.advance(3_600)
    before = everything(tmp_path)
    assert await workspace.save_unary(project_id, 0, {"system_prompt": "one"}, request_id=REQUEST_ID) == first
    assert everything(tmp_path) == before


async def test_another_command_with_the_same_id_is_refused(workspace: Workspace, tmp_path: Path) -> None:
    """A request id names one command: whatever makes it different is refused, not quietly answered."""
    project_id = await workspace.project()
    await workspace.save_unary(project_id, 0, {"system_prompt": "one"}, request_id=REQUEST_ID)
    before = everything(tmp_path)
    for base, texts in ((0, {"system_prompt": "two"}), (1, {"system_prompt": "one"}), (0, {"topology": "one"})):
        with pytest.raises(RequestIdReused) as caught:
            await workspace.save_unary(project_id, base, texts, request_id=REQUEST_ID)
        assert caught.value.details == {"request_id": REQUEST_ID}
    assert everything(tmp_path) == before


async def test_a_refused_request_is_not_remembered(workspace: Workspace) -> None:
    """Successes only: a refusal may be repeated with the same id and succeed when its cause is gone."""
    project_id = await workspace.project()
    session = await workspace.session(project_id)
    lock = await workspace.lock(session, "topology")
    refused = await _outcome(workspace.save_unary(project_id, 0, {"topology": "{}"}, request_id=REQUEST_ID))
    assert refused == "LockHeld"
    await workspace.locks.release(ALICE, project_id, session.session_id, "topology", lock.fencing_token)
    assert (await workspace.save_unary(project_id, 0, {"topology": "{}"}, request_id=REQUEST_ID)).draft is not None


async def _outcome(work: object) -> str:
    try:
        await work  # type: ignore[misc]  # any awaitable
    except Exception as error:  # noqa: BLE001 - its name is the result
        return type(error).__name__
    return "done"


def test_ids_of_different_principals_never_meet() -> None:
    """An id is the caller's own: kind and delegation belong to who the caller is, name and gateway do not."""
    actors = [
        ALICE.principal,
        BOB.principal,
        Principal("alice", PrincipalKind.SERVICE),
        Principal("alice", PrincipalKind.AGENT),
        Principal("alice", PrincipalKind.AGENT, on_behalf_of="bob"),
        Principal("alice", PrincipalKind.AGENT, on_behalf_of="carol"),
    ]
    keys = {request_key(actor, "CreateDraft", REQUEST_ID, ["x"]) for actor in actors}
    assert len(keys) == len(actors)
    renamed = replace(ALICE.principal, display_name="A.", client_id="gateway")
    assert request_key(renamed, "CreateDraft", REQUEST_ID, ["x"]) in keys


async def test_ids_of_different_rpcs_never_meet(workspace: Workspace) -> None:
    """One id may name one command of each RPC."""
    project = await workspace.projects.create_project(ALICE, "P", request_id=REQUEST_ID)
    member = await workspace.projects.set_member(ALICE, project.project_id, "bob", Role.EDITOR, request_id=REQUEST_ID)
    assert member.subject == "bob"
    again = await workspace.projects.create_project(ALICE, "P", request_id=REQUEST_ID)
    assert again == project


async def test_answers_are_kept_for_a_day(workspace: Workspace) -> None:
    """Up to 24 hours a repetition is recognised; what is older is forgotten by the housekeeping."""

    async def create() -> Project:
        return await workspace.projects.create_project(ALICE, "P", request_id=REQUEST_ID)

    async def forget() -> None:
        await workspace.lane.submit(Needs(), lambda unit: unit.forget_requests(before_us=unit.now_us - KEPT_US))

    first = await create()
    workspace.clock.advance(24 * 3600)
    await forget()
    assert await create() == first
    workspace.clock.advance(1)
    await forget()
    assert (await create()).project_id != first.project_id


# --- time ---


async def test_time_never_runs_backwards(workspace: Workspace) -> None:
    """The wall clock steps back by a day: entries go on at the time of the newest, in each log and across them."""
    project_id = await workspace.project()
    workspace.clock.step(-24 * 3600)
    await workspace.save_unary(project_id, 0, {"system_prompt": "one"})
    other = await workspace.project(BOB)
    workspace.clock.step(24 * 3600 + 5)
    await workspace.save_unary(project_id, 1, {"system_prompt": "two"})
    for log in (project_id, INSTANCE_LOG):
        times = [entry.time_us for entry in await workspace.log(log)]
        assert times == sorted(times)
    assert (await workspace.log(project_id))[-1].time_us == workspace.clock.now_us()
    born = (await workspace.log(other))[0].time_us
    assert born == (await workspace.log(INSTANCE_LOG))[-1].time_us


async def test_an_entry_and_its_change_have_one_time(workspace: Workspace) -> None:
    """A version's time is that of its entry, also when the clock is behind the log."""
    project_id = await workspace.project()
    workspace.clock.step(-60)
    saved = await workspace.save_unary(project_id, 0, {"system_prompt": "one"})
    assert saved.draft is not None
    entry = next(entry for entry in workspace.committed if entry.new.event is Event.DRAFT_CREATED)
    assert (saved.draft.create_time_us, saved.draft.sequence) == (entry.time_us, entry.sequence)


# --- rows that changed ---


async def test_a_row_that_changed_meanwhile_is_not_overwritten(workspace: Workspace) -> None:
    """Two writers loaded the same rows: the second finds them touched and writes nothing over them.

    Only a second writer can cause it; the conditional updates are the last line of defence.
    """
    project_id = await workspace.project()
    session = await workspace.session(project_id)
    await workspace.lock(session, "topology")
    connection = workspace.database.connection
    needs = Needs(project_id, "alice", sessions=(session.session_id,), fields=("topology",))

    async def changed(what: str) -> UnitOfWork:
        unit = await unit_of(workspace, needs)
        loaded = unit.session(session.session_id)
        assert loaded is not None
        if what == "session":
            unit.put_session(replace(loaded, state=SessionState.DETACHED, stream_epoch=2))
        elif what == "field":
            unit.put_field(replace(unit.field("topology"), lock=None))
        else:
            unit.put_project(replace(unit.project, revision=unit.project.revision + 1))
        return unit

    for what in ("session", "field", "project"):
        first, second = await changed(what), await changed(what)
        connection.sql("BEGIN IMMEDIATE")
        await flush_unit(workspace, first)
        with pytest.raises(RowConflictError):
            await flush_unit(workspace, second)
        connection.sql("ROLLBACK")


async def test_a_log_has_one_writer(workspace: Workspace) -> None:
    """Two writers at the same tail: the second's entry does not follow what is there, and is refused."""
    connection = workspace.database.connection
    first, second = await unit_of(workspace, INSTANCE), await unit_of(workspace, INSTANCE)
    note(first)
    note(second)
    connection.sql("BEGIN IMMEDIATE")
    await flush_unit(workspace, first)
    with pytest.raises(sqlite3.IntegrityError, match="does not continue its log"):
        await flush_unit(workspace, second)
    connection.sql("ROLLBACK")


async def test_an_operation_sees_its_own_changes(workspace: Workspace) -> None:
    """Reads inside a decision show what it has staged so far: sequence, field, session, member."""
    project_id = await workspace.project()
    session = await workspace.session(project_id)

    def decide(unit: UnitOfWork) -> None:
        before = unit.last_sequence()
        assert unit.record(workspace.committed[-1].new) == before + 1 == unit.last_sequence()
        unit.put_member(Member(project_id, "carol", Role.VIEWER))
        assert [member.subject for member in unit.members] == ["alice", "carol"]
        unit.remove_member(Member(project_id, "carol", Role.VIEWER))
        assert unit.member("carol") is None
        closed = replace(unit.sessions[0], state=SessionState.CLOSED)
        unit.put_session(closed)
        assert unit.session(session.session_id) == closed

    await workspace.lane.submit(Needs(project_id, all_members=True, all_sessions=True), decide)


async def test_agents_with_the_same_subject_are_not_the_person(workspace: Workspace) -> None:
    """A session is looked up by subject but belongs to one actor: a namesake of another kind supersedes nothing."""
    project_id = await workspace.project()
    await workspace.projects.set_member(ALICE, project_id, AGENT.principal.subject, Role.VIEWER)
    namesake = Caller(Principal("alice", PrincipalKind.SERVICE))
    first = await workspace.session(project_id, ALICE, tab_id="t")
    await workspace.session(project_id, namesake, tab_id="t")
    current = await workspace.sessions.list_sessions(ALICE, project_id, "", 10)
    assert first.session_id in {session.session_id for session in current}
