"""The live picture of a project: one column on a narrow terminal, two on a wide one, never more than fits."""

from __future__ import annotations

from datetime import datetime
from typing import Final

from rich.text import Text

from foundry.cli import panels
from foundry.cli.cells import as_ascii, between, calm
from foundry.cli.console_panel import console
from foundry.cli.layout import GUTTER_COLUMNS, side_by_side, stacked
from foundry.cli.picture import Picture
from foundry.cli.tables import state_of
from foundry.cli.words import enum_word

WIDE: Final = 116  # columns from which there are two columns
_LEFT_MOST: Final = 84
_NAME_LEAST: Final = 12
_ROOMY_LINES: Final = 30  # lines from which a blank one, and titles of what is empty, are affordable


def dashboard(picture: Picture, *, width: int, height: int, now: datetime, ascii_only: bool = False) -> Text:
    """Return the whole picture: exactly as many lines as the terminal has, each exactly as wide.

    Args:
        picture: What to show.
        width: Columns of the terminal.
        height: Lines of the terminal.
        now: The time, for how long things last.
        ascii_only: Whether the terminal has nothing but ASCII.
    """
    lines = [_headline(picture, width, now)]
    if height >= _ROOMY_LINES:
        lines.append(Text(" " * width, end=""))
    room = max(0, height - len(lines))
    if width < WIDE:
        everything = [
            panels.here(picture, now),
            panels.fields(picture, now),
            console(picture, now),
            panels.comments(picture, now),
            panels.tasks(picture),
            panels.versions(picture, now),
            panels.log(picture),
        ]
        worth_it = [section for section in everything if section.has_news or height >= _ROOMY_LINES]
        lines += stacked(worth_it, width, room)
    else:
        left = min(_LEFT_MOST, (width - GUTTER_COLUMNS) * 43 // 100)
        right = width - GUTTER_COLUMNS - left
        people = [panels.here(picture, now), panels.fields(picture, now), panels.tasks(picture), panels.log(picture)]
        work = [console(picture, now), panels.comments(picture, now), panels.versions(picture, now)]
        lines += side_by_side(stacked(people, left, room), stacked(work, right, room))
    whole = Text("\n", no_wrap=True, end="").join(lines[:height])
    whole.no_wrap, whole.overflow = True, "crop"
    return as_ascii(whole) if ascii_only else whole


def _headline(picture: Picture, width: int, now: datetime) -> Text:
    it = picture.project
    if it is None:
        return between(Text("connecting", "dim"), Text(), width)
    frozen = enum_word(it, "state") == "frozen"
    state = Text(" FROZEN ", "bold reverse cyan") if frozen else state_of(it)
    if frozen and it.HasField("archive_time"):
        state.append(" archived", "yellow")
    state.append(f"  version {it.head_version}" + (", for ever" if frozen else ""), "none")
    people = len({presence.principal.subject for presence in picture.presence.values()})
    company = Text(f"{people} here" if people > 1 else "only you are here", "dim")
    right = Text.assemble(Text(picture.trouble, "bold yellow") if picture.trouble else company, f"  {now:%H:%M:%S}")
    name = Text(calm(it.name), "bold")
    name.truncate(max(_NAME_LEAST, width - state.cell_len - right.cell_len - 4), overflow="ellipsis")
    return between(Text.assemble(name, "  ", state), right, width)
