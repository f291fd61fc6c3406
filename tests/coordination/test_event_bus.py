"""The promises of an ``EventBus``, for every backend."""

from __future__ import annotations

from foundry.coordination.ports import EventBus
from foundry.domain.entry import Entry, Event, NewEntry
from foundry.domain.events import Committed
from foundry.domain.principal import SYSTEM
from foundry.domain.run import LogLine, RunLines


def entry(sequence: int, log: str = "p") -> Entry:
    """An entry with a number."""
    return Entry(log, sequence, 1, NewEntry(Event.PROJECT_ARCHIVED, SYSTEM, {}), b"{}", bytes(32))


def lines(first: int) -> RunLines:
    """Two lines of a console."""
    return RunLines("p", "r", (LogLine(first, "one"), LogLine(first + 1, "two")))


def test_every_receiver_gets_everything_in_the_order_of_the_commits(bus: EventBus) -> None:
    """Entries of every log and lines of every console, to all who subscribed."""
    first: list[Committed] = []
    second: list[Committed] = []
    bus.subscribe(first.append)
    bus.subscribe(second.append)
    news: list[Committed] = [entry(1), lines(1), entry(1, "instance"), lines(3), entry(2), entry(3)]
    bus.publish(news[:3])
    bus.publish([])
    bus.publish(news[3:])
    assert first == second == news


def test_a_failing_receiver_starves_nobody(bus: EventBus) -> None:
    """One that raises misses nothing of what comes, nor do the others, and publishing never raises."""
    tried: list[Committed] = []
    heard: list[Committed] = []

    def failing(item: Committed) -> None:
        tried.append(item)
        raise LookupError

    bus.subscribe(failing)
    bus.subscribe(heard.append)
    bus.publish([entry(1), lines(1)])
    assert tried == heard == [entry(1), lines(1)]


def test_a_receiver_hears_from_then_on(bus: EventBus) -> None:
    """A bus rings; it does not remember. Whoever came late reads the log."""
    heard: list[Committed] = []
    bus.publish([entry(1)])
    bus.subscribe(heard.append)
    bus.publish([entry(2)])
    assert heard == [entry(2)]
