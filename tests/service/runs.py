"""Runs and their consoles over the wire: appending as no SDK would, reading back, the digest as it is documented."""

from __future__ import annotations

import asyncio
import hashlib
import re
from collections.abc import Iterable, Sequence
from typing import Any, Final

import grpc
import rfc8785

from coreason.foundry.v1 import project_pb2
from coreason.foundry.v1 import run_pb2 as pb
from foundry.client.live import reader
from tests.service.house import METHODS, Caller, House, path
from tests.service.refusals import Refused
from tests.support import soon

_APPEND: Final = next(path(method) for method in METHODS if method.name == "AppendRunLog")
_READ: Final = next(path(method) for method in METHODS if method.name == "ReadRunLog")


def ids(run: pb.Run) -> dict[str, Any]:
    """What names a run."""
    return {"project_id": run.project_id, "run_id": run.run_id}


def line(number: int, text: str = "", **fields: Any) -> pb.LogLine:
    """A line as a producer sends it."""
    return pb.LogLine(number=number, text=text, **fields)


def lines_of(*texts: str, first: int = 1) -> list[pb.LogLine]:
    """Lines one after the other."""
    return [line(number, text) for number, text in enumerate(texts, first)]


def as_stored(lines: Iterable[pb.LogLine]) -> list[pb.LogLine]:
    """Lines as they are read back: what is not said about where they came out means standard output."""
    stored = []
    for sent in lines:
        read = pb.LogLine()
        read.CopyFrom(sent)
        read.stream = sent.stream or pb.LOG_STREAM_STDOUT
        stored.append(read)
    return stored


def console_of(lines: Iterable[pb.LogLine]) -> bytes:
    """The console as `Run.log_sha256` documents it, written without the server's code."""
    written = []
    for read in lines:
        stream = pb.LogStream.Name(read.stream or pb.LOG_STREAM_STDOUT).removeprefix("LOG_STREAM_")
        record: dict[str, Any] = {"n": read.number, "stream": stream, "text": read.text}
        if read.partial:
            record["partial"] = True
        if read.HasField("source_time"):
            record["us"] = read.source_time.seconds * 1_000_000 + read.source_time.nanos // 1_000
        written.append(rfc8785.dumps(record) + b"\n")
    return b"".join(written)


def digest_of(lines: Iterable[pb.LogLine]) -> str:
    """What seals a console of these lines."""
    return hashlib.sha256(console_of(lines)).hexdigest()


async def start(caller: Caller, project_id: str, **fields: Any) -> pb.Run:
    """A new run."""
    run: pb.Run = (await caller.call(pb.StartRunRequest(project_id=project_id, **fields))).run
    return run


async def finish(caller: Caller, run: pb.Run, state: pb.RunState.ValueType = pb.RUN_STATE_PASSED, **fields: Any) -> Any:
    """The answer to a finish."""
    return await caller.call(pb.FinishRunRequest(**ids(run), state=state, **fields))


async def cancel(caller: Caller, run: pb.Run, **fields: Any) -> Any:
    """The answer to a cancel."""
    return await caller.call(pb.CancelRunRequest(**ids(run), **fields))


async def get(caller: Caller, run: pb.Run) -> pb.Run:
    """A run as it is now."""
    found: pb.Run = (await caller.call(pb.GetRunRequest(**ids(run)))).run
    return found


async def tested(house: House, **policy: Any) -> str:
    """A project with a version, the editor ``bob`` and the viewer ``vera``; returns its id."""
    roles = {"bob": project_pb2.ROLE_EDITOR, "vera": project_pb2.ROLE_VIEWER}
    project_id = await house.project(project_pb2.Policy(**policy), **roles)
    await house.olga.save(project_id, system_prompt="You are careful.\n")
    return project_id


async def running(house: House, *texts: str, **fields: Any) -> pb.Run:
    """A run of ``olga``'s in such a project of its own, with some lines."""
    run = await start(house.olga, await tested(house), **fields)
    if texts:
        await append(house.olga, run, lines_of(*texts))
    return run


#: What gRPC says of a call whose connection broke.
_BROKEN: Final = re.compile(r"sendmsg|recvmsg|Stream removed|Socket closed|GOAWAY")


class BrokenError(Exception):
    """The connection broke, and with it what the server said last."""


class Producer:
    """One ``AppendRunLog`` stream.

    Attributes:
        acknowledged: The newest acknowledgement: all before this line is stored.
    """

    def __init__(self, caller: Caller, run: pb.Run) -> None:
        rpc: Any = caller.channel.stream_stream(_APPEND)
        self._call = rpc(metadata=caller.metadata)
        self._answers: reader.Reader[bytes] = reader.Reader(self._call)
        self._run = run
        self.acknowledged = 0

    async def send(self, *lines: pb.LogLine, **other: str) -> bool:
        """Send lines in one message that names project and run, or what ``other`` says; see ``send_bytes``."""
        named = {**ids(self._run), **other}
        return await self.send_bytes(pb.AppendRunLogRequest(lines=lines, **named).SerializeToString())

    async def send_bytes(self, data: bytes) -> bool:
        """Send whatever bytes; False when the stream is over, of which ``next_line`` tells how."""
        try:
            await soon(self._call.write(data))
        except (grpc.aio.AioRpcError, asyncio.InvalidStateError):
            return False
        return True

    async def next_line(self) -> int | None:
        """The next acknowledgement, None at a good end; raises ``Refused`` or ``BrokenError``."""
        try:
            data = await soon(self._answers.read())
        except grpc.aio.AioRpcError as error:
            if not error.trailing_metadata() and _BROKEN.search(error.details() or ""):
                raise BrokenError from None
            raise Refused(error) from None
        if data is None:
            return None
        self.acknowledged = pb.AppendRunLogResponse.FromString(data).next_line
        return self.acknowledged

    async def until(self, wanted: int) -> None:
        """Read acknowledgements until all before this line is stored, and no more."""
        await self.until_at_least(wanted)
        assert self.acknowledged == wanted

    async def until_at_least(self, wanted: int) -> None:
        """Read acknowledgements, which rise, until all before this line is stored."""
        while (before := self.acknowledged) < wanted:
            assert await self.next_line() is not None, f"the stream ended before line {wanted}"
            assert self.acknowledged > before

    async def close(self) -> list[int]:
        """Say that there is no more, and read the acknowledgements to the end."""
        await self._call.done_writing()
        return await self.rest()

    async def rest(self) -> list[int]:
        """The acknowledgements to the end; raises ``Refused``."""
        found = []
        while (next_line := await self.next_line()) is not None:
            found.append(next_line)
        return found

    def cancel(self) -> None:
        """Go away."""
        self._call.cancel()


async def append(caller: Caller, run: pb.Run, lines: Sequence[pb.LogLine] = ()) -> int:
    """Append lines in one message on a stream of its own; returns the number of the next line."""
    producer = Producer(caller, run)
    await producer.send(*lines)
    [next_line] = await producer.close()
    return next_line


class Reader:
    """One ``ReadRunLog`` stream.

    Attributes:
        lines: What was read so far.
        sizes: Lines of each message.
        run: The run as it came in the last message.
    """

    def __init__(self, caller: Caller, run: pb.Run, **wanted: Any) -> None:
        rpc: Any = caller.channel.unary_stream(_READ)
        request = pb.ReadRunLogRequest(**{**ids(run), **wanted})
        self._call = rpc(request.SerializeToString(), metadata=caller.metadata)
        self.lines: list[pb.LogLine] = []
        self.sizes: list[int] = []
        self.run: pb.Run | None = None

    async def message(self) -> bool:
        """Take one message; False at a good end. Raises ``Refused``."""
        try:
            data = await soon(self._call.read())
        except grpc.aio.AioRpcError as error:
            raise Refused(error) from None
        if data is grpc.aio.EOF:
            return False
        assert self.run is None, "something came after the last message"
        answer = pb.ReadRunLogResponse.FromString(data)
        self.lines += answer.lines
        self.sizes.append(len(answer.lines))
        if answer.HasField("run"):
            self.run = answer.run
        return True

    async def until(self, number: int) -> None:
        """Read until this line has come."""
        while not self.lines or self.lines[-1].number < number:
            assert await self.message(), f"the stream ended before line {number}"

    async def rest(self) -> list[pb.LogLine]:
        """Read to the end; everything that came. The last message, and no other, has the run."""
        while await self.message():
            pass
        assert self.run is not None
        return self.lines

    @property
    def numbers(self) -> list[int]:
        """Numbers of the lines that came."""
        return [read.number for read in self.lines]

    def cancel(self) -> None:
        """Go away."""
        self._call.cancel()


async def read(caller: Caller, run: pb.Run, **wanted: Any) -> list[pb.LogLine]:
    """Lines of a console."""
    return await Reader(caller, run, **wanted).rest()
