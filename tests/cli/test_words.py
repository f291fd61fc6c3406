"""Single values read well, and other people's text cannot harm the reader's terminal."""

from __future__ import annotations

import pytest

from coreason.foundry.v1 import project_pb2
from foundry.cli import words
from tests.cli.messages import ALICE, NOW, ROBOT, before


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ("Alice A.", "Alice A."),
        ("two\nlines\tand a tab", "two\nlines\tand a tab"),
        ("\x1b[31mred\x07", "\\x1b[31mred\\x07"),
        ("safe\u202eelif", "safe\\u202eelif"),
        ("\x9b2J", "\\x9b2J"),
        ("dose: 5 \u00b5g \u2265 \U0001f48a", "dose: 5 \u00b5g \u2265 \U0001f48a"),
    ],
)
def test_nothing_that_a_terminal_obeys_gets_through(text: str, plain: str) -> None:
    assert words.plain(text) == plain


def test_markup_in_a_name_is_only_text() -> None:
    assert words.shown("[bold]Bob[/bold]").plain == "[bold]Bob[/bold]"


@pytest.mark.parametrize(
    ("state", "word"),
    [(project_pb2.PROJECT_STATE_IN_REVIEW, "in_review"), (project_pb2.PROJECT_STATE_UNSPECIFIED, ""), (99, "99")],
)
def test_enum_words(state: project_pb2.ProjectState.ValueType, word: str) -> None:
    """Values of a newer server read as their number."""
    assert words.enum_word(project_pb2.Project(state=state), "state") == word


@pytest.mark.parametrize(
    ("seconds", "text"), [(-3, "0 s"), (59.9, "59 s"), (60, "1 min"), (3599, "59 min"), (7200, "2 h"), (90000, "1 d")]
)
def test_spans(seconds: float, text: str) -> None:
    assert words.span(seconds) == text


def test_times_are_utc() -> None:
    assert words.moment(before()) == "2026-11-20 12:30:05"
    assert words.clock(before()) == "12:30:05"
    assert words.since(before(minutes=4), NOW) == "4 min"


@pytest.mark.parametrize(("count", "text"), [(0, "0 B"), (1023, "1023 B"), (1229, "1.2 KiB"), (3 * 1024**2, "3.0 MiB")])
def test_sizes(count: int, text: str) -> None:
    assert words.size(count) == text


def test_agents_say_for_whom_they_act() -> None:
    assert words.name_of(ALICE) == "Alice A."
    assert words.name_of(ROBOT) == "Tuner for alice"


def test_somebody_has_one_colour() -> None:
    assert words.colour_of("alice") == words.colour_of("alice")
    assert len({words.colour_of(name) for name in ("alice", "bob", "carol", "dave", "eve", "frank")}) > 1
