"""The ring of a project: when events go out, what stays in it, and where a reader goes on."""

from __future__ import annotations

import asyncio

import pytest

from foundry.managers.channel import Channel, Frame
from foundry.settings import Fanout
from tests.managers.conftest import OwnedTimeLoop


@pytest.fixture
async def time() -> OwnedTimeLoop:
    loop = asyncio.get_running_loop()
    assert isinstance(loop, OwnedTimeLoop)
    return loop


def channel(subscribers: int = 0, *, ring_bytes_max: int = 4096, ring_frames_max: int = 100) -> Channel:
    """A channel with readers that count how often they are woken."""
    made = Channel("p", Fanout(ring_bytes_max=ring_bytes_max, ring_frames_max=ring_frames_max))
    made.subscribers = {str(number): lambda: None for number in range(subscribers)}
    return made


def contents(ring: Channel) -> list[bytes]:
    """The frames in the ring."""
    return [frame.data for frame in ring.frames(ring.base, 1_000_000)]


# --- when events go out ---


async def test_a_quiet_project_sends_at_once(time: OwnedTimeLoop) -> None:
    """The first event after a pause is a frame of its own, and every reader is woken in the same moment."""
    ring, woken = channel(), [0, 0]

    def wake(reader: int) -> None:
        woken[reader] += 1

    ring.subscribers = {"a": lambda: wake(0), "b": lambda: wake(1)}
    ring.publish(b"one")
    assert (contents(ring), woken) == ([b"one"], [1, 1])


@pytest.mark.parametrize(("subscribers", "linger_ms"), [(20, 1.67), (100, 8.33), (500, 41.7), (5_000, 100)])
async def test_a_busy_project_lingers_by_its_size(time: OwnedTimeLoop, subscribers: int, linger_ms: float) -> None:
    """Frames cost, events do not: the more sessions, the longer events wait for each other, at most 0.1 s."""
    ring = channel(subscribers)
    ring.publish(b"one")
    ring.publish(b"two")
    ring.publish(b"three")
    await time.advance(linger_ms * 0.99 / 1000)
    assert contents(ring) == [b"one"]
    await time.advance(linger_ms * 0.02 / 1000)
    assert contents(ring) == [b"one", b"twothree"]


async def test_fan_out_takes_a_third_of_a_core_at_most(time: OwnedTimeLoop) -> None:
    """Published to without end, a project of 400 sessions makes no more frames than 0.3 of a core can write."""
    ring = channel(400, ring_frames_max=1_000, ring_bytes_max=1_000_000)
    for _ in range(1_000):
        ring.publish(b"x")
        await time.advance(0.001)
    assert len(contents(ring)) * 400 * 25e-6 <= 0.3 * 1.1
    assert sum(map(len, contents(ring))) >= 900


async def test_somebody_waits_for_a_lock_or_a_version(time: OwnedTimeLoop) -> None:
    """An urgent event goes out at once if the last flush is over 5 ms old, and with it all that lingers."""
    ring = channel(500)
    ring.publish(b"one")
    ring.publish(b"two")
    await time.advance(0.006)
    assert contents(ring) == [b"one"]
    ring.publish(b"lock", urgent=True)
    assert contents(ring) == [b"one", b"twolock"]


async def test_urgent_events_do_not_undo_the_bound(time: OwnedTimeLoop) -> None:
    """Within 5 ms of a flush even urgent events wait, so a storm of locks makes 200 frames a second, not thousands."""
    ring = channel(500)
    ring.publish(b"one")
    ring.publish(b"lingers")
    ring.publish(b"lock", urgent=True)
    await time.advance(0.0049)
    assert contents(ring) == [b"one"]
    await time.advance(0.0002)
    assert contents(ring) == [b"one", b"lingerslock"]
    await time.advance(1)
    assert contents(ring) == [b"one", b"lingerslock"]


async def test_a_small_project_waits_no_longer_for_urgent_events(time: OwnedTimeLoop) -> None:
    """Where the linger is shorter than 5 ms, it counts."""
    ring = channel(20)
    ring.publish(b"one")
    ring.publish(b"lock", urgent=True)
    await time.advance(0.0017)
    assert contents(ring) == [b"one", b"lock"]


# --- what stays ---


async def test_the_ring_is_bounded_by_bytes(time: OwnedTimeLoop) -> None:
    """The oldest frames go when there are too many bytes; the newest stays, however large."""
    ring = channel(ring_bytes_max=4096)
    for letter in b"abcde":
        ring.publish(bytes([letter]) * 1_500)
    assert [data[:1] for data in contents(ring)] == [b"d", b"e"]
    assert (ring.base, ring.head) == (3, 5)
    ring.publish(b"f" * 10_000)
    assert (contents(ring), ring.base, ring.head) == ([b"f" * 10_000], 5, 6)


async def test_the_ring_is_bounded_by_frames(time: OwnedTimeLoop) -> None:
    """Small frames do not pile up without end."""
    ring = channel(ring_frames_max=4)
    for letter in b"abcdefg":
        ring.publish(bytes([letter]))
    assert (contents(ring), ring.base, ring.head) == ([b"d", b"e", b"f", b"g"], 3, 7)


# --- where a reader goes on ---


async def test_a_reader_gets_at_least_a_frame_and_no_more_than_it_wants(time: OwnedTimeLoop) -> None:
    """From its cursor on, in order, as many frames as fit; a frame that is too large alone comes alone."""
    ring = channel(ring_bytes_max=100_000)
    for data in (b"a" * 10, b"b" * 10, b"c" * 500, b"d"):
        ring.publish(data)
    assert [frame.data[:1] for frame in ring.frames(0, 20)] == [b"a", b"b"]
    assert [frame.data[:1] for frame in ring.frames(1, 1)] == [b"b"]
    assert [frame.data[:1] for frame in ring.frames(2, 20)] == [b"c"]
    assert [frame.data[:1] for frame in ring.frames(2, 501)] == [b"c", b"d"]
    assert ring.frames(ring.head, 1_000) == []


async def test_a_cursor_stays_good_while_the_ring_moves(time: OwnedTimeLoop) -> None:
    """Frames are numbered for ever: what was behind a cursor before the ring moved is behind it afterwards."""
    ring = channel(ring_frames_max=4)
    for letter in b"abcdef":
        ring.publish(bytes([letter]))
    assert [frame.data for frame in ring.frames(4, 100)] == [b"e", b"f"]


async def test_a_frame_knows_its_newest_entry(time: OwnedTimeLoop) -> None:
    """So a reader knows what it has seen; presence and ticks are no entries and move nothing."""
    ring = channel(20)
    ring.publish(b"entry", sequence=7)
    ring.publish(b"presence", presence=3)
    ring.publish(b"entry", sequence=8)
    ring.publish(b"tick")
    ring.flush()
    ring.publish(b"tick")
    ring.flush()
    assert ring.frames(0, 1_000) == [
        Frame(b"entry", 7, 7, 0, ((5, 7),)),
        Frame(b"presenceentrytick", 8, 8, 3, ((8, -3), (13, 8), (17, 0))),
        Frame(b"tick", 0, 0, 0, ((4, 0),)),
    ]
    assert ring.last_sequence == 8


async def test_flushing_nothing_is_nothing(time: OwnedTimeLoop) -> None:
    """No empty frames, and nobody is woken for them."""
    ring = channel()
    ring.subscribers = {"a": lambda: pytest.fail("woken for nothing")}
    ring.flush()
    assert (ring.base, ring.head) == (0, 0)


async def test_who_knows_an_entry_is_not_told_it_again(time: OwnedTimeLoop) -> None:
    """Frames without what a snapshot has said: entries up to a position, who was here up to a version."""
    ring = channel(20)
    events = ((b"a", 7, 0), (b"p", 0, 3), (b"b", 8, 0), (b"t", 0, 0), (b"q", 0, 4), (b"c", 9, 0))
    for event, sequence, presence in events:
        ring.publish(event, sequence=sequence, presence=presence)
    ring.flush()
    frames = ring.frames(0, 1_000)
    known_before = ((0, 0), (6, 2), (7, 0), (0, 3), (8, 3), (10, 9))
    told = {known: b"".join(frame.behind(*known) for frame in frames) for known in known_before}
    assert told == {
        (0, 0): b"apbtqc",
        (6, 2): b"apbtqc",
        (7, 0): b"pbtqc",
        (0, 3): b"abtqc",
        (8, 3): b"tqc",
        (10, 9): b"t",
    }
