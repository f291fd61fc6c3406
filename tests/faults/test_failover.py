"""Another Postgres takes over: every session ends, everybody comes back, and the log says that its history is another.

What the old one had acknowledged and never passed on is gone, and nobody mistakes the new history for the old.
"""

from __future__ import annotations

import asyncio
import signal
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from tests.faults.cluster import notes_of, saves, session_of
from tests.faults.figures import tell
from tests.faults.recorder import now_ns
from tests.servers.postgres import standby, value_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Iterator

    from tests.faults.cluster import Cluster
    from tests.faults.entries import Entry
    from tests.faults.history import History, Note
    from tests.faults.programs import RecordedClient
    from tests.servers.postgres import PrivateServer

pytestmark = pytest.mark.fault

#: From the promotion until everybody has a session again, seconds: each server looks once a second, clients then wait
#: up to a second, and one that was refused in between up to four.
BACK_S = 8.0
_LAST = "SELECT max(sequence) FROM log_entry WHERE log = $1"


@pytest.fixture
async def follower(cluster: Cluster, own_postgres: PrivateServer) -> AsyncIterator[PrivateServer]:
    """A standby of the cluster's Postgres; the servers know of both."""
    starting = standby(own_postgres)
    second = await asyncio.to_thread(starting.__enter__)
    try:
        cluster.use(own_postgres, second)
        yield second
    finally:
        await asyncio.to_thread(starting.__exit__, None, None, None)
        own_postgres.kill()
        await asyncio.to_thread(own_postgres.start)  # for the next test


async def in_the_new_epoch(*clients: RecordedClient) -> list[float]:
    """Wait until clients are caught up in another epoch; returns when, nanoseconds."""

    async def of(client: RecordedClient) -> float:
        async with asyncio.timeout(45.0):
            while True:
                for note in notes_of(client):
                    if note["note"] == "caught_up" and note["epoch"] > 1:
                        return float(note["ns"])
                await asyncio.sleep(0.05)

    return list(await asyncio.gather(*(of(client) for client in clients)))


async def test_after_a_failover_everybody_begins_anew_in_another_epoch(
    cluster: Cluster, own_postgres: PrivateServer, follower: PrivateServer
) -> None:
    """All sessions are closed as DB_FAILOVER, once; clients come back and get what nobody touched.

    One that its client was leaving when the database went may be closed as that.
    """
    await cluster.serve()
    here = await cluster.client("here", holds="here")
    there = await cluster.client("there", holds="there")
    await cluster.load(2, pause_s=0.1)
    clients = list(cluster.clients)
    held = {session_of(here), session_of(there)}
    await asyncio.to_thread(own_postgres.kill)
    promoted_ns = now_ns()
    await asyncio.to_thread(follower.promote)
    back = await in_the_new_epoch(*clients)
    tell("failover", "back in the new epoch after", [(ns - promoted_ns) / 1e9 for ns in back], BACK_S)
    await saves(here, "here", "mine again")
    await saves(there, "there", "mine again too")
    await cluster.store.grows(30)
    outages = [(float(promoted_ns), max(back))]
    await cluster.judge("failover", outages=outages)
    closed = [it for it in cluster.store.entries if str(it.data.get("close_reason")).endswith("DB_FAILOVER")]
    before = [it for it in cluster.store.entries if cluster.store.ns(it) < promoted_ns]
    was_open = sessions(before, "session_opened") - sessions(before, "session_closed")
    odd = was_open ^ sessions(closed, "session_closed")
    told = [(it.event, dict(it.data)) for it in cluster.store.entries if it.data.get("session_id") in odd]
    assert odd <= was_open & cluster.left, f"those of the old epoch, all of them, and no others: {told}"
    assert was_open >= held, "theirs among them"
    assert len(closed) == len(sessions(closed, "session_closed")), "each of them once"


def sessions(entries: Iterable[Entry], event: str) -> set[str]:
    """The sessions that entries of a kind are about."""
    return {it.data["session_id"] for it in entries if it.event == event}


def without(begin_ns: float, end_ns: float, shared: int, history: History) -> History:
    """A history without what only the lost database told.

    Args:
        begin_ns: What was answered from here on rests on commits that are lost.
        end_ns: From here on it answers nobody; clients may hear of its entries later.
        shared: Sequence number of the last entry that the other database had.
    """
    return replace(
        history,
        operations=[it for it in history.operations if not begin_ns <= it.call_ns <= end_ns],
        notes={process: list(known_to_both(noted, shared)) for process, noted in history.notes.items()},
    )


def known_to_both(notes: Iterable[Note], shared: int) -> Iterator[Note]:
    """Notes without entries of the lost history, and without snapshots that show it."""
    snapshot: list[Note] = []
    for note in notes:
        if note.kind == "snapshot":
            snapshot = [note]
        elif note.data.get("epoch") == 1 and note.data["sequence"] > shared:
            snapshot = []
        else:
            yield from snapshot
            yield note
            snapshot = []


async def test_what_a_failover_lost_is_not_taken_for_what_came_in_its_place(
    cluster: Cluster, own_postgres: PrivateServer, follower: PrivateServer
) -> None:
    """The standby had not heard of the last commits, and the numbers they bore are given once more.

    A holder of before, who comes back late, is not let in again as if nobody had held the field since: somebody has.
    """
    await cluster.serve()
    late = await cluster.client("late", holds="plan")
    await saves(late, "plan", "known to both")
    await cluster.client("other")
    other = cluster.clients[-1]
    await cluster.load(2, pause_s=0.1)
    await cluster.quiet()  # what is lost is to be known to the last entry
    await asyncio.to_thread(follower.stop_following)
    cut_ns = now_ns()
    # Only the first database ever hears of this: the field under a new token, and a version.
    assert (await late.do("release", field="plan"))["outcome"] == "ok"
    assert (await late.do("acquire", field="plan"))["outcome"] == "ok"
    await saves(late, "plan", "lost")
    lost_fence = (await cluster.store.held_by(session_of(late)))["plan"]
    late.process.send_signal(signal.SIGSTOP)
    try:
        await asyncio.to_thread(own_postgres.kill)
        promoted_ns = now_ns()
        shared = await value_of(follower.owner_url(cluster.database), _LAST, cluster.store.project_id)
        await asyncio.to_thread(follower.promote)
        back = await in_the_new_epoch(other)
        tell("failover with lost commits", "back in the new epoch after", (back[0] - promoted_ns) / 1e9, BACK_S)
        cluster.store.entries.clear()
        assert (await other.do("acquire", field="plan"))["outcome"] == "ok"
        assert (await cluster.store.held_by(session_of(other)))["plan"] == lost_fence, "the number is given again"
        await saves(other, "plan", "in its place")
        assert (await other.do("release", field="plan"))["outcome"] == "ok"
    finally:
        late.process.send_signal(signal.SIGCONT)
    await in_the_new_epoch(late)
    done = await late.do("save", field="plan", text="over it", keep=True)
    assert done["outcome"] in {"refused", "nothing"}, f"{done}: it overwrote what it had never seen"
    await cluster.load(2, pause_s=0.1)
    await cluster.judge(
        "failover with lost commits",
        outages=[(float(cut_ns), back[0])],
        without=lambda history: without(cut_ns, promoted_ns, shared, history),
    )
