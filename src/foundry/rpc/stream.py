"""A ``ProjectSession`` stream: one task reads, one task writes, and clean-up runs in a task of its own.

What this rests on, measured on grpc.aio: a killed or cancelled client first shows as the end of the requests, exactly
like a half-close, and then one cancellation hits whatever the handler awaits next. So only ``leave`` is a clean end,
and closing the session must not run in the handler's own task. ``read()`` must never be abandoned half-way, or the next
one reports a false end.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import grpc

from coreason.foundry.v1 import session_event_pb2, session_pb2, types_pb2
from foundry.domain.errors import (
    AlreadyOpen,
    FirstMessageNotOpen,
    FoundryError,
    GoingAway,
    InvalidArgument,
    SessionEnded,
)
from foundry.domain.run import SeenLine
from foundry.domain.session import Activity, CloseReason, Position
from foundry.managers.sessions import OpenSession
from foundry.rpc import codec, validation
from foundry.rpc.calls import Unreadable
from foundry.rpc.encoding import frame
from foundry.rpc.errors import to_status

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from coreason.foundry.v1 import session_command_pb2
    from foundry.domain.principal import Caller
    from foundry.domain.session import History
    from foundry.managers.hub import SessionHub
    from foundry.managers.live import LiveSession
    from foundry.managers.locks import LockManager
    from foundry.managers.state import StateReader
    from foundry.rpc.calls import Calls, Context
    from foundry.rpc.draft import DraftServicer
    from foundry.rpc.run import RunServicer
    from foundry.settings import Liveness

Reply = session_event_pb2.Reply
Command = session_pb2.ProjectSessionRequest

#: Runs whose lines a client may say it has seen.
_RESUMED_RUNS_MAX = 100
#: Behind every line there can be; the one after it is still a 64-bit number.
_SEEN_LINE_MAX = 2**63 - 2
#: How long a stream that ends may take to deliver its last events to a client that reads.
_FAREWELL_S = 1.0


@dataclass(frozen=True, slots=True)
class StreamParts:
    """What streams need; made once."""

    hub: SessionHub
    locks: LockManager
    drafts: DraftServicer
    runs: RunServicer
    state: StateReader
    calls: Calls
    liveness: Liveness
    history: History


class SessionStream:
    """One stream.

    Args:
        running: Keeps clean-up tasks alive, so that a stopping server can wait for them.
    """

    def __init__(self, parts: StreamParts, context: Context, caller: Caller, running: set[asyncio.Task[None]]) -> None:
        self._parts = parts
        self._context = context
        self._caller = caller
        self._running = running
        self._live: LiveSession | None = None
        self._left = False
        self._commands: dict[str, Callable[[LiveSession, Any], Awaitable[Reply]]] = {
            "heartbeat": self._heartbeat,
            "acquire_lock": self._acquire_lock,
            "release_lock": self._release_lock,
            "touch": self._touch,
            "update_presence": self._update_presence,
            "create_draft": self._create_draft,
            "start_run": self._start_run,
            "append_run_log": self._append_run_log,
            "finish_run": self._finish_run,
            "refresh_token": self._refresh_token,
            "leave": self._leave,
        }

    async def serve(self) -> FoundryError | None:
        """Open, then read and write until either is over. Returns how the stream ends; None is well."""
        opening = asyncio.create_task(self._open())
        try:
            live = await asyncio.shield(opening)
        except asyncio.CancelledError:
            # The session may be open by now, or in a moment: whoever opened it closes it.
            await self._in_own_task(self._abandon(opening))
            raise
        reader = asyncio.create_task(self._read(live))
        writer = asyncio.create_task(self._write(live))
        ended = asyncio.create_task(live.ended.wait())
        try:
            await asyncio.wait({reader, writer, ended}, return_when=asyncio.FIRST_COMPLETED)
            for task in (writer, reader):
                if task.done() and (error := _error_of(task)):
                    live.end(error)
            live.end(None)
            if not writer.done():
                await asyncio.wait({writer}, timeout=_FAREWELL_S)
        finally:
            for over in (reader, writer, ended):
                over.cancel()
            await self._in_own_task(self._finish(live))
        return live.ending

    # --- begin and end ---

    async def _open(self) -> LiveSession:
        first = await self._first_message()
        wanted = first.open
        grace_ms = wanted.disconnect_grace.ToMilliseconds() if wanted.HasField("disconnect_grace") else 0
        if not 0 <= grace_ms <= self._parts.liveness.grace_s_max * 1000:
            raise InvalidArgument("open.disconnect_grace", f"from 0 to {self._parts.liveness.grace_s_max:g} s")
        fields = validation.check(
            validation.OpenFields,
            project_id=wanted.project_id,
            tab_id=wanted.tab_id,
            client_name=wanted.client.name,
            client_version=wanted.client.version,
            resume_session_id=wanted.resume.session_id,
            resume_secret=wanted.resume.resume_secret,
        )
        after = None
        if wanted.resume.HasField("after"):
            after = Position(wanted.resume.after.epoch, wanted.resume.after.sequence)
            if after.sequence < 0:
                raise InvalidArgument("open.resume.after.sequence", "from 0")
        self._caller = replace(self._caller, client_name=fields.client_name, client_version=fields.client_version)
        session = OpenSession(
            project_id=fields.project_id,
            tab_id=fields.tab_id,
            resume_session_id=fields.resume_session_id,
            resume_secret=fields.resume_secret,
            grace_ms=grace_ms,
        )
        seen_lines = _seen_lines(wanted.resume.runs, wanted.resume.after.epoch) if wanted.follow_runs else None
        return await self._parts.hub.open(self._caller, session, after, seen_lines)

    async def _first_message(self) -> Command:
        reading = asyncio.ensure_future(self._context.read())
        # Waiting for the task, not cancelling it: see above. One that is left fails when the call is over.
        reading.add_done_callback(_looked_at)
        leaving = asyncio.ensure_future(self._parts.hub.leaving.wait())
        try:
            limit_s = self._parts.liveness.open_limit_s
            await asyncio.wait({reading, leaving}, timeout=limit_s, return_when=asyncio.FIRST_COMPLETED)
        finally:
            leaving.cancel()
        if not reading.done():
            if leaving.done():
                raise GoingAway(self._parts.liveness.drain_s)
            raise FirstMessageNotOpen("nothing")
        message = reading.result()
        if message is grpc.aio.EOF:
            raise FirstMessageNotOpen("the end of the stream")
        if isinstance(message, Unreadable):
            raise message.error
        arm = message.WhichOneof("command")
        if arm != "open":
            raise FirstMessageNotOpen(arm or "an empty command")
        if message.command_id < 1:
            raise InvalidArgument("command_id", "over 0")
        opened: Command = message
        return opened

    async def _abandon(self, opening: asyncio.Task[LiveSession]) -> None:
        try:
            live = await opening
        except Exception:  # noqa: BLE001 - it was refused or failed, and whoever failed has cleaned up
            return
        await self._parts.hub.finished(live, CloseReason.STREAM_GONE)

    async def _finish(self, live: LiveSession) -> None:
        why = CloseReason.LEAVE if self._left else CloseReason.STREAM_GONE
        await self._parts.hub.finished(live, why)

    async def _in_own_task(self, work: Any) -> None:  # noqa: ANN401 - a coroutine
        task = asyncio.create_task(work)
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        await asyncio.shield(task)

    # --- write ---

    async def _write(self, live: LiveSession) -> None:
        while data := await live.take():
            self._parts.hub.writing(live, begins=True)
            try:
                await self._context.write(data)
            except grpc.aio.BaseError:
                return  # the peer is gone; the reader notices too
            self._parts.hub.writing(live, begins=False)

    # --- read ---

    async def _read(self, live: LiveSession) -> None:
        while not self._left:
            message = await self._context.read()
            if message is grpc.aio.EOF or live.ended.is_set():
                return
            # While a command runs its successors lie unread: that is not the client's silence.
            live.busy = True
            if isinstance(message, Unreadable):
                await self._answer(live, 0, self._refuse(message.error))
            else:
                await self._answer(live, message.command_id, self._run(live, message))
            await live.room()
            live.busy = False
            self._parts.hub.heard(live)

    async def _answer(self, live: LiveSession, command_id: int, running: Awaitable[Reply]) -> None:
        try:
            reply = await running
        except Exception as error:  # noqa: BLE001 - the error boundary of commands: the stream goes on
            reply = Reply(error=to_status(error))
        reply.command_id = command_id
        if not reply.HasField("position"):
            # As far as this stream was told: a heartbeat is answered also while the store is away.
            reply.position.CopyFrom(codec.position(self._parts.state.at(live.channel.last_sequence)))
        live.send(frame(session_pb2.ServerEvent(reply=reply)))
        if self._left:
            live.end(None)

    @staticmethod
    async def _refuse(error: FoundryError) -> Reply:
        raise error

    async def _run(self, live: LiveSession, message: Command) -> Reply:
        if message.command_id < 1:
            raise InvalidArgument("command_id", "over 0")
        arm = message.WhichOneof("command")
        if arm == "open":
            raise AlreadyOpen(live.session_id)
        if arm is None:
            raise InvalidArgument("command", "name one")
        return await self._commands[arm](live, getattr(message, arm))

    # --- commands ---

    async def _heartbeat(self, live: LiveSession, command: Any) -> Reply:  # noqa: ANN401
        self._parts.hub.acknowledged(live, command.acknowledged.sequence)
        return _done()

    async def _acquire_lock(self, live: LiveSession, command: Any) -> Reply:  # noqa: ANN401
        fields = validation.check(
            validation.AcquireFields,
            project_id=live.session.project_id,
            field=command.field,
            session_id=live.session_id,
            purpose=command.purpose,
            if_unchanged_since=command.if_unchanged_since,
        )
        acquired = await self._parts.locks.acquire(
            self._caller,
            live.session.project_id,
            live.session_id,
            fields.field,
            purpose=fields.purpose,
            if_unchanged_since=fields.if_unchanged_since,
            stream_epoch=live.session.stream_epoch,
        )
        message = codec.acquired(acquired, self._parts.history.epoch)
        return Reply(acquired=message, position=message.position)

    async def _release_lock(self, live: LiveSession, command: Any) -> Reply:  # noqa: ANN401
        fields = self._lock_fields(live, command)
        released = await self._parts.locks.release(
            self._caller,
            live.session.project_id,
            live.session_id,
            fields.field,
            fields.fencing_token,
            stream_epoch=live.session.stream_epoch,
        )
        return Reply(
            released=codec.lock(released.lock),
            position=types_pb2.Position(epoch=self._parts.history.epoch, sequence=released.sequence),
        )

    async def _touch(self, live: LiveSession, command: Any) -> Reply:  # noqa: ANN401
        fields = self._lock_fields(live, command)
        lock = await self._parts.locks.renew(
            self._caller, live.session.project_id, live.session_id, fields.field, fields.fencing_token
        )
        return Reply(touched=codec.lock(lock))

    def _lock_fields(self, live: LiveSession, command: Any) -> validation.LockFields:  # noqa: ANN401
        return validation.check(
            validation.LockFields,
            project_id=live.session.project_id,
            session_id=live.session_id,
            field=command.field,
            fencing_token=command.fencing_token,
        )

    async def _update_presence(self, live: LiveSession, command: Any) -> Reply:  # noqa: ANN401
        shown = validation.check(
            validation.ActivityFields,
            focus_field=command.focus_field,
            cursor=command.cursor,
            activity=command.activity,
        )
        await self._parts.hub.show(live, Activity(shown.focus_field, shown.cursor, shown.activity))
        return _done()

    @staticmethod
    def _make_own(live: LiveSession, command: Any, arm: str, *names: str) -> None:  # noqa: ANN401
        """Fill in what a command need not say on a stream."""
        for name in names:
            own = getattr(live.session, name)
            if getattr(command, name) not in {"", own}:
                raise InvalidArgument(f"{arm}.{name}", "on a stream it is the stream's own")
            setattr(command, name, own)

    async def _create_draft(self, live: LiveSession, command: Any) -> Reply:  # noqa: ANN401
        self._make_own(live, command, "create_draft", "project_id", "session_id")
        saved = await self._parts.drafts.CreateDraft(command, self._caller)
        return Reply(saved=saved, position=saved.position)

    async def _start_run(self, live: LiveSession, command: Any) -> Reply:  # noqa: ANN401
        self._make_own(live, command, "start_run", "project_id", "session_id")
        started = await self._parts.runs.StartRun(command, self._caller)
        return Reply(run_started=started, position=started.position)

    async def _append_run_log(self, live: LiveSession, command: Any) -> Reply:  # noqa: ANN401
        appended = await self._parts.runs.append(self._caller, live.session.project_id, command.run_id, command.lines)
        return Reply(run_appended=appended)

    async def _finish_run(self, live: LiveSession, command: Any) -> Reply:  # noqa: ANN401
        self._make_own(live, command, "finish_run", "project_id")
        finished = await self._parts.runs.FinishRun(command, self._caller)
        return Reply(run_finished=finished, position=finished.position)

    async def _refresh_token(self, live: LiveSession, command: Any) -> Reply:  # noqa: ANN401
        self._caller = live.caller = self._parts.calls.refresh(self._caller, command.token)
        return _done()

    async def _leave(self, live: LiveSession, command: Any) -> Reply:  # noqa: ANN401
        del live, command
        self._left = True
        return _done()


def _seen_lines(runs: Sequence[session_command_pb2.RunPosition], epoch: int) -> dict[str, SeenLine]:
    """By run, what a client has seen; in ``epoch`` unless it says otherwise."""
    if len(runs) > _RESUMED_RUNS_MAX:
        raise InvalidArgument("open.resume.runs", f"at most {_RESUMED_RUNS_MAX}")
    if any(run.line < 0 for run in runs):
        raise InvalidArgument("open.resume.runs.line", "from 0")
    return {run.run_id: SeenLine(min(run.line, _SEEN_LINE_MAX), run.epoch or epoch) for run in runs}


def _done() -> Reply:
    return Reply(done=session_event_pb2.Done())


def _looked_at(task: asyncio.Future[Any]) -> None:
    """Whoever has left it does not want to know how it ended."""
    if not task.cancelled():
        task.exception()


def _error_of(task: asyncio.Task[None]) -> FoundryError | None:
    """How a stream ends whose reader or writer is over: a failure is the server's, an end of requests nobody's."""
    error = None if task.cancelled() else task.exception()
    if error is None or isinstance(error, FoundryError):
        return error
    ending = SessionEnded("INTERNAL", "the stream failed")
    ending.__cause__ = error  # for the server's log; clients are told an id
    return ending
