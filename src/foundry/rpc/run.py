"""RunService: translation only; the lines of ``AppendRunLog`` are gathered by ``foundry.rpc.producer``."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Final

from coreason.foundry.v1 import run_pb2 as pb
from coreason.foundry.v1 import types_pb2
from foundry.domain.entry import Entry, Event
from foundry.domain.errors import ContentTooLarge, InvalidArgument
from foundry.domain.run import LogLine, Run, RunFilter, RunResult, RunState
from foundry.managers.runs import WantedRun
from foundry.rpc import codec, validation
from foundry.rpc.producer import Producer

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence

    from foundry.clock import Clock
    from foundry.domain.errors import FoundryError
    from foundry.domain.events import News
    from foundry.domain.principal import Caller
    from foundry.domain.session import History
    from foundry.managers.feed import Feed
    from foundry.managers.run_log import RunLogReader
    from foundry.managers.runs import RunManager
    from foundry.rpc.calls import Context
    from foundry.rpc.pages import Pages
    from foundry.settings import Limits

_RESULTS_MAX: Final = 200
_INT64_MAX: Final = 2**63 - 1
#: The year 2200: microseconds since 1970 up to it are integers that JSON carries exactly.
_TIME_S_MAX: Final = 7_258_118_400
_CANCELLED: Final = f"RUN_STATE_{RunState.CANCELLED.value}"
_ENDS: Final = frozenset({RunState.PASSED, RunState.FAILED, RunState.ERRORED})


class RunServicer:
    """See ``run.proto``."""

    def __init__(
        self,
        runs: RunManager,
        reader: RunLogReader,
        feed: Feed,
        pages: Pages,
        clock: Clock,
        *,
        history: History,
        limits: Limits,
        drain_s: float,
    ) -> None:
        self._runs = runs
        self._reader = reader
        self._feed = feed
        self._pages = pages
        self._clock = clock
        self._history = history
        self._limits = limits
        self._line_bytes_max = limits.line_bytes_max  # asked for every line
        self._drain_s = drain_s
        self._producers: set[Producer] = set()
        self._draining = False

    async def StartRun(self, request: pb.StartRunRequest, caller: Caller) -> pb.StartRunResponse:
        """Start a run."""
        fields = validation.check(
            validation.RunFields,
            version_number=request.version_number,
            harness=request.harness,
            labels=dict(request.labels),
            attempt=request.attempt,
            session_id=request.session_id,
            request_id=request.request_id,
        )
        wanted = WantedRun(
            version_number=fields.version_number,
            content_sha256=_optional_sha256(request.content_sha256),
            harness=fields.harness,
            labels=fields.labels,
            attempt=fields.attempt or 1,
            session_id=fields.session_id,
        )
        started = await self._runs.start(caller, request.project_id, wanted, request_id=fields.request_id)
        return pb.StartRunResponse(run=codec.run(started.run), position=self._position(started.sequence))

    async def AppendRunLog(self, context: Context, caller: Caller) -> FoundryError | None:
        """Take lines until the client has no more."""
        producer = Producer(
            context, caller, self._runs, self._feed, self._clock, read_lines=self.lines, drain_s=self._drain_s
        )
        self._producers.add(producer)
        if self._draining:
            producer.leave()
        try:
            return await producer.serve()
        finally:
            self._producers.discard(producer)

    async def append(
        self, caller: Caller, project_id: str, run_id: str, lines: Sequence[pb.LogLine]
    ) -> pb.AppendRunLogResponse:
        """Append the lines of one message."""
        return pb.AppendRunLogResponse(next_line=await self._runs.append(caller, project_id, run_id, self.lines(lines)))

    async def FinishRun(self, request: pb.FinishRunRequest, caller: Caller) -> pb.FinishRunResponse:
        """Seal a run."""
        request_id = validation.check(validation.Mutation, request_id=request.request_id).request_id
        state = validation.run_state(request.state)
        if state not in _ENDS:
            raise InvalidArgument("state", "PASSED, FAILED or ERRORED")
        expected = request.expected_line_count if request.HasField("expected_line_count") else None
        if expected is not None and expected < 0:
            raise InvalidArgument("expected_line_count", "from 0")
        finished = await self._runs.finish(
            caller,
            request.project_id,
            request.run_id,
            state,
            results=_results(request.results),
            expected_line_count=expected,
            request_id=request_id,
        )
        return pb.FinishRunResponse(run=codec.run(finished.run), position=self._position(finished.sequence))

    async def CancelRun(self, request: pb.CancelRunRequest, caller: Caller) -> pb.CancelRunResponse:
        """Cancel a run."""
        fields = validation.check(validation.Mutation, reason=request.reason, request_id=request.request_id)
        cancelled = await self._runs.cancel(
            caller, request.project_id, request.run_id, reason=fields.reason, request_id=fields.request_id
        )
        return pb.CancelRunResponse(run=codec.run(cancelled.run), position=self._position(cancelled.sequence))

    async def GetRun(self, request: pb.GetRunRequest, caller: Caller) -> pb.GetRunResponse:
        """Read a run."""
        return pb.GetRunResponse(run=codec.run(await self._runs.get(caller, request.project_id, request.run_id)))

    async def ListRuns(self, request: pb.ListRunsRequest, caller: Caller) -> pb.ListRunsResponse:
        """List runs."""
        if request.version_number < 0:
            raise InvalidArgument("version_number", "from 0")
        state = validation.run_state(request.state)
        wanted = RunFilter(request.version_number, state, _optional_sha256(request.content_sha256))
        size = self._pages.size(request.page_size)
        bound = ("ListRuns", request.project_id, wanted.version_number, request.state, wanted.content_sha256)
        before = self._pages.read(request.page_token, "", *bound)
        found, more = await self._runs.list_runs(caller, request.project_id, wanted, before, size)
        runs = self._pages.fit(found, size, codec.run)
        more = more or len(found) > len(runs)
        token = self._pages.issue(runs[-1].run_id, *bound) if more else ""
        return pb.ListRunsResponse(runs=runs, next_page_token=token)

    async def ReadRunLog(
        self, request: pb.ReadRunLogRequest, caller: Caller
    ) -> AsyncGenerator[pb.ReadRunLogResponse, None]:
        """Read a console."""
        arm = request.WhichOneof("from")
        if arm == "from_line" and request.from_line < 1:
            raise InvalidArgument("from_line", "from 1")
        for name in ("last_lines", "to_line"):
            if getattr(request, name) < 0:
                raise InvalidArgument(name, "from 0")
        parts = self._reader.read(
            caller,
            request.project_id,
            request.run_id,
            from_line=request.from_line if arm == "from_line" else 1,
            last_lines=request.last_lines if arm == "last_lines" else None,
            to_line=request.to_line,
            follow=request.follow,
        )
        async with contextlib.aclosing(parts):
            async for part in parts:
                if isinstance(part, Run):
                    yield pb.ReadRunLogResponse(run=codec.run(part))
                else:
                    answer = pb.ReadRunLogResponse()
                    codec.add_lines(answer, part)
                    yield answer

    def follow(self) -> None:
        """Hear from the feed of runs that are cancelled."""
        self._feed.subscribe(self._receive)

    def _receive(self, news: News) -> None:
        if not isinstance(news, Entry) or news.new.event is not Event.RUN_FINISHED:
            return
        if news.new.data["state"] == _CANCELLED:
            for producer in self._producers:
                producer.run_cancelled(str(news.new.data["run_id"]))

    def drain(self) -> None:
        """Send away all who append or follow."""
        self._draining = True
        self._reader.drain()
        for producer in self._producers:
            producer.leave()

    def lines(self, lines: Sequence[pb.LogLine]) -> list[LogLine]:
        """The lines of a message, checked.

        Raises:
            InvalidArgument, ContentTooLarge: A line breaks its bounds, or there are too many.
        """
        # Counted before they are looked at: two million empty ones fit into a message, and would take seconds.
        if len(lines) > self._limits.lines_per_message_max:
            raise InvalidArgument("lines", f"at most {self._limits.lines_per_message_max}; got {len(lines)}")
        return [self._line(line) for line in lines]

    def _line(self, line: pb.LogLine) -> LogLine:
        text, size_max = line.text, self._line_bytes_max
        if len(text) > size_max or not text.isascii():
            size = len(text.encode())
            if size > size_max:
                raise ContentTooLarge("lines", size, size_max)
        if "\n" in text:
            raise InvalidArgument("lines.text", "a line has no line feed")
        number = line.number
        if not 1 <= number < _INT64_MAX:
            raise InvalidArgument("lines.number", "from 1")
        time_us = None
        if line.HasField("source_time"):
            at = line.source_time
            seconds, nanos = at.seconds, at.nanos
            if not (0 <= seconds < _TIME_S_MAX and 0 <= nanos < 10**9):
                raise InvalidArgument("lines.source_time", "a valid time from 1970 to 2200")
            time_us = seconds * 10**6 + nanos // 1000
        return LogLine(number, text, validation.log_stream(line.stream), time_us, line.partial)

    def _position(self, sequence: int) -> types_pb2.Position:
        return types_pb2.Position(epoch=self._history.epoch, sequence=sequence)


def _optional_sha256(text: str) -> str:
    return validation.sha256(text, "content_sha256") if text else ""


def _results(results: Sequence[pb.RunResult]) -> tuple[RunResult, ...]:
    if len(results) > _RESULTS_MAX:
        raise InvalidArgument("results", f"at most {_RESULTS_MAX}")
    if len({result.name for result in results}) < len(results):
        raise InvalidArgument("results", "each name at most once")
    checked = [
        validation.check(
            validation.RunResultFields, "results", name=result.name, passed=result.passed, value=result.value
        )
        for result in results
    ]
    return tuple(RunResult(result.name, result.passed, result.value) for result in checked)
