"""How far a console was read, over as many calls as it takes."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

from coreason.foundry.v1 import run_pb2 as pb
from foundry.client.calls import Answers
from foundry.client.console.comeback import Comeback
from foundry.client.errors import FoundryError


class Reading:
    """Reads a console from one line on: names the calls to make, and takes in their answers.

    Attributes:
        done: Whether everything was read.
    """

    def __init__(
        self,
        run: pb.Run,
        *,
        from_line: int | None,
        last_lines: int | None,
        to_line: int,
        follow: bool,
        timeout: float,
        comeback: Comeback,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Args: run is the run as it is now; the others are as for ``RunClient.read_log``."""
        first = from_line or 1
        if last_lines is not None:  # counted from now, so that a break does not change where it begins
            first = max(1, run.line_count - last_lines + 1)
        self.done = False
        self._request = pb.ReadRunLogRequest(
            project_id=run.project_id, run_id=run.run_id, from_line=first, to_line=to_line, follow=follow
        )
        self._timeout = timeout
        self._comeback = comeback
        self._comeback.attached()
        self._clock = clock
        self._start_s = self._heard_s = clock()

    def call(self) -> Answers[pb.ReadRunLogResponse]:
        """Return the call that reads on behind the last line that was read."""
        self._start_s = self._clock()
        request = pb.ReadRunLogRequest()
        request.CopyFrom(self._request)
        return Answers(request, pb.ReadRunLogResponse)

    def take(self, answer: pb.ReadRunLogResponse) -> Iterator[pb.LogLine]:
        """Take in an answer; yields its lines."""
        self._heard_s = self._clock()
        self._comeback.attached()
        for line in answer.lines:
            self._request.from_line = line.number + 1
            yield line
        to_line = self._request.to_line
        self.done = answer.HasField("run") or 0 < to_line < self._request.from_line

    def delay_after(self, error: FoundryError | None) -> float:
        """Return how many seconds to wait before the next call.

        Args:
            error: Why the call ended; None for OK before everything was read.

        Raises:
            FoundryError: The server refused, or, when not following, was away for too long.
        """
        now = self._clock()
        delay_s = self._comeback.delay_after(error, lasted_s=now - self._start_s)
        if error is not None and not self._request.follow and now + delay_s - self._heard_s > self._timeout:
            raise error
        return delay_s
