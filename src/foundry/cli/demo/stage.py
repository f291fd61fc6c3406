"""The stage of the demo: a real server process, and everybody's programs around it."""

from __future__ import annotations

import asyncio
import json
import os
import re
from asyncio.subprocess import Process
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from foundry.cli.demo import processes
from foundry.cli.demo.actor import WAIT_S, Actor, NotObservedError
from foundry.cli.demo.cast import CAST, SRE, Person
from foundry.cli.demo.errand import Errand
from foundry.cli.demo.example import Example
from foundry.cli.demo.transcript import Transcript
from foundry.cli.demo.troupe import Troupe

_READY: Final = re.compile(rb"foundry ready on (\S+)")
_VALID_FOR: Final = "12h"


@dataclass(frozen=True, slots=True)
class Ran:
    """What a command of ``foundry --json`` printed, and its exit code."""

    exit_code: int
    results: list[dict[str, Any]]
    error: dict[str, Any]

    @property
    def result(self) -> dict[str, Any]:
        """The only result.

        Raises:
            NotObservedError: The command was refused or printed nothing.
        """
        if self.exit_code or not self.results:
            raise NotObservedError(f"the command was refused: {self.error.get('message', f'exit {self.exit_code}')}")
        return self.results[-1]


class Stage:
    """Starts the server and clients, and stops whatever it started when it is left.

    Args:
        example: The project to play with.
        data_dir: Data directory of the server.
        transcript: Where the play is written down.

    Attributes:
        target: Where the server is.
        project_id: The project of the stories.
        revision_id: The project in which work goes on after them.
        run_id: The run that is watched.
        comment_id: The comment that was made.
        errand: The command that runs while others watch it.
        entries: Entries of the log of the project.
        verified: What verifying it came to.
        actors: Who has opened the project, by subject.
    """

    def __init__(self, example: Example, data_dir: Path, transcript: Transcript) -> None:
        self.example = example
        self.data_dir = data_dir
        self.transcript = transcript
        self.target = ""
        self.project_id = ""
        self.revision_id = ""
        self.run_id = ""
        self.comment_id = ""
        self.errand: Errand | None = None
        self.entries = 0
        self.verified: dict[str, Any] = {}
        self.actors: dict[str, Actor] = {}
        self._tokens: dict[str, str] = {}
        self._server: Process | None = None
        self._troupe = Troupe()
        self._cleanup = AsyncExitStack()

    async def __aenter__(self) -> Self:
        self._cleanup.push_async_callback(self._troupe.dismiss)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._cleanup.aclose()

    async def start_server(self) -> None:
        """Start the server and wait until it says that it is ready."""
        self.data_dir.mkdir(parents=True, exist_ok=True)
        log_path = self.data_dir / "demo-server.log"
        log = self._cleanup.enter_context(log_path.open("wb"))
        where = ("--data-dir", str(self.data_dir), "--listen", "127.0.0.1:0")
        server = self._server = await processes.start("-m", "foundry", "serve", "--dev", *where, stderr=log)
        self._cleanup.push_async_callback(processes.stop, server)
        self._troupe.gather()
        assert server.stdout is not None  # noqa: S101 - it is a pipe
        try:
            async with asyncio.timeout(3 * WAIT_S):
                async for line in server.stdout:
                    if ready := _READY.search(line):
                        self.target = ready[1].decode()
                        return
        except TimeoutError:
            pass
        raise NotObservedError(f"the server did not become ready:\n{processes.tail(log_path)}")

    async def mint_tokens(self) -> None:
        """Mint everybody's token by the command ``foundry token``."""

        async def mint(person: Person) -> None:
            args = ("--data-dir", str(self.data_dir), "--subject", person.subject)
            ran = await self.run(None, "token", *args, "--name", person.name, "--ttl", _VALID_FOR)
            self._tokens[person.subject] = ran.result["token"]

        async with asyncio.TaskGroup() as group:
            for person in CAST:
                group.create_task(mint(person))

    async def run(self, who: Person | None, *args: str) -> Ran:
        """Run a command of ``foundry --json`` as somebody, in a process of its own."""
        env = {"FOUNDRY_TARGET": self.target}
        if who is not None:
            env["FOUNDRY_TOKEN"] = self._tokens[who.subject]
        process = await self._troupe.play("foundry", "--json", *args, env=env)
        try:
            async with asyncio.timeout(3 * WAIT_S):
                out, err = await process.communicate()
        except TimeoutError:
            raise NotObservedError(f"`foundry {args[0]}` did not end") from None
        finally:
            await processes.kill(process)
        return Ran(process.returncode or 0, [json.loads(line) for line in out.splitlines()], _last_object(err))

    async def begin(self, who: Person, *args: str) -> Errand:
        """Begin a command of ``foundry --json`` as somebody, and let it run."""
        env = {"FOUNDRY_TARGET": self.target, "FOUNDRY_TOKEN": self._tokens[who.subject]}
        errand = Errand(await self._troupe.play("foundry", "--json", *args, env=env, stderr=os.devnull))
        self._cleanup.push_async_callback(errand.stop)
        return errand

    async def enter(self, who: Person) -> Actor:
        """Have somebody open the project in a client process of their own."""
        log_path = self.data_dir / "demo-clients.log"
        env = {"FOUNDRY_TARGET": self.target, "FOUNDRY_TOKEN": self._tokens[who.subject]}
        process = await self._troupe.play("foundry.cli.player", self.project_id, env=env, stderr=log_path)
        actor = await Actor.enter(who, process, log_path)
        self._cleanup.push_async_callback(actor.leave)
        self.actors[who.subject] = actor
        return actor

    def actor(self, who: Person) -> Actor:
        """Return somebody who has opened the project."""
        return self.actors[who.subject]

    async def everybody_leaves(self) -> None:
        """Close all client processes; the server stays."""
        await asyncio.gather(*(actor.leave() for actor in self.actors.values()))

    async def read(self, field: str, version: int) -> dict[str, Any]:
        """Return text of a field, number and hash of a version, as Sam's program reads them."""
        return (await self.actor(SRE).do("read", field=field, version=str(version))).result

    async def server_ended(self) -> None:
        """Wait until the server process ends."""
        if self._server is not None:
            await self._server.wait()


def _last_object(err: bytes) -> dict[str, Any]:
    """Return the error that a command printed as JSON, or its last words."""
    lines = err.decode("utf-8", errors="replace").strip().splitlines()
    if not lines:
        return {}
    try:
        found: dict[str, Any] = json.loads(lines[-1])
    except ValueError:
        found = {"message": lines[-1]}
    return found
