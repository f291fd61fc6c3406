"""C6: what the tables say, against the log: which holder made each change (I5), and who holds what (I2, I3)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from tests.faults.replay import Replay
    from tests.faults.report import Report

#: Changes with the grant that they name, where there is one.
_CHANGES = """
SELECT c.project_id, c.field, c.version_number, c.fence, c.lock_id, c.session_id, c.subject, d.sequence,
       g.sequence AS grant_sequence, g.lock_id AS grant_lock_id, g.session_id AS grant_session_id,
       g.subject AS grant_subject
FROM draft_change c
JOIN draft d ON d.project_id = c.project_id AND d.version_number = c.version_number
LEFT JOIN lock_grant g ON g.project_id = c.project_id AND g.field = c.field AND g.fence = c.fence
"""


@dataclass(frozen=True, slots=True)
class Tables:
    """Rows of one project.

    Attributes:
        fields: ``name``, ``fence``, ``session_id``, ``lock_id``.
        grants: ``field``, ``fence``, ``lock_id``, ``session_id``, ``subject``, ``sequence``.
        changes: Each change of each version, with the grant that it names.
    """

    fields: Sequence[Mapping[str, Any]]
    grants: Sequence[Mapping[str, Any]]
    changes: Sequence[Mapping[str, Any]]


async def read_tables(query: Callable[[str], Awaitable[Sequence[Mapping[str, Any]]]], project_id: str) -> Tables:
    """Read the rows of a project.

    Args:
        query: Runs a statement and returns its rows by column name, such as ``fetch`` of an asyncpg connection.
    """

    async def rows(statement: str) -> list[Mapping[str, Any]]:
        return [row for row in await query(statement) if row["project_id"] == project_id]

    return Tables(
        fields=await rows("SELECT project_id, name, fence, session_id, lock_id FROM field"),
        grants=await rows("SELECT project_id, field, fence, lock_id, session_id, subject, sequence FROM lock_grant"),
        changes=await rows(_CHANGES),
    )


def check_tables(tables: Tables, state: Replay, report: Report) -> None:
    """The rows show what the log tells, and every change lies inside the grant it names."""
    report.counts["rows"] += len(tables.fields) + len(tables.grants) + len(tables.changes)
    for row in tables.fields:
        grant = state.held.get(row["name"])
        told = (state.fences.get(row["name"], 0), grant.session_id if grant else "")
        if (row["fence"], row["session_id"] or "") != told:
            report.add("I2", f"the row of {row['name']} shows another holder or fence than the log", dict(row), told)
    rows = {(row["field"], row["fence"]): row for row in tables.grants}
    for key in sorted(rows.keys() ^ state.grants.keys()):
        report.add("I3", f"token {key[1]} of {key[0]} stands in only one of log and lock_grant", key)
    for key in rows.keys() & state.grants.keys():
        row, begin = rows[key], state.grants[key].begin
        shown = (row["lock_id"], row["session_id"], row["subject"], row["sequence"])
        if shown != (begin.data["lock_id"], begin.data["session_id"], begin.actor, begin.sequence):
            report.add(
                "I3", f"token {key[1]} of {key[0]} is another grant in the log than in lock_grant", dict(row), begin
            )
    for row in tables.changes:
        _check_change(row, state, report)


def _check_change(row: Mapping[str, Any], state: Replay, report: Report) -> None:
    end = grant.end if (grant := state.grants.get((row["field"], row["fence"]))) else None
    shown = (row["lock_id"], row["session_id"], row["subject"])
    if (
        row["grant_sequence"] is None
        or shown != (row["grant_lock_id"], row["grant_session_id"], row["grant_subject"])
        or not row["grant_sequence"] < row["sequence"] < (end.sequence if end else row["sequence"] + 1)
    ):
        report.add(
            "I5", f"version {row['version_number']} of {row['field']} has no holder it belongs to", dict(row), end
        )
