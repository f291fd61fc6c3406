"""C1 on logs made by hand: a good one passes, and of each promise one that breaks it does not."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from tests.faults.forged import Log
from tests.faults.replay import replay
from tests.faults.report import Report

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.faults.entries import Entry


def broken_by(entries: list[Entry]) -> set[str]:
    """The invariants that a log breaks."""
    report = Report()
    replay(entries, report)
    return report.broken


def story() -> Log:
    """Two sessions take turns on a field; the second one holds it at the end."""
    log = Log()
    log.opened("s1", us=1)
    log.opened("s2", us=1)
    log.acquired("f", 1, "s1", us=2)
    log.saved(1, "f", 1, "s1", us=3)
    log.released("f", 1, "s1", "SAVE", us=3)
    log.resumed("s2", us=4)
    log.acquired("f", 2, "s2", "ben", us=5)
    log.saved(2, "f", 2, "s2", "ben", us=6)
    log.closed("s1", us=7)
    return log


def test_a_good_log_breaks_nothing() -> None:
    """And the replay knows who holds what, and what was looked at."""
    report = Report()
    state = replay(story().entries, report)
    assert not report.violations, report.summary()
    assert {name: (it.session_id, it.fence) for name, it in state.held.items()} == {"f": ("s2", 2)}
    assert (state.open_sessions, state.fences) == ({"s2"}, {"f": 2})
    assert (report.counts["entries"], report.counts["grants"], report.counts["versions"]) == (9, 2, 2)


@pytest.mark.parametrize(
    ("invariant", "defect"),
    [
        ("I2", lambda log: log.acquired("f", 3, "s2")),
        ("I3", lambda log: (log.released("f", 2, "s2"), log.acquired("f", 2, "s2"))),
        ("I3", lambda log: (log.released("f", 2, "s2"), log.acquired("f", 4, "s2"))),
        ("I3", lambda log: log.acquired("g", 2, "s2")),
        ("I4", lambda log: log.released("g", 1, "s2")),
        ("I4", lambda log: (log.released("f", 2, "s2"), log.released("f", 2, "s2"))),
        ("I4", lambda log: log.released("f", 1, "s1")),
        ("I4", lambda log: log.released("f", 2, "s1")),
        ("I5", lambda log: log.saved(3, "f", 1, "s1")),
        ("I5", lambda log: log.saved(3, "f", 2, "s1")),
        ("I5", lambda log: log.saved(3, "f", 2, "s2", "ann")),
        ("I5", lambda log: (log.released("f", 2, "s2"), log.saved(3, "f", 2, "s2", "ben"))),
        ("I6", lambda log: log.closed("s2")),
        ("I6", lambda log: log.acquired("g", 1, "s1")),
        ("I6", lambda log: log.acquired("g", 1, "never opened")),
        ("I6", lambda log: log.resumed("s1")),
        ("I6", lambda log: log.closed("s1")),
        ("I6", lambda log: log.opened("s1")),
        ("I9", lambda log: log.saved(4, "f", 2, "s2", "ben")),
        ("I9", lambda log: log.saved(2, "f", 2, "s2", "ben")),
    ],
)
def test_an_entry_that_breaks_a_promise_is_reported(invariant: str, defect: Callable[[Log], object]) -> None:
    """The entries themselves are well-formed and chained: it is what they tell together that cannot be."""
    log = story()
    defect(log)
    entries = [replace(entry, time_us=max(entry.time_us, 7)) for entry in log.entries]
    assert broken_by(entries) == {invariant}


def test_a_defect_is_reported_once_and_not_with_each_entry_behind_it() -> None:
    """After a double grant the replay goes on from what the log says."""
    log = story()
    log.acquired("f", 3, "s2", us=8)
    log.saved(3, "f", 3, "s2", us=8)
    log.released("f", 3, "s2", us=8)
    report = Report()
    replay(log.entries, report)
    assert [it.invariant for it in report.violations] == ["I2"]


@pytest.mark.parametrize(
    "spoil",
    [
        lambda entries: entries[:3] + entries[4:],
        lambda entries: [*entries[:3], entries[2], *entries[3:]],
        lambda entries: [entries[1], entries[0], *entries[2:]],
        lambda entries: [replace(entries[0], leaf="ff" * 32), *entries[1:]],
        lambda entries: [replace(entries[0], prev="ff" * 32), *entries[1:]],
        lambda entries: [replace(entries[0], canonical=False), *entries[1:]],
        lambda entries: [*entries[:-1], replace(entries[-1], time_us=1)],
    ],
    ids=["gap", "repeat", "swap", "leaf", "prev", "not canonical", "time"],
)
def test_a_log_that_is_no_chain_is_reported(spoil: Callable[[list[Entry]], list[Entry]]) -> None:
    """I1: neither gaps nor repeats, in the order of the commits, each entry naming the leaf before."""
    assert "I1" in broken_by(spoil(story().entries))
