"""A TCP proxy that can lose the network: it swallows, holds back or cuts what passes, each direction by itself.

In the loop of a test, as ``async with Proxy("127.0.0.1:50051") as proxy``; or as a process of its own, so that it does
not depend on that loop: ``python -m tests.faults.proxy 127.0.0.1:50051`` prints ``{"address": ...}``, then takes JSON
lines and answers each when it is done:

    -> {"id": 1, "do": "swallow", "to_server": true, "to_client": true}
    <- {"reply": 1, "connections": 2, "swallowed_bytes": 0}

It stands between sockets, so it acknowledges at the level of TCP what it swallows: TCP_USER_TIMEOUT never fires behind
it, and only silence (heartbeats, ticks, HTTP/2 pings) gives a loss away.
"""

from __future__ import annotations

import asyncio
import json
import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Self

if TYPE_CHECKING:
    from collections.abc import Callable

_CHUNK_BYTES: Final = 64 * 1024


class _Direction:
    """What becomes of the bytes that flow one way."""

    def __init__(self) -> None:
        self.swallowing = False
        self.flowing = asyncio.Event()
        self.flowing.set()


@dataclass(slots=True, eq=False)
class _Connection:
    """One connection, both ways. ``holed`` once some of its bytes were swallowed: it is of no more use to anybody."""

    client: asyncio.StreamWriter
    server: asyncio.StreamWriter | None = None
    holed: bool = False

    def cut(self) -> None:
        """End it at once, with what waits in it."""
        for end in (self.client, self.server):
            if end is not None:
                end.transport.abort()


@dataclass(slots=True)
class Proxy:
    """Listens on a free port of 127.0.0.1 and passes everything on to ``target``, as ``host:port``.

    Attributes:
        address: Where it listens, as ``host:port``.
        refusing: Whether new connections are cut at once.
        swallowed_bytes: How much was swallowed so far.
    """

    target: str
    address: str = ""
    refusing: bool = False
    swallowed_bytes: int = 0
    _to_server: _Direction = field(default_factory=_Direction)
    _to_client: _Direction = field(default_factory=_Direction)
    _connections: set[_Connection] = field(default_factory=set)
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)
    _news: asyncio.Condition = field(default_factory=asyncio.Condition)
    _server: asyncio.Server | None = None

    @property
    def connections(self) -> int:
        """How many connections there are."""
        return len(self._connections)

    async def has_swallowed(self, least_bytes: int) -> None:
        """Wait until at least as much was swallowed."""
        async with self._news:
            await self._news.wait_for(lambda: self.swallowed_bytes >= least_bytes)

    def swallow(self, *, to_server: bool = True, to_client: bool = True) -> None:
        """Read what comes and drop it. New connections are accepted, and stay silent."""
        self._to_server.swallowing = to_server
        self._to_client.swallowing = to_client

    def pause(self, *, to_server: bool = True, to_client: bool = True) -> None:
        """Hold back what comes until ``heal``: nothing is lost, as when the network comes back in time."""
        for direction, held in ((self._to_server, to_server), (self._to_client, to_client)):
            if held:
                direction.flowing.clear()
            else:
                direction.flowing.set()

    def refuse(self) -> None:
        """Cut new connections at once; those that are there go on."""
        self.refusing = True

    def heal(self) -> None:
        """Let everything pass again. Connections of which bytes were swallowed are cut: no TCP stream has holes."""
        self.refusing = False
        for direction in (self._to_server, self._to_client):
            direction.swallowing = False
            direction.flowing.set()
        for connection in list(self._connections):
            if connection.holed:
                connection.cut()

    def cut(self) -> None:
        """End all connections at once; new ones are welcome."""
        for connection in list(self._connections):
            connection.cut()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0, limit=_CHUNK_BYTES)
        host, port = self._server.sockets[0].getsockname()
        self.address = f"{host}:{port}"
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        self.cut()
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        connection = _Connection(writer)
        self._connections.add(connection)
        try:
            if not self.refusing:
                await self._serve(connection, reader)
        except asyncio.CancelledError:
            pass  # of a task that the streams of asyncio started, and only we end
        finally:
            connection.cut()
            self._connections.discard(connection)
            self._tasks.discard(task)

    async def _serve(self, connection: _Connection, reader: asyncio.StreamReader) -> None:
        host, _, port = self.target.rpartition(":")
        try:
            answers, connection.server = await asyncio.open_connection(host, int(port), limit=_CHUNK_BYTES)
        except OSError:
            return
        there = asyncio.create_task(self._pass(connection, reader, connection.server, self._to_server))
        back = asyncio.create_task(self._pass(connection, answers, connection.client, self._to_client))
        try:
            # Either end that breaks breaks the other; one that merely has no more to say is told on by `_pass`.
            await asyncio.gather(there, back)
        except OSError:
            pass
        finally:
            there.cancel()
            back.cancel()
            await asyncio.gather(there, back, return_exceptions=True)

    async def _pass(
        self, connection: _Connection, source: asyncio.StreamReader, sink: asyncio.StreamWriter, way: _Direction
    ) -> None:
        while data := await source.read(_CHUNK_BYTES):
            await way.flowing.wait()
            if way.swallowing:
                connection.holed = True
                async with self._news:
                    self.swallowed_bytes += len(data)
                    self._news.notify_all()
            else:
                sink.write(data)
                await sink.drain()
        await way.flowing.wait()
        if way.swallowing:
            connection.holed = True  # the other end is not to learn that this one is gone
            await asyncio.Event().wait()
        if sink.can_write_eof():
            sink.write_eof()


async def main(target: str) -> None:
    """Be a proxy, and do what standard input says until it ends."""
    loop = asyncio.get_running_loop()
    lines = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    async with Proxy(target) as proxy:
        _say(address=proxy.address)
        while line := await lines.readline():
            command: dict[str, Any] = json.loads(line)
            number, do = command.pop("id"), command.pop("do")
            deeds: dict[str, Callable[..., None]] = {
                "swallow": proxy.swallow,
                "pause": proxy.pause,
                "refuse": proxy.refuse,
                "heal": proxy.heal,
                "cut": proxy.cut,
            }
            deeds[do](**command)
            _say(reply=number, connections=proxy.connections, swallowed_bytes=proxy.swallowed_bytes)


def _say(**fields: object) -> None:
    sys.stdout.write(json.dumps(fields) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
