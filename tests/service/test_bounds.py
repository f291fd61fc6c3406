"""Every bound of the contract is enforced at the edge, and no value of any field is a surprise to the server."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from typing import Any, Final

import pytest
import pytest_asyncio
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.message import Message

from coreason.foundry.v1 import (
    comment_pb2,
    draft_pb2,
    export_pb2,
    lock_pb2,
    project_pb2,
    run_pb2,
    session_pb2,
)
from tests.service.forms import forms
from tests.service.house import CALLS, House
from tests.service.refusals import Refused, blamed, refused

pytestmark = pytest.mark.asyncio(loop_scope="module")

INTEGERS: Final = {
    FieldDescriptor.TYPE_INT32: (-(2**31), 2**31 - 1),
    FieldDescriptor.TYPE_INT64: (-(2**63), 2**63 - 1),
}
#: Of no session.
SESSION_ID: Final = "01994b7e-0000-7000-8000-000000000002"


def _places(descriptor: Descriptor, inside: str = "") -> Iterator[tuple[str, FieldDescriptor]]:
    """Every scalar of a request with its path, those of nested messages included."""
    for field in descriptor.fields:
        if field.message_type is None:
            yield inside + field.name, field
        elif not field.message_type.GetOptions().map_entry and field.message_type.file.package.startswith("coreason"):
            yield from _places(field.message_type, f"{inside}{field.name}.")


def _output_only(place: str) -> bool:
    """Members of the Project in an UpdateProjectRequest that no mask can name: they are not read."""
    return place.startswith("project.") and place.split(".")[1] not in {"name", "description", "labels", "policy"}


def _set(request: Any, place: str, value: object) -> None:
    head, _, rest = place.partition(".")
    field = request.DESCRIPTOR.fields_by_name[head]
    if rest:
        inner = getattr(request, head)
        if field.is_repeated:
            inner = inner[0] if inner else inner.add()
        _set(inner, rest, value)
    elif field.is_repeated:
        getattr(request, head).append(value)
    else:
        setattr(request, head, value)


def _form(name: str, project_id: str, session_id: str) -> Any:
    request: Any = forms(project_id, session_id=session_id)[name]
    if name == "UpdateProject":
        request.update_mask.CopyFrom(FieldMask(paths=["name", "description", "labels", "policy"]))
        request.project.name = "Triage agent"
    return request


SCALARS = [
    (method.name, place, field)
    for method in CALLS
    for place, field in _places(method.input_type)
    if not _output_only(place)
]
NUMBERS = [(name, place, INTEGERS[field.type]) for name, place, field in SCALARS if field.type in INTEGERS]
ENUMS = [(name, place) for name, place, field in SCALARS if field.type == FieldDescriptor.TYPE_ENUM]
STRINGS = [
    (name, place)
    for name, place, field in SCALARS
    if field.type in {FieldDescriptor.TYPE_STRING, FieldDescriptor.TYPE_BYTES}
]


async def test_the_generated_places_are_all_there() -> None:
    """Nested ones, repeated ones, optional ones."""
    found = {(name, place) for name, place, _ in SCALARS}
    assert found >= {
        ("CreateDraft", "changes.kind"),
        ("CreateDraft", "locks.fencing_token"),
        ("CompareDrafts", "context_lines"),
        ("CreateProject", "policy.min_approvals"),
        ("UpdateProject", "project.policy.agent_access"),
        ("ListEntries", "events"),
        ("CreateComment", "anchor.start_line"),
        ("AppendRunLog", "lines.stream"),
        ("FinishRun", "expected_line_count"),
        ("ReadRunLog", "from_line"),
    }


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def desk(house: House) -> str:
    """A project for requests that change nothing."""
    project_id = await house.project()
    await house.olga.save(project_id, system_prompt="v1")
    return project_id


@pytest.mark.parametrize(("name", "place", "span"), NUMBERS, ids=str)
async def test_no_number_is_negative(house: House, desk: str, name: str, place: str, span: tuple[int, int]) -> None:
    """Whatever counts, counts from 0 or 1; the refusal blames the field."""
    async with house.unchanged(desk):
        for value in (-1, span[0]):
            request = _form(name, desk, SESSION_ID)
            _set(request, place, value)
            await _blamed_on(house, request, place)


@pytest.mark.parametrize(("name", "place"), ENUMS, ids=str)
async def test_an_unknown_enum_number_is_refused(house: House, desk: str, name: str, place: str) -> None:
    """It is of a newer contract; guessing what it means would be wrong."""
    async with house.unchanged(desk):
        for value in (99, -1):
            request = _form(name, desk, SESSION_ID)
            _set(request, place, value)
            await _blamed_on(house, request, place)


async def _blamed_on(house: House, request: Message, place: str) -> None:
    refusal = await refused(house.olga.call(request), "INVALID_ARGUMENT")
    assert [field.rpartition(".")[2] for field, _ in refusal.violations] == [place.rpartition(".")[2]]


async def test_an_unset_enum_means_what_its_comment_says(house: House) -> None:
    """No role is no role; no kind follows the name, or is a note; no state is any; no agent_access is SUGGEST_ONLY."""
    project_id = await house.project()
    await blamed(house.olga.call(project_pb2.SetMemberRequest(project_id=project_id, subject="mia")), "role")
    created = await house.olga.call(project_pb2.CreateProjectRequest(name="x", policy=project_pb2.Policy()))
    assert created.project.policy.agent_access == project_pb2.AGENT_ACCESS_SUGGEST_ONLY
    await house.olga.save(project_id, topology="{}")
    draft = (await house.olga.call(draft_pb2.GetDraftRequest(project_id=project_id))).draft
    assert draft.fields[0].kind == draft_pb2.FIELD_KIND_JSON
    listed = await house.olga.call(project_pb2.ListProjectsRequest())
    assert created.project.project_id in {project.project_id for project in listed.projects}
    said = await house.olga.call(comment_pb2.CreateCommentRequest(project_id=project_id, text="x"))
    assert said.comment.kind == comment_pb2.COMMENT_KIND_NOTE
    assert (await house.olga.call(comment_pb2.ListCommentsRequest(project_id=project_id))).comments == [said.comment]


HOSTILE_TEXT: Final = ["a\0b", "x" * 10_000, "\U0010ffff", "'; DROP TABLE project; --", "\r\n\t", " "]


@pytest.mark.parametrize(("name", "place"), STRINGS, ids=str)
async def test_no_text_is_a_surprise(house: House, name: str, place: str) -> None:
    """Whatever stands in a string, the answer is a documented refusal (``Refused`` checks) or a success."""
    project_id = await house.project(mia=project_pb2.ROLE_VIEWER)
    await house.olga.save(project_id, system_prompt="v1")
    for text in HOSTILE_TEXT:
        request = _form(name, project_id, SESSION_ID)
        field = next(field for found, at, field in SCALARS if (found, at) == (name, place))
        _set(request, place, text.encode() if field.type == FieldDescriptor.TYPE_BYTES else text)
        await _never_internal(house, request)


@pytest.mark.parametrize(("name", "place", "span"), NUMBERS, ids=str)
async def test_no_number_is_a_surprise(house: House, name: str, place: str, span: tuple[int, int]) -> None:
    """Up to the largest: more than JSON numbers can say, more than a database may add to."""
    project_id = await house.project()
    await house.olga.save(project_id, system_prompt="v1")
    request = _form(name, project_id, SESSION_ID)
    if "request_id" in request.DESCRIPTOR.fields_by_name:
        request.request_id = str(uuid.uuid4())
    _set(request, place, span[1])
    await _never_internal(house, request)


async def _never_internal(house: House, request: Message) -> None:
    reason = ""
    try:
        await house.olga.call(request)
    except Refused as refusal:
        reason = refusal.reason
    assert reason not in {"INTERNAL", "STORE_UNAVAILABLE"}


def _project(**fields: Any) -> Callable[[str], Message]:
    return lambda _: project_pb2.CreateProjectRequest(**({"name": "x"} | fields))


def _save(**fields: Any) -> Callable[[str], Message]:
    change = draft_pb2.FieldChange(field="notes", text="x")
    return lambda project_id: draft_pb2.CreateDraftRequest(**{"project_id": project_id, "changes": [change], **fields})


def _member(**fields: Any) -> Callable[[str], Message]:
    given: dict[str, Any] = {"subject": "mia", "role": project_pb2.ROLE_VIEWER} | fields
    return lambda project_id: project_pb2.SetMemberRequest(project_id=project_id, **given)


def _bytes(count: int) -> str:
    """Text of so many bytes, in fewer characters."""
    return "ü" * (count // 2) + "x" * (count % 2)


#: The blamed field, and a request with text of so many bytes in it, with the most that it may be.
TEXT_BOUNDS: Final[list[tuple[str, int, Callable[[str], Callable[[str], Message]]]]] = [
    ("name", 200, lambda text: _project(name=text)),
    ("description", 4096, lambda text: _project(description=text)),
    ("labels", 100, lambda text: _project(labels={"k": text})),
    ("message", 4096, lambda text: _save(message=text)),
    ("reason", 4096, lambda text: _save(reason=text)),
    ("changes.media_type", 100, lambda text: _save(changes=[_change(media_type=text)])),
    ("subject", 200, lambda text: _member(subject=text)),
    ("display_name", 200, lambda text: _member(display_name=text)),
    ("reason", 4096, lambda text: _member(reason=text)),
    ("name_contains", 200, lambda text: lambda _: project_pb2.ListProjectsRequest(name_contains=text)),
    ("text", 65_536, lambda text: _comment(text=text)),
    ("anchor.quote", 4096, lambda text: _comment(anchor=_anchor(quote=text))),
    ("harness", 200, lambda text: _run(harness=text)),
    ("labels", 100, lambda text: _run(labels={"k": text})),
    ("labels", 100, lambda text: _run(labels={text: "v"})),
]


def _comment(**fields: Any) -> Callable[[str], Message]:
    given = {"text": "x"} | fields
    return lambda project_id: comment_pb2.CreateCommentRequest(**{"project_id": project_id, **given})


def _anchor(**fields: Any) -> comment_pb2.Anchor:
    return comment_pb2.Anchor(**{"version_number": 1, "field": "a", **fields})


def _run(**fields: Any) -> Callable[[str], Message]:
    return lambda project_id: run_pb2.StartRunRequest(**{"project_id": project_id, **fields})


def _edit(**fields: Any) -> Callable[[str], Message]:
    given: dict[str, Any] = {"comment_id": "c", "text": "x", "update_mask": FieldMask(paths=["text"])} | fields
    return lambda project_id: comment_pb2.UpdateCommentRequest(**{"project_id": project_id, **given})


def _finish(**fields: Any) -> Callable[[str], Message]:
    given: dict[str, Any] = {"run_id": "r", "state": run_pb2.RUN_STATE_PASSED} | fields
    return lambda project_id: run_pb2.FinishRunRequest(**{"project_id": project_id, **given})


def _change(**fields: Any) -> draft_pb2.FieldChange:
    return draft_pb2.FieldChange(**{"field": "notes", "text": "x", **fields})


@pytest.mark.parametrize(("field", "limit", "request_with"), TEXT_BOUNDS, ids=lambda value: str(value)[:20])
async def test_text_is_bounded_in_bytes(
    house: House, field: str, limit: int, request_with: Callable[[str], Callable[[str], Message]]
) -> None:
    """As much as is documented passes, a byte more does not; characters are not what counts."""
    project_id = await house.project()
    await house.olga.save(project_id, a=_bytes(4097))  # what a quote of one byte too many would stand in
    await house.olga.call(request_with(_bytes(limit))(project_id))
    async with house.unchanged(project_id):
        await blamed(house.olga.call(request_with(_bytes(limit + 1))(project_id)), field)


BROKEN: Final[dict[str, tuple[str, Callable[[str], Message]]]] = {
    "no name": ("name", _project(name="")),
    "blank name": ("name", _project(name=" \t")),
    "65 labels": ("labels", _project(labels={f"k{number}": "" for number in range(65)})),
    "empty label key": ("labels", _project(labels={"": "x"})),
    "too many approvals": ("policy.min_approvals", _project(policy=project_pb2.Policy(min_approvals=11))),
    "too long a retention": (
        "policy.log_retention_days",
        _project(policy=project_pb2.Policy(log_retention_days=36_501)),
    ),
    "no subject": ("subject", _member(subject="")),
    "request id that is no UUID": ("request_id", _member(request_id="again")),
    "65 labels to look for": (
        "labels",
        lambda _: project_pb2.ListProjectsRequest(labels={f"k{number}": "" for number in range(65)}),
    ),
    "version 0": ("version_number", lambda p: draft_pb2.GetDraftRequest(project_id=p, version_number=0)),
    "revert to nothing": ("version_number", lambda p: draft_pb2.RevertDraftRequest(project_id=p, version_number=0)),
    "2,001 fields to get": ("fields", lambda p: draft_pb2.GetDraftRequest(project_id=p, fields=["a"] * 2_001)),
    "2,001 fields to compare": (
        "fields",
        lambda p: draft_pb2.CompareDraftsRequest(project_id=p, fields=["a"] * 2_001),
    ),
    "2,001 fields to revert": (
        "fields",
        lambda p: draft_pb2.RevertDraftRequest(project_id=p, version_number=1, fields=["a"] * 2_001),
    ),
    "too much context": ("context_lines", lambda p: draft_pb2.CompareDraftsRequest(project_id=p, context_lines=101)),
    "break without a reason": (
        "reason",
        lambda p: lock_pb2.BreakLockRequest(project_id=p, field="a", fencing_token=1),
    ),
    "release with token 0": (
        "fencing_token",
        lambda p: lock_pb2.ReleaseLockRequest(project_id=p, field="a", session_id="s"),
    ),
    "acquire without a session": ("session_id", lambda p: lock_pb2.AcquireLockRequest(project_id=p, field="a")),
    "event that does not exist": ("events", lambda p: _entries(p, "heartbeat")),
    "33 events": ("events", lambda p: _entries(p, *["draft_created"] * 33)),
    "long reason for an end": (
        "reason",
        lambda p: session_pb2.EndSessionRequest(project_id=p, session_id="s", reason="x" * 4097),
    ),
    "comment of nothing": ("text", _comment(text="")),
    "blank comment": ("text", _comment(text=" \n\t")),
    "anchor without a version": ("anchor.version_number", _comment(anchor=_anchor(version_number=0))),
    "anchor on no field": ("anchor.field", _comment(anchor=_anchor(field=""))),
    "anchor on what is no field": ("anchor.field", _comment(anchor=_anchor(field="../a"))),
    "long subject of an assignee": (
        "assignee",
        _comment(assignee="x" * 201, kind=comment_pb2.COMMENT_KIND_TASK),
    ),
    "a blank second thought": ("text", _edit(text=" ")),
    "an edit of nothing": ("update_mask", _edit(update_mask=FieldMask())),
    "an edit of what cannot be edited": ("update_mask", _edit(update_mask=FieldMask(paths=["text", "author"]))),
    "long etag": ("etag", _edit(etag="x" * 101)),
    "no comment": ("comment_id", _edit(comment_id="")),
    "long reason for a change": ("reason", _edit(reason="x" * 4097)),
    "run of content that is no hash": ("content_sha256", _run(content_sha256="x" * 64)),
    "65 labels of a run": ("labels", _run(labels={f"k{number}": "" for number in range(65)})),
    "too many attempts": ("attempt", _run(attempt=1_000_001)),
    "run that ends running": ("state", _finish(state=run_pb2.RUN_STATE_RUNNING)),
    "run that ends cancelled": ("state", _finish(state=run_pb2.RUN_STATE_CANCELLED)),
    "run that ends nowhere": ("state", _finish(state=run_pb2.RUN_STATE_UNSPECIFIED)),
    "201 results": ("results", _finish(results=[run_pb2.RunResult(name=f"{n}") for n in range(201)])),
    "one result twice": ("results", _finish(results=[run_pb2.RunResult(name="a")] * 2)),
    "result without a name": ("results.name", _finish(results=[run_pb2.RunResult(name=" ")])),
    "5,001 lines": (
        "lines",
        lambda p: run_pb2.AppendRunLogRequest(project_id=p, run_id="r", lines=[run_pb2.LogLine(number=1)] * 5_001),
    ),
    "lines of no run": ("run_id", lambda p: run_pb2.AppendRunLogRequest(project_id=p)),
    "a line with a line feed": (
        "lines.text",
        lambda p: run_pb2.AppendRunLogRequest(project_id=p, run_id="r", lines=[run_pb2.LogLine(number=1, text="a\n")]),
    ),
    "reading from line 0": ("from_line", lambda p: run_pb2.ReadRunLogRequest(project_id=p, run_id="r", from_line=0)),
    "export of version 0": (
        "version_number",
        lambda p: export_pb2.ExportForAssayRequest(project_id=p, version_number=0),
    ),
    "freeze of no version": ("expected_version", lambda p: export_pb2.RequestFreezeRequest(project_id=p)),
    "long name of a revision": (
        "name",
        lambda p: export_pb2.StartRevisionRequest(project_id=p, name="x" * 201),
    ),
}


def _entries(project_id: str, *events: str) -> Message:
    request: Any = forms(project_id)["ListEntries"]
    request.events.extend(events)
    message: Message = request
    return message


@pytest.mark.parametrize(("field", "request_of"), BROKEN.values(), ids=BROKEN)
async def test_a_broken_bound_is_blamed_on_its_field(
    house: House, field: str, request_of: Callable[[str], Message]
) -> None:
    project_id = await house.project()
    await house.olga.save(project_id, a="1")
    async with house.unchanged(project_id):
        await blamed(house.olga.call(request_of(project_id)), field)


async def test_every_violation_is_listed(house: House) -> None:
    """Whoever fills in a form wants to hear of all mistakes at once."""
    request = project_pb2.CreateProjectRequest(name="", description="x" * 4097, labels={"k": "x" * 101})
    await blamed(house.olga.call(request), "name", "description", "labels")
