"""One call with streams both ways: its one reader, its one writer, and the tasks that live no longer than it does."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, Generic, TypeVar

import grpc
import grpc.aio
from google.protobuf.message import Message

from foundry.client.errors import Unavailable
from foundry.client.live.reader import Reader
from foundry.client.statuses import from_rpc_error

_T = TypeVar("_T")
_RequestT = TypeVar("_RequestT", bound=Message)
_ResponseT = TypeVar("_ResponseT", bound=Message)


class Stream(Generic[_RequestT, _ResponseT]):
    """A running call, such as a ProjectSession.

    Attributes:
        start_time: Loop time of the start, seconds.
        heard_time: Loop time at which the last message came, or of the start.
    """

    def __init__(self, call: grpc.aio.StreamStreamCall[_RequestT, _ResponseT]) -> None:
        self._call = call
        self._reader = Reader(call)
        self._loop = asyncio.get_running_loop()
        self._outbox: asyncio.Queue[_RequestT | None] = asyncio.Queue()
        self._tasks: set[asyncio.Task[Any]] = set()
        self._cut: BaseException | None = None
        self.start_time = self.heard_time = self._loop.time()
        self.spawn(self._write())

    def send(self, request: _RequestT) -> None:
        """Hand a message to the writer; what cannot be sent is dropped, and the reader learns why."""
        self._outbox.put_nowait(request)

    def finish(self) -> None:
        """Tell the server, after what was sent before, that no message will follow."""
        self._outbox.put_nowait(None)

    async def read(self) -> _ResponseT | None:
        """Return the next message, or None when the server ended the stream with OK.

        Only one task may read, and nobody may put a timeout around it: a cancelled read loses its message.

        Raises:
            FoundryError: The stream ended otherwise, or was cut.
        """
        try:
            response = await self._reader.read()
        except grpc.aio.AioRpcError as error:
            raise from_rpc_error(error) from error
        except asyncio.CancelledError:
            # Cancelling the call looks like cancelling this task; only the latter is to be passed on.
            task = asyncio.current_task()
            if self._cut is None or (task is not None and task.cancelling()):
                raise
            raise self._cut from None
        if response is not None:
            self.heard_time = self._loop.time()
        return response

    def spawn(self, work: Coroutine[Any, Any, _T]) -> asyncio.Task[_T]:
        """Run something until the stream ends; if it fails, the stream ends with its error."""
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._finished)
        return task

    def cut(self, why: str) -> None:
        """End the stream from this side; ``read`` raises ``Unavailable``."""
        self._fail(Unavailable(message=why))

    async def close(self) -> None:
        """End the call and its tasks."""
        self._call.cancel()
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _fail(self, why: BaseException) -> None:
        self._cut = self._cut or why
        self._call.cancel()

    def _finished(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._fail(error)

    async def _write(self) -> None:
        while True:
            request = await self._outbox.get()
            try:
                if request is None:
                    await self._call.done_writing()
                    return
                await self._call.write(request)
            except (grpc.RpcError, grpc.aio.BaseError, asyncio.InvalidStateError):
                return  # the reader has the status
