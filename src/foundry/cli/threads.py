"""How comments and tasks look on a terminal."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Final

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Column
from rich.text import Text

from foundry.cli.places import place_of
from foundry.cli.tables import table
from foundry.cli.words import enum_word, name_of, person, plain, shown, since

if TYPE_CHECKING:
    from coreason.foundry.v1.comment_pb2 import Comment

_QUOTED_LINES: Final = 3

_MARKS: Final = {"open": "\u25cb", "resolved": "\u2713"}  # circle, check mark
_TASK_MARKS: Final = {"open": "[ ]", "done": "[x]"}
_STYLES: Final = {"open": "yellow", "resolved": "green", "done": "green"}


def mark(comment: Comment) -> Text:
    """Return where a thread stands as a sign: tasks have a box to tick."""
    state = enum_word(comment, "state")
    marks = _TASK_MARKS if enum_word(comment, "kind") == "task" else _MARKS
    return Text(marks.get(state, "\u21b3"), _STYLES.get(state, "dim"))


def threads(rows: Sequence[Comment], now: datetime | None = None) -> RenderableType:
    """Return comments thread by thread, the replies below what they reply to."""
    first = {row.comment_id: row for row in rows if not row.parent_comment_id}
    replies: dict[str, list[Comment]] = {}
    for row in rows:
        if row.parent_comment_id:
            replies.setdefault(row.parent_comment_id, []).append(row)
    parts: list[RenderableType] = []
    for comment_id in dict.fromkeys([row.parent_comment_id or row.comment_id for row in rows]):
        if parts:
            parts.append(Text())
        if comment_id in first:
            parts.append(comment(first[comment_id], now))
        else:  # the list was filtered
            parts.append(Text(f"in thread {comment_id}", "dim"))
        parts += [Padding(comment(reply, now), (0, 0, 0, 2)) for reply in replies.get(comment_id, ())]
    return Group(*parts)


def comment(it: Comment, now: datetime | None = None) -> RenderableType:
    """Return one comment: who, when, where, the words it is about, and what it says."""
    parts: list[RenderableType] = [_heading(it, now)]
    place = Text(place_of(it), "cyan")
    if place.plain:
        parts.append(Padding(place, (0, 0, 0, 2)))
    if it.HasField("closer"):
        closed = f"{enum_word(it, 'state')} by {name_of(it.closer)} at version {it.closed_at_version}"
        parts.append(Padding(Text(closed, "green"), (0, 0, 0, 2)))
    if it.anchor.quote:
        parts += [Padding(Text(f"\u2502 {line}", "dim italic"), (0, 0, 0, 2)) for line in _quote(it.anchor.quote)]
    said = Text("deleted", "dim") if it.HasField("delete_time") else shown(it.text.rstrip("\n"))
    parts.append(Padding(said, (0, 0, 0, 2)))
    return Group(*parts)


def _heading(it: Comment, now: datetime | None) -> Text:
    edited = ", edited" if it.HasField("edit_time") else ""
    heading = Text("  ").join([mark(it), person(it.author), Text(f"{since(it.create_time, now)} ago{edited}", "dim")])
    if it.assignee:
        heading.append(f"  for {plain(it.assignee)}", "bold")
    return heading.append(f"  {it.comment_id}", "dim")


def _quote(quote: str) -> Iterable[str]:
    lines = plain(quote).rstrip("\n").split("\n")
    yield from lines[:_QUOTED_LINES]
    if len(lines) > _QUOTED_LINES:
        yield f"... {len(lines) - _QUOTED_LINES} more"


def checklist(rows: Sequence[Comment]) -> RenderableType:
    """Return tasks with a box to tick each."""
    grid = table(Column("", no_wrap=True), "task", "for", Column("id", no_wrap=True))
    for row in rows:
        done = enum_word(row, "state") == "done"
        what = Text("deleted", "dim") if row.HasField("delete_time") else shown(row.text.strip(), "dim" if done else "")
        where = place_of(row)
        if where:
            what.append(f"\n{plain(where)}", "cyan")
        grid.add_row(mark(row), what, shown(row.assignee or "anybody", "" if row.assignee else "dim"), row.comment_id)
    open_tasks = sum(enum_word(row, "state") == "open" for row in rows)
    return Group(grid, Text(f"{len(rows) - open_tasks} of {len(rows)} done", "dim"))
