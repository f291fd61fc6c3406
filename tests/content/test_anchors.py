"""Lines of a comment are found again where they are, told as gone where they are not, and never put elsewhere."""

from __future__ import annotations

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from foundry.content import Found, Lines, find_all, split_lines
from foundry.domain.comment import AnchorState

SHIFTED, FUZZY, OUTDATED = AnchorState.SHIFTED, AnchorState.FUZZY, AnchorState.OUTDATED
GONE = (OUTDATED, 0, 0)
#: Work without end, for tests that are not about it.
ENDLESS = 10**15


def find(before: list[str], after: list[str], start: int, end: int = 0, quote: str | None = None) -> Found:
    """Where lines are; the quote is the lines themselves, as the server fills it in."""
    end = end or start
    words = "\n".join(before[start - 1 : end]) if quote is None else quote
    [found], _ = find_all(
        "\n".join(before).encode(), "\n".join(after).encode(), [Lines(start, end, words)], work_max=ENDLESS
    )
    return found


# --- lines -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "lines"),
    [
        (b"", []),
        (b"\n", [b""]),
        (b"a", [b"a"]),
        (b"a\n", [b"a"]),
        (b"a\n\n", [b"a", b""]),
        (b"\na", [b"", b"a"]),
        (b"a\r\nb\r\n", [b"a\r", b"b\r"]),
        (b"a\rb\x0bc\x0c\xe2\x80\xa8d", [b"a\rb\x0bc\x0c\xe2\x80\xa8d"]),
    ],
    ids=repr,
)
def test_lines_are_counted_as_in_an_editor(content: bytes, lines: list[bytes]) -> None:
    r"""Only ``\n`` ends a line; what stands behind the last is a line if anything does."""
    assert split_lines(content) == lines


# --- found -------------------------------------------------------------------------------------------------------

TEXT = ["You are an expert.", "Be careful.", "", "Cite your sources.", "Never guess.", "", "Answer briefly."]


@pytest.mark.parametrize(
    ("after", "place"),
    [
        (["A title", "", *TEXT], (SHIFTED, 6, 7)),
        (TEXT[2:], (SHIFTED, 2, 3)),
        ([*TEXT[:5], "And more."], (SHIFTED, 4, 5)),
        (["Other words.", *TEXT[3:5]], (SHIFTED, 2, 3)),
    ],
    ids=["lines above", "lines away above", "lines changed below", "at the end"],
)
def test_lines_that_stand_unchanged_are_found_where_they_are(after: list[str], place: Found) -> None:
    assert find(TEXT, after, 4, 5) == place


def test_lines_that_moved_past_others_are_found() -> None:
    """Where the alignment of both texts goes another way: their only place is theirs."""
    before = ["the one", *(f"common {number}" for number in range(9))]
    after = [*before[1:], "the one"]
    assert find(before, after, 1) == (SHIFTED, 10, 10)
    assert find([*before, "x"], [*after, "x"], 1, quote="one") == (SHIFTED, 10, 10)


def test_the_quote_is_found_where_its_line_changed() -> None:
    """Word for word in one place only; the place is that of the quote, not of all lines."""
    before = ["intro", "Doses over 5 mg need two signatures, always.", "outro"]
    after = ["intro", "new", "As agreed: Doses over 5 mg need two signatures.", "outro!"]
    assert find(before, after, 1, 3, quote="Doses over 5 mg need two signatures") == (SHIFTED, 3, 3)
    twice = [*after, "As told: Doses over 5 mg need two signatures."]
    assert find(before, twice, 2, quote="Doses over 5 mg need two") == GONE


def test_a_quote_of_several_lines_is_found_with_all_of_them() -> None:
    before = ["a", "first half and", "second half", "b"]
    after = ["c", "d", "the first half and", "second half too", "e"]
    assert find(before, after, 2, 3) == (SHIFTED, 3, 4)
    assert find(before, after, 2, 3, quote="half and\nsecond half") == (SHIFTED, 3, 4)
    assert find(before, after, 2, 3, quote="half and\n") == (SHIFTED, 3, 3)


def test_a_line_that_changed_a_little_is_found_as_fuzzy() -> None:
    before = [*TEXT[:3], "Cite at least two primary sources for each claim.", *TEXT[4:]]
    after = [*TEXT[:3], "Cite at least three primary sources for every claim.", *TEXT[4:]]
    assert find(before, after, 4) == (FUZZY, 4, 4)


def test_several_lines_that_changed_a_little_are_found_as_fuzzy() -> None:
    """As many as there were, also where lines came in above."""
    before = ["intro", "Check the dose twice.", "Check the patient's name.", "Sign the form.", "outro"]
    after = ["new", "intro", "Check the dose three times.", "Check the patient's name.", "Sign this form.", "outro"]
    assert find(before, after, 2, 4) == (FUZZY, 3, 5)


# --- not found ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "after",
    [["Entirely", "different", "words."], [], [""], ["x"] * 50],
    ids=["other words", "nothing", "an empty line", "many lines"],
)
def test_lines_that_are_gone_are_told_as_gone(after: list[str]) -> None:
    assert find(TEXT, after, 4, 5) == GONE


def test_of_two_that_are_alike_none_is_chosen() -> None:
    """The rival counts also when windows that overlap the best one are better than it."""
    before = ["Limit of the first arm: 10 mg", "end"]
    after = ["Limit of the first arm: 11 mg", "Limit of the first arm: 12 mg", "end!"]
    assert find(before, after, 1) == GONE
    hours = [f"Measure the dose in milligrams at hour {hour}" for hour in range(10)]
    again = [f"{hour}, then" for hour in hours[3:7]]
    alone = [*[f"{hour}." for hour in hours], "one", "two", "three", "four"]
    assert find(["a", *hours[3:7], "b"], alone, 2, 5) == (FUZZY, 4, 7)
    assert find(["a", *hours[3:7], "b"], [*alone, *again], 2, 5) == GONE


def test_what_stood_there_before_is_not_taken_for_what_is_gone() -> None:
    """Another line that was like it all along stays another line, whether it is like the words or has them."""
    before = ["- Never say maybe.", "- Never say perhaps.", "- Never say maybe!"]
    assert find(before, before[1:], 1) == GONE
    assert find(["the cat sat", "x", "a cat"], ["the cat sat", "x", "a dog"], 3, quote="cat") == GONE
    assert find(["same", "a", "same"], ["a", "same"], 1) == GONE


def test_a_changed_line_is_found_among_unchanged_ones_that_are_like_it() -> None:
    """They are no rivals: they are what they were."""
    before = [f"- item {number}: at least 5 mg" for number in range(9)]
    after = [*before[:4], "- item 4: at least 7.5 mg", *before[5:]]
    assert find(before, after, 5) == (FUZZY, 5, 5)


@pytest.mark.parametrize("quote", ["", " ", "\n", "\t\n "], ids=repr)
def test_words_of_nothing_are_looked_for_nowhere(quote: str) -> None:
    """Blank lines are everywhere."""
    assert find(["a", "", "b"], ["c", "", "", "d"], 2, quote=quote) in {GONE, (SHIFTED, 2, 2), (SHIFTED, 3, 3)}
    assert find(["a", " ", "b"], ["c", "", "d"], 2, quote=quote) == GONE


def test_a_quote_that_begins_with_a_line_feed_needs_a_line_before_it() -> None:
    """The beginning of the text is no line feed."""
    before = ["a", "foo", "b"]
    assert find(before, ["foo bar", "c"], 1, 2, quote="\nfoo") == GONE
    assert find(before, ["c", "foo bar"], 1, 2, quote="\nfoo") == (SHIFTED, 1, 2)


def test_bytes_that_are_no_text_are_no_trouble() -> None:
    [found], _ = find_all(b"abc def ghi\n", b"\xff\xfe\nabc def ghj\xff\n", [Lines(1, 1, "abc def ghi")], ENDLESS)
    assert found == (FUZZY, 2, 2)


# --- properties --------------------------------------------------------------------------------------------------

WORDS = st.sampled_from(["", " ", "a", "b", "aa", "ab", "abc", "a b", "abcabcabc", "abcabcabd", "{", "}", "ü", "x\r"])
LINES = st.lists(WORDS, max_size=12)


@st.composite
def edits(draw: st.DrawFn) -> tuple[list[str], list[str], str]:
    """A text, an edit of it, and a line that stands once in both: lines are dropped, added, changed, moved."""
    unique = draw(st.sampled_from(["abcabcabe", "aab", "z", "a b c", "abcabcabcabc"]))
    before, after = draw(LINES), draw(LINES)
    if draw(st.booleans()):
        after = [line for line in before if draw(st.booleans())] + after
    before.insert(draw(st.integers(0, len(before))), unique)
    after.insert(draw(st.integers(0, len(after))), unique)
    return before, after, unique


@given(edits(), st.booleans())
def test_a_unique_line_that_survives_is_never_placed_on_another(
    edit: tuple[list[str], list[str], str],
    quoted: bool,
) -> None:
    """Whatever else changed, whatever is like it, and whichever of its words are quoted: it is where it stands."""
    before, after, line = edit
    assume(before != after)
    quote = line[:2] if quoted else line
    place = after.index(line) + 1
    assert find(before, after, before.index(line) + 1, quote=quote) == (SHIFTED, place, place)


@given(LINES, LINES, st.data())
def test_a_place_is_of_the_new_text(before: list[str], after: list[str], data: st.DataObject) -> None:
    """Lines that exist, as they stood if they are said to; or none."""
    before, after = [*before, "end"], [*after, "END"]
    start = data.draw(st.integers(1, len(before)))
    end = data.draw(st.integers(start, len(before)))
    state, first, last = find(before, after, start, end)
    if state is OUTDATED:
        assert (first, last) == (0, 0)
        return
    assert state in {SHIFTED, FUZZY}
    assert 1 <= first <= last <= len(after)
    if state is SHIFTED:
        # Of a quote the line feeds at its end are no lines.
        assert "\n".join(before[start - 1 : end]).rstrip("\n") in "\n".join(after[first - 1 : last])


# --- cost --------------------------------------------------------------------------------------------------------


def test_work_is_counted_and_ends_the_search_but_for_the_first() -> None:
    """Those that were not looked for are left out, not told as gone; the caller asks again."""
    before = "\n".join(f"sentence number {number} of many" for number in range(200)).encode()
    after = before.replace(b"many", b"several")
    wanted = [Lines(number, number, f"sentence number {number - 1} of many") for number in range(1, 100)]
    everything, left = find_all(before, after, wanted, work_max=ENDLESS)
    assert len(everything) == len(wanted)
    assert left < ENDLESS
    some, left = find_all(before, after, wanted, work_max=(ENDLESS - left) // 3)
    assert left <= 0
    assert 1 < len(some) < len(wanted)
    assert some == everything[: len(some)]
    assert find_all(before, after, wanted, work_max=0)[0] == everything[:1]


@pytest.mark.parametrize(
    ("quoted", "lines", "width"),
    [(2_000, 18_000, 50), (64, 16_000, 63), (2, 500, 2_047)],
    ids=["many short lines", "many windows", "long lines"],
)
def test_what_would_be_searched_for_too_long_is_not_searched_for(quoted: int, lines: int, width: int) -> None:
    """Where each would take seconds or gigabytes: told as gone, at the cost of looking for it word for word."""
    before = "\n".join("a" * (4_000 // quoted - 1) for _ in range(quoted))
    after = "\n".join(f"{number:06}".ljust(width, "a") for number in range(lines))
    [found], left = find_all(before.encode(), after.encode(), [Lines(1, quoted, before)], work_max=ENDLESS)
    assert found == GONE
    assert ENDLESS - left < 2_000_000_000


def test_a_place_word_for_word_is_found_in_any_length() -> None:
    """Only what is like it is not searched for."""
    before = [f"line {number}" for number in range(30_000)]
    after = [f"changed {line}" for line in before]
    assert find(before, after, 20_000, quote="line 19999") == (SHIFTED, 20_000, 20_000)
