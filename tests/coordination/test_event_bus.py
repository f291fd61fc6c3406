"""The promises of an ``EventBus``, for every backend."""

from __future__ import annotations

from foundry.coordination.ports import EventBus
from foundry.domain.events import LogGrew, PresenceChanged, Ring, RunGrew
from tests.coordination.conftest import until

Buses = tuple[EventBus, EventBus, EventBus]

#: Rings of nothing else: whoever hears it has heard everything rung before it by the same process.
LAST = PresenceChanged("the last")


def listen(bus: EventBus) -> list[Ring]:
    """What it hears from now on."""
    heard: list[Ring] = []
    bus.subscribe(heard.append)
    return heard


async def test_every_other_process_hears_everything(buses: Buses) -> None:
    """Logs, consoles and presence of every project and of the installation, to all receivers of all the others."""
    first, second, third = listen(buses[1]), listen(buses[1]), listen(buses[2])
    rings: list[Ring] = [
        LogGrew("p", 3),
        RunGrew("p", "r", 7),
        PresenceChanged("p"),
        LogGrew("instance", 1),
        LogGrew("q", 9),
    ]
    buses[0].ring(rings)
    buses[0].ring([])
    buses[0].ring([LAST])
    await until(lambda: LAST in first and LAST in second and LAST in third)
    assert first == second == third == [*rings, LAST]


async def test_nobody_hears_itself(buses: Buses) -> None:
    """A process knows what it did. The other's ring comes behind its own, which would have been heard by then."""
    ours, theirs = listen(buses[0]), listen(buses[1])
    buses[0].ring([LogGrew("p", 1), RunGrew("p", "r", 1), PresenceChanged("p")])
    await until(lambda: len(theirs) == 3)
    buses[1].ring([LAST])
    await until(lambda: LAST in ours)
    assert ours == [LAST]


async def test_the_newest_ring_is_always_heard(buses: Buses) -> None:
    """Of many rings for one thing some may be left out, never the newest, and never is an older one heard behind it."""
    heard = listen(buses[1])
    for number in range(1, 101):
        buses[0].ring([LogGrew("p", number), RunGrew("p", "r", 2 * number), RunGrew("p", "other", number)])
    buses[0].ring([LAST])
    await until(lambda: LAST in heard)
    logs = [ring.sequence for ring in heard if isinstance(ring, LogGrew)]
    lines = [ring.line_count for ring in heard if isinstance(ring, RunGrew) and ring.run_id == "r"]
    assert (logs[-1], lines[-1]) == (100, 200)
    assert (logs, lines) == (sorted(logs), sorted(lines))


async def test_a_failing_receiver_starves_nobody(buses: Buses) -> None:
    """One that raises misses nothing of what comes, nor do the others, and ringing never raises."""
    tried: list[Ring] = []

    def failing(ring: Ring) -> None:
        tried.append(ring)
        raise LookupError

    buses[1].subscribe(failing)
    heard = listen(buses[1])
    buses[0].ring([LogGrew("p", 1)])
    buses[0].ring([LAST])
    await until(lambda: LAST in heard)
    assert tried == heard == [LogGrew("p", 1), LAST]


async def test_a_receiver_hears_from_then_on(buses: Buses) -> None:
    """A bus rings; it does not remember. Whoever came late reads the log."""
    first = listen(buses[1])
    buses[0].ring([LogGrew("p", 1)])
    await until(lambda: LogGrew("p", 1) in first)
    late = listen(buses[1])
    buses[0].ring([LAST])
    await until(lambda: LAST in late)
    assert late == [LAST]
