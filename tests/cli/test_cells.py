"""Lines are exactly as wide as they should be, whatever is in them."""

from __future__ import annotations

import pytest
from rich.cells import cell_len
from rich.text import Text

from foundry.cli.cells import as_ascii, between, calm, coloured, colourless, fit, grid, rule
from foundry.cli.layout import Section, share, stacked

WORDS = ("", "a", "ab\u0301c", "\u6f22\u5b57\u6f22\u5b57", "x" * 300, "\U0001f48a pill", "e\u0301" * 40)


@pytest.mark.parametrize("width", [0, 1, 2, 7, 80])
@pytest.mark.parametrize("words", WORDS)
def test_text_fits_to_the_cell(words: str, width: int) -> None:
    assert cell_len(fit(Text(words), width).plain) == width


@pytest.mark.parametrize("width", [8, 20, 80])
@pytest.mark.parametrize("left", WORDS)
def test_two_ends_of_a_line_never_touch(left: str, width: int) -> None:
    line = between(Text(left), Text("right"), width).plain
    assert cell_len(line) == width
    assert line.endswith("  right")
    assert cell_len(rule(Text(left), Text("right"), width).plain) == width


@pytest.mark.parametrize("width", [10, 24, 60])
def test_columns_are_cut_where_they_must_be_and_stand_below_each_other(width: int) -> None:
    rows = [[Text(word), Text("\u6f22" * 9), Text("middle " * 9), Text("9 min")] for word in WORDS]
    lines = grid(rows, width, (16, 6, None, 8))
    assert [cell_len(line.plain) for line in lines] == [width] * len(WORDS)
    if width == 60:
        assert all(line.plain.endswith("9 min") for line in lines)
    assert grid([], width, (None,)) == []


def test_a_column_without_anything_takes_no_room() -> None:
    (line,) = grid([[Text("a"), Text(), Text("b")]], 10, (4, 4, None))
    assert line.plain == "a  b      "


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain", "plain"),
        ("\x1b[32mgreen\x1b[0m", "green"),
        ("\x1b[2J\x07", "\\x1b[2J\\x07"),
        ("one\r", "one"),
        ("a\tb", "a       b"),
        ("a\nb\u2028c", "a b c"),
        ("\x1b[" + "1" * 99 + "m", "\\x1b[" + "1" * 99 + "m"),
    ],
)
def test_a_line_of_a_tool_is_harmless(text: str, shown: str) -> None:
    assert coloured(text).plain == shown


def test_colours_are_kept_and_nothing_else() -> None:
    text = coloured("\x1b[1;4;5;8;31;48;5;200mx")
    (span,) = text.spans
    style = span.style
    assert not isinstance(style, str)
    assert style.color is not None
    assert style.bgcolor is not None
    assert (style.bold, style.underline, style.blink, style.conceal) == (True, True, None, None)


def test_without_colours_a_line_is_one_line_of_text() -> None:
    assert colourless("\x1b[32mgreen\x1b[0m \x1b[2J\rend\nforged\r") == "green \\x1b[2J\\rend\\nforged"
    assert colourless("tab\tbed") == "tab\tbed"


def test_piles_of_marks_and_invisible_characters_are_levelled() -> None:
    assert calm("z" + "\u0301" * 50 + "a\u200db\ufe0f") == "z\u0301\u0301ab"


def test_signs_have_stand_ins_of_their_width() -> None:
    text = Text("\u2500\u2502\u25cf\u25cb\u25a0\u00b7\u203a\u2713\u2717\u2026")
    assert as_ascii(text).plain.isascii()
    assert len(as_ascii(text).plain) == len(text.plain)


# --- sharing the lines of a terminal ---------------------------------------------------------------------------------


def section(wanted: int, rank: int, least: int = 1, weight: int = 1) -> Section:
    def rows(width: int, count: int) -> list[Text]:
        return [Text("row " * 99)] * (count + 3)  # more than asked for, and too wide

    return Section(Text(f"section {rank}"), rows, wanted, rank=rank, least=least, weight=weight)


def test_who_matters_most_gets_its_least_first() -> None:
    sections = [section(9, rank=3), section(9, rank=1, least=4), section(9, rank=2, least=2)]
    assert share(sections, 4) == [0, 0, 3]
    assert share(sections, 5) == [0, 4, 0]
    assert share(sections, 8) == [0, 4, 2]
    assert share(sections, 10) == [1, 4, 2]


def test_what_is_left_over_is_shared_by_weight_up_to_what_is_wanted() -> None:
    sections = [section(100, rank=1, weight=3), section(100, rank=2), section(2, rank=3)]
    assert share(sections, 3 + 10) == [6, 2, 2]
    assert share(sections, 400) == [100, 100, 2]


@pytest.mark.parametrize("height", [0, 1, 2, 5, 30])
def test_a_stack_has_exactly_the_lines_it_may_have(height: int) -> None:
    lines = stacked([section(4, rank=1), section(4, rank=2)], 20, height)
    assert [cell_len(line.plain) for line in lines] == [20] * height
