"""A scripted peer on a real port: plays the server's side of ``ProjectSession`` as the contract says, and no more."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import grpc
import grpc.aio
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status

from coreason.foundry.v1 import audit_pb2, draft_pb2, lock_pb2, project_pb2, session_event_pb2, types_pb2
from coreason.foundry.v1.session_command_pb2 import SessionTouch
from coreason.foundry.v1.session_pb2 import ProjectSessionRequest, ProjectSessionResponse, ServerEvent
from foundry.client import Session

#: Nothing here takes longer than milliseconds; who waits this long waits for something that will not come.
PATIENCE_S = 5.0

_T = TypeVar("_T")


async def soon(awaitable: Awaitable[_T]) -> _T:
    """Await what must come soon."""
    async with asyncio.timeout(PATIENCE_S):
        return await awaitable


def status(
    code: grpc.StatusCode,
    reason: str = "",
    message: str = "no",
    *details: Message,
    domain: str = "foundry.coreason.ai",
    **metadata: str,
) -> status_pb2.Status:
    """A refusal as the server makes them."""
    found = status_pb2.Status(code=code.value[0], message=message)
    if reason:
        info = error_details_pb2.ErrorInfo(reason=reason, domain=domain, metadata=metadata)
        details = (info, *details)
    for detail in details:
        packed = AnyMessage()
        packed.Pack(detail)
        found.details.append(packed)
    return found


def retry_info(delay_s: float) -> error_details_pb2.RetryInfo:
    delay = Duration()
    delay.FromMilliseconds(round(delay_s * 1000))
    return error_details_pb2.RetryInfo(retry_delay=delay)


def at(sequence: int, epoch: int = 1) -> types_pb2.Position:
    return types_pb2.Position(epoch=epoch, sequence=sequence)


def lock_of(field: str, session_id: str, token: int, holder: str = "alice") -> lock_pb2.Lock:
    return lock_pb2.Lock(
        field=field, session_id=session_id, fencing_token=token, holder=types_pb2.Principal(subject=holder)
    )


def granted(field: str, session_id: str, token: int, *, head: int = 0, sequence: int = 0) -> lock_pb2.AcquiredLock:
    return lock_pb2.AcquiredLock(lock=lock_of(field, session_id, token), head_version=head, position=at(sequence))


def entry(sequence: int, actor: str = "alice", epoch: int = 1, **payload: Any) -> ServerEvent:
    return ServerEvent(
        entry=audit_pb2.LogEntry(position=at(sequence, epoch), actor=types_pb2.Principal(subject=actor), **payload)
    )


def released(
    sequence: int, field: str, session_id: str, token: int, why: lock_pb2.LockReleaseReason.ValueType
) -> ServerEvent:
    payload = audit_pb2.LockReleased(field=field, session_id=session_id, fencing_token=token, release_reason=why)
    return entry(sequence, lock_released=payload)


def acquired(sequence: int, field: str, session_id: str, token: int) -> ServerEvent:
    return entry(
        sequence, lock_acquired=audit_pb2.LockAcquired(field=field, session_id=session_id, fencing_token=token)
    )


def opened(
    session_id: str,
    attachment: session_event_pb2.Attachment.ValueType,
    sequence: int = 0,
    *,
    secret: str = "",
    heartbeat_ms: int = 50,
    silence_limit_s: int = 0,
    epoch: int = 1,
) -> ServerEvent:
    return ServerEvent(
        opened=session_event_pb2.Opened(
            session_id=session_id,
            resume_secret=secret or f"secret of {session_id}",
            attachment=attachment,
            position=at(sequence, epoch),
            heartbeat_interval=Duration(nanos=heartbeat_ms * 1_000_000),
            role=project_pb2.ROLE_EDITOR,
            limits=session_event_pb2.SessionLimits(silence_limit=Duration(seconds=silence_limit_s)),
        )
    )


def snapshot(*locks: lock_pb2.Lock, head: int = 0, fields: tuple[str, ...] = ()) -> ServerEvent:
    return ServerEvent(
        snapshot=session_event_pb2.SnapshotPage(
            project=project_pb2.Project(project_id="p1", name="Triage", head_version=head),
            locks=locks,
            fields=[draft_pb2.FieldValue(name=name, size=5) for name in fields],
            last=True,
        )
    )


def caught_up(sequence: int, epoch: int = 1) -> ServerEvent:
    return ServerEvent(caught_up=session_event_pb2.CaughtUp(position=at(sequence, epoch)))


class Peer:
    """The server's end of one stream."""

    def __init__(self, context: grpc.aio.ServicerContext[ProjectSessionRequest, ProjectSessionResponse]) -> None:
        self._context = context
        self._writing = asyncio.Lock()
        self._requests: asyncio.Queue[ProjectSessionRequest | None] = asyncio.Queue()
        self._end: asyncio.Future[status_pb2.Status | None] = asyncio.get_running_loop().create_future()
        self.authorization = str(dict(context.invocation_metadata() or ()).get("authorization"))
        self.answers_heartbeats = True
        self.heartbeats: asyncio.Queue[ProjectSessionRequest] = asyncio.Queue()

    @property
    def is_open(self) -> bool:
        """Whether neither side has ended the stream."""
        return not self._end.done()

    async def serve(self) -> None:
        reader = asyncio.create_task(self._read())
        try:
            end = await self._end
        finally:
            reader.cancel()
            self._requests.put_nowait(None)  # cancelled together with this, the reader may not have come to it
        if end is not None:
            await self._context.abort_with_status(rpc_status.to_status(end))

    async def _read(self) -> None:
        while isinstance(request := await self._context.read(), ProjectSessionRequest):
            if request.WhichOneof("command") != "heartbeat":
                self._requests.put_nowait(request)
                continue
            self.heartbeats.put_nowait(request)
            if self.answers_heartbeats:
                await self.reply(request, done=session_event_pb2.Done())
        self._requests.put_nowait(None)
        if not self._end.done():
            self._end.set_result(None)

    async def take(self, arm: str) -> ProjectSessionRequest:
        """The next command, which must be of this kind; heartbeats are no commands here."""
        request = await soon(self._requests.get())
        assert request is not None, f"the client is gone; {arm} expected"
        assert request.WhichOneof("command") == arm
        return request

    async def gone(self) -> None:
        """Wait until the client has ended the stream, without a further command."""
        assert await soon(self._requests.get()) is None

    async def send(self, *events: ServerEvent) -> None:
        """Send events in one message."""
        async with self._writing:  # grpc.aio refuses a write while another one is under way
            await soon(self._context.write(ProjectSessionResponse(events=events)))

    async def reply(self, request: ProjectSessionRequest, **result: Any) -> None:
        await self.send(ServerEvent(reply=session_event_pb2.Reply(command_id=request.command_id, **result)))

    def end(self, with_status: status_pb2.Status | None = None) -> None:
        """End the stream, with OK when there is no status."""
        self._end.set_result(with_status)

    def break_off(self) -> None:
        """End it as a broken connection does: UNAVAILABLE, without details."""
        self.end(status(grpc.StatusCode.UNAVAILABLE))

    async def welcome(self, session_id: str = "s1", *locks: lock_pb2.Lock, head: int = 0, sequence: int = 0) -> None:
        """Let a new session in with a snapshot."""
        await self.send(
            opened(session_id, session_event_pb2.ATTACHMENT_SNAPSHOT, sequence),
            snapshot(*locks, head=head),
            caught_up(sequence),
        )

    async def welcome_back(self, session_id: str, sequence: int, *missed: ServerEvent, secret: str = "") -> None:
        """Let a session resume."""
        attachment = session_event_pb2.ATTACHMENT_RESUMED
        await self.send(opened(session_id, attachment, sequence, secret=secret), *missed, caught_up(sequence))

    async def replace(self, session_id: str, sequence: int, *missed: ServerEvent) -> None:
        """Let a new session take the place of one that could not be resumed."""
        attachment = session_event_pb2.ATTACHMENT_REPLAYED
        await self.send(opened(session_id, attachment, sequence), *missed, caught_up(sequence))


class ScriptedServer:
    """Hands every stream to the test."""

    def __init__(self) -> None:
        self.target = ""
        self._accepted: asyncio.Queue[Peer] = asyncio.Queue()

    async def ProjectSession(
        self, _requests: object, context: grpc.aio.ServicerContext[ProjectSessionRequest, ProjectSessionResponse]
    ) -> None:
        peer = Peer(context)
        self._accepted.put_nowait(peer)
        await peer.serve()

    async def accept(self) -> Peer:
        """The next stream."""
        return await soon(self._accepted.get())

    async def accept_open(self) -> tuple[Peer, ProjectSessionRequest]:
        """The next stream and its ``open``."""
        peer = await self.accept()
        return peer, await peer.take("open")

    def no_further_stream(self) -> bool:
        return self._accepted.empty()


@asynccontextmanager
async def scripted_server() -> AsyncIterator[ScriptedServer]:
    scripted = ScriptedServer()
    server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
    handler = grpc.stream_stream_rpc_method_handler(
        scripted.ProjectSession,
        request_deserializer=ProjectSessionRequest.FromString,
        response_serializer=ProjectSessionResponse.SerializeToString,
    )
    service = grpc.method_handlers_generic_handler("coreason.foundry.v1.SessionService", {"ProjectSession": handler})
    server.add_generic_rpc_handlers([service])
    scripted.target = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    await server.start()
    try:
        yield scripted
    finally:
        await server.stop(None)


@asynccontextmanager
async def entered(scripted: ScriptedServer, session: Session) -> AsyncIterator[Peer]:
    """A session that is open as ``s1`` at position 7, head 3; let go of without a clean leave."""
    opening = asyncio.create_task(session.__aenter__())
    peer, _open = await scripted.accept_open()
    await peer.welcome("s1", head=3, sequence=7)
    await soon(opening)
    try:
        yield peer
    finally:
        await session._link.stop()


async def nothing_more_is_asked(session: Session, peer: Peer) -> None:
    """What a session has made of all that came before is none of the server's business."""
    touching = asyncio.create_task(
        session._link.command(lambda: ProjectSessionRequest(touch=SessionTouch()), PATIENCE_S)
    )
    await peer.reply(await peer.take("touch"), touched=lock_pb2.Lock())
    await soon(touching)
