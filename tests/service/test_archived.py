"""An archived project is read-only: every RPC that could write to it refuses."""

from __future__ import annotations

from typing import Final

import pytest
from google.protobuf.descriptor import MethodDescriptor

from coreason.foundry.v1 import audit_pb2, lock_pb2, project_pb2, session_pb2
from tests.service.desk import desk
from tests.service.house import CALLS, MUTATING, House, names
from tests.service.refusals import refused

pytestmark = pytest.mark.asyncio(loop_scope="module")

#: Mutating RPCs that do not answer PROJECT_ARCHIVED: the refusal they get instead, or none, and why.
EXCEPTIONS: Final = {
    "CreateProject": (None, "makes another project"),
    "ArchiveProject": (None, "changes nothing about an archived one"),
    "UnarchiveProject": (None, "is the way out"),
    "RenewLock": ("LOCK_LOST", "archiving released every lock, so there is none to renew"),
    "ReleaseLock": ("LOCK_LOST", "the same"),
    "BreakLock": ("LOCK_LOST", "the same"),
    "EndSession": (None, "a session may watch an archived project, and must be able to stop"),
    "ExportForAssay": (None, "it reads, and its entry tells of it"),
    "ExportForPublisher": ("NOT_FROZEN", "the same, and an archived project is no released one"),
    "StartRevision": ("NOT_FROZEN", "it asks for a release first; see the test of one that is both"),
}
REFUSED = [method for method in MUTATING if method.name not in EXCEPTIONS]


@pytest.mark.parametrize("method", REFUSED, ids=names(REFUSED))
async def test_an_archived_project_cannot_be_written(house: House, method: MethodDescriptor) -> None:
    """Not even by its owner; nothing changes."""
    async with desk(house) as where:
        await house.olga.call(project_pb2.ArchiveProjectRequest(project_id=where.project_id))
        async with house.unchanged(where.project_id):
            for request in where.attempts(method.name):
                await refused(house.olga.call(request), "PROJECT_ARCHIVED", project_id=where.project_id)


@pytest.mark.parametrize("name", EXCEPTIONS)
async def test_the_exceptions_are_exactly_these(house: House, name: str) -> None:
    """Each does what its reason says."""
    async with desk(house) as where:
        await house.olga.call(project_pb2.ArchiveProjectRequest(project_id=where.project_id))
        call = house.olga.call(where.requests()[name])
        reason = EXCEPTIONS[name][0]
        if reason:
            await refused(call, reason)
        else:
            await call


async def test_a_release_that_is_archived_is_handed_over_and_not_gone_on_from(house: House) -> None:
    """Both exports read; StartRevision writes. Of the two, frozen is told first."""
    async with desk(house) as where:
        await where.freeze()
        await house.olga.call(project_pb2.ArchiveProjectRequest(project_id=where.project_id))
        requests = where.requests()
        for name in ("ExportForAssay", "ExportForPublisher", "GetFreeze"):
            await house.olga.call(requests[name])
        async with house.unchanged(where.project_id):
            await refused(house.olga.call(requests["StartRevision"]), "PROJECT_ARCHIVED", project_id=where.project_id)
            await refused(house.olga.call(requests["CreateDraft"]), "PROJECT_FROZEN", state="FROZEN")


#: What reading asks for and is not there: the field is free, the project not frozen.
ABSENT: Final = {"GetLock", "GetFreeze"}
READING = [method for method in CALLS if method not in MUTATING and method.name not in ABSENT]


@pytest.mark.parametrize("method", READING, ids=names(READING))
async def test_an_archived_project_can_be_read(house: House, method: MethodDescriptor) -> None:
    """By every RPC without side effects, and by its members as before."""
    async with desk(house) as where:
        await house.olga.call(project_pb2.ArchiveProjectRequest(project_id=where.project_id))
        await house.caller("mia").call(where.requests()[method.name])


async def test_archiving_releases_every_lock_and_ends_no_session(house: House) -> None:
    """In the same transaction, so that no lock outlives the right to write."""
    project_id = await house.project(bob=project_pb2.ROLE_EDITOR)
    bob = house.caller("bob")
    async with house.olga.session(project_id) as hers, bob.session(project_id) as his:
        tokens = {(await hers.acquire("a")).fencing_token, (await his.acquire("b")).fencing_token}
        before = await house.state(project_id)
        archived = await house.olga.call(project_pb2.ArchiveProjectRequest(project_id=project_id, reason="done"))
        assert archived.project.HasField("archive_time")
        assert (await house.state(project_id)).entries == before.entries + 3
        assert not (await bob.call(lock_pb2.ListLocksRequest(project_id=project_id))).locks
        log = await house.olga.call(
            audit_pb2.ListEntriesRequest(project_id=project_id, events=["lock_released", "project_archived"])
        )
        released = [entry.lock_released for entry in log.entries[:2]]
        assert {lock.fencing_token for lock in released} == tokens
        assert {lock.release_reason for lock in released} == {lock_pb2.LOCK_RELEASE_REASON_FREEZE}
        assert {(lock.field, lock.holder) for lock in released} == {("a", "olga"), ("b", "bob")}
        assert log.entries[2].reason == "done"
        assert len({entry.correlation_id for entry in log.entries}) == 1
        listed = await bob.call(session_pb2.ListSessionsRequest(project_id=project_id))
        assert {session.session_id for session in listed.sessions} == {hers.session_id, his.session_id}


async def test_archiving_twice_changes_nothing(house: House) -> None:
    """Idempotent, both ways; the first time is kept."""
    project_id = await house.project()
    for request in (project_pb2.ArchiveProjectRequest, project_pb2.UnarchiveProjectRequest):
        first = await house.olga.call(request(project_id=project_id))
        async with house.unchanged(project_id):
            assert await house.olga.call(request(project_id=project_id)) == first


async def test_unarchiving_makes_it_writable(house: House) -> None:
    """As it was, with its state; what was released by archiving stays released."""
    project_id = await house.project()
    await house.olga.call(project_pb2.ArchiveProjectRequest(project_id=project_id))
    project = (await house.olga.call(project_pb2.UnarchiveProjectRequest(project_id=project_id))).project
    assert not project.HasField("archive_time")
    assert project.state == project_pb2.PROJECT_STATE_ACTIVE
    await house.olga.save(project_id, notes="x")
