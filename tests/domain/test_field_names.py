"""Field names: which are valid, and which cannot live beside each other."""

from __future__ import annotations

import string

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from foundry.domain.errors import InvalidArgument
from foundry.domain.field import FIELD_NAME_BYTES_MAX, FieldState, check_field_name, prefix_conflict

FIRST = set(string.ascii_lowercase + string.digits + "_")
REST = FIRST | {".", "-"}
NEARLY = st.text(alphabet="ab9_./-A é\n\0", max_size=12)
NAMES = st.lists(st.sampled_from(["a", "b", "ab", "a.b", "a-"]), min_size=1, max_size=3).map("/".join)


def is_name(text: str) -> bool:
    """The rule of the contract, letter by letter."""
    first, *others = text.split("/")
    good = bool(first) and set(first) <= FIRST
    for part in others:
        good = good and bool(part) and set(part) <= REST and part not in {".", ".."}
    return good and len(text.encode()) <= FIELD_NAME_BYTES_MAX


@given(NEARLY | NAMES)
@example("system_prompt")
@example("few_shot/greeting.v2-final")
@example("a/..")
@example("a/./b")
@example("a/...")
@example("a\n")
@example("a/")
@example("/a")
@example("a//b")
@example("")
@example("-a")
@example("a.b")
@example("é")
@example("\N{ARABIC-INDIC DIGIT ONE}")
def test_the_rule_is_the_contracts(text: str) -> None:
    """``[a-z0-9_]+(/[a-z0-9_.-]+)*`` and no segment that would escape a directory; nothing is normalised."""
    if is_name(text):
        assert check_field_name(text) == text
    else:
        with pytest.raises(InvalidArgument):
            check_field_name(text)


@pytest.mark.parametrize("name", ["a" * 200, "a/" + "b" * 198])
def test_a_name_has_at_most_200_bytes(name: str) -> None:
    """200 are allowed, 201 are not, and the request field that held the name is blamed."""
    assert check_field_name(name) == name
    with pytest.raises(InvalidArgument) as caught:
        check_field_name(name + "c", "changes.field")
    assert caught.value.details == {"field": "changes.field"}


def conflicts(name: str, other: str) -> bool:
    """Whether one path lies inside the other."""
    mine, theirs = name.split("/"), other.split("/")
    shorter = min(len(mine), len(theirs))
    return mine != theirs and mine[:shorter] == theirs[:shorter]


@given(NAMES, st.frozensets(NAMES))
def test_fields_are_leaves(name: str, live: frozenset[str]) -> None:
    """A conflict is found if and only if there is one, and a live field that has it is named."""
    found = prefix_conflict(name, live)
    expected = {other for other in live if conflicts(name, other)}
    assert found in expected if expected else found is None


@given(NAMES, NAMES)
def test_conflicts_are_mutual(one: str, two: str) -> None:
    """If one cannot be made beside the other, neither can the other beside it."""
    assert (prefix_conflict(one, {two}) is None) == (prefix_conflict(two, {one}) is None)


def test_a_name_that_only_begins_alike_is_free() -> None:
    """Paths are compared by segment, not by letter."""
    assert prefix_conflict("topology_2", {"topology", "topology2/a", "topology-x"}) is None
    assert prefix_conflict("topology/graph", {"topology"}) == "topology"
    assert prefix_conflict("topology", {"topology/graph", "topology/a"}) == "topology/a"


def test_a_field_without_content_and_lock_is_not_live() -> None:
    """A removed field frees its name; its row and its fence stay."""
    assert not FieldState("a", fence=7, last_changed_version=3).live
