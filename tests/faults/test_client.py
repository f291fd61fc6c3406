"""Recorded clients at work on a real server, as processes, and the checker on what they recorded."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from typing import TYPE_CHECKING, Any

from tests.faults.bounds import Departure
from tests.faults.checker import Circumstances, check
from tests.faults.entries import parse_entry
from tests.faults.figures import SLACK_S
from tests.faults.history import read_history
from tests.faults.programs import RecordedClient
from tests.faults.recorder import now_ns
from tests.faults.tables import Tables, read_tables
from tests.stories.log_replay import read_log
from tests.support import PATIENCE_S, RunningServer, project_with

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from foundry.client import Session

NAMES = ("ann", "ben", "cas")


async def rows_of(server: RunningServer, project_id: str) -> Tables:
    """The rows of a project, by a connection of its own."""

    async def query(statement: str) -> Sequence[Mapping[str, Any]]:
        with contextlib.closing(sqlite3.connect(server.data_dir / "foundry.sqlite3")) as database:
            database.row_factory = sqlite3.Row
            return database.execute(statement).fetchall()

    return await read_tables(query, project_id)


def plan(server: RunningServer, subject: str, project_id: str, seed: int, **more: object) -> dict[str, object]:
    """A setting with a random plan."""
    fields = ("notes", "system_prompt")
    where = {"target": server.address, "token": server.token(subject), "project_id": project_id}
    return {**where, "seed": seed, "operations": 120, "fields": fields, **more}


async def test_a_run_without_faults_breaks_no_invariant(server: RunningServer, tmp_path: Path) -> None:
    """Three programs that share two fields, with stale saves among theirs, leave a history that checks out.

    Every kind of operation is seen to succeed, and the refusals that make it a contest are seen too.
    """
    async with server.connect("ann") as owner:
        project_id = await project_with(owner, *NAMES[1:])
        async with contextlib.AsyncExitStack() as stack:
            made = [
                RecordedClient(tmp_path / f"{name}.jsonl", **plan(server, name, project_id, seed, pause_s=0.02))
                for seed, name in enumerate(NAMES)
            ]
            clients = await asyncio.gather(*(stack.enter_async_context(client) for client in made))
            counts = await asyncio.gather(*(client.ended() for client in clients))
        entries = [parse_entry(entry.entry_bytes) for entry in await read_log(owner, project_id)]
    history = read_history(client.record for client in clients)
    known = Circumstances(tables=await rows_of(server, project_id), live_sessions=(), slack_s=SLACK_S)
    report = check(history, entries, known)
    assert not report.violations, report.summary()
    seen = {what for count in counts for what in count}
    assert seen >= {"acquire ok", "acquire refused", "save ok", "once ok", "stale refused", "release ok", "leave ok"}
    report.demand(operations=100, grants=20, versions=10, events=200, departures=3, rows=50)
    assert not report.violations, report.summary()


async def entries_by(subject: str, wanted: int, session: Session) -> None:
    """Wait until somebody has made so many entries more."""
    async with asyncio.timeout(PATIENCE_S):
        async for event in session.events():
            wanted -= event.HasField("entry") and event.entry.actor.subject == subject
            if wanted <= 0:
                return


async def test_a_killed_program_leaves_a_history_that_checks_out(server: RunningServer, tmp_path: Path) -> None:
    """SIGKILL in the middle of its plan: what was under way is unknown, and its locks went to the other one."""
    async with server.connect("ann") as owner:
        project_id = await project_with(owner, "ben")
        more = {"fields": ("notes",), "operations": 1_000_000, "pause_s": 0.005}
        victim = RecordedClient(tmp_path / "ann.jsonl", **plan(server, "ann", project_id, 1, **more))
        other = RecordedClient(tmp_path / "ben.jsonl", **plan(server, "ben", project_id, 2, **more))
        async with victim, other, owner.session(project_id) as session:
            await entries_by("ann", 20, session)
            killed_ns = now_ns()
            await victim.kill()
            await entries_by("ben", 20, session)
            await other.stop()
        entries = [parse_entry(entry.entry_bytes) for entry in await read_log(owner, project_id)]
    history = read_history([victim.record, other.record])
    assert history.lost.keys() == {"ann"}
    last = [it.session_id for it in history.notes["ann"] if it.kind == "opened"][-1]
    departure = Departure(last, "stream end", killed_ns)
    known = Circumstances(departures=[departure], live_sessions=(), slack_s=SLACK_S)
    report = check(history, entries, known)
    assert not report.violations, report.summary()
    report.demand(operations=10, departures=1)


async def test_a_client_does_what_it_is_told(server: RunningServer, tmp_path: Path) -> None:
    """By stream and by call, and it says how each operation ended."""
    async with server.connect("ann") as owner:
        project_id = await project_with(owner)
        setting = {**plan(server, "ann", project_id, 0), "seed": None}
        async with RecordedClient(tmp_path / "ann.jsonl", **setting) as client:
            for way in ("stream", "call"):
                assert (await client.do("acquire", field="notes", way=way))["outcome"] == "ok"
                assert (await client.do("touch", field="notes", way=way))["outcome"] == "ok"
                assert (await client.do("save", field="notes", way=way, text=way, keep=True))["outcome"] == "ok"
                assert (await client.do("release", field="notes", way=way))["outcome"] == "ok"
                told = await client.do("stale", field="notes", text="too late")
                assert (told["outcome"], told["reason"]) == ("refused", "LOCK_LOST")
            await client.do("acquire", field="notes", way="call")
            assert (await client.do("break", field="notes"))["outcome"] == "ok"
            assert (await client.do("release", field="notes", way="call"))["reason"] == "LOCK_LOST"
            assert (await client.do("leave"))["outcome"] in {"ok", "unknown"}  # it waits for its end for 2 s
            told = await client.do("stale", field="notes", text="too late")
            assert (told["outcome"], told["reason"]) == ("refused", "SESSION_CLOSED")
            counts = await client.stop()
        entries = [parse_entry(entry.entry_bytes) for entry in await read_log(owner, project_id)]
    assert counts["stale refused"] == 3
    report = check(read_history([client.record]), entries, Circumstances(slack_s=SLACK_S))
    assert not report.violations, report.summary()
