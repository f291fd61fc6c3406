"""Refusals are counted, not logged one by one, so that refusals cannot be used to flood."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path

import asyncpg
import pytest

from foundry.clock import SystemClock
from foundry.domain.entry import INSTANCE_LOG, Entry, Event
from foundry.domain.errors import LockHeld
from foundry.settings import Postgres
from foundry.store.postgres.database import PostgresDatabase
from tests.managers.workspace import ALICE, BOB, Workspace, opened


@pytest.fixture
async def workspace(tmp_path: Path) -> AsyncIterator[Workspace]:
    async with opened(tmp_path) as made:
        yield made


async def denied(workspace: Workspace, log: str) -> list[Entry]:
    """The entries that sum up refusals."""
    events = {Event.LOCK_DENIED, Event.AUTHENTICATION_FAILED}
    return [entry for entry in await workspace.log(log) if entry.new.event in events]


async def test_one_entry_a_window(workspace: Workspace) -> None:
    """However often somebody was refused, there is one entry with the count and the window it fell in."""
    project_id = await workspace.project(ALICE, BOB)
    mine, his = await workspace.session(project_id), await workspace.session(project_id, BOB)
    await workspace.lock(mine, "topology")
    await workspace.denials.flush()
    for _ in range(7):
        with pytest.raises(LockHeld):
            await workspace.lock(his, "topology", BOB)
    workspace.clock.advance(4.5)
    await workspace.denials.flush()
    (entry,) = await denied(workspace, project_id)
    assert entry.new.data == {"field": "topology", "count": 7, "window_ms": 4500, "subject": "bob"}
    assert entry.new.actor.subject == "system"


async def test_nothing_refused_is_nothing_written(workspace: Workspace) -> None:
    """A quiet server writes no entries, and what was written once is not written again."""
    project_id = await workspace.project()
    workspace.denials.lock_denied(project_id, "topology", "bob")
    await workspace.denials.flush()
    batches = len(workspace.batches)
    workspace.clock.advance(60)
    await workspace.denials.flush()
    assert len(workspace.batches) == batches
    assert len(await denied(workspace, project_id)) == 1


async def test_counts_are_kept_apart(workspace: Workspace) -> None:
    """By project, field and subject; calls without a valid token by cause, in the log of the installation."""
    first, second = await workspace.project(), await workspace.project()
    for project_id, field, subject in (
        (first, "a", "bob"),
        (first, "a", "carol"),
        (first, "b", "bob"),
        (second, "a", "bob"),
    ):
        workspace.denials.lock_denied(project_id, field, subject)
    for cause in ("TOKEN_MISSING", "TOKEN_EXPIRED", "TOKEN_MISSING"):
        workspace.denials.authentication_failed(cause)
    await workspace.denials.flush()
    said = [
        [(e.new.data["field"], e.new.data["subject"]) for e in await denied(workspace, log)] for log in (first, second)
    ]
    assert said == [[("a", "bob"), ("a", "carol"), ("b", "bob")], [("a", "bob")]]
    causes = [(entry.new.data["cause"], entry.new.data["count"]) for entry in await denied(workspace, INSTANCE_LOG)]
    assert causes == [("TOKEN_EXPIRED", 1), ("TOKEN_MISSING", 2)]


async def test_a_window_has_a_bound(workspace: Workspace) -> None:
    """Ten thousand subjects in one window are at most 1,001 entries, and not one refusal is uncounted."""
    project_id = await workspace.project()
    for number in range(10_000):
        workspace.denials.lock_denied(project_id, "topology", f"subject{number}")
    await workspace.denials.flush()
    entries = await denied(workspace, project_id)
    assert len(entries) == 1_001
    assert sum(int(str(entry.new.data["count"])) for entry in entries) == 10_000
    assert {entry.new.data["subject"]: entry.new.data["count"] for entry in entries}["others"] == 9_000


async def test_a_store_that_is_away_makes_windows_longer_and_loses_nothing(
    workspace: Workspace, tmp_path: Path
) -> None:
    """The server goes on, and everything is written with the next window that can be."""
    first, second = await workspace.project(), await workspace.project()
    await workspace.denials.flush()
    workspace.database.connection.sql("PRAGMA busy_timeout = 1")
    with closing(sqlite3.connect(tmp_path / "foundry.sqlite3", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        for _ in range(3):
            workspace.denials.lock_denied(first, "topology", "bob")
            workspace.denials.authentication_failed("TOKEN_MISSING")
            workspace.clock.advance(5)
            await workspace.denials.flush()
    workspace.denials.lock_denied(first, "topology", "bob")
    workspace.denials.lock_denied(second, "topology", "carol")
    workspace.clock.advance(5)
    await workspace.denials.flush()
    workspace.clock.advance(5)
    await workspace.denials.flush()
    said = [
        [(entry.new.data["count"], entry.new.data["window_ms"]) for entry in await denied(workspace, log)]
        for log in (first, second, INSTANCE_LOG)
    ]
    assert said == [[(4, 20_000)], [(1, 5_000)], [(3, 20_000)]]
    workspace.denials.lock_denied(first, "topology", "bob")
    workspace.clock.advance(5)
    await workspace.denials.flush()
    assert (await denied(workspace, first))[-1].new.data["window_ms"] == 5_000


async def test_what_is_kept_has_a_bound_too(workspace: Workspace, tmp_path: Path) -> None:
    """However long the store is away, and nothing is uncounted."""
    project_id = await workspace.project()
    workspace.database.connection.sql("PRAGMA busy_timeout = 1")
    with closing(sqlite3.connect(tmp_path / "foundry.sqlite3", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        for window in range(3):
            for number in range(900):
                workspace.denials.lock_denied(project_id, "topology", f"subject{window}-{number}")
            await workspace.denials.flush()
    await workspace.denials.flush()
    entries = await denied(workspace, project_id)
    assert len(entries) == 1_001
    assert sum(int(str(entry.new.data["count"])) for entry in entries) == 2_700


async def test_a_project_that_somebody_holds_keeps_no_other_waiting(url: str, tmp_path: Path) -> None:
    """Another server's transaction has it: its counts are kept, all others are written."""
    database = await PostgresDatabase.open(url, Postgres(lock_limit_s=0.05), SystemClock())
    async with opened(tmp_path, shared=database) as workspace:
        projects = [await workspace.project() for _ in range(3)]
        await workspace.denials.flush()
        for project_id in projects:
            workspace.denials.lock_denied(project_id, "topology", "bob")
        workspace.denials.authentication_failed("TOKEN_MISSING")
        other = await asyncpg.connect(url)
        async with other.transaction():
            await other.execute("SELECT 1 FROM head WHERE log = $1 FOR UPDATE", projects[0])
            workspace.clock.advance(5)
            await workspace.denials.flush()
            written = [len(await denied(workspace, log)) for log in (*projects, INSTANCE_LOG)]
            assert written == [0, 1, 1, 1]
        await other.close()
        workspace.clock.advance(5)
        await workspace.denials.flush()
        written = [len(await denied(workspace, log)) for log in (*projects, INSTANCE_LOG)]
        assert written == [1, 1, 1, 1]
        [entry] = await denied(workspace, projects[0])
        assert (entry.new.data["count"], entry.new.data["window_ms"]) == (1, 10_000)
