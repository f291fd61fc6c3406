"""One ``AppendRunLog`` stream: what comes in while lines are being stored is stored together with the next ones.

So a client that sends every line by itself is stored as fast as one that gathers them, and is held back, by not being
read, when it sends more than can be stored.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Any, Final

import grpc

from coreason.foundry.v1 import run_pb2 as pb
from foundry.domain.errors import FoundryError, GoingAway, InvalidArgument, RunFinished, Unauthenticated
from foundry.domain.run import RunState
from foundry.rpc.calls import readable

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from foundry.clock import Clock
    from foundry.domain.principal import Caller
    from foundry.domain.run import LogLine
    from foundry.managers.feed import Feed
    from foundry.managers.runs import RunManager
    from foundry.rpc.calls import Context

#: Text that may wait to be stored; beyond it the client is not read.
_WAITING_BYTES_MAX: Final = 4 * 1024 * 1024
#: A transaction costs as much as a hundred lines: those of a client that sends them one by one, without waiting for
#: answers, are gathered for this long, or until they are so many bytes.
_LINGER_S: Final = 0.01
_GATHERED_BYTES: Final = 64 * 1024
#: Messages are joined up to this many lines: others wait while they are written, some milliseconds.
_STORED_AT_ONCE: Final = 2_000
#: What a line takes beside its text.
_LINE_BYTES: Final = 32


class Producer:
    """One stream.

    Args:
        read_lines: Checks the lines of a message.
        drain_s: A client that is sent away comes back at a random time within this span.
    """

    def __init__(
        self,
        context: Context,
        caller: Caller,
        runs: RunManager,
        feed: Feed,
        clock: Clock,
        *,
        read_lines: Callable[[Sequence[pb.LogLine]], list[LogLine]],
        drain_s: float,
    ) -> None:
        self._context = context
        self._caller = caller
        self._runs = runs
        self._feed = feed
        self._clock = clock
        self._read_lines = read_lines
        self._drain_s = drain_s
        self._waiting: deque[list[LogLine]] = deque()
        self._waiting_bytes = 0
        self._stored_s = float("-inf")
        self._storing = False
        self._sends_on = False  # without waiting for the answer to what it sent before
        self._news = asyncio.Event()
        self._room = asyncio.Event()
        self._ended = False
        self._leaving = False
        self._cancelled: FoundryError | None = None
        self._error: Exception | None = None
        self._project_id = ""
        self._run_id = ""
        self._watches = False

    async def serve(self) -> FoundryError | None:
        """Store until the client has no more. Returns how the stream ends; None is well."""
        reading = asyncio.create_task(self._read())
        try:
            while True:
                await self._news.wait()
                self._news.clear()
                while self._waiting:
                    await self._gather()
                    self._storing, self._sends_on = True, False
                    await self._store()
                    self._storing, self._stored_s = False, asyncio.get_running_loop().time()
                if self._cancelled:
                    return self._cancelled
                if self._leaving:
                    return GoingAway(self._drain_s)
                if self._error:
                    raise self._error
                if self._ended:
                    return None
        finally:
            reading.cancel()
            if self._watches:
                self._feed.unwatch(self._project_id)

    def leave(self) -> None:
        """End the stream once what waits is stored: the server leaves."""
        self._leaving = True
        self._news.set()

    def run_cancelled(self, run_id: str) -> None:
        """End the stream if it is about this run: nobody wants its lines any more."""
        if run_id == self._run_id:
            self._cancelled = RunFinished(run_id, RunState.CANCELLED.value)
            self._news.set()

    # --- in ---

    async def _read(self) -> None:
        try:
            while not self._leaving:
                message: Any = await self._context.read()
                if message is grpc.aio.EOF:
                    break
                self._take(readable(message))
                while self._waiting_bytes > _WAITING_BYTES_MAX:
                    self._room.clear()
                    await self._room.wait()
        except Exception as error:  # noqa: BLE001 - told once what came before is stored
            self._error = error
        self._ended = True
        self._news.set()

    def _take(self, message: pb.AppendRunLogRequest) -> None:
        for name in ("project_id", "run_id"):
            known, given = getattr(self, f"_{name}"), getattr(message, name)
            if not known and not given:
                raise InvalidArgument(name, "is named by the first message")
            if known and given not in {"", known}:
                raise InvalidArgument(name, "a stream is about one run")
        self._project_id, self._run_id = self._project_id or message.project_id, self._run_id or message.run_id
        self._sends_on = self._sends_on or self._storing or bool(self._waiting)
        self._waiting.append(self._read_lines(message.lines))
        self._waiting_bytes += message.ByteSize() + _LINE_BYTES * len(message.lines)
        self._news.set()

    # --- out ---

    async def _gather(self) -> None:
        """Let lines that come one by one become many; not when the end is near."""
        left_s = self._stored_s + _LINGER_S - asyncio.get_running_loop().time()
        ending = self._ended or self._leaving or self._cancelled
        if self._sends_on and left_s > 0 and self._waiting_bytes < _GATHERED_BYTES and not ending:
            await asyncio.sleep(left_s)

    async def _store(self) -> None:
        """Store what waits, as far as it follows on, in one go."""
        if 0 < self._caller.token_expire_time_us <= self._clock.now_us():
            raise Unauthenticated("TOKEN_EXPIRED", "the call's token expired")
        if not self._watches:
            # From before the first append, which is refused when the run has ended: so no end of it is missed.
            await self._feed.watch(self._project_id)
            self._watches = True
        messages = [self._waiting.popleft()]
        count = len(messages[0])
        while self._waiting and messages[-1] and self._follows(messages[-1]) and count < _STORED_AT_ONCE:
            messages.append(self._waiting.popleft())
            count += len(messages[-1])
        if not self._waiting:
            self._waiting_bytes = 0
            self._room.set()
        try:
            next_line = await self._append([line for lines in messages for line in lines])
        except FoundryError:
            if len(messages) == 1:
                raise
            # One of them cannot be stored; those before it can.
            for lines in messages:
                next_line = await self._append(lines)
                await self._context.write(pb.AppendRunLogResponse(next_line=next_line).SerializeToString())
            return
        await self._context.write(pb.AppendRunLogResponse(next_line=next_line).SerializeToString())

    def _follows(self, lines: list[LogLine]) -> bool:
        following = self._waiting[0]
        return bool(following) and following[0].number == lines[-1].number + 1

    async def _append(self, lines: list[LogLine]) -> int:
        return await self._runs.append(self._caller, self._project_id, self._run_id, lines)
