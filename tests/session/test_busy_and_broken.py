"""A client that waits for the server is not silent, and what breaks inside leaves no session behind."""

from __future__ import annotations

import asyncio
import contextlib
import sys
import uuid
from collections.abc import Iterator, Sequence
from functools import partial
from subprocess import DEVNULL, PIPE, Popen
from typing import Any, ClassVar

import grpc
import psutil
import pytest

from coreason.foundry.v1 import draft_pb2, session_command_pb2
from foundry import app
from foundry.client import Foundry
from foundry.domain.entry import Entry, Event
from foundry.domain.events import Committed
from foundry.managers import hub
from foundry.managers.channel import Channel
from foundry.managers.feed import Feed
from tests import backends
from tests.session.conftest import with_settings
from tests.session.tab import Refusal, Tab, Tabs, request, until_here
from tests.support import PATIENCE_S, RunningServer


class LossyFeed(Feed):
    """Loses the entries of some kinds."""

    losing: ClassVar[frozenset[Event]] = frozenset()

    def publish(self, news: Sequence[Committed]) -> None:
        super().publish([item for item in news if not isinstance(item, Entry) or item.new.event not in self.losing])


@pytest.fixture(autouse=True)
def lossy_feed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The feed of the server; it loses nothing until told to."""
    monkeypatch.setattr(app, "Feed", LossyFeed)
    monkeypatch.setattr(LossyFeed, "losing", frozenset())


@contextlib.contextmanager
def _unreadable_fields(server: RunningServer) -> Iterator[None]:
    """Spoil the database, so that every snapshot fails, and mend it again."""
    execute = partial(backends.current.execute, server.data_dir)
    execute("UPDATE field SET kind = 'spoilt ' || kind", ())
    try:
        yield
    finally:
        execute("UPDATE field SET kind = substr(kind, 8)", ())


# --- busy --------------------------------------------------------------------------------------------------------


@with_settings(liveness={"silence_limit_s": 2.0, "tick_interval_s": 0.05}, postgres={"lock_limit_s": 20.0})
async def test_a_client_whose_command_takes_long_is_not_silent(
    tabs: Tabs, project: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it sends meanwhile lies unread, and that is not its silence; one that says nothing is closed as ever."""
    monkeypatch.setattr(hub, "_SWEEP_S", 0.1)
    busy, silent = await tabs.open("bob", project), await tabs.open("carol", project)
    await busy.command(heartbeat={})
    with backends.current.writes_blocked(tabs.server.data_dir):
        since = begin = len(busy.events)
        await busy.send(request(90, acquire_lock={"field": "system_prompt"}))
        for number in range(3):
            await busy.send(request(91 + number, heartbeat={}))
        # A tick comes with every sweep, and sweeps are 0.1 s apart: this is longer than the limit.
        for _ in range(24):
            tick = await busy.until(lambda event: event.HasField("tick"), since=since)
            since = busy.events.index(tick, since) + 1
        assert not any(event.HasField("reply") for event in busy.events[begin:])
    acquired = await busy.until(lambda event: event.reply.command_id == 90)
    assert acquired.reply.acquired.lock.session_id == busy.session_id
    await busy.until(lambda event: event.reply.command_id == 93)
    ended = asyncio.create_task(silent.ended())
    while not ended.done():
        await busy.command(heartbeat={})
        await asyncio.wait({ended}, timeout=0.1)
    assert (await ended).reason == "SESSION_SILENT"
    assert (await busy.touch(acquired.reply.acquired.lock)).session_id == busy.session_id


async def test_presence_that_comes_faster_than_it_is_shown_is_joined(tabs: Tabs, project: str) -> None:
    """Ten times a second at most, whatever a client sends; the last state arrives."""
    watcher, bob = await tabs.open("alice", project), await tabs.open("bob", project)
    loop, count = asyncio.get_running_loop(), 500
    began_s = loop.time()
    for column in range(count):
        await bob.send(request(1_000 + column, update_presence={"activity": f"at {column}"}))
    await watcher.until_presence(lambda update: any(here.activity == f"at {count - 1}" for here in update.sessions))
    tenths = (loop.time() - began_s) * 10
    told = [here.activity for event in watcher.events for here in event.presence.sessions if here.activity]
    assert len(told) <= tenths + 2
    assert told[-1] == f"at {count - 1}"
    await bob.until(lambda event: event.reply.command_id == 1_000 + count - 1)
    assert [event.reply.command_id for event in bob.events if event.reply.command_id >= 1_000] == [
        *range(1_000, 1_000 + count)
    ]


# --- broken ------------------------------------------------------------------------------------------------------


async def test_an_open_that_fails_leaves_no_session_behind(tabs: Tabs, alice: Foundry, project: str) -> None:
    """The client is told INTERNAL; the session that was opened for it is closed, by the log and in the list."""
    watcher = await tabs.open("alice", project)
    await alice.drafts.save(project, {"notes/a": "1"}, base_version=0)
    await watcher.until_entry("draft_created")
    since = len(watcher.events)
    with _unreadable_fields(tabs.server):
        unlucky = tabs.raw("bob")
        await unlucky.send(request(1, open={"project_id": project}))
        ending = await unlucky.ended()
    assert (ending.code, ending.reason) == (grpc.StatusCode.INTERNAL, "INTERNAL")
    opened = await watcher.until_entry("session_opened", since=since)
    await watcher.until_entry("session_closed", since=since, session_id=opened.session_id)
    assert [session.session_id async for session in alice.sessions.list(project)] == [watcher.session_id]


@with_settings(fanout={"replay_entries_max": 1})
async def test_a_stream_that_cannot_be_written_ends_as_a_failure(
    tabs: Tabs, alice: Foundry, project: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It needs a snapshot and there is none: INTERNAL, not a good end; and its lock is free."""
    await alice.drafts.save(project, {"notes/a": "1"}, base_version=0)
    tab = await tabs.open("bob", project)
    await tab.acquire("topology")
    publish = Channel.publish
    entries: list[int] = []

    def passes(channel: Channel, event: bytes, *, sequence: int = 0, **about: Any) -> None:
        """The ring has passed everybody, by two entries."""
        if sequence:
            entries.append(sequence)
        if len(entries) == 1:
            return
        publish(channel, event, sequence=sequence, **about)
        channel.base = channel.head + 1
        channel._frames.clear()

    with _unreadable_fields(tabs.server):
        monkeypatch.setattr(Channel, "publish", passes)
        await alice.projects.update(project, description="one")
        await alice.projects.update(project, description="two")
        ending = await tab.ended()
    assert (ending.code, ending.reason) == (grpc.StatusCode.INTERNAL, "INTERNAL")
    await until_here(alice, project)
    assert [lock.field async for lock in alice.locks.list(project)] == []


@pytest.mark.parametrize("lost", [Event.DRAFT_CREATED, Event.LOCK_ACQUIRED], ids=str)
async def test_what_the_bus_loses_is_read_from_the_log(
    tabs: Tabs, alice: Foundry, project: str, lost: Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The bus only rings: every session gets every entry, once and in order."""
    watchers = [await tabs.open(subject, project) for subject in ("alice", "bob", "carol")]
    for version in range(4):
        # Lost every other time: a gap is mended, and what follows it is live again.
        monkeypatch.setattr(LossyFeed, "losing", frozenset({lost} if version % 2 else ()))
        await alice.drafts.save(project, {"notes/a": f"{version}"}, base_version=version)
    last = [entry async for entry in alice.audit.entries(project)][-1].position.sequence
    for watcher in watchers:
        await watcher.until(lambda event: event.entry.position.sequence == last)
        assert watcher.sequences == list(range(watcher.sequences[0], last + 1))
        assert "resync" not in watcher.kinds


_POOL = """
import asyncio, os
from foundry.managers.workers import INLINE_BYTES_MAX, Workers

async def main():
    print(await Workers().run(INLINE_BYTES_MAX, os.getpid), flush=True)
    await asyncio.Event().wait()

if __name__ == "__main__":
    asyncio.run(main())
"""


@pytest.fixture
def pool() -> Iterator[tuple[Popen[bytes], psutil.Process]]:
    """A process with a worker, and the worker."""
    with Popen([sys.executable, "-c", _POOL], stdout=PIPE, stderr=DEVNULL) as parent:
        try:
            assert parent.stdout
            worker = psutil.Process(int(parent.stdout.readline()))
            yield parent, worker
            with contextlib.suppress(psutil.NoSuchProcess):
                worker.kill()
        finally:
            parent.kill()


def test_workers_end_with_a_server_that_is_killed(pool: tuple[Popen[bytes], psutil.Process]) -> None:
    """SIGKILL leaves no time to tell them."""
    parent, worker = pool
    parent.kill()
    parent.wait(PATIENCE_S)
    _, alive = psutil.wait_procs([worker], timeout=PATIENCE_S)
    assert alive == []


# --- coming back -------------------------------------------------------------------------------------------------


async def test_a_save_on_the_stream_that_changed_nothing_answers_the_same_again(
    tabs: Tabs, alice: Foundry, project: str
) -> None:
    """The version that stood then, also when its lock is gone and another version stands now."""
    await alice.drafts.save(project, {"notes/a": "1"}, base_version=0)
    tab = await tabs.open("bob", project)
    got = await tab.acquire("notes/a")
    request_id = str(uuid.uuid4())
    first = await tab.save(got, "1", request_id=request_id)
    assert (first.outcome, first.draft.version_number) == (draft_pb2.SAVE_OUTCOME_NO_CHANGE, 1)
    await alice.drafts.save(project, {"notes/a": "2"}, base_version=1)
    assert await tab.save(got, "1", request_id=request_id) == first


async def _refused(tab: Tab, project: str, ticket: session_command_pb2.Resume) -> Refusal:
    await tab.send(request(1, open={"project_id": project, "resume": ticket}))
    return await tab.ended()


@pytest.mark.parametrize(
    ("how", "reason"), [("superseded", "SESSION_SUPERSEDED"), ("ended", "SESSION_ENDED")], ids=["superseded", "ended"]
)
async def test_who_was_sent_away_for_good_is_told_so_on_coming_back(
    tabs: Tabs, alice: Foundry, project: str, how: str, reason: str
) -> None:
    """A client that missed why its stream ended must not come in again by itself; only the right secret learns it."""
    gone = await tabs.open("bob", project, tab_id="tab-7", disconnect_grace={"seconds": 20})
    ticket = gone.ticket()
    await gone.cancel()
    if how == "superseded":
        await tabs.open("bob", project, tab_id="tab-7")
    else:
        await alice.sessions.end(project, gone.session_id)
    ending = await _refused(tabs.raw("bob"), project, ticket)
    assert (ending.code, ending.reason) == (grpc.StatusCode.ABORTED, reason)
    assert ending.details == {"session_id": gone.session_id}
    ticket.resume_secret = "x" * 43
    assert (await _refused(tabs.raw("bob"), project, ticket)).reason == "RESUME_REFUSED"
