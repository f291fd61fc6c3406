"""How calls are made: paths, repetitions, deadlines, pages, and one description for both kinds of client."""

from __future__ import annotations

import asyncio
import inspect
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import grpc
import grpc.aio
import pytest
from google.protobuf import descriptor_pb2
from google.protobuf.message import Message
from grpc_status import rpc_status

from coreason.foundry.v1 import (
    audit_pb2,
    comment_pb2,
    draft_pb2,
    export_pb2,
    lock_pb2,
    project_pb2,
    run_pb2,
    session_pb2,
)
from foundry.client import (
    DeadlineExceeded,
    Foundry,
    FoundryError,
    SyncFoundry,
    Unavailable,
    connect,
)
from foundry.client.calls import Attempts, Unary
from foundry.client.channel import channel_options, service_config
from tests.client.scripted import retry_info, status

FILES = (audit_pb2, comment_pb2, draft_pb2, export_pb2, lock_pb2, project_pb2, run_pb2, session_pb2)
METHODS = [
    method for file in FILES for service in file.DESCRIPTOR.services_by_name.values() for method in service.methods
]
BUSY = status(grpc.StatusCode.UNAVAILABLE, "STORE_UNAVAILABLE", "busy", retry_info(0.001))


def failure(code: grpc.StatusCode = grpc.StatusCode.UNAVAILABLE, retry_s: float | None = None) -> grpc.aio.AioRpcError:
    details = () if retry_s is None else (retry_info(retry_s),)
    trailers = rpc_status.to_status(status(code, "STORE_UNAVAILABLE", "busy", *details)).trailing_metadata
    return grpc.aio.AioRpcError(code, grpc.aio.Metadata(), grpc.aio.Metadata(*trailers), details="busy")


# --- repetitions ---------------------------------------------------------------------------------------------------


def test_a_call_is_repeated_only_when_the_server_says_when() -> None:
    attempts = Attempts(10, clock=lambda: 0.0, jitter=lambda: 1.0)
    assert attempts.delay_after(failure(retry_s=2)) == 3
    with pytest.raises(Unavailable):
        attempts.delay_after(failure())
    with pytest.raises(FoundryError):
        Attempts(10).delay_after(failure(grpc.StatusCode.ABORTED, retry_s=1))


def test_a_call_is_made_at_most_four_times() -> None:
    attempts = Attempts(10, clock=lambda: 0.0, jitter=lambda: 0.0)
    for _ in range(3):
        attempts.delay_after(failure(retry_s=1))
    with pytest.raises(Unavailable):
        attempts.delay_after(failure(retry_s=1))


def test_repetitions_stay_within_the_timeout() -> None:
    now = 100.0
    attempts = Attempts(10, clock=lambda: now, jitter=lambda: 0.0)
    assert attempts.time_left() == 10
    now = 107.0
    assert attempts.delay_after(failure(retry_s=2)) == 2
    with pytest.raises(Unavailable):
        attempts.delay_after(failure(retry_s=3))
    now = 120.0
    assert attempts.time_left() == 0


# --- the contract --------------------------------------------------------------------------------------------------


def test_the_transport_repeats_only_calls_without_side_effects() -> None:
    named = {(name["service"], name["method"]) for name in service_config()["methodConfig"][0]["name"]}
    reads = {
        (method.containing_service.full_name, method.name)
        for method in METHODS
        if method.GetOptions().idempotency_level == descriptor_pb2.MethodOptions.NO_SIDE_EFFECTS
    }
    assert named == reads
    assert ("coreason.foundry.v1.ProjectService", "GetProject") in named
    assert ("coreason.foundry.v1.DraftService", "CreateDraft") not in named
    assert json.loads(dict(channel_options())["grpc.service_config"]) == service_config()


@pytest.mark.parametrize("method", METHODS, ids=lambda method: str(method.full_name))
def test_a_request_names_its_rpc(method: object) -> None:
    from google.protobuf.message_factory import GetMessageClass  # noqa: PLC0415 - only here

    service, name = method.containing_service.full_name, method.name  # type: ignore[attr-defined]
    request = GetMessageClass(method.input_type)()  # type: ignore[attr-defined]
    assert Unary(request, project_pb2.Project, lambda _: None, 1).path == f"/{service}/{name}"


def test_what_is_no_request_names_no_rpc() -> None:
    with pytest.raises(ValueError, match="Project"):
        _ = Unary(project_pb2.Project(), project_pb2.Project, lambda _: None, 1).path


#: What lives on a stream of its own is for asyncio only.
ASYNC_ONLY = {"append_log", "running", "open_logs"}


@pytest.mark.parametrize("client", ["projects", "drafts", "locks", "sessions", "audit", "comments", "runs", "exports"])
async def test_both_kinds_of_client_offer_the_same_methods(client: str) -> None:
    async with grpc.aio.insecure_channel("nowhere") as aio_channel:
        with grpc.insecure_channel("nowhere") as channel:
            ours = getattr(Foundry(aio_channel, ""), client)
            theirs = getattr(SyncFoundry(channel, ""), client)
    names = {name for name in dir(ours) if not name.startswith("_")} - ASYNC_ONLY
    assert names == {name for name in dir(theirs) if not name.startswith("_")}
    for name in names:
        assert inspect.signature(getattr(ours, name)).parameters == inspect.signature(getattr(theirs, name)).parameters
        assert "timeout" in inspect.signature(getattr(ours, name)).parameters
        assert getattr(ours, name).__doc__


# --- on a real channel ---------------------------------------------------------------------------------------------

Behaviour = Callable[[Message, grpc.aio.ServicerContext[Message, Message]], Awaitable[Message]]


@asynccontextmanager
async def serving(service: str, method: str, request: type[Message], behaviour: Behaviour) -> AsyncIterator[Foundry]:
    """A connection to a server that knows one unary method."""
    server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
    handler: grpc.RpcMethodHandler[Message, Message] = grpc.unary_unary_rpc_method_handler(
        behaviour,
        request_deserializer=request.FromString,
        response_serializer=lambda answer: answer.SerializeToString(),
    )
    name = f"coreason.foundry.v1.{service}"
    server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler(name, {method: handler})])
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        async with connect(f"127.0.0.1:{port}", lambda: "fresh-token") as foundry:
            yield foundry
    finally:
        await server.stop(None)


async def test_a_write_is_repeated_under_one_request_id() -> None:
    requests: list[Message] = []
    tokens: list[object] = []

    async def create(request: Message, context: grpc.aio.ServicerContext[Message, Message]) -> Message:
        requests.append(request)
        tokens.append(dict(context.invocation_metadata() or ()).get("authorization"))
        if len(requests) < 3:
            await context.abort_with_status(rpc_status.to_status(BUSY))
        return project_pb2.CreateProjectResponse(project=project_pb2.Project(project_id="p1"))

    async with serving("ProjectService", "CreateProject", project_pb2.CreateProjectRequest, create) as foundry:
        project = await foundry.projects.create("Triage")
    assert project.project_id == "p1"
    assert requests[0] == requests[1] == requests[2]
    assert getattr(requests[0], "request_id")  # noqa: B009 - of a message of unknown type
    assert tokens == ["Bearer fresh-token"] * 3


async def test_every_call_carries_its_deadline() -> None:
    never = asyncio.Event()

    async def get(_request: Message, context: grpc.aio.ServicerContext[Message, Message]) -> Message:
        assert context.time_remaining() < 5
        await never.wait()
        raise AssertionError

    async with serving("ProjectService", "GetProject", project_pb2.GetProjectRequest, get) as foundry:
        with pytest.raises(DeadlineExceeded):
            await foundry.projects.get("p1", timeout=0.2)


async def test_a_list_reads_page_after_page_only_as_far_as_it_is_read() -> None:
    tokens: list[str] = []

    async def members(request: Message, _context: grpc.aio.ServicerContext[Message, Message]) -> Message:
        assert isinstance(request, project_pb2.ListMembersRequest)
        assert request.page_size == 2
        tokens.append(request.page_token)
        page = [project_pb2.Member(subject=f"{len(tokens)}{letter}") for letter in "ab"]
        token = f"page {len(tokens)}" if len(tokens) < 3 else ""
        return project_pb2.ListMembersResponse(members=page, next_page_token=token)

    async with serving("ProjectService", "ListMembers", project_pb2.ListMembersRequest, members) as foundry:
        listing = foundry.projects.members("p1", page_size=2)
        assert (await anext(listing)).subject == "1a"
        assert tokens == [""]
        assert [member.subject async for member in listing] == ["1b", "2a", "2b", "3a", "3b"]
    assert tokens == ["", "page 1", "page 2"]
