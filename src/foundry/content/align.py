"""Which lines of two texts are the same: the alignment under every diff, with a bound on its cost.

Small texts get a longest common subsequence, the shortest diff there is. Its cost is the product of the lengths, so
large texts are first cut at patience anchors (lines that occur exactly once on both sides, Bram Cohen's patience diff,
https://bramcohen.livejournal.com/73318.html), and whatever is still too large counts as replaced.
"""

from __future__ import annotations

from bisect import bisect_left
from typing import TYPE_CHECKING, Final, NamedTuple

from rapidfuzz.distance import LCSseq

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

CELLS_MAX: Final = 100_000_000
"""Most pairs of lines that one alignment compares: about 40 ms and 13 MB, two texts of 10,000 lines each."""


class Block(NamedTuple):
    """A run of equal lines: ``before[i:i + length] == after[j:j + length]``."""

    i: int
    j: int
    length: int


def align_lines(before: Sequence[bytes], after: Sequence[bytes], *, cells_max: int = CELLS_MAX) -> list[Block]:
    """Return runs of equal lines, ascending on both sides, none overlapping.

    Args:
        before: Lines of the one text.
        after: Lines of the other.
        cells_max: Most pairs of lines to compare. With less the answer is still right, but finds less in common.
    """
    numbers: dict[bytes, int] = {}  # equal numbers are equal lines: the comparison below goes by hash values
    left = [numbers.setdefault(line, len(numbers)) for line in before]
    right = [numbers.setdefault(line, len(numbers)) for line in after]
    blocks: list[Block] = []
    for i, i_end, j, j_end in _gaps(left, right, cells_max):
        if i < i_end and j < j_end and (cells := (i_end - i) * (j_end - j)) <= cells_max:
            cells_max -= cells
            blocks += (
                Block(i + op.src_start, j + op.dest_start, op.src_end - op.src_start)
                for op in LCSseq.opcodes(left[i:i_end], right[j:j_end])
                if op.tag == "equal"
            )
        if i_end < len(left) and j_end < len(right):
            blocks.append(Block(i_end, j_end, 1))
    return blocks


def _gaps(left: list[int], right: list[int], cells_max: int) -> Iterator[tuple[int, int, int, int]]:
    """Yield what lies between the anchors; an anchor follows each gap but the last."""
    i = j = 0
    if len(left) * len(right) > cells_max:
        for anchor_i, anchor_j in _patience_anchors(left, right):
            yield i, anchor_i, j, anchor_j
            i, j = anchor_i + 1, anchor_j + 1
    yield i, len(left), j, len(right)


def _patience_anchors(left: list[int], right: list[int]) -> list[tuple[int, int]]:
    """Return the longest ascending sequence of pairs of lines that occur once on each side."""
    only_right = _positions_of_unique(right)
    pairs = sorted((i, only_right[line]) for line, i in _positions_of_unique(left).items() if line in only_right)
    # Patience sorting: piles[k] is the smallest end of an ascending sequence of k + 1 pairs.
    piles: list[int] = []
    tops: list[int] = []
    previous: list[int] = []
    for index, (_, j) in enumerate(pairs):
        pile = bisect_left(piles, j)
        if pile == len(piles):
            piles.append(j)
            tops.append(index)
        else:
            piles[pile] = j
            tops[pile] = index
        previous.append(tops[pile - 1] if pile else -1)
    anchors: list[tuple[int, int]] = []
    index = tops[-1] if tops else -1
    while index >= 0:
        anchors.append(pairs[index])
        index = previous[index]
    return anchors[::-1]


def _positions_of_unique(lines: list[int]) -> dict[int, int]:
    last = {line: index for index, line in enumerate(lines)}
    first = {line: index for index, line in zip(range(len(lines) - 1, -1, -1), reversed(lines), strict=True)}
    return {line: index for line, index in last.items() if first[line] == index}
