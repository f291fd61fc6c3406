"""The presence lane: who is here and at what; a snapshot on every attach, then differences; the latest wins."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from coreason.foundry.v1.session_event_pb2 import PresenceUpdate
from foundry.client import Foundry
from foundry.managers.locks import LockManager
from tests.backends import commits_in_a_thread
from tests.session.tab import Tab, Tabs, request
from tests.support import PATIENCE_S, project_with

LONG = {"seconds": 20}


async def test_an_attach_gets_everybody_with_what_they_are_at(tabs: Tabs, project: str) -> None:
    bob = await tabs.open("bob", project, client={"name": "studio", "version": "2"})
    await bob.show(focus_field="system_prompt", cursor="3:14", activity="typing")
    await bob.until_presence(_shows("typing"))
    carol = await tabs.open("carol", project)
    snapshot = next(event.presence for event in carol.events if event.HasField("presence"))
    assert snapshot.snapshot
    shown = {here.session_id: here for here in snapshot.sessions}
    assert shown.keys() == {bob.session_id, carol.session_id}
    of_bob = shown[bob.session_id]
    assert (of_bob.principal.subject, of_bob.principal.display_name) == ("bob", "Bob")
    assert (of_bob.focus_field, of_bob.cursor, of_bob.activity) == ("system_prompt", "3:14", "typing")
    assert of_bob.client_name == "studio"
    assert of_bob.open_time.seconds > 0
    assert not of_bob.reconnecting


async def test_of_what_a_session_shows_the_latest_wins(tabs: Tabs, project: str) -> None:
    """Everybody ends up with the last state, and a state replaces the one before as a whole."""
    watcher, bob, carol = [await tabs.open(subject, project) for subject in ("alice", "bob", "carol")]

    async def type_away(tab: Tab) -> None:
        for column in range(30):
            await tab.show(focus_field="system_prompt", cursor=f"1:{column}")
        await tab.show(focus_field="topology", activity=f"{tab.subject} is done")

    await asyncio.gather(type_away(bob), type_away(carol))
    for tab in (bob, carol):
        await watcher.until_presence(_shows(f"{tab.subject} is done"))
    here = watcher.present
    for tab in (bob, carol):
        last = here[tab.session_id]
        assert (last.focus_field, last.cursor, last.activity) == ("topology", "", f"{tab.subject} is done")


def _activities(tab: Tab, of: Tab) -> list[str]:
    """What a tab was told of what another one does, in order."""
    shown = [here for event in tab.events for here in event.presence.sessions if here.session_id == of.session_id]
    return [here.activity for here in shown if here.activity]


def _shows(activity: str) -> Callable[[PresenceUpdate], bool]:
    return lambda update: any(here.activity == activity for here in update.sessions)


async def test_who_types_fast_is_shown_now_and_then(tabs: Tabs, project: str) -> None:
    """States in between may be skipped: a session cannot flood the others, and the last one always arrives."""
    watcher, bob = await tabs.open("alice", project), await tabs.open("bob", project)
    for column in range(50):
        await bob.show(activity=f"at column {column}")
    await watcher.until_presence(_shows("at column 49"))
    told = _activities(watcher, bob)
    assert told[-1] == "at column 49"
    assert len(told) < 50


async def test_showing_the_same_again_tells_nobody(tabs: Tabs, project: str) -> None:
    watcher, bob, carol = [await tabs.open(subject, project) for subject in ("alice", "bob", "carol")]
    await bob.show(activity="typing")
    await watcher.until_presence(_shows("typing"))
    await bob.show(activity="typing")
    # What carol shows at last is shown after that, since she, too, has to wait her turn.
    await carol.show(activity="reading")
    await watcher.until_presence(_shows("reading"))
    await carol.show(activity="gone for lunch")
    await watcher.until_presence(_shows("gone for lunch"))
    assert _activities(watcher, bob) == ["typing"]


async def test_differences_are_numbered_without_a_gap_and_fold_to_who_is_here(tabs: Tabs, project: str) -> None:
    watcher = await tabs.open("alice", project)
    bob = await tabs.open("bob", project)
    carol = await tabs.open("carol", project)
    await bob.show(focus_field="topology", activity="looking")
    await bob.until_presence(_shows("looking"))
    await bob.leave()
    await watcher.until_presence(lambda update: bob.session_id in update.gone_session_ids)
    await carol.show(activity="reading")
    for tab in (watcher, carol):
        await tab.until_presence(_shows("reading"))
    here = watcher.present
    assert here.keys() == {watcher.session_id, carol.session_id}
    assert carol.present == here


async def test_a_session_in_its_grace_is_shown_as_reconnecting_until_it_is_back(tabs: Tabs, project: str) -> None:
    watcher = await tabs.open("alice", project)
    first = await tabs.open("bob", project, disconnect_grace=LONG)
    ticket = first.ticket()
    await first.cancel()
    await watcher.until_presence(
        lambda update: any(here.session_id == first.session_id and here.reconnecting for here in update.sessions)
    )
    late = await tabs.open("carol", project)
    assert late.present[first.session_id].reconnecting
    since = len(watcher.events)
    await tabs.open("bob", project, resume=ticket)
    await watcher.until_presence(
        lambda update: any(here.session_id == first.session_id and not here.reconnecting for here in update.sessions),
        since=since,
    )
    joined = [subject for event in watcher.events for subject in event.presence.joined_subjects]
    left = [subject for event in watcher.events for subject in event.presence.left_subjects]
    assert (joined.count("bob"), left) == (1, [])


async def test_who_comes_in_while_another_is_lost_is_told_so(tabs: Tabs, alice: Foundry) -> None:
    """Also the first to come in when the last is being lost: by the snapshot, or by a difference after it."""
    for _ in range(12):
        project = await project_with(alice, "bob", "carol")
        bob = await tabs.open("bob", project, disconnect_grace=LONG)
        carol = tabs.raw("carol")
        with commits_in_a_thread():
            await asyncio.gather(bob.cancel(), carol.open(project))
        await carol.until_presence(lambda update: any(here.reconnecting for here in update.sessions))


async def test_when_the_grace_is_over_the_session_is_gone(tabs: Tabs, project: str) -> None:
    watcher = await tabs.open("alice", project)
    bob = await tabs.open("bob", project, disconnect_grace={"nanos": 300_000_000})
    await bob.cancel()
    gone = await watcher.until_presence(lambda update: bob.session_id in update.gone_session_ids)
    assert list(gone.left_subjects) == ["bob"]
    assert watcher.present.keys() == {watcher.session_id}


async def test_who_is_cut_off_in_the_midst_of_typing_is_not_shown_again(
    tabs: Tabs, project: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Lost while a command ran, and while what it was at last still waited to be shown."""
    watcher, bob, carol = [await tabs.open(subject, project) for subject in ("alice", "bob", "carol")]
    held = asyncio.Event()

    async def hold(*_: object, **__: object) -> None:
        held.set()
        await asyncio.Event().wait()

    monkeypatch.setattr(LockManager, "renew", hold)
    await bob.send(request(100, update_presence={"activity": "typing"}))
    await watcher.until_presence(_shows("typing"))
    await bob.send(request(101, update_presence={"activity": "still typing"}))
    await bob.send(request(102, touch={"field": "system_prompt", "fencing_token": 1}))
    async with asyncio.timeout(PATIENCE_S):
        await held.wait()
    # What carol shows at last waits for its turn as what bob shows does, and for longer.
    await carol.show(activity="reading")
    await bob.cancel()
    await watcher.until_presence(lambda update: bob.session_id in update.gone_session_ids)
    await carol.show(activity="gone for lunch")
    await watcher.until_presence(_shows("gone for lunch"))
    assert watcher.present.keys() == {watcher.session_id, carol.session_id}
    late = await tabs.open("alice", project)
    assert late.present.keys() == {watcher.session_id, carol.session_id, late.session_id}


async def test_presence_is_not_in_the_log(tabs: Tabs, project: str) -> None:
    tab = await tabs.open("bob", project)
    before = (await tab.command(heartbeat={})).position
    await tab.show(activity="typing")
    assert (await tab.command(heartbeat={})).position == before
