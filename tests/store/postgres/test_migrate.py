"""Migrating Postgres: once whoever comes first, altogether or not at all, and with a role for the server."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from foundry.store.errors import StoreError
from foundry.store.postgres import migrate as migrate_module
from foundry.store.postgres.guards import missing_postgres_guards
from foundry.store.postgres.migrate import migrate
from foundry.store.postgres.roles import excess_rights
from tests.servers.postgres import PostgresServer, execute

HEAD = "0003"
TABLES = "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace"


async def read(url: str, query: str) -> list[Any]:
    """The first column of a query."""
    connection = await asyncpg.connect(url)
    try:
        return [row[0] for row in await connection.fetch(query)]
    finally:
        await connection.close()


async def test_a_new_database_is_migrated_once(postgres: PostgresServer, empty: str) -> None:
    """The first migration makes everything, the next finds nothing to do; then the server may serve."""
    url = postgres.owner_url(empty)
    assert await migrate(url, server_role=postgres.server) == ("", HEAD)
    assert await migrate(url, server_role=postgres.server) == (HEAD, HEAD)
    connection = await asyncpg.connect(postgres.server_url(empty))
    assert await missing_postgres_guards(connection) == []
    assert await excess_rights(connection) == []
    assert await connection.fetchval("SELECT version_num FROM alembic_version") == HEAD
    assert await connection.fetchval("SELECT value FROM instance WHERE name = 'schema_serves_from'") == HEAD
    await connection.close()


async def test_several_migrate_at_once(postgres: PostgresServer, empty: str) -> None:
    """One does the work, the others wait and find nothing to do."""
    url = postgres.owner_url(empty)
    done = await asyncio.gather(*(migrate(url, server_role=postgres.server) for _ in range(4)))
    assert sorted(done) == [("", HEAD), (HEAD, HEAD), (HEAD, HEAD), (HEAD, HEAD)]


@pytest.mark.parametrize("isolation", ["repeatable read", "serializable"])
async def test_several_migrate_at_once_whatever_the_default_is(
    postgres: PostgresServer, empty: str, isolation: str
) -> None:
    """Who has waited sees what was done meanwhile, also where transactions see what was there when they began."""
    url = postgres.owner_url(empty)
    await execute(url, f"ALTER DATABASE {empty} SET default_transaction_isolation TO '{isolation}'")
    first = await asyncpg.connect(url)
    await first.execute("SELECT pg_advisory_lock($1)", migrate_module._ADVISORY_LOCK)
    waiting = [asyncio.create_task(migrate(url, server_role=postgres.server)) for _ in range(3)]
    async with asyncio.timeout(20):
        while await first.fetchval("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted") < 3:
            pass
    await first.close()
    assert sorted(await asyncio.gather(*waiting)) == [("", HEAD), (HEAD, HEAD), (HEAD, HEAD)]


async def test_another_schema_than_public(postgres: PostgresServer, empty: str) -> None:
    """Everything is made in the schema that is searched first, whatever its name."""
    url = postgres.owner_url(empty)
    await execute(url, 'CREATE SCHEMA "our ""own"""', f"ALTER DATABASE {empty} SET search_path TO 'our \"own\"'")
    await migrate(url, server_role=postgres.server)
    connection = await asyncpg.connect(postgres.server_url(empty))
    assert await missing_postgres_guards(connection) == []
    assert await excess_rights(connection) == []
    await connection.close()
    assert await read(url, TABLES) == []


async def test_a_role_that_does_not_exist_is_named(postgres: PostgresServer, empty: str) -> None:
    """The operator is told to create it; nothing is left behind, however the name is spelt."""
    url = postgres.owner_url(empty)
    for name in ("nobody_here", 'x"; DROP TABLE head; --', "it's", ""):
        with pytest.raises(StoreError, match=r"there is no role .* for the server; create it") as refused:
            await migrate(url, server_role=name)
        assert name in str(refused.value)
    assert await read(url, TABLES) == []


async def test_a_role_of_any_name_is_given_its_rights(postgres: PostgresServer, empty: str) -> None:
    """Names are quoted."""
    name = f"{empty} \"; -- it's"
    identifier = '"' + name.replace('"', '""') + '"'
    await execute(postgres.admin_url(), f"CREATE ROLE {identifier}")
    try:
        await migrate(postgres.owner_url(empty), server_role=name)
        may = "SELECT has_table_privilege(oid, 'log_entry', 'INSERT') FROM pg_roles WHERE rolname LIKE '%;%'"
        assert await read(postgres.owner_url(empty), may) == [True]
    finally:
        await execute(postgres.admin_url(empty), f"DROP OWNED BY {identifier}", f"DROP ROLE {identifier}")


async def test_the_owner_is_not_the_server(postgres: PostgresServer, empty: str) -> None:
    """Who may change the guards does not serve."""
    with pytest.raises(StoreError, match="must not serve; the server needs a role of its own"):
        await migrate(postgres.owner_url(empty), server_role=postgres.owner)


async def test_rights_given_by_hand_are_taken_back(postgres: PostgresServer, empty: str) -> None:
    """After a migration the server has what the list says, even when there was nothing else to do."""
    url = postgres.owner_url(empty)
    await migrate(url, server_role=postgres.server)
    role = postgres.server
    await execute(
        url, f"GRANT ALL ON log_entry, alembic_version TO {role}", f"GRANT UPDATE (entry) ON log_entry TO {role}"
    )
    await execute(url, f"GRANT ALL ON SCHEMA public TO {role}")
    assert await migrate(url, server_role=postgres.server) == (HEAD, HEAD)
    connection = await asyncpg.connect(postgres.server_url(empty))
    assert await excess_rights(connection) == []
    await connection.close()


async def test_a_migration_that_fails_changes_nothing(postgres: PostgresServer, empty: str) -> None:
    """The last thing it makes is in the way: nothing of what came before it stays."""
    url = postgres.owner_url(empty)
    await execute(url, "CREATE TABLE replica (in_the_way text)")
    with pytest.raises(StoreError, match=r'^the database cannot be migrated: relation "replica" already exists$'):
        await migrate(url, server_role=postgres.server)
    assert await read(url, TABLES) == ["replica"]


async def test_a_schema_of_a_newer_version_is_left_alone(postgres: PostgresServer, empty: str) -> None:
    """An older foundry does not touch what it cannot know."""
    url = postgres.owner_url(empty)
    await migrate(url, server_role=postgres.server)
    await execute(url, "UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(StoreError, match=r"the schema is from another version of foundry .*9999"):
        await migrate(url, server_role=postgres.server)


async def test_the_server_cannot_migrate(postgres: PostgresServer, empty: str) -> None:
    """It has no right to make anything."""
    with pytest.raises(StoreError, match="must not serve"):
        await migrate(postgres.server_url(empty), server_role=postgres.server)


async def test_a_database_must_be_utf8(postgres: PostgresServer) -> None:
    """Text is ordered by code points, so it has to be made of them."""
    name = postgres.create_database(empty=True, encoding="SQL_ASCII")
    with pytest.raises(StoreError, match="encoding of the database is SQL_ASCII; it must be UTF8"):
        await migrate(postgres.owner_url(name), server_role=postgres.server)
    postgres.drop_database(name)


async def test_no_server_is_an_error_in_words(postgres: PostgresServer, tmp_path: Path) -> None:
    """Neither a server nor a database that is not there, nor an URL that is none, ends in a traceback."""
    with pytest.raises(StoreError, match="cannot be migrated"):
        await migrate(f"postgresql://x@/x?host={tmp_path}", server_role="x")
    with pytest.raises(StoreError, match='database "nowhere" does not exist'):
        await migrate(postgres.owner_url("nowhere"), server_role="x")
    with pytest.raises(StoreError, match="cannot be migrated"):
        await migrate("nonsense://x", server_role="x")


#: Ways to be rid of a guard.
UNGUARDED = {
    "dropped": "DROP TRIGGER draft_no_delete ON draft",
    "off": "ALTER TABLE draft DISABLE TRIGGER draft_no_delete",
    "altered": "CREATE OR REPLACE TRIGGER draft_no_delete BEFORE DELETE ON draft FOR EACH ROW WHEN (false) "
    "EXECUTE FUNCTION guard_refuse('draft is append-only')",
}


@pytest.mark.parametrize("change", UNGUARDED.values(), ids=UNGUARDED)
async def test_a_guard_that_is_missing_or_altered_is_an_error(
    postgres: PostgresServer, empty: str, change: str
) -> None:
    """There is nothing to migrate, and yet it did not succeed: no server would start."""
    url = postgres.owner_url(empty)
    await migrate(url, server_role=postgres.server)
    await execute(url, change, f"REVOKE ALL ON draft FROM {postgres.server}")
    with pytest.raises(StoreError, match="the guards draft_no_delete of the database are missing or altered"):
        await migrate(url, server_role=postgres.server)
    granted = f"SELECT has_table_privilege('{postgres.server}', 'draft', 'SELECT')"
    assert await read(url, granted) == [False]


async def test_a_table_in_use_is_said_to_be(
    postgres: PostgresServer, empty: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing has changed; the same may succeed later, and does."""
    url = postgres.owner_url(empty)
    await migrate(url, server_role=postgres.server)
    monkeypatch.setattr("foundry.store.postgres.migrate._WAIT_FOR_TABLES", "SET LOCAL lock_timeout TO '50ms'")
    connection = await asyncpg.connect(url)
    async with connection.transaction():
        await connection.execute("LOCK TABLE alembic_version")
        with pytest.raises(StoreError) as refused:
            await migrate(url, server_role=postgres.server)
    await connection.close()
    assert str(refused.value) == (
        "the database cannot be migrated: others need the same tables for longer than is waited for them; "
        "nothing has changed, run it again"
    )
    assert await migrate(url, server_role=postgres.server) == (HEAD, HEAD)
