"""Locks of a session: the same by command and by RPC, asked back after a blip, alive as long as the stream."""

from __future__ import annotations

import asyncio

import grpc
import pytest

from coreason.foundry.v1 import lock_pb2
from foundry.client import Foundry, LockHeld, LockLost, SessionClosed
from tests.session.tab import Tabs


async def test_an_acquire_says_what_the_field_holds_now(tabs: Tabs, alice: Foundry, project: str) -> None:
    """Nobody starts typing on old text: version and hash of the field, and the head, come with the grant."""
    tab = await tabs.open("bob", project)
    empty = await tab.acquire()
    assert (empty.field_version, empty.field_sha256, empty.head_version) == (0, "", 0)
    await tab.release(empty.lock)
    await alice.drafts.save(project, {"system_prompt": "one"}, base_version=0)
    second = await alice.drafts.save(project, {"system_prompt": "two"}, base_version=1)
    await alice.drafts.save(project, {"notes/a": "other"}, base_version=2)
    got = await tab.acquire()
    assert (got.field_version, got.head_version) == (2, 3)
    assert got.field_sha256 == second.draft.changed_fields[0].after_sha256
    assert got.position.sequence == (await tab.until_entry("lock_acquired", lock_id=got.lock.lock_id)).position.sequence


async def test_acquiring_again_gives_the_same_grant(tabs: Tabs, project: str) -> None:
    tab = await tabs.open("bob", project)
    got = await tab.acquire(purpose="tone")
    again = await tab.acquire(purpose="something else")
    assert again.lock == got.lock
    await tab.until_entry("lock_acquired")
    assert (await tab.command(heartbeat={})).position == got.position  # and nothing more was logged


async def test_of_many_who_acquire_at_once_exactly_one_gets_the_lock(tabs: Tabs, project: str) -> None:
    crowd = [await tabs.open(subject, project) for subject in ("alice", "bob", "carol", "alice", "bob", "carol")]
    for fence in range(1, 6):
        replies = await asyncio.gather(*(tab.reply(acquire_lock={"field": "topology"}) for tab in crowd))
        granted = [reply.acquired.lock for reply in replies if reply.HasField("acquired")]
        assert [lock.fencing_token for lock in granted] == [fence]
        holder = next(tab for tab in crowd if tab.session_id == granted[0].session_id)
        await holder.release(granted[0])


@pytest.mark.parametrize("meanwhile", ["nobody", "held and given back", "held"])
async def test_a_lock_is_given_back_after_a_blip_only_if_nobody_held_the_field(
    tabs: Tabs, project: str, meanwhile: str
) -> None:
    """``if_unchanged_since``: a client that lost its field knows whether its text is still good."""
    first, other = await tabs.open("bob", project), await tabs.open("alice", project)
    got = await first.acquire()
    await first.cancel()
    await other.until_entry("lock_released", lock_id=got.lock.lock_id)
    if meanwhile != "nobody":
        theirs = await other.acquire()
        if meanwhile == "held and given back":
            await other.release(theirs.lock)
    back = await tabs.open("bob", project)
    if meanwhile == "nobody":
        again = await back.acquire(if_unchanged_since=got.lock.fencing_token)
        assert again.lock.fencing_token == got.lock.fencing_token + 1
        return
    refusal = await back.acquire_refused(if_unchanged_since=got.lock.fencing_token)
    assert refusal.code == grpc.StatusCode.FAILED_PRECONDITION
    if meanwhile == "held":
        assert (refusal.reason, refusal.details["holder"]) == ("LOCK_HELD", "alice")
    else:
        assert refusal.reason == "LOCK_INTERVENED"
        expected = {"field": "system_prompt", "if_unchanged_since": "1", "current_fencing_token": "2"}
        assert refusal.details == expected
        assert (await back.acquire()).lock.fencing_token == 3


@pytest.mark.parametrize("how", ["leave", "cancel"])
async def test_a_lock_that_was_acquired_by_rpc_lives_and_dies_with_the_stream(
    tabs: Tabs, alice: Foundry, bob: Foundry, project: str, how: str
) -> None:
    """The stream has no secret powers: what an RPC takes for a session is the session's."""
    tab, watcher = await tabs.open("bob", project), await tabs.open("alice", project)
    got = await bob.locks.acquire(project, "system_prompt", tab.session_id, purpose="by RPC")
    with pytest.raises(LockHeld) as held:
        await alice.locks.acquire(project, "system_prompt", watcher.session_id)
    assert held.value.session_id == tab.session_id
    saved = await tab.save(got, "saved on the stream", keep_locks=True)
    assert saved.draft.session_id == tab.session_id
    await (tab.leave() if how == "leave" else tab.cancel())
    released = await watcher.until_entry("lock_released", lock_id=got.lock.lock_id)
    expected = {"leave": lock_pb2.LOCK_RELEASE_REASON_LEAVE, "cancel": lock_pb2.LOCK_RELEASE_REASON_STREAM_GONE}
    assert released.lock_released.release_reason == expected[how]
    with pytest.raises(SessionClosed):
        await bob.locks.acquire(project, "system_prompt", tab.session_id)


async def test_a_lock_that_was_acquired_on_the_stream_can_be_used_by_rpc(
    tabs: Tabs, bob: Foundry, project: str
) -> None:
    tab = await tabs.open("bob", project)
    got = await tab.acquire()
    token = lock_pb2.LockToken(field="system_prompt", fencing_token=got.lock.fencing_token)
    changes = {"system_prompt": "by RPC"}
    saved = await bob.drafts.save(project, changes, base_version=0, session_id=tab.session_id, locks=[token])
    assert [lock.lock_id for lock in saved.released_locks] == [got.lock.lock_id]
    with pytest.raises(LockLost):
        await bob.locks.release(project, "system_prompt", tab.session_id, got.lock.fencing_token)


async def test_nobody_else_may_use_a_session(tabs: Tabs, alice: Foundry, project: str) -> None:
    """Not the owner either: a session is its principal's own."""
    tab = await tabs.open("bob", project)
    with pytest.raises(SessionClosed):
        await alice.locks.acquire(project, "system_prompt", tab.session_id)
    got = await tab.acquire()
    with pytest.raises(SessionClosed):
        await alice.locks.release(project, "system_prompt", tab.session_id, got.lock.fencing_token)


async def test_a_stale_fence_is_refused(tabs: Tabs, project: str) -> None:
    """A holder that lost its lock without noticing can never write, release or touch."""
    tab = await tabs.open("bob", project)
    old = await tab.acquire()
    await tab.release(old.lock)
    new = await tab.acquire()
    stale = {"field": "system_prompt", "fencing_token": old.lock.fencing_token}
    change = {"changes": [{"field": "system_prompt", "text": "late"}], "locks": [stale]}
    for command in ({"release_lock": stale}, {"touch": stale}, {"create_draft": change}):
        refusal = await tab.refused(**command)
        assert refusal.reason == "LOCK_LOST"
        assert refusal.details["current_fencing_token"] == str(new.lock.fencing_token)
    unlocked = await tab.refused(create_draft={"changes": [{"field": "notes/a", "text": "without a lock"}]})
    assert unlocked.reason == "LOCK_REQUIRED"


@pytest.mark.parametrize("name", ["project_id", "session_id"])
async def test_a_save_on_the_stream_is_the_streams_own(tabs: Tabs, project: str, name: str) -> None:
    tab = await tabs.open("bob", project)
    got = await tab.acquire()
    own = {"project_id": project, "session_id": tab.session_id}
    assert (await tab.save(got, "named", **{name: own[name]}, keep_locks=True)).draft.version_number == 1
    other = {name: "01994b7e-0000-7000-8000-000000000001"}
    refusal = await tab.refused(create_draft={"changes": [{"field": "system_prompt", "text": "x"}], **other})
    assert (refusal.reason, refusal.details["field"]) == ("INVALID_ARGUMENT", f"create_draft.{name}")
