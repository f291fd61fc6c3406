"""Many fields are compared at the cost of a few: what goes beyond is told more coarsely, never later."""

from __future__ import annotations

import random

from foundry.content import Change, Pair, TextDelta, compare_all
from foundry.content.align import CELLS_MAX
from foundry.content.compare import ALL_CELLS_MAX, UNIFIED_BYTES_MAX

#: Two texts of so many lines take all that one comparison of a field may.
_LINES = 10_000


def _letters(first: str, seed: int) -> bytes:
    """One-character lines, hardly any of them in its place in another such text."""
    drawn = random.Random(seed)
    return "\n".join([first, *(drawn.choice("abcd") for _ in range(_LINES - 2)), first]).encode()


def _replaced(delta: TextDelta) -> bool:
    return (delta.added_lines, delta.removed_lines) == (_LINES, _LINES)


def test_fields_beyond_the_pairs_of_lines_are_shown_as_replaced() -> None:
    """The bound is on all fields together; those before it are compared as ever, and all keep their place."""
    before, after = _letters("x", 1), _letters("y", 2)
    found = compare_all([Pair(f"f{number}", before, after) for number in range(12)])
    affordable = ALL_CELLS_MAX // CELLS_MAX
    assert [_replaced(delta) for delta in found] == [False] * affordable + [True] * (12 - affordable)


def test_what_fits_no_longer_leaves_the_small_ones_alone() -> None:
    """Beyond the bound only what is large is coarse: a field of a line is told as it is."""
    before, after = _letters("x", 1), _letters("y", 2)
    large = [Pair(f"f{number}", before, after) for number in range(ALL_CELLS_MAX // CELLS_MAX)]
    [*_, small] = compare_all([*large, Pair("small", b"one\n", b"two\n")])
    assert small.unified == "--- a/small\n+++ b/small\n@@ -1 +1 @@\n-one\n+two\n"


def test_fields_beyond_the_text_are_marked_truncated() -> None:
    """Their text is left out and their counts are not; a smaller one behind them may still fit."""
    line = b"x" * 999 + b"\n"
    counts = [200] * 12 + [1]
    found = compare_all([Pair(f"f{number:02}", None, line * count) for number, count in enumerate(counts)])
    assert [delta.truncated for delta in found] == [False] * 10 + [True] * 2 + [False]
    assert [bool(delta.unified) for delta in found] == [not delta.truncated for delta in found]
    assert sum(len(delta.unified.encode()) for delta in found) <= UNIFIED_BYTES_MAX
    assert [delta.added_lines for delta in found] == counts


def test_each_pair_gets_its_own_delta_in_order() -> None:
    """Absent on one side, and on neither; the context is as asked for."""
    pairs = [Pair("c", None, b"1\n"), Pair("a", b"1\n", None), Pair("b", b"1\n2\n", b"1\n3\n")]
    found = compare_all(pairs, context_lines=0)
    assert [delta.change for delta in found] == [Change.ADDED, Change.REMOVED, Change.MODIFIED]
    assert found[2].unified == "--- a/b\n+++ b/b\n@@ -2 +2 @@\n-2\n+3\n"
    assert compare_all([]) == []
