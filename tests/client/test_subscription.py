"""One reader of a session's events."""

from __future__ import annotations

import asyncio

from coreason.foundry.v1 import session_event_pb2
from foundry.client.live.subscription import Subscription
from tests.client.scripted import acquired, soon


async def test_events_that_wait_are_delivered_before_the_end() -> None:
    subscription = Subscription()
    subscription.put(acquired(1, "a", "s1", 1))
    subscription.put(acquired(2, "b", "s1", 1))
    subscription.end()
    assert [event.entry.position.sequence async for event in subscription] == [1, 2]


async def test_a_waiting_reader_wakes_up() -> None:
    subscription = Subscription()
    reading = asyncio.create_task(anext(subscription))
    subscription.put(acquired(1, "a", "s1", 1))
    assert (await soon(reading)).entry.position.sequence == 1


async def test_a_reader_that_falls_behind_is_told_so_and_goes_on_live() -> None:
    """Never a silent gap: it finds a resync in place of what it lost."""
    subscription = Subscription(capacity=2)
    for sequence in (1, 2, 3, 4):
        subscription.put(acquired(sequence, "a", "s1", 1))
    subscription.end()
    resync, *rest = [event async for event in subscription]
    assert resync.resync.reason == session_event_pb2.RESYNC_REASON_SLOW_READER
    assert [event.entry.position.sequence for event in rest] == [4]
