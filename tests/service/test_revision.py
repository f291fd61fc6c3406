"""A revision: a new project that goes on from a release, and cites it; the release itself stays what it is."""

from __future__ import annotations

import asyncio
import uuid
from typing import Any

import pytest
import pytest_asyncio

from coreason.foundry.v1 import audit_pb2, comment_pb2, draft_pb2, export_pb2, lock_pb2, project_pb2, session_pb2
from tests.service import runs
from tests.service.house import Caller, House
from tests.service.logs import check_chain, entries_of, events_of
from tests.service.refusals import Refused, blamed, refused
from tests.service.releases import bundle_of, freeze, released, save_all, start_revision
from tests.service.saves import save_of

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def source(house: House) -> str:
    """A project with everything in it, frozen; ``bob`` is an editor of it."""
    return await released(house)


def _request(project_id: str, **more: str) -> export_pb2.StartRevisionRequest:
    return export_pb2.StartRevisionRequest(project_id=project_id, **more)


async def _draft(caller: Caller, project_id: str, version: int = 0) -> draft_pb2.Draft:
    request = draft_pb2.GetDraftRequest(project_id=project_id)
    if version:
        request.version_number = version
    answer = await caller.call(request)
    draft: draft_pb2.Draft = answer.draft
    return draft


def _content(draft: draft_pb2.Draft) -> dict[str, Any]:
    """Fields by name, with everything of them but when they came."""
    return {
        value.name: (
            value.kind,
            value.media_type,
            value.sha256,
            value.size,
            value.WhichOneof("content"),
            value.text,
            value.data,
        )
        for value in draft.fields
    }


# --- what it is ---


async def test_it_begins_with_the_released_content(house: House, source: str) -> None:
    """Version 1 is what was released, with the notes, byte for byte and by the same hash, and says where it is from."""
    bob = house.caller("bob")
    revision = await start_revision(bob, source)
    theirs, ours = await _draft(bob, source), await _draft(bob, revision.project_id)
    assert _content(ours) == _content(theirs)
    assert "scratchpad" in _content(ours)
    assert (ours.content_sha256, ours.version_number, ours.parent_version) == (theirs.content_sha256, 1, 0)
    assert (ours.origin, ours.source_version) == (draft_pb2.DRAFT_ORIGIN_IMPORT, 3)
    assert (ours.author.subject, source in ours.message) == ("bob", True)
    assert {value.last_changed_version for value in ours.fields} == {1}
    assert ours.draft_id != theirs.draft_id


async def test_it_cites_the_release(house: House, source: str) -> None:
    """Project and fingerprint, wherever the project is shown; otherwise it is a project like any other, and active."""
    made = (await house.olga.call(export_pb2.GetFreezeRequest(project_id=source))).freeze
    revision = await start_revision(house.olga, source, name="Next year's")
    assert revision.revision_of_project_id == source
    assert revision.revision_of_fingerprint == made.fingerprint
    assert (revision.name, revision.state) == ("Next year's", project_pb2.PROJECT_STATE_ACTIVE)
    assert (revision.head_version, revision.creator.subject) == (1, "olga")
    assert revision.current_draft_id == (await _draft(house.olga, revision.project_id)).draft_id
    shown = await house.olga.call(project_pb2.GetProjectRequest(project_id=revision.project_id))
    assert shown.project == revision
    listed = await house.olga.call(project_pb2.ListProjectsRequest(name_contains="next year"))
    assert revision in listed.projects
    frozen = (await house.olga.call(project_pb2.GetProjectRequest(project_id=source))).project
    assert (frozen.revision_of_project_id, frozen.revision_of_fingerprint) == ("", "")


async def test_it_takes_over_what_describes_the_project(house: House) -> None:
    """Name, description, labels and policy; not its members, comments, runs, nor anything of its history."""
    policy = project_pb2.Policy(agent_access=project_pb2.AGENT_ACCESS_SUGGEST_ONLY, require_evidence=True)
    source = await house.project(policy, bob=project_pb2.ROLE_EDITOR, vera=project_pb2.ROLE_VIEWER)
    told = {
        "project": {"description": "For the ward.", "labels": {"a": "b"}},
        "update_mask": {"paths": ["description", "labels"]},
    }
    await house.olga.call(project_pb2.UpdateProjectRequest(project_id=source, **told))  # type: ignore[arg-type]
    await house.olga.save(source, system_prompt="one")
    await house.olga.call(comment_pb2.CreateCommentRequest(project_id=source, text="Why?"))
    await runs.finish(house.olga, await runs.start(house.olga, source))
    await freeze(house.olga, source, 1)
    bob = house.caller("bob", name="Bob B.")
    revision = await start_revision(bob, source)
    before = (await bob.call(project_pb2.GetProjectRequest(project_id=source))).project
    assert (revision.name, revision.description, dict(revision.labels)) == (before.name, "For the ward.", {"a": "b"})
    assert revision.policy == before.policy
    about: dict[str, Any] = {"project_id": revision.project_id}
    members = (await bob.call(project_pb2.ListMembersRequest(**about))).members
    assert [(it.subject, it.role, it.display_name) for it in members] == [("bob", project_pb2.ROLE_OWNER, "Bob B.")]
    assert not (await bob.call(comment_pb2.ListCommentsRequest(**about))).comments
    assert not (await bob.call(session_pb2.ListSessionsRequest(**about))).sessions
    await refused(house.olga.call(project_pb2.GetProjectRequest(**about)), "PROJECT_ACCESS_DENIED")
    await refused(freeze(bob, revision.project_id, 1), "FREEZE_BLOCKED", blocker="EVIDENCE_MISSING")


async def test_three_logs_tell_of_it(house: House, source: str) -> None:
    """The installation's, the release's, and its own, which begins with genesis; and each chain verifies."""
    made = (await house.olga.call(export_pb2.GetFreezeRequest(project_id=source))).freeze
    revision = await start_revision(house.caller("bob"), source, reason="New rules.")
    root = house.caller("root")
    logs = {
        "instance": await entries_of(root, "instance"),
        source: await entries_of(house.olga, source),
        revision.project_id: await entries_of(house.caller("bob"), revision.project_id),
    }
    for log, entries in logs.items():
        check_chain(log, entries)
    created = next(entry for entry in logs[revision.project_id] if entry.HasField("project_created"))
    assert logs["instance"][-1].project_created == created.project_created
    assert created.project_created == audit_pb2.ProjectCreated(
        project_id=revision.project_id,
        name=revision.name,
        revision_of_project_id=source,
        revision_of_fingerprint=made.fingerprint,
    )
    told = logs[source][-1]
    assert (told.actor.subject, told.reason) == ("bob", "New rules.")
    assert told.revision_started == audit_pb2.RevisionStarted(
        revision_project_id=revision.project_id, version_number=3, fingerprint=made.fingerprint
    )


async def test_its_first_version_is_made_under_locks(house: House, source: str) -> None:
    """Like every version: a session of the call's own length, one grant a field, each sealed; no lock is left."""
    revision = await start_revision(house.olga, source)
    entries = await entries_of(house.olga, revision.project_id)
    draft = await _draft(house.olga, revision.project_id)
    count = len(draft.fields)
    assert events_of(entries) == [
        *("log_genesis", "project_created", "member_set", "session_opened"),
        *["lock_acquired"] * count,
        "draft_created",
        *["lock_released"] * count,
        "session_closed",
    ]
    grants = {it.lock_acquired.field: it.lock_acquired for it in entries if it.HasField("lock_acquired")}
    changed = {change.field: change for change in draft.changed_fields}
    assert changed.keys() == grants.keys() == {value.name for value in draft.fields}
    for name, change in changed.items():
        assert (change.lock_id, change.fencing_token, change.before_sha256) == (grants[name].lock_id, 1, "")
        assert grants[name].session_id == draft.session_id
    assert not (await house.olga.call(lock_pb2.ListLocksRequest(project_id=revision.project_id))).locks


# --- it is a project of its own ---


async def test_what_happens_in_it_does_not_touch_the_release(house: House) -> None:
    """Saved, removed, frozen: the release gives the same bundle, and what it has can still be read from both."""
    source = await house.project()
    await save_all(house.olga, source)
    await freeze(house.olga, source, 1)
    before = await bundle_of(house.olga, source)
    revision = await start_revision(house.olga, source)
    ours = revision.project_id
    await house.olga.save(ours, 1, system_prompt="Something else.\n")
    await house.olga.call(save_of(ours, {"logo": None, "scratchpad": None}, 2))
    await runs.finish(house.olga, await runs.start(house.olga, ours, version_number=1))
    made = (await freeze(house.olga, ours, 3)).freeze
    assert (await bundle_of(house.olga, source)).archive == before.archive
    assert _content(await _draft(house.olga, ours, 1)) == _content(await _draft(house.olga, source))
    assert made.content_sha256 != before.bundle.freeze.content_sha256
    assert (await bundle_of(house.olga, ours)).json("release.json")["version_number"] == 3


async def test_work_goes_on_in_it_as_anywhere(house: House, source: str) -> None:
    """Locks from the next fencing token on, reverts to the first version, and evidence of its own."""
    olga, revision = house.olga, await start_revision(house.olga, source)
    ours = revision.project_id
    async with olga.session(ours) as session:
        lock = await session.acquire("system_prompt")
        assert lock.fencing_token == 2
        await lock.save("You are bold.\n")
    await olga.call(draft_pb2.RevertDraftRequest(project_id=ours, version_number=1, base_version=2))
    again = await _draft(olga, ours)
    assert (again.version_number, again.content_sha256) == (3, (await _draft(olga, source)).content_sha256)
    await refused(olga.save(ours, 1, system_prompt="Stale."), "STALE_VERSION")
    await refused(olga.save(source, 3, system_prompt="Frozen."), "PROJECT_FROZEN")


async def test_a_revision_of_a_revision_cites_that_one(house: House, source: str) -> None:
    """A chain of releases, each by its own fingerprint, though their content is the same."""
    first = await start_revision(house.olga, source)
    made = (await freeze(house.olga, first.project_id, 1)).freeze
    second = await start_revision(house.olga, first.project_id)
    assert (second.revision_of_project_id, second.revision_of_fingerprint) == (first.project_id, made.fingerprint)
    assert made.fingerprint != first.revision_of_fingerprint
    assert _content(await _draft(house.olga, second.project_id)) == _content(await _draft(house.olga, source))
    assert (await _draft(house.olga, second.project_id)).content_sha256 == made.content_sha256


async def test_fields_that_were_given_up_are_not_taken_along(house: House) -> None:
    """Neither those removed before the release nor the texts of earlier versions."""
    source = await house.project()
    await house.olga.save(source, notes="Secret.", system_prompt="one")
    await house.olga.call(save_of(source, {"notes": None, "system_prompt": "two"}, 1))
    await freeze(house.olga, source, 2)
    revision = await start_revision(house.olga, source)
    assert [value.text for value in (await _draft(house.olga, revision.project_id)).fields] == ["two"]
    stored = house.execute("SELECT data FROM content WHERE project_id = ?", (revision.project_id,))
    assert stored == [(b"two",)]


async def test_a_revision_of_nothing_begins_with_nothing(house: House) -> None:
    """A release without a field leaves nothing to save: the revision is at version 0, like any new project."""
    source = await house.project()
    await house.olga.save(source, system_prompt="one")
    await house.olga.call(save_of(source, {"system_prompt": None}, 1))
    await freeze(house.olga, source, 2)
    revision = await start_revision(house.olga, source)
    assert (revision.head_version, revision.current_draft_id, revision.revision_of_project_id) == (0, "", source)
    assert (await house.olga.save(revision.project_id, system_prompt="two")).version_number == 1
    check_chain(revision.project_id, await entries_of(house.olga, revision.project_id))


# --- who, when, how often ---


async def test_only_a_release_can_be_gone_on_from(house: House) -> None:
    """A project that is worked on can simply be worked on; an archived release must be taken out first."""
    source = await house.project()
    await house.olga.save(source, system_prompt="one")
    async with house.unchanged(source):
        await refused(house.olga.call(_request(source)), "NOT_FROZEN", project_id=source, state="ACTIVE")
    await freeze(house.olga, source, 1)
    await house.olga.call(project_pb2.ArchiveProjectRequest(project_id=source))
    async with house.unchanged(source):
        await refused(house.olga.call(_request(source)), "PROJECT_ARCHIVED", project_id=source)
    await house.olga.call(project_pb2.UnarchiveProjectRequest(project_id=source))
    await start_revision(house.olga, source)


async def test_it_needs_the_role_editor(house: House, source: str) -> None:
    """Who may only read a release may not make a copy of it that is their own."""
    await house.olga.call(project_pb2.SetMemberRequest(project_id=source, subject="aud", role=project_pb2.ROLE_AUDITOR))
    before = len(
        (await house.caller("root").call(audit_pb2.ListEntriesRequest(project_id="instance", page_size=1000))).entries
    )
    async with house.unchanged(source):
        for subject in ("vera", "aud"):
            call = house.caller(subject).call(_request(source))
            await refused(call, "ROLE_TOO_LOW", action="start a revision", required_role="EDITOR")
        for subject in ("stranger", "root"):
            await refused(house.caller(subject).call(_request(source)), "PROJECT_ACCESS_DENIED", project_id=source)
    after = len(
        (await house.caller("root").call(audit_pb2.ListEntriesRequest(project_id="instance", page_size=1000))).entries
    )
    assert after == before


async def test_agents_start_one_where_they_may_edit(house: House) -> None:
    """As policy says; and the policy comes along, so an agent gives itself no rights by it."""
    for access, may in ((project_pb2.AGENT_ACCESS_EDIT, True), (project_pb2.AGENT_ACCESS_SUGGEST_ONLY, False)):
        source = await house.project(project_pb2.Policy(agent_access=access), agent=project_pb2.ROLE_EDITOR)
        await house.olga.save(source, system_prompt="one")
        await house.freeze(source)
        agent = house.caller("agent", kind="AGENT")
        if may:
            revision = await start_revision(agent, source)
            assert revision.policy.agent_access == access
            await refused(freeze(agent, revision.project_id, 1), "HUMAN_REQUIRED")
        else:
            await refused(agent.call(_request(source)), "AGENT_ACCESS_DENIED", action="start a revision")


async def test_a_reason_where_the_release_wants_one(house: House) -> None:
    """Its policy is the last word of those who made it."""
    source = await house.project(project_pb2.Policy(require_reason=True))
    change = save_of(source, {"system_prompt": "one"}, reason="First.")
    await house.olga.call(change)
    await freeze(house.olga, source, 1, reason="Done.")
    async with house.unchanged(source):
        await refused(house.olga.call(_request(source, reason=" ")), "REASON_REQUIRED")
    await start_revision(house.olga, source, reason="New rules.")


async def test_bounds_are_those_of_a_new_project(house: House, source: str) -> None:
    """A name of at most 200 bytes, a reason of at most 4 KiB, an id that is a UUID."""
    for field, value in (("name", "ü" * 101), ("reason", "x" * 4097), ("request_id", "1")):
        async with house.unchanged(source):
            await blamed(house.olga.call(_request(source, **{field: value})), field)
    assert (await start_revision(house.olga, source, name="ü" * 100)).name == "ü" * 100


async def test_a_blank_name_is_the_release_s(house: House, source: str) -> None:
    """Empty means the same name; white space alone is no name."""
    assert (await start_revision(house.olga, source, name="")).name == "Oncology Protocol Agent"
    async with house.unchanged(source):
        await blamed(house.olga.call(_request(source, name=" \t")), "name")


async def test_a_repeated_request_makes_one_project(house: House, source: str) -> None:
    """Also when it is sent several times at once; the same id for another request is refused."""
    request = _request(source, name="Once", request_id=str(uuid.uuid4()))
    bob = house.caller("bob")
    answers = await asyncio.gather(*(bob.call(request) for _ in range(5)))
    assert {answer.project.project_id for answer in answers} == {answers[0].project.project_id}
    assert all(answer == answers[0] for answer in answers)
    listed = await bob.call(project_pb2.ListProjectsRequest(name_contains="once", page_size=1000))
    assert len(listed.projects) == 1
    async with house.unchanged(source):
        assert await bob.call(request) == answers[0]
        await refused(bob.call(_request(source, name="Twice", request_id=request.request_id)), "REQUEST_ID_REUSED")
        await refused(house.caller("vera").call(request), "ROLE_TOO_LOW")


async def test_several_may_go_on_from_one_release(house: House, source: str) -> None:
    """Each gets a project of their own, at the same time too."""
    callers = [house.olga, house.caller("bob")] * 4
    made = await asyncio.gather(*(start_revision(who, source) for who in callers), return_exceptions=True)
    assert not [outcome for outcome in made if isinstance(outcome, Refused)]
    revisions = [outcome for outcome in made if isinstance(outcome, project_pb2.Project)]
    assert len({revision.project_id for revision in revisions}) == len(callers)
    check_chain(source, await entries_of(house.olga, source))
