"""A frozen project is a record: every RPC that could write to it refuses, for ever."""

from __future__ import annotations

import asyncio
from typing import Any, Final

import pytest
from google.protobuf.descriptor import MethodDescriptor

from coreason.foundry.v1 import comment_pb2, draft_pb2, lock_pb2, project_pb2, run_pb2, session_pb2
from tests.service.desk import desk
from tests.service.house import CALLS, MUTATING, House, names
from tests.service.logs import check_chain, entries_of, events_of
from tests.service.refusals import Refused, refused
from tests.service.saves import save_of

pytestmark = pytest.mark.asyncio(loop_scope="module")

#: Mutating RPCs that a frozen project still answers, and why.
EXCEPTIONS: Final = {
    "CreateProject": "makes another project",
    "SetMember": "or nobody could be given access to a release",
    "RemoveMember": "or nobody could lose it",
    "ArchiveProject": "a release may be put away",
    "UnarchiveProject": "and be taken out again",
    "EndSession": "a session may watch a frozen project, and must be able to stop",
    "ExportForAssay": "it reads, and its entry tells of it",
    "ExportForPublisher": "what a freeze is for",
    "StartRevision": "goes on in another project",
}
REFUSED = [method for method in MUTATING if method.name not in EXCEPTIONS]
READING = [method for method in CALLS if method not in MUTATING and method.name != "GetLock"]  # all are free


@pytest.mark.parametrize("method", REFUSED, ids=names(REFUSED))
async def test_a_frozen_project_cannot_be_written(house: House, method: MethodDescriptor) -> None:
    """Not even by its owner; nothing changes. RPCs of locks too: they are no reads, and there are no locks."""
    async with desk(house) as where:
        await where.freeze()
        about = {"project_id": where.project_id, "state": "FROZEN"}
        async with house.unchanged(where.project_id):
            for request in where.attempts(method.name):
                await refused(house.olga.call(request), "PROJECT_FROZEN", **about)


@pytest.mark.parametrize("name", EXCEPTIONS)
async def test_the_exceptions_are_exactly_these(house: House, name: str) -> None:
    """Each does what its reason says, and leaves the content and what was said about it alone."""
    async with desk(house) as where:
        await where.freeze()
        before = await _record(house, where.project_id)
        await house.olga.call(where.requests()[name])
        assert await _record(house, where.project_id) == before


async def _record(house: House, project_id: str) -> list[Any]:
    """What of a project a freeze keeps: content, comments, runs, locks, the freeze itself."""
    about: dict[str, Any] = {"project_id": project_id}
    project = (await house.olga.call(project_pb2.GetProjectRequest(**about))).project
    return [
        (project.state, project.head_version, project.name, project.description, project.policy),
        *[
            await house.olga.call(request)
            for request in (
                draft_pb2.ListDraftsRequest(**about),
                draft_pb2.GetDraftRequest(**about),
                comment_pb2.ListCommentsRequest(**about),
                run_pb2.ListRunsRequest(**about),
                lock_pb2.ListLocksRequest(**about),
            )
        ],
    ]


@pytest.mark.parametrize("method", READING, ids=names(READING))
async def test_a_frozen_project_can_be_read(house: House, method: MethodDescriptor) -> None:
    """By every RPC without side effects, and by its members as before."""
    async with desk(house) as where:
        await where.freeze()
        await house.caller("mia").call(where.requests()[method.name])


async def test_a_freeze_releases_every_lock_and_ends_no_session(house: House) -> None:
    """In the same transaction, so that no lock outlives the right to write; the answer names them."""
    project_id = await house.project(bob=project_pb2.ROLE_EDITOR)
    await house.olga.save(project_id, notes="v1")
    bob = house.caller("bob")
    async with house.olga.session(project_id) as hers, bob.session(project_id) as his:
        tokens = {(await hers.acquire("a")).fencing_token, (await his.acquire("b")).fencing_token}
        before = (await house.state(project_id)).entries
        await house.freeze(project_id)
        log = (await entries_of(house.olga, project_id))[before:]
        assert events_of(log) == ["freeze_requested", "lock_released", "lock_released", "project_frozen"]
        released = [entry.lock_released for entry in log[1:3]]
        assert {lock.fencing_token for lock in released} == tokens
        assert {(lock.field, lock.holder) for lock in released} == {("a", "olga"), ("b", "bob")}
        assert {lock.release_reason for lock in released} == {lock_pb2.LOCK_RELEASE_REASON_FREEZE}
        assert len({entry.correlation_id for entry in log}) == len({entry.time.ToNanoseconds() for entry in log}) == 1
        listed = await bob.call(session_pb2.ListSessionsRequest(project_id=project_id))
        assert {session.session_id for session in listed.sessions} == {hers.session_id, his.session_id}


async def test_unarchiving_never_thaws(house: House) -> None:
    """The archive is another matter than the state of the content."""
    project_id = await house.project()
    await house.olga.save(project_id, notes="v1")
    await house.freeze(project_id)
    await house.olga.call(project_pb2.ArchiveProjectRequest(project_id=project_id))
    project = (await house.olga.call(project_pb2.UnarchiveProjectRequest(project_id=project_id))).project
    assert not project.HasField("archive_time")
    assert project.state == project_pb2.PROJECT_STATE_FROZEN
    await refused(house.olga.save(project_id, 1, notes="x"), "PROJECT_FROZEN", state="FROZEN")


async def test_a_write_that_races_a_freeze_is_before_it_or_refused(house: House) -> None:
    """What was not refused stands in the log before ``project_frozen``; nothing stands behind it."""
    project_id = await house.project()
    await house.olga.save(project_id, notes="v1")
    said = [comment_pb2.CreateCommentRequest(project_id=project_id, text=f"Remark {number}") for number in range(40)]
    calls: list[Any] = [house.olga.call(request) for request in said]
    calls.insert(20, house.freeze(project_id))
    outcomes = await asyncio.gather(*calls, return_exceptions=True)
    freeze = outcomes.pop(20)
    assert not isinstance(freeze, BaseException)
    refusals = [outcome for outcome in outcomes if isinstance(outcome, Refused)]
    assert {refusal.reason for refusal in refusals} <= {"PROJECT_FROZEN"}
    log = await entries_of(house.olga, project_id)
    check_chain(project_id, log)
    assert events_of(log)[-1] == "project_frozen"
    assert log[-1].position == freeze.position
    assert events_of(log).count("comment_created") == len(said) - len(refusals)


async def test_the_database_itself_keeps_a_freeze(house: House) -> None:
    """Whoever reaches past the server finds triggers: no state but FROZEN, no other head, nothing more about it."""
    async with desk(house) as where:
        await where.freeze()
        for statement in (
            "UPDATE head SET state = 'ACTIVE' WHERE log = ?",
            "UPDATE head SET head_version = head_version + 1 WHERE log = ?",
            "UPDATE comment SET state = 'OPEN', revision = revision + 1 WHERE project_id = ?",
            "UPDATE run SET labels = '{}' WHERE project_id = ?",
            'DELETE FROM "freeze" WHERE project_id = ?',
            "UPDATE \"freeze\" SET reason = 'another' WHERE project_id = ?",
        ):
            house.guards_refuse(statement, (where.project_id,))


# --- under review, which no RPC reaches yet -----------------------------------------------------------------------

#: What changes content, rules or state; the rest goes on: members, comments, runs.
CLOSED: Final = ["CreateDraft", "RevertDraft", "AcquireLock", "RequestFreeze"]
GOES_ON: Final = [
    "CreateComment",
    "UpdateComment",
    "DeleteComment",
    "ResolveComment",
    "ReopenComment",
    "StartRun",
    "AppendRunLog",
    "FinishRun",
    "CancelRun",
    "ReleaseLock",
    "ExportForAssay",
    "SetMember",
]


@pytest.mark.parametrize("name", CLOSED)
async def test_content_under_review_is_neither_locked_nor_saved(house: House, name: str) -> None:
    async with desk(house) as where:
        house.put_in_review(where.project_id)
        async with house.unchanged(where.project_id):
            for request in where.attempts(name):
                about = {"project_id": where.project_id, "state": "IN_REVIEW"}
                await refused(house.olga.call(request), "PROJECT_FROZEN", **about)


@pytest.mark.parametrize("name", GOES_ON)
async def test_comments_and_runs_go_on_under_review(house: House, name: str) -> None:
    """A review is made of them."""
    async with desk(house) as where:
        house.put_in_review(where.project_id)
        await house.olga.call(where.requests()[name])


async def test_what_is_under_review_is_not_released(house: House) -> None:
    """Nothing to hand over, nothing to go on from."""
    async with desk(house) as where:
        house.put_in_review(where.project_id)
        for name in ("ExportForPublisher", "StartRevision"):
            async with house.unchanged(where.project_id):
                await refused(house.olga.call(where.requests()[name]), "NOT_FROZEN", state="IN_REVIEW")
        await refused(house.olga.call(where.requests()["GetFreeze"]), "RESOURCE_NOT_FOUND", resource_type="freeze")


async def test_a_repeated_save_of_a_frozen_project_gets_its_answer(house: House) -> None:
    """And one that differs by a word does not: it is refused as reused, not as frozen."""
    project_id = await house.project()
    request = save_of(project_id, {"notes": "v1"}, request_id="4f2c1d0e-0000-4000-8000-00000000aaaa")
    first = await house.olga.call(request)
    await house.freeze(project_id)
    assert await house.olga.call(request) == first
    request.message = "another"
    await refused(house.olga.call(request), "REQUEST_ID_REUSED")
