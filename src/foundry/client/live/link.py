"""Keeps one session connected: opens streams, follows their events, and brings commands over their breaks."""

# ruff: noqa: ASYNC109 - the timeout of a command covers breaks of the stream and ends in an error of ours

from __future__ import annotations

import asyncio
import contextlib
import logging
import weakref
from collections.abc import Callable
from typing import Final, TypeAlias

import grpc.aio

from coreason.foundry.v1 import lock_pb2, session_pb2, types_pb2
from coreason.foundry.v1 import session_command_pb2 as command_pb2
from coreason.foundry.v1 import session_event_pb2 as event_pb2
from foundry.client.channel import Token
from foundry.client.errors import DeadlineExceeded, FoundryError, Internal, SessionClosed, Unauthenticated, Unavailable
from foundry.client.live.commands import Commands
from foundry.client.live.followed_runs import FollowedRuns
from foundry.client.live.held_lock import HeldLocks
from foundry.client.live.lock_recovery import recover
from foundry.client.live.pulse import Pulse, Timing
from foundry.client.live.reconnect import Reconnect
from foundry.client.live.session_token import SessionToken
from foundry.client.live.stream import Stream
from foundry.client.live.subscription import Subscription
from foundry.client.live.workspace import Workspace
from foundry.client.statuses import from_status

_log: Final = logging.getLogger(__name__)

_Request: TypeAlias = session_pb2.ProjectSessionRequest
_Stream: TypeAlias = Stream[_Request, session_pb2.ProjectSessionResponse]

Call: TypeAlias = grpc.aio.StreamStreamCall[_Request, session_pb2.ProjectSessionResponse]
#: Starts the ProjectSession call with a token.
StartCall: TypeAlias = Callable[[str], Call]


class Link:
    """The connection of one session, over as many streams as it takes.

    Attributes:
        workspace: The state of the project.
        locks: The locks the session holds.
        runs: How far the session has seen the consoles it follows.
        opened: The newest ``opened``: session id, resume secret, role and limits.
        position: The last position seen, or None before the first one.
        presence: What the session shows, to be shown again by a session that takes its place.
        token: What its streams begin with.
        ended: Whether the session is over.
        error: Why it is over, or else why its newest stream broke; None when neither, or after a leave.
    """

    def __init__(
        self,
        start: StartCall,
        token: Token,
        opening: command_pb2.Open,
        *,
        reconnect: Reconnect | None = None,
        timing: Timing | None = None,
    ) -> None:
        """Args: opening is the ``open`` of the first stream; those of later ones come from it."""
        self.workspace = Workspace()
        self.locks = HeldLocks()
        resume = opening.resume
        self.runs = FollowedRuns(resume.runs, resume.after.epoch)
        self.opened = event_pb2.Opened(session_id=resume.session_id, resume_secret=resume.resume_secret)
        self.position: types_pb2.Position | None = resume.after if resume.HasField("after") else None
        self.presence: command_pb2.UpdatePresence | None = None
        self.token = SessionToken(token)
        self.ended = False
        self.error: FoundryError | None = None
        self._start = start
        self._opening = opening
        self._reconnect = reconnect or Reconnect()
        self._timing = timing or Timing()
        self._pulse = Pulse(self._timing, self.locks.doubt)
        self._commands = Commands()
        self._subscriptions: weakref.WeakSet[Subscription] = weakref.WeakSet()
        self._task: asyncio.Task[None] | None = None
        self._leaving = False
        # One that fell silent: to end it would end the session, if the server is there after all.
        self._former: _Stream | None = None
        # Of the current stream:
        self._stream: _Stream | None = None
        self._is_open = asyncio.Event()
        self._is_live = asyncio.Event()
        self._live_time = 0.0
        self._return_time: float | None = None

    # --- from outside -------------------------------------------------------------------------------------------

    async def connect(self, timeout: float) -> None:
        """Open the session and wait until it is caught up.

        Args:
            timeout: Seconds it may take; a server that is not there yet is tried again until then.

        Raises:
            FoundryError: It could not be opened.
            RuntimeError: It was opened before.
        """
        if self._task is not None:
            raise RuntimeError("a session is entered once; ask for a new one")
        self._pulse.start()
        self._task = asyncio.create_task(self._run())
        try:
            async with asyncio.timeout(timeout):
                await self._is_live.wait()
        except TimeoutError:
            why = self.error or DeadlineExceeded(message=f"the session did not open within {timeout:g} s")
            await self.stop()
            raise why from None
        except BaseException:
            await self.stop()
            raise
        self._raise_if_ended()

    async def leave(self) -> None:
        """End the session cleanly if that is possible at once, else let go of it."""
        self._leaving = True
        if self._is_live.is_set() and not self.ended and self._task is not None:
            with contextlib.suppress(FoundryError, TimeoutError):
                async with asyncio.timeout(self._timing.leave_s):
                    await self._exchange(_Request(leave=command_pb2.Leave()))
                    await asyncio.wait({self._task})
        await self.stop()

    async def stop(self) -> None:
        """Let go of the session: end its stream without a word."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait({self._task})
        self._end(None)

    async def command(self, build: Callable[[], _Request], timeout: float) -> event_pb2.Reply:
        """Send a command once the session is live, again after each break, and return its reply.

        Args:
            build: Makes the command when it can be sent, so that it shows the fencing tokens of that moment.
            timeout: Seconds it may take, breaks included.

        Raises:
            FoundryError: It was refused, or the session ended.
            DeadlineExceeded: No reply in time; the command is not sent again.
        """
        try:
            async with asyncio.timeout(timeout):
                await self._is_live.wait()
                self._raise_if_ended()
                return await self._exchange(build())
        except TimeoutError:
            raise DeadlineExceeded(message=f"no answer within {timeout:g} s") from self.error

    def subscribe(self, capacity: int) -> Subscription:
        """Return the events from now on; it ends with the session or with the last reference to it."""
        subscription = Subscription(capacity)
        if self.ended:
            subscription.end()
        self._subscriptions.add(subscription)
        return subscription

    @property
    def jeopardy(self) -> bool:
        """Whether nothing has come from the server for so long that the session may be lost."""
        return not self.ended and self._pulse.jeopardy

    # --- streams ------------------------------------------------------------------------------------------------

    async def _run(self) -> None:
        """Open stream after stream until the session is over."""
        try:
            while not self._leaving:
                self.error = await self._attach()
                if self._leaving:
                    break
                delay_s = self._next_delay()
                _log.info("stream of session %s ended: %s; next in %.2f s", self.opened.session_id, self.error, delay_s)
                await asyncio.sleep(delay_s)
        except FoundryError as error:
            self._end(error)
        except Exception as error:  # noqa: BLE001 - a defect, or the token's: nobody shall wait for ever because of it
            _log.exception("session %s failed", self.opened.session_id)
            self._end(Internal(message=f"the client failed: {error!r}"))
        else:
            self._end(None)
        finally:
            await self._let_go()

    async def _attach(self) -> FoundryError | None:
        """Open a stream and follow it until it ends or falls silent; returns why it ended, None for OK."""
        self._return_time = None
        self._live_time = 0.0
        self._is_open.clear()
        self._pulse.new_stream()
        self._stream = stream = Stream(self._start(self.token.use()))
        stream.send(self._commands.number(_Request(open=self._open())))
        following, keeping = stream.spawn(self._follow(stream)), stream.spawn(self._keep_alive(stream))
        try:
            await asyncio.wait({following, keeping}, return_when=asyncio.FIRST_COMPLETED)
            if following.done():
                return following.result()
            if keeping.result():
                self._former, self._stream = stream, None
            return Unavailable(message="the server is silent")
        finally:
            self._is_live.clear()
            if stream is not self._former:
                await stream.close()

    async def _follow(self, stream: _Stream) -> FoundryError | None:
        """Take what comes on a stream until it ends; returns why, None for OK."""
        try:
            while (message := await stream.read()) is not None:
                if stream is not self._stream:
                    continue  # another one has taken its place
                self._pulse.heard_time = stream.heard_time
                for event in message.events:
                    self._receive(stream, event)
        except FoundryError as error:
            return error
        return None

    async def _let_go(self) -> None:
        """End the stream that fell silent, if there is one."""
        former, self._former = self._former, None
        if former is not None:
            await former.close()

    def _open(self) -> command_pb2.Open:
        opening = command_pb2.Open()
        opening.CopyFrom(self._opening)
        opening.ClearField("resume")
        if self.opened.session_id and self._reconnect.with_session:
            opening.resume.session_id = self.opened.session_id
            opening.resume.resume_secret = self.opened.resume_secret
        if self.position is not None:
            opening.resume.after.CopyFrom(self.position)
        if seen := self.runs.seen():
            opening.resume.runs.extend(seen)
        return opening

    def _next_delay(self) -> float:
        now = asyncio.get_running_loop().time()
        return self._reconnect.delay_after(
            self.error,
            lasted_s=now - self._live_time if self._live_time else 0.0,
            announced_s=max(0.0, self._return_time - now) if self._return_time is not None else None,
            token_is_new=isinstance(self.error, Unauthenticated) and self.token.refused(),
        )

    async def _keep_alive(self, stream: _Stream) -> bool:
        """Send heartbeats until the server is silent for too long; returns whether it had opened the session."""

        def beat() -> None:
            heartbeat = self._commands.number(_Request(heartbeat=command_pb2.Heartbeat(acknowledged=self.position)))
            self._pulse.beat(heartbeat.command_id)
            stream.send(heartbeat)

        resumable_s = self.opened.limits.silence_limit.ToMilliseconds() / 1000 if self._former else 0.0
        if not await self._pulse.awaits(self._is_open, self._pulse.open_limit_s(resumable_s)):
            return False
        await self._pulse.beats(beat, self.opened.heartbeat_interval.ToMilliseconds() / 1000)
        return True

    def _end(self, error: FoundryError | None) -> None:
        if self.ended:
            return
        self.ended = True
        self.error = error
        self._pulse.stop()
        self._commands.fail(self._why_ended())
        self.locks.lose_all()
        for subscription in tuple(self._subscriptions):
            subscription.end()
        self._is_live.set()  # whoever waits for the session to come back shall learn that it does not

    def _why_ended(self) -> FoundryError:
        return self.error or SessionClosed(reason="SESSION_CLOSED", message="the session was left")

    def _raise_if_ended(self) -> None:
        if self.ended:
            raise self._why_ended()

    # --- events -------------------------------------------------------------------------------------------------

    def _receive(self, stream: _Stream, event: session_pb2.ServerEvent) -> None:
        match event.WhichOneof("event"):
            case "reply":
                self._on_reply(stream, event.reply)
                return
            case "entry" | "run_log" if not self._is_new(event):
                return
            case "entry" if event.entry.HasField("run_started") and self._opening.follow_runs:
                self.runs.started(event.entry.run_started.run_id)
            case "entry" if event.entry.HasField("lock_released"):
                self.locks.released(event.entry.lock_released)
            case "opened":
                self._on_opened(stream, event.opened)
            case "caught_up":
                self._advance(event.caught_up.position)
                stream.spawn(self._settle(stream))
            case "resync":
                self.position = None
            case "going_away":
                self._on_going_away(stream, event.going_away)
        self.workspace.apply(event)
        for subscription in tuple(self._subscriptions):
            subscription.put(event)

    def _is_new(self, event: session_pb2.ServerEvent) -> bool:
        return self._advance(event.entry.position) if event.HasField("entry") else self.runs.take(event.run_log)

    def _advance(self, position: types_pb2.Position) -> bool:
        """Move on to a position; False when it was seen before.

        Only entries and ``caught_up`` move it: a ``tick`` names the newest position, which may not have been sent yet.
        """
        seen = self.position
        if seen is not None and position.epoch == seen.epoch and position.sequence <= seen.sequence:
            return False
        self.position = position
        return True

    def _on_opened(self, stream: _Stream, opened: event_pb2.Opened) -> None:
        is_new = opened.session_id != self.opened.session_id
        self.opened = opened
        self.runs.begin(opened.position.epoch)
        self.error = None
        if opened.attachment == event_pb2.ATTACHMENT_SNAPSHOT:
            self.position = None
        if is_new:
            self._commands.kept.clear()
            self._commands.unwanted.clear()  # what was granted to the session of before has ended with it
            if self.presence is not None:
                stream.send(self._commands.number(_Request(update_presence=self.presence)))
        self._reconnect.attached()
        self._pulse.renew(stream.start_time)
        self._is_open.set()
        stream.spawn(self._let_go())

    def _on_going_away(self, stream: _Stream, going_away: event_pb2.GoingAway) -> None:
        within_s = self._reconnect.within(going_away.retry_after.ToMilliseconds() / 1000)
        loop = asyncio.get_running_loop()
        self._return_time = loop.time() + within_s
        loop.call_at(self._return_time, stream.cut, "the server is going away")  # should it still be there

    def _on_reply(self, stream: _Stream, reply: event_pb2.Reply) -> None:
        if self._pulse.answered(reply.command_id):
            if self._is_live.is_set():
                self.locks.trust()
        elif not self._commands.resolve(reply) and reply.WhichOneof("result") == "acquired":
            self._release(stream, reply.acquired.lock)  # whoever wanted it has given up waiting

    def _give_back(self, stream: _Stream) -> None:
        """Release what a former stream was granted when nobody waited for it any more; it is granted nothing later."""
        fields = set(self._commands.unwanted.values())
        self._commands.unwanted.clear()
        for field in fields:
            lock = self.workspace.locks.get(field)
            if lock is not None and lock.session_id == self.opened.session_id:
                self._release(stream, lock)

    def _release(self, stream: _Stream | None, lock: lock_pb2.Lock) -> None:
        """Give back what nobody holds, unless somebody waits for it again, who will be told of the same grant."""
        if self.locks.get(lock.field) is not None:
            return
        if self._commands.wants(lock.field):
            self._commands.kept[lock.field] = lock
            return
        release = command_pb2.SessionReleaseLock(field=lock.field, fencing_token=lock.fencing_token)
        command = self._commands.number(_Request(release_lock=release))
        self._commands.unwanted[command.command_id] = lock.field  # to be looked at once more if the stream breaks
        if stream is not None:
            stream.send(command)

    # --- commands over a break ----------------------------------------------------------------------------------

    async def _exchange(self, command: _Request) -> event_pb2.Reply:
        stream = self._stream
        future = self._commands.expect(self._commands.number(command))
        if stream is not None:
            stream.send(command)
        heard = False
        try:
            reply = await future
            heard = True
        finally:
            if lock := self._commands.forget(command, heard=heard):
                self._release(self._stream, lock)
        if reply.HasField("error"):
            raise from_status(reply.error)
        return reply

    async def _settle(self, stream: _Stream) -> None:
        """After ``caught_up``: learn which locks are still held, then let commands through again."""
        await recover(self.locks, self._exchange, self.workspace, self.opened.session_id, self.position)
        if self._is_live.is_set() or stream is not self._stream:
            return  # it was a resync: nothing was cut off; or another stream has taken its place
        if self._pulse.lapsed:
            self.locks.doubt()
        self._give_back(stream)
        for command in self._commands.unanswered():
            stream.send(command)
        self._live_time = asyncio.get_running_loop().time()
        self._is_live.set()
