"""Sessions and users: two tabs are two sessions and one user, and a tab that comes again takes its own place."""

from __future__ import annotations

import asyncio

import grpc
import pytest

from coreason.foundry.v1 import audit_pb2, lock_pb2
from foundry.client import Foundry
from tests.backends import commits_in_a_thread
from tests.session.tab import StreamOverError, Tab, Tabs
from tests.support import project_with


def _movements(tab: Tab) -> tuple[list[str], list[str]]:
    """Subjects that joined, and that left, as a tab was told."""
    updates = [event.presence for event in tab.events if event.HasField("presence") and not event.presence.snapshot]
    joined = [subject for update in updates for subject in update.joined_subjects]
    return joined, [subject for update in updates for subject in update.left_subjects]


async def test_two_tabs_of_one_person_are_two_sessions_and_one_user(tabs: Tabs, alice: Foundry, project: str) -> None:
    """A user joins with the first session and leaves with the last; nobody is news to themselves."""
    watcher = await tabs.open("alice", project)
    one = await tabs.open("bob", project, tab_id="one")
    two = await tabs.open("bob", project, tab_id="two")
    assert one.session_id != two.session_id
    await watcher.until_presence(lambda update: two.session_id in {here.session_id for here in update.sessions})
    listed = [session.session_id async for session in alice.sessions.list(project)]
    assert listed == [watcher.session_id, one.session_id, two.session_id]

    await one.leave()
    first_gone = await watcher.until_presence(lambda update: one.session_id in update.gone_session_ids)
    assert list(first_gone.left_subjects) == []
    await two.leave()
    last_gone = await watcher.until_presence(lambda update: two.session_id in update.gone_session_ids)
    assert list(last_gone.left_subjects) == ["bob"]
    assert _movements(watcher) == (["bob"], ["bob"])


async def test_a_lock_belongs_to_a_tab_and_not_to_its_person(tabs: Tabs, project: str) -> None:
    one = await tabs.open("bob", project)
    two = await tabs.open("bob", project)
    other = await tabs.open("alice", project)
    got = await one.acquire()
    mine, theirs = await two.acquire_refused(), await other.acquire_refused()
    assert (mine.code, mine.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "LOCK_HELD")
    assert mine.details == {
        "field": "system_prompt",
        "holder": "bob",
        "holder_name": "Bob",
        "holder_kind": "HUMAN",
        "session_id": one.session_id,
        "fencing_token": "1",
        "same_principal": "true",
    }
    assert theirs.details == mine.details | {"same_principal": "false"}
    lost = await two.refused(release_lock={"field": "system_prompt", "fencing_token": got.lock.fencing_token})
    assert (lost.reason, lost.details["session_id"]) == ("LOCK_LOST", one.session_id)


@pytest.mark.parametrize("grace", [{}, {"seconds": 20}], ids=["without grace", "with grace"])
async def test_a_new_stream_with_the_same_tab_id_supersedes_the_older_one(
    tabs: Tabs, project: str, grace: dict[str, int]
) -> None:
    """The older one is told not to come back, and its locks are free at once, whatever grace it had."""
    watcher = await tabs.open("alice", project)
    older = await tabs.open("bob", project, tab_id="tab-7", disconnect_grace=grace)
    got = await older.acquire()
    newer = await tabs.open("bob", project, tab_id="tab-7")

    ending = await older.ended()
    assert (ending.code, ending.reason) == (grpc.StatusCode.ABORTED, "SESSION_SUPERSEDED")
    assert ending.details == {"session_id": older.session_id}
    released = await watcher.until_entry("lock_released", lock_id=got.lock.lock_id)
    assert released.lock_released.release_reason == lock_pb2.LOCK_RELEASE_REASON_STREAM_GONE
    closed = await watcher.until_entry("session_closed", session_id=older.session_id)
    assert closed.session_closed.close_reason == audit_pb2.SESSION_CLOSE_REASON_SUPERSEDED
    assert (await newer.acquire()).lock.fencing_token == got.lock.fencing_token + 1


@pytest.mark.parametrize("other", ["another tab", "no tab", "another person", "another project"])
async def test_only_the_same_tab_of_the_same_person_in_the_same_project_is_superseded(
    tabs: Tabs, alice: Foundry, project: str, other: str
) -> None:
    older = await tabs.open("bob", project, tab_id="" if other == "no tab" else "tab-7")
    await older.acquire()
    subject = "carol" if other == "another person" else "bob"
    where = await project_with(alice, "bob", name="Another") if other == "another project" else project
    tab_id = {"another tab": "tab-8", "no tab": ""}.get(other, "tab-7")
    await tabs.open(subject, where, tab_id=tab_id)
    assert (await older.acquire()).lock.fencing_token == 1  # still there, and still its own


async def test_of_many_streams_that_open_one_tab_at_once_exactly_one_stays(
    tabs: Tabs, alice: Foundry, project: str
) -> None:
    """Whatever falls into one transaction: the others are told that they were superseded, none outlives its session."""
    crowd = [tabs.raw("bob") for _ in range(8)]
    with commits_in_a_thread():
        opened = await asyncio.gather(*(tab.open(project, tab_id="tab-7") for tab in crowd), return_exceptions=True)
    assert not [other for other in opened if isinstance(other, Exception) and not isinstance(other, StreamOverError)]
    [stays] = [session.session_id async for session in alice.sessions.list(project)]
    for tab in crowd:
        if tab.session_id == stays:
            assert (await tab.acquire()).lock.session_id == stays
        else:
            assert (await tab.ended()).reason == "SESSION_SUPERSEDED"
    assert stays in {tab.session_id for tab in crowd}
    last = await tabs.open("alice", project)
    await last.until(lambda _: last.present.keys() == {stays, last.session_id})
