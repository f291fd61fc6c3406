"""Runs what stays in the foreground until it is done or told to stop."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM)


def run(main: Coroutine[None, None, None]) -> bool:
    """Run a coroutine; Ctrl-C and SIGTERM cancel it, so that its context managers clean up.

    Returns:
        Whether it was stopped before it was done.
    """

    async def guarded() -> bool:
        task = asyncio.ensure_future(main)
        loop = asyncio.get_running_loop()
        for number in STOP_SIGNALS:
            loop.add_signal_handler(number, task.cancel)
        try:
            await task
        except asyncio.CancelledError:
            return True
        finally:
            for number in STOP_SIGNALS:
                loop.remove_signal_handler(number)
        return False

    return asyncio.run(guarded())


@asynccontextmanager
async def beside(*work: Coroutine[None, None, None]) -> AsyncIterator[None]:
    """Do something beside a block: it ends with the block, and the block with it when it fails."""
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(it) for it in work]
            yield
            for task in tasks:
                task.cancel()
    except BaseExceptionGroup as failures:
        raise failures.exceptions[0] from None
