"""A guard that is gone, switched off or another is found, so that no server runs without it."""

from __future__ import annotations

from typing import Any, TypeAlias

import asyncpg
import pytest

from foundry.store.postgres.guards import POSTGRES_FUNCTIONS, POSTGRES_GUARDS, missing_postgres_guards
from tests.servers.postgres import PostgresServer
from tests.store.postgres.attacks import quoted

Connection: TypeAlias = "asyncpg.Connection[Any]"

_CREATE = "CREATE OR REPLACE TRIGGER {guard} BEFORE UPDATE ON"
#: What is done to a guard, and whether that is found also in a schema of a newer version.
TAMPERED = {
    "dropped": ("DROP TRIGGER {guard} ON {table}", True),
    "disabled": ("ALTER TABLE {table} DISABLE TRIGGER {guard}", True),
    "for sessions of replication only": ("ALTER TABLE {table} ENABLE REPLICA TRIGGER {guard}", True),
    "for ordinary sessions only": ("ALTER TABLE {table} ENABLE TRIGGER {guard}", True),
    "renamed": ("ALTER TRIGGER {guard} ON {table} RENAME TO other", True),
    "on another table": (
        (
            f"DROP TRIGGER {{guard}} ON {{table}}; CREATE TABLE other (); {_CREATE} other "
            "EXECUTE FUNCTION guard_refuse(''); ALTER TABLE other ENABLE ALWAYS TRIGGER {guard}"
        ),
        True,
    ),
    "another": (
        (
            f"{_CREATE} {{table}} FOR EACH ROW WHEN (false) EXECUTE FUNCTION guard_refuse(''); "
            "ALTER TABLE {table} ENABLE ALWAYS TRIGGER {guard}"
        ),
        False,
    ),
}
_NOTHING = "RETURNS trigger LANGUAGE plpgsql {} AS 'BEGIN RETURN NEW; END'"
CHANGED_FUNCTIONS = {
    "that does nothing": (f"CREATE OR REPLACE FUNCTION {{function}}() {_NOTHING.format('')}", False),
    "that searches elsewhere": ("ALTER FUNCTION {function}() RESET search_path", False),
    "that acts as its owner": ("ALTER FUNCTION {function}() SECURITY DEFINER", False),
    "that is gone": ("ALTER FUNCTION {function}() RENAME TO other", True),
}


async def test_a_migrated_database_has_its_guards_and_no_others(server: Connection) -> None:
    """Definitions are equal word for word, seen by the role that serves, whatever its settings are."""
    assert await missing_postgres_guards(server) == []
    for setting in (
        "quote_all_identifiers TO on",
        "bytea_output TO escape",
        "standard_conforming_strings TO off",
        "search_path TO public, pg_catalog",
    ):
        await server.execute(f"SET LOCAL {setting}")
        assert await missing_postgres_guards(server) == []
    assert await server.fetchval("SHOW bytea_output") == "escape"
    triggers = await server.fetch("SELECT tgname FROM pg_trigger WHERE NOT tgisinternal")
    assert sorted(row[0] for row in triggers) == sorted(POSTGRES_GUARDS)
    functions = await server.fetch("SELECT proname FROM pg_proc WHERE pronamespace = 'public'::regnamespace")
    assert sorted(row[0] for row in functions) == sorted(POSTGRES_FUNCTIONS)


@pytest.mark.parametrize(("sql", "always"), TAMPERED.values(), ids=TAMPERED)
@pytest.mark.parametrize("guard", ["log_entry_no_update", "field_fence_rises", "freeze_no_truncate"])
async def test_a_guard_that_was_tampered_with_is_found(owner: Connection, guard: str, sql: str, always: bool) -> None:
    """By its name; in a newer schema only what is absent or does not fire."""
    await owner.execute(sql.format(guard=guard, table=quoted(POSTGRES_GUARDS[guard].table)))
    assert await missing_postgres_guards(owner) == [guard]
    assert await missing_postgres_guards(owner, exact=False) == ([guard] if always else [])


@pytest.mark.parametrize("guard", POSTGRES_GUARDS)
async def test_every_guard_is_looked_for(owner: Connection, guard: str) -> None:
    """None is left out."""
    await owner.execute(f"ALTER TABLE {quoted(POSTGRES_GUARDS[guard].table)} DISABLE TRIGGER {guard}")
    assert await missing_postgres_guards(owner) == [guard]


@pytest.mark.parametrize(("sql", "always"), CHANGED_FUNCTIONS.values(), ids=CHANGED_FUNCTIONS)
@pytest.mark.parametrize("function", POSTGRES_FUNCTIONS)
async def test_a_function_that_was_changed_is_found(owner: Connection, function: str, sql: str, always: bool) -> None:
    """A trigger is worth what its function does."""
    await owner.execute(sql.format(function=function))
    assert function in await missing_postgres_guards(owner)
    assert (function in await missing_postgres_guards(owner, exact=False)) == always


async def test_without_a_schema_everything_is_missing(postgres: PostgresServer, empty: str) -> None:
    """A database without our tables has no guards."""
    connection = await asyncpg.connect(postgres.owner_url(empty))
    assert await missing_postgres_guards(connection) == [*POSTGRES_FUNCTIONS, *POSTGRES_GUARDS]
    await connection.close()
