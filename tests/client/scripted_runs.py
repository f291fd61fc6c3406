"""A scripted peer on a real port: plays the server's side of the RunService's streams, and no more."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, Generic, TypeVar

import grpc
import grpc.aio
from google.protobuf.message import Message
from google.rpc import status_pb2
from grpc_status import rpc_status

from coreason.foundry.v1 import run_pb2
from tests.client.scripted import soon, status

_RequestT = TypeVar("_RequestT", bound=Message)
_ResponseT = TypeVar("_ResponseT", bound=Message)


class StreamPeer(Generic[_RequestT, _ResponseT]):
    """The server's end of one stream."""

    def __init__(self, context: grpc.aio.ServicerContext[_RequestT, _ResponseT]) -> None:
        self._context = context
        self._requests: asyncio.Queue[_RequestT | None] = asyncio.Queue()
        self._end: asyncio.Future[status_pb2.Status | None] = asyncio.get_running_loop().create_future()
        self.authorization = str(dict(context.invocation_metadata() or ()).get("authorization"))

    def came(self, request: _RequestT | None) -> None:
        self._requests.put_nowait(request)

    async def read(self) -> None:
        """Read requests to the end of the stream, and end it as well."""
        while isinstance(request := await self._context.read(), Message):  # and not grpc.aio.EOF
            self.came(request)
        self.came(None)
        if not self._end.done():
            self._end.set_result(None)

    async def until_end(self) -> None:
        end = await self._end
        if end is not None:
            await self._context.abort_with_status(rpc_status.to_status(end))

    async def take(self) -> _RequestT:
        """The next request."""
        request = await soon(self._requests.get())
        assert request is not None, "the client has ended the stream"
        return request

    async def ended(self) -> None:
        """Wait until the client has ended the stream, without a further request."""
        assert await soon(self._requests.get()) is None

    async def send(self, response: _ResponseT) -> None:
        await soon(self._context.write(response))

    def end(self, with_status: status_pb2.Status | None = None) -> None:
        """End the stream, with OK when there is no status."""
        self._end.set_result(with_status)

    def break_off(self) -> None:
        """End it as a broken connection does: UNAVAILABLE, without details."""
        self.end(status(grpc.StatusCode.UNAVAILABLE))


AppendPeer = StreamPeer[run_pb2.AppendRunLogRequest, run_pb2.AppendRunLogResponse]
ReadPeer = StreamPeer[run_pb2.ReadRunLogRequest, run_pb2.ReadRunLogResponse]


async def store(peer: AppendPeer, next_line: int) -> None:
    """Say that every line before one is stored."""
    await peer.send(run_pb2.AppendRunLogResponse(next_line=next_line))


class ScriptedRuns:
    """Hands every stream to the test, and answers unary calls from what the test set.

    Attributes:
        run: What GetRun and StartRun answer.
        finished: The requests of FinishRun.
    """

    def __init__(self) -> None:
        self.target = ""
        self.run = run_pb2.Run(run_id="r1", project_id="p1", state=run_pb2.RUN_STATE_RUNNING)
        self.finished: list[run_pb2.FinishRunRequest] = []
        self._appends: asyncio.Queue[AppendPeer] = asyncio.Queue()
        self._reads: asyncio.Queue[ReadPeer] = asyncio.Queue()

    async def GetRun(self, request: run_pb2.GetRunRequest, _context: object) -> run_pb2.GetRunResponse:
        return run_pb2.GetRunResponse(run=self.run)

    async def StartRun(self, request: run_pb2.StartRunRequest, _context: object) -> run_pb2.StartRunResponse:
        return run_pb2.StartRunResponse(run=self.run)

    async def FinishRun(self, request: run_pb2.FinishRunRequest, _context: object) -> run_pb2.FinishRunResponse:
        self.finished.append(request)
        return run_pb2.FinishRunResponse(run=run_pb2.Run(run_id=request.run_id, state=request.state))

    async def AppendRunLog(
        self,
        _requests: object,
        context: grpc.aio.ServicerContext[run_pb2.AppendRunLogRequest, run_pb2.AppendRunLogResponse],
    ) -> None:
        peer = AppendPeer(context)
        self._appends.put_nowait(peer)
        reader = asyncio.create_task(peer.read())
        try:
            await peer.until_end()
        finally:
            reader.cancel()
            peer.came(None)

    async def ReadRunLog(
        self,
        request: run_pb2.ReadRunLogRequest,
        context: grpc.aio.ServicerContext[run_pb2.ReadRunLogRequest, run_pb2.ReadRunLogResponse],
    ) -> None:
        peer = ReadPeer(context)
        peer.came(request)
        self._reads.put_nowait(peer)
        await peer.until_end()

    async def accept_append(self, *, next_line: int) -> tuple[AppendPeer, run_pb2.AppendRunLogRequest]:
        """The next AppendRunLog stream and its first message, after telling how far the console is."""
        peer = await soon(self._appends.get())
        first = await peer.take()
        await store(peer, next_line)
        return peer, first

    async def accept_read(self) -> tuple[ReadPeer, run_pb2.ReadRunLogRequest]:
        """The next ReadRunLog stream and its request."""
        peer = await soon(self._reads.get())
        return peer, await peer.take()

    async def accept(self) -> AppendPeer:
        """The next AppendRunLog stream."""
        return await soon(self._appends.get())

    def no_further_stream(self) -> bool:
        return self._appends.empty() and self._reads.empty()


def numbers(lines: Sequence[run_pb2.LogLine]) -> list[int]:
    return [line.number for line in lines]


@asynccontextmanager
async def scripted_runs() -> AsyncIterator[ScriptedRuns]:
    scripted = ScriptedRuns()
    server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
    unary: dict[str, tuple[Any, type[Message]]] = {
        "GetRun": (scripted.GetRun, run_pb2.GetRunRequest),
        "StartRun": (scripted.StartRun, run_pb2.StartRunRequest),
        "FinishRun": (scripted.FinishRun, run_pb2.FinishRunRequest),
    }
    handlers: dict[str, grpc.RpcMethodHandler[Any, Any]] = {
        name: grpc.unary_unary_rpc_method_handler(
            behaviour,
            request_deserializer=request.FromString,
            response_serializer=lambda answer: answer.SerializeToString(),
        )
        for name, (behaviour, request) in unary.items()
    }
    streams: dict[str, grpc.RpcMethodHandler[Any, Any]] = {
        "AppendRunLog": grpc.stream_stream_rpc_method_handler(
            scripted.AppendRunLog,
            request_deserializer=run_pb2.AppendRunLogRequest.FromString,
            response_serializer=run_pb2.AppendRunLogResponse.SerializeToString,
        ),
        "ReadRunLog": grpc.unary_stream_rpc_method_handler(
            scripted.ReadRunLog,
            request_deserializer=run_pb2.ReadRunLogRequest.FromString,
            response_serializer=run_pb2.ReadRunLogResponse.SerializeToString,
        ),
    }
    service = grpc.method_handlers_generic_handler("coreason.foundry.v1.RunService", {**handlers, **streams})
    server.add_generic_rpc_handlers([service])
    scripted.target = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    await server.start()
    try:
        yield scripted
    finally:
        await server.stop(None)
