"""A run for the length of a block."""

from __future__ import annotations

from datetime import datetime
from typing import Final

from coreason.foundry.v1 import run_pb2 as pb
from foundry.client.console.writer import RunLogWriter

_RESULTS_MAX: Final = 200
_BYTES_MAX: Final = 200


class RunningRun:
    """A run that runs as long as its block; see ``RunClient.running``.

    Attributes:
        run: The run as it was started, and after the block as it was finished.
        log: Writes to its console.
        results: What came out so far, by test.
        state: What to finish it as; None for PASSED, or FAILED when a result says so.
    """

    def __init__(self, run: pb.Run, log: RunLogWriter) -> None:
        self.run = run
        self.log = log
        self.results: list[pb.RunResult] = []
        self.state: pb.RunState.ValueType | None = None

    @property
    def run_id(self) -> str:
        """Its id."""
        return self.run.run_id

    @property
    def final_state(self) -> pb.RunState.ValueType:
        """What it is finished as, if nothing else comes."""
        if self.state is not None:
            return self.state
        return pb.RUN_STATE_PASSED if all(result.passed for result in self.results) else pb.RUN_STATE_FAILED

    async def write(
        self,
        text: str | bytes,
        *,
        stream: pb.LogStream.ValueType = pb.LOG_STREAM_STDOUT,
        time: datetime | None = None,
    ) -> None:
        """Write to its console; as ``RunLogWriter.write``."""
        await self.log.write(text, stream=stream, time=time)

    def result(self, name: str, *, passed: bool, value: str = "") -> None:
        """Report what one test came to.

        Args:
            name: Name of the test or metric, 1 to 200 bytes; each at most once, at most 200 in all.
            passed: Whether it passed.
            value: Its value as text, at most 200 bytes.

        Raises:
            ValueError: It breaks one of these bounds: here and not at the end, where it would cost the run its end.
        """
        if not name.strip() or max(len(name.encode()), len(value.encode())) > _BYTES_MAX:
            raise ValueError(f"a result has a name, and name and value have at most {_BYTES_MAX} bytes each")
        if len(self.results) >= _RESULTS_MAX:
            raise ValueError(f"a run has at most {_RESULTS_MAX} results")
        if any(result.name == name for result in self.results):
            raise ValueError(f"there is a result {name!r} already")
        self.results.append(pb.RunResult(name=name, passed=passed, value=value))
