"""A server and its callers, who send what no SDK would: requests as they are, or plain bytes."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any, Final

import grpc
from google.protobuf import descriptor_pb2
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from coreason.foundry.v1 import (
    audit_pb2,
    comment_pb2,
    draft_pb2,
    export_pb2,
    lock_pb2,
    project_pb2,
    run_pb2,
)
from foundry.client import Foundry, connect
from foundry.client.live.reader import Reader
from foundry.rpc.server import SERVICES
from tests import backends
from tests.service.refusals import Refused
from tests.support import PATIENCE_S, RunningServer, open_channel

METHODS: Final = [method for service in SERVICES for method in service.methods]
UNARY: Final = [method for method in METHODS if not (method.client_streaming or method.server_streaming)]
#: All whose first message names a project, or none: `open` stands between ProjectSession and its project.
CALLS: Final = [method for method in METHODS if method.name != "ProjectSession"]
MUTATING: Final = [
    method for method in CALLS if method.GetOptions().idempotency_level != descriptor_pb2.MethodOptions.NO_SIDE_EFFECTS
]
_BY_REQUEST: Final = {method.input_type.full_name: method for method in METHODS}

#: Answers are larger than the 4 MiB that gRPC takes by default.
_ANSWER_BYTES_MAX: Final = 16 * 1024 * 1024

#: Everything but what is counted in the background.
_EVENTS: Final = [
    field.name
    for field in audit_pb2.LogEntry.DESCRIPTOR.oneofs_by_name["payload"].fields
    if field.name != "lock_denied"
]


def path(method: MethodDescriptor) -> str:
    """A method as HTTP/2 names it."""
    return f"/{method.containing_service.full_name}/{method.name}"


def names(methods: list[MethodDescriptor]) -> list[str]:
    """For the ids of generated tests."""
    return [method.name for method in methods]


class Caller:
    """Somebody with a token, on a connection of their own."""

    def __init__(self, channel: grpc.aio.Channel, metadata: tuple[tuple[str, str], ...], foundry: Foundry) -> None:
        self.channel = channel
        self.metadata = metadata
        self.foundry = foundry

    async def call(self, request: Message) -> Any:
        """Make the call that a request belongs to; its answer, of a stream the first one; raises ``Refused``."""
        method = _BY_REQUEST[request.DESCRIPTOR.full_name]
        answer = await self.knock(method, request.SerializeToString())
        return GetMessageClass(method.output_type).FromString(answer)

    async def send(self, method: str, data: bytes) -> bytes:
        """Send bytes to a unary method and return the bytes of the answer; raises ``Refused``."""
        rpc: Any = self.channel.unary_unary(method)
        try:
            answer: bytes = await rpc(data, metadata=self.metadata, timeout=PATIENCE_S)
        except grpc.aio.AioRpcError as error:
            raise Refused(error) from None
        return answer

    async def knock(self, method: MethodDescriptor, data: bytes) -> bytes:
        """Send one message to a method, unary or not, and return the first answer; raises ``Refused``."""
        if not (method.client_streaming or method.server_streaming):
            return await self.send(path(method), data)
        call = self._stream(method, data)
        reader = Reader[bytes](call)
        try:
            if method.client_streaming:
                with contextlib.suppress(grpc.aio.AioRpcError, asyncio.InvalidStateError):  # the reader has the status
                    await call.write(data)
            answer = await reader.read()
        except grpc.aio.AioRpcError as error:
            raise Refused(error) from None
        finally:
            call.cancel()
        assert answer is not None
        return answer

    def _stream(self, method: MethodDescriptor, data: bytes) -> Any:
        options: dict[str, Any] = {"metadata": self.metadata, "timeout": PATIENCE_S}
        if method.client_streaming:
            bidirectional: Any = self.channel.stream_stream(path(method))
            return bidirectional(**options)
        answering: Any = self.channel.unary_stream(path(method))
        return answering(data, **options)

    async def answers(self, request: Message) -> list[Any]:
        """All that a server-streaming method answers to a request; raises ``Refused``."""
        method = _BY_REQUEST[request.DESCRIPTOR.full_name]
        kind = GetMessageClass(method.output_type)
        try:
            return [kind.FromString(data) async for data in self._stream(method, request.SerializeToString())]
        except grpc.aio.AioRpcError as error:
            raise Refused(error) from None

    def session(self, project_id: str, **options: Any) -> Any:
        """A live session, to be entered."""
        return self.foundry.session(project_id, **options)

    async def save(self, project_id: str, base_version: int = 0, /, **texts: str) -> draft_pb2.Draft:
        """Save texts by field, without a session; returns the new version."""
        changes = [draft_pb2.FieldChange(field=field, text=text) for field, text in texts.items()]
        request = draft_pb2.CreateDraftRequest(project_id=project_id, changes=changes, base_version=base_version)
        answer: draft_pb2.CreateDraftResponse = await self.call(request)
        return answer.draft


@dataclass(frozen=True)
class State:
    """All there is to change in a project: itself, its members, its locks, its comments, its runs, its log."""

    parts: tuple[bytes, ...]
    leaves: tuple[bytes, ...]

    @property
    def entries(self) -> int:
        """How many entries its log has, without those that are counted in the background."""
        return len(self.leaves)


class House:
    """A running server and those who call it; projects belong to ``olga``."""

    def __init__(self, server: RunningServer) -> None:
        self.server = server
        self._callers: dict[str, Caller] = {}

    def caller(self, subject: str, **token: Any) -> Caller:
        """Somebody; the same options give the same caller."""
        key = f"{subject} {token}"
        if key not in self._callers:
            foundry = connect(self.server.address, self.server.token(subject, **token))
            self._callers[key] = Caller(self._channel(), self.server.metadata(subject, **token), foundry)
        return self._callers[key]

    def caller_at(self, number: int, subject: str) -> Caller:
        """Somebody who calls one of the servers only, by its number; where there is one, that."""
        addresses = self.server.address.split(",")
        address = addresses[number % len(addresses)]
        key = f"{subject} at {number}"
        if key not in self._callers:
            foundry = connect(address, self.server.token(subject))
            self._callers[key] = Caller(open_channel(address), self.server.metadata(subject), foundry)
        return self._callers[key]

    def bearing(self, *metadata: tuple[str, str]) -> Caller:
        """Somebody with call metadata of a test's own making."""
        key = f"{metadata}"
        if key not in self._callers:
            self._callers[key] = Caller(self._channel(), metadata, connect(self.server.address, ""))
        return self._callers[key]

    def _channel(self) -> grpc.aio.Channel:
        return open_channel(self.server.address, max_receive_message_length=_ANSWER_BYTES_MAX)

    @property
    def olga(self) -> Caller:
        """The owner of all projects."""
        return self.caller("olga", name="Olga O.")

    async def project(self, policy: project_pb2.Policy | None = None, /, **roles: project_pb2.Role.ValueType) -> str:
        """A new project of ``olga`` with members by subject; returns its id."""
        request = project_pb2.CreateProjectRequest(name="Oncology Protocol Agent", policy=policy)
        project_id: str = (await self.olga.call(request)).project.project_id
        for subject, role in roles.items():
            await self.olga.call(project_pb2.SetMemberRequest(project_id=project_id, subject=subject, role=role))
        return project_id

    async def state(self, project_id: str) -> State:
        """What a project is now, as its owner sees it."""
        call = self.olga.call
        project = await call(project_pb2.GetProjectRequest(project_id=project_id))
        members = await call(project_pb2.ListMembersRequest(project_id=project_id, page_size=1000))
        locks = await call(lock_pb2.ListLocksRequest(project_id=project_id, page_size=1000))
        comments = await call(comment_pb2.ListCommentsRequest(project_id=project_id, page_size=1000))
        runs = await call(run_pb2.ListRunsRequest(project_id=project_id, page_size=1000))
        log = await call(audit_pb2.ListEntriesRequest(project_id=project_id, page_size=1000, events=_EVENTS))
        assert not any(page.next_page_token for page in (log, comments, runs))
        seen = (project, members, locks, comments, runs)
        parts = tuple(message.SerializeToString(deterministic=True) for message in seen)
        return State(parts, tuple(entry.leaf for entry in log.entries))

    @contextlib.asynccontextmanager
    async def unchanged(self, project_id: str) -> AsyncIterator[None]:
        """Whatever happens inside changes nothing: no version, no lock, no member, no entry of the log."""
        before = await self.state(project_id)
        yield
        assert await self.state(project_id) == before

    async def freeze(self, project_id: str, version: int = 1) -> export_pb2.Freeze:
        """Freeze a project at its newest version, for ever."""
        request = export_pb2.RequestFreezeRequest(project_id=project_id, expected_version=version, reason="released")
        answer: export_pb2.RequestFreezeResponse = await self.olga.call(request)
        return answer.freeze

    def put_in_review(self, project_id: str, *, back: bool = False) -> None:
        """Put a project under review, or back to work, behind the server's back, as long as no RPC does."""
        self.execute("UPDATE head SET state = ? WHERE log = ?", ("ACTIVE" if back else "IN_REVIEW", project_id))

    def execute(self, statement: str, *rows: tuple[object, ...]) -> list[tuple[Any, ...]]:
        """Run a statement in the server's database behind its back, for each row of parameters; what it finds."""
        return backends.current.execute(self.server.data_dir, statement, *rows)

    def guards_refuse(self, statement: str, *rows: tuple[object, ...]) -> None:
        """Try a statement behind the server's back: the database itself refuses it."""
        with backends.current.guard_refuses():
            self.execute(statement, *rows)

    def writes_blocked(self) -> contextlib.AbstractContextManager[None]:
        """Nobody can write to any project meanwhile."""
        return backends.current.writes_blocked(self.server.data_dir)

    async def close(self) -> None:
        """Hang up."""
        for caller in self._callers.values():
            await caller.foundry.close()
            await caller.channel.close()


@contextlib.asynccontextmanager
async def housed(server: RunningServer) -> AsyncIterator[House]:
    """A house around a server."""
    house = House(server)
    try:
        yield house
    finally:
        await house.close()
