"""The floor: a grpc.aio server on uvloop that does nothing, as a process: ``python -m benchmarks.floor``.

``Nothing`` answers every request with as many bytes as the request says, ``Pong`` every message of a stream with
itself, and ``Fan`` sends every message of one stream to all others that watch, each event a message. Handlers are
generic and work on bytes, so what remains is the transport.
"""

from __future__ import annotations

import asyncio
import os
import sys
from typing import Any

import grpc
import uvloop

SERVICE = "benchmarks.Floor"
NOTHING = f"/{SERVICE}/Nothing"
PONG = f"/{SERVICE}/Pong"
FAN = f"/{SERVICE}/Fan"
#: The first message of a stream that watches.
WATCH = b"watch"

Context = grpc.aio.ServicerContext[Any, Any]


async def _nothing(request: bytes, _context: Context) -> bytes:
    return bytes(int(request))


async def _pong(_requests: object, context: Context) -> None:
    while (message := await context.read()) is not grpc.aio.EOF:
        await context.write(message)


_watching: set[asyncio.Queue[bytes]] = set()


async def _fan(_requests: object, context: Context) -> None:
    message = await context.read()
    if message != WATCH:
        while message is not grpc.aio.EOF:
            for queue in _watching:
                queue.put_nowait(message)
            await context.write(b"")
            message = await context.read()
        return
    mine: asyncio.Queue[bytes] = asyncio.Queue()
    _watching.add(mine)
    await context.write(b"")
    try:
        while True:
            await context.write(await mine.get())
    finally:
        _watching.discard(mine)


async def _serve() -> None:
    server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
    handlers: dict[str, grpc.RpcMethodHandler[Any, Any]] = {
        "Nothing": grpc.unary_unary_rpc_method_handler(_nothing),
        "Pong": grpc.stream_stream_rpc_method_handler(_pong),
        "Fan": grpc.stream_stream_rpc_method_handler(_fan),
    }
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    print(f"floor ready on 127.0.0.1:{port}", flush=True)
    await server.wait_for_termination()


if __name__ == "__main__":
    os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        try:
            runner.run(_serve())
        except KeyboardInterrupt:
            sys.exit(0)
