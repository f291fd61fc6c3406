"""Every RPC is served, mapped to HTTP, and described; every element of the contract has its comment."""

from __future__ import annotations

import re
from typing import Any

import pytest
from google.api import annotations_pb2, field_behavior_pb2
from google.protobuf.descriptor_pb2 import MethodOptions

from coreason.foundry.v1 import session_pb2
from foundry.rpc.audit import AuditServicer
from foundry.rpc.comment import CommentServicer
from foundry.rpc.draft import DraftServicer
from foundry.rpc.errors import CODES
from foundry.rpc.export import ExportServicer
from foundry.rpc.lock import LockServicer
from foundry.rpc.project import ProjectServicer
from foundry.rpc.run import RunServicer
from foundry.rpc.server import SERVICES
from foundry.rpc.session import SessionServicer
from tests.rpc.contract import elements, methods, services, sources

SERVICERS = {
    "ProjectService": ProjectServicer,
    "DraftService": DraftServicer,
    "LockService": LockServicer,
    "SessionService": SessionServicer,
    "AuditService": AuditServicer,
    "CommentService": CommentServicer,
    "RunService": RunServicer,
    "ExportService": ExportServicer,
}
METHODS = methods()
UNARY = [method for method in METHODS if not (method.client_streaming or method.server_streaming)]
FILES = {file.name: file for file in sources()}


def name(method: Any) -> str:
    """Of a test."""
    return str(method.full_name.removeprefix("coreason.foundry.v1."))


def comment(method: Any) -> str:
    """What the contract says about an RPC."""
    file = method.containing_service.file.name
    return elements(FILES[file])[f"{file}:{method.containing_service.name}:{method.name}"]


def test_every_service_is_served() -> None:
    """All services of the package are registered; none is declared and then forgotten."""
    assert {service.full_name for service in services()} == {service.full_name for service in SERVICES}
    assert SERVICERS.keys() == {service.name for service in SERVICES}


@pytest.mark.parametrize("method", METHODS, ids=name)
def test_every_rpc_has_a_handler(method: Any) -> None:
    """By the contract's own name, in the servicer of its service."""
    assert callable(getattr(SERVICERS[method.containing_service.name], method.name))


def test_servicers_have_no_other_rpcs() -> None:
    """What looks like an RPC is one."""
    for service in SERVICES:
        public = {attribute for attribute in vars(SERVICERS[service.name]) if attribute[0].isupper()}
        assert public == {method.name for method in service.methods}


@pytest.mark.parametrize("method", UNARY, ids=name)
def test_every_unary_rpc_is_mapped_to_http(method: Any) -> None:
    """Its path names fields of its request; reading is GET, and nothing else is."""
    rule = method.GetOptions().Extensions[annotations_pb2.http]
    verb = rule.WhichOneof("pattern")
    path = getattr(rule, verb)
    assert path.startswith("/v1/")
    variables = re.findall(r"{(\w+)(?:\.(\w+))?[=}]", path)
    for outer, inner in variables:
        field = method.input_type.fields_by_name[outer]
        assert not inner or inner in field.message_type.fields_by_name
    reads = method.GetOptions().idempotency_level == MethodOptions.NO_SIDE_EFFECTS
    assert reads == method.name.startswith(("Get", "List", "Compare", "Blame", "Read", "Download"))
    assert (verb == "get") == reads or verb == "post"
    assert not (verb == "get" and rule.body)


def test_no_two_rpcs_share_a_path() -> None:
    """Verb and path name one RPC, whatever the variables are called."""
    rules = [method.GetOptions().Extensions[annotations_pb2.http] for method in UNARY]
    routes = [
        (rule.WhichOneof("pattern"), re.sub(r"{[^}]*}", "{}", getattr(rule, rule.WhichOneof("pattern"))))
        for rule in rules
    ]
    assert len(set(routes)) == len(routes)


@pytest.mark.parametrize("method", METHODS, ids=name)
def test_every_rpc_has_messages_of_its_own(method: Any) -> None:
    """So that each can grow by itself."""
    assert method.input_type.name == f"{method.name}Request"
    assert method.output_type.name == f"{method.name}Response"


_WORD = re.compile(r"\b[A-Z]+(?:_[A-Z]+)+\b")
_REASONS_OF_A_CODE = re.compile(rf"((?:{_WORD.pattern}(?:, |,\n ?| and )?)+)\s*\(([A-Z_]+)\)")


@pytest.mark.parametrize("method", METHODS, ids=name)
def test_every_rpc_says_what_it_refuses(method: Any) -> None:
    """Each comment tells whether the call may be repeated, and which errors it has: reasons that exist, by code."""
    said = comment(method)
    assert re.search(r"[Ii]dempotent|No side effects", said)
    codes = {code.name for code in CODES.values()}
    errors = said.partition("Errors")[2]
    assert errors
    assert set(_WORD.findall(errors)) <= CODES.keys() | codes
    for reasons, code in _REASONS_OF_A_CODE.findall(errors):
        assert {reason: CODES[reason].name for reason in _WORD.findall(reasons)} == dict.fromkeys(
            _WORD.findall(reasons), code
        )


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.rpartition("/")[2])
def test_every_element_has_a_comment(file: str) -> None:
    """Services, RPCs, messages, fields, oneofs, enums and their values."""
    found = elements(FILES[file])
    assert len(found) > 5
    assert [element for element, text in found.items() if not text] == []


def test_the_comments_are_those_of_the_elements() -> None:
    """The reading of comments above is a true one: a known element has its known words."""
    found = elements(FILES["coreason/foundry/v1/session.proto"])
    assert found["coreason/foundry/v1/session.proto:ProjectSessionRequest:leave"] == "Ends the session cleanly."
    assert found["coreason/foundry/v1/session.proto:ServerEvent:event"] == "What happened."


@pytest.mark.parametrize("method", METHODS, ids=name)
def test_a_project_id_is_required(method: Any) -> None:
    """Every request inside a project names it, and says that it must; the stream does so when it opens."""
    field = method.input_type.fields_by_name.get("project_id")
    if method.name in {"CreateProject", "ListProjects", "ProjectSession"}:
        assert field is None
        return
    behavior = field.GetOptions().Extensions[field_behavior_pb2.field_behavior]
    assert field_behavior_pb2.REQUIRED in behavior


def test_a_frame_holds_events_and_nothing_else() -> None:
    """What makes joined bytes one message: a single repeated field."""
    (field,) = session_pb2.ProjectSessionResponse.DESCRIPTOR.fields
    assert (field.name, field.is_repeated) == ("events", True)
