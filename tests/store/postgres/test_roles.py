"""The role that serves may do what the server does, and a role that may do more is not let serve."""

from __future__ import annotations

from typing import Any, TypeAlias

import asyncpg
import pytest

from foundry.store.postgres.roles import DELETED, UPDATED, excess_rights
from foundry.store.tables import metadata
from tests.servers.postgres import PostgresServer
from tests.store.postgres.attacks import quoted

Connection: TypeAlias = "asyncpg.Connection[Any]"

#: What an operator may have given too much, and the words for it.
EXCESS = {
    "a superuser": ("ALTER ROLE {role} SUPERUSER", ["it is a superuser"]),
    "who makes roles": ("ALTER ROLE {role} CREATEROLE", ["it may create roles"]),
    "whom no policy stops": ("ALTER ROLE {role} BYPASSRLS", ["it passes over row security"]),
    "an owner": (
        "ALTER TABLE log_entry OWNER TO {role}",
        ["it may act as {role}, which owns tables of the schema"],
    ),
    "a member of the owner": (
        "GRANT {owner} TO {role}",
        [
            "it may act as {owner}, which owns tables of the schema",
            "it may act as {owner}, which owns the database",
            "it may act as pg_database_owner, which owns the schema",
        ],
    ),
    "the owner of the schema": (
        "ALTER SCHEMA public OWNER TO {role}",
        ["it may act as {role}, which owns the schema"],
    ),
    "a member without inheritance": (
        "CREATE ROLE hidden NOINHERIT; GRANT TRUNCATE ON draft TO hidden; GRANT hidden TO {role} WITH INHERIT FALSE",
        ["it may TRUNCATE draft"],
    ),
    "a member of a superuser": ("CREATE ROLE hidden SUPERUSER; GRANT hidden TO {role}", None),
    "who runs programs": (
        "GRANT pg_execute_server_program TO {role}",
        ["it may act as pg_execute_server_program, which is a superuser"],
    ),
    "who writes all data": ("GRANT pg_write_all_data TO {role}", None),
    "who updates": ("GRANT UPDATE ON log_entry TO {role}", ["it may UPDATE log_entry"]),
    "who updates one column": ("GRANT UPDATE (entry) ON log_entry TO {role}", ["it may UPDATE log_entry"]),
    "who deletes": ("GRANT DELETE ON draft TO PUBLIC", ["it may DELETE draft"]),
    "who deletes what only changes": ("GRANT DELETE ON field TO {role}", ["it may DELETE field"]),
    "who makes triggers": ("GRANT TRIGGER ON session TO {role}", ["it may TRIGGER session"]),
    "who sets the revision": ("GRANT UPDATE ON alembic_version TO {role}", ["it may UPDATE alembic_version"]),
    "who makes tables": ("GRANT CREATE ON SCHEMA public TO PUBLIC", ["it may CREATE in the schema"]),
    "who switches triggers off": (
        "GRANT SET ON PARAMETER session_replication_role TO {role}",
        ["it may SET session_replication_role"],
    ),
}


async def test_the_server_has_no_excess(server: Connection) -> None:
    """What a migration grants is just right."""
    assert await excess_rights(server) == []


@pytest.mark.parametrize("table", sorted(metadata.tables))
async def test_the_server_has_the_rights_of_the_list(server: Connection, table: str) -> None:
    """It reads and inserts everywhere; changes and forgets only where the list says; and nothing else anywhere."""
    wanted = {"SELECT", "INSERT"} | ({"UPDATE"} if table in UPDATED else set())
    wanted |= {"DELETE"} if table in DELETED else set()
    rights = ["SELECT", "INSERT", "UPDATE", "DELETE", "TRUNCATE", "REFERENCES", "TRIGGER"]
    asked = "SELECT r FROM unnest($2::text[]) r WHERE has_table_privilege($1, r)"
    assert {row[0] for row in await server.fetch(asked, quoted(table), rights)} == wanted


async def test_the_server_makes_no_table(server: Connection) -> None:
    """Nothing is created in our schema."""
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await server.execute("CREATE TABLE public.mine ()")


@pytest.mark.parametrize(("sql", "words"), EXCESS.values(), ids=EXCESS)
async def test_excess_is_found(admin: Connection, postgres: PostgresServer, sql: str, words: list[str] | None) -> None:
    """In words, whether the role has the right itself, by PUBLIC, or by a role that it may act as."""
    names = {"role": postgres.server, "owner": postgres.owner}
    await admin.execute(sql.format(**names))
    await admin.execute(f"SET LOCAL SESSION AUTHORIZATION {postgres.server}")
    found = await excess_rights(admin)
    if words is None:
        assert found
    else:
        assert found == [word.format(**names) for word in words]


async def test_acting_as_another_hides_nothing(admin: Connection, postgres: PostgresServer) -> None:
    """What counts is who connected: one statement takes it back."""
    await admin.execute(f"SET LOCAL ROLE {postgres.server}")
    assert await excess_rights(admin) == ["it is a superuser"]


async def test_a_role_that_sees_no_tables_does_not_serve(postgres: PostgresServer, empty: str) -> None:
    """Nothing can be said of rights on what is not there."""
    connection = await asyncpg.connect(postgres.server_url(empty))
    assert await excess_rights(connection) == ["it finds no tables of ours"]
    await connection.close()
