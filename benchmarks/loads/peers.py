"""The same for peers, without their libraries: etcd's lock service over gRPC, and Redis by its own protocol."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

from benchmarks.loads.unary import channel
from benchmarks.worker import Load

_LOCK, _UNLOCK = "/v3lockpb.Lock/Lock", "/v3lockpb.Lock/Unlock"
_LEASE_GRANT = "/etcdserverpb.Lease/LeaseGrant"
_TTL_S = 600

#: Delete a key if it is still ours.
_COMPARE_AND_DELETE = "if redis.call('get',KEYS[1])==ARGV[1] then return redis.call('del',KEYS[1]) else return 0 end"


def varint(value: int) -> bytes:
    """A number as protobuf writes it."""
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)


def message(fields: dict[int, int | bytes]) -> bytes:
    """A protobuf message of numbers and bytes."""
    encoded = bytearray()
    for number, value in fields.items():
        if isinstance(value, int):
            encoded += varint(number << 3) + varint(value)
        else:
            encoded += varint(number << 3 | 2) + varint(len(value)) + value
    return bytes(encoded)


def parse(data: bytes) -> dict[int, int | bytes]:
    """The numbers and bytes of a protobuf message."""
    stream = iter(data)
    fields: dict[int, int | bytes] = {}
    for first in stream:
        tag = _varint(first, stream)
        value = _varint(next(stream), stream)
        fields[tag >> 3] = bytes(next(stream) for _ in range(value)) if tag & 7 == 2 else value
    return fields


def _varint(byte: int, stream: Iterator[int]) -> int:
    value, shift = byte & 0x7F, 7
    while byte & 0x80:
        byte = next(stream)
        value |= (byte & 0x7F) << shift
        shift += 7
    return value


class EtcdPairs(Load):
    """An operation is a ``Lock`` and an ``Unlock``; each client has a connection, a lease and a name of its own."""

    def __init__(self, pid: int, clients: int, address: str) -> None:
        super().__init__(pid, clients)
        self._address = address
        self._requests: list[bytes] = []
        self._locks: list[Any] = []
        self._unlocks: list[Any] = []

    async def prepare(self) -> None:
        self._channels = [channel(self._address) for _ in range(self.clients)]
        for client, made in enumerate(self._channels):
            grant: Any = made.unary_unary(_LEASE_GRANT)
            granted = parse(await grant(message({1: _TTL_S})))
            lease = granted[2]
            assert isinstance(lease, int)
            self._requests.append(message({1: b"field_%d" % client, 2: lease}))
            self._locks.append(made.unary_unary(_LOCK))
            self._unlocks.append(made.unary_unary(_UNLOCK))

    async def operate(self, client: int) -> None:
        key = parse(await self._locks[client](self._requests[client]))[2]
        assert isinstance(key, bytes)
        await self._unlocks[client](message({1: key}))


class RedisPairs(Load):
    """An operation is ``SET NX`` and a compare-and-delete script; nothing is durable and nothing is logged."""

    def __init__(self, pid: int, clients: int, address: str) -> None:
        super().__init__(pid, clients)
        self._host, _, port = address.rpartition(":")
        self._port = int(port)
        self._streams: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []

    async def prepare(self) -> None:
        self._streams = [await asyncio.open_connection(self._host, self._port) for _ in range(self.clients)]
        loaded = await self._command(0, "SCRIPT", "LOAD", _COMPARE_AND_DELETE)
        self._script = (await self._streams[0][0].readexactly(int(loaded[1:]) + 2)).strip().decode()

    async def operate(self, client: int) -> None:
        name, value = f"field_{client}", f"session_{client}"
        assert await self._command(client, "SET", name, value, "NX", "PX", "600000") == b"+OK"
        assert await self._command(client, "EVALSHA", self._script, "1", name, value) == b":1"

    async def _command(self, client: int, *words: str) -> bytes:
        reader, writer = self._streams[client]
        parts = [f"*{len(words)}\r\n", *(f"${len(word)}\r\n{word}\r\n" for word in words)]
        writer.write("".join(parts).encode())
        return (await reader.readline()).strip()
