"""A console that floods, and a client that reads slowly: neither costs anybody else anything."""

from __future__ import annotations

import asyncio

import pytest_asyncio

from coreason.foundry.v1 import run_pb2 as pb
from foundry.client import Foundry
from tests.session.conftest import with_settings
from tests.session.runs import append, finish, numbers, start, until_finished, until_line, with_version
from tests.session.tab import Tab, Tabs
from tests.support import soon

#: A stream whose client takes nothing is full after far less than this.
COUNT, LINES, TEXT = 2_000, 50, "x" * 10_000


@pytest_asyncio.fixture
async def tested(alice: Foundry, project: str) -> str:
    """A project with a version to test."""
    await with_version(alice, project)
    return project


@pytest_asyncio.fixture
async def producer(tabs: Tabs, tested: str) -> Tab:
    """Bob's tab, which does not follow."""
    return await tabs.open("bob", tested)


async def _flood(producer: Tab, run: pb.Run, *, first: int = 1) -> None:
    """Append 20 MB of lines."""
    for at in range(first, first + COUNT, LINES):
        await append(producer, run, *[TEXT] * LINES, first=at)


async def test_a_slow_reader_of_a_console_keeps_its_lock_and_misses_nothing(
    tabs: Tabs, tested: str, producer: Tab
) -> None:
    """While 20 MB of lines wait for it the others see them all; then it gets every line, and saves as ever."""
    slow = await tabs.open("alice", tested, follow_runs=True)
    fast = await tabs.open("carol", tested, follow_runs=True)
    got = await slow.acquire()
    slow.pause()
    run = await start(producer)
    await _flood(producer, run)
    sealed = await finish(producer, run)
    assert await until_finished(fast, run) == sealed
    assert numbers(fast, run) == list(range(1, COUNT + 1))
    assert len(numbers(slow, run)) < COUNT
    assert (await fast.acquire_refused()).details["holder"] == "alice"
    slow.go_on()
    assert await until_finished(slow, run) == sealed
    assert numbers(slow, run) == list(range(1, COUNT + 1))
    assert "resync" not in slow.kinds
    assert (await slow.save(got, "Be brief.\n")).draft.version_number == 2


@with_settings(liveness={"slow_consumer_limit_s": 2.0}, fanout={"ring_bytes_max": 4_096, "ring_frames_max": 4})
async def test_who_takes_nothing_at_all_is_ended_and_comes_back_to_its_line(
    tabs: Tabs, tested: str, producer: Tab
) -> None:
    """A follower that hangs is a slow consumer as any; named by its last line, the console goes on there."""
    stuck = await tabs.open("alice", tested, follow_runs=True, disconnect_grace={"seconds": 20})
    run = await start(producer)
    await append(producer, run, "first")
    await until_line(stuck, run, 1)
    stuck.pause()
    await _flood(producer, run, first=2)
    await producer.until_entry("session_closed", session_id=stuck.session_id)
    stuck.go_on()
    assert (await stuck.ended()).reason == "SLOW_CONSUMER"
    seen = numbers(stuck, run)
    assert seen == list(range(1, len(seen) + 1))
    ticket = stuck.ticket()
    ticket.runs.add(run_id=run.run_id, line=seen[-1])
    again = await tabs.open("alice", tested, follow_runs=True, resume=ticket)
    await until_line(again, run, COUNT + 1)
    assert numbers(again, run) == list(range(len(seen) + 1, COUNT + 2))


async def test_the_log_is_not_held_up_by_a_console(tabs: Tabs, tested: str, producer: Tab) -> None:
    """Entries and answers overtake lines that wait: a lock is seen at once, however much console is behind."""
    watcher = await tabs.open("alice", tested, follow_runs=True)
    run = await start(producer)
    await watcher.until_entry("run_started", run_id=run.run_id)
    watcher.pause()
    await _flood(producer, run)
    # Its own lock, of which its server knows at once; that another one granted might come behind more of the console.
    acquiring = asyncio.create_task(watcher.acquire())
    await producer.until_entry("lock_acquired")
    watcher.go_on()
    got = await soon(acquiring)
    await watcher.until_entry("lock_acquired", lock_id=got.lock.lock_id)
    await until_line(watcher, run, COUNT)
    kinds = watcher.kinds
    acquired = next(
        at for at, event in enumerate(watcher.events) if event.entry.lock_acquired.lock_id == got.lock.lock_id
    )
    behind = sum(len(event.run_log.lines) for event in watcher.events[acquired:])
    assert behind > COUNT / 2
    assert kinds.count("run_log") > 1


async def test_answers_overtake_a_console_too(tabs: Tabs, tested: str, producer: Tab) -> None:
    """Who catches up on a long console works meanwhile: its own commands are answered first."""
    run = await start(producer)
    await _flood(producer, run)
    late = await tabs.open("alice", tested, follow_runs=True)
    late.pause()
    acquiring = asyncio.create_task(late.acquire())
    await producer.until_entry("lock_acquired")  # so the answer is there, and so is all of the console
    late.go_on()
    got = await soon(acquiring)
    answered = len(numbers(late, run))
    await late.save(got, "Be brief.\n")
    await until_line(late, run, COUNT)
    assert answered < COUNT / 2
    assert numbers(late, run) == list(range(1, COUNT + 1))
