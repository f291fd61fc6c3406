"""How runs and the lines of their consoles look on a terminal."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from rich.console import Group, RenderableType
from rich.table import Column
from rich.text import Text

from foundry.cli.output import Output
from foundry.cli.tables import facts, named, number, table
from foundry.cli.words import enum_word, instant, line_count, moment, person, shown, since, size, span, tame

if TYPE_CHECKING:
    from coreason.foundry.v1.run_pb2 import LogLine, Run

WIDE: Final = 110  # columns from which there is room for what runs it

STATE_STYLES: Final = {
    "running": "bold yellow",
    "passed": "green",
    "failed": "bold red",
    "errored": "red",
    "cancelled": "dim",
}
_STREAM_STYLES: Final = {"stderr": "\x1b[31m", "event": "\x1b[36m"}
_RESET: Final = "\x1b[0m"


def state_of(run: Run) -> Text:
    """Return where a run stands."""
    state = enum_word(run, "state")
    return Text(state, STATE_STYLES.get(state, ""))


def lasted(run: Run, now: datetime | None = None) -> str:
    """Return how long a run took, or has taken so far."""
    if not run.HasField("finish_time"):
        return since(run.start_time, now)
    return span((run.finish_time.ToNanoseconds() - run.start_time.ToNanoseconds()) / 1e9)


def runs(rows: Sequence[Run], width: int, now: datetime | None = None) -> RenderableType:
    """Return a table of runs. Args: width is that of the terminal, columns."""
    start: list[Column | str] = [
        Column("run", no_wrap=True),
        number("version"),
        "state",
        number("lines"),
        number("took"),
        "by",
    ]
    grid = table(*start, *(["harness", "labels"] if width >= WIDE else []))
    for row in rows:
        wide = [shown(row.harness), shown(_labels(row), "dim")] if width >= WIDE else []
        grid.add_row(
            row.run_id,
            str(row.version_number),
            state_of(row),
            f"{row.line_count:,}",
            lasted(row, now),
            person(row.starter),
            *wide,
        )
    return grid


def run(it: Run, now: datetime | None = None) -> RenderableType:
    """Return everything about one run but its console."""
    console = f"{line_count(it.line_count)}, {size(it.log_bytes)}" if it.log_bytes else line_count(it.line_count)
    what = facts(
        [
            ("state", state_of(it)),
            ("version", Text(str(it.version_number))),
            ("content", Text(it.content_sha256)),
            ("harness", shown(it.harness)),
            ("labels", shown(_labels(it))),
            ("attempt", Text(str(it.attempt) if it.attempt > 1 else "")),
            ("started", Text.assemble(moment(it.start_time), " by ", person(it.starter))),
            ("took" if it.HasField("finish_time") else "running for", Text(lasted(it, now))),
            ("console", Text(console)),
            ("digest", Text(it.log_sha256)),
        ]
    )
    parts: list[RenderableType] = [Text.assemble("run ", (it.run_id, "bold")), what]
    if it.results:
        grid = table(Column("", no_wrap=True), named("result"), "value")
        for result in it.results:
            verdict = Text("passed", "green") if result.passed else Text("failed", "bold red")
            grid.add_row(verdict, shown(result.name), shown(result.value))
        parts += [Text(), grid]
    return Group(*parts)


def _labels(it: Run) -> str:
    return ", ".join(f"{key}={it.labels[key]}" for key in sorted(it.labels))


class ConsolePrinter:
    """Prints lines of a console to standard output.

    For scripts an object each; into a pipe byte for byte; on a terminal without what could drive it, but in their
    colours, with standard error in red and what the harness says of itself in cyan.

    Args:
        output: Where results go.
        timestamps: Put before each line when it came out.
        at_once: Whether somebody waits for each line.
    """

    def __init__(self, output: Output, *, timestamps: bool = False, at_once: bool = False) -> None:
        self._output = output
        self._timestamps = timestamps
        self._at_once = at_once
        self._goes_on = False

    def line(self, line: LogLine) -> None:
        """Print a line, or a part of one."""
        if self._output.as_json:
            self._output.line(line)
            return
        text = self._tamed(line) if self._output.console.is_terminal else line.text
        if self._timestamps and not self._goes_on:
            text = f"{instant(line.source_time)} {text}"
        self._goes_on = line.partial
        sys.stdout.buffer.write((text if line.partial else f"{text}\n").encode())
        if self._at_once:
            sys.stdout.flush()

    def finish(self) -> None:
        """Everything was printed."""
        sys.stdout.flush()

    def _tamed(self, line: LogLine) -> str:
        text = tame(line.text)
        colour = _STREAM_STYLES.get(enum_word(line, "stream"), "")
        if self._output.console.no_color or not (colour or "\x1b" in text):
            return text
        return f"{colour}{text}{_RESET}"


def ended(run: Run) -> str:
    """Return how a run ended, in a sentence for the margin."""
    now = datetime.now(UTC)
    return f"{enum_word(run, 'state')} after {lasted(run, now)}, {line_count(run.line_count)}"
