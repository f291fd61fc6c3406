"""Page tokens: where a list goes on, for the one list they were made for."""

from __future__ import annotations

import base64
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coreason.foundry.v1 import types_pb2
from foundry.domain.errors import InvalidArgument, PageTokenInvalid
from foundry.rpc.pages import PAGE_BYTES_MAX, Pages
from foundry.rpc.validation import PAGE_SIZE_DEFAULT, PAGE_SIZE_MAX

PAGES = Pages(b"k" * 32)
BOUND = ("ListDrafts", "project", "alice", "")


@given(
    st.text() | st.integers(0, 2**63 - 1), st.lists(st.text() | st.integers() | st.dictionaries(st.text(), st.text()))
)
def test_a_token_leads_on(after: str | int, arguments: list[object]) -> None:
    """To exactly the place it was issued for, with the same arguments, also in another process."""
    token = PAGES.issue(after, *arguments)
    assert Pages(b"k" * 32).read(token, "", *arguments) == after
    assert set(token) <= set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_")


def test_no_token_is_the_beginning() -> None:
    """The first page needs none."""
    assert PAGES.read("", 0, *BOUND) == 0
    assert PAGES.read("", "start", *BOUND) == "start"


@pytest.mark.parametrize(
    "other",
    [
        ("ListProjects", "project", "alice", ""),
        ("ListDrafts", "other project", "alice", ""),
        ("ListDrafts", "project", "bob", ""),
        ("ListDrafts", "project", "alice", "topology"),
        ("ListDrafts", "project", "alice"),
        ("ListDrafts", "project", "alice", "", ""),
        ("ListDrafts", "project", "", "alice"),
    ],
    ids=str,
)
def test_a_token_is_bound_to_its_arguments(other: tuple[str, ...]) -> None:
    """With another RPC, project, filter, or number of them, it is not valid; it cannot widen what it was made for."""
    with pytest.raises(PageTokenInvalid):
        PAGES.read(PAGES.issue(17, *BOUND), 0, *other)


def test_a_token_of_another_installation_is_not_valid() -> None:
    """The key is the installation's."""
    with pytest.raises(PageTokenInvalid):
        Pages(b"x" * 32).read(PAGES.issue(17, *BOUND), 0, *BOUND)


def test_a_place_of_ones_own_is_a_forgery() -> None:
    """The place is readable and not secret, but changing it breaks the seal."""
    token = PAGES.issue(17, *BOUND)
    raw = base64.urlsafe_b64decode(token + "=" * (-len(token) % 4))
    assert json.loads(raw[16:]) == 17
    for forged in (raw[:16] + b"0", raw[:16] + b"17 ", b"17", raw[:16], raw[:15] + b"17", bytes(16) + b"17"):
        with pytest.raises(PageTokenInvalid):
            PAGES.read(base64.urlsafe_b64encode(forged).decode().rstrip("="), 0, *BOUND)


@given(st.text(min_size=1) | st.binary(min_size=1).map(lambda data: base64.urlsafe_b64encode(data).decode()))
def test_junk_is_refused_and_nothing_else(junk: str) -> None:
    """Whatever a client sends as a token is refused with the one reason, never an error of the server."""
    with pytest.raises(PageTokenInvalid):
        PAGES.read(junk, 0, *BOUND)


@given(st.integers(0, 10_000), st.integers(0, 63))
def test_one_changed_character_is_enough(seed: int, number: int) -> None:
    """No character of a token is decoration."""
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    token = PAGES.issue(123456789, *BOUND)
    at = seed % (len(token) - 1)  # the last one carries bits that mean nothing
    changed = token[:at] + alphabet[number] + token[at + 1 :]
    if changed != token:
        with pytest.raises(PageTokenInvalid):
            PAGES.read(changed, 0, *BOUND)


@pytest.mark.parametrize(("asked", "given_"), [(0, PAGE_SIZE_DEFAULT), (1, 1), (PAGE_SIZE_MAX, PAGE_SIZE_MAX)])
def test_page_sizes(asked: int, given_: int) -> None:
    """0 is 50, and up to 1,000 what was asked for."""
    assert PAGES.size(asked) == given_


@pytest.mark.parametrize("asked", [-1, PAGE_SIZE_MAX + 1, 2**31 - 1, -(2**31)])
def test_page_sizes_out_of_bounds_are_refused(asked: int) -> None:
    """Refused, with the field named, rather than silently made smaller."""
    with pytest.raises(InvalidArgument) as caught:
        PAGES.size(asked)
    assert caught.value.details == {"field": "page_size"}


def test_a_page_fits_into_an_answer() -> None:
    """A page ends early rather than being too heavy for a client, but always holds one item."""

    def weighing(size: int) -> types_pb2.Principal:
        return types_pb2.Principal(subject="x" * size)

    most = PAGE_BYTES_MAX
    assert len(Pages.fit([most // 4] * 10, 10, weighing)) == 3
    assert len(Pages.fit([1] * 10, 7, weighing)) == 7
    assert len(Pages.fit([most * 2, 1], 10, weighing)) == 1
    assert Pages.fit([], 10, weighing) == []
