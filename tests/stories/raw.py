"""A ``ProjectSession`` stream by hand: nothing is sent, read or repeated but by the test."""

from __future__ import annotations

import asyncio
import contextlib
from itertools import count
from typing import TYPE_CHECKING, Any

import grpc
from google.protobuf.duration_pb2 import Duration

from coreason.foundry.v1 import session_command_pb2, session_pb2, session_pb2_grpc
from foundry.client import from_rpc_error, from_status
from foundry.client.live.reader import Reader

if TYPE_CHECKING:
    from collections.abc import Callable

    from coreason.foundry.v1.session_event_pb2 import Opened, Reply
    from coreason.foundry.v1.session_pb2 import ProjectSessionResponse, ServerEvent

#: Bound on every wait for an event, seconds.
PATIENCE_S = 60.0


async def pause(seconds: float) -> None:
    """Let real time pass, by the loop's clock."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await asyncio.Event().wait()


class RawStream:
    """One stream.

    Attributes:
        opened: How it came in.
        seen: All events read so far, but for replies.
    """

    opened: Opened

    def __init__(self, channel: grpc.aio.Channel, token: str) -> None:
        stub: Any = session_pb2_grpc.SessionServiceStub(channel)
        self._call = stub.ProjectSession(metadata=(("authorization", f"Bearer {token}"),))
        self._messages: Reader[ProjectSessionResponse] = Reader(self._call)
        self._ids = count(1)
        self._read: list[ServerEvent] = []
        self.seen: list[ServerEvent] = []

    @property
    def session_id(self) -> str:
        """Id of its session."""
        return self.opened.session_id

    async def open(
        self, project_id: str, *, tab_id: str = "", grace_s: int = 0, resume: tuple[str, str] | None = None
    ) -> None:
        """Open or resume a session and read until it is caught up.

        Raises:
            FoundryError: It was refused.
        """
        wanted = session_command_pb2.Open(
            project_id=project_id, tab_id=tab_id, disconnect_grace=Duration(seconds=grace_s)
        )
        if resume:
            wanted.resume.session_id, wanted.resume.resume_secret = resume
        await self.send(open=wanted)
        self.opened = (await self.until(lambda event: event.HasField("opened"))).opened
        await self.until(lambda event: event.HasField("caught_up"))

    async def send(self, **command: Any) -> int:
        """Send a command; returns its id. When the stream is over, who reads is told."""
        number = next(self._ids)
        with contextlib.suppress(grpc.aio.AioRpcError, asyncio.InvalidStateError):
            await self._call.write(session_pb2.ProjectSessionRequest(command_id=number, **command))
        return number

    async def ask(self, **command: Any) -> Reply:
        """Send a command and return its reply.

        Raises:
            FoundryError: It was refused.
        """
        number = await self.send(**command)
        reply = (await self._next(lambda event: event.reply.command_id == number)).reply
        if reply.HasField("error"):
            raise from_status(reply.error)
        return reply

    async def until(self, matches: Callable[[ServerEvent], bool], *, since: int = 0) -> ServerEvent:
        """The first event that matches, among those seen from ``since`` on and those to come.

        Raises:
            FoundryError: The stream ended first.
        """
        for event in self.seen[since:]:
            if matches(event):
                return event
        return await self._next(matches)

    async def ended(self) -> None:
        """Read to the end.

        Raises:
            FoundryError: How it ended, unless well.
        """
        with contextlib.suppress(EOFError):
            await self._next(lambda _: False)

    def drop(self) -> None:
        """Break the stream without a word."""
        self._call.cancel()

    async def _next(self, matches: Callable[[ServerEvent], bool]) -> ServerEvent:
        async with asyncio.timeout(PATIENCE_S):
            while True:
                while self._read:
                    event = self._read.pop(0)
                    if not event.HasField("reply"):
                        self.seen.append(event)
                    if matches(event):
                        return event
                self._read += await self._message()

    async def _message(self) -> list[ServerEvent]:
        try:
            message = await self._messages.read()
        except grpc.aio.AioRpcError as error:
            raise from_rpc_error(error) from error
        if message is None:
            raise EOFError
        return list(message.events)
