"""Commands on session streams: locks, saves; and the ping-pong that is their floor."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import grpc

from benchmarks.floor import PONG
from benchmarks.loads.unary import TEXT, bearer, channel
from benchmarks.worker import Load
from coreason.foundry.v1 import draft_pb2, lock_pb2, session_command_pb2, session_event_pb2, session_pb2

PROJECT_SESSION = "/coreason.foundry.v1.SessionService/ProjectSession"

Command = session_pb2.ProjectSessionRequest
Frame = session_pb2.ProjectSessionResponse


class Session:
    """A session stream with one command under way at a time.

    Args:
        deserialize: Reads messages.

    Attributes:
        session_id: Empty before ``open``.
    """

    def __init__(self, address: str, token: str, deserialize: Callable[[bytes], Frame] = Frame.FromString) -> None:
        self._channel = channel(address)
        call: Any = self._channel.stream_stream(
            PROJECT_SESSION,
            request_serializer=Command.SerializeToString,
            response_deserializer=deserialize,
        )
        self.call = call(metadata=bearer(token))
        self.session_id = ""
        self._commands = 0

    async def open(self, project_id: str, after_sequence: int | None = None, *, follow_runs: bool = False) -> None:
        """Open it and read until it is live.

        Args:
            after_sequence: The last position seen, to be caught up from there.
            follow_runs: Be sent the consoles of runs.
        """
        wanted = session_command_pb2.Open(project_id=project_id, follow_runs=follow_runs)
        if after_sequence is not None:
            wanted.resume.after.epoch = 1
            wanted.resume.after.sequence = after_sequence
        self._commands += 1
        await self.call.write(Command(command_id=self._commands, open=wanted))
        while True:
            for event in (await self.read()).events:
                if event.HasField("opened"):
                    self.session_id = event.opened.session_id
                elif event.HasField("caught_up"):
                    return

    async def read(self) -> Frame:
        """The next message.

        Raises:
            ConnectionError: The stream is over.
        """
        frame = await self.call.read()
        if frame is grpc.aio.EOF:
            raise ConnectionError(f"stream ended: {await self.call.details()}")
        read: Frame = frame
        return read

    async def send(self, **arm: Any) -> int:  # noqa: ANN401 - one arm of the command
        """Send a command; returns its id."""
        self._commands += 1
        await self.call.write(Command(command_id=self._commands, **arm))
        return self._commands

    async def command(self, **arm: Any) -> session_event_pb2.Reply:  # noqa: ANN401 - as above
        """Send a command and wait for its answer; whatever else comes is dropped."""
        command_id = await self.send(**arm)
        while True:
            for event in (await self.read()).events:
                if event.reply.command_id == command_id:
                    return checked(event.reply)


def checked(reply: session_event_pb2.Reply) -> session_event_pb2.Reply:
    """The answer, if the command was not refused."""
    if reply.HasField("error"):
        raise AssertionError(f"refused: {reply.error.message}")
    return reply


class SessionLoad(Load):
    """Clients with a session each, on a connection of its own, and a field of its own: ``field_0`` and so on.

    Args:
        project_ids: The project of each client.
        tokens: Of the clients.
    """

    def __init__(self, pid: int, address: str, project_ids: list[str], tokens: list[str]) -> None:
        super().__init__(pid, len(tokens))
        self._address, self._project_ids, self._tokens = address, project_ids, tokens
        self.sessions: list[Session] = []

    async def prepare(self) -> None:
        for project_id, token in zip(self._project_ids, self._tokens, strict=True):
            session = Session(self._address, token)
            await session.open(project_id)
            self.sessions.append(session)

    async def acquire(self, client: int) -> lock_pb2.AcquiredLock:
        """Take the client's field."""
        reply = await self.sessions[client].command(
            acquire_lock=session_command_pb2.SessionAcquireLock(field=f"field_{client}")
        )
        return reply.acquired

    async def release(self, client: int, fencing_token: int) -> None:
        """Give the client's field back."""
        command = session_command_pb2.SessionReleaseLock(field=f"field_{client}", fencing_token=fencing_token)
        await self.sessions[client].command(release_lock=command)


class LockPairs(SessionLoad):
    """An operation is: acquire, wait for the grant, release, wait for the answer."""

    async def operate(self, client: int) -> None:
        acquired = await self.acquire(client)
        await self.release(client, acquired.lock.fencing_token)


class StreamSaves(SessionLoad):
    """An operation is a save on the stream under a lock that is kept, as an editor that saves while it is used."""

    async def prepare(self) -> None:
        await super().prepare()
        acquired = [await self.acquire(client) for client in range(self.clients)]
        self._fences = [grant.lock.fencing_token for grant in acquired]
        self._base = [grant.head_version for grant in acquired]
        self._saved = 0

    async def operate(self, client: int) -> None:
        self._base[client] = (await self._save(client, self._base[client])).draft.version_number

    async def _save(self, client: int, base_version: int) -> draft_pb2.CreateDraftResponse:
        self._saved += 1
        field = f"field_{client}"
        request = draft_pb2.CreateDraftRequest(
            changes=[draft_pb2.FieldChange(field=field, text=f"{self._saved} {TEXT}")],
            base_version=base_version,
            locks=[lock_pb2.LockToken(field=field, fencing_token=self._fences[client])],
            keep_locks=True,
        )
        return (await self.sessions[client].command(create_draft=request)).saved


class PingPong(Load):
    """An operation is two messages with their echoes; each client has a stream on a connection of its own.

    Args:
        size: Bytes of a message.
    """

    def __init__(self, pid: int, clients: int, address: str, size: int = 60) -> None:
        super().__init__(pid, clients)
        self._address, self._message = address, bytes(size)
        self._calls: list[Any] = []

    async def prepare(self) -> None:
        self._channels = [channel(self._address) for _ in range(self.clients)]
        for made in self._channels:
            call: Any = made.stream_stream(PONG)
            self._calls.append(call())

    async def operate(self, client: int) -> None:
        for _ in range(2):
            await self._calls[client].write(self._message)
            await self._calls[client].read()
