"""The servers that are measured, each a private process on loopback with its data in a temporary directory.

They are started by path, stopped by process id, and never shared: what runs on this machine already is left alone.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from foundry.identity import mint_dev_token
from tests.servers.postgres import private_postgres
from tests.servers.redis import private_redis

#: A server that is not ready by then will not be, seconds.
_START_S = 30.0
_STOP_S = 10.0

#: Foundry runs with its defaults but for these. Loads keep silent while another load has its round, and 500 sessions
#: watch besides the one that writes.
_FOUNDRY_ENVIRONMENT = {
    "FOUNDRY_LIVENESS__SILENCE_LIMIT_S": "120",
    "FOUNDRY_LIMITS__SESSIONS_PER_PROJECT_MAX": "1000",
    "FOUNDRY_LOG_LEVEL": "warning",
}


@dataclass(frozen=True, slots=True)
class Server:
    """A server that is ready.

    Attributes:
        address: ``HOST:PORT``.
    """

    name: str
    address: str
    pid: int
    data_dir: Path

    @property
    def port(self) -> int:
        """The port on loopback."""
        return int(self.address.rpartition(":")[2])

    def tokens(self, count: int) -> list[str]:
        """Development tokens of foundry for ``user-0`` and so on, each a person."""
        return [mint_dev_token(self.data_dir, subject=f"user-{number}") for number in range(count)]


@contextlib.contextmanager
def foundry(data_dir: Path) -> Iterator[Server]:
    """The embedded server: SQLite, every commit synced."""
    arguments = [sys.executable, "-m", "foundry", "serve", "--dev", "--listen", "127.0.0.1:0", "--log-level", "warning"]
    with _announced("foundry", [*arguments, "--data-dir", str(data_dir)], data_dir) as server:
        yield server


@contextlib.contextmanager
def shared_foundry(data_dir: Path) -> Iterator[Server]:
    """A server on a private Postgres, every commit synced, and a private Redis; both share the machine with it."""
    with private_postgres(fsync=True) as postgres, private_redis() as redis_server:
        stores = {"FOUNDRY_DATABASE_URL": postgres.server_url(postgres.create_database())}
        stores["FOUNDRY_REDIS_URL"] = redis_server.url
        arguments = [sys.executable, "-m", "foundry", "serve", "--dev", "--listen", "127.0.0.1:0"]
        arguments += ["--log-level", "warning", "--data-dir", str(data_dir)]
        with _announced("foundry", arguments, data_dir, stores) as server:
            yield server


@contextlib.contextmanager
def floor(data_dir: Path) -> Iterator[Server]:
    """The server that does nothing."""
    with _announced("floor", [sys.executable, "-m", "benchmarks.floor"], data_dir) as server:
        yield server


@contextlib.contextmanager
def etcd(data_dir: Path) -> Iterator[Server | None]:
    """A single etcd with its defaults (every commit synced), or None where there is none."""
    path = shutil.which("etcd")
    if path is None:
        yield None
        return
    client, peer = f"http://127.0.0.1:{_free_port()}", f"http://127.0.0.1:{_free_port()}"
    arguments = [path, "--name=bench", f"--data-dir={data_dir / 'etcd'}", "--log-level=error"]
    arguments += [f"--listen-client-urls={client}", f"--advertise-client-urls={client}"]
    arguments += [f"--listen-peer-urls={peer}", f"--initial-advertise-peer-urls={peer}"]
    arguments.append(f"--initial-cluster=bench={peer}")
    with _listening("etcd", arguments, data_dir, client.removeprefix("http://")) as server:
        yield server


@contextlib.contextmanager
def redis(data_dir: Path) -> Iterator[Server | None]:
    """A Redis that keeps everything in memory only, or None where there is none."""
    path = shutil.which("redis-server")
    if path is None:
        yield None
        return
    address = f"127.0.0.1:{_free_port()}"
    arguments = [path, "--bind", "127.0.0.1", "--port", address.rpartition(":")[2], "--save", "", "--daemonize", "no"]
    with _listening("redis", [*arguments, "--dir", str(data_dir)], data_dir, address) as server:
        yield server


@contextlib.contextmanager
def _announced(
    name: str, arguments: Sequence[str], data_dir: Path, environment: Mapping[str, str] | None = None
) -> Iterator[Server]:
    """A server that prints ``... ready on ADDRESS`` when it is."""
    with _process(name, arguments, data_dir, environment or {}) as process:
        assert process.stdout
        line = process.stdout.readline()
        if " ready on " not in line:
            raise RuntimeError(f"{name} did not start: {_said(name, data_dir)}")
        yield Server(name, line.rpartition(" ")[2].strip(), process.pid, data_dir)


@contextlib.contextmanager
def _listening(name: str, arguments: Sequence[str], data_dir: Path, address: str) -> Iterator[Server]:
    """A server that is ready when its port answers."""
    host, _, port = address.rpartition(":")
    with _process(name, arguments, data_dir, {}) as process:
        until = time.monotonic() + _START_S
        while True:
            with contextlib.suppress(OSError), socket.create_connection((host, int(port)), 1):
                break
            if process.poll() is not None or time.monotonic() > until:
                raise RuntimeError(f"{name} did not start: {_said(name, data_dir)}")
            time.sleep(0.05)  # until it listens, which other people's servers do not tell
        yield Server(name, address, process.pid, data_dir)


@contextlib.contextmanager
def _process(
    name: str, arguments: Sequence[str], data_dir: Path, environment: Mapping[str, str]
) -> Iterator[subprocess.Popen[str]]:
    data_dir.mkdir(parents=True, exist_ok=True)
    root = Path(__file__).resolve().parent.parent
    with (data_dir / f"{name}.stderr").open("w") as errors:
        process = subprocess.Popen(
            arguments,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            cwd=root,
            env={**os.environ, **_FOUNDRY_ENVIRONMENT, **environment},
        )
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if process.stdout:
            process.stdout.close()


def _said(name: str, data_dir: Path) -> str:
    return (data_dir / f"{name}.stderr").read_text().strip()[-2000:] or "it said nothing"


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port
