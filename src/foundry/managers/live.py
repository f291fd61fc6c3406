"""A session with a stream on this server: what waits to be sent to it, and how it ends."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING

from foundry.domain.session import CloseReason

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from foundry.domain.errors import FoundryError
    from foundry.domain.principal import Caller
    from foundry.domain.session import Activity, Session
    from foundry.managers.channel import Channel
    from foundry.managers.console import Follower
    from foundry.settings import Liveness

#: Frames are joined up to this size. Larger ones save nothing more.
FRAME_BYTES = 64 * 1024
#: Personal events that may wait for a client that does not read; beyond it its commands wait too.
_OUTBOX_BYTES_MAX = 1024 * 1024


class LiveSession:
    """One stream of one session.

    Personal events (answers, snapshots, warnings) wait in an outbox of their own; everything else is read from the
    project's ring with a cursor.

    Args:
        catch_up: Called when the ring has passed the cursor; fills the outbox and moves the cursor.
    """

    def __init__(
        self,
        session: Session,
        caller: Caller,
        channel: Channel,
        now_s: float,
        catch_up: Callable[[LiveSession], Awaitable[None]],
    ) -> None:
        self.session = session
        self.caller = caller
        self.channel = channel
        self.cursor = channel.head
        self.seen_sequence = 0
        self.seen_presence = 0
        self.heard_s = now_s
        self.progress_s = now_s
        self.acknowledged_sequence = 0
        self.writing_since_s: float | None = None
        self.busy = False  # a command runs, or waits for the client to take answers: no message can be read
        self.closing = False
        self.shown: Activity | None = None  # the newest, while it waits to be shown
        self.shown_s = float("-inf")
        self.ended = asyncio.Event()
        self.ending: FoundryError | None = None
        self.keeps_session = False
        self.console: Follower | None = None  # when it follows the consoles of runs
        self._catch_up = catch_up
        self._outbox: deque[bytes] = deque()
        self._outbox_bytes = 0
        self._room = asyncio.Event()
        self._room.set()
        self._waiter: asyncio.Future[None] | None = None

    @property
    def session_id(self) -> str:
        """Id of the session."""
        return self.session.session_id

    def send(self, event: bytes) -> None:
        """Send an encoded event to this client alone."""
        self._outbox.append(event)
        self._outbox_bytes += len(event)
        if self._outbox_bytes > _OUTBOX_BYTES_MAX:
            self._room.clear()
        self.wake()

    async def room(self) -> None:
        """Wait until the client has taken enough of its answers to be asked for more commands."""
        await self._room.wait()

    def wake(self) -> None:
        """Let ``take`` look again."""
        if self._waiter and not self._waiter.done():
            self._waiter.set_result(None)

    def end(self, error: FoundryError | None, *, keeps_session: bool = False) -> None:
        """End the stream, after what waits in the outbox; ``None`` ends it well. The first call counts.

        Args:
            keeps_session: The session goes on without this stream: it moves to another server.
        """
        if not self.ended.is_set():
            self.ending, self.keeps_session = error, keeps_session
            self.ended.set()
            self._room.set()
            self.wake()

    def excuse(self, for_s: float, now_s: float) -> None:
        """Hold nothing of the last ``for_s`` seconds against the client: it may have been heard and read by nobody."""
        self.heard_s = min(now_s, self.heard_s + for_s)
        self.progress_s = min(now_s, self.progress_s + for_s)
        if self.writing_since_s is not None:
            self.writing_since_s = min(now_s, self.writing_since_s + for_s)

    def overdue(self, now_s: float, now_us: int, limits: Liveness) -> CloseReason | None:
        """Why it must be closed by now, if it must."""
        why = None
        if 0 < self.caller.token_expire_time_us <= now_us:
            why = CloseReason.TOKEN_EXPIRED
        elif self.busy:
            self.heard_s = now_s  # its messages wait for us, not we for them
        elif now_s - self.heard_s > limits.silence_limit_s:
            why = CloseReason.HEARTBEAT
        if not why and self.stuck_s(now_s) > limits.slow_consumer_limit_s:
            why = CloseReason.SLOW_CONSUMER
        return why

    def stuck_s(self, now_s: float) -> float:
        """For how long the client has taken nothing, seconds: neither a write went through, nor did it see more."""
        writing_s = 0.0 if self.writing_since_s is None else now_s - self.writing_since_s
        if not 0 < self.acknowledged_sequence < self.seen_sequence:
            self.progress_s = now_s
        return max(writing_s, now_s - self.progress_s)

    async def take(self) -> bytes:
        """The next encoded frame; waits for one. Empty when the stream has ended and all was taken."""
        while True:
            if self._outbox:
                return self._take_outbox()
            if self.ended.is_set():
                return b""
            if self.cursor < self.channel.base:
                await self._catch_up(self)
            elif self.cursor < self.channel.head:
                if data := b"".join(self._take_ring(FRAME_BYTES)):  # nothing, when all of it is known already
                    return data
            elif self.console and self.console.ready:
                # Last: consoles give way to everything else.
                data = await self.console.take(FRAME_BYTES)
                if data and not self.ended.is_set():  # else it is not meant for this client any more
                    return data
            else:
                self._waiter = asyncio.get_running_loop().create_future()
                try:
                    await self._waiter
                finally:
                    self._waiter = None

    def _take_outbox(self) -> bytes:
        """Personal events, and in the same message what the ring has: a message costs more than what is in it."""
        taken = [self._outbox.popleft()]
        size = len(taken[0])
        while self._outbox and size + len(self._outbox[0]) <= FRAME_BYTES:
            taken.append(self._outbox.popleft())
            size += len(taken[-1])
        self._outbox_bytes -= size
        if self._outbox_bytes <= _OUTBOX_BYTES_MAX:
            self._room.set()
        current = self.channel.base <= self.cursor < self.channel.head and not self.ended.is_set()
        if current and not self._outbox and size < FRAME_BYTES:
            taken += self._take_ring(FRAME_BYTES - size)
        return b"".join(taken)

    def _take_ring(self, bytes_max: int) -> list[bytes]:
        frames = self.channel.frames(self.cursor, bytes_max)
        self.cursor += len(frames)
        data = [frame.behind(self.seen_sequence, self.seen_presence) for frame in frames]
        self.seen_sequence = max(self.seen_sequence, *(frame.last_sequence for frame in frames))
        return data
