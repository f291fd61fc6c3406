"""The results, for people and for scripts."""

from __future__ import annotations

import json
import os
import platform
import resource
import time
from pathlib import Path

import psutil
from rich.console import Console
from rich.table import Table

from benchmarks.measure import Report, Row

#: With more than this taken by others, rates and tails tell more about them than about the servers.
_OTHERS_MAX = 0.2
_DISTURBED = (
    " DISTURBED: neither rates, tails nor verdicts on them can be relied on, in either direction; run it again."
)


class Machine:
    """What this is measured on, and who else uses it; made before the measurement."""

    def __init__(self) -> None:
        self._began, self._busy, self._ours = time.monotonic(), _busy_s(), _ours_s()

    def others(self) -> float:
        """Share of the machine that went to programs that are not ours since then."""
        capacity = (time.monotonic() - self._began) * (os.cpu_count() or 1)
        return max(0.0, _busy_s() - self._busy - (_ours_s() - self._ours)) / capacity

    def __str__(self) -> str:
        """What to make of the figures."""
        cores, others = os.cpu_count(), self.others()
        memory = psutil.virtual_memory().total / 2**30
        return (
            f"{cores} cores shared by servers and load generators, and {others:.0%} of them went to other programs "
            f"meanwhile; {memory:.0f} GiB, {platform.system()} {platform.release()}, "
            f"Python {platform.python_version()}. "
            "Compare figures of one run with each other, not with those of another machine."
            + (_DISTURBED if others > _OTHERS_MAX else "")
        )


def _busy_s() -> float:
    """CPU time that everybody used since the machine started, seconds; that stolen by its host included."""
    times = psutil.cpu_times()
    return float(sum(times) - times.idle - getattr(times, "iowait", 0.0) - getattr(times, "guest", 0.0))


def _ours_s() -> float:
    """CPU time of this process and of those it started that have ended, seconds."""
    used = (resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN))
    return sum(each.ru_utime + each.ru_stime for each in used)


def show(report: Report, machine: Machine, console: Console) -> None:
    """Print the tables."""
    table = Table(title="Measured side by side", title_justify="left")
    table.add_column("")
    for heading in ("a second", "x first", "p50 ms", "p99 ms", "CPU us", "x first", "busy"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("", overflow="fold")
    first: Row | None = None
    for row in report.rows:
        if first is None or first.case != row.case:
            first = row
            table.add_section()
            table.add_row(f"[bold]{row.case}[/] ({row.unit})")
        table.add_row(*_cells(row, first))
    console.print(table)
    goals = Table(title="Goals of the design", title_justify="left")
    for heading in ("Goal", "Bar", "Here", ""):
        goals.add_column(heading, overflow="fold")
    for verdict in report.verdicts:
        word = {True: "[green]met", False: "[red]missed", None: "-"}[verdict.met]
        goals.add_row(verdict.goal, verdict.bar, verdict.figure, word)
    console.print(goals)
    console.print(str(machine), soft_wrap=True, highlight=False)


def _cells(row: Row, first: Row) -> list[str]:
    return [
        f"  {row.contender}",
        _number(row.per_second, ",.0f"),
        _times(row.per_second, first.per_second),
        _number(row.p50_ms, ",.2f"),
        _number(row.p99_ms, ",.2f"),
        _number(row.cpu_us, ",.1f"),
        _times(row.cpu_us, first.cpu_us),
        _number(row.busy, ".0%"),
        row.note,
    ]


def _number(value: float | None, shape: str) -> str:
    return "" if value is None else format(value, shape)


def _times(value: float | None, first: float | None) -> str:
    return f"{value / first:.2f}" if value and first else ""


def write(report: Report, machine: Machine, path: Path) -> None:
    """Write the results as JSON."""
    path.write_text(json.dumps({"machine": str(machine), **report.as_json()}, indent=2) + "\n")
