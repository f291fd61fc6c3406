"""Recorded clients at work on a real server, as processes, and the checker on what they recorded."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from typing import TYPE_CHECKING, Any

from tests.faults.checker import Circumstances, check
from tests.faults.entries import parse_entry
from tests.faults.history import read_history
from tests.faults.programs import RecordedClient
from tests.faults.tables import Tables, read_tables
from tests.stories.log_replay import read_log
from tests.support import RunningServer, project_with

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

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
            clients = [
                await stack.enter_async_context(
                    RecordedClient(tmp_path / f"{name}.jsonl", **plan(server, name, project_id, seed))
                )
                for seed, name in enumerate(NAMES)
            ]
            counts = await asyncio.gather(*(client.ended() for client in clients))
        entries = [parse_entry(entry.entry_bytes) for entry in await read_log(owner, project_id)]
    history = read_history(client.record for client in clients)
    known = Circumstances(tables=await rows_of(server, project_id), live_sessions=())
    report = check(history, entries, known)
    assert not report.violations, report.summary()
    seen = {what for count in counts for what in count}
    assert seen >= {"acquire ok", "acquire refused", "save ok", "once ok", "stale refused", "release ok", "leave ok"}
    report.demand(operations=100, grants=20, versions=10, events=200, departures=3, rows=50)
    assert not report.violations, report.summary()
