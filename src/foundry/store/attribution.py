"""The auditor's query: every saved change belongs to exactly one holder, who held the lock when it was saved.

It looks at the tables alone and trusts nothing that a server says: each change is joined to the grant of its fencing
token, to the entry of its version, and to the entry that ended the grant. It finds nothing in a sound database.
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
#: The fields of an entry that a release is found by, in the words of each database.
_SQLITE = {
    "field": "json_extract(CAST(entry AS TEXT), '$.data.field')",
    "fence": "json_extract(CAST(entry AS TEXT), '$.data.fencing_token')",
}
_POSTGRES = {
    "field": "convert_from(entry, 'UTF8')::jsonb #>> '{data,field}'",
    "fence": "(convert_from(entry, 'UTF8')::jsonb #>> '{data,fencing_token}')::bigint",
}
_QUERY: Final = Template("""
WITH released AS (
  SELECT log AS project_id, $field AS field, $fence AS fence, min(sequence) AS sequence
  FROM log_entry WHERE event = 'lock_released' GROUP BY 1, 2, 3
)
SELECT c.project_id, c.field, c.version_number, c.fence, c.session_id, c.subject,
  CASE
    WHEN d.version_number IS NULL THEN 'its version is missing'
    WHEN s.sequence IS NULL THEN 'the log does not tell of its version'
    WHEN g.fence IS NULL THEN 'its fencing token was never granted'
    WHEN g.session_id <> c.session_id OR g.session_id <> d.session_id THEN 'its token was granted to another session'
    WHEN g.subject <> c.subject OR g.subject <> d.author_subject THEN 'its token was granted to somebody else'
    WHEN d.sequence <= g.sequence THEN 'it was saved before its token was granted'
    ELSE 'it was saved after its lock had ended'
  END
FROM draft_change c
LEFT JOIN draft d ON d.project_id = c.project_id AND d.version_number = c.version_number
LEFT JOIN lock_grant g ON g.project_id = c.project_id AND g.field = c.field AND g.fence = c.fence
LEFT JOIN log_entry s ON s.log = d.project_id AND s.sequence = d.sequence AND s.event = 'draft_created'
LEFT JOIN released r ON r.project_id = c.project_id AND r.field = c.field AND r.fence = c.fence
WHERE d.version_number IS NULL OR s.sequence IS NULL OR g.fence IS NULL
  OR g.session_id <> c.session_id OR g.session_id <> d.session_id
  OR g.subject <> c.subject OR g.subject <> d.author_subject
  OR d.sequence <= g.sequence OR d.sequence >= r.sequence
ORDER BY 1, 3, 2
""")
_COUNT: Final = "SELECT count(*) FROM draft_change"


@dataclass(frozen=True, slots=True)
class Unattributed:
    """A change that cannot be attributed to a holder who was current when it was saved; ``why`` is one clause."""

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
            connection.execute("BEGIN")  # both answers are about one state
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
    except (OSError, asyncpg.PostgresError) as error:
        raise StoreError(f"the database cannot be read: {error}") from error
