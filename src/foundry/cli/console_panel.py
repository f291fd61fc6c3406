"""The section of the consoles: what runs, the end of what it says, and how what ran before ended."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Final

from rich.text import Text

from foundry.cli.cells import between, calm, coloured, fit
from foundry.cli.consoles import STATE_STYLES, lasted
from foundry.cli.layout import Section
from foundry.cli.panels import title, who
from foundry.cli.words import enum_word, line_count

if TYPE_CHECKING:
    from foundry.cli.picture import Picture
    from foundry.cli.tails import Tail, TailLine

_STDERR: Final = 2
_EVENT: Final = 3
_GUTTERS: Final = {_STDERR: Text("! ", "bright_red"), _EVENT: Text("\u203a ", "cyan")}
_STDOUT_GUTTER: Final = Text("  ")
_STYLES: Final = {_STDERR: "red", _EVENT: "cyan"}

_ROWS_EACH: Final = 4  # below which another console is not worth its heading
_FINISHED_ROWS: Final = 3


def console(picture: Picture, now: datetime) -> Section:
    """Return the consoles of the runs that run, below those that are finished; or the end of the last one."""
    running, finished = picture.consoles.running(), picture.consoles.finished()
    open_ = running or finished[-1:]
    closed = finished if running else finished[:-1]

    def rows(width: int, count: int) -> list[Text]:
        if not open_:
            return [Text("nothing has run yet" if picture.is_read else "\u2026", "dim")]
        shown = open_[-max(1, count // _ROWS_EACH) :]
        spare = max(0, count - 2 * _ROWS_EACH * len(shown))
        lines = [_heading(tail, width, now) for tail in _last(closed, min(_FINISHED_ROWS, spare))]
        lines += [_heading(tail, width, now) for tail in _last(open_[: -len(shown)], count // _ROWS_EACH - 1)]
        for tail, height in zip(shown, _heights(shown, count - len(lines)), strict=True):
            lines.append(_heading(tail, width, now))
            lines += _end(tail, width, height - 1)
        return lines

    wanted = sum(1 + len(tail.lines) for tail in open_) + min(_FINISHED_ROWS, len(closed))
    note = Text(f"{len(running)} running", "bold yellow") if running else Text()
    least = 7 if running else 2
    return Section(title("console"), rows, max(1, wanted), rank=1, least=least, weight=6 if running else 2, note=note)


def _last(tails: list[Tail], count: int) -> list[Tail]:
    return tails[len(tails) - min(max(0, count), len(tails)) :]


def _heights(tails: list[Tail], rows: int) -> list[int]:
    """Share rows among consoles, title included: as evenly as they need them."""
    heights = [1] * len(tails)
    for _ in range(rows - len(tails)):
        short = [index for index, tail in enumerate(tails) if heights[index] <= len(tail.lines)]
        if not short:
            break
        heights[min(short, key=lambda index: heights[index])] += 1
    return heights


def _heading(tail: Tail, width: int, now: datetime) -> Text:
    """Return what a run is, and how it stands."""
    run = tail.run
    state = enum_word(run, "state")
    sign = {"running": "\u25cf", "passed": "\u2713"}.get(state, "\u2717")
    style = STATE_STYLES.get(state, "")
    what = Text.assemble((f"{sign} ", style), (calm(run.harness) or f"run {run.run_id[-6:]}", "bold"))
    if run.HasField("starter"):
        what.append(" by ").append_text(who(run.starter))
    if run.version_number:
        what.append(f" on version {run.version_number}", "dim")
    how = Text(state, style)
    if run.HasField("start_time"):
        how.append(f" {lasted(run, now)}", "dim")
    if run.results:
        how.append(f", {sum(it.passed for it in run.results)} of {len(run.results)} passed", "dim")
    how.append(f", {line_count(run.line_count)}", "dim")
    return between(what, how, width)


def _end(tail: Tail, width: int, rows: int) -> list[Text]:
    newest = list(tail.lines)[len(tail.lines) - min(rows, len(tail.lines)) :]
    return [fit(_line(line), width) for line in newest]


def _line(line: TailLine) -> Text:
    gutter = _GUTTERS.get(line.stream, _STDOUT_GUTTER)
    return Text.assemble(gutter, coloured(line.text, _STYLES.get(line.stream, "")), no_wrap=True, end="")
