"""One producer of a run's console, over all its streams."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Final, Self, TypeAlias

import grpc.aio
from google.protobuf.timestamp_pb2 import Timestamp

from coreason.foundry.v1 import run_pb2 as pb
from foundry.client.calls import TIMEOUT_S, path_of
from foundry.client.channel import Token, authorization
from foundry.client.console.backlog import Backlog
from foundry.client.console.comeback import Comeback
from foundry.client.console.lines import lines_of
from foundry.client.errors import DeadlineExceeded, FoundryError, Internal
from foundry.client.live.stream import Stream

_log: Final = logging.getLogger(__name__)

#: How long who is cancelled, or the end of the stream, is waited for, seconds.
_PARTING_S: Final = 5.0

_Stream: TypeAlias = Stream[pb.AppendRunLogRequest, pb.AppendRunLogResponse]

#: Starts an AppendRunLog call with the token of now.
StartAppend: TypeAlias = Callable[[], grpc.aio.StreamStreamCall[pb.AppendRunLogRequest, pb.AppendRunLogResponse]]


def append_call(channel: grpc.aio.Channel, token: Token) -> StartAppend:
    """Return what starts an AppendRunLog call on a channel."""
    rpc: Any = channel.stream_stream(
        path_of(pb.AppendRunLogRequest.DESCRIPTOR),
        request_serializer=pb.AppendRunLogRequest.SerializeToString,
        response_deserializer=pb.AppendRunLogResponse.FromString,
    )
    return lambda: rpc(metadata=authorization(token))


class RunLogWriter:
    """Writes to the console of a run. Used with ``async with``; it belongs to one event loop.

    Lines are numbered here and sent as soon as nothing is on its way, else with those that come within 20 ms. They are
    kept until the server has stored them: after a break the writer comes back by itself and goes on behind the last
    stored line. Leaving the block waits until everything is stored. Several tasks may write; each line stays whole.

    Attributes:
        run_id: The run.
    """

    def __init__(self, start: StartAppend, project_id: str, run_id: str, *, comeback: Comeback, timeout: float) -> None:
        """Args: as for ``RunClient.append_log``; start starts a call, comeback says when to do that again."""
        self.run_id = run_id
        self._start = start
        self._first = pb.AppendRunLogRequest(project_id=project_id, run_id=run_id)
        self._comeback = comeback
        self._timeout = timeout
        self._backlog = Backlog()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._task: asyncio.Task[None] | None = None
        self._is_ending = False
        self._failure: FoundryError | None = None
        self._break: FoundryError | None = None
        #: Replaced whenever it is set: something was stored, or failed.
        self._moved = asyncio.Event()
        #: There is something to send earlier than the sender thinks.
        self._stir = asyncio.Event()
        # Of the current stream:
        self._stream: _Stream | None = None
        self._serves_since: float | None = None

    # --- from outside -------------------------------------------------------------------------------------------

    @property
    def next_line(self) -> int:
        """Number that the next line will get, from 1."""
        return self._backlog.next_line

    @property
    def stored_lines(self) -> int:
        """How many lines of the console are stored for certain, by whomever."""
        return self._backlog.stored

    @property
    def error(self) -> FoundryError | None:
        """Why no more lines can be stored; None while they can."""
        return self._failure

    async def write(
        self,
        text: str | bytes,
        *,
        stream: pb.LogStream.ValueType = pb.LOG_STREAM_STDOUT,
        time: datetime | None = None,
    ) -> None:
        """Write one line or several; waits only while 20,000 lines or 8 MiB are not stored yet.

        Args:
            text: The lines; a line feed at the end is not needed and begins no further line. A line over 64 KiB becomes
                several that are marked ``partial``. What is no UTF-8 is written as backslash escapes.
            stream: Where they came out.
            time: When, with a time zone; None for now.

        Raises:
            FoundryError: What the server refused; the lines that were not stored are lost.
            DeadlineExceeded: Nothing was stored for too long.
            RuntimeError: The writer was not entered, or is closed.
        """
        loop = self._loop
        if loop is None or self._is_ending:
            raise RuntimeError("a console is written to inside of `async with`")
        came = Timestamp()
        came.FromDatetime((time or datetime.now(UTC)).astimezone(UTC))
        for line in lines_of(text):
            if self._failure is not None:
                raise self._failure
            if self._backlog.is_full:
                await self._until(lambda: not self._backlog.is_full)
            nothing_waited = self._backlog.due_s(0.0) is None
            self._backlog.add(line, stream, came, loop.time())
            if self._backlog.has_batch:
                self._stir.set()
                await asyncio.sleep(0)  # who writes without a pause would keep the sender from sending
            elif nothing_waited:
                self._stir.set()

    async def flush(self) -> None:
        """Wait until everything that was written is stored.

        Raises:
            FoundryError: What the server refused.
            DeadlineExceeded: Nothing was stored for too long.
        """
        last = self._backlog.next_line
        await self._until(lambda: self._backlog.stored >= last - 1)

    async def until_error(self) -> None:
        """Wait until no more lines can be stored, and raise why; returns when the writer is closed before.

        For who waits for the next line to write, and would not learn otherwise that nobody takes it any more.

        Raises:
            FoundryError: What the server refused.
        """
        if self._task is not None:
            await asyncio.wait({self._task})
        if self._failure is not None:
            raise self._failure

    async def close(self) -> None:
        """Wait until everything is stored and end the stream; does nothing when it is closed.

        Raises:
            FoundryError: What the server refused.
            DeadlineExceeded: Nothing was stored for too long.
        """
        if self._is_ending or self._task is None:
            return
        try:
            await self.flush()
        finally:
            self._is_ending = True
            if self._stream is not None and self._serves_since is not None and not len(self._backlog):
                self._stream.finish()
                await asyncio.wait({self._task}, timeout=_PARTING_S)
            await self.stop()

    async def stop(self) -> None:
        """Let go of it: what is not stored is lost."""
        self._is_ending = True
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait({self._task})

    async def __aenter__(self) -> Self:
        if self._task is not None:
            raise RuntimeError("a writer is entered once; ask for a new one")
        self._loop = asyncio.get_running_loop()
        self._task = self._loop.create_task(self._run())
        try:
            await self._until(lambda: self._serves_since is not None, within_s=min(self._timeout, TIMEOUT_S))
        except DeadlineExceeded as nothing:
            why = self._break or nothing
            await self.stop()
            raise why from None
        except BaseException:
            await self.stop()
            raise
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if exc is None:
            await self.close()
        else:  # what was written before something failed is what people will look for
            within_s = self._timeout if isinstance(exc, Exception) else _PARTING_S
            with contextlib.suppress(FoundryError, TimeoutError):
                async with asyncio.timeout(within_s):
                    await self.close()

    async def _until(self, is_done: Callable[[], bool], *, within_s: float | None = None) -> None:
        """Wait for something that is done by what is stored; gives up when nothing is stored for too long."""
        within_s = self._timeout if within_s is None else within_s
        while not is_done():
            if self._failure is not None:
                raise self._failure
            try:
                async with asyncio.timeout(within_s):
                    await self._moved.wait()
            except TimeoutError:
                raise DeadlineExceeded(message=f"no answer within {within_s:g} s") from self._break

    # --- streams ------------------------------------------------------------------------------------------------

    async def _run(self) -> None:
        """Open stream after stream until the writer is closed."""
        try:
            while True:
                error, lasted_s = await self._attach()
                self._break = error
                if self._is_ending:
                    break
                delay_s = self._comeback.delay_after(error, lasted_s=lasted_s)
                _log.info("stream of the console of run %s ended: %s; next in %.2f s", self.run_id, error, delay_s)
                await asyncio.sleep(delay_s)
        except FoundryError as error:
            self._failure = error
        except Exception as error:  # noqa: BLE001 - a defect, or the token's: nobody shall wait for ever because of it
            _log.exception("the console writer of run %s failed", self.run_id)
            self._failure = Internal(message=f"the client failed: {error!r}")
        finally:
            self._move()

    async def _attach(self) -> tuple[FoundryError | None, float]:
        """Open a stream and follow it to its end; returns why it ended, None for OK, and how long it served."""
        self._stream = stream = Stream(self._start())
        stream.send(self._first)
        error: FoundryError | None = None
        try:
            while (answer := await stream.read()) is not None:
                self._receive(stream, answer.next_line)
        except FoundryError as raised:
            error = raised
        finally:
            lasted_s = self._lasted_s()
            self._serves_since = None
            await stream.close()
        return error, lasted_s

    def _lasted_s(self) -> float:
        """For how long the stream has served, seconds."""
        return asyncio.get_running_loop().time() - self._serves_since if self._serves_since is not None else 0.0

    def _receive(self, stream: _Stream, next_line: int) -> None:
        """Take in that all lines before one are stored."""
        if self._serves_since is None:  # the answer to the first, empty message: where to go on
            self._backlog.begin(next_line)
            self._comeback.attached()
            self._break = None
            self._serves_since = stream.heard_time
            stream.spawn(self._send(stream))
        else:
            self._backlog.drop_before(next_line)
        self._move()
        self._stir.set()

    async def _send(self, stream: _Stream) -> None:
        """Send what waits: at once while nothing is on its way, else when it is a message's worth, or 20 ms old."""
        loop = asyncio.get_running_loop()
        while True:
            self._stir.clear()
            due_s = self._backlog.due_s(loop.time())
            if due_s == 0.0:
                for lines in self._backlog.batches():
                    stream.send(pb.AppendRunLogRequest(lines=lines))
                continue
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(due_s):
                    await self._stir.wait()

    def _move(self) -> None:
        self._moved.set()
        self._moved = asyncio.Event()
