"""A real server and its clients for tests that are not coroutines: their loop runs only while something is asked."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any, TypeVar

import uvloop
from redis import Redis

from coreason.foundry.v1 import run_pb2_grpc
from tests import backends
from tests.servers.redis import private_redis
from tests.stories.raw import RawStream
from tests.support import PATIENCE_S, open_channel, project_with, running_server

if TYPE_CHECKING:
    from collections.abc import Coroutine, Iterator
    from pathlib import Path

    from foundry.client import Foundry

T = TypeVar("T")
OWNER, EDITORS = "alice", ("bob", "carol")
PEOPLE = (OWNER, *EDITORS)


class World:
    """A server and a client of each person.

    Attributes:
        clients: The SDK's clients by subject.
    """

    clients: dict[str, Foundry]

    def __init__(self, runner: asyncio.Runner, data_dir: Path) -> None:
        self._runner = runner
        self._data_dir = data_dir
        self._stack = contextlib.AsyncExitStack()
        self._redis_url = ""

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Let the loop run until this is done."""
        return self._runner.run(work)

    async def start(self) -> None:
        """Serve, and connect everybody."""
        enter = self._stack.enter_async_context
        settings: dict[str, Any] = {}
        if backends.current.redis_url:  # one of its own, to be emptied
            self._redis_url = settings["redis_url"] = self._stack.enter_context(private_redis()).url
        server = await enter(running_server(self._data_dir, **settings))
        self._tokens = {who: server.token(who) for who in PEOPLE}
        self.clients = {who: await enter(server.connect(who)) for who in PEOPLE}
        self._channel = await enter(server.channel())
        self._channels = [await enter(open_channel(address)) for address in server.address.split(",")]

    async def stop(self) -> None:
        """Disconnect, and stop serving."""
        await self._stack.aclose()

    async def project(self) -> str:
        """A fresh project of the owner with the editors in it."""
        return await project_with(self.clients[OWNER], *EDITORS)

    def append(self, who: str) -> Any:
        """A call that appends to a console; to be made while the loop runs."""
        stub: Any = run_pb2_grpc.RunServiceStub(self._channel)
        return stub.AppendRunLog(metadata=(("authorization", f"Bearer {self._tokens[who]}"),), timeout=PATIENCE_S)

    def stream(self, who: str, at: int | None = None) -> RawStream:
        """A stream that is not open yet, of this server or of any; to be called while the loop runs."""
        channel = self._channel if at is None else self._channels[at % len(self._channels)]
        return RawStream(channel, self._tokens[who])

    @property
    def has_redis(self) -> bool:
        """Whether the servers share a Redis."""
        return bool(self._redis_url)

    def empty_redis(self) -> None:
        """Lose everything that is in it."""
        with Redis.from_url(self._redis_url) as redis:
            redis.flushall()


@contextlib.contextmanager
def running_world(data_dir: Path) -> Iterator[World]:
    """A world that ends with the context."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        world = World(runner, data_dir)
        world.run(world.start())
        try:
            yield world
        finally:
            world.run(world.stop())
