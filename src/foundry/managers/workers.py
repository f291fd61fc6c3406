"""Pure CPU work off the event loop: a process of its own for anything that takes longer than a moment."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import signal
import threading
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import TYPE_CHECKING, ParamSpec, TypeVar

from foundry.domain.errors import Unavailable

if TYPE_CHECKING:
    from collections.abc import Callable

P = ParamSpec("P")
T = TypeVar("T")

#: Work on fewer bytes than this takes well under a millisecond; handing it over would take longer.
INLINE_BYTES_MAX = 16 * 1024


class Workers:
    """Runs picklable functions, small work at once and large work in a worker process.

    A thread would not do: parsers and diffs hold the interpreter lock while they run in C.
    """

    def __init__(self) -> None:
        self._pool: ProcessPoolExecutor | None = None

    async def run(self, size_bytes: int, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Call ``function``; in the worker process when it works on ``INLINE_BYTES_MAX`` bytes or more."""
        if size_bytes < INLINE_BYTES_MAX:
            return function(*args, **kwargs)
        if self._pool is None:
            # Spawned, never forked: the parent runs gRPC's threads.
            context = multiprocessing.get_context("spawn")
            self._pool = ProcessPoolExecutor(1, mp_context=context, initializer=_serve_the_parent)
        pool, loop = self._pool, asyncio.get_running_loop()
        try:
            return await loop.run_in_executor(pool, _call, function, args, kwargs)
        except BrokenProcessPool as error:
            # The worker died, of this work or of a lack of memory; the next work gets another.
            if self._pool is pool:
                self._pool = None
            raise Unavailable("a worker process died") from error

    async def close(self) -> None:
        """End the worker process, if there is one."""
        if self._pool:
            await asyncio.to_thread(self._pool.shutdown, wait=True, cancel_futures=True)


def _serve_the_parent() -> None:
    """End with the server, however it ends, and not before it: Ctrl-C reaches the whole group of processes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()

    def follow() -> None:
        if parent:
            parent.join()
            os._exit(1)

    threading.Thread(target=follow, daemon=True).start()


def _call(function: Callable[..., T], args: tuple[object, ...], kwargs: dict[str, object]) -> T:
    return function(*args, **kwargs)
