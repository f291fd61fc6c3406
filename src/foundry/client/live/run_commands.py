"""The commands of a session about runs."""

# ruff: noqa: ASYNC109 - the timeout of a command covers breaks of the stream and ends in an error of ours

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from coreason.foundry.v1 import run_pb2, session_command_pb2
from coreason.foundry.v1.session_pb2 import ProjectSessionRequest
from foundry.client.calls import TIMEOUT_S, request_id_or_new
from foundry.client.errors import LineNumberMismatch

if TYPE_CHECKING:
    from foundry.client.live.link import Link


class RunCommands:
    """Runs that a session starts, feeds and finishes on its own stream.

    For more than a few lines ``Foundry.runs.append_log`` is better: it numbers, batches and repeats by itself.
    """

    _link: Link

    async def start_run(
        self,
        version: int | None = None,
        *,
        content_sha256: str = "",
        harness: str = "",
        labels: Mapping[str, str] | None = None,
        attempt: int = 1,
        request_id: str | None = None,
        timeout: float = TIMEOUT_S,
    ) -> run_pb2.Run:
        """Start a run of a version; as ``RunClient.start`` for this session.

        Raises:
            NotFound: There is no such version.
            ContentMismatch: The version does not have that content.
            ProjectFrozen: The project is frozen.
            DeadlineExceeded: No answer in time.
        """
        request = run_pb2.StartRunRequest(
            version_number=version or 0,
            content_sha256=content_sha256,
            harness=harness,
            labels=labels or {},
            attempt=attempt,
            request_id=request_id_or_new(request_id),
        )
        reply = await self._link.command(lambda: ProjectSessionRequest(start_run=request), timeout)
        return reply.run_started.run

    async def append_run_log(self, run_id: str, lines: Sequence[run_pb2.LogLine], *, timeout: float = TIMEOUT_S) -> int:
        """Append lines to the console of a run that the caller started.

        Args:
            run_id: The run.
            lines: At most 5,000 of at most 64 KiB, numbered without gaps; the first goes on where the console ends.
            timeout: Seconds it may take.

        Returns:
            Number of the next line; all before it are stored.

        Raises:
            NotYours: Somebody else started the run.
            RunFinished: It is finished.
            LineNumberMismatch: The lines do not go on where the console ends.
            DeadlineExceeded: No answer in time; whether they were stored, an append without lines tells.
        """
        command = session_command_pb2.SessionAppendRunLog(run_id=run_id, lines=lines)
        try:
            reply = await self._link.command(lambda: ProjectSessionRequest(append_run_log=command), timeout)
        except LineNumberMismatch as mismatch:
            # The stream broke after they were stored, and the command was sent again: then they are the last ones.
            if lines and mismatch.expected_line == lines[-1].number + 1:
                return mismatch.expected_line
            raise
        return reply.run_appended.next_line

    async def finish_run(
        self,
        run_id: str,
        state: run_pb2.RunState.ValueType,
        *,
        results: Iterable[run_pb2.RunResult] = (),
        expected_line_count: int | None = None,
        request_id: str | None = None,
        timeout: float = TIMEOUT_S,
    ) -> run_pb2.Run:
        """Finish a run; as ``RunClient.finish``.

        Raises:
            NotYours: Somebody else started the run.
            RunFinished: It is finished.
            LineNumberMismatch: Its console has another number of lines.
            DeadlineExceeded: No answer in time.
        """
        request = run_pb2.FinishRunRequest(
            run_id=run_id,
            state=state,
            results=results,
            expected_line_count=expected_line_count,
            request_id=request_id_or_new(request_id),
        )
        reply = await self._link.command(lambda: ProjectSessionRequest(finish_run=request), timeout)
        return reply.run_finished.run
