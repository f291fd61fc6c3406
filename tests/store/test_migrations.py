"""The migrations make exactly the schema that the rest of the store is built on."""

from __future__ import annotations

import re
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import create_engine

from foundry.store.errors import StoreError
from foundry.store.sqlite.database import SqliteDatabase
from foundry.store.sqlite.guards import SQLITE_GUARDS
from foundry.store.tables import metadata
from tests.store.manual_clock import ManualClock

Schema = dict[tuple[str, str], str]


def schema(connection: sqlite3.Connection) -> Schema:
    """The SQL of everything in a database by type and name, as written."""
    rows = connection.execute("SELECT type, name, sql FROM sqlite_master WHERE sql IS NOT NULL ORDER BY type, name")
    return {(kind, name): sql for kind, name, sql in rows}


def normalised(found: Schema) -> Schema:
    """Without quotes, and with every run of white space and the order of table constraints made equal."""

    def words(sql: str) -> str:
        text = re.sub(r"\s+", " ", sql.replace('"', "")).strip()
        head, _, rest = text.partition("(")
        members = sorted(part.strip() for part in re.split(r", (?=CONSTRAINT )", rest.rpartition(")")[0]))
        return f"{head.strip()}({'; '.join(members)}){text.rpartition(')')[2]}"

    return {key: words(sql) for key, sql in found.items() if key[1] != "alembic_version"}


def test_migrations_make_the_tables_of_the_metadata(data_dir: Path) -> None:
    """Alembic finds nothing to add, remove or change."""
    engine = create_engine(f"sqlite:///{data_dir / 'foundry.sqlite3'}")
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        differences = compare_metadata(context, metadata)
    engine.dispose()
    assert differences == []


def test_migrations_and_metadata_write_the_same_sql(plain: sqlite3.Connection, tmp_path: Path) -> None:
    """What alembic does not compare (checks, STRICT, WITHOUT ROWID, foreign keys) is equal word for word."""
    engine = create_engine(f"sqlite:///{tmp_path / 'made.sqlite3'}")
    metadata.create_all(engine)
    engine.dispose()
    with closing(sqlite3.connect(tmp_path / "made.sqlite3")) as made:
        wanted = normalised(schema(made))
    found = {key: sql for key, sql in normalised(schema(plain)).items() if key[0] != "trigger"}
    assert found == wanted
    assert len(found) > len(metadata.tables)


def test_a_constraint_that_alembic_overlooks_would_be_noticed() -> None:
    """The comparison of SQL sees a check, a STRICT and a foreign key that differ."""
    table = "CREATE TABLE t (\n\ta TEXT, \n\tCONSTRAINT c CHECK (a > ''), \n\tCONSTRAINT p PRIMARY KEY (a)\n) STRICT"
    key = ("table", "t")
    same = table.replace("\n", " ").replace(" t ", ' "t" ')
    assert normalised({key: same}) == normalised({key: table})
    for changed in (table.replace(">", ">="), table.replace(" STRICT", ""), table.replace("PRIMARY KEY", "UNIQUE")):
        assert normalised({key: changed}) != normalised({key: table})


def test_the_guards_are_made_verbatim(plain: sqlite3.Connection) -> None:
    """The triggers are those of ``guards``, character for character, and there are no others."""
    assert {name: sql for (kind, name), sql in schema(plain).items() if kind == "trigger"} == SQLITE_GUARDS


async def test_migrating_again_changes_nothing(data_dir: Path, plain: sqlite3.Connection) -> None:
    """A second start leaves the file as it is: same schema, same identity, no new entry."""
    before = list(plain.iterdump())
    database = SqliteDatabase(data_dir, ManualClock())
    identity = (database.instance_id, database.epoch, database.page_token_key)
    await database.close()
    assert list(plain.iterdump()) == before
    facts = dict(plain.execute("SELECT name, value FROM instance"))
    assert identity == (facts["instance_id"], int(facts["epoch"]), bytes.fromhex(facts["page_token_key"]))


async def test_the_first_start_writes_the_installation_down(tmp_path: Path) -> None:
    """The instance log begins with its genesis and the migration; every later start adds nothing."""
    database = SqliteDatabase(tmp_path, ManualClock())
    events = database.connection.rows_sql("SELECT event FROM log_entry WHERE log = 'instance' ORDER BY sequence")
    assert [event for (event,) in events] == ["log_genesis", "migration_applied"]
    assert len(database.page_token_key) == 32
    await database.close()


def test_a_database_of_a_newer_version_is_refused(data_dir: Path, plain: sqlite3.Connection) -> None:
    """An older server does not touch what it cannot know; it says so in a sentence."""
    plain.execute("UPDATE alembic_version SET version_num = '9999'")
    before = list(plain.iterdump())
    with pytest.raises(StoreError, match=r"schema of .* is from another version of foundry .*; run that version"):
        SqliteDatabase(data_dir, ManualClock())
    assert list(plain.iterdump()) == before


def test_an_interrupted_migration_leaves_nothing(tmp_path: Path) -> None:
    """A migration that fails half-way is undone as a whole, so that the next start can try again."""
    with closing(sqlite3.connect(tmp_path / "foundry.sqlite3", isolation_level=None)) as plain:
        plain.execute("CREATE TABLE draft_change (in_the_way TEXT)")
        with pytest.raises(StoreError, match="table draft_change already exists"):
            SqliteDatabase(tmp_path, ManualClock())
        assert [name for _, name in schema(plain)] == ["draft_change"]
