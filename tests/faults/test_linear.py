"""The search for an order: right by its model, as right as trying everything, fast, and honest when it gives up."""

from __future__ import annotations

import time
from itertools import permutations
from math import inf
from random import Random
from typing import TYPE_CHECKING

import pytest

from tests.faults.linear import Event, State, events_of, explain, step
from tests.faults.simulated import World

if TYPE_CHECKING:
    from collections.abc import Sequence

KINDS = ("acquire", "save", "release", "hold", "break", "lost", "held", "once", "free", "intervened")


def any_order_explains(events: Sequence[Event]) -> bool:
    """Whether one of all orders explains the events: what the search must find, by trying everything.

    An uncertain event may be in any place, or nowhere; in its place it has its effect if it can.
    """
    certain = [it for it in events if it.certain]
    open_ = [it for it in events if not it.certain]
    for number in range(1 << len(open_)):
        chosen = certain + [it for place, it in enumerate(open_) if number >> place & 1]
        if any(keeps_real_time(order) and replays(order) for order in permutations(chosen)):
            return True
    return False


def keeps_real_time(order: Sequence[Event]) -> bool:
    latest_call = 0.0
    for it in order:
        latest_call = max(latest_call, it.call_ns)
        if it.return_ns < latest_call:
            return False
    return True


def replays(order: Sequence[Event]) -> bool:
    state = State()
    for it in order:
        after = step(state, it)
        if after is None:
            return False
        state = after
    return True


def some_events(chance: Random, *, most: int) -> list[Event]:
    """Few sessions and tokens, so that by chance many histories can be explained and many cannot."""
    events = []
    for _ in range(chance.randint(1, most)):
        begin = chance.randint(0, 12)
        certain = chance.random() < 0.8
        kind = chance.choice(KINDS if certain else ("acquire", "save", "release", "close", "break"))
        shown = State(chance.choice(("", "a", "b")), chance.randint(0, 2)) if chance.random() < 0.2 else None
        events.append(
            Event(
                kind,
                begin,
                begin + chance.randint(0, 8) if certain else inf,
                chance.choice(("a", "b")),
                chance.randint(0, 2),
                certain,
                shown if kind in {"lost", "held"} else None,
            )
        )
    return events


def test_the_search_finds_an_order_exactly_when_there_is_one() -> None:
    """On 3,000 small histories at random it agrees with trying every order; both verdicts are frequent."""
    chance = Random(1)
    verdicts = []
    for _ in range(3_000):
        events = some_events(chance, most=6)
        verdict = explain(events)
        assert verdict.explained is any_order_explains(events), events
        verdicts.append(verdict.explained)
    assert 500 < sum(map(bool, verdicts)) < 2_500


def test_a_few_hundred_operations_take_well_under_a_second() -> None:
    """A contested field with dying programs and lost answers: 300 operations and more, among them unknown ones."""
    world = World(5, clients=16, fields=1, steps=100)
    history = world.run()
    events = events_of(history.by_field()["f0"], history.ended_sessions())
    assert len(events) > 300
    assert sum(not it.certain for it in events) > 20
    began = time.perf_counter()
    assert explain(events).explained
    assert time.perf_counter() - began < 1.0


def test_a_contradiction_in_a_long_history_is_found_as_fast() -> None:
    """One answer that is not true, in the middle: the search names it and does not get lost."""
    world = World(5, clients=16, fields=1, steps=100)
    history = world.run()
    events = sorted(events_of(history.by_field()["f0"], history.ended_sessions()), key=lambda it: it.call_ns)
    middle = events[len(events) // 2].call_ns
    events.append(Event("hold", middle, middle, "nobody", 1))
    began = time.perf_counter()
    verdict = explain(events)
    assert verdict.explained is False
    assert any(it.session_id == "nobody" for it in verdict.stuck)
    assert time.perf_counter() - began < 2.0


def test_a_search_that_is_given_up_is_no_verdict() -> None:
    """It is neither yes nor no, so that nobody takes silence for success."""
    events = [Event("acquire", 0, inf, f"s{number}", certain=False) for number in range(4)]
    events.append(Event("held", 1, 2, "t", shown=State("s9", 1)))
    assert explain(events).explained is False
    assert explain(events, steps_max=3).explained is None


@pytest.mark.parametrize(
    ("state", "event", "after"),
    [
        (State(), Event("acquire", 0, 0, "a", 1), State("a", 1)),
        (State("a", 1), Event("acquire", 0, 0, "a", 1), State("a", 1)),
        (State("a", 1), Event("acquire", 0, 0, "b", 2), None),
        (State("", 1), Event("acquire", 0, 0, "a", 1), None),
        (State("", 3), Event("acquire", 0, 0, "a", 4, since=3), State("a", 4)),
        (State("", 3), Event("acquire", 0, 0, "a", 4, since=2), None),
        (State("", 3), Event("intervened", 0, 0, "a", 2), State("", 3)),
        (State("", 3), Event("intervened", 0, 0, "a", 3), None),
        (State("a", 1), Event("save", 0, 0, "a", 1), State("", 1)),
        (State("a", 2), Event("save", 0, 0, "a", 1), None),
        (State("a", 1), Event("hold", 0, 0, "a", 1), State("a", 1)),
        (State("", 1), Event("hold", 0, 0, "a", 1), None),
        (State("", 1), Event("once", 0, 0, "", 2), State("", 2)),
        (State("a", 1), Event("once", 0, 0, "", 2), None),
        (State("a", 1), Event("free", 0, 0), None),
        (State("a", 1), Event("break", 0, 0, "", 1), State("", 1)),
        (State("a", 2), Event("break", 0, 0, "", 1), None),
        (State("a", 1), Event("close", 0, 0, "a", certain=False), State("", 1)),
        (State("b", 1), Event("close", 0, 0, "a", certain=False), State("b", 1)),
        (State("a", 1), Event("lost", 0, 0, "a", 1), None),
        (State("a", 2), Event("lost", 0, 0, "a", 1), State("a", 2)),
        (State("a", 2), Event("lost", 0, 0, "b", 1, shown=State("b", 2)), None),
        (State("a", 1), Event("held", 0, 0, "b", shown=State("a", 1)), State("a", 1)),
        (State("", 1), Event("held", 0, 0, "b"), None),
        (State("b", 1), Event("held", 0, 0, "b"), None),
    ],
    ids=lambda value: f"{value.kind}-{value.session_id}-{value.fence}" if isinstance(value, Event) else None,
)
def test_an_operation_changes_a_field_as_the_contract_says(state: State, event: Event, after: State | None) -> None:
    assert step(state, event) == after
