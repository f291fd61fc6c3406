"""The processes that play the clients of the demo: some are always ready before they are needed."""

from __future__ import annotations

import asyncio
import json
from asyncio.subprocess import PIPE, Process
from collections import deque
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from foundry.cli.demo import processes

_READY: Final = 2


class Troupe:
    """Starts client processes ahead of time; each plays one part and ends."""

    def __init__(self) -> None:
        self._waiting: deque[asyncio.Task[Process]] = deque()

    def gather(self) -> None:
        """Have as many ready as may be needed at once."""
        while len(self._waiting) < _READY:
            start = processes.start("-m", "foundry.cli.demo.understudy", stderr=PIPE)
            self._waiting.append(asyncio.create_task(start))

    async def play(
        self, module: str, *args: str, env: Mapping[str, str] | None = None, stderr: Path | str = ""
    ) -> Process:
        """Have a process be ``python -m module args`` from now on.

        Args:
            module: What it is.
            args: Its arguments.
            env: Its variables named ``FOUNDRY_*``.
            stderr: File that its standard error is appended to; empty for a pipe.
        """
        self.gather()
        process = await self._waiting.popleft()
        self.gather()
        part = {"module": module, "args": args, "env": dict(env or {}), "stderr": str(stderr)}
        assert process.stdin is not None  # noqa: S101 - it is a pipe
        process.stdin.write(json.dumps(part).encode() + b"\n")
        return process

    async def dismiss(self) -> None:
        """End those that are still waiting."""
        for waiting in self._waiting:
            await processes.kill(await waiting)
        self._waiting.clear()
