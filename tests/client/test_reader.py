"""What a server said last is read, whatever became of what this side wrote meanwhile."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
import pytest_asyncio

from foundry.client.live.reader import Reader
from tests.support import PATIENCE_S, open_channel, soon

_METHOD = "/tests.Peer/Talk"
#: Of this many calls about every second one is hidden by gRPC, which is left to chance.
_CALLS = 100


@pytest_asyncio.fixture
async def channel(request: pytest.FixtureRequest) -> AsyncIterator[grpc.aio.Channel]:
    """To a server that answers each of the first three messages twice and then ends the call with this code."""
    code: grpc.StatusCode = request.param

    async def talk(requests: AsyncIterator[bytes], context: grpc.aio.ServicerContext[bytes, bytes]) -> None:
        for _ in range(3):
            message = await anext(requests)
            await context.write(message)
            await context.write(message)
        if code is not grpc.StatusCode.OK:
            await context.abort(code, "enough", trailing_metadata=(("why", "three"),))

    server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler("tests.Peer", {"Talk": grpc.stream_stream_rpc_method_handler(talk)}),)
    )
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with open_channel(f"127.0.0.1:{port}") as channel:
        yield channel
    await server.stop(None)


async def _write_on_and_on(call: Any) -> None:
    with contextlib.suppress(grpc.aio.AioRpcError, asyncio.InvalidStateError):
        while True:
            await call.write(b"on and on")


@pytest.mark.parametrize("channel", [grpc.StatusCode.ABORTED, grpc.StatusCode.INTERNAL], indirect=True)
async def test_every_message_and_the_status_come_through_while_this_side_writes(channel: grpc.aio.Channel) -> None:
    for _ in range(_CALLS):
        call: Any = channel.stream_stream(_METHOD)(timeout=PATIENCE_S)
        reader = Reader[bytes](call)
        writing = asyncio.create_task(_write_on_and_on(call))
        assert [await soon(reader.read()) for _ in range(6)] == [b"on and on"] * 6
        for _ in range(2):  # asked again, it says the same
            with pytest.raises(grpc.aio.AioRpcError) as ended:
                await soon(reader.read())
            assert ended.value.details() == "enough"
            assert dict(ended.value.trailing_metadata() or ())["why"] == "three"
        await soon(writing)


@pytest.mark.parametrize("channel", [grpc.StatusCode.OK], indirect=True)
async def test_a_good_end_stays_one(channel: grpc.aio.Channel) -> None:
    for _ in range(_CALLS):
        call: Any = channel.stream_stream(_METHOD)(timeout=PATIENCE_S)
        reader = Reader[bytes](call)
        writing = asyncio.create_task(_write_on_and_on(call))
        assert [await soon(reader.read()) for _ in range(8)] == [*[b"on and on"] * 6, None, None]
        await soon(writing)


@pytest.mark.parametrize("channel", [grpc.StatusCode.OK], indirect=True)
async def test_a_call_that_this_side_cancels_is_not_the_servers_end(channel: grpc.aio.Channel) -> None:
    call: Any = channel.stream_stream(_METHOD)(timeout=PATIENCE_S)
    reader = Reader[bytes](call)
    await call.write(b"once")
    assert [await soon(reader.read()) for _ in range(2)] == [b"once"] * 2
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reader.read()
