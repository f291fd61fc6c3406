"""Shares the lines of a terminal among sections, and draws them below and beside each other."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

from rich.text import Text

from foundry.cli.cells import fit, rule

_GUTTER: Final = Text(" \u2502 ", "bright_black")


@dataclass(frozen=True, slots=True)
class Section:
    """A part of a picture: a title, and below it rows.

    Attributes:
        title: What it is.
        rows: Draws it: from a width and a number of rows, at most so many lines of that width.
        wanted: Rows in which everything has its place.
        least: Rows without which it is not worth its title, from 1.
        rank: Whose turn it is when there is too little room, lowest first.
        weight: How much of what is left over it gets, in proportion to others.
        has_news: Whether there is more in it than that there is nothing.
        note: What there is to say of it at the end of its title.
    """

    title: Text
    rows: Callable[[int, int], Sequence[Text]]
    wanted: int
    rank: int
    least: int = 1
    weight: int = 1
    has_news: bool = True
    note: Text = field(default_factory=Text)


def share(sections: Sequence[Section], height: int) -> list[int]:
    """Return how many rows each section gets below its title, 0 when it is left out.

    First everybody gets the least they need, by rank, then everybody in turn, by weight, one more, up to what they
    want. Titles count; the sum is never more than the height.
    """
    given = [0] * len(sections)
    left = height
    for index in sorted(range(len(sections)), key=lambda index: sections[index].rank):
        least = min(sections[index].least, sections[index].wanted)
        if least and left >= least + 1:
            given[index] = least
            left -= least + 1
    while left > 0:
        open_ = [index for index, rows in enumerate(given) if 0 < rows < sections[index].wanted]
        if not open_:
            break
        given[min(open_, key=lambda index: (given[index] / sections[index].weight, sections[index].rank))] += 1
        left -= 1
    return given


def stacked(sections: Sequence[Section], width: int, height: int) -> list[Text]:
    """Return sections below each other in exactly so many lines."""
    lines: list[Text] = []
    for section, rows in zip(sections, share(sections, height), strict=True):
        if rows:
            lines.append(rule(section.title, section.note, width))
            lines += [fit(line, width) for line in section.rows(width, rows)[:rows]]
    blank = Text(" " * width, end="")
    return [*lines[:height], *[blank] * (height - len(lines))]


def side_by_side(left: Sequence[Text], right: Sequence[Text]) -> list[Text]:
    """Return two stacks of the same height beside each other."""
    return [Text.assemble(one, _GUTTER, other, no_wrap=True, end="") for one, other in zip(left, right, strict=True)]


GUTTER_COLUMNS: Final = _GUTTER.cell_len
