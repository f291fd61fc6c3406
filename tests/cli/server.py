"""A real server process, and the command line as people and scripts run it."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from typer.testing import CliRunner, Result

from foundry.cli import app, to_front

_LIMIT_S = 60.0


class Child:
    """A running ``python -m foundry`` whose output is read line by line; it is stopped when it takes too long."""

    def __init__(self, *args: str, env: dict[str, str] | None = None, limit_s: float = _LIMIT_S) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "foundry", *args],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            stdin=subprocess.DEVNULL,
            env={**os.environ, **(env or {})},
            text=True,
            start_new_session=True,
        )
        self._watchdog = threading.Timer(limit_s, self.process.terminate)  # so that it can clean up
        self._watchdog.start()

    def forget_the_time(self) -> None:
        """Let it run for as long as the tests do."""
        self._watchdog.cancel()

    def line(self) -> str:
        """Return the next line of its output, empty at the end."""
        assert self.process.stdout is not None
        return self.process.stdout.readline().rstrip("\n")

    def object(self) -> Any:
        """Return the next line of its output as JSON."""
        return json.loads(self.line())

    def until(self, wanted: str) -> Any:
        """Return the first of the next lines that contains a text, as JSON."""
        while line := self.line():
            if wanted in line:
                return json.loads(line)
        raise AssertionError(f"it ended without {wanted}")

    def end(self, number: signal.Signals | None = None) -> tuple[int, str, str]:
        """Send a signal if one is given, wait, and return exit code, rest of the output, and standard error."""
        if number is not None:
            self.process.send_signal(number)
        out, err = self.process.communicate()
        self._watchdog.cancel()
        return self.process.returncode, out, err


@contextmanager
def child(*args: str, env: dict[str, str] | None = None, limit_s: float = _LIMIT_S) -> Iterator[Child]:
    """Run a command in a process of its own for the length of a block."""
    running = Child(*args, env=env, limit_s=limit_s)
    try:
        yield running
    finally:
        running.end(signal.SIGKILL if running.process.poll() is None else None)


class Terminal:
    """A running ``python -m foundry`` that believes to be on a terminal."""

    def __init__(self, *args: str, env: dict[str, str]) -> None:
        self._master, slave = pty.openpty()
        command = [sys.executable, "-m", "foundry", *args]
        self.process = subprocess.Popen(
            command, stdin=slave, stdout=slave, stderr=slave, env={**os.environ, **env}, start_new_session=True
        )
        os.close(slave)
        self._watchdog = threading.Timer(_LIMIT_S, self.process.kill)
        self._watchdog.start()

    def until(self, wanted: str) -> None:
        """Read until the terminal got a text."""
        seen = b""
        while wanted.encode() not in seen:
            try:
                seen += os.read(self._master, 65536)
            except OSError:  # how a terminal says that nobody is there any more
                raise AssertionError(f"it ended without {wanted}: {seen[-2000:]!r}") from None

    def type(self, text: str) -> None:
        """Type a text."""
        os.write(self._master, text.encode())

    def end(self, number: signal.Signals | None = None) -> int:
        """Send a signal unless it ends by itself, read what is still written, and return the exit code."""
        if number:
            self.process.send_signal(number)
        with suppress(OSError):
            while os.read(self._master, 65536):
                pass
        os.close(self._master)
        self._watchdog.cancel()
        return self.process.wait()


@contextmanager
def terminal(*args: str, env: dict[str, str]) -> Iterator[Terminal]:
    """Run a command on a terminal of its own for the length of a block."""
    running = Terminal(*args, env=env)
    try:
        yield running
    finally:
        if running.process.poll() is None:
            running.end(signal.SIGKILL)


@dataclass
class Server:
    """A server that is ready, and everybody's tokens."""

    target: str
    data_dir: Path
    tokens: dict[str, str] = field(default_factory=dict)

    def env(self, who: str) -> dict[str, str]:
        """Return the environment of somebody's commands."""
        if who not in self.tokens:
            args = ["token", "--data-dir", str(self.data_dir), "--subject", who, "--name", f"{who.title()} X."]
            self.tokens[who] = CliRunner().invoke(app, args).stdout.strip()
        return {"FOUNDRY_TARGET": self.target, "FOUNDRY_TOKEN": self.tokens[who]}

    def run(self, who: str, *args: str, stdin: str | None = None) -> Result:
        """Run a command as somebody."""
        return CliRunner().invoke(app, to_front(args), env=self.env(who), input=stdin)

    def ask(self, who: str, *args: str) -> Any:
        """Run a command as somebody with --json and return its only result."""
        (line,) = self.lines(who, *args)
        return line

    def lines(self, who: str, *args: str) -> list[Any]:
        """Run a command as somebody with --json and return its results."""
        result = self.run(who, "--json", *args)
        assert result.exit_code == 0, result.stderr
        assert result.stderr == ""
        return [json.loads(line) for line in result.stdout.splitlines()]


@contextmanager
def running_server(data_dir: Path) -> Iterator[Server]:
    """Run a development server for the length of a block."""
    with child("serve", "--dev", "--data-dir", str(data_dir), "--listen", "127.0.0.1:0") as process:
        process.forget_the_time()
        ready = process.line()
        assert ready.startswith("foundry ready on "), process.end()[2]
        yield Server(ready.removeprefix("foundry ready on "), data_dir)
        process.process.send_signal(signal.SIGTERM)
        assert process.process.wait(_LIMIT_S) == 0
