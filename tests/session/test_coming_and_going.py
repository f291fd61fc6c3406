"""Everything at once: readers that come and go at random see the log, and nothing is left when all are gone."""

from __future__ import annotations

import asyncio
import random

import pytest

from coreason.foundry.v1 import session_event_pb2
from foundry.client import Foundry
from tests.session.tab import Tab, Tabs, until_here
from tests.support import PATIENCE_S

_FIELDS = ("system_prompt", "notes/a", "notes/b")


async def _write(tab: Tab, chance: random.Random, rounds: int) -> None:
    for _ in range(rounds):
        field = chance.choice(_FIELDS)
        reply = await tab.reply(acquire_lock={"field": field})
        if reply.HasField("acquired"):
            await tab.save(reply.acquired, f"{chance.random()}", keep_locks=chance.random() < 0.2)
        await tab.show(activity=f"{chance.random()}")


async def _lose(tab: Tab, how: str) -> None:
    if how == "leave":
        await tab.leave()
    elif how == "half-close":
        await tab.half_close()
        await tab.ended()
    else:
        await (tab.cancel() if how == "cancel" else tab.vanish())


def _begin(tab: Tab) -> int:
    """From behind which sequence number a tab has seen everything: of its snapshot, or where it resumed."""
    return next(event.caught_up.position.sequence for event in tab.events if event.HasField("caught_up"))


@pytest.mark.parametrize("seed", [1, 7, 20])
async def test_a_reader_that_comes_and_goes_sees_the_whole_log(tabs: Tabs, project: str, seed: int) -> None:
    """Resumable from any position: the streams of one reader, with seen positions dropped, are the log."""
    chance = random.Random(seed)
    writers = [await tabs.open(subject, project) for subject in ("alice", "bob")]
    working = asyncio.gather(*(_write(tab, random.Random(seed + 1), 25) for tab in writers))
    grace = {"seconds": 20}
    reader = await tabs.open("carol", project, disconnect_grace=grace)
    begin = _begin(reader)
    seen = {entry.position.sequence: entry for entry in reader.entries}
    lives = 0
    while not working.done() or lives < 4:
        lives += 1
        for _ in range(chance.randrange(4)):
            await reader.command(heartbeat={"acknowledged": reader.position})
        ticket = reader.ticket()
        how = chance.choice(["cancel", "half-close", "leave", "connection lost", "resumed elsewhere"])
        if how != "resumed elsewhere":
            await _lose(reader, how)
        if chance.random() < 0.3:
            ticket.ClearField("session_id")
            ticket.ClearField("resume_secret")
        after = reader
        reader = await tabs.open("carol", project, resume=ticket, disconnect_grace=grace)
        assert reader.opened.attachment != session_event_pb2.ATTACHMENT_SNAPSHOT
        assert sorted(set(reader.sequences))[:1] in ([], [ticket.after.sequence + 1])
        for entry in [*after.entries, *reader.entries]:
            assert seen.setdefault(entry.position.sequence, entry) == entry
    await working
    last = (await reader.command(heartbeat={})).position.sequence
    if reader.position.sequence < last:
        await reader.until(lambda event: event.entry.position.sequence == last)
    seen |= {entry.position.sequence: entry for entry in reader.entries}
    assert sorted(number for number in seen if begin < number <= last) == list(range(begin + 1, last + 1))


async def test_nothing_is_left_when_all_are_gone(tabs: Tabs, alice: Foundry, project: str) -> None:
    """No session, no lock, no task: however the streams ended."""
    await alice.projects.get(project)
    baseline = len(asyncio.all_tasks())
    short = {"nanos": 200_000_000}
    for how in ("leave", "cancel", "half-close", "connection lost"):
        crowd = [await tabs.open("bob", project, disconnect_grace=grace) for grace in ({}, short)]
        for number, tab in enumerate(crowd):
            await tab.acquire(f"notes/{number}")
        for tab in crowd:
            await _lose(tab, how)
        await until_here(alice, project)
    refused = tabs.raw("bob")
    await refused.send(b"\x0a\xff\xff")
    await refused.ended()
    superseded = await tabs.open("bob", project)
    resumed = await tabs.open("bob", project, resume=superseded.ticket())
    await superseded.ended()
    await resumed.leave()
    await until_here(alice, project)
    assert [lock async for lock in alice.locks.list(project)] == []
    async with asyncio.timeout(PATIENCE_S):
        while len(asyncio.all_tasks()) > baseline:
            await alice.projects.get(project)
