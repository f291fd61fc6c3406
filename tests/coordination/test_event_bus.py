"""The promises of an ``EventBus``, for every backend."""

from __future__ import annotations

from foundry.coordination.ports import EventBus
from foundry.domain.entry import Entry, Event, NewEntry
from foundry.domain.principal import SYSTEM


def entry(sequence: int, log: str = "p") -> Entry:
    """An entry with a number."""
    return Entry(log, sequence, 1, NewEntry(Event.PROJECT_ARCHIVED, SYSTEM, {}), b"{}", bytes(32))


def test_every_receiver_gets_every_entry_in_log_order(bus: EventBus) -> None:
    """Entries of every log, in the order of their commits, to all who subscribed."""
    first: list[Entry] = []
    second: list[Entry] = []
    bus.subscribe(first.append)
    bus.subscribe(second.append)
    entries = [entry(1), entry(1, "instance"), entry(2), entry(3)]
    bus.publish(entries[:3])
    bus.publish([])
    bus.publish(entries[3:])
    assert first == second == entries


def test_a_failing_receiver_starves_nobody(bus: EventBus) -> None:
    """One that raises misses nothing of what comes, nor do the others, and publishing never raises."""
    tried: list[int] = []
    heard: list[int] = []

    def failing(new: Entry) -> None:
        tried.append(new.sequence)
        raise LookupError

    bus.subscribe(failing)
    bus.subscribe(lambda new: heard.append(new.sequence))
    bus.publish([entry(1), entry(2)])
    assert tried == heard == [1, 2]


def test_a_receiver_hears_from_then_on(bus: EventBus) -> None:
    """A bus rings; it does not remember. Whoever came late reads the log."""
    heard: list[int] = []
    bus.publish([entry(1)])
    bus.subscribe(lambda new: heard.append(new.sequence))
    bus.publish([entry(2)])
    assert heard == [2]
