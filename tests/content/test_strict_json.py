"""Strict JSON: what is refused, where, and that both readers agree."""

from __future__ import annotations

import json
import sys
import time
from typing import TYPE_CHECKING

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from foundry.content.json_walk import DEPTH_MAX, check_json, find_path
from foundry.content.strict_json import parse_json
from foundry.content.text import Refused

if TYPE_CHECKING:
    from collections.abc import Callable

SAFE_INTEGERS = st.integers(-(2**53) + 1, 2**53 - 1)
SCALARS = st.none() | st.booleans() | SAFE_INTEGERS | st.floats(allow_nan=False, allow_infinity=False) | st.text()
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4), max_leaves=12
)


def verdict(reader: Callable[[str], object], text: str) -> tuple[str, int, int] | None:
    """Return what the reader objects to, None if nothing."""
    try:
        reader(text)
    except Refused as refused:
        return refused.problem, refused.line, refused.column
    return None


@given(VALUES, st.booleans(), st.sampled_from([None, 2]))
def test_valid_json_keeps_its_value(value: object, escaped: bool, indent: int | None) -> None:
    """Every value JSON can hold is read back as it was, escaped or not, and the walk agrees that it is fine."""
    text = json.dumps(value, ensure_ascii=escaped, indent=indent)
    assert parse_json(text) == value
    check_json(text)


@given(VALUES, st.data())
@settings(max_examples=300)
def test_both_readers_agree_about_damaged_json(value: object, data: st.DataObject) -> None:
    """The fast reader accepts exactly what the walk accepts: one character more, less or other, anywhere."""
    text = json.dumps(value, ensure_ascii=data.draw(st.booleans()))
    at = data.draw(st.integers(0, len(text)))
    cut = data.draw(st.integers(0, 2))
    put = data.draw(st.text(alphabet='{}[],:"\\0123456789.eE+-uDd8 \t\n\r\x00\x0b\u00a0\ufeffnNaI٣', max_size=2))
    damaged = text[:at] + put + text[at + cut :]
    assert verdict(parse_json, damaged) == verdict(check_json, damaged)


@given(st.text(alphabet='{}[],:"\\u0dD89abC1e+-. ', max_size=30))
@example(r'"\ud83d\ude00"')
@example(r'"\\ud83d"')
@example(r'"\ud83d\\ude00"')
@example(r'"\ud83d\ud83d\ude00"')
@example(r'"\ude00\ud83d"')
@example("-")
@example("")
def test_both_readers_agree_about_noise(text: str) -> None:
    """The same for text that never was JSON."""
    assert verdict(parse_json, text) == verdict(check_json, text)


@pytest.mark.parametrize(
    ("text", "problem", "line", "column"),
    [
        ("", "the text ends where a value should be", 1, 1),
        (" \n ", "the text ends where a value should be", 2, 2),
        ("\ufeff{}", "a byte order mark is not allowed in JSON", 1, 1),
        ('{"é":1,\n "a":2,\n  "\\u0061":3}', "a member of this name is already in the object", 3, 3),
        ('[{"a":1},{"a":{"a":1,"b":2,"b":3}}]', "a member of this name is already in the object", 1, 28),
        ('{"😀": NaN}', "NaN and Infinity are not allowed in JSON", 1, 7),
        ("[-Infinity]", "NaN and Infinity are not allowed in JSON", 1, 2),
        ("[1,\n 9007199254740992]", "the integer is outside +-(2**53 - 1); write it as a string", 2, 2),
        ("-9007199254740992", "the integer is outside +-(2**53 - 1); write it as a string", 1, 1),
        ("[" + "9" * 5000 + "]", "the integer is outside +-(2**53 - 1); write it as a string", 1, 2),
        ("[0, 1e309]", "the number is too large for a double", 1, 5),
        ("[" + "9" * 309 + ".5]", "the number is too large for a double", 1, 2),
        ("[1E+999]", "the number is too large for a double", 1, 2),
        ("-1e0400", "the number is too large for a double", 1, 1),
        (r'["a", "x\ud83d!"]', "half a surrogate pair is no character", 1, 9),
        (r'["\ude00"]', "half a surrogate pair is no character", 1, 3),
        (r'{"\ud83d\u0041": 1}', "half a surrogate pair is no character", 1, 3),
        (r'["\x"]', "this escape is not one of JSON", 1, 3),
        (r'["\u12g4"]', "this escape is not one of JSON", 1, 3),
        ('["a\tb"]', "the control character U+0009 must be escaped in a string", 1, 4),
        ('["a", "bc', "this string has no closing quote", 1, 7),
        ("[1] x", "text after the end of the JSON value", 1, 5),
        ("{}{}", "text after the end of the JSON value", 1, 3),
        ("[1 2]", "expected ',' or ']'", 1, 4),
        ("[01]", "expected ',' or ']'", 1, 3),
        ("[1.]", "expected ',' or ']'", 1, 3),
        ("[1,]", "expected a value", 1, 4),
        ("[.5]", "expected a value", 1, 2),
        ("[+1]", "expected a value", 1, 2),
        ("['a']", "expected a value", 1, 2),
        ("[True]", "expected a value", 1, 2),
        ("[\u00a01]", "expected a value", 1, 2),
        ("[٣]", "expected a value", 1, 2),
        ('{"a":1,}', "expected a member name in double quotes", 1, 8),
        ("{a:1}", "expected a member name in double quotes", 1, 2),
        ('{"a" 1}', "expected ':'", 1, 6),
        ('{"a"', "the text ends where ':' should be", 1, 5),
        ('{"a":1', "the text ends where ',' or '}' should be", 1, 7),
        ("[1}", "expected ',' or ']'", 1, 3),
        ("// no\n1", "expected a value", 1, 1),
    ],
)
def test_a_refusal_names_the_problem_and_the_place(text: str, problem: str, line: int, column: int) -> None:
    """The offending token is the number, the second of two equal names, the escape: not where a parser gave up."""
    assert verdict(parse_json, text) == (problem, line, column)


@pytest.mark.parametrize("text", ["9007199254740991", "-9007199254740991", "1e308", "1e-999", "-0", "1E+2", '"1e999"'])
def test_numbers_at_the_bounds_are_accepted(text: str) -> None:
    """The bounds themselves are inside, underflow is no overflow, and digits in a string are no number."""
    assert parse_json(text) == json.loads(text)


@pytest.mark.parametrize(("opening", "closing"), [("[", "]"), ('{"a":', "}"), ('[{"a":', "}]")])
def test_nesting_is_bounded(opening: str, closing: str) -> None:
    """200 arrays and objects inside each other are fine; the 201st is refused where it opens."""
    width = len(closing)
    deep = opening * (DEPTH_MAX // width) + "1" + closing * (DEPTH_MAX // width)
    parse_json(deep)
    refused = verdict(parse_json, f" [{deep}]")
    assert refused
    assert refused[0] == "arrays and objects are nested more than 200 deep"


@pytest.mark.parametrize("text", ["[" * 1_000_000, '{"a":' * 200_000, "[" * 100_000 + "]" * 100_000])
def test_deep_nesting_never_ends_in_a_recursion_error(text: str) -> None:
    """However deep, it is a refusal like any other, in linear time."""
    assert verdict(parse_json, text) is not None


def test_a_caller_deep_in_its_stack_gets_a_refusal() -> None:
    """Without room for the parser's own recursion the answer is a refusal, never a RecursionError."""

    def descend(levels: int) -> tuple[str, int, int] | None:
        return descend(levels - 1) if levels else verdict(parse_json, "[" * 150 + "]" * 150)

    depth = 0
    frame = sys._getframe()
    while frame.f_back:
        frame, depth = frame.f_back, depth + 1
    assert descend(sys.getrecursionlimit() - depth - 100) == ("too deeply nested to be read here", 1, 1)


@given(VALUES)
def test_every_value_is_found_by_its_path(value: object) -> None:
    """The offset of a path is where the text of its value starts."""
    text = json.dumps(value, indent=1)
    decoder = json.JSONDecoder()

    def visit(part: object, path: tuple[str | int, ...]) -> None:
        assert decoder.raw_decode(text, find_path(text, path))[0] == part
        if isinstance(part, dict):
            for name, member in part.items():
                visit(member, (*path, name))
        elif isinstance(part, list):
            for index, item in enumerate(part):
                visit(item, (*path, index))

    visit(value, ())


def test_a_path_that_does_not_exist_leads_to_its_nearest_ancestor() -> None:
    """A missing member has no place of its own; the object that lacks it has."""
    assert find_path('{"a": {"b": [1, 2]}}', ("a", "c", 0)) == len('{"a": ')


def test_a_megabyte_takes_milliseconds() -> None:
    """The common case, valid content at the inline limit, is the C parser's business (bound: a hundred times that)."""
    text = json.dumps([{"role": "user", "content": "x" * 60, "turn": turn} for turn in range(10_500)])
    assert len(text) > 1_000_000
    start = time.process_time()
    parse_json(text)
    assert time.process_time() - start < 1.0
