"""One ordered line of script calls: whoever writes later is written later."""

from __future__ import annotations

import asyncio
from collections import deque
from functools import partial
from typing import TYPE_CHECKING, Any

from foundry.coordination.redis.scripts import Call, evaluate

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from redis.asyncio import Redis

#: Calls of one round trip: some 20 ms of work, well within the timeout.
_BATCH_CALLS_MAX = 500
#: Calls that may wait. Beyond, a caller gets no answer, as if Redis were away.
_WAITING_CALLS_MAX = 20_000


class Line:
    """Runs what waits as one round trip, and only then what came meanwhile.

    So a renewal never overtakes the release of its lock (a renewal that outlives its lock is a ghost until it expires),
    and a thousand callers cost a few round trips.

    Args:
        run: Runs a command on Redis; None when it gave no answer.
    """

    def __init__(self, run: Callable[[Callable[[Redis], Awaitable[list[Any]]]], Awaitable[list[Any] | None]]) -> None:
        self._run = run
        self._waiting: deque[tuple[Call, asyncio.Future[Any]]] = deque()
        self._serving: asyncio.Task[None] | None = None

    async def evaluate(self, calls: Sequence[Call]) -> list[Any] | None:
        """Take places in the line, before anything is awaited, and wait for the answers.

        A caller that is cancelled takes nothing back.

        Returns:
            The answers in the order of the calls, or None when one has none and it is not known whether it was done.
        """
        if len(self._waiting) + len(calls) > _WAITING_CALLS_MAX:
            return None
        loop = asyncio.get_running_loop()
        places = [(call, loop.create_future()) for call in calls]
        self._waiting.extend(places)
        if self._serving is None or self._serving.done():
            self._serving = asyncio.create_task(self._serve())
        answers = [await answer for _, answer in places]
        return None if None in answers else answers

    async def drained(self) -> None:
        """Wait until nothing waits any more."""
        while self._serving and not self._serving.done():
            await asyncio.wait({self._serving})

    async def _serve(self) -> None:
        while self._waiting:
            batch = [self._waiting.popleft() for _ in range(min(len(self._waiting), _BATCH_CALLS_MAX))]
            answers = await self._run(partial(evaluate, calls=[call for call, _ in batch]))
            for (_, waiting), answer in zip(batch, answers or [None] * len(batch), strict=True):
                if not waiting.done():
                    waiting.set_result(answer)
