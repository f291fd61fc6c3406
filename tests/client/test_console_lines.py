"""Text becomes lines, and lines become messages."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coreason.foundry.v1 import run_pb2
from foundry.client import LineNumberMismatch
from foundry.client.console.backlog import BATCH_BYTES, LINGER_S, Backlog
from foundry.client.console.lines import LINE_BYTES, lines_of

STDOUT = run_pb2.LOG_STREAM_STDOUT


def texts(text: str | bytes) -> list[str]:
    return ["".join(piece.text for piece in line) for line in lines_of(text)]


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("", [""]),
        ("\n", [""]),
        ("a", ["a"]),
        ("a\n", ["a"]),
        ("a\n\n", ["a", ""]),
        ("a\r\nb\x0b\x85\u2028c", ["a\r", "b\x0b\x85\u2028c"]),
        (b"caf\xc3\xa9 \xff\xfe\n", ["caf\u00e9 \\xff\\xfe"]),
        ("\ud800", ["\\ud800"]),
        ("\x00\x1b[31mred", ["\x00\x1b[31mred"]),
    ],
)
def test_only_line_feeds_end_lines(text: str | bytes, lines: list[str]) -> None:
    assert texts(text) == lines


@given(st.text(st.sampled_from("a\u00e9\u20ac\U0001f600"), max_size=40).map(lambda text: text * 8_000))
def test_long_lines_are_cut_between_code_points(text: str) -> None:
    (line,) = lines_of(text)
    assert "".join(piece.text for piece in line) == text
    assert [piece.partial for piece in line] == [True] * (len(line) - 1) + [False]
    for piece in line:
        assert len(piece.text.encode()) == piece.size <= LINE_BYTES
    for piece in line[:-1]:
        assert piece.size > LINE_BYTES - 4


def test_a_line_of_just_the_largest_size_is_one_piece() -> None:
    ((whole,), (piece, rest)) = lines_of("x" * LINE_BYTES + "\n" + "x" * (LINE_BYTES + 1))
    assert (whole.size, whole.partial) == (LINE_BYTES, False)
    assert (piece.size, piece.partial, rest.size, rest.partial) == (LINE_BYTES, True, 1, False)


def backlog(*lines: str, now_s: float = 0.0) -> Backlog:
    made = Backlog()
    for line in lines_of("\n".join(lines)):
        made.add(line, STDOUT, None, now_s)
    return made


def batched(waiting: Backlog) -> list[list[int]]:
    return [[line.number for line in batch] for batch in waiting.batches()]


def test_a_line_waits_for_twenty_milliseconds_from_the_first_and_only_behind_others() -> None:
    waiting = backlog("a", now_s=100.0)
    assert waiting.due_s(100.0) == 0.0
    assert batched(waiting) == [[1]]
    assert waiting.due_s(100.0) is None
    for now_s in (100.0, 100.015):
        for line in lines_of("b"):
            waiting.add(line, STDOUT, None, now_s)
    assert waiting.due_s(100.015) == pytest.approx(LINGER_S - 0.015)
    assert waiting.due_s(101.0) == 0.0
    waiting.drop_before(2)
    assert waiting.due_s(100.016) == 0.0  # nothing is on its way any more


def test_a_messages_worth_waits_for_nothing() -> None:
    waiting = backlog("a")
    assert batched(waiting) == [[1]]
    for line in lines_of("\n".join(["x" * 60_000] * 5)):
        waiting.add(line, STDOUT, None, 0.0)
    assert waiting.has_batch
    assert waiting.due_s(0.0) == 0.0
    sizes = [sum(line.ByteSize() for line in batch) for batch in waiting.batches()]
    assert len(sizes) == 2
    assert max(sizes) <= BATCH_BYTES


def test_what_is_stored_is_dropped_and_the_rest_is_sent_again() -> None:
    waiting = backlog("a", "b", "c")
    assert batched(waiting) == [[1, 2, 3]]
    waiting.drop_before(2)
    assert (len(waiting), waiting.stored, waiting.next_line) == (2, 1, 4)
    for line in lines_of("d"):
        waiting.add(line, STDOUT, None, 0.0)
    waiting.begin(3)
    assert batched(waiting) == [[3, 4]]
    waiting.begin(5)
    assert batched(waiting) == []
    assert waiting.stored == 4


@pytest.mark.parametrize("next_line", [1, 5])
def test_a_console_cannot_shrink_nor_hold_what_was_not_written(next_line: int) -> None:
    waiting = backlog("a", "b", "c")
    assert batched(waiting) == [[1, 2, 3]]
    waiting.drop_before(2)
    with pytest.raises(LineNumberMismatch):
        waiting.begin(next_line)
