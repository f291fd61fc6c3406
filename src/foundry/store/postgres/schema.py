"""Which schemas this version of foundry can serve.

A schema is expanded first, by ``foundry migrate``, and contracted in a later release: meanwhile servers of both
versions run side by side. So each schema says from which version on the servers can use it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from foundry.store.errors import StoreError

if TYPE_CHECKING:
    import asyncpg

#: The revision that this version was made for; the oldest that it can serve.
REVISION: Final = "0003"

_CURRENT = "SELECT to_regclass('alembic_version') IS NOT NULL"
_MIGRATE = "run `foundry migrate --server-role ROLE` with the owner's URL"


async def check_schema(connection: asyncpg.Connection[Any]) -> tuple[str, bool]:
    """The revision of the database, and whether it is exactly the one that this version was made for.

    Raises:
        StoreError: It has none, an older one, or one that this version cannot serve; says what to do.
    """
    if not await connection.fetchval(_CURRENT):
        raise StoreError(f"the database has no schema of foundry; {_MIGRATE}")
    revision = str(await connection.fetchval("SELECT version_num FROM alembic_version"))
    if revision < REVISION:
        raise StoreError(f"the schema of the database is {revision}, and this version needs {REVISION}; {_MIGRATE}")
    serves_from = await connection.fetchval("SELECT value FROM instance WHERE name = 'schema_serves_from'")
    if revision > REVISION and (serves_from is None or serves_from > REVISION):
        raise StoreError(
            f"the schema of the database is {revision}, which servers from {serves_from} on can use, and this version "
            f"knows {REVISION}; run a newer version of foundry"
        )
    return revision, revision == REVISION
