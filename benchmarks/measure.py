"""Rounds of several contenders in turn, and what is told of them."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.servers import Server
from benchmarks.worker import Round, Worker


@dataclass(frozen=True, slots=True)
class Scale:
    """How much is measured.

    Attributes:
        rounds: Of each contender, in turn: A B C A B C.
        seconds: Of a round.
        history: Versions of the project that is compared with a young one.
        kills: Clients that are killed.
        crowd: Sessions that wait for one event.
        shots: How often the crowd gets one.
        console: Seconds of the long run whose console is watched while others edit.
    """

    rounds: int = 4
    seconds: float = 1.5
    history: int = 10_000
    kills: int = 30
    crowd: int = 500
    shots: int = 20
    console: float = 20.0


QUICK = Scale(rounds=2, seconds=0.4, history=500, kills=5, crowd=60, shots=4, console=5.0)


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the results. What does not apply is None.

    Attributes:
        unit: What an operation is.
        per_second: Median of the rounds.
        p50_ms: Median of the rounds' medians.
        p99_ms: Median of the rounds' 99th percentiles.
        cpu_us: Of the server's process an operation, least of the rounds.
        busy: Share of a core that the server used, most of the rounds. Far below 1, the load or the other users of the
            machine were the limit and ``cpu_us`` is the better figure.
    """

    case: str
    contender: str
    unit: str
    per_second: float | None = None
    p50_ms: float | None = None
    p99_ms: float | None = None
    cpu_us: float | None = None
    busy: float | None = None
    note: str = ""


@dataclass(frozen=True, slots=True)
class Verdict:
    """A goal of the design, and what came out."""

    goal: str
    bar: str
    figure: str
    met: bool | None


@dataclass
class Report:
    """Everything measured so far."""

    rows: list[Row] = field(default_factory=list)
    verdicts: list[Verdict] = field(default_factory=list)

    def row(self, case: str, contender: str) -> Row | None:
        """A row, or None when it was not measured."""
        return next((row for row in self.rows if (row.case, row.contender) == (case, contender)), None)

    def judge(self, goal: str, bar: str, value: float | None, *, least: float = 0, most: float = 0, show: str) -> None:
        """Add a verdict.

        Args:
            value: What came out; None when the peer is absent.
            least: The bar when more is better.
            most: The bar when less is better.
            show: Format of the value.
        """
        if value is None:
            self.verdicts.append(Verdict(goal, bar, "not measured: peer absent", None))
            return
        met = value >= least if least else value <= most
        self.verdicts.append(Verdict(goal, bar, show.format(value), met))

    def as_json(self) -> dict[str, Any]:
        """For scripts."""
        return {"rows": [asdict(row) for row in self.rows], "verdicts": [asdict(made) for made in self.verdicts]}


@dataclass(frozen=True, slots=True)
class Bench:
    """What cases are given.

    Attributes:
        directory: Temporary; servers put their data below it.
        foundry: On SQLite.
        shared: On Postgres and Redis, for the cases that compare them.
    """

    scale: Scale
    directory: Path
    report: Report
    foundry: Server
    shared: Server | None
    floor: Server
    etcd: Server | None
    redis: Server | None


def ratio(report: Report, case: str, candidate: str, base: str, name: str) -> float | None:
    """How a figure of the candidate relates to that of the base; None when one of them is missing."""
    above, below = report.row(case, candidate), report.row(case, base)
    if above is None or below is None:
        return None
    top, bottom = getattr(above, name), getattr(below, name)
    return float(top / bottom) if top is not None and bottom else None


def alternate(
    bench: Bench, case: str, unit: str, contenders: Mapping[str, Worker], *, operations_max: int = 1_000_000
) -> None:
    """Warm all contenders up, run their rounds in turn, and report a row for each."""
    for worker in contenders.values():
        worker.do("prepare")
        worker.do("round", min(1.0, bench.scale.seconds), operations_max)
    rounds: dict[str, list[Round]] = {name: [] for name in contenders}
    for _ in range(bench.scale.rounds):
        for name, worker in contenders.items():
            rounds[name].append(worker.do("round", bench.scale.seconds, operations_max))
    bench.report.rows += [summary(case, name, unit, done) for name, done in rounds.items()]


def absent(bench: Bench, case: str, contender: str, unit: str) -> None:
    """Report a peer that is not installed here."""
    bench.report.rows.append(Row(case, contender, unit, note="absent: not on PATH"))


def summary(case: str, contender: str, unit: str, rounds: Sequence[Round]) -> Row:
    """The row of a contender's rounds."""
    return Row(
        case=case,
        contender=contender,
        unit=unit,
        per_second=statistics.median(done.operations / done.seconds for done in rounds),
        p50_ms=statistics.median(percentile(done.latencies, 50) for done in rounds) * 1000,
        p99_ms=statistics.median(percentile(done.latencies, 99) for done in rounds) * 1000,
        cpu_us=min(done.cpu_seconds / done.operations for done in rounds) * 1e6,
        busy=max(done.cpu_seconds / done.seconds for done in rounds),
    )


def percentile(values: Sequence[float], percent: float) -> float:
    """The value that so many per cent of the values do not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))]


def workers(stack: ExitStack, loads: Mapping[str, tuple[Any, ...]]) -> dict[str, Worker]:
    """Start a worker for each load: its class and its arguments."""
    return {name: stack.enter_context(Worker(*load)) for name, load in loads.items()}
