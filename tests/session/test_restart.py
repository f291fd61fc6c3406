"""The server leaves and comes back: sessions keep their locks for a while, and who does not return is closed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest

from coreason.foundry.v1 import lock_pb2, session_command_pb2, session_event_pb2
from coreason.foundry.v1.session_pb2 import ServerEvent
from tests.backends import Backend
from tests.session.conftest import TurnedClock
from tests.session.tab import Tabs
from tests.support import RunningServer, project_with, running_server

#: After a restart nobody is waited for: neither by the next process of one server, nor by the others of several.
_SOON = {"restart_grace_s": 3.0, "replica_renewal_s": 2.0, "replica_silence_s": 10.0, "departure_grace_s": 8.0}


@asynccontextmanager
async def _serving(data_dir: Path, **liveness: float) -> AsyncIterator[Tabs]:
    """A server's life on a data directory."""
    settings: dict[str, Any] = {"liveness": {"drain_s": 0.25, **liveness}}
    async with running_server(data_dir, clock=TurnedClock(), **settings) as running:
        tabs = Tabs(running)
        yield tabs
    await tabs.close()


async def _new_project(server: RunningServer) -> str:
    async with server.connect("alice") as alice:
        return await project_with(alice, "bob", "carol")


async def test_a_leaving_server_tells_its_clients_when_to_come_back(data_dir: Path) -> None:
    """``going_away``, then the status GOING_AWAY, both with the window to come back in."""
    async with _serving(data_dir) as tabs:
        project = await _new_project(tabs.server)
        crowd = [await tabs.open(subject, project) for subject in ("alice", "bob")]
    for tab in crowd:
        ending = await tab.ended()
        assert (ending.code, ending.reason) == (grpc.StatusCode.UNAVAILABLE, "GOING_AWAY")
        assert ending.retry_after_s == 0.25
        assert tab.kinds[-1] == "going_away"
        assert tab.events[-1].going_away.retry_after.ToMilliseconds() == 250


@pytest.mark.parametrize(
    ("grace", "lost_before"),
    [({}, False), ({"seconds": 20}, False), ({"seconds": 20}, True)],
    ids=["without grace", "with grace", "lost before, in its grace"],
)
async def test_a_session_is_resumed_with_its_lock_after_a_restart(
    data_dir: Path, grace: dict[str, int], lost_before: bool
) -> None:
    """A restart is not the client's fault: no grace is needed for it. What was missed is replayed."""
    async with _serving(data_dir) as tabs:
        project = await _new_project(tabs.server)
        watcher = await tabs.open("alice", project)
        tab = await tabs.open("bob", project, disconnect_grace=grace)
        got = await tab.acquire()
        await tab.until_entry("lock_acquired")
        ticket = tab.ticket()
        if lost_before:
            await tab.cancel()
            await watcher.until_presence(lambda update: any(here.reconnecting for here in update.sessions))
    async with _serving(data_dir) as tabs:
        other = await tabs.open("carol", project)
        assert (await other.acquire_refused()).details["fencing_token"] == str(got.lock.fencing_token)
        back = await tabs.open("bob", project, resume=ticket)
        assert back.opened.attachment == session_event_pb2.ATTACHMENT_RESUMED
        assert back.session_id == tab.session_id
        until = back.kinds.index("caught_up")
        missed = [event.entry.position.sequence for event in back.events[:until] if event.HasField("entry")]
        assert missed == list(range(ticket.after.sequence + 1, back.events[until].caught_up.position.sequence + 1))
        again = await back.acquire()
        assert (again.lock.lock_id, again.lock.fencing_token) == (got.lock.lock_id, got.lock.fencing_token)
        assert (await back.save(got, "through a restart")).draft.version_number == 1
        await other.until_entry("draft_created", version_number=1)


async def test_sessions_that_do_not_come_back_are_closed(data_dir: Path, backend: Backend) -> None:
    """After the restart grace, and the log says why; one that came back in time stays."""
    async with _serving(data_dir) as tabs:
        project = await _new_project(tabs.server)
        returning, gone = await tabs.open("bob", project), await tabs.open("carol", project)
        kept, lost = await returning.acquire(), await gone.acquire("topology")
        ticket = returning.ticket()
    session_why, lock_why = backend.why_after_restart
    async with _serving(data_dir, **_SOON) as tabs:
        back = await tabs.open("bob", project, resume=ticket)
        released = await back.until_entry("lock_released", lock_id=lost.lock.lock_id)
        assert released.lock_released.release_reason == lock_why
        closed = await back.until_entry("session_closed", session_id=gone.session_id)
        assert closed.session_closed.close_reason == session_why
        assert (await back.touch(kept.lock)).fencing_token == kept.lock.fencing_token
        late = await tabs.open("carol", project, resume=gone.ticket())
        assert late.opened.attachment == session_event_pb2.ATTACHMENT_REPLAYED
        assert (await late.acquire("topology")).lock.fencing_token == lost.lock.fencing_token + 1


async def test_fences_rise_over_restarts(data_dir: Path) -> None:
    """A fence never goes down, whatever was released by whom and when."""
    project, fences = "", []
    for life in range(3):
        async with _serving(data_dir, **_SOON | {"restart_grace_s": 0.0}) as tabs:
            project = project or await _new_project(tabs.server)
            tab = await tabs.open("bob", project)
            if life:
                await tab.until(_is_free)
            fences.append((await tab.acquire()).lock.fencing_token)
    assert fences == [1, 2, 3]


def _is_free(event: ServerEvent) -> bool:
    return bool(event.entry.lock_released.field) or (event.HasField("snapshot") and not event.snapshot.locks)


async def test_the_position_survives_a_restart(data_dir: Path) -> None:
    """The epoch is the history's and not the process's: a position is good over any number of restarts."""
    async with _serving(data_dir) as tabs:
        project = await _new_project(tabs.server)
        tab = await tabs.open("bob", project)
        at = tab.position
    async with _serving(data_dir):
        pass
    async with _serving(data_dir) as tabs:
        back = await tabs.open("bob", project, resume=session_command_pb2.Resume(after=at))
        assert back.opened.attachment == session_event_pb2.ATTACHMENT_REPLAYED
        assert back.opened.position.epoch == at.epoch


async def test_commands_that_wait_while_the_server_leaves_are_answered_or_cut_off(data_dir: Path) -> None:
    """No command hangs, and what was granted before the end is still held after it."""
    async with _serving(data_dir) as tabs:
        project = await _new_project(tabs.server)
        crowd = [await tabs.open(subject, project) for subject in ("alice", "bob", "carol")]
        asked = [asyncio.create_task(tab.acquire(f"notes/{tab.subject}")) for tab in crowd]
        await asyncio.sleep(0)
    answers = await asyncio.gather(*asked, return_exceptions=True)
    assert not [answer for answer in answers if isinstance(answer, TimeoutError)]
    async with _serving(data_dir) as tabs:
        for tab, answer in zip(crowd, answers, strict=True):
            back = await tabs.open(tab.subject, project, resume=tab.ticket())
            assert back.opened.attachment == session_event_pb2.ATTACHMENT_RESUMED
            if isinstance(answer, lock_pb2.AcquiredLock):
                again = await back.acquire(f"notes/{tab.subject}")
                assert again.lock.fencing_token == answer.lock.fencing_token
