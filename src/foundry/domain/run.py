"""Runs: tests of a version while they run, and the lines of their console."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import NamedTuple

from foundry.domain.principal import Principal
from foundry.domain.session import Position

#: Runs of one project that may run at once.
RUNNING_PER_PROJECT_MAX = 100


class RunState(enum.StrEnum):
    """Where a run stands. Only a RUNNING one takes lines."""

    RUNNING = "RUNNING"
    PASSED = "PASSED"
    FAILED = "FAILED"
    ERRORED = "ERRORED"
    CANCELLED = "CANCELLED"


class LogStream(enum.StrEnum):
    """Where a line came out."""

    STDOUT = "STDOUT"
    STDERR = "STDERR"
    EVENT = "EVENT"


class LogLine(NamedTuple):
    """A line of a console; a tuple, which takes half the time of a frozen dataclass to make.

    Attributes:
        number: From 1, without gaps.
        text: The line without its line feed, as it came.
        time_us: When it came out by the producer's clock, microseconds since the Unix epoch; None when not said.
        partial: The line goes on in the next.
    """

    number: int
    text: str
    stream: LogStream = LogStream.STDOUT
    time_us: int | None = None
    partial: bool = False


@dataclass(frozen=True, slots=True)
class RunResult:
    """What one test of a run came to."""

    name: str
    passed: bool
    value: str = ""


@dataclass(frozen=True, slots=True)
class Run:
    """A run without its console.

    Attributes:
        line_count: Lines stored so far.
        log_bytes: Their bytes as they are hashed.
        log_sha256: Digest of the console in hex, empty while it runs.
        finish_time_us: 0 while it runs.
    """

    run_id: str
    project_id: str
    version_number: int
    content_sha256: str
    harness: str
    labels: dict[str, str]
    attempt: int
    state: RunState
    starter: Principal
    start_time_us: int
    finish_time_us: int = 0
    line_count: int = 0
    log_bytes: int = 0
    log_sha256: str = ""
    results: tuple[RunResult, ...] = ()


@dataclass(frozen=True, slots=True)
class RunLines:
    """Lines of a run that were stored together, in order.

    Attributes:
        position: Where the project's log was when they were stored.
    """

    project_id: str
    run_id: str
    lines: tuple[LogLine, ...]
    position: Position

    @property
    def first(self) -> int:
        """Number of the first line."""
        return self.lines[0].number


class SeenLine(NamedTuple):
    """How far somebody has seen the console of a run.

    Attributes:
        number: The last line they saw, 0 before the first.
        epoch: The history of the log in which they saw it, 0 when they do not say.
    """

    number: int
    epoch: int = 0

    def number_in(self, epoch: int) -> int:
        """The last line they saw in this history."""
        return self.number if self.epoch in {0, epoch} else 0


@dataclass(frozen=True, slots=True)
class RunFilter:
    """Which runs to list; empty members do not restrict."""

    version_number: int = 0
    state: RunState | None = None
    content_sha256: str = ""
