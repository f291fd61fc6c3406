"""Who may end a session, what a session loses with its principal's rights, and how many there may be."""

from __future__ import annotations

import grpc
import pytest

from coreason.foundry.v1 import audit_pb2, lock_pb2, project_pb2
from foundry.client import AccessDenied, Foundry, NotFound
from tests.session.conftest import with_settings
from tests.session.tab import TOKEN_TTL_S, Tab, Tabs

_AGENT = {"kind": "agent", "on_behalf_of": "bob"}


async def _assert_ended(tab: Tab, code: grpc.StatusCode, reason: str) -> None:
    ending = await tab.ended()
    assert (ending.code, ending.reason) == (code, reason)
    assert ending.details == {"session_id": tab.session_id}


@pytest.mark.parametrize("who", ["themselves", "the owner"])
async def test_a_session_is_ended_by_its_own_or_by_an_owner(
    tabs: Tabs, alice: Foundry, bob: Foundry, project: str, who: str
) -> None:
    """Its stream is told not to come back; its locks are free; who did it and why is in the log."""
    watcher = await tabs.open("carol", project)
    tab = await tabs.open("bob", project, disconnect_grace={"seconds": 20})
    got = await tab.acquire()
    by = {"themselves": bob, "the owner": alice}[who]
    await by.sessions.end(project, tab.session_id, reason="left open over lunch")
    await _assert_ended(tab, grpc.StatusCode.ABORTED, "SESSION_ENDED")
    released = await watcher.until_entry("lock_released", lock_id=got.lock.lock_id)
    assert released.lock_released.release_reason == lock_pb2.LOCK_RELEASE_REASON_FORCED
    closed = await watcher.until_entry("session_closed", session_id=tab.session_id)
    assert closed.session_closed.close_reason == audit_pb2.SESSION_CLOSE_REASON_ENDED
    assert closed.reason == "left open over lunch"
    assert closed.actor.subject == {"themselves": "bob", "the owner": "alice"}[who]
    with pytest.raises(NotFound):
        await by.sessions.end(project, tab.session_id)


@pytest.mark.parametrize(
    ("who", "reason"),
    [
        ({"subject": "mallory"}, "PROJECT_ACCESS_DENIED"),
        ({"subject": "carol"}, "ROLE_TOO_LOW"),
        ({"subject": "robot", "kind": "agent"}, "HUMAN_REQUIRED"),
        ({"subject": "batch", "kind": "service"}, "HUMAN_REQUIRED"),
    ],
    ids=["a stranger", "an editor", "an agent with the role OWNER", "a service with the role OWNER"],
)
async def test_nobody_else_ends_a_session(
    tabs: Tabs, alice: Foundry, project: str, who: dict[str, str], reason: str
) -> None:
    await alice.projects.update(project, policy=project_pb2.Policy(agent_access=project_pb2.AGENT_ACCESS_EDIT))
    for owner in ("robot", "batch"):
        await alice.projects.set_member(project, owner, project_pb2.ROLE_OWNER)
    tab = await tabs.open("bob", project)
    async with tabs.server.connect(**who) as other:
        with pytest.raises(AccessDenied) as denied:
            await other.sessions.end(project, tab.session_id)
    assert denied.value.reason == reason
    assert (await tab.acquire()).lock.session_id == tab.session_id


async def test_a_session_of_another_project_is_not_found(tabs: Tabs, alice: Foundry, project: str) -> None:
    other = await alice.projects.create("Another")
    tab = await tabs.open("bob", project)
    with pytest.raises(NotFound):
        await alice.sessions.end(other.project_id, tab.session_id)


async def test_a_removed_members_sessions_end(tabs: Tabs, alice: Foundry, project: str) -> None:
    """All of them, also one whose stream is lost and that waits for its grace; others' stay."""
    watcher = await tabs.open("carol", project)
    tab, lost = [await tabs.open("bob", project, disconnect_grace={"seconds": 20}) for _ in range(2)]
    got, other = await tab.acquire(), await lost.acquire("topology")
    await lost.cancel()
    await watcher.until_presence(lambda update: any(here.reconnecting for here in update.sessions))
    await alice.projects.remove_member(project, "bob")
    await _assert_ended(tab, grpc.StatusCode.PERMISSION_DENIED, "ACCESS_LOST")
    for lock in (got.lock, other.lock):
        released = await watcher.until_entry("lock_released", lock_id=lock.lock_id)
        assert released.lock_released.release_reason == lock_pb2.LOCK_RELEASE_REASON_ACCESS_LOST
    for session_id in (tab.session_id, lost.session_id):
        closed = await watcher.until_entry("session_closed", session_id=session_id)
        assert closed.session_closed.close_reason == audit_pb2.SESSION_CLOSE_REASON_ACCESS_LOST
    assert (await watcher.acquire()).lock.fencing_token == got.lock.fencing_token + 1


async def test_agents_are_sent_away_when_policy_denies_them(tabs: Tabs, alice: Foundry, project: str) -> None:
    """``agent_access`` DENY ends the sessions of agents, and of nobody else; a new one is refused."""
    edit = project_pb2.Policy(agent_access=project_pb2.AGENT_ACCESS_EDIT)
    await alice.projects.update(project, policy=edit)
    await alice.projects.set_member(project, "robot", project_pb2.ROLE_EDITOR)
    agent, person = await tabs.open("robot", project, token=_AGENT), await tabs.open("bob", project)
    got = await agent.acquire()
    await alice.projects.update(project, policy=project_pb2.Policy(agent_access=project_pb2.AGENT_ACCESS_DENY))
    await _assert_ended(agent, grpc.StatusCode.PERMISSION_DENIED, "ACCESS_LOST")
    released = await person.until_entry("lock_released", lock_id=got.lock.lock_id)
    assert released.lock_released.release_reason == lock_pb2.LOCK_RELEASE_REASON_ACCESS_LOST
    assert (await person.acquire()).lock.fencing_token == got.lock.fencing_token + 1
    again = tabs.raw("robot", token=_AGENT)
    with pytest.raises(Exception, match="AGENT_ACCESS_DENIED"):
        await again.open(project)


async def test_agents_that_may_only_suggest_lose_their_locks_and_stay(tabs: Tabs, alice: Foundry, project: str) -> None:
    await alice.projects.update(project, policy=project_pb2.Policy(agent_access=project_pb2.AGENT_ACCESS_EDIT))
    await alice.projects.set_member(project, "robot", project_pb2.ROLE_EDITOR)
    agent = await tabs.open("robot", project, token=_AGENT)
    got = await agent.acquire()
    rules = project_pb2.Policy(agent_access=project_pb2.AGENT_ACCESS_SUGGEST_ONLY)
    await alice.projects.update(project, policy=rules)
    await agent.until_entry(
        "lock_released", lock_id=got.lock.lock_id, release_reason=lock_pb2.LOCK_RELEASE_REASON_ACCESS_LOST
    )
    assert (await agent.acquire_refused()).reason == "AGENT_ACCESS_DENIED"
    await agent.show(activity="reading")


async def test_who_becomes_a_viewer_loses_locks_and_watches_on(tabs: Tabs, alice: Foundry, project: str) -> None:
    tab = await tabs.open("bob", project)
    got = await tab.acquire()
    await alice.projects.set_member(project, "bob", project_pb2.ROLE_VIEWER)
    await tab.until_entry(
        "lock_released", lock_id=got.lock.lock_id, release_reason=lock_pb2.LOCK_RELEASE_REASON_ACCESS_LOST
    )
    refusal = await tab.acquire_refused()
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.PERMISSION_DENIED, "ROLE_TOO_LOW")


async def test_a_removed_member_cannot_come_back_with_the_secret(tabs: Tabs, alice: Foundry, project: str) -> None:
    tab = await tabs.open("bob", project, disconnect_grace={"seconds": 20})
    ticket = tab.ticket()
    await alice.projects.remove_member(project, "bob")
    await tab.ended()
    again = tabs.raw("bob")
    with pytest.raises(Exception, match="PROJECT_ACCESS_DENIED"):
        await again.open(project, resume=ticket)


@with_settings(limits={"sessions_per_project_max": 2})
async def test_sessions_in_a_project_are_bounded_and_a_leaving_one_makes_room(
    tabs: Tabs, alice: Foundry, project: str
) -> None:
    first, second = await tabs.open("alice", project), await tabs.open("bob", project, tab_id="tab-7")
    third = tabs.raw("carol", token={"ttl_seconds": TOKEN_TTL_S})
    with pytest.raises(Exception, match="LIMIT_EXCEEDED"):
        await third.open(project)
    ending = await third.ended()
    assert ending.code == grpc.StatusCode.RESOURCE_EXHAUSTED
    assert ending.details == {"limit_name": "sessions in a project", "limit": "2"}
    # Coming back, superseding oneself and another project are not one more.
    again = await tabs.open("bob", project, resume=second.ticket())
    await tabs.open("bob", project, tab_id="tab-7")
    assert (await again.ended()).reason == "SESSION_SUPERSEDED"
    other = await alice.projects.create("Another")
    await tabs.open("alice", other.project_id)
    await first.leave()
    assert (await tabs.open("carol", project)).session_id
