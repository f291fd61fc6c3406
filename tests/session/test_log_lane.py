"""The log lane: ordered, gap-free, unique, durable first, and at once."""

from __future__ import annotations

import asyncio
from collections import defaultdict

import pytest

from coreason.foundry.v1 import lock_pb2
from foundry.client import Foundry
from tests.session.tab import Tab, Tabs

_FIELDS = ("system_prompt", "topology", "notes/a")


async def _work(tab: Tab, rounds: int) -> None:
    """Take every field in turn, save or give back, and lose some races for it."""
    for turn in range(rounds):
        field = _FIELDS[turn % len(_FIELDS)]
        reply = await tab.reply(acquire_lock={"field": field})
        if not reply.HasField("acquired"):
            continue
        if turn % 2:
            await tab.release(reply.acquired.lock)
        else:
            await tab.save(reply.acquired, f'{{"by": "{tab.subject}", "turn": {turn}}}')


async def _three_at_work(tabs: Tabs, project: str) -> list[Tab]:
    crowd = [await tabs.open(subject, project) for subject in ("alice", "bob", "carol")]
    await asyncio.gather(*(_work(tab, 12) for tab in crowd))
    last = (await crowd[0].command(heartbeat={})).position
    for tab in crowd:
        if tab.position.sequence < last.sequence:
            await tab.until(lambda event: event.entry.position.sequence == last.sequence)
    return crowd


async def test_everybody_gets_the_same_entries_in_order_without_gap_or_repetition(
    tabs: Tabs, alice: Foundry, project: str
) -> None:
    """Ordered, gap-free, unique: what follows ``caught_up`` is the log itself, while many write at once."""
    crowd = await _three_at_work(tabs, project)
    log = {entry.position.sequence: entry async for entry in alice.audit.entries(project)}
    for tab in crowd:
        at = tab.kinds.index("caught_up")
        begin = tab.events[at].caught_up.position.sequence
        assert tab.sequences == list(range(begin + 1, tab.position.sequence + 1))
        for seen in tab.entries:
            stored = log[seen.position.sequence]
            assert seen.entry_bytes == b""
            stored.ClearField("entry_bytes")
            assert seen == stored


async def test_grants_of_a_field_alternate_with_their_releases_and_fences_rise_by_one(tabs: Tabs, project: str) -> None:
    """Alternating and sealed: acquired k, released k, acquired k + 1, for every field, whoever holds it."""
    watcher = await tabs.open("alice", project)
    crowd = await _three_at_work(tabs, project)
    for tab in crowd:
        await tab.leave()
        await watcher.until_entry("session_closed", session_id=tab.session_id)
    steps: dict[str, list[tuple[str, int]]] = defaultdict(list)
    for entry in watcher.entries:
        arm = entry.WhichOneof("payload")
        if arm in {"lock_acquired", "lock_released"}:
            step = getattr(entry, arm)
            steps[step.field].append((arm, step.fencing_token))
    assert set(steps) == set(_FIELDS)
    for field in _FIELDS:
        fences = range(1, len(steps[field]) // 2 + 1)
        assert steps[field] == [(arm, fence) for fence in fences for arm in ("lock_acquired", "lock_released")]


async def test_an_entry_that_was_received_is_in_the_log_at_once(tabs: Tabs, alice: Foundry, project: str) -> None:
    """Durable first: nothing is sent before its commit."""
    reader, writer = await tabs.open("alice", project), await tabs.open("bob", project)
    for turn in range(10):
        since = len(reader.events)
        saving = asyncio.create_task(writer.save(await writer.acquire(), f"text {turn}"))
        seen = await reader.until_entry("draft_created", since=since)
        stored = alice.audit.entries(project, after_sequence=seen.position.sequence - 1)
        first = await anext(stored)
        await stored.aclose()  # type: ignore[attr-defined]  # an asynchronous generator
        assert first.position == seen.position
        assert first.leaf == seen.leaf
        await saving


async def test_locks_and_versions_are_pushed_to_the_others_with_the_actors_name(tabs: Tabs, project: str) -> None:
    """Everybody hears of a lock and of a version by themselves, and who it was, as a person reads it."""
    watcher, writer = await tabs.open("alice", project), await tabs.open("bob", project)
    got = await writer.acquire(purpose="tone")
    acquired = await watcher.until_entry("lock_acquired", lock_id=got.lock.lock_id, fencing_token=1)
    saved = await writer.save(got, "Be brief.", message="shorter")
    created = await watcher.until_entry("draft_created", draft_id=saved.draft.draft_id)
    released = await watcher.until_entry(
        "lock_released", lock_id=got.lock.lock_id, release_reason=lock_pb2.LOCK_RELEASE_REASON_SAVE, holder="bob"
    )
    for entry in (acquired, created, released):
        assert entry.actor.subject == "bob"
        assert entry.actor.display_name == "Bob"
        assert entry.session_id == writer.session_id
    assert created.draft_created.message == "shorter"
    assert [field.field for field in created.draft_created.changed_fields] == ["system_prompt"]


@pytest.mark.parametrize("subject", ["alice", "bob"])
async def test_a_session_hears_of_its_own_doings_too(tabs: Tabs, project: str, subject: str) -> None:
    """One log for everybody: the reply's position is that of an entry on the same stream."""
    tab = await tabs.open(subject, project)
    got = await tab.acquire()
    entry = await tab.until_entry("lock_acquired", lock_id=got.lock.lock_id)
    assert entry.position == got.position


async def test_projects_do_not_hear_of_each_other(tabs: Tabs, alice: Foundry, project: str) -> None:
    other = await alice.projects.create("Another")
    here, there = await tabs.open("alice", project), await tabs.open("alice", other.project_id)
    await there.acquire()
    await there.show(activity="typing")
    await here.acquire("topology")
    mine = await here.until_entry("lock_acquired")
    assert mine.lock_acquired.field == "topology"
    assert all(
        shown.session_id == here.session_id
        for event in here.events
        if event.HasField("presence")
        for shown in event.presence.sessions
    )
