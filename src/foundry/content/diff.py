"""Unified diffs that apply: feeding one to ``patch`` or ``git apply`` gives the other side back, byte for byte."""

from __future__ import annotations

import enum
import io
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple

from foundry.content.align import CELLS_MAX, Block, align_lines

if TYPE_CHECKING:
    from collections.abc import Iterator

UNIFIED_BYTES_MAX: Final = 256 * 1024
LINES_MAX: Final = 1_000_000

_NO_NEWLINE: Final = b"\n\\ No newline at end of file\n"


class Change(enum.StrEnum):
    """What happened to a field between two versions."""

    ADDED = "ADDED"
    REMOVED = "REMOVED"
    MODIFIED = "MODIFIED"
    UNCHANGED = "UNCHANGED"


@dataclass(frozen=True, slots=True)
class TextDelta:
    """The difference of one field between two versions.

    Attributes:
        change: What happened.
        unified: Unified diff with its two header lines; empty if unchanged, binary, without a line on either side, or
            if not even the first hunk is within the limits.
        added_lines: Lines on the after side that are not on the before side, in the whole diff even if truncated.
        removed_lines: The other way round.
        truncated: ``unified`` has only the first hunks, or none. Those it has are whole.
        binary: One side is not UTF-8, so there are no lines to compare.
    """

    change: Change
    unified: str = ""
    added_lines: int = 0
    removed_lines: int = 0
    truncated: bool = False
    binary: bool = False


class _Edit(NamedTuple):
    """Lines ``before[i:i_end]`` become ``after[j:j_end]``."""

    i: int
    i_end: int
    j: int
    j_end: int


@dataclass(frozen=True, slots=True)
class _Window:
    """The lines of two texts around all their differences.

    Attributes:
        before: Lines of the older text: ``head`` equal ones, those to compare, ``tail`` equal ones.
        after: The same of the newer text.
        lines_ahead: Equal lines in front of the window.
    """

    before: list[bytes]
    after: list[bytes]
    lines_ahead: int
    head: int
    tail: int


def unified_diff(
    name: str,
    before: bytes | None,
    after: bytes | None,
    *,
    context_lines: int = 3,
    unified_bytes_max: int = UNIFIED_BYTES_MAX,
    lines_max: int = LINES_MAX,
    cells_max: int = CELLS_MAX,
) -> TextDelta:
    r"""Compare two versions of a field as text.

    Only ``\n`` ends a line, as for git and patch, so ``\r\n``, form feeds and U+2028 are kept. Equal content is
    UNCHANGED whatever it is. Time is linear in the lengths plus the limits below: by default under half a second.

    Args:
        name: A valid field name; the diff is from ``a/name`` to ``b/name``.
        before: Content of the older version, None if the field was absent (``/dev/null`` in the diff).
        after: Content of the newer version, None if the field is absent.
        context_lines: Equal lines to show around each change, at least 0; ``git apply -R`` needs at least 1.
        unified_bytes_max: Most bytes of ``unified``; hunks beyond are left out.
        lines_max: Most lines of both sides together, equal ones at both ends not counted; of more, only their number
            is told, as if all were replaced.
        cells_max: Most pairs of lines to compare (see ``align``); beyond, lines are shown as replaced that need not be.

    Raises:
        ValueError: The field is absent on both sides.
    """
    if before is None and after is None:
        raise ValueError(f"{name} is absent on both sides")
    change = _change(before, after)
    if change is Change.UNCHANGED:
        return TextDelta(change)
    old, new = before or b"", after or b""
    if not (_is_utf8(old) and _is_utf8(new)):
        return TextDelta(change, binary=True)
    start, tail = _equal_ends(old, new)
    removed, added = _count_lines(old[start : len(old) - tail]), _count_lines(new[start : len(new) - tail])
    if removed + added > lines_max:
        return TextDelta(change, added_lines=added, removed_lines=removed, truncated=True)
    window = _window(old, new, start, tail, context_lines)
    edits = list(_edits(window, cells_max))
    header = b"--- %b\n+++ %b\n" % (
        b"/dev/null" if before is None else f"a/{name}".encode(),
        b"/dev/null" if after is None else f"b/{name}".encode(),
    )
    hunks, truncated = _take_hunks(window, edits, context_lines, unified_bytes_max - len(header))
    return TextDelta(
        change,
        unified=(header + hunks).decode() if hunks else "",
        added_lines=sum(edit.j_end - edit.j for edit in edits),
        removed_lines=sum(edit.i_end - edit.i for edit in edits),
        truncated=truncated,
    )


def _change(before: bytes | None, after: bytes | None) -> Change:
    if before is None:
        return Change.ADDED
    if after is None:
        return Change.REMOVED
    return Change.UNCHANGED if before == after else Change.MODIFIED


def _is_utf8(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


def _count_lines(data: bytes) -> int:
    return data.count(b"\n") + (data[-1:] not in (b"", b"\n"))


def _equal_ends(old: bytes, new: bytes) -> tuple[int, int]:
    """Return how many bytes at the start and at the end are whole equal lines; together at most the shorter text."""
    start = old.rfind(b"\n", 0, _equal_prefix(old, new)) + 1
    suffix = _equal_prefix(old[start:][::-1], new[start:][::-1])
    # What follows a line end inside the equal suffix begins a line on both sides.
    line_end = old.find(b"\n", len(old) - suffix)
    return start, len(old) - line_end - 1 if line_end >= 0 else 0


def _equal_prefix(left: bytes, right: bytes) -> int:
    low, high = 0, min(len(left), len(right))
    while low < high:
        middle = (low + high + 1) // 2
        if left[low:middle] == right[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low


def _window(old: bytes, new: bytes, start: int, tail: int, context_lines: int) -> _Window:
    """Widen what lies between the equal ends by up to ``context_lines`` lines of each."""
    first, head_lines = start, 0
    while first and head_lines < context_lines:
        first = old.rfind(b"\n", 0, first - 1) + 1
        head_lines += 1
    rest, tail_lines = tail, 0
    while rest and tail_lines < context_lines:
        line_end = old.find(b"\n", len(old) - rest)
        rest = len(old) - line_end - 1 if line_end >= 0 else 0
        tail_lines += 1
    # Not splitlines: that also splits at "\r".
    before = io.BytesIO(old[first : len(old) - rest]).readlines()
    after = io.BytesIO(new[first : len(new) - rest]).readlines()
    return _Window(before, after, old.count(b"\n", 0, first), head_lines, tail_lines)


def _edits(window: _Window, cells_max: int) -> Iterator[_Edit]:
    before = window.before[window.head : len(window.before) - window.tail]
    after = window.after[window.head : len(window.after) - window.tail]
    i = j = 0
    for block in [*align_lines(before, after, cells_max=cells_max), Block(len(before), len(after), 0)]:
        if block.i > i or block.j > j:
            yield _Edit(window.head + i, window.head + block.i, window.head + j, window.head + block.j)
        i, j = block.i + block.length, block.j + block.length


def _take_hunks(window: _Window, edits: list[_Edit], context_lines: int, bytes_max: int) -> tuple[bytes, bool]:
    """Return as many hunks from the first on as there is room for, and whether any is missing."""
    hunks: list[bytes] = []
    for group in _grouped(edits, context_lines):
        hunk = _hunk(window, group, context_lines)
        bytes_max -= len(hunk)
        if bytes_max < 0:
            return b"".join(hunks), True
        hunks.append(hunk)
    return b"".join(hunks), False


def _grouped(edits: list[_Edit], context_lines: int) -> Iterator[list[_Edit]]:
    """Yield the edits of each hunk: those whose context lines touch or overlap."""
    group: list[_Edit] = []
    for edit in edits:
        if group and edit.i - group[-1].i_end > 2 * context_lines:
            yield group
            group = []
        group.append(edit)
    if group:
        yield group


def _hunk(window: _Window, edits: list[_Edit], context_lines: int) -> bytes:
    head = min(edits[0].i, context_lines)
    tail = min(len(window.before) - edits[-1].i_end, context_lines)
    i, j = edits[0].i - head, edits[0].j - head
    old_range = _range(window.lines_ahead + i, edits[-1].i_end + tail - i)
    new_range = _range(window.lines_ahead + j, edits[-1].j_end + tail - j)
    parts = [b"@@ -%b +%b @@\n" % (old_range, new_range)]
    for edit in edits:
        parts += (_line(b" ", line) for line in window.before[i : edit.i])
        parts += (_line(b"-", line) for line in window.before[edit.i : edit.i_end])
        parts += (_line(b"+", line) for line in window.after[edit.j : edit.j_end])
        i = edit.i_end
    parts += (_line(b" ", line) for line in window.before[i : i + tail])
    return b"".join(parts)


def _range(lines_before: int, length: int) -> bytes:
    # An empty range is said to begin at the line in front of it; a length of one is left out (POSIX diff -u).
    first = lines_before + 1 if length else lines_before
    return b"%d" % first if length == 1 else b"%d,%d" % (first, length)


def _line(sign: bytes, line: bytes) -> bytes:
    return sign + line if line.endswith(b"\n") else sign + line + _NO_NEWLINE
