"""One project's live events: a ring of frames that every session reads with a cursor of its own.

A message on a stream costs about the same whatever is in it, an event in it next to nothing. So events are encoded
once, joined into frames, and a session that reads slowly gets bigger frames instead of a queue of its own.
"""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from foundry.settings import Fanout

#: Server time that one frame costs for one session, and the share of a core a project's fan-out may take.
_FRAME_SECONDS = 25e-6
_CORE_SHARE = 0.3
_LINGER_S_MAX = 0.1
#: Lock and draft events go out at once if the last flush is longer ago than this.
_URGENT_S = 0.005


def linger_s(subscribers: int) -> float:
    """How long events are gathered, seconds, so that sending them keeps to its share of a core."""
    return min(subscribers * _FRAME_SECONDS / _CORE_SHARE, _LINGER_S_MAX)


@dataclass(frozen=True, slots=True)
class Frame:
    """Encoded events, joined.

    Attributes:
        first_sequence: Sequence number of the oldest log entry in it, ``last_sequence`` of the newest; 0 without any.
        first_presence: Version of the oldest difference of who is here, 0 without any.
        parts: Where each event ends, and its number: over 0 the sequence number of an entry, under 0 the version of
            a difference of who is here, else 0.
    """

    data: bytes
    first_sequence: int
    last_sequence: int
    first_presence: int
    parts: tuple[tuple[int, int], ...]

    def behind(self, sequence: int, presence: int) -> bytes:
        """The events without those that whoever came in knows from the store and from a snapshot of who is here.

        Args:
            sequence: The newest entry that is known.
            presence: The version that is known of who is here.
        """
        if not (0 < self.first_sequence <= sequence or 0 < self.first_presence <= presence):
            return self.data
        starts = (0, *(end for end, _ in self.parts))
        return b"".join(
            self.data[start:end]
            for start, (end, number) in zip(starts, self.parts, strict=False)
            if not (0 < number <= sequence or 0 < -number <= presence)
        )


def _frame(events: list[tuple[bytes, int]]) -> Frame:
    sequences = [number for _, number in events if number > 0] or [0]
    versions = [-number for _, number in events if number < 0] or [0]
    ends = accumulate(len(data) for data, _ in events)
    parts = tuple((end, number) for end, (_, number) in zip(ends, events, strict=True))
    data = b"".join([data for data, _ in events])
    return Frame(data, sequences[0], sequences[-1], versions[0], parts)


class Channel:
    """The ring of one project.

    Args:
        epoch: The history of the log that it tells of.

    Frames are numbered from 0; those from ``base`` up to, without, ``head`` are in the ring.
    """

    def __init__(self, project_id: str, fanout: Fanout, epoch: int = 1) -> None:
        self.project_id = project_id
        self.epoch = epoch
        self.base = 0
        self.last_sequence = 0
        self.presence_version = 0
        self.presence_due = False
        self.subscribers: dict[str, Callable[[], None]] = {}
        self._fanout = fanout
        self._frames: deque[Frame] = deque()
        self._bytes = 0
        self._pending: list[tuple[bytes, int]] = []
        self._timer: asyncio.Handle | None = None
        self._timer_due_s = 0.0
        self._flushed_s = float("-inf")

    @property
    def head(self) -> int:
        """Number of the next frame."""
        return self.base + len(self._frames)

    def publish(self, event: bytes, *, sequence: int = 0, presence: int = 0, urgent: bool = False) -> None:
        """Add an encoded event; it goes out at once when the project is quiet, and soon otherwise.

        Args:
            sequence: Its sequence number when it is a log entry.
            presence: Its version when it is a difference of who is here.
            urgent: Somebody waits for it: a lock or a version.
        """
        self._pending.append((event, sequence or -presence))
        self.last_sequence = max(self.last_sequence, sequence)
        loop = asyncio.get_running_loop()
        linger = linger_s(len(self.subscribers))
        due = self._flushed_s + (min(linger, _URGENT_S) if urgent else linger)
        if loop.time() >= due:
            self.flush()
        elif self._timer is None or self._timer_due_s > due:
            if self._timer:
                self._timer.cancel()
            self._timer, self._timer_due_s = loop.call_at(due, self.flush), due

    def flush(self) -> None:
        """Make what is pending a frame and wake everybody who waits."""
        if self._timer:
            self._timer.cancel()
            self._timer = None
        if not self._pending:
            return
        frame = _frame(self._pending)
        self._pending.clear()
        self._flushed_s = asyncio.get_running_loop().time()
        self._frames.append(frame)
        self._bytes += len(frame.data)
        while len(self._frames) > 1 and (
            self._bytes > self._fanout.ring_bytes_max or len(self._frames) > self._fanout.ring_frames_max
        ):
            self._bytes -= len(self._frames.popleft().data)
            self.base += 1
        for wake in list(self.subscribers.values()):
            wake()

    def frames(self, cursor: int, bytes_max: int) -> list[Frame]:
        """Frames from ``cursor`` on: at least one, more while they fit into ``bytes_max``."""
        taken: list[Frame] = []
        size = 0
        for number in range(cursor, self.head):
            frame = self._frames[number - self.base]
            if taken and size + len(frame.data) > bytes_max:
                break
            taken.append(frame)
            size += len(frame.data)
        return taken
