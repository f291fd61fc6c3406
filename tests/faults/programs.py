"""The programs of this folder as processes: recorded clients, and proxies."""

from __future__ import annotations

import asyncio
import contextlib
import json
from itertools import count
from typing import TYPE_CHECKING, Any, Self

from tests.stories.processes import Child

if TYPE_CHECKING:
    from pathlib import Path


class _Program(Child):
    """A program that is told what to do by JSON lines."""

    def __init__(self, *args: str, log: Path) -> None:
        super().__init__("-m", *args, log=log)
        self._ids = count(1)

    async def __aexit__(self, *exc: object) -> None:
        if self.process.returncode is None:
            await super().__aexit__(*exc)
            return
        # It has ended by itself; its standard input may have been closed by that, and closing twice is an error.
        await asyncio.wait({self._listening})
        if self.process.stdin and not self.process.stdin.is_closing():
            self.process.stdin.close()

    async def tell(self, **fields: object) -> None:
        """Send a JSON line. Whether the program is still there shows in its answer, with its last words."""
        with contextlib.suppress(RuntimeError, ConnectionError):
            await super().tell(**fields)

    async def do(self, command: str, **details: object) -> dict[str, Any]:
        """Have it do something, and wait for its answer."""
        number = next(self._ids)
        await self.tell(id=number, do=command, **details)
        return await self._said(f'{{"reply": {number},', command)

    async def _said(self, prefix: str, what: str) -> dict[str, Any]:
        said: dict[str, Any] = json.loads(await self.line(lambda line: line.startswith(prefix), what))
        return said


class RecordedClient(_Program):
    """A client that records what it does; see ``client.py``. Entering waits until it has a session.

    Args:
        record: File for the recording; its name without the suffix is the name of the process in the history.
        setting: As of ``client.Setting``.

    Attributes:
        session_id: Its first session.
    """

    def __init__(self, record: Path, **setting: object) -> None:
        super().__init__("tests.faults.client", log=record.with_suffix(".log"))
        self._setting = {"record": str(record), "process": record.stem, **setting}
        self.record = record

    async def __aenter__(self) -> Self:
        await super().__aenter__()
        try:
            await self.tell(**self._setting)
            self.session_id = str((await self._said('{"ready":', "ready"))["ready"])
        except BaseException:
            await self.kill()
            raise
        return self

    async def ended(self) -> dict[str, int]:
        """Wait until it has ended by itself; returns how many operations of each kind and outcome it has done."""
        counts: dict[str, int] = (await self._said('{"ended":', "ended"))["ended"]
        await self.process.wait()
        return counts

    async def stop(self) -> dict[str, int]:
        """Have it leave and end."""
        await self.tell(do="stop")
        return await self.ended()


class ProxyProcess(_Program):
    """A proxy in front of ``target``; see ``proxy.py``.

    Attributes:
        address: Where it listens.
    """

    def __init__(self, target: str, log: Path) -> None:
        super().__init__("tests.faults.proxy", target, log=log)

    async def __aenter__(self) -> Self:
        await super().__aenter__()
        try:
            self.address = str((await self._said('{"address":', "an address"))["address"])
        except BaseException:
            await self.kill()
            raise
        return self


class StormProcess(_Program):
    """Many sessions in one program; see ``storm.py``. Entering waits until all of them hold their locks.

    Attributes:
        projects: Its projects, with the file of the recording of each.
    """

    patience_s = 100.0

    def __init__(self, log: Path, *, projects: dict[str, str], **setting: object) -> None:
        super().__init__("tests.faults.storm", log=log)
        self._setting = {"projects": projects, **setting}
        self.projects = projects

    async def __aenter__(self) -> Self:
        await super().__aenter__()
        try:
            await self.tell(**self._setting)
            await self._said('{"ready":', "ready")
        except BaseException:
            await self.kill()
            raise
        return self

    async def stop(self) -> dict[str, int]:
        """Have every session leave, and end."""
        await self.tell(do="stop")
        counts: dict[str, int] = (await self._said('{"ended":', "ended"))["ended"]
        await self.process.wait()
        return counts
