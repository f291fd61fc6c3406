"""A person of the demo, played by a client process of their own."""

from __future__ import annotations

import asyncio
import contextlib
import json
from asyncio.subprocess import Process
from collections.abc import Callable
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any, Final, Self

from foundry.cli.demo import processes
from foundry.cli.demo.cast import Person

WAIT_S: Final = 10.0
"""How long anybody waits for anything, in seconds."""


class NotObservedError(Exception):
    """What a story promises did not happen; the message says what happened instead."""


@dataclass(frozen=True, slots=True)
class Reply:
    """Answer to a command: a result, or a refusal with its reason."""

    result: dict[str, Any]
    reason: str
    message: str
    metadata: dict[str, str]


class Actor:
    """Drives one ``foundry.cli.player`` process and remembers everything it was told.

    Args:
        person: Who it plays.
        process: The running process.
        log_path: Where its standard error goes.
    """

    def __init__(self, person: Person, process: Process, log_path: Path) -> None:
        self.person = person
        self._process = process
        self._log_path = log_path
        self._ids = count(1)
        self._told: list[dict[str, Any]] = []
        self._news = asyncio.Condition()
        self._listening = asyncio.create_task(self._listen())

    @classmethod
    async def enter(cls, person: Person, process: Process, log_path: Path) -> Self:
        """Wait until the session of a process that was just started is open."""
        actor = cls(person, process, log_path)
        try:
            await actor._wait(lambda line: "opened" in line, "the project open")
        except BaseException:
            await actor.leave()
            raise
        return actor

    async def do(self, command: str, **details: str) -> Reply:
        """Have the process do something and wait for the answer."""
        number = next(self._ids)
        assert self._process.stdin is not None  # noqa: S101 - it is a pipe
        self._process.stdin.write(json.dumps({"id": number, "do": command, **details}).encode() + b"\n")
        await self._process.stdin.drain()
        line = await self._wait(lambda line: line.get("reply") == number, f"an answer to {command}")
        error = line.get("error", {})
        return Reply(
            line.get("result", {}), error.get("reason", ""), error.get("message", ""), error.get("metadata", {})
        )

    async def sees(self, event: str, **expected: object) -> dict[str, Any]:
        """Wait until the server told this process of an entry of the log with these particulars, and return it."""

        def matches(line: dict[str, Any]) -> bool:
            payload = line.get("event", {}).get("entry", {}).get(event)
            return payload is not None and all(payload.get(name) == value for name, value in expected.items())

        line = await self._wait(matches, f"{event} {expected}")
        entry: dict[str, Any] = line["event"]["entry"]
        return entry

    async def sees_person(self, subject: str) -> dict[str, Any]:
        """Wait until the server told this process that somebody is here, and return their presence."""

        def present(line: dict[str, Any]) -> dict[str, Any] | None:
            sessions = line.get("event", {}).get("presence", {}).get("sessions", [])
            return next((it for it in sessions if it["principal"]["subject"] == subject), None)

        found = present(await self._wait(lambda line: present(line) is not None, f"that {subject} is here"))
        return found or {}

    async def sees_lines(self, run_id: str, count: int) -> list[dict[str, Any]]:
        """Wait until the server told this process of so many lines of a run's console; return all it was told of."""
        seen = 0

        def enough(line: dict[str, Any]) -> bool:
            nonlocal seen
            seen += len(_lines_of(line, run_id))
            return seen >= count

        await self._wait(enough, f"{count} lines of the run")
        return self.lines(run_id)

    async def sees_end(self, run_id: str) -> dict[str, Any]:
        """Wait until the server told this process that a run is finished, and return the finished run."""

        def ended(line: dict[str, Any]) -> bool:
            log = line.get("event", {}).get("run_log", {})
            return log.get("run_id") == run_id and "finished_run" in log

        line = await self._wait(ended, "the end of the run")
        run: dict[str, Any] = line["event"]["run_log"]["finished_run"]
        return run

    def lines(self, run_id: str) -> list[dict[str, Any]]:
        """Return the lines of a run's console that this process was told of, in the order in which they came."""
        return [console_line for line in self._told for console_line in _lines_of(line, run_id)]

    def was_told(self, event: str) -> bool:
        """Whether this process was told of an entry of the log of some kind so far."""
        return any(event in line.get("event", {}).get("entry", {}) for line in self._told)

    async def leave(self) -> None:
        """Close the process's input, so that it leaves, and see it end."""
        if self._process.stdin is not None:
            self._process.stdin.close()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(WAIT_S):
                await self._process.wait()
        await processes.stop(self._process)
        await asyncio.wait({self._listening})

    async def die(self) -> None:
        """Kill the process with SIGKILL: no goodbye to the server."""
        await processes.kill(self._process)
        await asyncio.wait({self._listening})

    async def _listen(self) -> None:
        assert self._process.stdout is not None  # noqa: S101 - it is a pipe
        async for line in self._process.stdout:
            await self._hear(json.loads(line))
        await self._hear({"ended": True})

    async def _hear(self, line: dict[str, Any]) -> None:
        async with self._news:
            self._told.append(line)
            self._news.notify_all()

    async def _wait(self, matches: Callable[[dict[str, Any]], bool], what: str) -> dict[str, Any]:
        """Return the first line that matches, among those already told and those to come."""
        looked = 0
        try:
            async with asyncio.timeout(WAIT_S), self._news:
                while True:
                    for line in self._told[looked:]:
                        if matches(line):
                            return line
                        if "ended" in line:
                            said = processes.tail(self._log_path)
                            raise NotObservedError(f"{self.person.name}'s program ended before {what}: {said}")
                    looked = len(self._told)
                    await self._news.wait()
        except TimeoutError:
            raise NotObservedError(f"within {WAIT_S:.0f} s {self.person.name} did not see {what}") from None


def _lines_of(line: dict[str, Any], run_id: str) -> list[dict[str, Any]]:
    log = line.get("event", {}).get("run_log", {})
    lines: list[dict[str, Any]] = log.get("lines", []) if log.get("run_id") == run_id else []
    return lines
