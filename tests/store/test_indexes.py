"""Every question that the server asks finds its rows by an index: what was over long ago slows nobody down."""

from __future__ import annotations

import importlib
import json
import pkgutil
import re
import sqlite3
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from sqlalchemy import Select
from sqlalchemy.dialects import sqlite

import foundry.store
from foundry.domain.comment import CommentFilter
from foundry.domain.project import ProjectFilter
from foundry.domain.run import RunFilter
from foundry.store.comments import CommentRepository
from foundry.store.drafts import DraftRepository
from foundry.store.entries import EntryRepository
from foundry.store.fields import FieldRepository
from foundry.store.projects import SqlAlchemyProjectRepository
from foundry.store.runs import RunRepository
from foundry.store.sessions import SessionRepository
from foundry.store.statement import Row, Statement, compiled_select
from tests.managers.workspace import ALICE
from tests.servers.postgres import PostgresServer

#: Asked once, when a server begins: of each installation there is one, of each project one row.
_AT_THE_START = {"instance._INSTANCE", "instance._HEADS", "instance._LOGS"}
#: What is read through with one of these has only such rows: what is still going on.
_PARTIAL = "SELECT indexrelid::regclass::text FROM pg_index WHERE indpred IS NOT NULL"


def statements() -> dict[str, Statement]:
    """All that are compiled once and do not only insert, by module and name."""
    found = {}
    for module in pkgutil.iter_modules(foundry.store.__path__):
        for name, value in vars(importlib.import_module(f"foundry.store.{module.name}")).items():
            if isinstance(value, Statement) and not value.inserts:
                found[f"{module.name}.{name}"] = value
    return {name: statement for name, statement in found.items() if name not in _AT_THE_START}


class Asked:
    """A reader that keeps the questions built for one call, and knows no row."""

    def __init__(self) -> None:
        self.queries: list[Select[Any]] = []

    async def row(self, statement: Statement, parameters: Mapping[str, Any]) -> Row | None:
        """None; those are among ``statements``."""

    async def rows(self, statement: Statement, parameters: Mapping[str, Any]) -> list[Row]:
        """Nothing; likewise."""
        return []

    async def fetch(self, query: Select[Any]) -> Sequence[Row]:
        """Keep it."""
        self.queries.append(query)
        return []


@pytest.fixture
async def queries() -> list[Select[Any]]:
    """All that are built for one call, at their plainest: a filter more only finds less."""
    asked, anybody = Asked(), ALICE.principal
    sessions, fields, runs, drafts = (
        SessionRepository(asked),
        FieldRepository(asked),
        RunRepository(asked),
        DraftRepository(asked),
    )
    entries = EntryRepository(asked)
    await sessions.open_in("p", "", 9)
    await sessions.of_the_dead(9)
    await sessions.of_older_epochs(2, 9)
    await sessions.left_by_other_boots("b")
    await fields.locks("p", "", 9)
    await fields.held_on("b")
    await fields.expiring(9)
    await runs.line_counts(["p", "q"])
    await runs.page("p", RunFilter(), "", 9)
    assert not [each async for each in runs.ids("p")]
    await drafts.page("p", "", "", 9, 9)
    await entries.last_sequences(["p", "q"])
    await entries.page("p", 0, 9, ["draft_created"], "ann")
    await CommentRepository(asked).page("p", CommentFilter(), "", 9)
    projects = SqlAlchemyProjectRepository(asked)
    await projects.list_for(anybody, ProjectFilter(), "", 9)
    await projects.members("p", "", 9)
    assert len(asked.queries) == 16
    return asked.queries


async def test_on_sqlite(finished: Path, queries: list[Select[Any]]) -> None:
    """Its planner says SEARCH for what it looks up, and SCAN for what it reads through."""
    asked = {name: statement.sqlite for name, statement in statements().items()}
    asked |= {str(it): _of_sqlite(it) for it in queries}
    through = {}
    with closing(sqlite3.connect(finished / "foundry.sqlite3")) as connection:
        for name, sql in asked.items():
            plan = [row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {sql}", _Nulls())]
            if scans := [step for step in plan if _is_read_through(connection, step)]:
                through[name] = scans
    assert not through


def _of_sqlite(query: Select[Any]) -> str:
    dialect = sqlite.dialect(paramstyle="named")
    return str(query.compile(dialect=dialect, compile_kwargs={"render_postcompile": True}))


class _Nulls(dict[str, object]):
    def __missing__(self, name: str) -> object:
        return None


def _is_read_through(connection: sqlite3.Connection, step: str) -> bool:
    words = step.split()
    index = words[words.index("INDEX") + 1] if "INDEX" in words else ""
    found = connection.execute("SELECT sql LIKE '% WHERE %' FROM sqlite_master WHERE name = ?", (index,)).fetchone()
    return words[0] == "SCAN" and words[1:] != ["CONSTANT", "ROW"] and not (found and found[0])


@pytest.fixture
async def planner(postgres: PostgresServer) -> AsyncIterator[asyncpg.Connection[Any]]:
    """A connection as servers have it, that reads through a table only when it has no other way."""
    name = postgres.create_database()
    connection = await asyncpg.connect(postgres.owner_url(name))
    await connection.execute("SET enable_seqscan = off; SET plan_cache_mode = force_generic_plan")
    yield connection
    await connection.close()
    postgres.drop_database(name)


async def test_on_postgres(planner: asyncpg.Connection[Any], queries: list[Select[Any]]) -> None:
    """Plans are made once for all parameters; so an index of some rows must be asked for in its own words."""
    asked = {name: statement.postgres for name, statement in statements().items()}
    asked |= {str(it): compiled_select(it)[0] for it in queries}
    partial = {row[0] for row in await planner.fetch(_PARTIAL)}
    through = {}
    for name, sql in asked.items():
        nulls = ", ".join(["NULL"] * len(set(re.findall(r"\$\d+", sql))))
        await planner.execute(f"PREPARE question AS {sql}")
        plan = await planner.fetchval(f"EXPLAIN (FORMAT JSON) EXECUTE question {f'({nulls})' if nulls else ''}")
        await planner.execute("DEALLOCATE question")
        if scans := list(_read_through(json.loads(plan)[0]["Plan"], partial)):
            through[name] = scans
    assert not through


def _read_through(node: dict[str, Any], partial: set[str]) -> Iterator[str]:
    index = node.get("Index Name")
    if node["Node Type"] == "Seq Scan" or (index and "Index Cond" not in node and index not in partial):
        yield f"{node['Node Type']} {index or node['Relation Name']}"
    for part in node.get("Plans", ()):
        yield from _read_through(part, partial)
