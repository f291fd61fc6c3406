"""Client of the RunService: runs, and their consoles."""

# ruff: noqa: ASYNC109 - the timeout covers breaks of the stream and ends in an error of ours

from __future__ import annotations

import asyncio
import contextlib
import random
import time
import weakref
from collections.abc import AsyncGenerator, AsyncIterator, Generator, Iterable, Mapping
from typing import Final

import grpc
import grpc.aio

from coreason.foundry.v1 import run_pb2 as pb
from foundry.client.calls import (
    TIMEOUT_S,
    AsyncService,
    Pages,
    SyncService,
    Unary,
    pages,
    request_id_or_new,
    unary,
)
from foundry.client.channel import Token
from foundry.client.console.comeback import Comeback
from foundry.client.console.reader import Reading
from foundry.client.console.running import RunningRun
from foundry.client.console.writer import RunLogWriter, append_call
from foundry.client.errors import FoundryError

#: Seconds that a console may make no progress before its writer gives up: a restart of the server, and some more.
STALL_S: Final = 120.0

#: How long the end of a run that failed may take, seconds.
_PARTING_S: Final = 5.0


class Runs:
    """Runs: tests of a version while they run, with their console for everybody to watch."""

    @unary
    def start(
        self,
        project_id: str,
        version: int | None = None,
        *,
        content_sha256: str = "",
        harness: str = "",
        labels: Mapping[str, str] | None = None,
        attempt: int = 1,
        session_id: str = "",
        request_id: str | None = None,
        timeout: float = TIMEOUT_S,
    ) -> Unary[pb.StartRunResponse, pb.Run]:
        """Start a run of a version. Needs the role EDITOR; the caller alone appends to it and finishes it.

        Args:
            project_id: The project.
            version: The version to test, from 1; None for the newest.
            content_sha256: Hash that the caller has of it, from ``exports.for_assay``; then it must be the version's.
            harness: What runs it, at most 200 bytes.
            labels: At most 64, keys and values at most 100 bytes each.
            attempt: Which attempt it is, 1 to 1,000,000.
            session_id: Live session of the caller in which it is started.
            request_id: UUID that makes the call safe to repeat for 24 hours; None for a new one.
            timeout: Seconds the call may take.

        Raises:
            NotFound: There is no such version.
            ContentMismatch: The version does not have that content.
            ProjectFrozen: The project is frozen.
            LimitExceeded: Too many runs run.
        """
        request = pb.StartRunRequest(
            project_id=project_id,
            version_number=version or 0,
            content_sha256=content_sha256,
            harness=harness,
            labels=labels or {},
            attempt=attempt,
            session_id=session_id,
            request_id=request_id_or_new(request_id),
        )
        return Unary(request, pb.StartRunResponse, lambda answer: answer.run, timeout)

    @unary
    def finish(
        self,
        project_id: str,
        run_id: str,
        state: pb.RunState.ValueType,
        *,
        results: Iterable[pb.RunResult] = (),
        expected_line_count: int | None = None,
        request_id: str | None = None,
        timeout: float = TIMEOUT_S,
    ) -> Unary[pb.FinishRunResponse, pb.Run]:
        """Finish a run: seal its console by number of lines and digest. For its starter.

        Args:
            project_id: The project.
            run_id: The run.
            state: What it came to: PASSED, FAILED or ERRORED.
            results: What came out, by test, at most 200, each name once.
            expected_line_count: How many lines the starter sent; None to seal what is there.
            request_id: UUID that makes the call safe to repeat for 24 hours; None for a new one.
            timeout: Seconds the call may take.

        Raises:
            NotYours: Somebody else started it.
            RunFinished: It is finished.
            LineNumberMismatch: Its console has another number of lines.
        """
        request = pb.FinishRunRequest(
            project_id=project_id,
            run_id=run_id,
            state=state,
            results=results,
            expected_line_count=expected_line_count,
            request_id=request_id_or_new(request_id),
        )
        return Unary(request, pb.FinishRunResponse, lambda answer: answer.run, timeout)

    @unary
    def cancel(
        self,
        project_id: str,
        run_id: str,
        *,
        reason: str = "",
        request_id: str | None = None,
        timeout: float = TIMEOUT_S,
    ) -> Unary[pb.CancelRunResponse, pb.Run]:
        """Cancel a run: seal its console as it is. For its starter, and for people with the role OWNER.

        Args:
            project_id: The project.
            run_id: The run.
            reason: Why, at most 4 KiB.
            request_id: UUID that makes the call safe to repeat for 24 hours; None for a new one.
            timeout: Seconds the call may take.

        Raises:
            NotYours: Somebody else started it, and the caller is no OWNER.
            RunFinished: It is finished.
        """
        request = pb.CancelRunRequest(
            project_id=project_id, run_id=run_id, reason=reason, request_id=request_id_or_new(request_id)
        )
        return Unary(request, pb.CancelRunResponse, lambda answer: answer.run, timeout)

    @unary
    def get(self, project_id: str, run_id: str, *, timeout: float = TIMEOUT_S) -> Unary[pb.GetRunResponse, pb.Run]:
        """Read a run without its console.

        Raises:
            NotFound: There is no such run.
        """
        request = pb.GetRunRequest(project_id=project_id, run_id=run_id)
        return Unary(request, pb.GetRunResponse, lambda answer: answer.run, timeout)

    @pages
    def list(
        self,
        project_id: str,
        *,
        version: int | None = None,
        state: pb.RunState.ValueType | None = None,
        content_sha256: str = "",
        page_size: int = 50,
        timeout: float = TIMEOUT_S,
    ) -> Pages[pb.ListRunsResponse, pb.Run]:
        """List runs, newest first.

        Args:
            project_id: The project.
            version: Only runs of this version, from 1.
            state: Only runs in this state.
            content_sha256: Only runs of versions with this content, whatever their number.
            page_size: Runs read at a time, 1 to 1,000.
            timeout: Seconds each page may take.
        """
        request = pb.ListRunsRequest(
            project_id=project_id,
            page_size=page_size,
            version_number=version or 0,
            state=state or pb.RUN_STATE_UNSPECIFIED,
            content_sha256=content_sha256,
        )
        return Pages(request, pb.ListRunsResponse, lambda page: page.runs, timeout)


class RunClient(Runs, AsyncService):
    """The RunService for asyncio.

    Attributes:
        open_logs: The console writers that were asked for and are still in use.
    """

    def __init__(self, channel: grpc.aio.Channel, token: Token) -> None:
        super().__init__(channel, token)
        self.open_logs: weakref.WeakSet[RunLogWriter] = weakref.WeakSet()
        self._jitter = random.random

    async def read_log(
        self,
        project_id: str,
        run_id: str,
        *,
        from_line: int | None = None,
        last_lines: int | None = None,
        to_line: int = 0,
        follow: bool = False,
        timeout: float = TIMEOUT_S,
    ) -> AsyncGenerator[pb.LogLine, None]:
        """Read the console of a run, each line once and in order, also over breaks of the connection.

        Args:
            project_id: The project.
            run_id: The run.
            from_line: Begin at this line, from 1; None for the first.
            last_lines: Begin with the last so many lines that there are now, from 0; instead of ``from_line``.
            to_line: Last line to read, included; 0 for the end.
            follow: Go on with lines as they come, until the run is finished or ``to_line`` is read. A break lasts as
                long as it lasts.
            timeout: Seconds the first answer may take and, unless following, a break.

        Raises:
            NotFound: There is no such run.
            ValueError: Both ``from_line`` and ``last_lines`` were given.
        """
        _check_begin(from_line, last_lines)
        run = await self.get(project_id, run_id, timeout=timeout)
        reading = Reading(
            run,
            from_line=from_line,
            last_lines=last_lines,
            to_line=to_line,
            follow=follow,
            timeout=timeout,
            comeback=self._comeback(),
        )
        while not reading.done:
            error: FoundryError | None = None
            try:
                async with contextlib.aclosing(self._answers(reading.call())) as answers:
                    async for answer in answers:
                        for line in reading.take(answer):
                            yield line
            except FoundryError as raised:
                error = raised
            if not reading.done:
                await asyncio.sleep(reading.delay_after(error))

    def append_log(self, project_id: str, run_id: str, *, timeout: float = STALL_S) -> RunLogWriter:
        """Return what writes to the console of a run that the caller started, to be entered with ``async with``.

        Args:
            project_id: The project.
            run_id: The run. If it has lines already, the writer goes on behind them.
            timeout: Seconds without progress, breaks included, after which leaving, and a write that waits for room,
                give up. Entering does so after 10 s at the latest.

        Raises (on entering, or later, when it happens):
            NotYours: Somebody else started the run.
            RunFinished: It is finished.
            LimitExceeded: Its console is as long as it may be.
            LineNumberMismatch: Somebody else writes to it at the same time.
            DeadlineExceeded: No progress for too long.
        """
        start = append_call(self._channel, self._token)
        writer = RunLogWriter(start, project_id, run_id, comeback=self._comeback(), timeout=timeout)
        self.open_logs.add(writer)
        return writer

    @contextlib.asynccontextmanager
    async def running(
        self,
        project_id: str,
        version: int | None = None,
        *,
        content_sha256: str = "",
        harness: str = "",
        labels: Mapping[str, str] | None = None,
        attempt: int = 1,
        session_id: str = "",
        timeout: float = STALL_S,
    ) -> AsyncIterator[RunningRun]:
        """Run something for the length of a block: start a run, write to its console, and finish it.

        It is finished as PASSED, as FAILED when a reported result did not pass, or as what the block sets as ``state``;
        as ERRORED when the block raises. In each case with the number of lines that were written.

        Args:
            project_id: The project.
            version: The version to test, from 1; None for the newest.
            content_sha256: As for ``start``, like all that follow.
            harness: What runs it.
            labels: Labels.
            attempt: Which attempt it is.
            session_id: Live session of the caller in which it is started.
            timeout: As for ``append_log``.

        Raises:
            FoundryError: As for ``start``, ``append_log`` and ``finish``.
        """
        run = await self.start(
            project_id,
            version,
            content_sha256=content_sha256,
            harness=harness,
            labels=labels,
            attempt=attempt,
            session_id=session_id,
        )
        running = RunningRun(run, self.append_log(project_id, run.run_id, timeout=timeout))
        try:
            async with running.log:
                yield running
        except (Exception, asyncio.CancelledError):
            with contextlib.suppress(FoundryError):  # what the block raised is what matters
                running.run = await self.finish(
                    project_id,
                    run.run_id,
                    pb.RUN_STATE_ERRORED,
                    results=running.results,
                    expected_line_count=running.log.stored_lines,
                    timeout=_PARTING_S,
                )
            raise
        running.run = await self.finish(
            project_id,
            run.run_id,
            running.final_state,
            results=running.results,
            expected_line_count=running.log.stored_lines,
        )

    def _comeback(self) -> Comeback:
        return Comeback(may_renew=callable(self._token), jitter=self._jitter)


class SyncRunClient(Runs, SyncService):
    """The RunService for threads; consoles are written to with asyncio only."""

    def __init__(self, channel: grpc.Channel, token: Token) -> None:
        super().__init__(channel, token)
        self._jitter = random.random

    def read_log(
        self,
        project_id: str,
        run_id: str,
        *,
        from_line: int | None = None,
        last_lines: int | None = None,
        to_line: int = 0,
        follow: bool = False,
        timeout: float = TIMEOUT_S,
    ) -> Generator[pb.LogLine, None, None]:
        """Read the console of a run; as ``RunClient.read_log``."""
        _check_begin(from_line, last_lines)
        run = self.get(project_id, run_id, timeout=timeout)
        reading = Reading(
            run,
            from_line=from_line,
            last_lines=last_lines,
            to_line=to_line,
            follow=follow,
            timeout=timeout,
            comeback=Comeback(may_renew=callable(self._token), jitter=self._jitter),
        )
        while not reading.done:
            error: FoundryError | None = None
            try:
                with contextlib.closing(self._answers(reading.call())) as answers:
                    for answer in answers:
                        yield from reading.take(answer)
            except FoundryError as raised:
                error = raised
            if not reading.done:
                time.sleep(reading.delay_after(error))  # the back-off of a plain, blocking client


def _check_begin(from_line: int | None, last_lines: int | None) -> None:
    if from_line is not None and last_lines is not None:
        raise ValueError("begin at a line, or with the last ones, not both")
