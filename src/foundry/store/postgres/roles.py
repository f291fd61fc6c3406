"""What the role that serves may do in the database, and why a role must not serve."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from foundry.store.tables import metadata

if TYPE_CHECKING:
    import asyncpg

#: Rows of these may be updated by the server.
UPDATED = ("project", "head", "member", "session", "field", "comment", "run", "replica", "instance")
#: Rows of these may be deleted by the server.
DELETED = ("project_label", "member", "request_record")
#: Where the revision of the schema stands; read only.
REVISION_TABLE = "alembic_version"
#: The schema in which our tables are found, as an SQL identifier.
SCHEMA = "SELECT relnamespace::regnamespace::text FROM pg_class WHERE oid = to_regclass('log_entry')"


def quoted(name: str) -> str:
    """A name as an SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def grants(role: str, schema: str = "public") -> list[str]:
    """SQL that gives a role the rights that serving takes, and takes away every other.

    Args:
        role: Name of the role, of any characters.
        schema: Our schema as an SQL identifier, quoted where it has to be.
    """
    who = quoted(role)

    def of(tables: tuple[str, ...]) -> str:
        return ", ".join(f"{schema}.{quoted(table)}" for table in tables)

    tables = tuple(sorted(metadata.tables))
    readable = of((*tables, REVISION_TABLE))
    return [
        f"REVOKE ALL ON SCHEMA {schema} FROM {who}",
        f"GRANT USAGE ON SCHEMA {schema} TO {who}",
        f"REVOKE ALL ON {readable} FROM {who}",
        f"GRANT SELECT ON {readable} TO {who}",
        f"GRANT INSERT ON {of(tables)} TO {who}",
        f"GRANT UPDATE ON {of(UPDATED)} TO {who}",
        f"GRANT DELETE ON {of(DELETED)} TO {who}",
    ]


def _allowed(table: str) -> set[str]:
    return {right for right, tables in (("UPDATE", UPDATED), ("DELETE", DELETED)) if table in tables}


#: Every role that the session may act as, itself among them: SET ROLE costs a program nothing.
_ROLES = """
SELECT rolname, rolname = session_user AS itself, rolsuper, rolcreaterole, rolbypassrls
FROM pg_roles WHERE pg_has_role(session_user, oid, 'MEMBER') ORDER BY rolname <> session_user, rolname
"""
_OWNERS = """
SELECT what, rolname FROM (
    SELECT 'the database' AS what, datdba AS owner FROM pg_database WHERE datname = current_database()
    UNION SELECT 'the schema', nspowner FROM pg_namespace WHERE oid = $2::text::regnamespace
    UNION SELECT 'tables of the schema', relowner FROM pg_class
    WHERE relnamespace = $2::text::regnamespace AND relname = ANY ($1)
) AS owned JOIN pg_roles ON pg_roles.oid = owner WHERE pg_has_role(session_user, owner, 'MEMBER') ORDER BY what
"""
_TABLE_RIGHTS = """
SELECT DISTINCT relname, what
FROM pg_class c, pg_roles r, unnest(ARRAY['UPDATE', 'DELETE', 'TRUNCATE', 'TRIGGER']) AS what
WHERE relnamespace = $2::text::regnamespace AND relname = ANY ($1)
    AND pg_has_role(session_user, r.oid, 'MEMBER')
    AND CASE what WHEN 'UPDATE' THEN has_any_column_privilege(r.oid, c.oid, what)
        ELSE has_table_privilege(r.oid, c.oid, what) END
ORDER BY relname, what
"""
_OTHER_RIGHTS = """
SELECT DISTINCT what FROM pg_roles r, (VALUES ('CREATE in the schema'), ('SET session_replication_role')) AS v (what)
WHERE pg_has_role(session_user, r.oid, 'MEMBER')
    AND CASE WHEN what LIKE 'CREATE%' THEN has_schema_privilege(r.oid, $1::text::regnamespace, 'CREATE')
        ELSE has_parameter_privilege(r.oid, 'session_replication_role', 'SET') END
ORDER BY what
"""
#: Roles of Postgres itself whose members run programs or write files as the database does.
_AS_GOOD_AS_SUPERUSER = ("pg_execute_server_program", "pg_write_server_files")


async def excess_rights(connection: asyncpg.Connection[Any]) -> list[str]:
    """Why the role of this connection must not serve, each reason in words for an operator; empty when it may.

    Rights count that it has itself, by PUBLIC, or by any role that it may act as. What ``grants`` gives is no excess.
    """
    schema = await connection.fetchval(SCHEMA)
    if schema is None:
        return ["it finds no tables of ours"]
    roles = await connection.fetch(_ROLES)
    if any(role["rolsuper"] and role["itself"] for role in roles):
        return ["it is a superuser"]
    reasons = [reason for role in roles for reason in _powers(role)]
    tables = [*sorted(metadata.tables), REVISION_TABLE]
    owned = await connection.fetch(_OWNERS, tables, schema)
    reasons += [f"it may act as {row['rolname']}, which owns {row['what']}" for row in owned]
    if not owned:  # an owner has every right, there is no need to count them
        found = await connection.fetch(_TABLE_RIGHTS, tables, schema)
        reasons += [f"it may {what} {table}" for table, what in found if what not in _allowed(table)]
        reasons += [f"it may {row['what']}" for row in await connection.fetch(_OTHER_RIGHTS, schema)]
    return reasons


def _powers(role: asyncpg.Record) -> list[str]:
    """What a role may do beyond tables."""
    who = "it" if role["itself"] else f"it may act as {role['rolname']}, which"
    powers = {"is a superuser": role["rolsuper"] or role["rolname"] in _AS_GOOD_AS_SUPERUSER}
    powers |= {"may create roles": role["rolcreaterole"], "passes over row security": role["rolbypassrls"]}
    return [f"{who} {power}" for power, has in powers.items() if has]
