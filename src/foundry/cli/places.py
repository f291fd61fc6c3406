"""Where comments are put: the options that name lines of a field, and how such a place reads."""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Final, TypeAlias

import typer

from foundry.cli.words import enum_word

if TYPE_CHECKING:
    from coreason.foundry.v1.comment_pb2 import Comment
    from foundry.client import SyncFoundry

FieldOption: TypeAlias = Annotated[str, typer.Option("--field", metavar="FIELD", help="The field it is about.")]
LinesOption: TypeAlias = Annotated[
    str, typer.Option("--lines", metavar="A-B", show_default="the whole field", help="Its lines, as 3-5 or 3.")
]
AtOption: TypeAlias = Annotated[
    int | None,
    typer.Option(
        "--at", metavar="VERSION", min=1, show_default="the newest", help="The version whose lines are meant."
    ),
]
QuoteOption: TypeAlias = Annotated[
    str, typer.Option("--quote", metavar="TEXT", show_default="the lines", help="The words it is about.")
]
RunOption: TypeAlias = Annotated[str, typer.Option("--run", metavar="RUN", help="The run it is about.")]

_LINES: Final = re.compile(r"(?P<first>[0-9]{1,9})(?:-(?P<last>[0-9]{1,9}))?")

_MOVED: Final = {
    "shifted": "now {}",
    "fuzzy": "now about {}",
    "outdated": "its lines are gone",
    "orphaned": "the field is gone",
}


@dataclass(frozen=True, slots=True)
class Place:
    """Where a comment is to be put.

    Attributes:
        field: The field, or empty for none.
        start_line: First line, from 1; 0 for the whole field.
        end_line: Last line, included.
        version: The version, or None for the newest.
        quote: The words, or empty for the lines.
    """

    field: str
    start_line: int
    end_line: int
    version: int | None
    quote: str

    def version_in(self, foundry: SyncFoundry, project_id: str) -> int | None:
        """Return the version to name: None without a field, and the newest one when none was given."""
        if not self.field:
            return None
        return self.version or foundry.projects.get(project_id).head_version


def parse_place(field: str, lines: str, version: int | None, quote: str) -> Place:
    """Return the place that the options name.

    Raises:
        typer.BadParameter: Lines are no lines, or there is a part of a place but no field.
    """
    if not field and (lines or quote or version):
        raise typer.BadParameter("--lines, --quote and --at go with a --field")
    found = _LINES.fullmatch(lines or "0")
    first, last = (int(found["first"]), int(found["last"] or found["first"])) if found else (0, 0)
    if lines and not 0 < first <= last:
        raise typer.BadParameter(f"{lines!r} is not lines as 3-5 or 3", param_hint="--lines")
    return Place(field, first, last, version, quote)


def text_of(argument: str) -> str:
    """Return what an argument says; ``-`` is standard input."""
    return sys.stdin.read() if argument == "-" else argument


def place_of(comment: Comment) -> str:
    """Return where a comment was put, and where that is now: ``system_prompt:3-5 at 3, now 4-6``."""
    words = f"run {comment.run_id}" if comment.run_id else ""
    if comment.HasField("anchor"):
        it = comment.anchor
        where = f"{span_of(it.field, it.start_line, it.end_line)} at {it.version_number}"
        words = ", ".join(part for part in (where, words) if part)
    if comment.HasField("resolved_anchor"):
        now = comment.resolved_anchor
        state, lines = enum_word(now, "state"), _span(now.start_line, now.end_line)
        if state != "shifted" or now.start_line != comment.anchor.start_line:
            moved = _MOVED.get(state, "").format(lines)
            words += f", {moved}" if moved else ""
    return words


def span_of(field: str, start_line: int, end_line: int) -> str:
    """Return lines of a field: ``system_prompt:3-5``, or the field alone."""
    return f"{field}:{_span(start_line, end_line)}" if start_line else field


def _span(first: int, last: int) -> str:
    return str(first) if first == last else f"{first}-{last}"
