"""Unified diffs: real tools apply them, and they are bounded."""

from __future__ import annotations

import os
import random
import subprocess
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from foundry.content import Change, TextDelta, unified_diff

if TYPE_CHECKING:
    from collections.abc import Sequence

NAME = "few_shot/greeting.v1"

# Few different lines, so that there is something in common; lines that look like parts of a diff; every character
# that str.splitlines would cut at.
LINES = st.sampled_from(
    [
        "",
        "a",
        "b",
        "c",
        "d",
        "-- a",
        "++ b",
        "@@ -1 +1 @@",
        "\\ No newline",
        " x",
        "\t",
        "x\r",
        "\r",
        "a\rb",
        "\x0b\x0c\x1c",
        "\x85\u2028",
        "é😀",
    ]
)
TEXTS = st.builds(
    lambda lines, end: ("\n".join(lines) + end).encode(), st.lists(LINES, max_size=30), st.sampled_from(["", "\n"])
)


@st.composite
def edited(draw: st.DrawFn) -> tuple[bytes, bytes]:
    """A text and the same with some lines replaced, inserted or deleted."""
    before = draw(TEXTS)
    lines = before.split(b"\n")
    for _ in range(draw(st.integers(0, 4))):
        at = draw(st.integers(0, len(lines)))
        lines[at : at + draw(st.integers(0, 3))] = [line.encode() for line in draw(st.lists(LINES, max_size=3))]
    return before, b"\n".join(lines)


PAIRS = edited() | st.tuples(TEXTS, TEXTS)
SIDES = PAIRS | st.tuples(st.none(), TEXTS) | st.tuples(TEXTS, st.none())

GIT = ("git", "apply", "--whitespace=nowarn")
PATCH = ("patch", "--binary", "-p1", "--silent", "--force", "--fuzz=0")


def applied(tool: Sequence[str], start: bytes | None, unified: str) -> bytes | None:
    """Apply a diff with a tool in an empty directory; return the content of the file, None if it is gone."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, NAME)
        file.parent.mkdir()
        if start is not None:
            file.write_bytes(start)
        if unified:
            environment = os.environ | {
                "GIT_CEILING_DIRECTORIES": str(Path(folder).parent),
                "GIT_CONFIG_GLOBAL": os.devnull,
                "GIT_CONFIG_NOSYSTEM": "1",
            }
            done = subprocess.run(
                tool, cwd=folder, input=unified.encode(), capture_output=True, env=environment, check=False
            )
            assert done.returncode == 0, (done.stdout, done.stderr, unified)
        return file.read_bytes() if file.exists() else None


def check_applies(tool: Sequence[str], before: bytes | None, after: bytes | None, delta: TextDelta) -> None:
    """Applied it gives the after side; reversed it gives the before side; byte for byte."""
    # A diff of lines cannot tell an empty file from none, so there it is empty and nothing to apply.
    assert bool(delta.unified) == ((before or b"") != (after or b""))
    if delta.unified:
        assert applied(tool, before, delta.unified) == after
        assert applied((*tool, "-R"), after, delta.unified) == before


@given(SIDES, st.integers(1, 4), st.sampled_from([0, 20, 10**8]))
@example((b"a", b"a\n"), 3, 10**8)
@example((b"a\n", b"a"), 3, 10**8)
@example((b"a\nb", b"c\nb"), 3, 10**8)
@example((b"", b"a"), 3, 10**8)
@example((b"a\n", b""), 3, 10**8)
@example((b"\n", b"\n\n"), 3, 10**8)
@example((None, b"\n"), 3, 10**8)
@settings(max_examples=150, deadline=None)
def test_git_applies_it(sides: tuple[bytes | None, bytes | None], context_lines: int, cells_max: int) -> None:
    """``git apply`` turns one side into the other and back, whatever the context and the cost bound.

    Not without context: ``git apply --unidiff-zero -R`` mistakes one equal line for another.
    """
    delta = unified_diff(NAME, *sides, context_lines=context_lines, cells_max=cells_max)
    assert not delta.truncated
    check_applies(GIT, *sides, delta)


@given(SIDES, st.integers(0, 4))
@example((b"x\r\ny\r\n", b"x\r\nz\r\n"), 3)
@example((b"a\0b\n", b"a\0c\n"), 3)
@example((b"a\na\n", b"a\na\na"), 0)
@settings(max_examples=60, deadline=None)
def test_gnu_patch_applies_it(sides: tuple[bytes | None, bytes | None], context_lines: int) -> None:
    """The same for GNU patch, without fuzz, and without context, too."""
    check_applies(PATCH, *sides, unified_diff(NAME, *sides, context_lines=context_lines))


@given(PAIRS)
def test_the_counts_are_those_of_the_diff(sides: tuple[bytes, bytes]) -> None:
    """Added and removed lines are the lines with + and -, headers aside."""
    delta = unified_diff(NAME, *sides)
    body = delta.unified.split("\n")[2:]
    assert delta.added_lines == sum(line.startswith("+") for line in body)
    assert delta.removed_lines == sum(line.startswith("-") for line in body)


def test_it_reads_as_git_prints_it() -> None:
    """Header, hunk ranges, context and the marker of a missing final newline, to the letter."""
    before = "one\ntwo\nthree\nfour\nfive\nsix\nseven\neight\nnine\nten\neleven"
    after = "one\n2\nthree\nfour\nfive\nsix\nseven\neight\nnine\nten\neleven\n"
    assert unified_diff("system_prompt", before.encode(), after.encode()) == TextDelta(
        Change.MODIFIED,
        "--- a/system_prompt\n+++ b/system_prompt\n"
        "@@ -1,5 +1,5 @@\n one\n-two\n+2\n three\n four\n five\n"
        "@@ -8,4 +8,4 @@\n eight\n nine\n ten\n-eleven\n\\ No newline at end of file\n+eleven\n",
        added_lines=2,
        removed_lines=2,
    )


@pytest.mark.parametrize(
    ("before", "after", "change", "unified"),
    [
        (None, b"a\nb\n", Change.ADDED, "--- /dev/null\n+++ b/f\n@@ -0,0 +1,2 @@\n+a\n+b\n"),
        (b"a\n", None, Change.REMOVED, "--- a/f\n+++ /dev/null\n@@ -1 +0,0 @@\n-a\n"),
        (b"", b"a\n", Change.MODIFIED, "--- a/f\n+++ b/f\n@@ -0,0 +1 @@\n+a\n"),
        (None, b"", Change.ADDED, ""),
        (b"", None, Change.REMOVED, ""),
        (b"\xff", b"\xff", Change.UNCHANGED, ""),
        (b"a\rb\n", b"a\n", Change.MODIFIED, "--- a/f\n+++ b/f\n@@ -1 +1 @@\n-a\rb\n+a\n"),
        (b"a\r\n", b"a\n", Change.MODIFIED, "--- a/f\n+++ b/f\n@@ -1 +1 @@\n-a\r\n+a\n"),
        ("a\u2028b\n".encode(), b"a\n", Change.MODIFIED, "--- a/f\n+++ b/f\n@@ -1 +1 @@\n-a\u2028b\n+a\n"),
    ],
)
def test_edges(before: bytes | None, after: bytes | None, change: Change, unified: str) -> None:
    """Absent and empty sides, CRLF, and separators that are no line ends."""
    delta = unified_diff("f", before, after)
    assert (delta.change, delta.unified, delta.truncated, delta.binary) == (change, unified, False, False)


@pytest.mark.parametrize(("before", "after"), [(b"\xff", b"a"), (b"a", b"\xff"), (None, b"\x80"), (b"\xff", None)])
def test_bytes_have_no_lines(before: bytes | None, after: bytes | None) -> None:
    """A side that is not UTF-8 makes the difference binary: no text, no counts."""
    delta = unified_diff("f", before, after)
    assert delta == TextDelta(delta.change, binary=True)
    assert delta.change is not Change.UNCHANGED


def test_absent_on_both_sides_is_a_mistake_of_the_caller() -> None:
    """There is nothing to compare."""
    with pytest.raises(ValueError, match="absent on both sides"):
        unified_diff("f", None, None)


def test_a_long_diff_ends_after_a_whole_hunk() -> None:
    """What is there can be applied as it is; the counts are of the whole diff."""
    before = [b"%d\n" % number for number in range(1000)]
    after = [b"x\n" if number % 10 == 5 else line for number, line in enumerate(before)]
    whole = unified_diff(NAME, b"".join(before), b"".join(after))
    part = unified_diff(NAME, b"".join(before), b"".join(after), unified_bytes_max=1000)
    assert (whole.truncated, part.truncated) == (False, True)
    assert whole.unified.startswith(part.unified)
    assert 800 < len(part.unified) <= 1000
    assert part.unified.count("@@ -") * 8 + 2 == part.unified.count("\n") - part.unified.count("@@ -")
    assert (part.added_lines, part.removed_lines) == (whole.added_lines, whole.removed_lines) == (100, 100)
    halfway = applied(GIT, b"".join(before), part.unified)
    assert halfway is not None
    assert halfway.count(b"x\n") == part.unified.count("@@ -")


@pytest.mark.parametrize(("gap", "hunks"), [(6, 1), (7, 2)])
def test_changes_whose_context_touches_share_a_hunk(gap: int, hunks: int) -> None:
    """Six equal lines are the context of both neighbours; with a seventh the hunk ends, as git does it."""
    between = b"".join(b"%d\n" % number for number in range(gap))
    delta = unified_diff("f", b"a\n" + between + b"b\n", b"c\n" + between + b"d\n")
    assert delta.unified.count("@@ -") == hunks


def test_the_size_limit_is_exact() -> None:
    """A diff of just the limit is whole; one byte less leaves no hunk and says so."""
    size = len(unified_diff(NAME, b"a\n", b"b\n").unified)
    assert not unified_diff(NAME, b"a\n", b"b\n", unified_bytes_max=size).truncated
    assert unified_diff(NAME, b"a\n", b"b\n", unified_bytes_max=size - 1) == TextDelta(
        Change.MODIFIED, added_lines=1, removed_lines=1, truncated=True
    )


def test_too_many_lines_are_counted_and_not_compared() -> None:
    """Beyond the limit the answer says how much there is; equal ends do not count."""
    before, after = b"same\n" * 50 + b"a\n" * 6 + b"end\n" * 50, b"same\n" * 50 + b"b\n" * 5 + b"end\n" * 50
    assert unified_diff("f", before, after, lines_max=10) == TextDelta(
        Change.MODIFIED, added_lines=5, removed_lines=6, truncated=True
    )
    assert not unified_diff("f", before, after, lines_max=11).truncated


def _random_text(seed: int, width: int) -> bytes:
    source = random.Random(seed)
    return b"".join(source.randbytes(width // 2).hex().encode() + b"\n" for _ in range(2**20 // (width + 1)))


@pytest.mark.parametrize("width", [4, 8, 50, 1000])
def test_two_texts_with_nothing_in_common_take_no_time(width: int) -> None:
    """1 MiB against 1 MiB, with room for the whole diff: bounded, and what it gives is still correct."""
    before, after = _random_text(1, width), _random_text(2, width)
    start = time.process_time()
    delta = unified_diff(NAME, before, after)
    assert time.process_time() - start < 10  # usually under 0.4
    assert delta.truncated
    whole = unified_diff(NAME, before, after, unified_bytes_max=2**24)
    assert applied(GIT, before, whole.unified) == after


def test_scattered_edits_of_a_large_text_are_found() -> None:
    """Beyond the cost of an exact comparison, lines that occur once still keep distant edits apart."""
    lines = _random_text(3, 10).splitlines(keepends=True)
    edited = list(lines)
    for at in (10, 40_000, 90_000):
        edited[at : at + 1] = [b"new\n", b"lines\n"]
    delta = unified_diff(NAME, b"".join(lines), b"".join(edited))
    assert (delta.added_lines, delta.removed_lines, delta.truncated) == (6, 3, False)
    assert delta.unified.count("@@ -") == 3
    assert applied(GIT, b"".join(lines), delta.unified) == b"".join(edited)
