"""Permission comes before existence: what the caller may not know of is not told apart from what is not there."""

from __future__ import annotations

import uuid
from typing import Any

import pytest
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message import Message

from coreason.foundry.v1 import comment_pb2, draft_pb2, export_pb2, run_pb2, session_pb2
from tests.service.desk import desk
from tests.service.forms import forms
from tests.service.house import CALLS, METHODS, Caller, House, names
from tests.service.refusals import Refused, refused

pytestmark = pytest.mark.asyncio(loop_scope="module")

OF_A_PROJECT = [method for method in CALLS if "project_id" in method.input_type.fields_by_name]
STREAM = next(method for method in METHODS if method not in CALLS)


async def test_there_is_a_form_for_every_rpc() -> None:
    """The generated tests leave none out."""
    assert set(forms("p1")) == {method.name for method in CALLS}


async def _refusal(caller: Caller, method: MethodDescriptor, request: Message) -> Refused:
    with pytest.raises(Refused) as caught:
        await caller.knock(method, request.SerializeToString())
    return caught.value


@pytest.mark.parametrize("method", OF_A_PROJECT, ids=names(OF_A_PROJECT))
async def test_an_unknown_and_a_foreign_project_get_the_same_answer(house: House, method: MethodDescriptor) -> None:
    """Byte for byte but for the id, even when everything else in the request does exist in the foreign one."""
    unknown = str(uuid.uuid4())
    eve = house.caller("eve")
    async with desk(house) as foreign:
        request: Any = foreign.requests()[method.name]
        async with house.unchanged(foreign.project_id):
            at_foreign = await _refusal(eve, method, request)
        request.project_id = unknown
        at_unknown = await _refusal(eve, method, request)
    assert at_foreign.reason == "PROJECT_ACCESS_DENIED"
    assert at_foreign.raw.replace(foreign.project_id.encode(), unknown.encode()) == at_unknown.raw


async def test_a_stream_tells_unknown_and_foreign_projects_no_more_apart(house: House) -> None:
    foreign, unknown = await house.project(), str(uuid.uuid4())
    answers = []
    for project_id in (foreign, unknown):
        opening = session_pb2.ProjectSessionRequest(command_id=1)
        opening.open.project_id = project_id
        answers.append(await _refusal(house.caller("eve"), STREAM, opening))
    assert answers[0].reason == "PROJECT_ACCESS_DENIED"
    assert answers[0].raw.replace(foreign.encode(), unknown.encode()) == answers[1].raw


STRANGE_IDS = ["", "instance", "%", "../../etc/passwd", "a\0b", "x" * 5_000, "\N{PILE OF POO}", "'; --"]


@pytest.mark.parametrize("project_id", STRANGE_IDS, ids=ascii)
async def test_what_is_no_id_is_no_project(house: House, project_id: str) -> None:
    """Whatever an id looks like, it is refused like one that does not exist, or as breaking its bound."""
    for method in OF_A_PROJECT:
        refusal = await _refusal(house.olga, method, forms(project_id)[method.name])
        allowed = {"PROJECT_ACCESS_DENIED", "INVALID_ARGUMENT"}
        if (method.name, project_id) == ("ListEntries", "instance"):
            allowed = {"ADMINISTRATOR_REQUIRED"}
        assert refusal.reason in allowed, method.name


async def test_a_draft_id_of_another_project_is_not_found(house: House) -> None:
    """Also for somebody who may read both projects."""
    here, there = await house.project(), await house.project()
    await house.olga.save(here, system_prompt="here")
    draft = await house.olga.save(there, system_prompt="there")
    request = draft_pb2.GetDraftRequest(project_id=here, draft_id=draft.draft_id)
    refusal = await refused(
        house.olga.call(request), "RESOURCE_NOT_FOUND", resource_type="draft", resource_id=draft.draft_id
    )
    unknown = str(uuid.uuid4())
    request.draft_id = unknown
    at_unknown = await refused(house.olga.call(request), "RESOURCE_NOT_FOUND")
    assert refusal.raw.replace(draft.draft_id.encode(), unknown.encode()) == at_unknown.raw


async def test_a_session_of_another_project_is_not_found(house: House) -> None:
    here, there = await house.project(), await house.project()
    async with house.olga.session(there) as session:
        request = session_pb2.EndSessionRequest(project_id=here, session_id=session.session_id)
        await refused(house.olga.call(request), "RESOURCE_NOT_FOUND", resource_type="session")
        listed = await house.olga.call(session_pb2.ListSessionsRequest(project_id=there))
        assert [found.session_id for found in listed.sessions] == [session.session_id]


async def test_content_of_another_project_is_not_found_by_its_hash(house: House) -> None:
    """Knowing a hash gives no access to the text, not even to somebody who may read both projects."""
    here, there = await house.project(), await house.project()
    secret = await house.olga.save(there, system_prompt="a secret of the other project")
    sha256 = secret.changed_fields[0].after_sha256
    request = draft_pb2.CreateDraftRequest(
        project_id=here, changes=[draft_pb2.FieldChange(field="system_prompt", sha256=sha256)]
    )
    async with house.unchanged(here):
        await refused(house.olga.call(request), "RESOURCE_NOT_FOUND", resource_type="content", resource_id=sha256)


#: What each names of another project, and how that is called.
INSIDE = {
    "GetComment": "comment",
    "UpdateComment": "comment",
    "DeleteComment": "comment",
    "ResolveComment": "comment",
    "ReopenComment": "comment",
    "GetRun": "run",
    "AppendRunLog": "run",
    "FinishRun": "run",
    "CancelRun": "run",
    "ReadRunLog": "run",
}


@pytest.mark.parametrize("name", INSIDE)
async def test_a_comment_or_a_run_of_another_project_is_not_found(house: House, name: str) -> None:
    """Also for somebody who may write both projects; nothing happens to it."""
    here = await house.project()
    async with desk(house) as there:
        request: Any = there.requests()[name]
        kind = INSIDE[name]
        named = getattr(request, f"{kind}_id")
        request.project_id = here
        async with house.unchanged(there.project_id):
            refusal = await refused(
                house.olga.call(request), "RESOURCE_NOT_FOUND", resource_type=kind, resource_id=named
            )
        unknown = str(uuid.uuid4())
        setattr(request, f"{kind}_id", unknown)
        at_unknown = await refused(house.olga.call(request), "RESOURCE_NOT_FOUND")
        assert refusal.raw.replace(named.encode(), unknown.encode()) == at_unknown.raw


async def test_what_is_named_beside_them_is_looked_for_in_the_same_project(house: House) -> None:
    """A version by its id, the comment to reply to, the run to comment on: those of another project are not found."""
    here = await house.project()
    await house.olga.save(here, notes="here")
    async with desk(house) as there:
        draft = (await house.olga.call(draft_pb2.GetDraftRequest(project_id=there.project_id))).draft
        about: dict[str, Any] = {"project_id": here, "text": "Mine?"}
        anchor = comment_pb2.Anchor(draft_id=draft.draft_id, field="notes")
        requests: dict[str, Any] = {
            draft.draft_id: comment_pb2.CreateCommentRequest(**about, anchor=anchor),
            there.comment_id: comment_pb2.CreateCommentRequest(**about, parent_comment_id=there.comment_id),
            there.run_id: comment_pb2.CreateCommentRequest(**about, run_id=there.run_id),
        }
        async with house.unchanged(here):
            for named, request in requests.items():
                await refused(house.olga.call(request), "RESOURCE_NOT_FOUND", resource_id=named)
            exported = export_pb2.ExportForAssayRequest(project_id=here, draft_id=draft.draft_id)
            await refused(house.olga.call(exported), "RESOURCE_NOT_FOUND", resource_type="draft")
            started = run_pb2.StartRunRequest(project_id=here, version_number=2)
            await refused(house.olga.call(started), "RESOURCE_NOT_FOUND", resource_type="draft", resource_id="2")
            started = run_pb2.StartRunRequest(project_id=here, session_id=there.session_id)
            await refused(house.olga.call(started), "SESSION_CLOSED", session_id=there.session_id)
