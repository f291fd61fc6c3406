"""Runs what stays in the foreground until it is done or told to stop."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Coroutine

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
