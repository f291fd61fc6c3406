"""Renders for a terminal of a given width, without a terminal."""

from __future__ import annotations

from io import StringIO

from rich.console import Console, RenderableType


def rendered(what: RenderableType, width: int = 80) -> str:
    """Return what would be on the terminal, without colours and without blanks at the ends of lines."""
    file = StringIO()
    console = Console(width=width, file=file, color_system=None, force_terminal=False, highlight=False, markup=False)
    console.print(what)
    return "\n".join(line.rstrip() for line in file.getvalue().splitlines())
