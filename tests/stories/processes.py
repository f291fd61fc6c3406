"""Real processes: servers, clients and commands, each bounded in time and ended by its own id."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import os
import signal
import sys
from asyncio.subprocess import PIPE, Process
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from coreason.foundry.v1.draft_pb2 import CreateDraftResponse
from coreason.foundry.v1.lock_pb2 import AcquiredLock
from coreason.foundry.v1.run_pb2 import LogLine, Run
from coreason.foundry.v1.session_pb2 import ServerEvent
from foundry.client import connect

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from contextlib import AbstractAsyncContextManager

    from coreason.foundry.v1.audit_pb2 import LogEntry
    from foundry.client import Foundry

_HERE = Path(__file__).parent
_LINE_BYTES_MAX = 16 * 1024 * 1024
_READY = "foundry ready on "

#: Bound on every wait for a process, seconds: a busy machine may take long to start one.
PATIENCE_S = 60.0


@dataclass(frozen=True, slots=True)
class Finished:
    """What a command printed, and its exit code."""

    exit_code: int
    out: str
    err: str


class Child:
    """A Python process and the lines it has printed. Used with ``async with``, which ends it by SIGKILL at the latest.

    Args:
        args: Arguments after the interpreter.
        log: File that its standard error is appended to; shown when something that was waited for does not come.
        env: Variables beside those of this process.

    Attributes:
        patience_s: Bound on every wait for a line, seconds.
    """

    patience_s = PATIENCE_S

    def __init__(self, *args: str, log: Path, env: Mapping[str, str] | None = None) -> None:
        self._args = args
        self._log = log
        self._env = env or {}
        self._news = asyncio.Condition()
        self.lines: list[str] = []

    async def __aenter__(self) -> Self:
        with self._log.open("ab") as log:
            self.process = await _start(*self._args, stderr=log, env=self._env)
        self._listening = asyncio.create_task(self._listen())
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.kill()

    async def kill(self) -> None:
        """SIGKILL: it ends at once and cleans nothing up."""
        await self._gone(signal.SIGKILL)

    async def terminate(self) -> int:
        """SIGTERM: it ends in its own way; returns the exit code."""
        return await self._gone(signal.SIGTERM)

    async def _gone(self, number: signal.Signals) -> int:
        if self.process.returncode is None:
            # Not by the Popen object, which would take the exit code away from whoever waits for it.
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.process.pid, number)
        async with asyncio.timeout(PATIENCE_S):
            exit_code = await self.process.wait()
        # What it printed before it died still counts; a grandchild must not keep the pipe open for ever.
        await asyncio.wait({self._listening}, timeout=1.0)
        self._listening.cancel()
        await asyncio.wait({self._listening})
        if self.process.stdin:
            self.process.stdin.close()
        return exit_code

    async def tell(self, **fields: object) -> None:
        """Send a JSON line."""
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(fields).encode() + b"\n")
        await self.process.stdin.drain()

    async def line(self, matches: Callable[[str], bool], what: str) -> str:
        """The first line that matches, among those already printed and those to come."""
        return (await self.matching(matches, 1, what))[0]

    async def matching(self, matches: Callable[[str], bool], wanted: int, what: str) -> list[str]:
        """The lines that match, as soon as there are as many as wanted."""
        found: list[str] = []
        looked = 0
        try:
            async with asyncio.timeout(self.patience_s), self._news:
                while True:
                    found += [line for line in self.lines[looked:] if matches(line)]
                    looked = len(self.lines)
                    if len(found) >= wanted:
                        return found
                    assert not self._listening.done(), f"the process ended before {what}:\n{self._last_words()}"
                    await self._news.wait()
        except TimeoutError:
            raise AssertionError(f"not within {self.patience_s:g} s: {what}\n{self._last_words()}") from None

    def _last_words(self) -> str:
        return "\n".join([*self.lines[-5:], self._log.read_text("utf-8")[-3_000:]])

    async def _listen(self) -> None:
        assert self.process.stdout is not None
        try:
            async for line in self.process.stdout:
                async with self._news:
                    self.lines.append(line.decode().rstrip("\n"))
                    self._news.notify_all()
        finally:
            async with self._news:
                self._news.notify_all()


class ServerProcess(Child):
    """``foundry serve --dev``. Entering waits until it is ready.

    Args:
        env: Settings that are not the defaults, as ``FOUNDRY_*``.

    Attributes:
        address: Where it serves. Another process may take the same address over.
    """

    def __init__(self, data_dir: Path, *, address: str = "127.0.0.1:0", env: Mapping[str, str] | None = None) -> None:
        where = ("--data-dir", str(data_dir), "--listen", address)
        super().__init__("-m", "foundry", "serve", "--dev", *where, log=data_dir.with_suffix(".log"), env=env)
        self.data_dir = data_dir
        self._settings = dict(env or {})

    async def __aenter__(self) -> Self:
        await super().__aenter__()
        try:
            ready = await self.line(lambda line: line.startswith(_READY), "ready")
        except BaseException:
            await self.kill()
            raise
        self.address = ready.removeprefix(_READY)
        return self

    def again(self, **env: str) -> ServerProcess:
        """A server on the same data at the same address, to be entered when this one is gone."""
        return ServerProcess(self.data_dir, address=self.address, env={**self._settings, **env})

    async def token(self, subject: str, name: str = "") -> str:
        """A token by the command that people use."""
        options = ("--data-dir", str(self.data_dir), "--subject", subject, "--name", name)
        minted = await run("token", *options)
        assert minted.exit_code == 0, minted.err
        return minted.out.strip()

    async def connect(self, subject: str, name: str = "") -> AbstractAsyncContextManager[Foundry]:
        """A client of the SDK in this process."""
        return connect(self.address, await self.token(subject, name))


class Player(Child):
    """A person's program: a client process with a session in a project; see ``player.py``."""

    def __init__(self, server: ServerProcess, token: str, project_id: str, **options: object) -> None:
        super().__init__(str(_HERE / "player.py"), log=server.data_dir.with_suffix(".player.log"))
        self._setting = {"target": server.address, "token": token, "project_id": project_id, **options}
        self._ids = count(1)

    async def __aenter__(self) -> Self:
        await super().__aenter__()
        try:
            await self.tell(**self._setting)
            await self.sees(lambda event: event.HasField("caught_up"), "caught up")
        except BaseException:
            await self.kill()
            raise
        return self

    async def do(self, command: str, **details: object) -> dict[str, Any]:
        """Have it do something; returns its answer, a result or a refusal."""
        number = next(self._ids)
        await self.tell(id=number, do=command, **details)
        prefix = f'{{"reply": {number},'
        answer: dict[str, Any] = json.loads(await self.line(lambda line: line.startswith(prefix), command))
        return answer

    async def acquire(self, field: str) -> AcquiredLock:
        """Have it take a lock."""
        return AcquiredLock.FromString(_bytes(await self.do("acquire", field=field)))

    async def save(self, field: str, text: str, **options: object) -> CreateDraftResponse:
        """Have it save a field whose lock it holds."""
        return CreateDraftResponse.FromString(_bytes(await self.do("save", field=field, text=text, **options)))

    async def sees(self, matches: Callable[[ServerEvent], bool], what: str) -> ServerEvent:
        """Wait for an event that the server sent it."""
        return _event(await self.line(lambda line: _is_event(line) and matches(_event(line)), what))

    async def sees_entry(self, arm: str, **expected: object) -> LogEntry:
        """Wait for an entry of the log with these particulars."""

        def matches(event: ServerEvent) -> bool:
            if event.entry.WhichOneof("payload") != arm:
                return False
            payload = getattr(event.entry, arm)
            return all(getattr(payload, name) == value for name, value in expected.items())

        return (await self.sees(matches, f"{arm} {expected}")).entry

    async def start_run(self, harness: str) -> Run:
        """Have it start a run of the newest version."""
        return Run.FromString(_bytes(await self.do("start_run", harness=harness)))

    async def write(self, lines: list[str]) -> None:
        """Have it write to the console of its run."""
        _bytes(await self.do("write", lines=lines))

    async def finish_run(self) -> Run:
        """Have it finish its run as PASSED, once every line is stored."""
        return Run.FromString(_bytes(await self.do("finish_run")))

    async def console(self, run_id: str) -> tuple[list[LogLine], Run]:
        """All lines of a run as they came to it, and the finished run behind the last one."""
        ended = await self.sees(lambda event: event.run_log.finished_run.run_id == run_id, "the end of the run")
        logs = [event.run_log for event in self.events if event.run_log.run_id == run_id]
        assert logs[-1].HasField("finished_run"), "lines came behind the end"
        return [line for log in logs for line in log.lines], ended.run_log.finished_run

    @property
    def events(self) -> list[ServerEvent]:
        """All events that the server has sent it so far."""
        return [_event(line) for line in self.lines if _is_event(line)]


async def run(*args: str) -> Finished:
    """Run a command of ``foundry`` to its end."""
    process = await _start("-m", "foundry", *args, stderr=PIPE, env={})
    try:
        async with asyncio.timeout(PATIENCE_S):
            out, err = await process.communicate()
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()
    assert process.returncode is not None
    return Finished(process.returncode, out.decode(), err.decode())


async def _start(*args: str, stderr: Any, env: Mapping[str, str]) -> Process:
    """Start Python. None of this process's own settings of foundry is passed on."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("FOUNDRY_")}
    return await asyncio.create_subprocess_exec(
        sys.executable, *args, stdin=PIPE, stdout=PIPE, stderr=stderr, env={**inherited, **env}, limit=_LINE_BYTES_MAX
    )


def _is_event(line: str) -> bool:
    return line.startswith('{"event":')


def _event(line: str) -> ServerEvent:
    return ServerEvent.FromString(base64.b64decode(json.loads(line)["event"]))


def _bytes(answer: dict[str, Any]) -> bytes:
    assert "result" in answer, answer
    return base64.b64decode(answer["result"])
