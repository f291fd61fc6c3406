"""Projects: creating, reading, and changing what the mask names."""

from __future__ import annotations

from typing import Any, Final

import pytest
from google.protobuf.field_mask_pb2 import FieldMask

from coreason.foundry.v1 import audit_pb2, draft_pb2, lock_pb2, project_pb2, session_pb2, types_pb2
from coreason.foundry.v1.project_pb2 import Policy, Project
from tests.service.desk import desk
from tests.service.forms import forms
from tests.service.house import House
from tests.service.refusals import blamed, refused

pytestmark = pytest.mark.asyncio(loop_scope="module")

POLICY: Final = Policy(
    agent_access=project_pb2.AGENT_ACCESS_EDIT,
    require_reason=True,
    require_evidence=True,
    min_approvals=2,
    viewers_may_comment=True,
    log_retention_days=30,
)


async def _project(house: House, policy: Policy | None = None) -> Project:
    request = project_pb2.CreateProjectRequest(
        name="Oncology", description="Clinical.", labels={"team": "a", "größe": "ü"}, policy=policy
    )
    answer: project_pb2.CreateProjectResponse = await house.olga.call(request)
    return answer.project


def _update(project_id: str, *paths: str, **request: Any) -> project_pb2.UpdateProjectRequest:
    """A change of what the paths name to members of a Project; ``etag`` is the request's."""
    etag = request.pop("etag", "")
    mask = FieldMask(paths=paths)
    return project_pb2.UpdateProjectRequest(
        project_id=project_id, project=Project(**request), update_mask=mask, etag=etag
    )


async def _events(house: House, project_id: str, *events: str) -> list[Any]:
    request = audit_pb2.ListEntriesRequest(project_id=project_id, events=events, page_size=1000)
    return list((await house.olga.call(request)).entries)


async def test_a_new_project_is_empty_and_its_creators(house: House) -> None:
    """At version 0 without a draft; the creator is its first OWNER; the answer is what reading it shows."""
    project = await _project(house, POLICY)
    assert (project.name, project.description) == ("Oncology", "Clinical.")
    assert dict(project.labels) == {"team": "a", "größe": "ü"}
    assert (project.head_version, project.current_draft_id) == (0, "")
    assert (project.state, project.HasField("archive_time")) == (project_pb2.PROJECT_STATE_ACTIVE, False)
    assert project.policy == POLICY
    assert (project.creator.subject, project.creator.kind) == ("olga", types_pb2.PRINCIPAL_KIND_HUMAN)
    assert project.create_time == project.update_time
    answer = await house.olga.call(project_pb2.GetProjectRequest(project_id=project.project_id))
    assert answer.project == project
    assert (answer.member.subject, answer.member.role) == ("olga", project_pb2.ROLE_OWNER)
    assert answer.member.display_name == "Olga O."
    logged = await _events(house, project.project_id)
    assert [entry.WhichOneof("payload") for entry in logged] == ["log_genesis", "project_created", "member_set"]
    assert logged[1].project_created.name == "Oncology"


UPDATES: Final[list[tuple[list[str], dict[str, Any]]]] = [
    (["name"], {"name": "Cardiology"}),
    (["description"], {"description": "Other."}),
    (["description"], {"description": ""}),
    (["labels"], {"labels": {"team": "b"}}),
    (["labels"], {"labels": {}}),
    (["policy"], {"policy": POLICY}),
    (["name", "labels", "policy"], {"name": "Cardiology", "labels": {}, "policy": POLICY}),
]


@pytest.mark.parametrize(("paths", "fields"), UPDATES, ids=str)
async def test_an_update_changes_what_the_mask_names(house: House, paths: list[str], fields: dict[str, Any]) -> None:
    """And nothing else, whatever else the given project says; the answer is the project as it is then."""
    project = await _project(house)
    noise: dict[str, Any] = {
        "name": "x" * 500,
        "description": "x" * 5_000,
        "labels": {"": "x"},
        "policy": Policy(min_approvals=-1),
        "state": project_pb2.PROJECT_STATE_FROZEN,
        "head_version": 99,
    }
    updated = (await house.olga.call(_update(project.project_id, *paths, **noise | fields))).project
    expected = Project()
    expected.CopyFrom(project)
    for path in paths:
        expected.ClearField(path)  # type: ignore[arg-type]  # a name of the contract
    expected.MergeFrom(Project(**{path: fields[path] for path in paths}))
    assert updated.update_time.ToNanoseconds() > project.update_time.ToNanoseconds()
    assert updated.etag != project.etag
    expected.update_time.CopyFrom(updated.update_time)
    expected.etag = updated.etag
    assert updated == expected
    assert (await house.olga.call(project_pb2.GetProjectRequest(project_id=project.project_id))).project == updated


@pytest.mark.parametrize("rule", [field.name for field in Policy.DESCRIPTOR.fields])
async def test_single_rules_of_the_policy_change_alone(house: House, rule: str) -> None:
    """``policy.agent_access`` leaves the other rules as they are, and what the request says of them is not read."""
    project = await _project(house)
    given = Policy(agent_access=99, min_approvals=-1, log_retention_days=-1)  # type: ignore[arg-type]  # on purpose
    setattr(given, rule, getattr(POLICY, rule))
    updated = (await house.olga.call(_update(project.project_id, f"policy.{rule}", policy=given))).project
    expected = Policy(agent_access=project_pb2.AGENT_ACCESS_SUGGEST_ONLY)
    setattr(expected, rule, getattr(POLICY, rule))
    assert updated.policy == expected
    [changed] = await _events(house, project.project_id, "policy_changed")
    assert (changed.policy_changed.before, changed.policy_changed.after) == (project.policy, expected)


@pytest.mark.parametrize(
    "paths",
    [[], ["state"], ["*"], ["name", "etag"], ["policy.nothing"], ["policy."], ["labels.team"], ["Name"]],
    ids=str,
)
async def test_a_mask_names_what_can_be_changed(house: House, paths: list[str]) -> None:
    project = await _project(house)
    async with house.unchanged(project.project_id):
        await blamed(house.olga.call(_update(project.project_id, *paths, name="x")), "update_mask")


async def test_an_update_to_what_is_there_changes_nothing(house: House) -> None:
    project = await _project(house)
    async with house.unchanged(project.project_id):
        same = _update(project.project_id, "name", "labels", "policy", name=project.name, policy=project.policy)
        same.project.labels.update(project.labels)
        assert (await house.olga.call(same)).project == project


async def test_an_etag_lets_nobody_overwrite_what_they_have_not_seen(house: House) -> None:
    """ABORTED / ETAG_MISMATCH with the current one, for every RPC that takes one. Saves do not change it."""
    project = await _project(house)
    await house.olga.save(project.project_id, a="1")
    updated = (await house.olga.call(_update(project.project_id, "name", name="x", etag=project.etag))).project
    stale = {"project_id": project.project_id, "etag": project.etag}
    async with house.unchanged(project.project_id):
        for request in (
            _update(project.project_id, "name", name="y", etag=project.etag),
            project_pb2.ArchiveProjectRequest(**stale),
            project_pb2.UnarchiveProjectRequest(**stale),
        ):
            await refused(house.olga.call(request), "ETAG_MISMATCH", current_etag=updated.etag)


async def test_each_change_is_logged_by_what_changed(house: House) -> None:
    project = await _project(house)
    request = _update(project.project_id, "name", "labels", "description", name="New", description=project.description)
    request.reason = "renamed"
    await house.olga.call(request)
    [entry] = await _events(house, project.project_id, "project_updated")
    assert (list(entry.project_updated.changed), entry.project_updated.name) == (["labels", "name"], "New")
    assert (entry.reason, entry.actor.subject) == ("renamed", "olga")


# --- policy ------------------------------------------------------------------------------------------------------

NEEDS_REASON: Final = [
    "UpdateProject",
    "ArchiveProject",
    "UnarchiveProject",
    "SetMember",
    "RemoveMember",
    "CreateDraft",
    "RevertDraft",
    "UpdateComment",
    "DeleteComment",
    "ResolveComment",
    "ReopenComment",
    "CancelRun",
    "RequestFreeze",
    "StartRevision",
]


@pytest.mark.parametrize("name", NEEDS_REASON)
async def test_policy_can_require_a_reason(house: House, name: str) -> None:
    """For every change of content, access or state; white space is none."""
    async with desk(house, name, require_reason=True) as where:
        request: Any = where.requests()[name]
        async with house.unchanged(where.project_id):
            await refused(house.olga.call(request), "REASON_REQUIRED")
            request.reason = " \n\t"
            await refused(house.olga.call(request), "REASON_REQUIRED")
        request.reason = "because"
        await house.olga.call(request)


async def test_the_reason_stands_in_the_log(house: House) -> None:
    project_id = await house.project(Policy(require_reason=True))
    save: Any = forms(project_id)["CreateDraft"]
    save.reason = "the ethics board asked"
    await house.olga.call(save)
    [entry] = await _events(house, project_id, "draft_created")
    assert entry.reason == "the ethics board asked"


@pytest.mark.parametrize(("access", "ended"), [("SUGGEST_ONLY", False), ("DENY", True)])
async def test_narrowing_what_agents_may_do_takes_their_locks(house: House, access: str, ended: bool) -> None:
    """ACCESS_LOST in the same transaction as the policy, people's locks stay; DENY ends their sessions as well."""
    editors = dict.fromkeys(("bob", "robot"), project_pb2.ROLE_EDITOR)
    project_id = await house.project(Policy(agent_access=project_pb2.AGENT_ACCESS_EDIT), **editors)
    robot, bob = house.caller("robot", kind="agent", on_behalf_of="bob"), house.caller("bob")
    rules = Policy(agent_access=project_pb2.AgentAccess.Value(f"AGENT_ACCESS_{access}"))
    async with robot.session(project_id) as agents, bob.session(project_id) as his:
        for name in "ab":
            await agents.acquire(name)
        await his.acquire("c")
        before = (await house.state(project_id)).entries
        await house.olga.call(_update(project_id, "policy.agent_access", policy=rules))
        held = (await bob.call(lock_pb2.ListLocksRequest(project_id=project_id))).locks
        assert [lock.field for lock in held] == ["c"]
        sessions = (await bob.call(session_pb2.ListSessionsRequest(project_id=project_id))).sessions
        assert {session.session_id for session in sessions} == {his.session_id} | (
            set() if ended else {agents.session_id}
        )
        log = audit_pb2.ListEntriesRequest(project_id=project_id, after_sequence=before)
        entries = (await house.olga.call(log)).entries
        released = [entry.lock_released for entry in entries if entry.WhichOneof("payload") == "lock_released"]
        assert [(lock.field, lock.holder) for lock in released] == [("a", "robot"), ("b", "robot")]
        assert {lock.release_reason for lock in released} == {lock_pb2.LOCK_RELEASE_REASON_ACCESS_LOST}
        assert len({entry.time.ToNanoseconds() for entry in entries}) == 1
        assert len({entry.correlation_id for entry in entries}) == 1
        closed = [entry.session_closed.close_reason for entry in entries if entry.HasField("session_closed")]
        assert closed == [audit_pb2.SESSION_CLOSE_REASON_ACCESS_LOST] * ended
        acquire = lock_pb2.AcquireLockRequest(project_id=project_id, field="a", session_id=agents.session_id)
        await refused(robot.call(acquire), "AGENT_ACCESS_DENIED", agent_access=access)
        read = robot.call(draft_pb2.ListDraftsRequest(project_id=project_id))
        if ended:
            await refused(read, "AGENT_ACCESS_DENIED", action="read", agent_access="DENY")
        else:
            await read
