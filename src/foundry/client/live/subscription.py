"""One reader of a session's events."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from typing import Final

from coreason.foundry.v1 import session_event_pb2, session_pb2

#: Events that wait for a reader before it is told to start over.
CAPACITY: Final = 4096

_OVERFLOW: Final = session_pb2.ServerEvent(
    resync=session_event_pb2.Resync(reason=session_event_pb2.RESYNC_REASON_SLOW_READER)
)


class Subscription(AsyncIterator[session_pb2.ServerEvent]):
    """The events from now on, in order, in a bounded buffer.

    A reader that falls ``capacity`` events behind loses them and gets a ``resync`` with the reason SLOW_READER in their
    place: what it derived from events is void, and ``Session.state`` holds the truth. It never slows the session down.
    """

    def __init__(self, capacity: int = CAPACITY) -> None:
        self._capacity = capacity
        self._events: deque[session_pb2.ServerEvent] = deque()
        self._wake = asyncio.Event()
        self._ended = False

    def put(self, event: session_pb2.ServerEvent) -> None:
        """Add an event."""
        if len(self._events) >= self._capacity:
            self._events.clear()
            self._events.append(_OVERFLOW)
        self._events.append(event)
        self._wake.set()

    def end(self) -> None:
        """No event will follow; those that wait are still delivered."""
        self._ended = True
        self._wake.set()

    async def __anext__(self) -> session_pb2.ServerEvent:
        while not self._events:
            if self._ended:
                raise StopAsyncIteration
            self._wake.clear()
            await self._wake.wait()
        return self._events.popleft()
