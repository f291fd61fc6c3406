"""A relay in front of a server that can keep its answers back."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

_CHUNK_BYTES = 64 * 1024


class Relay:
    """Passes TCP connections on.

    Attributes:
        address: Where clients connect.
        gagged: While it is set, what the server says is lost on the way; what clients say is not.
    """

    address: str

    def __init__(self, target: str) -> None:
        self._host, _, self._port = target.rpartition(":")
        self.gagged = False

    async def connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Pass one connection on until either side is gone."""
        with contextlib.suppress(OSError):
            from_server, to_server = await asyncio.open_connection(self._host, int(self._port))
            pumps = [
                asyncio.ensure_future(self._pump(reader, to_server, answers=False)),
                asyncio.ensure_future(self._pump(from_server, writer, answers=True)),
            ]
            try:
                await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for pump in pumps:
                    pump.cancel()
                await asyncio.gather(*pumps, return_exceptions=True)
                to_server.transport.abort()
        writer.transport.abort()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, answers: bool) -> None:
        while data := await reader.read(_CHUNK_BYTES):
            if not (answers and self.gagged):
                writer.write(data)
                await writer.drain()


@contextlib.asynccontextmanager
async def relay_to(target: str) -> AsyncIterator[Relay]:
    """A relay to ``target``, which may come and go, for the length of a context."""
    relay = Relay(target)
    connections: set[asyncio.Task[None]] = set()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.ensure_future(relay.connected(reader, writer))
        connections.add(task)
        task.add_done_callback(connections.discard)

    listening = await asyncio.start_server(accept, "127.0.0.1", 0)
    host, port = listening.sockets[0].getsockname()
    relay.address = f"{host}:{port}"
    try:
        yield relay
    finally:
        listening.close()
        for task in connections:
            task.cancel()
        await asyncio.gather(*connections, return_exceptions=True)
        await listening.wait_closed()
