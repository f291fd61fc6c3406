"""The migrations make on Postgres exactly the schema that the rest of the store is built on."""

from __future__ import annotations

from typing import Any

import asyncpg
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Connection, NullPool
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from foundry.store.tables import metadata
from tests.servers.postgres import PostgresServer

#: Everything that a table is made of, in Postgres's own words.
PARTS = {
    "columns": """
        SELECT relname, attname, attnotnull, format_type(atttypid, atttypmod), attcollation::regcollation::text,
            pg_get_expr(adbin, adrelid)
        FROM pg_attribute a JOIN pg_class c ON c.oid = attrelid
            LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum
        WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace AND attnum > 0""",
    "constraints": """
        SELECT conrelid::regclass::text, conname, pg_get_constraintdef(oid)
        FROM pg_constraint WHERE connamespace = 'public'::regnamespace""",
    "indexes": "SELECT tablename, indexname, indexdef FROM pg_indexes WHERE schemaname = 'public'",
}
#: Words whose order differs from one locale to another; some beyond the first 65,536 characters.
WORDS = [
    "B",
    "a",
    "A",
    "b",
    "_",
    "-",
    "é",
    "z",
    "Z",
    "ä",
    "\uffee",
    "\U0001f600",
    "a b",
    "ab",
    "a-b",
    "",
    "1",
    "10",
    "2",
]


def engine_of(url: str) -> AsyncEngine:
    """An engine without a pool."""

    async def connect() -> Any:
        return await asyncpg.connect(url)

    return create_async_engine("postgresql+asyncpg://", async_creator=connect, poolclass=NullPool)


def differences(connection: Connection) -> list[Any]:
    """What alembic would add, remove or change."""
    return list(compare_metadata(MigrationContext.configure(connection, opts={"compare_type": True}), metadata))


async def parts(url: str) -> dict[str, set[Any]]:
    """The schema of a database, without the table that says its revision."""
    connection = await asyncpg.connect(url)
    found = {kind: {tuple(row) for row in await connection.fetch(query)} for kind, query in PARTS.items()}
    await connection.close()
    return {kind: {row for row in rows if row[0] != "alembic_version"} for kind, rows in found.items()}


async def test_migrations_make_the_tables_of_the_metadata(postgres: PostgresServer, told: str) -> None:
    """Alembic finds nothing to add, remove or change."""
    engine = engine_of(postgres.owner_url(told))
    async with engine.connect() as connection:
        assert await connection.run_sync(differences) == []
    await engine.dispose()


async def test_migrations_and_metadata_make_the_same_schema(postgres: PostgresServer, told: str, empty: str) -> None:
    """Columns with their collations, constraints and indexes are equal word for word."""
    engine = engine_of(postgres.owner_url(empty))
    async with engine.begin() as connection:
        await connection.run_sync(metadata.create_all)
    await engine.dispose()
    wanted = await parts(postgres.owner_url(empty))
    assert await parts(postgres.owner_url(told)) == wanted
    assert len({row[0] for row in wanted["columns"]}) == len(metadata.tables)


async def test_all_text_is_ordered_by_code_points(postgres: PostgresServer, told: str) -> None:
    """As Python and SQLite do it, whatever the locale of the database: pages go on where the last one ended."""
    columns = (await parts(postgres.owner_url(told)))["columns"]
    texts = {row for row in columns if row[3] == "text"}
    assert {row[4] for row in texts} == {'"C"'}
    assert len(texts) > len(metadata.tables)
    assert {row[3] for row in columns} == {"text", "bigint", "bytea"}
    connection = await asyncpg.connect(postgres.server_url(told))
    await connection.execute("BEGIN")
    await connection.executemany("INSERT INTO instance VALUES ($1, '')", [(f"word {word}",) for word in WORDS])
    ordered = await connection.fetch("SELECT name FROM instance WHERE name LIKE 'word %' ORDER BY name")
    assert [row[0] for row in ordered] == sorted(f"word {word}" for word in WORDS)
    await connection.close()
