"""Text in the cells of a terminal: cut, filled up, and set in columns, so that no line is ever too long."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import cycle
from typing import Final

from rich.ansi import AnsiDecoder
from rich.style import Style
from rich.text import Text

from foundry.cli.words import plain

#: Characters of one line of somebody's tool that are looked at; more never fit on a terminal.
LINE_CHARACTERS: Final = 2000

_GAP: Final = 2
_LEAST_FLEXIBLE: Final = 6
_TAB_COLUMNS: Final = 8

# Asks for colours and weight; bounded, since what makes numbers of the digits is.
_SGR: Final = re.compile("(\x1b\\[[0-9;:]{0,64}m)")
# Neither ink nor a place of their own: terminals do not agree on how wide a line is that has them.
_INKLESS: Final = re.compile("[\u00ad\u200b-\u200d\u2060\ufe00-\ufe0f\ufeff]")
_BREAKS: Final = re.compile("[\n\u2028\u2029]")
_MARKS: Final = "\u0300-\u036f\u1ab0-\u1aff\u1dc0-\u1dff\u20d0-\u20ff\ufe20-\ufe2f"
_PILES: Final = re.compile(f"([{_MARKS}]{{2}})[{_MARKS}]+")

# What is drawn here, and what stands for it where only ASCII can be written.
_ASCII: Final = str.maketrans(
    {
        "\u2500": "-",  # line
        "\u2502": "|",  # upright line
        "\u25cf": "*",  # disc
        "\u25cb": "o",  # circle
        "\u25a0": "#",  # square
        "\u00b7": ".",  # middle dot
        "\u203a": ">",  # angle
        "\u2713": "+",  # check mark
        "\u2717": "x",  # ballot
        "\u2026": "~",  # ellipsis
    }
)


def calm(text: str) -> str:
    """Return other people's text on one line, harmless, and as wide on every terminal."""
    if text.isascii() and text.isprintable():
        return text
    return _PILES.sub(r"\1", _INKLESS.sub("", plain(_BREAKS.sub(" ", text))))


def colourless(text: str) -> str:
    """Return a line of somebody's tool without its colours, and harmless."""
    return plain(_SGR.sub("", text.removesuffix("\r")).replace("\n", "\\n"))


def coloured(text: str, style: str = "") -> Text:
    """Return a line of somebody's tool in its own colours, which end with it.

    Args:
        text: The line.
        style: What it looks like where it does not say.
    """
    text = text[:LINE_CHARACTERS].removesuffix("\r")
    shown = Text(style=style, no_wrap=True, end="")
    if "\x1b" not in text:
        shown.append(calm(text))
    else:
        decoder = AnsiDecoder()
        for part, is_code in zip(_SGR.split(text), cycle((False, True)), strict=False):
            if is_code:
                decoder.decode_line(part)
            elif part:
                shown.append(calm(part), _ink(decoder.style))
    if "\t" in shown.plain:
        shown.expand_tabs(_TAB_COLUMNS)
    return shown


def _ink(style: Style) -> Style:
    """Return colours and weight of a style: nothing that blinks, hides or leads elsewhere."""
    return Style(
        color=style.color,
        bgcolor=style.bgcolor,
        bold=style.bold,
        dim=style.dim,
        italic=style.italic,
        underline=style.underline,
        reverse=style.reverse,
    )


def fit(text: Text, width: int) -> Text:
    """Return text cut or filled up to exactly so many cells."""
    if width <= 0:
        return Text(no_wrap=True, end="")
    fitted = text.copy()
    fitted.no_wrap, fitted.end, fitted.overflow = True, "", "ellipsis"
    fitted.truncate(width, overflow="ellipsis", pad=True)
    return fitted


def between(left: Text, right: Text, width: int) -> Text:
    """Return a line with one text at each end; when they do not fit, the left one is cut."""
    if right.cell_len + _GAP >= width or not right.plain:
        return fit(left, width)
    return Text.assemble(fit(left, width - right.cell_len - _GAP), " " * _GAP, right, no_wrap=True, end="")


def rule(title: Text, right: Text, width: int) -> Text:
    """Return the line above a section: its title, a line, and what there is to say of it at the end."""
    line = Text.assemble(title, " ", no_wrap=True, end="")
    tail = Text.assemble(" ", right) if right.plain else Text()
    dashes = width - line.cell_len - tail.cell_len
    if dashes < _GAP:
        return fit(title, width)
    return line.append("\u2500" * dashes, "bright_black").append_text(tail)


def grid(rows: Sequence[Sequence[Text]], width: int, caps: Sequence[int | None]) -> list[Text]:
    """Return rows in columns, each line exactly as wide as asked for.

    Args:
        rows: Cells by row.
        width: Cells of a line.
        caps: The most cells of each column; None for the one that gets what is left over. The last one is set to the
            right, unless it is that one. Another in which nothing stands is left out.
    """
    if not rows:
        return []
    widest = [max(row[column].cell_len for row in rows) for column in range(len(caps))]
    wide = [0 if cap is None else min(cap, most) for cap, most in zip(caps, widest, strict=True)]
    shown = [column for column, cap in enumerate(caps) if wide[column] or cap is None]
    room = width - sum(wide) - _GAP * max(0, len(shown) - 1)
    while room < _LEAST_FLEXIBLE and any(wide):  # too narrow: the widest column gives way
        most = max(range(len(wide)), key=lambda column: wide[column])
        wide[most] -= 1
        room += 1
    last = shown[-1] if shown else -1
    lines = []
    for row in rows:
        line = Text(no_wrap=True, end="")
        for column in shown:
            cap = room if caps[column] is None else wide[column]
            cell = row[column]
            if column == last and caps[column] is not None and cell.cell_len < cap:
                cell = Text.assemble(" " * (cap - cell.cell_len), cell)
            line.append_text(fit(cell, cap))
            if column != last:
                line.append(" " * _GAP)
        lines.append(fit(line, width))
    return lines


def as_ascii(text: Text) -> Text:
    """Return text with the signs of this program written in ASCII."""
    drawn = text.copy()
    drawn.plain = text.plain.translate(_ASCII)
    return drawn
