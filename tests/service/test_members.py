"""Members: who is one, as what, and what they lose when that changes."""

from __future__ import annotations

from typing import Any

import pytest

from coreason.foundry.v1 import audit_pb2, lock_pb2, project_pb2, session_pb2
from coreason.foundry.v1.project_pb2 import (
    ROLE_AUDITOR,
    ROLE_EDITOR,
    ROLE_OWNER,
    ROLE_UNSPECIFIED,
    ROLE_VIEWER,
    RemoveMemberRequest,
    SetMemberRequest,
)
from tests.service.house import House
from tests.service.refusals import refused

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def _members(house: House, project_id: str) -> dict[str, project_pb2.Member]:
    answer = await house.olga.call(project_pb2.ListMembersRequest(project_id=project_id))
    return {member.subject: member for member in answer.members}


async def _new_entries(house: House, project_id: str, after: int) -> list[Any]:
    request = audit_pb2.ListEntriesRequest(project_id=project_id, after_sequence=after, page_size=1000)
    return list((await house.olga.call(request)).entries)


async def test_a_member_is_added_and_changed(house: House) -> None:
    """Whoever is added may come in; the time they were added stays, and the name until another is given."""
    project_id, bob = await house.project(), house.caller("bob")
    before = (await house.state(project_id)).entries
    read = project_pb2.GetProjectRequest(project_id=project_id)
    await refused(bob.call(read), "PROJECT_ACCESS_DENIED")
    added = (
        await house.olga.call(
            SetMemberRequest(
                project_id=project_id, subject="bob", role=ROLE_VIEWER, display_name="Bob B.", reason="new here"
            )
        )
    ).member
    assert (await bob.call(read)).member == added
    changed = (await house.olga.call(SetMemberRequest(project_id=project_id, subject="bob", role=ROLE_EDITOR))).member
    assert (changed.role, changed.display_name, changed.add_time) == (ROLE_EDITOR, "Bob B.", added.add_time)
    assert (await _members(house, project_id))["bob"] == changed
    first, second = await _new_entries(house, project_id, before)
    assert (first.member_set.subject, first.reason) == ("bob", "new here")
    assert (first.member_set.before, first.member_set.after) == (ROLE_UNSPECIFIED, ROLE_VIEWER)
    assert (second.member_set.before, second.member_set.after) == (ROLE_VIEWER, ROLE_EDITOR)


async def test_setting_a_member_to_what_they_are_changes_nothing(house: House) -> None:
    project_id = await house.project(bob=ROLE_EDITOR)
    async with house.unchanged(project_id):
        await house.olga.call(SetMemberRequest(project_id=project_id, subject="bob", role=ROLE_EDITOR))


async def test_the_last_owner_stays_one(house: House) -> None:
    """Neither removed nor given another role; a second owner makes it possible, and then that one is the last."""
    project_id = await house.project(bob=ROLE_EDITOR)
    async with house.unchanged(project_id):
        for role in (ROLE_VIEWER, ROLE_EDITOR, ROLE_AUDITOR):
            demotion = SetMemberRequest(project_id=project_id, subject="olga", role=role)
            await refused(house.olga.call(demotion), "LAST_OWNER", subject="olga")
        removal = RemoveMemberRequest(project_id=project_id, subject="olga")
        await refused(house.olga.call(removal), "LAST_OWNER", subject="olga")
    await house.olga.call(SetMemberRequest(project_id=project_id, subject="bob", role=ROLE_OWNER))
    await house.olga.call(removal)
    await refused(house.olga.call(removal), "PROJECT_ACCESS_DENIED")
    removal.subject = "bob"
    await refused(house.caller("bob").call(removal), "LAST_OWNER", subject="bob")


async def test_who_is_no_member_cannot_be_removed(house: House) -> None:
    project_id = await house.project()
    async with house.unchanged(project_id):
        removal = RemoveMemberRequest(project_id=project_id, subject="nobody")
        await refused(house.olga.call(removal), "RESOURCE_NOT_FOUND", resource_type="member", resource_id="nobody")


async def test_removing_a_member_ends_their_sessions_and_releases_their_locks(house: House) -> None:
    """All of them, in the same transaction; nobody else's."""
    project_id, elsewhere = (
        await house.project(bob=ROLE_EDITOR, carol=ROLE_EDITOR),
        await house.project(bob=ROLE_EDITOR),
    )
    bob, carol = house.caller("bob"), house.caller("carol")
    async with (
        bob.session(project_id) as first,
        bob.session(project_id) as second,
        bob.session(elsewhere) as other,
        carol.session(project_id) as hers,
    ):
        for session, name in ((first, "a"), (first, "b"), (second, "c"), (other, "a"), (hers, "d")):
            await session.acquire(name)
        before = (await house.state(project_id)).entries
        removal = RemoveMemberRequest(project_id=project_id, subject="bob", reason="left the company")
        await house.olga.call(removal)
        entries = await _new_entries(house, project_id, before)
        removed = entries[0]
        assert (removed.member_removed.subject, removed.member_removed.before) == ("bob", ROLE_EDITOR)
        assert removed.reason == "left the company"
        released = [entry.lock_released for entry in entries if entry.HasField("lock_released")]
        assert sorted((lock.field, lock.session_id, lock.holder) for lock in released) == sorted(
            [("a", first.session_id, "bob"), ("b", first.session_id, "bob"), ("c", second.session_id, "bob")]
        )
        assert {lock.release_reason for lock in released} == {lock_pb2.LOCK_RELEASE_REASON_ACCESS_LOST}
        closed = [entry.session_closed for entry in entries if entry.HasField("session_closed")]
        assert {end.session_id for end in closed} == {first.session_id, second.session_id}
        assert {end.close_reason for end in closed} == {audit_pb2.SESSION_CLOSE_REASON_ACCESS_LOST}
        assert len({entry.time.ToNanoseconds() for entry in entries}) == 1
        held = (await carol.call(lock_pb2.ListLocksRequest(project_id=project_id))).locks
        assert [lock.field for lock in held] == ["d"]
        sessions = (await carol.call(session_pb2.ListSessionsRequest(project_id=project_id))).sessions
        assert [session.session_id for session in sessions] == [hers.session_id]
        assert (await bob.call(lock_pb2.ListLocksRequest(project_id=elsewhere))).locks[0].field == "a"


@pytest.mark.parametrize("role", [ROLE_VIEWER, ROLE_AUDITOR])
async def test_who_may_no_longer_edit_loses_their_locks(house: House, role: project_pb2.Role.ValueType) -> None:
    """In the same transaction; they go on watching."""
    project_id, bob = await house.project(bob=ROLE_EDITOR), house.caller("bob")
    async with bob.session(project_id) as session:
        lock = await session.acquire("a")
        before = (await house.state(project_id)).entries
        await house.olga.call(SetMemberRequest(project_id=project_id, subject="bob", role=role))
        changed, released = await _new_entries(house, project_id, before)
        assert changed.member_set.after == role
        assert released.lock_released.lock_id == lock.acquired.lock.lock_id
        assert released.lock_released.release_reason == lock_pb2.LOCK_RELEASE_REASON_ACCESS_LOST
        assert (changed.time, changed.correlation_id) == (released.time, released.correlation_id)
        sessions = (await bob.call(session_pb2.ListSessionsRequest(project_id=project_id))).sessions
        assert [found.session_id for found in sessions] == [session.session_id]


async def test_who_may_still_edit_keeps_their_locks(house: House) -> None:
    project_id, bob = await house.project(bob=ROLE_EDITOR), house.caller("bob")
    async with bob.session(project_id) as session:
        await session.acquire("a")
        await house.olga.call(SetMemberRequest(project_id=project_id, subject="bob", role=ROLE_OWNER))
        assert len((await bob.call(lock_pb2.ListLocksRequest(project_id=project_id))).locks) == 1


async def test_members_are_told_apart_exactly(house: House) -> None:
    """Subjects are opaque: no folding, no trimming."""
    subjects = ["bob", "Bob", "bob ", "böb", "bo\u0308b"]
    project_id = await house.project()
    for subject in subjects:
        await house.olga.call(SetMemberRequest(project_id=project_id, subject=subject, role=ROLE_VIEWER))
    assert (await _members(house, project_id)).keys() == {"olga", *subjects}
