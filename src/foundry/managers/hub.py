"""The SessionHub: the live streams of this server, what they are sent, and how they end.

Everything durable reaches a stream as an entry of the log. So the hub also ends streams by the log: whoever closed a
session, its ``session_closed`` entry ends the stream, here or on another server.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import structlog

from foundry.domain.entry import Entry, Event
from foundry.domain.errors import FoundryError, GoingAway, OutcomeUnknown
from foundry.domain.events import (
    EntryEvent,
    IdleWarning,
    Opened,
    ServerGoing,
    Tick,
)
from foundry.domain.session import Activity, Attachment, CloseReason, Position
from foundry.managers.briefing import Briefing
from foundry.managers.channel import Channel
from foundry.managers.closing import close_later, until_stored
from foundry.managers.endings import ending
from foundry.managers.live import LiveSession
from foundry.managers.presence_lane import PresenceLane
from foundry.managers.sessions import Attempt
from foundry.metrics import SESSIONS

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Mapping

    from foundry.clock import Clock
    from foundry.coordination.ports import EventBus
    from foundry.domain.events import News, Ring, SessionEvent
    from foundry.domain.lock import Lock
    from foundry.domain.principal import Caller
    from foundry.domain.run import SeenLine
    from foundry.managers.console import Console
    from foundry.managers.feed import Feed
    from foundry.managers.presence import PresenceBoard
    from foundry.managers.sessions import AttachedSession, OpenSession, SessionManager
    from foundry.managers.state import StateReader
    from foundry.settings import Fanout, Liveness

_log = structlog.get_logger(__name__)

_SWEEP_S = 1.0
#: A sweep that comes this late tells that this process stood still.
_STALL_S = 0.25
_UNARY = f"SESSION_CLOSE_REASON_{CloseReason.UNARY.value}"
_URGENT = frozenset({Event.LOCK_ACQUIRED, Event.LOCK_RELEASED, Event.DRAFT_CREATED})


class SessionHub:
    """Attaches streams to sessions and feeds them.

    Args:
        encode: Turns an event into bytes of a stream message with this one event; called once an event.
    """

    def __init__(
        self,
        sessions: SessionManager,
        state: StateReader,
        presence: PresenceBoard,
        clock: Clock,
        encode: Callable[[SessionEvent], bytes],
        *,
        feed: Feed,
        console: Console,
        liveness: Liveness,
        fanout: Fanout,
    ) -> None:
        self._sessions = sessions
        self._state = state
        self._channels: dict[str, Channel] = {}
        self._live: dict[str, LiveSession] = {}
        self._presence = PresenceLane(
            presence, self._channels, self._live, sessions=sessions, encode=encode, clock=clock
        )
        self._briefing = Briefing(
            state,
            self._presence,
            feed,
            self._live,
            end_older=self._channel,
            encode=encode,
            limit_s=liveness.opening_wait_s,
        )
        self._feed = feed
        self._console = console
        self._clock = clock
        self._encode = encode
        self._liveness = liveness
        self._fanout = fanout
        self._tasks: set[asyncio.Task[None]] = set()
        self.leaving = asyncio.Event()  # set for good when the server begins to leave
        self._doors = asyncio.Semaphore(liveness.openings_max)

    # --- a stream begins ---

    async def open(
        self,
        caller: Caller,
        wanted: OpenSession,
        after: Position | None,
        seen_lines: Mapping[str, SeenLine] | None = None,
    ) -> LiveSession:
        """Open or resume a session and attach a stream to it; what the client missed waits in its outbox.

        Args:
            after: The last position the client saw, or None.
            seen_lines: Lines already seen, by run, if the client follows runs; else None.

        Raises:
            GoingAway: The server is leaving, or too many come at once.
            FoundryError: See ``SessionManager.open``.
        """
        try:
            async with asyncio.timeout(self._liveness.opening_wait_s):
                await self._doors.acquire()
        except TimeoutError:
            raise GoingAway(self._liveness.drain_s) from None
        try:
            return await self._open(caller, wanted, after, seen_lines)
        finally:
            self._doors.release()

    async def _open(
        self, caller: Caller, wanted: OpenSession, after: Position | None, seen_lines: Mapping[str, SeenLine] | None
    ) -> LiveSession:
        if self.leaving.is_set():
            raise GoingAway(self._liveness.drain_s)
        # Followed before it is opened: whatever ends this session is heard of.
        await self._feed.watch(wanted.project_id)
        attempt = Attempt()
        try:
            attached = await self._sessions.open(caller, wanted, attempt)
        except BaseException as error:
            self._feed.unwatch(wanted.project_id)
            if isinstance(error, OutcomeUnknown):
                self._spawn(until_stored(lambda: self._sessions.disown(wanted, attempt)))
            raise
        session = attached.session
        channel = self._channel(session.project_id)
        if channel is None:
            channel = self._channels[session.project_id] = Channel(session.project_id, self._fanout, session.epoch)
        channel.flush()
        self._supersede(session.session_id)
        self._channels[session.project_id] = channel  # which may have been that one's alone
        # The cursor first, then the state: what happens in between is in the ring, so there is no seam.
        live = LiveSession(session, caller, channel, self._clock.monotonic_s(), self._briefing.catch_up)
        self._live[session.session_id] = live
        SESSIONS.inc()
        channel.subscribers[session.session_id] = live.wake
        try:
            await self._feed.begin(session.project_id)  # the opening may have brought another history of the log
            if seen_lines is not None:
                # Lines that were seen in another history of the log may be lost, and others in their place.
                seen = {run_id: line.number_in(session.epoch) for run_id, line in seen_lines.items()}
                # Before the state is read: a run that it says is running may have ended right behind.
                live.console = await self._console.attach(session.project_id, session.epoch, seen, live.wake)
                if self._live.get(session.session_id) is not live:  # it ended meanwhile
                    self._console.detach(live.console)
            missed_runs = await self._begin(live, attached, after)
            if live.console:
                live.console.catch_up(missed_runs)
        except BaseException:
            # The session is open and nobody else knows of it: whoever opened it closes it.
            self._spawn(self.finished(live, CloseReason.STREAM_GONE))
            raise
        return live

    async def _begin(self, live: LiveSession, attached: AttachedSession, after: Position | None) -> list[str]:
        """Tell a client how it came in, and what it missed; returns the runs that were started meanwhile."""
        session = attached.session
        current = await self._sessions.current(session)
        if current.close_reason or current.stream_epoch != session.stream_epoch:
            # Closed or taken over by the very commit that opened it, whose entries went out before anybody listened.
            self._detached(live)
            why = current.close_reason or CloseReason.SUPERSEDED
            live.end(ending(why, session.session_id), keeps_session=True)
            return []
        await self._presence.show_session(live)
        news = await self._briefing.missed(live, after)
        if news is None:
            return []
        if news.resync:
            attachment = Attachment.SNAPSHOT
        else:
            attachment = Attachment.RESUMED if attached.resumed else Attachment.REPLAYED
        role, at = attached.member.role.value, news.position
        opened = Opened(session.session_id, attached.secret, attachment, at, news.resync, role)
        live.send(self._encode(opened))
        await self._briefing.send(live, news)
        if self.leaving.is_set():  # it began while the streams were being counted out
            self._say_goodbye(live)
        entries = [event.entry.new for event in news.events if isinstance(event, EntryEvent)]
        return [str(new.data["run_id"]) for new in entries if new.event is Event.RUN_STARTED]

    # --- a stream lives ---

    def heard(self, live: LiveSession) -> None:
        """Note a message from the client."""
        live.heard_s = self._clock.monotonic_s()

    def acknowledged(self, live: LiveSession, sequence: int) -> None:
        """Note what the client says it has seen; its lag is measured by it."""
        if sequence > live.acknowledged_sequence:
            live.acknowledged_sequence, live.progress_s = sequence, self._clock.monotonic_s()

    def writing(self, live: LiveSession, *, begins: bool) -> None:
        """Note that a write to the client begins, or is done."""
        live.writing_since_s = self._clock.monotonic_s() if begins else None

    async def show(self, live: LiveSession, shown: Activity) -> None:
        """Show the others what a session is at; latest wins, and a session is shown at most ten times a second."""
        if live.shown is None:
            self._spawn(self._presence.show_soon(live))
        live.shown = shown

    def warn_idle(self, lock: Lock) -> None:
        """Tell a holder, if it is here, that its lock is about to be released."""
        live = self._live.get(lock.session_id)
        if live:
            live.send(self._encode(IdleWarning(lock)))

    def follow(self, bus: EventBus) -> None:
        """Serve the streams from the feed, and look who is here when another process rings."""
        self._feed.subscribe(self._receive)
        bus.subscribe(self._rung)

    def _rung(self, ring: Ring) -> None:
        if looking := self._presence.rung(ring):
            self._spawn(looking)

    def _receive(self, entry: News) -> None:
        if not isinstance(entry, Entry):
            return  # lines of consoles go their own way
        channel = self._channel(entry.log)
        if channel:
            event = self._encode(EntryEvent(entry))
            channel.publish(event, sequence=entry.sequence, urgent=entry.new.event in _URGENT)
        if entry.new.event is Event.SESSION_RESUMED:
            session_id, stream_epoch = str(entry.new.data["session_id"]), int(str(entry.new.data["stream_epoch"]))
            live = self._live.get(session_id)
            if live is None or live.session.stream_epoch < stream_epoch:
                self._presence.let_go(entry.log, session_id)  # whoever resumed it shows it anew
                self._supersede(session_id)
        elif entry.new.event is Event.SESSION_CLOSED:
            session_id = str(entry.new.data["session_id"])
            live = self._live.get(session_id)
            if live:
                self._detached(live)
                why = str(entry.new.data["close_reason"]).removeprefix("SESSION_CLOSE_REASON_")
                live.end(ending(why, session_id), keeps_session=True)
            if live or entry.new.data["close_reason"] != _UNARY:
                self._spawn(self._presence.hide(entry.log, session_id))

    # --- a stream ends ---

    async def finished(self, live: LiveSession, why: CloseReason) -> None:
        """A stream is over: close its session, or leave it to its grace. Idempotent; survives a store that is down."""
        self._detached(live)
        if live.keeps_session:
            return
        session = live.session
        if session.grace_ms and why is CloseReason.STREAM_GONE:
            if await until_stored(lambda: self._sessions.detach(session)):
                self._spawn(self._end_of_grace(live))
                await self._presence.show_session(live, reconnecting=True)
        else:
            by = live.caller if why is CloseReason.LEAVE else None
            await until_stored(lambda: self._sessions.close(session, why, by=by))

    def _detached(self, live: LiveSession) -> None:
        if self._live.get(live.session_id) is live:
            del self._live[live.session_id]
            SESSIONS.dec()
            live.channel.subscribers.pop(live.session_id, None)
            if live.console:
                self._console.detach(live.console)
            if not live.channel.subscribers:
                self._channels.pop(live.session.project_id, None)
                self._presence.forget(live.session.project_id)
            self._feed.unwatch(live.session.project_id)

    def _supersede(self, session_id: str) -> None:
        """End the stream that a session has here: it goes on with another one."""
        if former := self._live.get(session_id):
            self._detached(former)
            former.end(ending("SUPERSEDED", session_id), keeps_session=True)

    async def _end_of_grace(self, live: LiveSession) -> None:
        """Close a session that did not come back, and show it here no more, wherever it went."""
        session = live.session
        await close_later(self._sessions, session, session.grace_ms / 1000, CloseReason.STREAM_GONE)
        if session.session_id not in self._live:
            await self._presence.show_no_more(session)

    def _spawn(self, work: Coroutine[Any, Any, Any]) -> None:
        task = asyncio.create_task(_quietly(work))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        task.add_done_callback(lambda _: work.close())  # a task that was cancelled before it began never awaits it

    # --- the server ---

    async def recover(self) -> None:
        """Give clients of the process before this one time to resume, then close what is left."""
        for session in await self._sessions.left_behind():
            self._spawn(
                close_later(self._sessions, session, self._liveness.restart_grace_s, CloseReason.SERVER_RESTART)
            )

    async def run(self) -> None:
        """Tick, and close what is silent, stuck or without a valid token; for as long as the server runs."""
        next_tick_s = expected_s = self._clock.monotonic_s()
        while True:
            now_s = self._clock.monotonic_s()
            # If this process itself stood still, the clients' messages are waiting unread: that is not their silence.
            stalled_s = now_s - expected_s
            for live in list(self._live.values()):
                if stalled_s > _STALL_S:
                    live.excuse(stalled_s, now_s)
                self._check(live, now_s)
            if now_s >= next_tick_s:
                next_tick_s = now_s + self._liveness.tick_interval_s
                self._tick()
                # Leases of those whose server died end without a ring.
                for channel in list(self._channels.values()):
                    self._spawn(self._presence.look(channel))
            expected_s = self._clock.monotonic_s() + _SWEEP_S
            await asyncio.sleep(_SWEEP_S)

    def _check(self, live: LiveSession, now_s: float) -> None:
        if live.ended.is_set() or live.closing:
            return
        if why := live.overdue(now_s, self._clock.now_us(), self._liveness):
            # The entry of the close ends the stream.
            live.closing = True
            self._spawn(until_stored(lambda: self._sessions.close(live.session, why)))

    def _tick(self) -> None:
        self.end_older()
        for channel in list(self._channels.values()):
            channel.publish(self._encode(Tick(self._state.at(channel.last_sequence))))

    async def drain(self) -> None:
        """Send every client away with its session and locks intact. Streams that begin later are refused."""
        self.leaving.set()
        for live in list(self._live.values()):
            self._say_goodbye(live)

    def _channel(self, project_id: str) -> Channel | None:
        """The channel of a project. One that tells of another history of the log is over, and so are its streams."""
        channel = self._channels.get(project_id)
        if channel and channel.epoch != self._state.epoch:
            self._end_streams(channel)
            return None
        return channel

    def _end_streams(self, channel: Channel) -> None:
        for session_id in list(channel.subscribers):
            live = self._live[session_id]
            self._detached(live)
            live.end(ending(CloseReason.DB_FAILOVER, session_id), keeps_session=True)

    def end_older(self) -> None:
        """End every stream from before the log got another history; who closes its session is another matter."""
        for project_id in list(self._channels):
            self._channel(project_id)

    def _say_goodbye(self, live: LiveSession) -> None:
        live.channel.flush()
        live.send(self._encode(ServerGoing(int(self._liveness.drain_s * 1000))))
        live.end(GoingAway(self._liveness.drain_s), keeps_session=True)

    async def stop(self) -> None:
        """Cancel timers; sessions stay as they are stored."""
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


async def _quietly(work: Coroutine[Any, Any, Any]) -> None:
    try:
        await work
    except FoundryError as error:
        _log.warning("session_task_failed", reason=error.reason)
    except Exception:  # noqa: BLE001 - nobody awaits it
        _log.exception("session_task_failed")
