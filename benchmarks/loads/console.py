"""Consoles of runs: who writes the lines, who watches them, and who edits meanwhile."""

from __future__ import annotations

import asyncio
import hashlib
import random
import time
from array import array
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import grpc

from benchmarks.loads.streams import Frame, Session, SessionLoad, checked
from benchmarks.loads.unary import TEXT, bearer, channel
from benchmarks.loads.watch import FloorDoer
from benchmarks.worker import Load
from coreason.foundry.v1 import (
    draft_pb2,
    lock_pb2,
    run_pb2,
    run_pb2_grpc,
    session_command_pb2,
    session_pb2,
)

APPEND_RUN_LOG = "/coreason.foundry.v1.RunService/AppendRunLog"

#: Lines that a producer without a pace sends ahead of their acknowledgement.
_AHEAD = 20_000
#: What a harness prints: progress, JSON with quotes to escape, a little beyond ASCII; 74 to 101 bytes with a number.
_OUT, _ERR, _EVENT = run_pb2.LOG_STREAM_STDOUT, run_pb2.LOG_STREAM_STDERR, run_pb2.LOG_STREAM_EVENT
_SHAPES = (
    (_OUT, "tests/protocol/test_dosing.py::test_interval[every {a} weeks-arm {b}] PASSED"),
    (_OUT, "INFO  assay.retriever  case ONC-{a:04d}: {b} passages in 0.{a:03d} s, best score 0.{b:02d}"),
    (_EVENT, '{{"event":"verdict","case":"ONC-{a:04d}","score":0.{b:02d},"passed":true}}'),
    (_ERR, "WARNING assay.judge: section {b} is cited without a page (kept at 2 °C to 8 °C, case {a})"),
    (_OUT, "step {b} of 99 | tokens in {a:5d} out {b:5d} | waiting for the model ........ done"),
)
_random = random.Random(1)
_LINES = [
    (stream, shape.format(a=_random.randrange(1, 1000), b=_random.randrange(10, 99)))
    for stream, shape in _random.choices(_SHAPES, k=997)
]


def lines(first: int, count: int) -> list[run_pb2.LogLine]:
    """Lines of a console, that come out now."""
    now_us = time.time_ns() // 1000
    made = []
    for number in range(first, first + count):
        stream, text = _LINES[number % len(_LINES)]
        line = run_pb2.LogLine(number=number, stream=stream, text=f"[{number:07d}] {text}")
        line.source_time.FromMicroseconds(now_us)
        made.append(line)
    return made


def _digest(messages: Iterable[Iterable[run_pb2.LogLine]]) -> str:
    """Of lines, however they are dealt out to messages."""
    hashed = hashlib.sha256()
    for message in messages:
        hashed.update(run_pb2.RunLog(lines=message).SerializeToString())
    return hashed.hexdigest()


@dataclass(frozen=True, slots=True)
class Sent:
    """What a producer sent.

    Attributes:
        seconds: From the first line to the last acknowledgement.
        late_s: The most that a message was sent after its time: the load's own fault.
        acknowledgements: From when a message was sent to its acknowledgement, seconds.
    """

    lines: int
    seconds: float
    late_s: float
    acknowledgements: array[float]


class Producer(Load):
    """Writes consoles through ``AppendRunLog``, one run after the other.

    Args:
        token: Of somebody with the role EDITOR.
    """

    def __init__(self, pid: int, address: str, project_id: str, token: str) -> None:
        super().__init__(pid, 1)
        self._address, self._project_id, self._token = address, project_id, token
        self._run_id = ""
        self._next = 1
        self._messages: list[list[run_pb2.LogLine]] = []
        #: Messages that are not acknowledged: number of the last line, and when it was sent.
        self._under_way: deque[tuple[int, float]] = deque()
        self._latencies = array("d")
        self._news = asyncio.Event()
        self._error: Exception | None = None

    async def prepare(self) -> None:
        self._channel = channel(self._address)
        self._runs: Any = run_pb2_grpc.RunServiceStub(self._channel)

    async def start(self) -> str:
        """Start the next run; returns its id."""
        request = run_pb2.StartRunRequest(project_id=self._project_id, harness="assay")
        started = await self._runs.StartRun(request, metadata=bearer(self._token))
        self._run_id, self._next, self._messages = started.run.run_id, 1, []
        await self._open()
        return self._run_id

    async def _open(self) -> None:
        call: Any = self._channel.stream_stream(
            APPEND_RUN_LOG,
            request_serializer=run_pb2.AppendRunLogRequest.SerializeToString,
            response_deserializer=run_pb2.AppendRunLogResponse.FromString,
        )
        self._call = call(metadata=bearer(self._token))
        await self._call.write(run_pb2.AppendRunLogRequest(project_id=self._project_id, run_id=self._run_id))
        self._reading = asyncio.create_task(self._read())

    async def _read(self) -> None:
        call = self._call
        try:
            while (answer := await call.read()) is not grpc.aio.EOF:
                self._stored(answer.next_line)
            if await call.code() is not grpc.StatusCode.OK:
                raise ConnectionError(f"stream ended: {await call.details()}")  # noqa: TRY301 - told by the flood
        except Exception as error:  # noqa: BLE001 - told by the flood
            self._fail(error)

    def _stored(self, next_line: int) -> None:
        now = time.perf_counter()
        while self._under_way and self._under_way[0][0] < next_line:
            self._latencies.append(now - self._under_way.popleft()[1])
        self._news.set()

    def _fail(self, error: Exception) -> None:
        self._error = error
        self._news.set()

    async def _send(self, message: list[run_pb2.LogLine]) -> None:
        await self._call.write(run_pb2.AppendRunLogRequest(lines=message))

    async def _wait(self, under_way_max: int) -> None:
        """Wait until no more messages than that are under way."""
        while len(self._under_way) > under_way_max:
            self._news.clear()
            await self._news.wait()
            if self._error:
                raise self._error

    async def flood(self, seconds: float, per_second: float, per_message: int) -> Sent:
        """Send lines, as the clock says or, with ``per_second`` 0, as fast as they are stored."""
        self._latencies, late_s = array("d"), 0.0
        first, began = self._next, time.perf_counter()
        stop = first + int(seconds * per_second)
        while self._next < stop if per_second else time.perf_counter() < began + seconds:
            if per_second:
                due = began + (self._next - first) / per_second
                await asyncio.sleep(max(0.0, due - time.perf_counter()))
                late_s = max(late_s, time.perf_counter() - due)
            else:
                await self._wait(_AHEAD // per_message)
            message = lines(self._next, per_message)
            self._messages.append(message)
            self._next += len(message)
            self._under_way.append((self._next - 1, time.perf_counter()))
            await self._send(message)
        await self._wait(0)
        return Sent(self._next - first, time.perf_counter() - began, late_s, self._latencies)

    async def finish(self) -> str:
        """Finish the run; returns the digest of what was sent."""
        request = run_pb2.FinishRunRequest(
            project_id=self._project_id,
            run_id=self._run_id,
            state=run_pb2.RUN_STATE_PASSED,
            expected_line_count=self._next - 1,
        )
        await self._close()
        await self._runs.FinishRun(request, metadata=bearer(self._token))
        return _digest(self._messages)

    async def _close(self) -> None:
        await self._call.done_writing()
        await self._reading


class SessionProducer(Producer):
    """The same by commands on a session stream."""

    async def prepare(self) -> None:
        await super().prepare()
        self._session = Session(self._address, self._token)
        await self._session.open(self._project_id)
        self._reading = asyncio.create_task(self._read())

    async def _read(self) -> None:
        try:
            while True:
                for event in (await self._session.read()).events:
                    if event.HasField("reply"):
                        self._stored(checked(event.reply).run_appended.next_line)
        except Exception as error:  # noqa: BLE001 - told by the flood
            self._fail(error)

    async def _open(self) -> None:
        """Nothing to open: commands name the run."""

    async def _send(self, message: list[run_pb2.LogLine]) -> None:
        command = session_command_pb2.SessionAppendRunLog(run_id=self._run_id, lines=message)
        await self._session.send(append_run_log=command)

    async def _close(self) -> None:
        """Nothing to close."""


@dataclass(frozen=True, slots=True)
class Received:
    """What a watcher read of a run.

    Attributes:
        digest: Of its lines in the order they came.
        lags: From when a line was sent to when it was read, seconds; of the first and last line of each event.
        end: When the end of the run was read, by ``time.time``.
        current_s: From when the watcher began to connect to when it had a line that was sent after that.
        behind: Number of that line.
    """

    lines: int
    digest: str
    lags: array[float]
    frames: int
    end: float
    current_s: float
    behind: int


class _Frames(dict[bytes, Frame]):
    """Messages by their bytes: what all watchers of a process are sent is parsed, and kept, once."""

    def __missing__(self, data: bytes) -> Frame:
        frame = self[data] = Frame.FromString(data)
        return frame


class _Watcher(Session):
    """A session that keeps all it reads, and when."""

    def __init__(self, address: str, token: str, frames: _Frames) -> None:
        super().__init__(address, token, frames.__getitem__)
        self.had: list[tuple[float, Frame]] = []
        self.ended = asyncio.Event()

    async def read(self) -> Frame:
        frame = await super().read()
        self.had.append((time.time(), frame))
        if any(event.run_log.HasField("finished_run") for event in frame.events):
            self.ended.set()
        return frame

    async def watch(self) -> None:
        """Read for ever."""
        while True:
            await self.read()


class ConsoleWatchers(Load):
    """Sessions that follow runs, each on a connection of its own; what they read is looked at when it is over.

    Args:
        tokens: Of as many principals as there shall be; the sessions are dealt out among them.
    """

    def __init__(self, pid: int, clients: int, address: str, project_id: str, tokens: list[str]) -> None:
        super().__init__(pid, clients)
        self._address, self._project_id, self._tokens = address, project_id, tokens
        self._frames = _Frames()
        self._watchers: list[_Watcher] = []
        self._tasks: list[asyncio.Task[None]] = []
        self._began = 0.0

    async def prepare(self) -> None:
        self._began = time.time()
        for number in range(self.clients):
            watcher = _Watcher(self._address, self._tokens[number % len(self._tokens)], self._frames)
            await watcher.open(self._project_id, follow_runs=True)
            self._watchers.append(watcher)
            self._tasks.append(asyncio.create_task(watcher.watch()))

    async def received(self, run_id: str) -> list[Received]:
        """What each watcher read of the run, once all have read its end; forgets everything."""
        ends = asyncio.gather(*(watcher.ended.wait() for watcher in self._watchers))
        waited: list[asyncio.Future[Any]] = [ends, *self._tasks]
        await asyncio.wait(waited, return_when=asyncio.FIRST_COMPLETED)
        for task in self._tasks:
            if task.done():
                task.result()  # a stream that ended
        seen = [self._look(run_id, watcher.had) for watcher in self._watchers]
        for watcher in self._watchers:
            watcher.had.clear()
            watcher.ended.clear()
        self._frames.clear()
        return seen

    def _look(self, run_id: str, had: list[tuple[float, Frame]]) -> Received:
        messages, lags, frames = [], array("d"), 0
        end = current_s = 0.0
        behind = 0
        for at, frame in had:
            logs = [event.run_log for event in frame.events if event.run_log.run_id == run_id]
            frames += bool(logs)
            for log in logs:
                end = at
                if not log.lines:
                    continue
                messages.append(log.lines)
                first, last = (log.lines[place].source_time.ToMicroseconds() / 1e6 for place in (0, -1))
                lags.extend((at - first, at - last))
                if not current_s and last > self._began:
                    current_s, behind = at - self._began, log.lines[-1].number
        count = sum(len(message) for message in messages)
        return Received(count, _digest(messages), lags, frames, end, current_s, behind)


class FloorProducer(FloorDoer):
    """Lines through the floor's ``Fan``, each a message."""

    def event(self, number: int) -> session_pb2.ServerEvent:
        """A line as a watcher is sent it."""
        return session_pb2.ServerEvent(run_log=run_pb2.RunLog(run_id="0" * 36, lines=lines(number + 1, 1)))


@dataclass(frozen=True, slots=True)
class Edited:
    """What editors did.

    Attributes:
        acquires: How long each lock took, seconds.
        saves: How long each save took, seconds.
    """

    seconds: float
    acquires: array[float]
    saves: array[float]


class Editors(SessionLoad):
    """People who take their field, save it and so give it back, so often a second each."""

    async def edit(self, seconds: float, per_second: float) -> Edited:
        """Edit by the clock."""
        acquires, saves = array("d"), array("d")
        began = time.perf_counter()

        async def run(client: int) -> None:
            for number in range(int(seconds * per_second)):
                # Each a share of the pace apart, so that they do not step on each other by the clock.
                due = began + (number + client / self.clients) / per_second
                await asyncio.sleep(max(0.0, due - time.perf_counter()))
                sent = time.perf_counter()
                grant = await self.acquire(client)
                acquired = time.perf_counter()
                await self._save(client, grant, number)
                acquires.append(acquired - sent)
                saves.append(time.perf_counter() - acquired)

        await asyncio.gather(*(run(client) for client in range(self.clients)))
        return Edited(time.perf_counter() - began, acquires, saves)

    async def _save(self, client: int, grant: lock_pb2.AcquiredLock, number: int) -> None:
        field = f"field_{client}"
        request = draft_pb2.CreateDraftRequest(
            changes=[draft_pb2.FieldChange(field=field, text=f"{time.time()} {number} {TEXT}")],
            base_version=grant.head_version,
            locks=[lock_pb2.LockToken(field=field, fencing_token=grant.lock.fencing_token)],
        )
        await self.sessions[client].command(create_draft=request)
