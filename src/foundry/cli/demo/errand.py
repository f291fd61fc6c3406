"""A command of the demo that goes on while others watch it."""

from __future__ import annotations

import asyncio
import json
from asyncio.subprocess import Process
from typing import Any

from foundry.cli.demo import processes
from foundry.cli.demo.actor import WAIT_S, NotObservedError


class Errand:
    """Drives one ``foundry --json`` process.

    Args:
        process: The running process.
    """

    def __init__(self, process: Process) -> None:
        self._process = process

    async def next(self) -> dict[str, Any]:
        """Return the next line that it prints."""
        assert self._process.stdout is not None  # noqa: S101 - it is a pipe
        try:
            async with asyncio.timeout(2 * WAIT_S):
                line = await self._process.stdout.readline()
        except TimeoutError:
            raise NotObservedError("the command said nothing") from None
        if not line:
            raise NotObservedError("the command ended early")
        said: dict[str, Any] = json.loads(line)
        return said

    async def type(self, text: str) -> None:
        """Type a line into it, and into what it runs."""
        assert self._process.stdin is not None  # noqa: S101 - it is a pipe
        self._process.stdin.write(f"{text}\n".encode())
        await self._process.stdin.drain()

    async def end(self) -> tuple[int, list[dict[str, Any]]]:
        """Wait until it ends; return its exit code and what it still printed."""
        try:
            async with asyncio.timeout(2 * WAIT_S):
                out, _ = await self._process.communicate()
        except TimeoutError:
            raise NotObservedError("the command did not end") from None
        return self._process.returncode or 0, [json.loads(line) for line in out.splitlines()]

    async def stop(self) -> None:
        """End it if it has not ended by itself."""
        await processes.stop(self._process)
