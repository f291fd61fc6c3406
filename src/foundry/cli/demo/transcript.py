"""What the demo shows: who does what and who sees it, side by side when there is room."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from rich.console import RenderableType
from rich.padding import Padding
from rich.rule import Rule
from rich.table import Column, Table
from rich.text import Text

from foundry.cli.demo.cast import Person
from foundry.cli.output import Output
from foundry.cli.words import plain, plural

WIDE: Final = 110  # columns from which everybody has a side of their own
_NAME_COLUMNS: Final = 10


class Transcript:
    """Writes the play down as it happens, for people or as JSON lines.

    Args:
        output: Where it goes.
    """

    def __init__(self, output: Output) -> None:
        self._output = output

    def chapter(self, title: str) -> None:
        """Begin a story."""
        if self._output.as_json:
            self._output.line({"chapter": title})
        else:
            self._output.show(Text(), Rule(Text(title, "bold"), align="left", style="dim"), Text())

    def does(self, who: Person, what: str) -> None:
        """Tell what somebody does."""
        self._speak(who, "does", "", what)

    def sees(self, who: Person, what: str) -> None:
        """Tell what somebody's own program was told by the server."""
        self._speak(who, "sees", "\N{LEFTWARDS ARROW} ", what)

    def exhibit(self, what: RenderableType, who: Person | None = None) -> None:
        """Show something as it looks on somebody's terminal; on a wide one on their side, if it says whose."""
        if self._output.as_json:
            return
        indented = Padding(what, (0, 0, 0, _NAME_COLUMNS + 1))
        self._output.show(indented if who is None else self._on_side_of(who, indented))

    def observed(self, step: str) -> None:
        """Tick a step off."""
        if self._output.as_json:
            self._output.line({"step": step, "observed": True})
        else:
            self._output.show(_marked(Text("\N{CHECK MARK}", "bold green"), Text(step, "green")), Text())

    def missed(self, step: str, why: str) -> None:
        """Tell that a step was not observed, and what was there instead."""
        if self._output.as_json:
            self._output.line({"step": step, "observed": False, "why": why})
        else:
            self._output.show(
                _marked(Text("\N{BALLOT X}", "bold red"), Text(f"{step} But {plain(why)}", "red")), Text()
            )

    def summary(self, observed: int, missing: Iterable[str]) -> None:
        """Say whether everything was observed, and what was not."""
        absent = list(missing)
        if self._output.as_json:
            self._output.line({"observed": observed, "not_observed": list(absent)})
            return
        self._output.show(Rule(style="dim"))
        if not absent:
            self._output.show(Text(f"All {plural(observed, 'step')} observed.", "bold green"))
            return
        self._output.show(Text(f"{plural(observed, 'step')} observed, {len(absent)} not:", "bold red"))
        for step in absent:
            self._output.show(Text(f"  \N{BALLOT X} {step}"))

    def _speak(self, who: Person, verb: str, sign: str, what: str) -> None:
        if self._output.as_json:
            self._output.line({"who": who.subject, verb: what})
            return
        line = Table.grid(Column(width=_NAME_COLUMNS, no_wrap=True), Column(), padding=(0, 1, 0, 0))
        line.add_row(Text(who.name, f"bold {who.style}"), Text.assemble((sign, who.style), plain(what)))
        self._output.show(self._on_side_of(who, line))

    def _on_side_of(self, who: Person, what: RenderableType) -> RenderableType:
        """Return something where somebody's words stand: everybody has a side if there is room."""
        if self._output.console.width < WIDE:
            return what
        sides = Table.grid(Column(ratio=1), Column(ratio=1), expand=True, padding=(0, 2, 0, 0))
        sides.add_row(what if who.on_the_left else "", "" if who.on_the_left else what)
        return sides


def _marked(mark: Text, sentence: Text) -> RenderableType:
    """Return a sentence with a mark before it, where the names stand."""
    line = Table.grid(Column(width=_NAME_COLUMNS, justify="right"), Column(), padding=(0, 1, 0, 0))
    line.add_row(mark, sentence)
    return line
