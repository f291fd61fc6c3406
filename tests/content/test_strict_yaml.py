"""Strict YAML: what is refused, where, and that hostile text costs nothing."""

from __future__ import annotations

import contextlib
import time

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from foundry.content import check_content
from foundry.content.strict_yaml import ALIASED_NODES_MAX, check_yaml
from foundry.content.text import Refused
from foundry.domain.errors import InvalidContent
from foundry.domain.field import FieldKind

SCALARS = st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | st.text() | st.dates()
VALUES = st.recursive(
    SCALARS | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(SCALARS, inner, max_size=4),
    max_leaves=12,
)


@given(VALUES, st.booleans(), st.booleans())
def test_what_a_yaml_library_writes_is_accepted(value: object, flow: bool, unescaped: bool) -> None:
    """Whatever PyYAML writes for ordinary values is strict YAML."""
    check_yaml(yaml.safe_dump(value, default_flow_style=flow, allow_unicode=unescaped))


@given(st.text(alphabet="ab01:-?#&*!|>'\"%@[]{},.~<= \n\t\\é\ufeff\x85", max_size=40))
@settings(max_examples=500)
def test_noise_is_accepted_or_refused_inside_the_text(text: str) -> None:
    """No text leads to any other exception, and a refusal is at a place that exists."""
    refusal = None
    try:
        check_yaml(text)
    except Refused as refused:
        refusal = refused
    if refusal:
        lines = text.split("\n")
        assert 1 <= refusal.line <= len(lines)
        assert 1 <= refusal.column <= len(lines[refusal.line - 1]) + 1


@pytest.mark.parametrize(
    ("text", "problem", "line", "column"),
    [
        ("a: 1\nb: 2\na: 3\n", "this key is already in the mapping", 3, 1),
        ("é: {x: 1, 'x': 2}", "this key is already in the mapping", 1, 11),
        ("1: a\n0x1: b", "this key is already in the mapping", 2, 1),
        ("yes: a\ntrue: b", "this key is already in the mapping", 2, 1),
        ("~: a\nnull: b", "this key is already in the mapping", 2, 1),
        ("&k a: 1\n*k : 2", "this key is already in the mapping", 2, 1),
        ("! a: 1\na: 2", "this key is already in the mapping", 2, 1),
        ("<<: {a: 1}\n<<: {b: 1}", "this key is already in the mapping", 2, 1),
        ("? [a]\n: 1", "a key must be a scalar", 1, 3),
        ("x: &k [a]\n*k : 1", "a key must be a scalar", 2, 1),
        ("a: 1\n---\nb: 2\n", "only one document is allowed", 2, 1),
        ("a: .nan", "NaN and infinite numbers are not allowed", 1, 4),
        ("a:\n- -.INF", "NaN and infinite numbers are not allowed", 2, 3),
        ("a: 1.0e+999", "NaN and infinite numbers are not allowed", 1, 4),
        ("a: 9007199254740992", "the integer is outside +-(2**53 - 1); write it as a string", 1, 4),
        ("a: !!int '-0x20000000000000'", "the integer is outside +-(2**53 - 1); write it as a string", 1, 4),
        ("a: 1" + ":1" * 500, "the number is too long", 1, 4),
        ("a: 1" + ":1" * 190 + ".5", "this is not a number", 1, 4),
        ("a: !!int x", "this is not a number", 1, 4),
        ("a: !!int ''", "this is not a number", 1, 4),
        ("a: *b", "this alias has no anchor before it", 1, 4),
        ("a: &b [1, *b]", "this alias is inside the node that it stands for", 1, 11),
        ("a: b: c", "a ':' is not allowed here", 1, 5),
        ("a: [1, 2", "expected ',' or ']'", 1, 9),
        ("- 😀\n- 'abc\n", "this quoted string has no closing quote", 2, 3),
        ("a: 1\nbcd\ne: 2", "this key has no ':'", 2, 1),
        ("\ufeffé: @x", "no value can start with this character", 1, 5),
        ("a: 1\n\tb: 2", "a tab cannot indent", 2, 1),
        ("a: é\x07", "the character U+0007 is not allowed in YAML", 1, 5),
        ("a: x\u2028\nb: @", "no value can start with this character", 2, 4),
        ("%YAML 9.9\n---\na", "this version of YAML is not supported", 1, 1),
        ("%TAG !a! tag:a\n" * 101, "more than 100 %TAG directives", 101, 1),
        ("a: !<", "not valid YAML", 1, 6),
    ],
)
def test_a_refusal_names_the_problem_and_the_place(text: str, problem: str, line: int, column: int) -> None:
    """The offending token, in our words; lines end at newlines only, as everywhere."""
    with pytest.raises(Refused) as caught:
        check_yaml(text)
    assert (caught.value.problem, caught.value.line, caught.value.column) == (problem, line, column)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "# nothing\n",
        "\ufeffa: 1",
        "a: &x 1\nb: *x\n",
        "a: &x {k: 1}\nb: {<<: *x, k: 2}\n",
        "&x a: &x b\n*x : c",
        "1: a\n'1': b\n1.0: c\n",
        "!python/object:os.system x: !!binary aGk=",
        "a: 9007199254740991\nb: '9007199254740992'\nc: '.nan'\nd: 2001-99-99\n",
        "--- \na: |\n  ---\n  %TAG\n...\n",
    ],
)
def test_legal_yaml_is_accepted(text: str) -> None:
    """Anchors, merge keys, unknown tags and keys that only look alike are legal; nothing is constructed."""
    check_yaml(text)


def test_nesting_is_bounded() -> None:
    """200 collections inside each other are fine, the 201st is refused where it opens, and depth costs nothing."""
    check_yaml("[" * 200 + "]" * 200)
    for text in ("[" * 201 + "]" * 201, "[" * 1_000_000, "{a: " * 250_000):
        with pytest.raises(Refused, match="nested more than 200 deep") as caught:
            check_yaml(text)
        assert caught.value.line == 1
    with pytest.raises(Refused, match="nested more than 200 deep"):
        check_yaml("- " * 500_000)


def test_a_billion_laughs_are_refused_at_once() -> None:
    """Aliases are counted by what they stand for, aliases inside included; none is ever followed."""
    laughs = "l0: &l0 ha\n" + "".join(f"l{n}: &l{n} [{', '.join([f'*l{n - 1}'] * 10)}]\n" for n in range(1, 10))
    with pytest.raises(Refused) as caught:
        check_yaml(laughs)
    assert caught.value.problem == "aliases stand for more than 100000 nodes"
    assert caught.value.line == 6


def test_as_many_aliased_nodes_as_allowed_are_accepted() -> None:
    """The bound itself is inside."""
    aliases = "- &a x\n" + "- *a\n" * ALIASED_NODES_MAX
    check_yaml(aliases)
    with pytest.raises(Refused):
        check_yaml(aliases + "- *a\n")


@pytest.mark.parametrize("kind", [FieldKind.YAML])
def test_yaml_fields_are_checked(kind: FieldKind) -> None:
    """A field of kind YAML goes through this check, and its name is in the refusal."""
    with pytest.raises(InvalidContent, match="topology at line 2, column 1: this key is already") as caught:
        check_content("topology", kind, "application/yaml", b"a: 1\na: 2")
    assert caught.value.field == "topology"


@pytest.mark.parametrize("text", ["%TAG ! tag:a\n" * 70_000, "a: 1" + ":1" * 500_000, "!" * 1_000_000, "? " * 500_000])
def test_hostile_text_takes_no_time(text: str) -> None:
    """What makes a YAML parser quadratic is refused or read in well under a second for 1 MB."""
    start = time.process_time()
    with contextlib.suppress(Refused):
        check_yaml(text)
    assert time.process_time() - start < 1
