"""Whether the server is still there, and how long the locks can be trusted."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

#: A timer that fires this late tells of a stall of this program: what came meanwhile lies unread.
_STALL_S: Final = 0.25
#: No server is asked to open a session in less time than this.
_OPEN_S_MIN: Final = 2.0


@dataclass(frozen=True, slots=True)
class Timing:
    """When a silent server counts as lost; all in seconds.

    Attributes:
        jeopardy_s: Without any message for this long, the session is in jeopardy.
        lease_s: Locks count as lost this long after *sending* the last heartbeat that was answered. Shorter than the
            time after which the server gives them to others.
        open_s: A stream on which ``opened`` does not come within this time is given up.
        silence_s: A stream without any message for this long is left for another one: before the other servers give up
            one that stands still, so that the session can be resumed there with its locks.
        heartbeat_s: Between heartbeats, unless ``opened`` says otherwise.
        leave_s: How long a clean leave may take.
    """

    jeopardy_s: float = 6.0
    lease_s: float = 9.0
    open_s: float = 15.0
    silence_s: float = 8.0
    heartbeat_s: float = 3.0
    leave_s: float = 2.0


class Pulse:
    """The heartbeats of a session over all its streams, and the lease on its locks that the answers renew.

    Attributes:
        heard_time: Loop time of the last message from the server, seconds.
        lapsed: Whether the lease has run out.
    """

    def __init__(self, timing: Timing, on_lapse: Callable[[], None]) -> None:
        """Args: on_lapse is called when the lease runs out."""
        self._timing = timing
        self._on_lapse = on_lapse
        self._sent: dict[int, float] = {}
        self._lease: asyncio.TimerHandle | None = None
        self.heard_time = 0.0
        self.lapsed = False

    def start(self) -> None:
        """Count from now."""
        self.heard_time = asyncio.get_running_loop().time()

    @property
    def jeopardy(self) -> bool:
        """Whether nothing has come for so long that the session may be lost."""
        return asyncio.get_running_loop().time() - self.heard_time > self._timing.jeopardy_s

    def open_limit_s(self, resumable_s: float) -> float:
        """Return how long to wait for ``opened``, seconds.

        A session that fell silent can be resumed only until the server closes it as silent itself; a server that lets
        it in and is not heard would go on holding its locks. After that there is nothing to lose by waiting.

        Args:
            resumable_s: How long after the last message that is, seconds; 0 when no session fell silent.
        """
        left_s = self.heard_time + resumable_s - asyncio.get_running_loop().time()
        limit_s = self._timing.open_s
        return min(limit_s, max(left_s, _OPEN_S_MIN)) if resumable_s and left_s > 0 else limit_s

    async def awaits(self, event: asyncio.Event, limit_s: float) -> bool:
        """Wait for an event; returns whether it came in time."""
        loop = asyncio.get_running_loop()
        while not event.is_set():
            due_time = loop.time() + limit_s
            try:
                async with asyncio.timeout(limit_s):
                    await event.wait()
            except TimeoutError:
                if loop.time() <= due_time + _STALL_S:
                    return False
        return True

    async def beats(self, beat: Callable[[], None], interval_s: float) -> None:
        """Send heartbeats; returns when the server has been silent for too long.

        Args:
            beat: Sends one.
            interval_s: Time between them, seconds; 0 for the usual one.
        """
        loop = asyncio.get_running_loop()
        awake_time = 0.0
        while (left_s := max(self.heard_time, awake_time) + self._timing.silence_s - loop.time()) > 0:
            beat()
            delay_s = min(interval_s or self._timing.heartbeat_s, left_s)
            due_time = loop.time() + delay_s
            await asyncio.sleep(delay_s)
            if loop.time() > due_time + _STALL_S:
                awake_time = loop.time()

    def beat(self, command_id: int) -> None:
        """A heartbeat is about to be sent."""
        self._sent[command_id] = asyncio.get_running_loop().time()

    def answered(self, command_id: int) -> bool:
        """Renew the lease if this is the id of a heartbeat; returns whether it is."""
        sent_time = self._sent.pop(command_id, None)
        if sent_time is None:
            return False
        self.renew(sent_time)
        return True

    def renew(self, sent_time: float) -> None:
        """Let the lease run from when something was sent that the server has answered: it had seen it no earlier."""
        self._cancel_lease()
        self.lapsed = False
        self._lease = asyncio.get_running_loop().call_at(sent_time + self._timing.lease_s, self._lapse)

    def new_stream(self) -> None:
        """Heartbeats of the stream before count no longer."""
        self._sent.clear()

    def stop(self) -> None:
        """The session is over."""
        self._cancel_lease()

    def _lapse(self) -> None:
        self.lapsed = True
        self._on_lapse()

    def _cancel_lease(self) -> None:
        if self._lease is not None:
            self._lease.cancel()
