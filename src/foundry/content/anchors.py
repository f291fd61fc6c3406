"""Finding the lines of a comment again in another version of the field.

Always from the version the comment was put on straight to the one asked about, never hop by hop: lines that were away
in between are found again. First the alignment of both texts, then the quote itself, then what is much like the quote
and clearly more so than anything else. What cannot be found is told as such, never guessed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from rapidfuzz import fuzz, process

from foundry.content.align import align_lines
from foundry.domain.comment import AnchorState

if TYPE_CHECKING:
    from collections.abc import Sequence

#: How like the quote lines must be, and by how much more than the next best, of 100.
_LIKE_MIN: Final = 75.0
_LEAD_MIN: Final = 10.0
#: Beyond this many lines nothing is searched for what is like the quote: at most some tens of milliseconds.
_FUZZY_LINES_MAX: Final = 20_000
#: Pairs of lines that one resolution aligns: a few milliseconds.
_CELLS_MAX: Final = 4_000_000


class Lines(NamedTuple):
    """Lines of a comment, from 1, the last included, and the words it is about."""

    start: int
    end: int
    quote: str


Found = tuple[AnchorState, int, int]
_OUTDATED: Final[Found] = (AnchorState.OUTDATED, 0, 0)


def split_lines(content: bytes) -> list[bytes]:
    r"""Lines as an editor counts them: ``\n`` ends one, and an end without it is a line if anything stands there."""
    lines = content.split(b"\n")
    return lines if lines[-1] else lines[:-1]


def find_all(before: bytes, after: bytes, wanted: Sequence[Lines]) -> list[Found]:
    """Where lines of one text are in another: state, first and last line; lines 0 when they are gone.

    Args:
        before: The text the lines are of.
        after: The text to find them in, different from ``before``.
        wanted: Lines of ``before``.
    """
    old, new = split_lines(before), split_lines(after)
    moved: dict[int, int] = {}
    for block in align_lines(old, new, cells_max=_CELLS_MAX):
        moved.update((block.i + step + 1, block.j + step + 1) for step in range(block.length))
    return [_find(moved, new, lines) for lines in wanted]


def _find(moved: dict[int, int], new: list[bytes], lines: Lines) -> Found:
    length = lines.end - lines.start
    places = [moved.get(number) for number in range(lines.start, lines.end + 1)]
    first = places[0]
    if first is not None and places == list(range(first, first + length + 1)):
        return AnchorState.SHIFTED, first, first + length
    return _only_quote(new, lines.quote) or _most_like(new, lines)


def _only_quote(new: list[bytes], quote: str) -> Found | None:
    """The one place where the quote stands word for word."""
    if not quote.strip():
        return None
    text, wanted = b"\n".join(new), quote.encode()
    at = text.find(wanted)
    if at < 0 or text.find(wanted, at + 1) >= 0:
        return None
    start = text.count(b"\n", 0, at) + 1
    return AnchorState.SHIFTED, start, start + wanted.rstrip(b"\n").count(b"\n")


def _most_like(new: list[bytes], lines: Lines) -> Found:
    height = lines.quote.rstrip("\n").count("\n") + 1
    if not lines.quote.strip() or not height <= len(new) <= _FUZZY_LINES_MAX:
        return _OUTDATED
    texts = [line.decode(errors="replace") for line in new]
    windows = ["\n".join(texts[at : at + height]) for at in range(len(texts) - height + 1)]
    best = process.extract(
        lines.quote, windows, scorer=fuzz.ratio, score_cutoff=_LIKE_MIN - _LEAD_MIN, limit=height + 2
    )
    if not best or best[0][1] < _LIKE_MIN:
        return _OUTDATED
    at = best[0][2]
    # Windows that overlap the best one are like it by nature; the rival is the best one elsewhere.
    rivals = [score for _, score, other in best[1:] if abs(other - at) >= height]
    if rivals and best[0][1] - rivals[0] < _LEAD_MIN:
        return _OUTDATED
    return AnchorState.FUZZY, at + 1, at + height
