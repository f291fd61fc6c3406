"""A mutation with a ``request_id`` can be repeated safely: the same command gets the first answer, once and for all."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import pytest

from coreason.foundry.v1 import draft_pb2, lock_pb2, project_pb2, run_pb2, session_pb2
from tests.service.clocks import LateClock
from tests.service.desk import desk
from tests.service.house import MUTATING, House, housed
from tests.service.refusals import refused
from tests.service.saves import changes_of, save_of
from tests.service.tokens import signed_token
from tests.support import running_server

pytestmark = pytest.mark.asyncio(loop_scope="module")

REPEATABLE: Final = [method.name for method in MUTATING if "request_id" in method.input_type.fields_by_name]


#: How each request is made another one by the same name.
OTHERWISE: Final[dict[str, Callable[[Any], object]]] = {
    "CreateProject": lambda request: setattr(request, "name", "Another agent"),
    "UpdateProject": lambda request: setattr(request.project, "description", "Another text."),
    "ArchiveProject": lambda request: setattr(request, "reason", "another"),
    "UnarchiveProject": lambda request: setattr(request, "reason", "another"),
    "SetMember": lambda request: setattr(request, "role", project_pb2.ROLE_AUDITOR),
    "RemoveMember": lambda request: setattr(request, "subject", "somebody"),
    "CreateDraft": lambda request: setattr(request.changes[0], "text", "another"),
    "RevertDraft": lambda request: request.fields.append("notes"),
    "ReleaseLock": lambda request: setattr(request, "fencing_token", 2),
    "BreakLock": lambda request: setattr(request, "reason", "another"),
    "EndSession": lambda request: setattr(request, "reason", "another"),
    "CreateComment": lambda request: setattr(request.anchor, "quote", "v"),
    "UpdateComment": lambda request: setattr(request, "text", "another"),
    "DeleteComment": lambda request: setattr(request, "reason", "another"),
    "ResolveComment": lambda request: setattr(request, "reason", "another"),
    "ReopenComment": lambda request: setattr(request, "reason", "another"),
    "StartRun": lambda request: setattr(request, "attempt", 2),
    "FinishRun": lambda request: setattr(request, "state", run_pb2.RUN_STATE_FAILED),
    "CancelRun": lambda request: setattr(request, "reason", "another"),
    "RequestFreeze": lambda request: setattr(request, "reason", "another"),
    "StartRevision": lambda request: setattr(request, "name", "Another agent"),
}
#: They make something new, for everybody their own.
MAKING: Final = {"CreateProject", "CreateComment", "StartRun", "StartRevision"}
#: After these nothing is saved any more.
CLOSING: Final = {"ArchiveProject", "RequestFreeze", "StartRevision"}


async def test_every_repeatable_rpc_is_here() -> None:
    """AcquireLock and RenewLock are idempotent for the session, lines have their numbers, an export changes nothing."""
    assert OTHERWISE.keys() == set(REPEATABLE)
    without_id = {"AcquireLock", "RenewLock", "AppendRunLog", "ExportForAssay", "ExportForPublisher"}
    assert {method.name for method in MUTATING} - set(REPEATABLE) == without_id


async def _said(house: House, request: Any) -> Any:
    """An answer as it was first given; where an anchor is in the head is told anew."""
    answer = await house.olga.call(request)
    if "comment" in answer.DESCRIPTOR.fields_by_name:
        answer.comment.ClearField("resolved_anchor")
    return answer


@pytest.mark.parametrize("name", REPEATABLE)
async def test_the_same_command_gets_the_first_answer(house: House, name: str) -> None:
    """And happens once, however often it is asked for, and whatever happened in between."""
    async with desk(house, name) as where:
        request = where.request(name)
        first = await _said(house, request)
        async with house.unchanged(where.project_id):
            assert await _said(house, request) == first
        if name not in CLOSING:
            await house.olga.save(where.project_id, 2, in_between="x")
        async with house.unchanged(where.project_id):
            assert await _said(house, request) == first


@pytest.mark.parametrize("name", REPEATABLE)
async def test_a_repetition_is_answered_also_when_it_could_not_be_done_now(house: House, name: str) -> None:
    """Whoever lost the answer and asks again is not told that it failed: archived and frozen now, it was done then."""
    async with desk(house, name) as where:
        request = where.request(name)
        first = await _said(house, request)
        await where.freeze()
        await house.olga.call(project_pb2.ArchiveProjectRequest(project_id=where.project_id))
        async with house.unchanged(where.project_id):
            assert await _said(house, request) == first


@pytest.mark.parametrize("name", REPEATABLE)
async def test_another_command_under_the_same_id_is_refused(house: House, name: str) -> None:
    async with desk(house, name) as where:
        request = where.request(name)
        await house.olga.call(request)
        OTHERWISE[name](request)
        async with house.unchanged(where.project_id):
            await refused(house.olga.call(request), "REQUEST_ID_REUSED", request_id=request.request_id)


#: What the other one is told whose call cannot be done once more.
TO_THE_OTHER: Final = {
    "RemoveMember": "RESOURCE_NOT_FOUND",
    "EndSession": "RESOURCE_NOT_FOUND",
    "BreakLock": "LOCK_LOST",
    "ReleaseLock": "SESSION_CLOSED",
    "CreateDraft": "STALE_VERSION",
    "RevertDraft": "STALE_VERSION",
    "UpdateComment": "NOT_YOURS",
    "FinishRun": "NOT_YOURS",
    "CancelRun": "RUN_FINISHED",
    "RequestFreeze": "PROJECT_FROZEN",
}


@pytest.mark.parametrize("name", REPEATABLE)
async def test_ids_of_different_principals_never_meet(house: House, name: str) -> None:
    """The other one's call is a new one: it gets its own answer, or its own refusal."""
    async with desk(house, name) as where:
        another_owner = project_pb2.SetMemberRequest(
            project_id=where.project_id, subject="omar", role=project_pb2.ROLE_OWNER
        )
        await house.olga.call(another_owner)
        request = where.request(name)
        first = await house.olga.call(request)
        call = house.caller("omar").call(request)
        if name in TO_THE_OTHER:
            await refused(call, TO_THE_OTHER[name])
        elif name in MAKING:
            assert await call != first
        else:
            await call  # the same state, reached by somebody else


async def test_ids_of_different_rpcs_never_meet(house: House) -> None:
    """One id for a save and for the revert of it is no contradiction."""
    async with desk(house) as where:
        save, revert = where.request("CreateDraft"), where.request("RevertDraft")
        revert.request_id, revert.base_version = save.request_id, 3
        assert (await house.olga.call(save)).draft.version_number == 3
        assert (await house.olga.call(revert)).draft.version_number == 4


async def test_a_principal_of_another_kind_is_another(house: House) -> None:
    """The same subject as an agent, for somebody else."""
    policy = project_pb2.Policy(agent_access=project_pb2.AGENT_ACCESS_EDIT)
    project_id = await house.project(policy, bob=project_pb2.ROLE_EDITOR)
    request = save_of(project_id, {"a": "1"}, request_id=str(uuid.uuid4()))
    await house.caller("bob").call(request)
    agent = house.caller("bob", kind="agent", on_behalf_of="olga")
    await refused(agent.call(request), "STALE_VERSION")


#: What of a save makes it another one.
DIFFERENCES: Final = {
    "content": {"changes": changes_of({"a": "2"})},
    "field": {"changes": changes_of({"b": "1"})},
    "removal": {"changes": changes_of({"a": None})},
    "data for text": {"changes": changes_of({"a": b"1"})},
    "kind": {"changes": [draft_pb2.FieldChange(field="a", text="1", kind=draft_pb2.FIELD_KIND_JSON)]},
    "media type": {"changes": [draft_pb2.FieldChange(field="a", text="1", media_type="text/markdown")]},
    "base": {"base_version": 1},
    "message": {"message": "m"},
    "reason": {"reason": "r"},
    "session": {"session_id": "01994b7e-0000-7000-8000-000000000002"},
}


@pytest.mark.parametrize("difference", DIFFERENCES.values(), ids=DIFFERENCES)
async def test_whatever_differs_makes_another_save(house: House, difference: dict[str, Any]) -> None:
    project_id = await house.project()
    request: dict[str, Any] = {
        "project_id": project_id,
        "changes": [draft_pb2.FieldChange(field="a", text="1", kind=draft_pb2.FIELD_KIND_TEST_CORPUS)],
        "request_id": str(uuid.uuid4()),
    }
    if difference.get("changes", [None])[0] != changes_of({"a": b"1"})[0]:
        request["changes"] = changes_of({"a": "1"})
    await house.olga.call(draft_pb2.CreateDraftRequest(**request))
    async with house.unchanged(project_id):
        again = draft_pb2.CreateDraftRequest(**request | difference)
        await refused(house.olga.call(again), "REQUEST_ID_REUSED")


async def test_a_save_that_changed_nothing_answers_the_same_again(house: House) -> None:
    """The version that stood then, not the one that stands now."""
    project_id = await house.project()
    await house.olga.save(project_id, a="1")
    request = save_of(project_id, {"a": "1"}, 1, request_id=str(uuid.uuid4()))
    first = await house.olga.call(request)
    assert first.outcome == draft_pb2.SAVE_OUTCOME_NO_CHANGE
    await house.olga.save(project_id, 1, a="2")
    assert await house.olga.call(request) == first


async def test_a_revert_repeated_after_its_commit_is_not_done_again(house: House) -> None:
    """Also when somebody saved on top of it: by then the base is stale, and the answer still the first."""
    project_id = await house.project()
    await house.olga.save(project_id, a="1")
    await house.olga.save(project_id, 1, a="2")
    request = draft_pb2.RevertDraftRequest(
        project_id=project_id, version_number=1, base_version=2, request_id=str(uuid.uuid4())
    )
    first = await house.olga.call(request)
    await house.olga.save(project_id, 3, a="3")
    async with house.unchanged(project_id):
        assert await house.olga.call(request) == first


async def test_a_refusal_uses_no_id_up(house: House) -> None:
    """Successes only: what was refused may be put right under the same id."""
    project_id = await house.project()
    request_id = str(uuid.uuid4())
    await refused(house.olga.call(save_of(project_id, {"topology": "{"}, request_id=request_id)), "INVALID_CONTENT")
    saved = await house.olga.call(save_of(project_id, {"topology": "{}"}, request_id=request_id))
    assert saved.draft.version_number == 1


async def test_who_lost_the_right_gets_no_old_answer(house: House) -> None:
    """Permission comes first, also of a repetition."""
    project_id = await house.project(bob=project_pb2.ROLE_EDITOR)
    request = save_of(project_id, {"a": "1"}, request_id=str(uuid.uuid4()))
    await house.caller("bob").call(request)
    await house.olga.call(project_pb2.RemoveMemberRequest(project_id=project_id, subject="bob"))
    await refused(house.caller("bob").call(request), "PROJECT_ACCESS_DENIED")


async def test_an_id_is_one_however_it_is_written(house: House) -> None:
    """UUIDs are compared as UUIDs (RFC 9562: hex digits of either case)."""
    project_id = await house.project()
    request = save_of(project_id, {"a": "1"}, request_id=str(uuid.uuid4()))
    first = await house.olga.call(request)
    request.request_id = request.request_id.upper()
    assert await house.olga.call(request) == first


async def test_a_released_lock_can_be_released_again_by_the_same_request_only(house: House) -> None:
    async with desk(house) as where:
        request = where.request("ReleaseLock")
        first = await house.olga.call(request)
        assert await house.olga.call(request) == first
        request.request_id = ""
        await refused(house.olga.call(request), "LOCK_LOST")


async def test_an_acquire_repeated_is_the_same_grant(house: House) -> None:
    """Idempotent for the session; the second answer has the head's position, and nothing is logged."""
    async with desk(house) as where:
        request = lock_pb2.AcquireLockRequest(
            project_id=where.project_id, field="locked", session_id=where.session_id, purpose="again"
        )
        async with house.unchanged(where.project_id):
            again = (await house.olga.call(request)).acquired
        assert again.lock.fencing_token == where.fencing_token


@pytest.mark.asyncio(loop_scope="function")
async def test_an_answer_is_kept_over_a_restart_and_for_24_hours(tmp_path: Path) -> None:
    """It is stored in the transaction that made the change; a day later the id is free."""
    clock = LateClock()
    request = project_pb2.CreateProjectRequest(name="x", request_id=str(uuid.uuid4()))
    answers = []
    for hours in (0, 23, 25):
        clock.ahead_s = hours * 3600
        async with running_server(tmp_path / "data", clock=clock) as server, housed(server) as house:
            token = signed_token(server.data_dir, exp=int(time.time()) + 48 * 3600)
            answers.append(await house.bearing(("authorization", f"Bearer {token}")).call(request))
    assert answers[0] == answers[1]
    assert answers[0].project.project_id != answers[2].project.project_id


async def test_a_session_is_ended_once(house: House) -> None:
    """Without an id the second time finds no open session."""
    async with desk(house) as where:
        request = session_pb2.EndSessionRequest(project_id=where.project_id, session_id=where.session_id)
        await house.olga.call(request)
        await refused(house.olga.call(request), "RESOURCE_NOT_FOUND", resource_type="session")
