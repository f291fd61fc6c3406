"""Alignments are right whatever they may cost, and the shortest when cost allows."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from foundry.content.align import align_lines

LINES = st.lists(st.integers(0, 12).map(lambda number: b"%d\n" % number), max_size=30)


def lcs_length(left: list[bytes], right: list[bytes]) -> int:
    """Return the length of a longest common subsequence, by the textbook."""
    row = [0] * (len(right) + 1)
    for line in left:
        above = row[:]
        for j, other in enumerate(right):
            row[j + 1] = above[j] + 1 if line == other else max(above[j + 1], row[j])
    return row[-1]


@given(LINES, LINES, st.sampled_from([0, 1, 10, 100, 10**6]))
def test_blocks_are_equal_runs_in_ascending_order(before: list[bytes], after: list[bytes], cells_max: int) -> None:
    """Every block is non-empty and equal on both sides, and begins where the one before has ended, or later."""
    i = j = 0
    for block in align_lines(before, after, cells_max=cells_max):
        assert block.length > 0
        assert block.i >= i
        assert block.j >= j
        i, j = block.i + block.length, block.j + block.length
        assert before[block.i : i] == after[block.j : j]
    assert i <= len(before)
    assert j <= len(after)


@given(LINES, LINES)
def test_as_many_lines_as_possible_are_kept(before: list[bytes], after: list[bytes]) -> None:
    """Within the cost bound no shorter diff exists."""
    assert sum(block.length for block in align_lines(before, after)) == lcs_length(before, after)


@given(st.permutations(range(25)))
def test_anchors_are_a_longest_ascending_sequence(order: list[int]) -> None:
    """Of lines that occur once on each side, patience keeps as many as can be kept."""
    before, after = [b"%d" % n for n in range(25)], [b"%d" % n for n in order]
    assert sum(block.length for block in align_lines(before, after, cells_max=0)) == lcs_length(before, after)


def test_lines_that_repeat_are_no_anchors() -> None:
    """Beyond the cost bound, brackets and blank lines align nothing by themselves."""
    assert align_lines([b"{", b"a", b"}", b"{"], [b"{", b"{", b"a", b"}"], cells_max=0) == [(1, 2, 1), (2, 3, 1)]
    assert align_lines([b"{", b"{"], [b"{", b"{"], cells_max=0) == []
