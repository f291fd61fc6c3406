"""Comparing many fields at once, with one bound on all of it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from foundry.content.align import CELLS_MAX
from foundry.content.diff import TextDelta, unified_diff

if TYPE_CHECKING:
    from collections.abc import Iterable

#: Diff text of one comparison; fields beyond are only marked truncated.
UNIFIED_BYTES_MAX: Final = 2 * 1024 * 1024
#: Pairs of lines of one comparison; fields beyond are shown as replaced.
ALL_CELLS_MAX: Final = 4 * CELLS_MAX


@dataclass(frozen=True, slots=True)
class Pair:
    """Both sides of a field; None where it is absent, but not on both."""

    name: str
    before: bytes | None
    after: bytes | None


def compare_all(pairs: Iterable[Pair], *, context_lines: int = 3) -> list[TextDelta]:
    """A delta for each pair, in order. The whole takes a few seconds at most, whatever the pairs are.

    Args:
        pairs: Fields to compare; their content counts linearly, so the caller bounds it.
        context_lines: As of ``unified_diff``.
    """
    bytes_left, cells_left = UNIFIED_BYTES_MAX, ALL_CELLS_MAX
    deltas = []
    for pair in pairs:
        cells = _lines(pair.before) * _lines(pair.after)
        allowed = max(1, min(CELLS_MAX, cells_left))
        cells_left -= min(cells, allowed)
        delta = unified_diff(pair.name, pair.before, pair.after, context_lines=context_lines, cells_max=allowed)
        size = len(delta.unified.encode())
        if size > bytes_left:
            delta = replace(delta, unified="", truncated=True)
        else:
            bytes_left -= size
        deltas.append(delta)
    return deltas


def _lines(content: bytes | None) -> int:
    return content.count(b"\n") + 1 if content else 0
