"""Many events to many readers: joined in frames, and a slow reader costs nobody but itself."""

from __future__ import annotations

import asyncio

import grpc
import pytest

from coreason.foundry.v1 import audit_pb2, lock_pb2, session_event_pb2
from foundry.client import Foundry
from tests.session.conftest import with_settings
from tests.session.tab import Tab, Tabs, request

#: A client that does not adapt its window: little is on its way to it before the server has to wait.
_NARROW = [("grpc.http2.bdp_probe", 0)]
#: Far more than is on its way (about 130 KB), and than the ring keeps: 100 entries of 4.5 KB.
_SAVES = 100
_SMALL_RING = {"ring_frames_max": 8, "ring_bytes_max": 65_536}


async def _produce(writer: Tab, got: lock_pb2.AcquiredLock, saves: int = _SAVES) -> int:
    """Save many times; returns the sequence number of the last version's entry."""
    saved = None
    for turn in range(saves):
        saved = await writer.save(got, f"text {turn}", message="m" * 4_000, keep_locks=True)
    assert saved
    return saved.position.sequence


async def _slow_and_writer(tabs: Tabs, project: str) -> tuple[Tab, Tab, lock_pb2.AcquiredLock]:
    """A tab that holds a lock and stops reading, and one at work."""
    slow, writer = await tabs.open("bob", project, options=_NARROW), await tabs.open("carol", project)
    await slow.acquire("topology")
    got = await writer.acquire()
    await slow.until_entry("lock_acquired", field="system_prompt")
    slow.pause()
    return slow, writer, got


async def _until_sequence(tab: Tab, sequence: int) -> None:
    await tab.until(lambda event: event.entry.position.sequence == sequence)


async def test_events_of_one_moment_come_in_few_messages(tabs: Tabs, alice: Foundry, project: str) -> None:
    """A message costs, an event in it does not: what is committed together is sent together."""
    reader = await tabs.open("bob", project)
    begin, messages = len(reader.events), reader.message_count
    saved = await alice.drafts.save(project, {f"notes/{n}": "x" for n in range(60)}, base_version=0)
    closed = await reader.until_entry("session_closed")
    assert closed.position.sequence >= saved.position.sequence
    entries = [event for event in reader.events[begin:] if event.HasField("entry")]
    assert len(entries) == 2 * 60 + 3  # session opened, locks acquired, version, locks released, session closed
    assert reader.message_count - messages <= 4  # the first at once, the rest together, and perhaps a tick


async def test_what_waits_for_a_slow_reader_is_joined(tabs: Tabs, project: str) -> None:
    """Bigger frames instead of a queue: nothing is lost, and it comes in fewer messages than there were flushes."""
    slow, writer, got = await _slow_and_writer(tabs, project)
    messages = slow.message_count
    last = await _produce(writer, got)
    slow.go_on()
    await _until_sequence(slow, last)
    assert slow.sequences == list(range(slow.sequences[0], last + 1))
    assert (slow.message_count - messages) * 2 < _SAVES
    assert slow.kinds.count("caught_up") == 1


@with_settings(fanout=_SMALL_RING)
async def test_a_reader_that_the_ring_has_passed_reads_on_from_the_log_without_a_gap(
    tabs: Tabs, alice: Foundry, project: str
) -> None:
    """Others are not held up by it, and it keeps its lock."""
    slow, writer, got = await _slow_and_writer(tabs, project)
    watcher = await tabs.open("alice", project)
    last = await _produce(writer, got)
    await _until_sequence(watcher, last)  # others have it all, while the slow one has not read a word of it
    assert slow.position.sequence < last - _SAVES / 2
    assert (await alice.locks.get(project, "topology")).session_id == slow.session_id
    slow.go_on()
    await _until_sequence(slow, last)
    assert "resync" not in slow.kinds
    assert slow.kinds.count("caught_up") > 1  # it was passed, or this test shows nothing
    seen = sorted(set(slow.sequences))
    assert seen == list(range(seen[0], last + 1))
    assert (await slow.acquire("topology")).lock.fencing_token == 1
    since = len(slow.events)
    live = await _produce(writer, got, 1)
    await slow.until(lambda event: event.entry.position.sequence == live, since=since)


@with_settings(fanout={**_SMALL_RING, "replay_entries_max": 16})
async def test_a_reader_that_missed_too_much_gets_a_resync_and_a_snapshot_and_is_live_again(
    tabs: Tabs, project: str
) -> None:
    slow, writer, got = await _slow_and_writer(tabs, project)
    last = await _produce(writer, got)
    slow.go_on()
    await slow.until(lambda event: event.HasField("resync"))
    await slow.until(lambda event: event.caught_up.position.sequence >= last)
    end = await _produce(writer, got, 3)
    await _until_sequence(slow, end)
    # More than one, if its server was behind too and passed it twice.
    resyncs = [at for at, kind in enumerate(slow.kinds) if kind == "resync"]
    first, at = resyncs[0], resyncs[-1]
    assert slow.events[at].resync.reason == session_event_pb2.RESYNC_REASON_SLOW_READER
    assert slow.kinds[at : at + 4] == ["resync", "snapshot", "presence", "caught_up"]
    before = [event.entry.position.sequence for event in slow.events[:first] if event.HasField("entry")]
    assert before == list(range(before[0], before[-1] + 1))
    assert before[-1] < last
    assert slow.events[at + 1].snapshot.project.head_version > 0
    assert slow.events[at + 2].presence.snapshot
    anew = slow.events[at + 3].caught_up.position.sequence
    after = {event.entry.position.sequence for event in slow.events[at:] if event.HasField("entry")}
    assert sorted(number for number in after if number > anew) == list(range(anew + 1, end + 1))
    assert (await slow.acquire("topology")).lock.fencing_token == 1


@with_settings(fanout=_SMALL_RING, liveness={"tick_interval_s": 0.1})
async def test_a_slow_reader_is_left_alone_for_its_time(tabs: Tabs, alice: Foundry, project: str) -> None:
    """Being behind is no reason to be ended: the server looked at it, more than once, and kept it."""
    slow, writer, got = await _slow_and_writer(tabs, project)
    await _produce(writer, got)
    for _ in range(2):
        since = len(writer.events)
        await writer.until(lambda event: event.HasField("tick"), since=since)
    assert (await alice.locks.get(project, "topology")).session_id == slow.session_id
    slow.go_on()
    assert (await slow.acquire("topology")).lock.fencing_token == 1


@with_settings(fanout=_SMALL_RING, liveness={"slow_consumer_limit_s": 2.0})
async def test_a_reader_that_takes_nothing_for_too_long_is_ended(tabs: Tabs, alice: Foundry, project: str) -> None:
    """SLOW_CONSUMER: its session is closed and its locks are free before it has noticed."""
    slow, writer, got = await _slow_and_writer(tabs, project)
    await _produce(writer, got)
    released = await writer.until_entry("lock_released", field="topology")
    assert released.lock_released.release_reason == lock_pb2.LOCK_RELEASE_REASON_STREAM_GONE
    closed = await writer.until_entry("session_closed", session_id=slow.session_id)
    assert closed.session_closed.close_reason == audit_pb2.SESSION_CLOSE_REASON_SLOW_CONSUMER
    assert [session.session_id async for session in alice.sessions.list(project)] == [writer.session_id]
    slow.go_on()
    ending = await slow.ended()
    assert (ending.code, ending.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "SLOW_CONSUMER")
    assert ending.details == {"session_id": slow.session_id}
    assert ending.retry_after_s
    assert (await writer.acquire("topology")).lock.fencing_token == 2


@with_settings(liveness={"slow_consumer_limit_s": 2.0})
async def test_lag_is_measured_by_what_a_client_acknowledges(tabs: Tabs, project: str) -> None:
    """A program that hangs behind a transport that reads for it is slow, too; one that gets on is not."""
    hung, alive = await tabs.open("bob", project), await tabs.open("alice", project)
    stood_at = hung.position
    await _produce(alive, await alive.acquire(), 3)
    ended = asyncio.create_task(hung.ended())
    while not ended.done():
        for tab, at in ((hung, stood_at), (alive, alive.position)):
            await tab.send(request(9_999, heartbeat={"acknowledged": at}))
        await asyncio.wait({ended}, timeout=0.1)
    assert (await ended).reason == "SLOW_CONSUMER"
    assert alive.ending is None


@pytest.mark.parametrize("readers", [12])
async def test_a_slow_reader_costs_the_others_nothing(tabs: Tabs, project: str, readers: int) -> None:
    """All others get everything, in order, while one has stopped reading altogether."""
    _slow, writer, got = await _slow_and_writer(tabs, project)
    crowd = [await tabs.open(("alice", "bob", "carol")[n % 3], project) for n in range(readers)]
    last = await _produce(writer, got, 40)
    await asyncio.gather(*(_until_sequence(tab, last) for tab in crowd))
    for tab in crowd:
        assert tab.sequences == list(range(tab.sequences[0], last + 1))
