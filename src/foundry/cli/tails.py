"""The ends of consoles: of each run the last lines, however many there are."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, NamedTuple

from foundry.cli.cells import LINE_CHARACTERS

if TYPE_CHECKING:
    from coreason.foundry.v1.audit_pb2 import LogEntry
    from coreason.foundry.v1.run_pb2 import LogLine, Run, RunLog

#: Lines kept of each console; more than a terminal is high.
KEPT_LINES: Final = 200

#: Finished runs that are still shown.
KEPT_RUNS: Final = 5


class TailLine(NamedTuple):
    """A line of a console, as much of it as can be shown."""

    number: int
    stream: int
    text: str


@dataclass(slots=True)
class Tail:
    """A run and the end of its console.

    Attributes:
        run: The run as far as it is known.
        lines: The last lines, oldest first.
        goes_on: Whether the last line is a part, and the rest of it is still to come.
    """

    run: Run
    lines: deque[TailLine] = field(default_factory=lambda: deque(maxlen=KEPT_LINES))
    goes_on: bool = False

    @property
    def is_running(self) -> bool:
        """Whether more is to come."""
        from coreason.foundry.v1.run_pb2 import RUN_STATE_RUNNING

        return self.run.state == RUN_STATE_RUNNING

    def add(self, line: LogLine) -> None:
        """Take in the next line."""
        text = line.text[:LINE_CHARACTERS]
        if self.goes_on and self.lines:
            before = self.lines.pop()
            text = (before.text + text)[:LINE_CHARACTERS]
        self.lines.append(TailLine(line.number, line.stream, text))
        self.goes_on = line.partial


class Consoles:
    """The consoles of a project: of the runs that run, and of those that were finished last."""

    def __init__(self) -> None:
        self._tails: dict[str, Tail] = {}

    def running(self) -> list[Tail]:
        """Return the runs that run, oldest first."""
        return sorted((tail for tail in self._tails.values() if tail.is_running), key=_age)

    def finished(self) -> list[Tail]:
        """Return the runs that were finished last, oldest first."""
        return sorted((tail for tail in self._tails.values() if not tail.is_running), key=_end)

    def see(self, runs: Mapping[str, Run]) -> None:
        """Take in which runs run now."""
        for run_id, run in runs.items():
            tail = self._tails.get(run_id)
            if tail is None:
                self._tails[run_id] = Tail(_copy(run))
            elif tail.is_running and not tail.run.HasField("start_time"):  # its lines came first
                run_so_far = _copy(run)
                run_so_far.line_count = max(run.line_count, tail.run.line_count)
                tail.run = run_so_far

    def unaccounted(self, runs: Mapping[str, Run]) -> list[str]:
        """Return what is shown as running but is not: its end was missed."""
        return [run_id for run_id, tail in self._tails.items() if tail.is_running and run_id not in runs]

    def take(self, log: RunLog) -> None:
        """Take in lines, or the end, of a run."""
        from coreason.foundry.v1.run_pb2 import RUN_STATE_RUNNING, Run

        tail = self._tails.get(log.run_id)
        if tail is None:
            tail = self._tails[log.run_id] = Tail(Run(run_id=log.run_id, state=RUN_STATE_RUNNING))
        for line in log.lines[-KEPT_LINES:]:
            tail.add(line)
        if log.lines and log.lines[-1].number > tail.run.line_count:
            tail.run.line_count = log.lines[-1].number
        if log.HasField("finished_run"):
            self.know(log.finished_run)

    def hear(self, entry: LogEntry) -> None:
        """Take in that a run was started or finished."""
        if entry.HasField("run_finished"):
            ended = entry.run_finished
            tail = self._tails.get(ended.run_id)
            if tail is not None and tail.is_running:
                tail.run.state = ended.state
                tail.run.line_count = ended.line_count
                tail.run.finish_time.CopyFrom(entry.time)
                self._forget()

    def know(self, run: Run) -> None:
        """Take in everything about a run but its console."""
        tail = self._tails.setdefault(run.run_id, Tail(run))
        tail.run = _copy(run)
        self._forget()

    def show(self, run_id: str, line: LogLine) -> None:
        """Take in a line of a finished run that was read from the store."""
        tail = self._tails.get(run_id)
        if tail is not None and not (tail.lines and tail.lines[-1].number >= line.number):
            tail.add(line)

    def tail_of(self, run_id: str) -> Tail | None:
        """Return a run, if it is one of those that are shown."""
        return self._tails.get(run_id)

    def _forget(self) -> None:
        """Let go of the runs that were finished long ago."""
        for tail in self.finished()[:-KEPT_RUNS]:
            del self._tails[tail.run.run_id]


def _age(tail: Tail) -> int:
    return tail.run.start_time.ToNanoseconds()


def _end(tail: Tail) -> int:
    return tail.run.finish_time.ToNanoseconds()


def _copy(run: Run) -> Run:
    """A run of one's own: what it comes from belongs to the session."""
    copied = type(run)()
    copied.CopyFrom(run)
    return copied
