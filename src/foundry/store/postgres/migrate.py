"""Bringing the schema of a Postgres database up to date, by its owner and never by the server itself."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import asyncpg
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.util.exc import CommandError
from sqlalchemy import NullPool
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import create_async_engine

import foundry.store
from foundry.store.errors import StoreError
from foundry.store.postgres.guards import missing_postgres_guards
from foundry.store.postgres.reasons import reason
from foundry.store.postgres.roles import grants

if TYPE_CHECKING:
    from sqlalchemy import Connection
    from sqlalchemy.ext.asyncio import AsyncConnection

#: Only one migration of a database runs at a time; the number is ours, and says "foundry".
_ADVISORY_LOCK = 0x666F756E647279
_CONNECT_S = 10.0
_SETTINGS = {
    "application_name": "foundry migrate",
    # Whoever has waited must see what was done meanwhile, whatever the database's own default is.
    "default_transaction_isolation": "read committed",
}
#: Another migration may take its time; nothing waits behind this wait.
_WAIT_FOR_ANOTHER = ("SET LOCAL statement_timeout TO '10min'", "SET LOCAL lock_timeout TO 0")
#: While a change waits for a table, everybody else waits behind it; rather give up and be run again.
_WAIT_FOR_TABLES = "SET LOCAL lock_timeout TO '10s'"
#: What may be gone the next time.
_IN_THE_WAY = (asyncpg.LockNotAvailableError, asyncpg.QueryCanceledError, asyncpg.DeadlockDetectedError)
_OLDEST_POSTGRES = 150_000
_ABOUT = """
SELECT current_setting('server_version_num')::int, current_setting('server_encoding'), quote_ident(current_schema()),
    EXISTS (SELECT FROM pg_roles WHERE rolname = $1), current_user = $1
"""


async def migrate(owner_url: str, *, server_role: str) -> tuple[str, str]:
    """Bring the schema up to date and give the server's role its rights, all in one transaction.

    Several may do this at once: one works, the others wait up to ten minutes and find nothing to do.

    Args:
        owner_url: ``postgresql://`` URL of the role that owns the schema, as libpq knows it.
        server_role: The role that servers connect with; it must be there and be another one.

    Returns:
        The revisions before and after; before is empty for a new database.

    Raises:
        StoreError: The database cannot be reached or is no UTF-8 database of Postgres 15 or newer, the role is not
            there, the schema is from a newer version of foundry, a guard is missing or altered, or something stood in
            the way. Nothing has changed.
    """

    async def connect() -> Any:  # noqa: ANN401 - asyncpg's connection, which SQLAlchemy wraps
        return await asyncpg.connect(owner_url, timeout=_CONNECT_S, server_settings=_SETTINGS)

    engine = create_async_engine("postgresql+asyncpg://", async_creator=connect, poolclass=NullPool)
    try:
        async with engine.begin() as connection:
            for sql in (*_WAIT_FOR_ANOTHER, f"SELECT pg_advisory_xact_lock({_ADVISORY_LOCK})", _WAIT_FOR_TABLES):
                await connection.exec_driver_sql(sql)
            schema = await _schema(connection, server_role)
            revisions = await connection.run_sync(_upgrade)
            for sql in grants(server_role, schema):
                await connection.exec_driver_sql(sql)
            await _check_guards(connection)
            return revisions
    except CommandError as error:
        raise StoreError(
            f"the schema is from another version of foundry ({error}); migrate with that version"
        ) from error
    except (DBAPIError, asyncpg.PostgresError, asyncpg.InterfaceError, OSError, ValueError, OverflowError) as error:
        # What SQLAlchemy wraps was caused by what asyncpg said.
        why = (error.orig.__cause__ if isinstance(error, DBAPIError) and error.orig else None) or error
        again = "; nothing has changed, run it again" if isinstance(why, _IN_THE_WAY) else ""
        raise StoreError(f"the database cannot be migrated: {reason(why)}{again}") from error
    finally:
        await engine.dispose()


async def _schema(connection: AsyncConnection, server_role: str) -> str:
    """Our schema as an SQL identifier, once everything is as it has to be."""
    about: Any = (await connection.exec_driver_sql(_ABOUT, (server_role,))).one()
    version, encoding, schema, exists, is_owner = about
    if version < _OLDEST_POSTGRES:
        raise StoreError("the database server is older than Postgres 15")
    if encoding != "UTF8":
        raise StoreError(f"the encoding of the database is {encoding}; it must be UTF8")
    if schema is None:
        raise StoreError("the database has no schema that is searched; see search_path")
    if not exists:
        raise StoreError(f"there is no role {server_role} for the server; create it, with LOGIN and no other right")
    if is_owner:
        raise StoreError(f"the role {server_role} migrates, so it must not serve; the server needs a role of its own")
    return str(schema)


async def _check_guards(connection: AsyncConnection) -> None:
    """Who changed what is written could have taken a guard away before; a migration must not make it look sound."""
    driver: Any = (await connection.get_raw_connection()).driver_connection
    missing = await missing_postgres_guards(driver)
    if missing:
        raise StoreError(
            f"the guards {', '.join(missing)} of the database are missing or altered, and no server starts without "
            "them; nothing has changed: find out who did it, then make them again, see docs/operations.md"
        )


def _upgrade(connection: Connection) -> tuple[str, str]:
    config = Config()
    config.set_main_option("script_location", str(Path(foundry.store.__file__).parent / "migrations"))
    config.attributes["connection"] = connection
    before = _revision(connection)
    command.upgrade(config, "head")
    return before, _revision(connection)


def _revision(connection: Connection) -> str:
    return MigrationContext.configure(connection).get_current_revision() or ""
