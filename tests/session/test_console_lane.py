"""The console lane: lines come stored, in order, each once, whenever somebody joins, and the finished run is last."""

from __future__ import annotations

import asyncio
import random

import pytest
import pytest_asyncio

from coreason.foundry.v1 import project_pb2
from coreason.foundry.v1 import run_pb2 as pb
from foundry.client import Foundry
from tests.session.runs import append, finish, lines, logs, numbers, start, until_finished, until_line, with_version
from tests.session.tab import Tab, Tabs
from tests.support import project_with


@pytest_asyncio.fixture
async def tested(alice: Foundry, project: str) -> str:
    """A project with a version to test."""
    await with_version(alice, project)
    return project


@pytest_asyncio.fixture
async def producer(tabs: Tabs, tested: str) -> Tab:
    """Bob's tab, which does not follow."""
    return await tabs.open("bob", tested)


async def test_a_follower_sees_the_lines_and_then_the_finished_run(tabs: Tabs, tested: str, producer: Tab) -> None:
    """Every line as it was sent, with stream and time; the last event of the run is the run as it was sealed."""
    watcher = await tabs.open("alice", tested, follow_runs=True)
    run = await start(producer)
    sent = [
        {"number": 1, "text": "\x1b[31mred\x1b[0m\r\0", "stream": pb.LOG_STREAM_STDERR},
        {"number": 2, "text": "é\u2028", "source_time": {"seconds": 1_795_000_000, "nanos": 5_000}, "partial": True},
        {"number": 3, "stream": pb.LOG_STREAM_EVENT},
    ]
    await producer.command(append_run_log={"run_id": run.run_id, "lines": sent})
    await until_line(watcher, run, 3)
    sealed = await finish(producer, run)
    assert await until_finished(watcher, run) == sealed
    made = [pb.LogLine(**line) for line in sent]  # type: ignore[arg-type]  # the stubs want messages
    made[1].stream = pb.LOG_STREAM_STDOUT
    assert lines(watcher, run) == made


async def test_only_who_asks_for_consoles_gets_them(tabs: Tabs, tested: str, producer: Tab) -> None:
    """The log tells everybody of the run; lines cost only those who want them."""
    watcher, other = await tabs.open("alice", tested, follow_runs=True), await tabs.open("carol", tested)
    run = await start(producer)
    await append(producer, run, "one")
    await finish(producer, run)
    await until_finished(watcher, run)
    for tab in (other, producer):
        await tab.until_entry("run_finished", run_id=run.run_id)
        await tab.command(heartbeat={})
        assert logs(tab) == []


async def test_a_line_that_was_received_is_stored(tabs: Tabs, tested: str, producer: Tab, alice: Foundry) -> None:
    """Durable first: whoever joins after a line was seen is sent it from the store."""
    watcher = await tabs.open("alice", tested, follow_runs=True)
    run = await start(producer)
    for number in range(1, 11):
        appending = asyncio.create_task(append(producer, run, f"{number}", first=number))
        await until_line(watcher, run, number)
        late = await tabs.open("carol", tested, follow_runs=True)
        assert late.events[1].snapshot.runs[0].line_count >= number
        await until_line(late, run, number)
        await appending
        await late.leave()


async def test_a_run_without_lines_ends_too(tabs: Tabs, tested: str, producer: Tab, alice: Foundry) -> None:
    """Finished or cancelled, one event says so."""
    watcher = await tabs.open("alice", tested, follow_runs=True)
    run, cancelled = await start(producer), await start(producer)
    sealed = await finish(producer, run)
    assert await until_finished(watcher, run) == sealed
    owner = tabs.server.channel()
    call = owner.unary_unary("/coreason.foundry.v1.RunService/CancelRun")  # type: ignore[var-annotated]
    request = pb.CancelRunRequest(project_id=tested, run_id=cancelled.run_id)
    await call(request.SerializeToString(), metadata=tabs.server.metadata("alice"))
    await owner.close()
    assert (await until_finished(watcher, cancelled)).state == pb.RUN_STATE_CANCELLED
    assert [len(log.lines) for log in logs(watcher)] == [0, 0]


async def test_a_run_that_was_over_before_is_not_told(tabs: Tabs, tested: str, producer: Tab) -> None:
    """Those that run now, from their first line on, and those that begin later; the rest is in the store."""
    over, now = await start(producer), await start(producer)
    await append(producer, over, "over")
    await append(producer, now, "one", "two")
    await finish(producer, over)
    watcher = await tabs.open("alice", tested, follow_runs=True)
    assert [run.run_id for run in watcher.events[1].snapshot.runs] == [now.run_id]
    later = await start(producer)
    await append(producer, later, "later")
    for run in (now, later):
        await finish(producer, run)
        await until_finished(watcher, run)
    assert (numbers(watcher, now), numbers(watcher, later), lines(watcher, over)) == ([1, 2], [1], [])


async def test_consoles_of_other_projects_are_not_seen(tabs: Tabs, alice: Foundry, tested: str) -> None:
    """Following is by project, for members; the same person's sessions elsewhere get nothing of it."""
    other = await project_with(alice, name="Another")
    await with_version(alice, other)
    here, there = [await tabs.open("alice", each, follow_runs=True) for each in (tested, other)]
    mine, theirs = await start(here), await start(there)
    await append(here, mine, "here")
    await append(there, theirs, "there")
    await finish(here, mine)
    await finish(there, theirs)
    await until_finished(here, mine)
    await until_finished(there, theirs)
    assert {log.run_id for log in logs(here)} == {mine.run_id}
    assert {log.run_id for log in logs(there)} == {theirs.run_id}


@pytest.mark.parametrize("seed", range(6))
async def test_whoever_joins_at_whatever_moment_sees_every_line_once(
    tabs: Tabs, tested: str, producer: Tab, seed: int
) -> None:
    """From line 1 of what is stored on into what comes, without a seam: several runs, joined at random moments."""
    chosen = random.Random(seed)
    runs = [await start(producer) for _ in range(3)]
    sent = dict.fromkeys(range(3), 0)
    joined: list[Tab] = [await tabs.open("alice", tested, follow_runs=True)]
    for _ in range(80):
        at = chosen.randrange(3)
        texts = ["x" * chosen.choice([0, 20, 5_000])] * chosen.choice([1, 1, 3, 60])
        await append(producer, runs[at], *texts, first=sent[at] + 1)
        sent[at] += len(texts)
        if chosen.random() < 0.08:
            joined.append(await tabs.open(chosen.choice(["alice", "bob", "carol"]), tested, follow_runs=True))
    sealed = [await finish(producer, run, expected_line_count=sent[at]) for at, run in enumerate(runs)]
    for tab in joined:
        for at, run in enumerate(runs):
            assert await until_finished(tab, run) == sealed[at]
            assert numbers(tab, run) == list(range(1, sent[at] + 1))
        assert tab.ending is None


async def test_a_run_that_is_finished_while_somebody_catches_up_is_told_to_its_end(
    tabs: Tabs, tested: str, producer: Tab
) -> None:
    """All lines, then the end; not the end first because it is news."""
    run = await start(producer)
    for first in range(1, 601, 60):
        await append(producer, run, *["x" * 10_000] * 60, first=first)
    late = tabs.raw("alice")
    opening = asyncio.create_task(late.open(tested, follow_runs=True))
    sealed = await finish(producer, run)
    await opening
    if late.events[1].snapshot.runs:  # it came before the end
        assert await until_finished(late, run) == sealed
        assert numbers(late, run) == list(range(1, 601))
    early = await tabs.open("carol", tested, follow_runs=True)
    assert not early.events[1].snapshot.runs


async def test_runs_take_turns(tabs: Tabs, tested: str, producer: Tab) -> None:
    """Who catches up on several long consoles sees all of them grow, not one after the other."""
    runs = [await start(producer) for _ in range(3)]
    for run in runs:
        for first in range(1, 401, 50):
            await append(producer, run, *["x" * 10_000] * 50, first=first)
    late = await tabs.open("alice", tested, follow_runs=True)
    for run in runs:
        await until_line(late, run, 400)
    came = [log.run_id for log in logs(late)]
    assert all(numbers(late, run) == list(range(1, 401)) for run in runs)
    last_of_the_first = min(len(came) - 1 - came[::-1].index(run.run_id) for run in runs)
    assert all(came[:last_of_the_first].count(run.run_id) >= 10 for run in runs)


async def test_small_pieces_come_joined(tabs: Tabs, tested: str, producer: Tab) -> None:
    """A message costs more than what is in it: who catches up on hundreds of pieces gets few messages."""
    run = await start(producer)
    for number in range(1, 301):
        await append(producer, run, f"{number}", first=number)
    late = await tabs.open("alice", tested, follow_runs=True)
    await until_line(late, run, 300)
    assert numbers(late, run) == list(range(1, 301))
    assert late.message_count <= 10


async def test_who_loses_the_right_to_read_sees_no_more_lines(
    tabs: Tabs, tested: str, producer: Tab, alice: Foundry
) -> None:
    """The stream ends with ACCESS_LOST; what is appended afterwards is for members."""
    gone, stays = await tabs.open("carol", tested, follow_runs=True), await tabs.open("alice", tested, follow_runs=True)
    run = await start(producer)
    await append(producer, run, "one")
    await until_line(gone, run, 1)
    await alice.projects.remove_member(tested, "carol")
    await append(producer, run, "secret", first=2)
    assert (await gone.ended()).reason == "ACCESS_LOST"
    await until_line(stays, run, 2)
    assert numbers(gone, run) == [1]


async def test_a_viewer_follows_consoles(tabs: Tabs, tested: str, producer: Tab, alice: Foundry) -> None:
    """Watching is reading."""
    await alice.projects.set_member(tested, "vera", project_pb2.ROLE_VIEWER)
    vera = await tabs.open("vera", tested, follow_runs=True)
    run = await start(producer)
    await append(producer, run, "one")
    await until_line(vera, run, 1)
    refused = await vera.refused(start_run={})
    assert refused.reason == "ROLE_TOO_LOW"
