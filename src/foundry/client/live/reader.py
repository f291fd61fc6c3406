"""The reading side of a call with streams both ways: every message, and then how the server ended it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any, Generic, TypeVar

import grpc
import grpc.aio

_ResponseT = TypeVar("_ResponseT")

#: What grpc.aio calls the end of a call on which a write failed.
_HIDING = "Internal error from Core"
#: Seconds after the last message within which the server's status must have come; it is a turn of the loop or two.
_STATUS_S = 1.0
_LOOK_INTERVAL_S = 0.005


class Reader(Generic[_ResponseT]):
    """Reads a running call to its end, also when a write failed because the call had just ended.

    Such a write sets the call's status to INTERNAL, which hides what the server said: for good if that has come, until
    it comes if it has not; and ``call.read`` then gives up, with messages unread (grpc#36066). So messages are iterated
    over, which goes on to the last, the status is noted when it is set first, and awaited if that was the hiding one.
    """

    def __init__(self, call: grpc.aio.StreamStreamCall[Any, _ResponseT]) -> None:
        self._call = call
        self._messages: AsyncIterator[_ResponseT] = aiter(call)
        self._first: grpc.aio.AioRpcError | None = None
        call.add_done_callback(self._note)

    async def read(self) -> _ResponseT | None:
        """Return the next message, or None when the server ended the call with OK.

        Only one task may read, and only one may write: of two concurrent writes gRPC refuses one, and the call neither
        goes on nor ends. Nobody may put a timeout around it: a cancelled read ends the call. Nor is there anything to
        read after that.

        Raises:
            grpc.aio.AioRpcError: The call ended otherwise; its status is the server's.
            asyncio.CancelledError: This task or the call was cancelled.
        """
        try:
            return await anext(self._messages)
        except (StopAsyncIteration, grpc.aio.AioRpcError):
            status = await self._ending()
        if status.code() is not grpc.StatusCode.OK:
            raise status
        return None

    async def _ending(self) -> grpc.aio.AioRpcError:
        status = self._first or await _status(self._call)
        loop = asyncio.get_running_loop()
        until_s = loop.time() + _STATUS_S
        while _is_hiding(status) and loop.time() < until_s:
            await asyncio.sleep(_LOOK_INTERVAL_S)  # gRPC tells nobody when it sets a status anew
            status = await _status(self._call)
        return status

    def _note(self, _call: object) -> None:
        # The next turn of the loop may be too late. There is nothing to wait for: the call has its status by now.
        asking = _status(self._call)
        try:
            asking.send(None)
        except StopIteration as told:
            self._first = told.value
        finally:
            asking.close()


def _is_hiding(status: grpc.aio.AioRpcError) -> bool:
    return status.code() is grpc.StatusCode.INTERNAL and status.details() == _HIDING


async def _status(call: grpc.aio.Call) -> grpc.aio.AioRpcError:
    """The status of an ended call, as the error that it is unless it is OK."""
    return grpc.aio.AioRpcError(
        await call.code(),
        await call.initial_metadata(),
        await call.trailing_metadata(),
        details=await call.details(),
        debug_error_string=await call.debug_error_string(),  # type: ignore[attr-defined]  # left out of the stubs
    )
