"""Finding the lines of a comment again in another version of the field.

Always from the version the comment was put on straight to the one asked about, never hop by hop: lines that were away
in between are found again. First the alignment of both texts, then the only place of the lines, or of the quote, then
what is much like the quote and clearly more so than anything else. A line that stood elsewhere before is none of these:
it is another one that was like it all along. What cannot be found is told as such, never guessed.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from functools import cached_property
from typing import TYPE_CHECKING, Final, NamedTuple

from rapidfuzz import fuzz, process

from foundry.content.align import Block, align_lines
from foundry.domain.comment import AnchorState

if TYPE_CHECKING:
    from collections.abc import Sequence

#: How like the quote lines must be, and by how much more than the next best, of 100.
_LIKE_MIN: Final = 75.0
_LEAD_MIN: Final = 10.0
#: Beyond this nothing is searched for what is like a quote: windows, and pairs of characters (about 50 ms).
_WINDOWS_MAX: Final = 20_000
_LIKE_CELLS_MAX: Final = 1_000_000_000
#: What other work costs, in pairs of characters: to search a byte word for word, to handle a line.
_BYTE_CELLS: Final = 50
_LINE_CELLS: Final = 20_000
#: Pairs of lines that one resolution aligns: a few milliseconds.
_CELLS_MAX: Final = 4_000_000
_STRETCH: Final = re.compile(rb"\0+")


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


def find_all(before: bytes, after: bytes, wanted: Sequence[Lines], work_max: int) -> tuple[list[Found], int]:
    """Where lines of one text are in another: state, first and last line; lines 0 when they are gone.

    Args:
        before: The text the lines are of.
        after: The text to find them in, different from ``before``.
        wanted: Lines of ``before``.
        work_max: Work that may be begun, in pairs of characters; some 20 million a millisecond.

    Returns:
        The places of the first lines, of as many as the work allows, one at least; and the work that is left.
    """
    finder = _Finder(split_lines(before), split_lines(after))
    found: list[Found] = []
    for lines in wanted:
        if found and finder.work >= work_max:
            break
        found.append(finder.find(lines))
    return found, work_max - finder.work


class _Finder:
    """Finds lines of one text in another."""

    def __init__(self, old: list[bytes], new: list[bytes]) -> None:
        self._old = old
        self._new = new
        self._runs = _joined(align_lines(old, new, cells_max=_CELLS_MAX))
        self._from = [run.i for run in self._runs]
        self._to = [run.j for run in self._runs]
        #: With a line feed on both sides, so that every line has one before and one behind it.
        self._text = b"\n%b\n" % b"\n".join(new)
        self.work = _LINE_CELLS * (len(old) + len(new))

    @cached_property
    def _words(self) -> list[str]:
        return [line.decode(errors="replace") for line in self._new]

    def find(self, lines: Lines) -> Found:
        return self._aligned(lines) or self._only_lines(lines) or self._only_quote(lines) or self._most_like(lines)

    def _aligned(self, lines: Lines) -> Found | None:
        at = bisect_right(self._from, lines.start - 1) - 1
        if at < 0 or lines.end > self._runs[at].i + self._runs[at].length:
            return None
        moved = self._runs[at].j - self._runs[at].i
        return AnchorState.SHIFTED, lines.start + moved, lines.end + moved

    def _only_lines(self, lines: Lines) -> Found | None:
        """The one place where the lines stand as they were."""
        self.work += _BYTE_CELLS * (lines.end - lines.start)
        block = b"\n".join(self._old[lines.start - 1 : lines.end])
        at = self._only(b"\n%b\n" % block, 0, len(self._text)) if block.strip() else -1
        if at < 0:
            return None
        first = self._text.count(b"\n", 0, at) + 1
        return self._unless_there_before(lines, first, first + lines.end - lines.start)

    def _only_quote(self, lines: Lines) -> Found | None:
        """The one place where the quote stands word for word."""
        quote = lines.quote.encode()
        at = self._only(quote, 1, len(self._text) - 1) if quote.strip() else -1
        if at < 0:
            return None
        first = self._text.count(b"\n", 0, at)
        return self._unless_there_before(lines, first, first + quote.rstrip(b"\n").count(b"\n"))

    def _only(self, words: bytes, start: int, end: int) -> int:
        """Where the words stand, if in one place only; else -1."""
        self.work += _BYTE_CELLS * len(self._text)
        at = self._text.find(words, start, end)
        return at if at >= 0 and self._text.find(words, at + 1, end) < 0 else -1

    def _unless_there_before(self, lines: Lines, first: int, last: int) -> Found | None:
        """A place, unless one of its lines stood outside of the comment's before.

        Aligned lines keep their order, so it is enough to look at the first and the last of them.
        """
        begin, end = bisect_right(self._to, first - 1) - 1, bisect_right(self._to, last - 1) - 1
        if begin < 0 or self._runs[begin].j + self._runs[begin].length < first:
            begin += 1
        if begin <= end:
            head, tail = self._runs[begin], self._runs[end]
            earliest = head.i + max(first - 1 - head.j, 0)
            latest = tail.i + min(last - 1 - tail.j, tail.length - 1)
            if earliest < lines.start - 1 or latest > lines.end - 1:
                return None
        return AnchorState.SHIFTED, first, last

    def _most_like(self, lines: Lines) -> Found:
        """What is much like the quote, among lines that are new or of the comment."""
        height = lines.quote.rstrip("\n").count("\n") + 1
        if not lines.quote.strip():
            return _OUTDATED
        stretches = [(first, end) for first, end in self._new_or_own(lines) if end - first >= height]
        count = sum(end - first - height + 1 for first, end in stretches)
        self.work += _LINE_CELLS * len(stretches)
        if not 0 < count <= _WINDOWS_MAX:
            return _OUTDATED
        # Each line stands in `height` windows at most.
        length = sum(len(word) + 1 for first, end in stretches for word in self._words[first:end])
        cells = len(lines.quote) * height * length
        if cells > _LIKE_CELLS_MAX:
            return _OUTDATED
        self.work += cells + _LINE_CELLS * count
        places = [at for first, end in stretches for at in range(first, end - height + 1)]
        windows = ["\n".join(self._words[at : at + height]) for at in places]
        best = process.extract(
            lines.quote, windows, scorer=fuzz.ratio, score_cutoff=_LIKE_MIN - _LEAD_MIN, limit=2 * height
        )
        if not best or best[0][1] < _LIKE_MIN:
            return _OUTDATED
        at = places[best[0][2]]
        # Windows that overlap the best one are like it by nature; the rival is the best one elsewhere.
        rivals = [score for _, score, other in best[1:] if abs(places[other] - at) >= height]
        if rivals and best[0][1] - rivals[0] < _LEAD_MIN:
            return _OUTDATED
        return AnchorState.FUZZY, at + 1, at + height

    @cached_property
    def _there_before(self) -> bytes:
        """A byte for each new line: 1 if it stood in the old text."""
        known = bytearray(len(self._new))
        for run in self._runs:
            known[run.j : run.j + run.length] = b"\1" * run.length
        return bytes(known)

    def _new_or_own(self, lines: Lines) -> list[tuple[int, int]]:
        """Stretches of new lines none of which stood outside of the comment's lines before: first, and end."""
        known = bytearray(self._there_before)
        at = max(bisect_right(self._from, lines.start - 1) - 1, 0)
        while at < len(self._runs) and self._runs[at].i < lines.end:
            run = self._runs[at]
            first, end = max(run.i, lines.start - 1), min(run.i + run.length, lines.end)
            if first < end:
                known[first - run.i + run.j : end - run.i + run.j] = bytes(end - first)
            self.work += _LINE_CELLS
            at += 1
        self.work += _BYTE_CELLS * len(known)
        return [stretch.span() for stretch in _STRETCH.finditer(known)]


def _joined(blocks: list[Block]) -> list[Block]:
    """Blocks that follow each other on both sides, as one."""
    runs: list[Block] = []
    for block in blocks:
        last = runs[-1] if runs else None
        if last and (last.i + last.length, last.j + last.length) == (block.i, block.j):
            runs[-1] = Block(last.i, last.j, last.length + block.length)
        else:
            runs.append(block)
    return runs
