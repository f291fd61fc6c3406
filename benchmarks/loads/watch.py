"""Sessions that watch a project, and the one whose doings they watch."""

from __future__ import annotations

import asyncio
import time
from array import array
from collections import defaultdict
from dataclasses import dataclass
from typing import Any

from benchmarks.floor import FAN, WATCH
from benchmarks.loads.streams import Frame, Session, SessionLoad, checked
from benchmarks.loads.unary import channel
from benchmarks.worker import Load, cpu_s
from coreason.foundry.v1 import lock_pb2, session_command_pb2, session_event_pb2, session_pb2

#: Commands that the writer sends ahead of their answers when it floods.
_AHEAD = 32


@dataclass(frozen=True, slots=True)
class Seen:
    """What all watchers of a load were sent in a time.

    Attributes:
        lags: From when an event was made to when it was read, seconds; of the first and last event of each message.
    """

    events: int
    frames: int
    seconds: float
    cpu_seconds: float
    lags: array[float]


class Watchers(Load):
    """Sessions that only read, each on a connection of its own.

    An entry's lag counts from its time in the log, a presence update's from when the writer sent it.

    Args:
        tokens: Of as many principals as there shall be; the sessions are dealt out among them.
    """

    def __init__(self, pid: int, clients: int, address: str, project_id: str, tokens: list[str]) -> None:
        super().__init__(pid, clients)
        self._address, self._project_id, self._tokens = address, project_id, tokens
        self._tasks: list[asyncio.Task[None]] = []
        self._arrivals: defaultdict[int, array[float]] = defaultdict(lambda: array("d"))
        self._lags = array("d")
        self._events = self._frames = 0
        self._began = self._cpu = 0.0

    async def prepare(self) -> None:
        for number in range(self.clients):
            session = Session(self._address, self._tokens[number % len(self._tokens)])
            await session.open(self._project_id)
            self._tasks.append(asyncio.create_task(self._watch(session)))

    async def start(self) -> None:
        """Count from now on."""
        self._events, self._frames, self._lags = 0, 0, array("d")
        self._began, self._cpu = time.perf_counter(), cpu_s(self.pid)

    async def stop(self) -> Seen:
        """What was counted since ``start``."""
        seconds, cpu = time.perf_counter() - self._began, cpu_s(self.pid) - self._cpu
        return Seen(self._events, self._frames, seconds, cpu, self._lags)

    async def read_so_far(self) -> int:
        """Events that all have read since ``start``."""
        return self._events

    async def arrivals(self) -> dict[int, array[float]]:
        """When each grant was read by the sessions, by fencing token, by ``time.monotonic``."""
        return dict(self._arrivals)

    async def _watch(self, session: Session) -> None:
        while True:
            frame = await session.read()
            self._note(frame)

    def _note(self, frame: Frame) -> None:
        events = frame.events
        self._frames += 1
        self._events += len(events)
        for event in {0, len(events) - 1}:
            seen = events[event]
            if seen.HasField("entry"):
                made = seen.entry.time
                self._lags.append(time.time() - made.seconds - made.nanos / 1e9)
                if seen.entry.HasField("lock_acquired"):
                    self._arrivals[seen.entry.lock_acquired.fencing_token].append(time.monotonic())
            elif seen.HasField("run_log"):
                self._lags.extend(time.time() - line.source_time.ToMicroseconds() / 1e6 for line in seen.run_log.lines)
            elif seen.HasField("presence") and seen.presence.sessions and seen.presence.sessions[0].cursor:
                self._lags.append(time.time() - float(seen.presence.sessions[0].cursor))


class FloorWatchers(Watchers):
    """The same on the floor's ``Fan``."""

    def __init__(self, pid: int, clients: int, address: str) -> None:
        super().__init__(pid, clients, address, "", [])

    async def prepare(self) -> None:
        for _ in range(self.clients):
            call = _fan(self._address)
            await call.write(WATCH)
            await call.read()
            self._tasks.append(asyncio.create_task(self._follow(call)))

    async def _follow(self, call: Any) -> None:  # noqa: ANN401 - a call of gRPC
        while True:
            self._note(Frame.FromString(await call.read()))


class FloorDoer(Load):
    """Sends events of the size of a presence update through the floor's ``Fan``."""

    def __init__(self, pid: int, address: str) -> None:
        super().__init__(pid, 1)
        self._address = address

    async def prepare(self) -> None:
        self._call = _fan(self._address)

    async def flood(self, seconds: float) -> int:
        """As the other ``flood``: some events under way at once."""
        made = open_events = 0
        until = time.perf_counter() + seconds
        while time.perf_counter() < until:
            await self._call.write(Frame(events=[self.event(made)]).SerializeToString())
            made, open_events = made + 1, open_events + 1
            while open_events > _AHEAD:
                await self._call.read()
                open_events -= 1
        for _ in range(open_events):
            await self._call.read()
        return made

    def event(self, number: int) -> session_pb2.ServerEvent:
        """What is sent."""
        shown = session_event_pb2.SessionPresence(
            session_id="0" * 36, focus_field="field_0", cursor=str(time.time()), client_name="floor"
        )
        return session_pb2.ServerEvent(presence=session_event_pb2.PresenceUpdate(version=number, sessions=[shown]))


def _fan(address: str) -> Any:  # noqa: ANN401 - a call of gRPC
    call: Any = channel(address).stream_stream(FAN)
    return call()


class Doer(SessionLoad):
    """The session whose doings are watched; one client."""

    async def flood(self, seconds: float, per_second: float, what: str) -> int:
        """Do something over and over, as fast as it goes or so often a second; returns how many events it made.

        Args:
            per_second: Operations, 0 for a flood with some commands under way at once.
            what: ``lock`` for acquire and release (two entries), ``presence`` for updates of it.
        """
        session, made, open_commands = self.sessions[0], 0, 0
        fence = (await self.acquire(0)).lock.fencing_token
        await self.release(0, fence)
        began = time.perf_counter()
        until = began + seconds
        while (now := time.perf_counter()) < until:
            if per_second and made >= (now - began) * per_second:
                await asyncio.sleep(1 / per_second)  # by the clock, as people and programs do
                continue
            if what == "lock":
                # Fences rise by one, so that the release need not wait for the answer to the acquire.
                fence += 1
                acquire = session_command_pb2.SessionAcquireLock(field="field_0")
                await session.send(acquire_lock=acquire)
                release = session_command_pb2.SessionReleaseLock(field="field_0", fencing_token=fence)
                await session.send(release_lock=release)
                open_commands += 2
            else:
                shown = session_command_pb2.UpdatePresence(focus_field="field_0", cursor=str(time.time()))
                await session.send(update_presence=shown)
                open_commands += 1
            made += 1
            while open_commands > (0 if per_second else _AHEAD):
                open_commands -= await _answers(session)
        while open_commands:
            open_commands -= await _answers(session)
        return made * 2 if what == "lock" else made

    async def shoot(self) -> tuple[int, float]:
        """Take the lock once, at a quiet moment; returns its fencing token and when, by ``time.monotonic``."""
        began = time.monotonic()
        acquired = await self.acquire(0)
        await asyncio.sleep(0.2)  # a quiet moment
        await self.release(0, acquired.lock.fencing_token)
        await asyncio.sleep(0.2)  # a quiet moment
        return acquired.lock.fencing_token, began


async def _answers(session: Session) -> int:
    """Read a message; returns how many answers to commands were in it."""
    return sum(bool(checked(event.reply)) for event in (await session.read()).events if event.HasField("reply"))


class Victim(SessionLoad):
    """A client that holds a lock and is killed."""

    async def prepare(self) -> None:
        await super().prepare()
        await self.acquire(0)


class Heir(SessionLoad):
    """A session that waits for a field to become free and takes it at once."""

    async def inherit(self, field: str) -> tuple[float, float]:
        """When the release was seen, and when the field was this session's, by ``time.monotonic``."""
        session = self.sessions[0]
        while True:
            for event in (await session.read()).events:
                released = event.entry.lock_released
                # Its own releases of before may still be under way to it.
                if released.field == field and released.release_reason == lock_pb2.LOCK_RELEASE_REASON_STREAM_GONE:
                    seen = time.monotonic()
                    wanted = session_command_pb2.SessionAcquireLock(field=field)
                    reply = await session.command(acquire_lock=wanted)
                    taken = time.monotonic()
                    back = session_command_pb2.SessionReleaseLock(
                        field=field, fencing_token=reply.acquired.lock.fencing_token
                    )
                    await session.command(release_lock=back)
                    return seen, taken
