"""The proxy: it passes everything on, until it is told to lose the network, in either direction."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

import pytest

from tests.faults.programs import ProxyProcess
from tests.faults.proxy import Proxy
from tests.support import PATIENCE_S

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path


_LINE_BYTES_MAX = 2_000_000


class EchoServer:
    """Answers every line with itself.

    Attributes:
        heard: The lines that came, over all connections.
    """

    def __init__(self) -> None:
        self.heard: list[bytes] = []
        self.news = asyncio.Condition()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while line := await reader.readline():
                async with self.news:
                    self.heard.append(line)
                    self.news.notify_all()
                writer.write(line)
                await writer.drain()
        writer.close()

    async def hears(self, line: bytes) -> None:
        async with asyncio.timeout(PATIENCE_S), self.news:
            await self.news.wait_for(lambda: line in self.heard)


class Caller:
    """One connection to a server."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    def say(self, line: bytes) -> None:
        self.writer.write(line)

    async def answer(self) -> bytes:
        async with asyncio.timeout(PATIENCE_S):
            return await self.reader.readline()

    async def is_cut(self) -> bool:
        """Wait for the end of the connection; nothing comes before it."""
        with contextlib.suppress(ConnectionError):
            return await self.answer() == b""
        return True


async def swallowed(proxy: Proxy, line: bytes) -> None:
    async with asyncio.timeout(PATIENCE_S):
        await proxy.has_swallowed(len(line))


@contextlib.asynccontextmanager
async def call(address: str) -> AsyncIterator[Caller]:
    host, _, port = address.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port), limit=_LINE_BYTES_MAX)
    try:
        yield Caller(reader, writer)
    finally:
        writer.transport.abort()


@pytest.fixture
async def echo() -> AsyncIterator[tuple[EchoServer, str]]:
    server = EchoServer()
    listening = await asyncio.start_server(server.serve, "127.0.0.1", 0, limit=_LINE_BYTES_MAX)
    async with listening:
        host, port = listening.sockets[0].getsockname()
        yield server, f"{host}:{port}"


async def test_it_passes_everything_on_both_ways(echo: tuple[EchoServer, str]) -> None:
    """Also a megabyte, and also the end of what a client has to say."""
    async with Proxy(echo[1]) as proxy, call(proxy.address) as caller:
        line = b"x" * 1_000_000 + b"\n"
        caller.say(line)
        assert await caller.answer() == line
        caller.writer.write_eof()
        assert await caller.answer() == b""


async def test_what_goes_to_the_server_is_swallowed(echo: tuple[EchoServer, str]) -> None:
    """The other direction still flows: what the server sends comes."""
    async with Proxy(echo[1]) as proxy, call(proxy.address) as lost, call(proxy.address) as other:
        other.say(b"before\n")
        assert await other.answer() == b"before\n"
        proxy.swallow(to_client=False)
        lost.say(b"lost\n")
        await swallowed(proxy, b"lost\n")
        proxy.heal()
        assert await lost.is_cut(), "a stream with a hole in it must not go on"
        other.say(b"after\n")
        assert await other.answer() == b"after\n"
    assert echo[0].heard == [b"before\n", b"after\n"]


async def test_what_comes_from_the_server_is_swallowed(echo: tuple[EchoServer, str]) -> None:
    """The server hears and answers, and the client hears nothing, not even that the server hangs up."""
    async with Proxy(echo[1]) as proxy, call(proxy.address) as caller:
        proxy.swallow(to_server=False)
        caller.say(b"heard\n")
        await echo[0].hears(b"heard\n")
        await swallowed(proxy, b"heard\n")
        assert not caller.reader.at_eof()
        proxy.heal()
        assert await caller.is_cut()


async def test_new_connections_are_swallowed_as_well(echo: tuple[EchoServer, str]) -> None:
    """They are accepted, as by a network that has lost what lies behind it, and stay silent."""
    async with Proxy(echo[1]) as proxy:
        proxy.swallow()
        async with call(proxy.address) as caller:
            caller.say(b"hello\n")
            await swallowed(proxy, b"hello\n")
            assert not echo[0].heard


async def test_a_pause_loses_nothing(echo: tuple[EchoServer, str]) -> None:
    """What is said during a pause comes after it, on the same connection."""
    async with Proxy(echo[1]) as proxy, call(proxy.address) as caller:
        proxy.pause(to_server=False)
        caller.say(b"one\n")
        await echo[0].hears(b"one\n")
        proxy.pause()
        caller.say(b"two\n")
        assert proxy.connections == 1
        proxy.heal()
        assert [await caller.answer(), await caller.answer()] == [b"one\n", b"two\n"]
        assert not proxy.swallowed_bytes


async def test_a_cut_ends_what_is_there_and_nothing_else(echo: tuple[EchoServer, str]) -> None:
    async with Proxy(echo[1]) as proxy:
        async with call(proxy.address) as caller:
            caller.say(b"one\n")
            await caller.answer()
            proxy.cut()
            assert await caller.is_cut()
        async with call(proxy.address) as caller:
            caller.say(b"two\n")
            assert await caller.answer() == b"two\n"


async def test_refusing_ends_new_connections_until_it_is_healed(echo: tuple[EchoServer, str]) -> None:
    async with Proxy(echo[1]) as proxy, call(proxy.address) as there:
        there.say(b"one\n")
        await there.answer()
        proxy.refuse()
        async with call(proxy.address) as caller:
            assert await caller.is_cut()
        there.say(b"two\n")
        assert await there.answer() == b"two\n"
        proxy.heal()
        async with call(proxy.address) as caller:
            caller.say(b"three\n")
            assert await caller.answer() == b"three\n"


async def test_a_server_that_is_not_there_is_an_end_at_once() -> None:
    """As without a proxy, a moment later."""
    listening = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)
    port = listening.sockets[0].getsockname()[1]
    listening.close()
    await listening.wait_closed()
    async with Proxy(f"127.0.0.1:{port}") as proxy, call(proxy.address) as caller:
        assert await caller.is_cut()


async def test_it_runs_as_a_process_of_its_own(echo: tuple[EchoServer, str], tmp_path: Path) -> None:
    """What it is told there is in force when it answers."""
    async with ProxyProcess(echo[1], tmp_path / "proxy.log") as proxy, call(proxy.address) as caller:
        caller.say(b"one\n")
        assert await caller.answer() == b"one\n"
        told = await proxy.do("swallow", to_server=True, to_client=False)
        assert told["connections"] == 1
        caller.say(b"lost\n")
        while (await proxy.do("swallow"))["swallowed_bytes"] < len(b"lost\n"):
            pass
        await proxy.do("heal")
        assert await caller.is_cut()
    assert echo[0].heard == [b"one\n"]
