"""A proxy in front of Postgres that knows its protocol well enough to lose a connection exactly at a COMMIT.

Of the write lane's transactions, that is: those that a plain BEGIN began. In plaintext only.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final, Literal, Self

if TYPE_CHECKING:
    from asyncio import StreamReader, StreamWriter

#: Requests without a type byte: for TLS, for GSS encryption. Both are answered by one byte.
_ENCRYPTION: Final = {80877103, 80877104}
_QUERY: Final = b"Q"

#: Whether the database never hears of the COMMIT, or its server never hears the answer.
When = Literal["before", "after"]


class CommitProxy:
    """Listens on a free port of 127.0.0.1 in front of ``host:port``.

    Attributes:
        address: Where it listens, as ``host:port``.
        cuts: How many connections it has lost.
    """

    def __init__(self, target: str) -> None:
        self._target = target
        self._armed: When | None = None
        self._news = asyncio.Condition()
        self._tasks: set[asyncio.Task[None]] = set()
        self.address = ""
        self.cuts = 0

    def arm(self, when: When) -> None:
        """Lose the connection that commits next, once."""
        self._armed = when

    async def has_cut(self, times: int) -> None:
        """Wait until it has lost as many."""
        async with self._news:
            await self._news.wait_for(lambda: self.cuts >= times)

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        host, port = self._server.sockets[0].getsockname()
        self.address = f"{host}:{port}"
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _accept(self, client: StreamReader, to_client: StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            await self._serve(client, to_client)
        except (asyncio.CancelledError, OSError, asyncio.IncompleteReadError):
            pass
        finally:
            to_client.transport.abort()
            self._tasks.discard(task)

    async def _serve(self, client: StreamReader, to_client: StreamWriter) -> None:
        host, _, port = self._target.rpartition(":")
        server, to_server = await asyncio.open_connection(host, int(port))
        lost = asyncio.Event()
        answers = asyncio.create_task(self._answers(server, to_client, lost))
        requests = asyncio.create_task(self._requests(client, to_server, lost))
        try:
            await asyncio.wait({answers, requests}, return_when=asyncio.FIRST_COMPLETED)
            if lost.is_set():  # the answer to the COMMIT, which nobody is to hear
                await asyncio.wait({answers})
                async with self._news:
                    self.cuts += 1
                    self._news.notify_all()
        finally:
            for task in (answers, requests):
                task.cancel()
            await asyncio.gather(answers, requests, return_exceptions=True)
            to_server.transport.abort()

    async def _answers(self, server: StreamReader, to_client: StreamWriter, lost: asyncio.Event) -> None:
        while (data := await server.read(65_536)) and not lost.is_set():
            to_client.write(data)
            await to_client.drain()

    async def _requests(self, client: StreamReader, to_server: StreamWriter, lost: asyncio.Event) -> None:
        await self._greet(client, to_server)
        began = False
        while True:
            head = await client.readexactly(5)
            body = await client.readexactly(int.from_bytes(head[1:]) - 4)
            text = body.rstrip(b"\0;") if head[:1] == _QUERY else b""
            if text == b"COMMIT" and self._armed and began:
                when, self._armed = self._armed, None
                lost.set()
                if when == "after":
                    to_server.write(head + body)
                else:
                    to_server.write_eof()
                return
            if text:
                began = text == b"BEGIN" or (began and text not in {b"COMMIT", b"ROLLBACK"})
            to_server.write(head + body)
            await to_server.drain()

    async def _greet(self, client: StreamReader, to_server: StreamWriter) -> None:
        """Pass on what comes before messages have types: the answer to a wish for encryption is no."""
        while True:
            size = await client.readexactly(4)
            body = await client.readexactly(int.from_bytes(size) - 4)
            to_server.write(size + body)
            await to_server.drain()
            if int.from_bytes(body[:4]) not in _ENCRYPTION:
                return
