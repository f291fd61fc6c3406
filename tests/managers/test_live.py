"""One stream: what is sent first, when a client must wait, and how it ends."""

from __future__ import annotations

import asyncio

import pytest

from foundry.domain.errors import GoingAway, SessionEnded
from foundry.domain.session import Session, SessionState
from foundry.managers.channel import Channel
from foundry.managers.live import FRAME_BYTES, LiveSession
from foundry.settings import Fanout
from tests.managers.workspace import ALICE
from tests.support import soon

SESSION = Session("s1", "p", ALICE.principal, SessionState.ATTACHED, 1, b"", "boot", "", "", "", 0, 1)


class Stream:
    """A stream over a small ring; ``caught_up`` counts how often the ring passed it."""

    def __init__(self) -> None:
        self.channel = Channel("p", Fanout(ring_frames_max=4))
        self.caught_up = 0
        self.live = LiveSession(SESSION, ALICE, self.channel, 0.0, self._catch_up)
        self.channel.subscribers["s1"] = self.live.wake

    async def _catch_up(self, live: LiveSession) -> None:
        self.caught_up += 1
        live.cursor = live.channel.head
        live.send(b"<missed>")

    def publish(self, *events: bytes, sequence: int = 0) -> None:
        """Put each event on the ring as a frame of its own."""
        for event in events:
            self.channel.publish(event, sequence=sequence)
            self.channel.flush()


@pytest.fixture
async def stream() -> Stream:
    return Stream()


async def take(stream: Stream) -> bytes:
    """The next frame, soon."""
    return await soon(stream.live.take())


async def test_answers_come_before_the_news(stream: Stream) -> None:
    """The outbox first, then the ring, joined into one frame: it is the frame that costs."""
    stream.publish(b"news1", b"news2")
    stream.live.send(b"answer1")
    stream.live.send(b"answer2")
    assert await take(stream) == b"answer1answer2news1news2"


async def test_a_stream_begins_at_the_head(stream: Stream) -> None:
    """What was in the ring before the attach is not sent: the snapshot has it."""
    stream.publish(b"before")
    late = LiveSession(SESSION, ALICE, stream.channel, 0.0, stream._catch_up)
    stream.publish(b"after")
    assert await soon(late.take()) == b"after"


@pytest.mark.parametrize("wake", ["answer", "news", "end"])
async def test_whoever_waits_is_woken(stream: Stream, wake: str) -> None:
    """By an answer, by news, and by the end."""
    waiting = asyncio.create_task(stream.live.take())
    await asyncio.sleep(0)
    assert not waiting.done()
    if wake == "answer":
        stream.live.send(b"answer")
    elif wake == "news":
        stream.publish(b"news")
    else:
        stream.live.end(None)
    assert await soon(waiting) == {"answer": b"answer", "news": b"news", "end": b""}[wake]


async def test_frames_are_joined_up_to_their_size(stream: Stream) -> None:
    """Small events are joined until a frame is full; one that is larger alone goes alone, none is cut or lost."""
    events = [b"a" * (FRAME_BYTES // 2), b"b" * (FRAME_BYTES // 2), b"c", b"d" * FRAME_BYTES * 2, b"e"]
    for event in events:
        stream.live.send(event)
    stream.live.end(None)
    frames = []
    while frame := await take(stream):
        frames.append(frame)
    assert [len(frame) for frame in frames] == [FRAME_BYTES, 1, FRAME_BYTES * 2, 1]
    assert b"".join(frames) == b"".join(events)


async def test_what_the_ring_has_passed_is_read_elsewhere(stream: Stream) -> None:
    """A slow reader is brought up to date once, then goes on with the ring; nothing comes twice."""
    stream.publish(*(b"x" for _ in range(10)))
    assert (await take(stream), stream.caught_up) == (b"<missed>", 1)
    stream.publish(b"news")
    assert (await take(stream), stream.caught_up) == (b"news", 1)


async def test_it_knows_the_newest_entry_it_was_sent(stream: Stream) -> None:
    """From there a slow reader's entries are read again; news without entries do not move it back."""
    stream.publish(b"entry", sequence=41)
    stream.publish(b"entry", sequence=42)
    await take(stream)
    stream.publish(b"presence")
    await take(stream)
    assert stream.live.seen_sequence == 42


async def test_a_client_that_takes_no_answers_gets_no_more_commands_done(stream: Stream) -> None:
    """With over 1 MiB of answers waiting there is no room; with them taken there is."""
    stream.live.send(b"x" * (1024 * 1024))
    await soon(stream.live.room())
    stream.live.send(b"y")
    room = asyncio.create_task(stream.live.room())
    await asyncio.sleep(0)
    assert not room.done()
    await take(stream)
    await soon(room)


async def test_the_end_comes_after_what_waits(stream: Stream) -> None:
    """Answers that were given are delivered; news that come later are not; then it stays at the end."""
    stream.live.send(b"last answer")
    stream.live.end(None)
    stream.publish(b"too late")
    assert [await take(stream) for _ in range(3)] == [b"last answer", b"", b""]


async def test_the_first_end_counts(stream: Stream) -> None:
    """Whoever ends a stream first says how."""
    first = SessionEnded("SESSION_SUPERSEDED", "a newer stream took this session's place", "s1")
    stream.live.end(first, keeps_session=True)
    stream.live.end(GoingAway(2.0))
    assert (stream.live.ending, stream.live.keeps_session) == (first, True)


async def test_an_ended_stream_keeps_nobody_waiting_for_room(stream: Stream) -> None:
    """Its reader is let go."""
    stream.live.send(b"x" * (1024 * 1024 + 1))
    room = asyncio.create_task(stream.live.room())
    await asyncio.sleep(0)
    stream.live.end(None)
    await soon(room)


async def test_a_cancelled_writer_loses_nothing(stream: Stream) -> None:
    """Waiting for the next frame can be given up and begun again."""
    waiting = asyncio.create_task(stream.live.take())
    await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    stream.publish(b"news")
    assert await take(stream) == b"news"
