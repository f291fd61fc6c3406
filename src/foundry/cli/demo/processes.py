"""Child processes of the demo: each is stopped by its own id, whatever happens."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Final

LINE_BYTES_MAX: Final = 16 * 1024 * 1024
_STOP_S: Final = 8.0


async def start(*args: str, env: Mapping[str, str] | None = None, stderr: IO[bytes] | int = DEVNULL) -> Process:
    """Start Python with some arguments, talking over its stdin and stdout.

    The child is in a process group of its own, so that Ctrl-C in the terminal reaches only the demo, which then stops
    its children in order.

    Args:
        args: Arguments after the interpreter, for example ``-m foundry``.
        env: Variables for the child beside those of this process; none of ours named ``FOUNDRY_*`` is passed on.
        stderr: Where its standard error goes.
    """
    inherited = {key: value for key, value in os.environ.items() if not key.startswith("FOUNDRY_")}
    return await asyncio.create_subprocess_exec(
        sys.executable,
        *args,
        stdin=PIPE,
        stdout=PIPE,
        stderr=stderr,
        env={**inherited, **(env or {})},
        limit=LINE_BYTES_MAX,
        start_new_session=True,
    )


async def stop(process: Process) -> None:
    """Ask a process to end, and make it end if it does not within a few seconds."""
    if process.returncode is None:
        _signal(process, signal.SIGTERM)
    try:
        async with asyncio.timeout(_STOP_S):
            await process.wait()
    except TimeoutError:
        await kill(process)


async def kill(process: Process) -> None:
    """End a process at once, without a chance to clean up."""
    if process.returncode is None:
        _signal(process, signal.SIGKILL)
    await process.wait()


def _signal(process: Process, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):  # it ended just now
        process.send_signal(number)


def tail(path: Path, lines: int = 5) -> str:
    """Return the last lines of a text file."""
    return "\n".join(path.read_text("utf-8", errors="replace").splitlines()[-lines:])
