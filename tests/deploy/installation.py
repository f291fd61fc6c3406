"""An installation made of the files of the deployment, without Docker: the same commands and the same environment.

Only addresses and paths are replaced: where Docker has a name or a file of its own, here is a port or a folder.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cryptography.hazmat.primitives import serialization

from foundry.client import connect
from foundry.identity import make_dev_key, mint_dev_token
from tests.deploy.files import ROLES, compose, development, dockerfile
from tests.servers.ports import reserved_port
from tests.servers.postgres import binaries_of_the_wheel, execute, finished
from tests.stories.processes import PATIENCE_S, Child, Finished

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from contextlib import AbstractAsyncContextManager

    from foundry.client import Foundry
    from tests.servers.postgres import PrivateServer
    from tests.servers.redis import RedisServer

#: What the image starts: the program of this environment.
_ENTRYPOINT = Path(sys.executable).parent / dockerfile()["entrypoint"][0]
_READY = "foundry ready on "
#: Passwords for everybody but the administrator of the tests.
_RULES = """
host all foundry_admin 127.0.0.1/32 trust
host all all 127.0.0.1/32 scram-sha-256
"""


@dataclass(frozen=True)
class Installation:
    """Postgres with what roles.sql makes, Redis, and a folder for keys and sockets."""

    postgres: PrivateServer
    redis: RedisServer
    folder: Path

    def set_up(self) -> None:
        """Do what the image of Postgres does when it starts for the first time."""
        finished(execute(self.postgres.admin_url(), "DROP ROLE foundry_owner", "DROP ROLE foundry_server"))
        subprocess.run(
            [
                binaries_of_the_wheel() / "psql",
                "--no-psqlrc",
                "-v",
                "ON_ERROR_STOP=1",
                "-f",
                ROLES,
                self.postgres.admin_url(),
            ],
            env={**os.environ, **development()},
            check=True,
            capture_output=True,
            timeout=PATIENCE_S,
        )
        (self.postgres.directory / "data" / "pg_hba.conf").write_text(_RULES, "utf-8")
        finished(execute(self.postgres.admin_url(), "SELECT pg_reload_conf()"))
        self.folder.mkdir()
        public = make_dev_key(self.folder).public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        self._key.write_bytes(public)

    @property
    def _key(self) -> Path:
        return self.folder / "dev-public-key.pem"

    def environment(self, service: str, **given: str) -> dict[str, str]:
        """What a service finds in its environment, in this place."""
        here = {
            "postgres:5432": f"127.0.0.1:{self.postgres.port}",
            "redis:6379": self.redis.url.removeprefix("redis://").removesuffix("/0"),
            "0.0.0.0:50051": "127.0.0.1:0",
            "0.0.0.0:9464": f"127.0.0.1:{reserved_port()}",
            "/etc/foundry/token-public-key.pem": str(self._key),
            "/var/lib/foundry/": f"{self.folder}/{service}-",
        }
        names = {**dockerfile()["env"], **compose()["services"][service]["environment"], **given}
        for there, at_home in here.items():
            names = {name: value.replace(there, at_home) for name, value in names.items()}
        return names

    async def command(self, service: str, *command: str, **given: str) -> Finished:
        """Run a command in the environment of a service, its own unless another is given, to its end."""
        env = self.environment(service, **given)
        arguments = list(command or compose()["services"][service]["command"])
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("FOUNDRY_")}
        process = await asyncio.create_subprocess_exec(
            str(_ENTRYPOINT), *arguments, stdout=-1, stderr=-1, stdin=-3, env={**inherited, **env}
        )
        try:
            async with asyncio.timeout(PATIENCE_S):
                out, err = await process.communicate()
        finally:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()
        assert process.returncode is not None
        return Finished(process.returncode, out.decode(), err.decode())

    async def healthy(self, service: str) -> bool:
        """What the health check of a service says."""
        check = compose()["services"][service]["healthcheck"]["test"]
        target = check[-1].replace("/var/lib/foundry/", f"{self.folder}/{service}-")
        return (await self.command(service, *check[2:-1], target)).exit_code == 0

    @contextlib.asynccontextmanager
    async def serving(self, service: str, **given: str) -> AsyncIterator[Server]:
        """Run a service that serves, until the end of the block at the latest.

        Args:
            service: Its name.
            given: Settings that are not those of the file.
        """
        command = compose()["services"][service]["command"]
        env = self.environment(service, **given)
        process = Child(str(_ENTRYPOINT), *command, log=self.folder / f"{service}.log", env=env)
        async with process:
            ready = await process.line(lambda line: line.startswith(_READY), "ready")
            yield Server(process, ready.removeprefix(_READY), env["FOUNDRY_METRICS_LISTEN"])

    def connect(self, address: str, subject: str) -> AbstractAsyncContextManager[Foundry]:
        """A client of one server, of several with commas between, or of a proxy."""
        return connect(address, mint_dev_token(self.folder, subject=subject))

    def rows(self, query: str) -> list[Any]:
        """What is in the database, as a superuser sees it."""
        return list(finished(_rows(self.postgres.admin_url("foundry"), query)))


@dataclass(frozen=True)
class Server:
    """A service that serves: its process, where clients find it, and where metrics are."""

    process: Child
    address: str
    metrics: str


async def _rows(url: str, query: str) -> list[Any]:
    import asyncpg  # noqa: PLC0415 - for this one alone

    connection = await asyncpg.connect(url)
    try:
        return [tuple(row) for row in await connection.fetch(query)]
    finally:
        await connection.close()
