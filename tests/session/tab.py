"""A raw client of ``ProjectSession``: what a test sends is what goes over the wire, what it gets is what came."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import grpc
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status

from coreason.foundry.v1 import audit_pb2, draft_pb2, lock_pb2, session_command_pb2, session_event_pb2, types_pb2
from coreason.foundry.v1.session_pb2 import ProjectSessionRequest, ProjectSessionResponse, ServerEvent
from foundry.client.channel import target_of
from foundry.client.live.reader import Reader
from tests.support import PATIENCE_S, ROUND_ROBIN

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from foundry.client import Foundry
    from tests.support import RunningServer

    Options = Sequence[tuple[str, int]]

METHOD = "/coreason.foundry.v1.SessionService/ProjectSession"
#: Long enough for tests that move the server's clock by hours.
TOKEN_TTL_S = 86_400


@dataclass(frozen=True)
class Refusal:
    """How a stream ended, or why a command was refused; code OK without a reason is a good end."""

    code: grpc.StatusCode
    reason: str = ""
    metadata: tuple[tuple[str, str], ...] = ()
    retry_after_s: float | None = None

    @property
    def details(self) -> dict[str, str]:
        """The metadata of its ErrorInfo."""
        return dict(self.metadata)


def refusal(status: status_pb2.Status) -> Refusal:
    """A status with its details."""
    info, retry = error_details_pb2.ErrorInfo(), error_details_pb2.RetryInfo()
    retry_after_s = None
    for detail in status.details:
        detail.Unpack(info)
        if detail.Unpack(retry):
            retry_after_s = retry.retry_delay.ToMilliseconds() / 1000
    code = next(code for code in grpc.StatusCode if code.value[0] == status.code)
    return Refusal(code, info.reason, tuple(info.metadata.items()), retry_after_s)


class StreamOverError(Exception):
    """The stream ended before what a test waits for."""


class Tab:
    """One stream. A task reads all the time, unless told to ``pause``, and keeps every event.

    Args:
        server: Where.
        subject: Whose token to show.
        options: Channel arguments.
        token: Options of the token, as of ``mint_dev_token``.
    """

    def __init__(
        self,
        server: RunningServer,
        subject: str = "alice",
        *,
        options: Options = (),
        token: Mapping[str, Any] | None = None,
    ) -> None:
        local = ("grpc.use_local_subchannel_pool", 1)
        self._channel = grpc.aio.insecure_channel(target_of(server.address), options=[local, ROUND_ROBIN, *options])
        start: Any = self._channel.stream_stream(
            METHOD, request_serializer=_to_bytes, response_deserializer=ProjectSessionResponse.FromString
        )
        self._call = start(metadata=server.metadata(subject, **{"ttl_seconds": TOKEN_TTL_S, **(token or {})}))
        self._messages: Reader[ProjectSessionResponse] = Reader(self._call)
        self._news = asyncio.Condition()
        self._may_read = asyncio.Event()
        self._may_read.set()
        self._last_id = 0
        self._reader = asyncio.create_task(self._read())
        self.subject = subject
        self.events: list[ServerEvent] = []
        self.message_count = 0
        self.ending: Refusal | None = None
        self.opened = session_event_pb2.Opened()

    # --- reading ---

    async def _read(self) -> None:
        try:
            while True:
                await self._may_read.wait()
                message = await self._messages.read()
                if message is None:
                    self.ending = Refusal(grpc.StatusCode.OK)
                    break
                self.message_count += 1
                self.events += message.events
                await self._ring()
        except grpc.aio.AioRpcError as error:
            status = rpc_status.from_call(error)  # type: ignore[arg-type]  # it has what is asked of it
            self.ending = refusal(status) if status else Refusal(error.code())
        except asyncio.CancelledError:
            if not self._call.cancelled():
                raise
            self.ending = Refusal(grpc.StatusCode.CANCELLED)  # gRPC's way to say that this side gave up
        await self._ring()

    async def _ring(self) -> None:
        async with self._news:
            self._news.notify_all()

    def pause(self) -> None:
        """Read no more, from the next message on."""
        self._may_read.clear()

    def go_on(self) -> None:
        """Read again."""
        self._may_read.set()

    async def until(self, wanted: Callable[[ServerEvent], bool], *, since: int = 0) -> ServerEvent:
        """The first event that is wanted, among those from number ``since`` on; waits for it."""
        at = since
        async with asyncio.timeout(PATIENCE_S), self._news:
            while True:
                for event in self.events[at:]:
                    if wanted(event):
                        return event
                at = len(self.events)
                if self.ending:
                    raise StreamOverError(f"{self.subject}: {self.ending} after {self.events[-3:]}")
                await self._news.wait()

    async def until_entry(self, arm: str, *, since: int = 0, **fields: object) -> audit_pb2.LogEntry:
        """The first log entry with this payload, whose fields are such; waits for it."""

        def wanted(event: ServerEvent) -> bool:
            if event.entry.WhichOneof("payload") != arm:
                return False
            payload = getattr(event.entry, arm)
            return all(getattr(payload, name) == value for name, value in fields.items())

        return (await self.until(wanted, since=since)).entry

    async def until_presence(
        self, wanted: Callable[[session_event_pb2.PresenceUpdate], bool], *, since: int = 0
    ) -> session_event_pb2.PresenceUpdate:
        """The first presence update that is wanted; waits for it."""
        return (
            await self.until(lambda event: event.HasField("presence") and wanted(event.presence), since=since)
        ).presence

    async def ended(self) -> Refusal:
        """How the stream ended; waits for it."""
        async with asyncio.timeout(PATIENCE_S):
            await asyncio.shield(self._reader)
        assert self.ending
        return self.ending

    @property
    def kinds(self) -> list[str]:
        """What came, by the names of the arms."""
        return [str(event.WhichOneof("event")) for event in self.events]

    @property
    def entries(self) -> list[audit_pb2.LogEntry]:
        """The log entries that came."""
        return [event.entry for event in self.events if event.HasField("entry")]

    @property
    def sequences(self) -> list[int]:
        """Their sequence numbers."""
        return [entry.position.sequence for entry in self.entries]

    @property
    def position(self) -> types_pb2.Position:
        """The newest position that came with an entry or a ``caught_up``."""
        found = [event.entry.position for event in self.events if event.HasField("entry")]
        found += [event.caught_up.position for event in self.events if event.HasField("caught_up")]
        return max(found, key=lambda position: position.sequence)

    @property
    def present(self) -> dict[str, session_event_pb2.SessionPresence]:
        """Who is here, as a client folds it: a snapshot replaces, a difference of the next version is applied."""
        here: dict[str, session_event_pb2.SessionPresence] = {}
        version = -1
        for event in self.events:
            update = event.presence
            if update.snapshot:
                here.clear()
            elif not event.HasField("presence") or update.version <= version:
                continue
            else:
                assert update.version == version + 1
            version = update.version
            here |= {session.session_id: session for session in update.sessions}
            for session_id in update.gone_session_ids:
                here.pop(session_id, None)
        return here

    @property
    def session_id(self) -> str:
        """Id of the session."""
        return self.opened.session_id

    # --- writing ---

    async def send(self, message: ProjectSessionRequest | bytes) -> None:
        """Send a message, or whatever bytes. When the stream is over, ``ending`` tells how."""
        with contextlib.suppress(grpc.aio.AioRpcError, asyncio.InvalidStateError):
            async with asyncio.timeout(PATIENCE_S):
                await self._call.write(message)

    async def open(self, project_id: str, **fields: object) -> session_event_pb2.Opened:
        """Open the session and wait until it is live."""
        self._last_id += 1
        await self.send(request(self._last_id, open={"project_id": project_id, **fields}))
        await self.until(lambda event: event.HasField("caught_up"))
        self.opened = self.events[0].opened
        return self.opened

    async def reply(self, **arm: object) -> session_event_pb2.Reply:
        """Send a command and wait for its answer."""
        self._last_id += 1
        return await self.reply_to(self._last_id, request(self._last_id, **arm))

    async def reply_to(self, command_id: int, message: ProjectSessionRequest | bytes) -> session_event_pb2.Reply:
        """Send a message and wait for the next answer with this id."""
        since = len(self.events)
        await self.send(message)
        event = await self.until(lambda e: e.HasField("reply") and e.reply.command_id == command_id, since=since)
        return event.reply

    async def command(self, **arm: object) -> session_event_pb2.Reply:
        """A command that is done."""
        reply = await self.reply(**arm)
        assert not reply.HasField("error"), refusal(reply.error)
        return reply

    async def refused(self, **arm: object) -> Refusal:
        """A command that is refused; why."""
        reply = await self.reply(**arm)
        assert reply.HasField("error"), reply
        return refusal(reply.error)

    async def acquire(self, field: str = "system_prompt", **fields: object) -> lock_pb2.AcquiredLock:
        """Take a lock."""
        return (await self.command(acquire_lock={"field": field, **fields})).acquired

    async def acquire_refused(self, field: str = "system_prompt", **fields: object) -> Refusal:
        """Try to take a lock in vain."""
        return await self.refused(acquire_lock={"field": field, **fields})

    async def release(self, lock: lock_pb2.Lock) -> lock_pb2.Lock:
        """Give a lock back."""
        return (await self.command(release_lock=_token(lock))).released

    async def touch(self, lock: lock_pb2.Lock) -> lock_pb2.Lock:
        """Put off the idle release of a lock."""
        return (await self.command(touch=_token(lock))).touched

    async def save(self, got: lock_pb2.AcquiredLock, text: str, **fields: object) -> draft_pb2.CreateDraftResponse:
        """Save a text under a lock; ``got`` then knows of the new version."""
        change = {"field": got.lock.field, "text": text}
        wanted = {"changes": [change], "base_version": got.head_version, "locks": [_token(got.lock)], **fields}
        saved = (await self.command(create_draft=wanted)).saved
        got.head_version = saved.draft.version_number
        return saved

    async def show(self, **shown: str) -> None:
        """Update the presence."""
        await self.command(update_presence=shown)

    # --- ends ---

    def ticket(self) -> session_command_pb2.Resume:
        """What a client keeps to come back."""
        return session_command_pb2.Resume(
            session_id=self.session_id, resume_secret=self.opened.resume_secret, after=self.position
        )

    async def leave(self) -> Refusal:
        """End the session cleanly."""
        await self.command(leave={})
        return await self.ended()

    async def cancel(self) -> None:
        """Reset the stream."""
        self._call.cancel()
        await self.ended()

    async def half_close(self) -> None:
        """End the requests without ``leave``."""
        await self._call.done_writing()

    async def vanish(self) -> None:
        """Close the connection below the stream."""
        self._may_read.set()
        await self._channel.close()
        with contextlib.suppress(asyncio.CancelledError):
            await self.ended()


class Tabs:
    """Opens tabs of a server and closes what is left of them."""

    def __init__(self, server: RunningServer) -> None:
        self.server = server
        self._made: list[Tab] = []

    def raw(self, subject: str = "alice", *, options: Options = (), token: Mapping[str, Any] | None = None) -> Tab:
        """A stream on which nothing was sent yet."""
        tab = Tab(self.server, subject, options=options, token=token)
        self._made.append(tab)
        return tab

    async def open(
        self,
        subject: str,
        project_id: str,
        *,
        options: Options = (),
        token: Mapping[str, Any] | None = None,
        **fields: object,
    ) -> Tab:
        """A live session. Everybody has a display name: ``alice`` is ``Alice``."""
        tab = self.raw(subject, options=options, token={"name": subject.title(), **(token or {})})
        await tab.open(project_id, **fields)
        return tab

    async def close(self) -> None:
        """Close every connection."""
        await asyncio.gather(*(tab.vanish() for tab in self._made))


async def until_here(foundry: Foundry, project_id: str, *tabs: Tab) -> None:
    """Wait until these sessions, and no others, are open."""
    wanted = {tab.session_id for tab in tabs}
    async with asyncio.timeout(PATIENCE_S):
        while {session.session_id async for session in foundry.sessions.list(project_id)} != wanted:
            pass


def request(command_id: int = 0, **arm: object) -> ProjectSessionRequest:
    """A message of the client; its command as keyword arguments and dictionaries."""
    make: Any = ProjectSessionRequest  # the stubs do not know that dictionaries do
    message: ProjectSessionRequest = make(command_id=command_id, **arm)
    return message


def _token(lock: lock_pb2.Lock) -> dict[str, object]:
    return {"field": lock.field, "fencing_token": lock.fencing_token}


def _to_bytes(message: ProjectSessionRequest | bytes) -> bytes:
    return message if isinstance(message, bytes) else message.SerializeToString()
