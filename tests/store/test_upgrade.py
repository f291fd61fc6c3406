"""A database that a server of the first schema wrote goes on under this one: nothing is lost, and its log verifies."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy import create_engine

import foundry.store
from foundry.domain.entry import INSTANCE_LOG
from foundry.domain.run import RunState
from foundry.managers.anchoring import WantedAnchor
from foundry.managers.comments import WantedComment
from foundry.managers.projects import ProjectChange
from foundry.managers.runs import WantedRun
from foundry.store.errors import StoreError
from foundry.store.sqlite.database import SqliteDatabase
from foundry.store.sqlite.guards import SQLITE_GUARDS
from tests.managers.workspace import ALICE, BOB, opened
from tests.store.manual_clock import ManualClock
from tests.store.stored_logs import stored_logs, verify

#: Rows that a server of revision 0001 really wrote: a project at version 4, whose ``topology`` Bob holds.
DATA = (Path(__file__).parent / "data_of_0001.sql").read_text("utf-8")
SAVED, UPDATED = "11111111-1111-4111-8111-111111111111", "22222222-2222-4222-8222-222222222222"
#: What an upgrade changes beside the tables it makes: it tells of itself in the log of the installation.
OWN = {"log_entry", "log_text", "head", "alembic_version", "instance"}

Rows = dict[str, list[tuple[Any, ...]]]


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """Data directory of a server of revision 0001."""
    file = tmp_path / "foundry.sqlite3"
    config = Config()
    config.set_main_option("script_location", str(Path(foundry.store.__file__).parent / "migrations"))
    engine = create_engine(f"sqlite:///{file}")
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "0001")
    engine.dispose()
    with closing(sqlite3.connect(file)) as plain, plain:
        guards = dict(plain.execute("SELECT name, sql FROM sqlite_master WHERE type = 'trigger'"))
        for name in guards:  # rows come by table here, not as they came in
            plain.execute(f"DROP TRIGGER {name}")
        plain.executescript(DATA)
        for sql in guards.values():
            plain.execute(sql)
    return tmp_path


def columns_of(connection: sqlite3.Connection) -> dict[str, list[str]]:
    """The columns of every table."""
    tables = [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
    return {table: [row[1] for row in connection.execute(f"PRAGMA table_info({table})")] for table in tables}


def rows_of(connection: sqlite3.Connection, columns: dict[str, list[str]]) -> Rows:
    """All rows of these columns."""
    return {
        table: sorted(connection.execute(f"SELECT {', '.join(names)} FROM {table}"))  # noqa: S608 - our own names
        for table, names in columns.items()
    }


async def test_every_row_stays_what_it_was(old: Path) -> None:
    """Projects, members, sessions, locks, grants, versions, content and kept answers, to the last column."""
    with closing(sqlite3.connect(old / "foundry.sqlite3")) as plain:
        columns = columns_of(plain)
        before = rows_of(plain, columns)
        assert all(before.values()), [table for table, rows in before.items() if not rows]
        await SqliteDatabase(old, ManualClock()).close()
        after = rows_of(plain, columns)
        assert {table: rows for table, rows in after.items() if table not in OWN} == {
            table: rows for table, rows in before.items() if table not in OWN
        }
        assert set(before["log_entry"]) < set(after["log_entry"])
        assert set(before["instance"]) < set(after["instance"])
        assert after["alembic_version"] == [("0003",)]
        assert plain.execute("SELECT revision_of_project_id, revision_of_fingerprint FROM project").fetchall() == [
            ("", "")
        ]
        triggers = dict(plain.execute("SELECT name, sql FROM sqlite_master WHERE type = 'trigger'"))
    assert triggers == SQLITE_GUARDS


async def test_its_log_verifies_and_tells_of_the_upgrade(old: Path) -> None:
    """Each chain from its first byte on; the installation's ends with the migration, once."""
    for _ in range(2):  # the second start changes nothing
        await SqliteDatabase(old, ManualClock()).close()
    with closing(sqlite3.connect(old / "foundry.sqlite3")) as plain:
        logs = stored_logs(plain)
    assert len(logs) == 2
    for log, rows in logs.items():
        verify(rows, log)
    entries = [json.loads(row[3]) for row in logs[INSTANCE_LOG]]
    told = [entry["data"]["revision"] for entry in entries if entry["event"] == "migration_applied"]
    assert told == ["0001", "0003"]
    assert entries[-1]["event"] == "migration_applied"


async def test_requests_that_were_answered_are_not_done_again(old: Path) -> None:
    """A client that lost the answer of the old server gets it from the new one, whatever the answer has more now."""
    async with opened(old) as workspace:
        log = await workspace.log(INSTANCE_LOG)
        project_id = next(str(entry.new.data["project_id"]) for entry in log if entry.new.event == "project_created")
        before = await workspace.entries.last_sequence(project_id)
        saved = await workspace.save_unary(project_id, 3, {"system_prompt": "three"}, request_id=SAVED)
        change = ProjectChange(description="For the ward.")
        updated = await workspace.projects.update(ALICE, project_id, change, reason="because", request_id=UPDATED)
        assert await workspace.entries.last_sequence(project_id) == before
    assert (saved.head_version, updated.description, updated.revision_of_project_id) == (4, "For the ward.", "")


async def test_work_goes_on_in_it(old: Path) -> None:
    """Bob still holds his lock; what was saved can be read, commented on, tested, frozen and gone on from."""
    async with opened(old) as workspace:
        (project,) = [entry for entry in await workspace.log(INSTANCE_LOG) if entry.new.event == "project_created"]
        project_id = str(project.new.data["project_id"])
        held = {lock.field: lock for lock in await workspace.store.fields.locks(project_id, "", 10)}
        assert [lock.holder.subject for lock in held.values()] == ["bob"]
        assert (await workspace.save(held["topology"], "{}", 4, BOB)).head_version == 5
        first = await workspace.store.drafts.fields_at(project_id, 1)
        assert await workspace.store.drafts.content(project_id, first[0].sha256) == b"one"
        anchor = WantedAnchor(1, "", "system_prompt", 1, 1, "one")
        await workspace.comments.create(ALICE, project_id, WantedComment("Since the first day.", anchor))
        run = (await workspace.runs.start(ALICE, project_id, WantedRun(version_number=5))).run
        await workspace.runs.finish(ALICE, project_id, run.run_id, RunState.PASSED)
        rules = ProjectChange(policy={"min_approvals": 0, "require_evidence": True})
        await workspace.projects.update(ALICE, project_id, rules)
        frozen = await workspace.exports.freeze(ALICE, project_id, 5)
        revision = await workspace.exports.start_revision(ALICE, project_id)
        assert revision.revision_of_fingerprint == frozen.freeze.fingerprint
    with closing(sqlite3.connect(old / "foundry.sqlite3")) as plain:
        for log, rows in stored_logs(plain).items():
            verify(rows, log)


def test_an_upgrade_that_fails_changes_nothing(old: Path) -> None:
    """The old server finds its database as it left it: schema, guards, rows."""
    with closing(sqlite3.connect(old / "foundry.sqlite3", isolation_level=None)) as plain:
        plain.execute("CREATE TABLE freeze (in_the_way TEXT)")
        before = list(plain.iterdump())
        with pytest.raises(StoreError, match="table freeze already exists"):
            SqliteDatabase(old, ManualClock())
        assert list(plain.iterdump()) == before
