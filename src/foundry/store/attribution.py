"""The auditor's query: every saved change belongs to exactly one holder, who held the lock when it was saved.

It looks at the tables alone and trusts nothing that a server says: each change is joined to the grant of its fencing
token, to what the entry of its version says of it, and to the entry that ended the grant; and each change that an entry
tells of to its row. It finds nothing in a sound database. That the entries are those that were written is what the
hash chain shows, see ``foundry log --verify``.
"""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from dataclasses import dataclass
from string import Template
from typing import TYPE_CHECKING, Final

import asyncpg

from foundry.store.errors import StoreError

if TYPE_CHECKING:
    from pathlib import Path

_CONNECT_S = 10.0
#: What each database calls the members of an entry. SQLite makes an index only of what it knows the type of.
_SQLITE: Final = {
    "said": "CAST(entry AS TEXT)",
    "field": "CAST(json_extract(said, '$.data.field') AS TEXT)",
    "fence": "CAST(json_extract(said, '$.data.fencing_token') AS INTEGER)",
    "version": "CAST(json_extract(said, '$.data.version_number') AS INTEGER)",
    "session": "json_extract(said, '$.session_id')",
    "actor": "json_extract(said, '$.actor.id')",
    "changed_fields": "json_each(said, '$.data.changed_fields')",
    "changed_field": "CAST(json_extract(changed.value, '$.field') AS TEXT)",
    "changed_fence": "CAST(json_extract(changed.value, '$.fencing_token') AS INTEGER)",
    "changed_sha256": "json_extract(changed.value, '$.after_sha256')",
    "sha256": "lower(hex(c.after_sha256))",
}
#: JSON and not JSONB, which takes no text with U+0000 in it, wherever in an entry that is.
_POSTGRES: Final = {
    "said": "convert_from(entry, 'UTF8')::json",
    "field": "said #>> '{data,field}'",
    "fence": "(said #>> '{data,fencing_token}')::bigint",
    "version": "(said #>> '{data,version_number}')::bigint",
    "session": "said ->> 'session_id'",
    "actor": "said #>> '{actor,id}'",
    "changed_fields": "json_array_elements(said #> '{data,changed_fields}')",
    "changed_field": "changed.value ->> 'field'",
    "changed_fence": "(changed.value ->> 'fencing_token')::bigint",
    "changed_sha256": "changed.value ->> 'after_sha256'",
    "sha256": "encode(c.after_sha256, 'hex')",
}
#: ``told`` are the changes as the log tells of them, ``judged`` those of the tables, each with what is wrong with it:
#: the first that is, in the order in which an auditor would look.
_QUERY: Final = Template("""
WITH entry AS MATERIALIZED (
  SELECT log AS project_id, sequence, event, $said AS said
  FROM log_entry WHERE event IN ('draft_created', 'lock_released')
), released AS (
  SELECT project_id, $field AS field, $fence AS fence, min(sequence) AS sequence
  FROM entry WHERE event = 'lock_released' GROUP BY 1, 2, 3
), told AS MATERIALIZED (
  SELECT project_id, sequence, $version AS version_number, $session AS session_id, $actor AS subject,
    $changed_field AS field, $changed_fence AS fence, $changed_sha256 AS sha256
  FROM entry CROSS JOIN $changed_fields AS changed WHERE event = 'draft_created'
), judged AS (
  SELECT c.project_id, c.field, c.version_number, c.fence, c.session_id, c.subject,
    CASE
      WHEN d.version_number IS NULL THEN 'its version is missing'
      WHEN e.sequence IS NULL THEN 'the log does not tell of its version'
      WHEN g.fence IS NULL THEN 'its fencing token was never granted'
      WHEN g.session_id <> c.session_id OR g.session_id <> d.session_id THEN 'its token was granted to another session'
      WHEN g.subject <> c.subject OR g.subject <> d.author_subject THEN 'its token was granted to somebody else'
      WHEN d.sequence <= g.sequence THEN 'it was saved before its token was granted'
      WHEN d.sequence >= r.sequence THEN 'it was saved after its lock had ended'
      WHEN t.sequence IS NULL THEN 'the log does not tell of it'
      WHEN t.session_id <> c.session_id THEN 'the log tells of another session'
      WHEN t.subject <> c.subject THEN 'the log tells of somebody else'
      WHEN t.sha256 <> $sha256 THEN 'the log tells of another content'
    END AS why
  FROM draft_change c
  LEFT JOIN draft d ON d.project_id = c.project_id AND d.version_number = c.version_number
  LEFT JOIN log_entry e ON e.log = d.project_id AND e.sequence = d.sequence AND e.event = 'draft_created'
  LEFT JOIN lock_grant g ON g.project_id = c.project_id AND g.field = c.field AND g.fence = c.fence
  LEFT JOIN released r ON r.project_id = c.project_id AND r.field = c.field AND r.fence = c.fence
  LEFT JOIN told t ON t.project_id = d.project_id AND t.sequence = d.sequence
    AND t.version_number = c.version_number AND t.field = c.field AND t.fence = c.fence
), missing AS (
  SELECT t.project_id, t.field, t.version_number, t.fence, t.session_id, t.subject,
    'the log tells of it, and it is missing' AS why
  FROM told t
  LEFT JOIN draft_change c
    ON c.project_id = t.project_id AND c.version_number = t.version_number AND c.field = t.field
  WHERE c.field IS NULL
)
SELECT * FROM judged WHERE why IS NOT NULL UNION ALL SELECT * FROM missing ORDER BY 1, 3, 2
""")
_COUNT: Final = "SELECT count(*) FROM draft_change"
_TABLES: Final = {"draft", "draft_change", "lock_grant", "log_entry"}
_NOT_OURS: Final = "has none of the tables of foundry, or not all: it was never migrated, or is another one"


@dataclass(frozen=True, slots=True)
class Unattributed:
    """A change that cannot be attributed to a holder who was current when it was saved; ``why`` is one clause.

    One that is missing is shown as the log tells of it.
    """

    project_id: str
    field: str
    version_number: int
    fencing_token: int
    session_id: str
    subject: str
    why: str


@dataclass(frozen=True, slots=True)
class Attribution:
    """How many changes were looked at, of all projects, and those that cannot be attributed."""

    changes: int
    unattributed: tuple[Unattributed, ...]


def attribution_of_directory(data_dir: Path) -> Attribution:
    """Ask the embedded database in a directory, also while a server uses it.

    Raises:
        StoreError: There is none that can be read.
    """
    file = data_dir / "foundry.sqlite3"
    try:
        uri = f"{file.absolute().as_uri()}?mode=ro"
        with contextlib.closing(sqlite3.connect(uri, uri=True, isolation_level=None)) as connection:
            connection.execute("BEGIN")  # all answers are about one state
            tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_schema")}
            if _TABLES - tables:
                raise StoreError(f"{file} {_NOT_OURS}")
            ((changes,),) = connection.execute(_COUNT)
            found = connection.execute(_QUERY.substitute(_SQLITE)).fetchall()
    except sqlite3.Error as error:
        raise StoreError(f"{file} cannot be read: {error}") from error
    return Attribution(changes, tuple(Unattributed(*row) for row in found))


def attribution_of_url(url: str) -> Attribution:
    """Ask a Postgres database; a role that may read the tables is enough.

    Raises:
        StoreError: It cannot be read.
    """

    async def ask() -> Attribution:
        connection = await asyncpg.connect(url, timeout=_CONNECT_S)
        try:
            async with connection.transaction(isolation="repeatable_read", readonly=True):
                changes = await connection.fetchval(_COUNT)
                found = await connection.fetch(_QUERY.substitute(_POSTGRES))
        finally:
            await connection.close()
        return Attribution(changes, tuple(Unattributed(*row) for row in found))

    try:
        return asyncio.run(ask())
    except ValueError as error:  # it may quote the URL, and that may hold a password
        raise StoreError("the URL of the database is not one") from error
    except asyncpg.UndefinedTableError as error:
        raise StoreError(f"the database {_NOT_OURS}") from error
    except (OSError, asyncpg.PostgresError) as error:
        raise StoreError(f"the database cannot be read: {error}") from error
