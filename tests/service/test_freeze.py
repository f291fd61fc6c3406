"""A freeze: the last decision about a project, all or nothing, and what may stand in its way."""

from __future__ import annotations

import asyncio
import hashlib
import json
import uuid
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
import rfc8785

from coreason.foundry.v1 import audit_pb2, draft_pb2, export_pb2, lock_pb2, project_pb2, run_pb2, session_pb2
from tests.service import runs
from tests.service.house import Caller, House
from tests.service.logs import NOTHING, check_chain, entries_of, events_of
from tests.service.refusals import Refused, blamed, refused
from tests.service.releases import bundle_of, freeze, released
from tests.service.saves import save_of
from tests.session.tab import Tab, Tabs

pytestmark = pytest.mark.asyncio(loop_scope="module")

_EDITOR = project_pb2.ROLE_EDITOR


@pytest_asyncio.fixture(loop_scope="module")
async def tabs(house: House) -> AsyncIterator[Tabs]:
    """Live sessions, closed in the end."""
    opened = Tabs(house.server)
    yield opened
    await opened.close()


def _request(project_id: str, version: int = 1, **more: str) -> export_pb2.RequestFreezeRequest:
    return export_pb2.RequestFreezeRequest(project_id=project_id, expected_version=version, **more)


async def _project(house: House, policy: project_pb2.Policy | None = None, /) -> str:
    """A project of ``olga``'s with an editor, at version 1."""
    project_id = await house.project(policy, bob=_EDITOR)
    await house.olga.save(project_id, system_prompt="You are careful.\n")
    return project_id


# --- what it does ---


async def test_a_freeze_tells_what_was_frozen(house: House) -> None:
    """In its answer, by GetFreeze and in the project: version, content, who, when, why and where in the log."""
    project_id = await _project(house)
    answer = await freeze(house.olga, project_id, 1, reason="It is time.")
    made = answer.freeze
    draft = (await house.olga.call(draft_pb2.GetDraftRequest(project_id=project_id))).draft
    assert (made.project_id, made.version_number, made.draft_id) == (project_id, 1, draft.draft_id)
    assert (made.content_sha256, made.reason) == (draft.content_sha256, "It is time.")
    assert (made.requester.subject, made.requester.display_name) == ("olga", "Olga O.")
    assert uuid.UUID(made.freeze_id).version == 7
    assert answer.project.state == project_pb2.PROJECT_STATE_FROZEN
    bob = house.caller("bob")
    assert (await bob.call(export_pb2.GetFreezeRequest(project_id=project_id))).freeze == made
    assert (await bob.call(project_pb2.GetProjectRequest(project_id=project_id))).project == answer.project
    entry = next(it for it in await entries_of(bob, project_id) if it.HasField("project_frozen"))
    assert (entry.position, entry.time) == (made.position, made.create_time)


async def test_the_log_tells_it_in_order(house: House, tabs: Tabs) -> None:
    """Asked for, locks released, frozen: one after the other without anything between, and the chain verifies."""
    project_id = await _project(house)
    tab = await tabs.open("bob", project_id)
    for field in ("topology", "system_prompt"):
        await tab.acquire(field)
    answer = await freeze(house.olga, project_id, 1, reason="It is time.")
    entries = await entries_of(house.olga, project_id)
    check_chain(project_id, entries)
    *_, asked, first, second, frozen = entries
    assert events_of([asked, first, second, frozen]) == [
        "freeze_requested",
        "lock_released",
        "lock_released",
        "project_frozen",
    ]
    made = answer.freeze
    about: dict[str, Any] = {"freeze_id": made.freeze_id, "version_number": 1, "fingerprint": made.fingerprint}
    assert asked.freeze_requested == audit_pb2.FreezeRequested(**about)
    assert frozen.project_frozen == audit_pb2.ProjectFrozen(**about, content_sha256=made.content_sha256)
    assert {entry.reason for entry in (asked, frozen)} == {"It is time."}
    assert {entry.actor.subject for entry in (asked, first, second, frozen)} == {"olga"}


async def test_the_fingerprint_commits_to_content_and_history(house: House) -> None:
    """It is the hash of the release statement, which names the head of the log before the freeze."""
    project_id = await released(house)
    made = (await house.olga.call(export_pb2.GetFreezeRequest(project_id=project_id))).freeze
    entries = await entries_of(house.olga, project_id)
    asked = next(entry for entry in entries if entry.HasField("freeze_requested"))
    before = entries[asked.position.sequence - 2]
    assert before.position.sequence == asked.position.sequence - 1
    leaf = hashlib.sha256(b"\0" + before.entry_bytes).hexdigest()
    assert json.loads(asked.entry_bytes)["prev"] == leaf != NOTHING
    statement = {
        "content_sha256": made.content_sha256,
        "draft_id": made.draft_id,
        "log": {"leaf": leaf, "sequence": before.position.sequence},
        "project_id": project_id,
        "schema": "foundry.release/v1",
        "version_number": 3,
    }
    assert made.fingerprint == hashlib.sha256(rfc8785.dumps(statement)).hexdigest()
    assert (await bundle_of(house.olga, project_id)).json("release.json") == statement


async def test_holders_are_told_on_their_streams(house: House, tabs: Tabs) -> None:
    """Their locks are released with the reason FREEZE; sessions go on, and nobody gets a lock or saves any more."""
    project_id = await _project(house)
    hers, his = await tabs.open("olga", project_id), await tabs.open("bob", project_id)
    got = {tab.subject: await tab.acquire(field) for tab, field in ((hers, "topology"), (his, "system_prompt"))}
    answer = await freeze(house.olga, project_id, 1)
    assert [(lock.field, lock.holder.subject) for lock in answer.released_locks] == [
        ("system_prompt", "bob"),
        ("topology", "olga"),
    ]
    for tab in (hers, his):
        for lock in answer.released_locks:
            told = await tab.until_entry("lock_released", field=lock.field)
            assert told.lock_released.release_reason == lock_pb2.LOCK_RELEASE_REASON_FREEZE
            assert (told.lock_released.holder, told.session_id) == (lock.holder.subject, lock.session_id)
        await tab.until_entry("project_frozen", freeze_id=answer.freeze.freeze_id)
    token = {"field": "system_prompt", "fencing_token": got["bob"].lock.fencing_token}
    change = {"field": "system_prompt", "text": "Too late."}
    late = {"changes": [change], "base_version": 1, "locks": [token]}
    assert (await his.refused(create_draft=late)).reason == "PROJECT_FROZEN"
    assert (await his.acquire_refused("system_prompt")).reason == "PROJECT_FROZEN"
    listed = await house.olga.call(session_pb2.ListSessionsRequest(project_id=project_id))
    assert {session.session_id for session in listed.sessions} == {hers.session_id, his.session_id}
    assert not (await house.olga.call(lock_pb2.ListLocksRequest(project_id=project_id))).locks


async def test_whoever_comes_later_sees_it_frozen(house: House, tabs: Tabs) -> None:
    """The snapshot of a new session says so, without a lock and with the released fields."""
    project_id = await _project(house)
    await freeze(house.olga, project_id, 1)
    tab: Tab = await tabs.open("bob", project_id)
    snapshot = next(event.snapshot for event in tab.events if event.HasField("snapshot"))
    assert snapshot.project.state == project_pb2.PROJECT_STATE_FROZEN
    assert (len(snapshot.locks), [field.name for field in snapshot.fields]) == (0, ["system_prompt"])


async def test_a_save_lands_before_the_freeze_or_not_at_all(house: House) -> None:
    """Many save while the owner freezes at whatever version is newest: the frozen version is the last one."""
    project_id = await _project(house)
    bob = house.caller("bob")

    async def save(number: int) -> int:
        return (await bob.save(project_id, 1, **{f"field_{number}": "in time"})).version_number

    async def freeze_whatever_is_newest() -> export_pb2.Freeze:
        version = 1
        while True:
            try:
                return (await freeze(house.olga, project_id, version)).freeze
            except Refused as refusal:
                if refusal.reason != "VERSION_MISMATCH":
                    raise
                version = int(refusal.metadata["head_version"])

    saves = [asyncio.create_task(save(number)) for number in range(40)]
    made = await freeze_whatever_is_newest()
    outcomes = await asyncio.gather(*saves, return_exceptions=True)
    landed = sorted(outcome for outcome in outcomes if isinstance(outcome, int))
    assert landed == list(range(2, made.version_number + 1))
    reasons = {outcome.reason for outcome in outcomes if isinstance(outcome, Refused)}
    assert reasons <= {"PROJECT_FROZEN"}
    assert len(landed) + sum(isinstance(outcome, Refused) for outcome in outcomes) == len(saves)
    draft = (await bob.call(draft_pb2.GetDraftRequest(project_id=project_id))).draft
    assert (draft.version_number, len(draft.fields)) == (made.version_number, len(landed) + 1)
    events = events_of(await entries_of(bob, project_id))
    assert events[-1] == "project_frozen"


async def test_only_one_of_many_freezes_happens(house: House) -> None:
    """Owners who ask at the same time do not freeze twice; one request that is sent twice is one."""
    project_id = await _project(house)
    await house.olga.call(
        project_pb2.SetMemberRequest(project_id=project_id, subject="oleg", role=project_pb2.ROLE_OWNER)
    )
    request_id = str(uuid.uuid4())
    asked: list[tuple[Caller, str]] = [(house.olga, request_id), (house.caller("oleg"), ""), (house.olga, request_id)]
    calls = [who.call(_request(project_id, request_id=given)) for who, given in asked * 3]
    outcomes = await asyncio.gather(*calls, return_exceptions=True)
    freezes = {
        outcome.freeze.freeze_id for outcome in outcomes if isinstance(outcome, export_pb2.RequestFreezeResponse)
    }
    assert len(freezes) == 1
    assert {outcome.reason for outcome in outcomes if isinstance(outcome, Refused)} == {"PROJECT_FROZEN"}
    assert events_of(await entries_of(house.olga, project_id)).count("project_frozen") == 1


# --- what stands in its way ---


async def test_the_version_must_be_the_newest(house: House) -> None:
    """Nobody freezes what they have not seen: neither an older version nor one to come."""
    project_id = await _project(house)
    await house.olga.save(project_id, 1, system_prompt="You are bold.\n")
    for version in (1, 3, 2**63 - 1):
        async with house.unchanged(project_id):
            call = house.olga.call(_request(project_id, version))
            await refused(call, "VERSION_MISMATCH", expected_version=str(version), head_version="2")
    for version in (0, -1):
        await blamed(house.olga.call(_request(project_id, version)), "expected_version")


async def test_nothing_cannot_be_frozen(house: House) -> None:
    """A project without a version has nothing to release."""
    project_id = await house.project()
    async with house.unchanged(project_id):
        refusal = await refused(
            house.olga.call(_request(project_id)), "FREEZE_BLOCKED", blocker="NO_VERSION", blocker_count="1"
        )
    assert refusal.types == ["NO_VERSION"]


async def test_all_that_stands_in_the_way_is_named_at_once(house: House) -> None:
    """Each run that runs by its name, the missing evidence, and signatures that nobody can give yet."""
    project_id = await _project(house, project_pb2.Policy(require_evidence=True, min_approvals=2))
    going = [await runs.start(who, project_id) for who in (house.olga, house.caller("bob"))]
    async with house.unchanged(project_id):
        call = house.olga.call(_request(project_id))
        refusal = await refused(call, "FREEZE_BLOCKED", blocker="EVIDENCE_MISSING", blocker_count="4")
    assert refusal.types == ["EVIDENCE_MISSING", "APPROVALS_MISSING", "RUN_RUNNING", "RUN_RUNNING"]
    assert [subject for subject, _ in refusal.violations] == [
        "runs",
        "policy",
        *(f"runs/{run.run_id}" for run in going),
    ]
    for run in going:
        await runs.finish(house.olga if run is going[0] else house.caller("bob"), run)
    refusal = await refused(house.olga.call(_request(project_id)), "FREEZE_BLOCKED", blocker="APPROVALS_MISSING")
    assert refusal.types == ["APPROVALS_MISSING"]
    rules = {"project": {"policy": {"min_approvals": 0}}, "update_mask": {"paths": ["policy.min_approvals"]}}
    await house.olga.call(project_pb2.UpdateProjectRequest(project_id=project_id, **rules))  # type: ignore[arg-type]
    await freeze(house.olga, project_id, 1)


async def test_a_refusal_by_many_runs_can_be_read(house: House) -> None:
    """As many as may run at once; their number is told, and what is told of them fits into a status."""
    project_id = await _project(house)
    for _ in range(100):
        await runs.start(house.olga, project_id)
    refusal = await refused(house.olga.call(_request(project_id)), "FREEZE_BLOCKED", blocker_count="100")
    assert len(refusal.types) >= 20
    assert len(refusal.raw) < 8 * 1024


@pytest.mark.parametrize(
    "state", [run_pb2.RUN_STATE_FAILED, run_pb2.RUN_STATE_ERRORED, run_pb2.RUN_STATE_CANCELLED], ids=str
)
async def test_only_a_passed_run_is_evidence(house: House, state: run_pb2.RunState.ValueType) -> None:
    """And only one of this content: that of the version before is none."""
    project_id = await _project(house, project_pb2.Policy(require_evidence=True))
    await runs.finish(house.olga, await runs.start(house.olga, project_id))
    await house.olga.save(project_id, 1, system_prompt="You are bold.\n")
    run = await runs.start(house.olga, project_id)
    if state == run_pb2.RUN_STATE_CANCELLED:
        await house.olga.call(run_pb2.CancelRunRequest(project_id=project_id, run_id=run.run_id))
    else:
        await runs.finish(house.olga, run, state)
    async with house.unchanged(project_id):
        refusal = await refused(house.olga.call(_request(project_id, 2)), "FREEZE_BLOCKED", blocker="EVIDENCE_MISSING")
    assert refusal.types == ["EVIDENCE_MISSING"]


async def test_evidence_is_of_content_and_not_of_a_number(house: House) -> None:
    """A run that passed for version 1 counts for version 4, which is the same content again, notes aside."""
    project_id = await _project(house, project_pb2.Policy(require_evidence=True))
    await runs.finish(house.caller("bob"), await runs.start(house.caller("bob"), project_id))
    await house.olga.save(project_id, 1, system_prompt="You are bold.\n")
    await house.olga.call(draft_pb2.RevertDraftRequest(project_id=project_id, version_number=1, base_version=2))
    await house.olga.call(save_of(project_id, {"scratchpad": "Remember the milk."}, 3))
    made = (await freeze(house.olga, project_id, 4)).freeze
    run = (await house.olga.call(run_pb2.ListRunsRequest(project_id=project_id))).runs[0]
    assert (run.version_number, run.content_sha256, made.version_number) == (1, made.content_sha256, 4)


async def test_evidence_of_another_project_is_none(house: House) -> None:
    """Whatever its content: evidence stands in the project's own log."""
    policy = project_pb2.Policy(require_evidence=True)
    project_id, other = await _project(house, policy), await _project(house, policy)
    run = await runs.start(house.olga, other)
    await runs.finish(house.olga, run)
    draft = (await house.olga.call(draft_pb2.GetDraftRequest(project_id=project_id))).draft
    assert draft.content_sha256 == run.content_sha256
    await refused(house.olga.call(_request(project_id)), "FREEZE_BLOCKED", blocker="EVIDENCE_MISSING")


async def test_a_reason_where_policy_wants_one(house: House) -> None:
    """A freeze is a change like any other."""
    project_id = await _project(house)
    rules = {"project": {"policy": {"require_reason": True}}, "update_mask": {"paths": ["policy.require_reason"]}}
    await house.olga.call(project_pb2.UpdateProjectRequest(project_id=project_id, **rules))  # type: ignore[arg-type]
    async with house.unchanged(project_id):
        await refused(house.olga.call(_request(project_id, reason=" \n")), "REASON_REQUIRED")
    await blamed(house.olga.call(_request(project_id, reason="x" * 4097)), "reason")
    assert (await freeze(house.olga, project_id, 1, reason="x" * 4096)).freeze.reason == "x" * 4096


# --- who ---


async def test_only_owners_freeze(house: House) -> None:
    """No other role, and nobody from outside."""
    roles = {"editor": _EDITOR, "viewer": project_pb2.ROLE_VIEWER, "auditor": project_pb2.ROLE_AUDITOR}
    project_id = await house.project(**roles)
    await house.olga.save(project_id, system_prompt="one")
    async with house.unchanged(project_id):
        for subject in roles:
            call = house.caller(subject).call(_request(project_id))
            await refused(call, "ROLE_TOO_LOW", action="freeze", required_role="OWNER")
        await refused(house.caller("stranger").call(_request(project_id)), "PROJECT_ACCESS_DENIED")
        for subject in ("stranger", "root"):
            await refused(
                house.caller(subject).call(export_pb2.GetFreezeRequest(project_id=project_id)), "PROJECT_ACCESS_DENIED"
            )


@pytest.mark.parametrize("kind", ["AGENT", "SERVICE"])
async def test_only_people_freeze(house: House, kind: str) -> None:
    """Whatever the role of an agent or a service, and whatever the policy."""
    policy = project_pb2.Policy(agent_access=project_pb2.AGENT_ACCESS_EDIT)
    project_id = await house.project(policy, machine=project_pb2.ROLE_OWNER)
    await house.olga.save(project_id, system_prompt="one")
    async with house.unchanged(project_id):
        call = house.caller("machine", kind=kind).call(_request(project_id))
        await refused(call, "HUMAN_REQUIRED", action="freeze", kind=kind)


# --- again ---


async def test_a_repeated_request_gets_the_same_freeze(house: House, tabs: Tabs) -> None:
    """With the locks that were released then; the same id for another request is refused."""
    project_id = await _project(house)
    await (await tabs.open("bob", project_id)).acquire("system_prompt")
    request = _request(project_id, request_id=str(uuid.uuid4()))
    first = await house.olga.call(request)
    assert [lock.field for lock in first.released_locks] == ["system_prompt"]
    async with house.unchanged(project_id):
        assert await house.olga.call(request) == first
        other = _request(project_id, 2, request_id=request.request_id)
        await refused(house.olga.call(other), "REQUEST_ID_REUSED")


async def test_a_second_freeze_is_refused(house: House) -> None:
    """Frozen is for ever: not again, not at another version, and not without a request id either."""
    project_id = await _project(house)
    first = await freeze(house.olga, project_id, 1)
    async with house.unchanged(project_id):
        for version in (1, 2):
            await refused(house.olga.call(_request(project_id, version)), "PROJECT_FROZEN", state="FROZEN")
    assert (await house.olga.call(export_pb2.GetFreezeRequest(project_id=project_id))).freeze == first.freeze


async def test_what_is_not_frozen_has_no_freeze(house: House) -> None:
    """Also a project whose freeze was refused, or that is archived; an archived one cannot be frozen."""
    project_id = await _project(house)
    await refused(house.olga.call(_request(project_id, 2)), "VERSION_MISMATCH")
    await house.olga.call(project_pb2.ArchiveProjectRequest(project_id=project_id))
    await refused(house.olga.call(_request(project_id)), "PROJECT_ARCHIVED")
    await refused(
        house.olga.call(export_pb2.GetFreezeRequest(project_id=project_id)),
        "RESOURCE_NOT_FOUND",
        resource_type="freeze",
        resource_id=project_id,
    )
    await house.olga.call(project_pb2.UnarchiveProjectRequest(project_id=project_id))
    await freeze(house.olga, project_id, 1)
