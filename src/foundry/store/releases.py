"""The freeze of a project: row, statements, queries."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import bindparam, insert, select

from foundry.domain.release import Freeze
from foundry.store import tables as t
from foundry.store.codec import dump_principal, load_principal
from foundry.store.statement import Row, Statement

if TYPE_CHECKING:
    from foundry.store.database import Reader

FREEZE = Statement(select(*t.freeze.c).where(t.freeze.c.project_id == bindparam("project_id")))
INSERT_FREEZE = Statement(insert(t.freeze))


def to_freeze(row: Row) -> Freeze:
    """A freeze from a row of ``FREEZE``."""
    return Freeze(
        project_id=row[0],
        freeze_id=row[1],
        version_number=row[2],
        draft_id=row[3],
        content_sha256=row[4].hex(),
        fingerprint=row[5].hex(),
        requester=load_principal(row[6]),
        create_time_us=row[7],
        reason=row[8],
        log_sequence=row[9],
        log_leaf=row[10].hex(),
        sequence=row[11],
    )


def freeze_parameters(freeze: Freeze) -> dict[str, object]:
    """The columns of a freeze."""
    return {
        "project_id": freeze.project_id,
        "freeze_id": freeze.freeze_id,
        "version_number": freeze.version_number,
        "draft_id": freeze.draft_id,
        "content_sha256": bytes.fromhex(freeze.content_sha256),
        "fingerprint": bytes.fromhex(freeze.fingerprint),
        "requester": dump_principal(freeze.requester),
        "create_time_us": freeze.create_time_us,
        "reason": freeze.reason,
        "log_sequence": freeze.log_sequence,
        "log_leaf": bytes.fromhex(freeze.log_leaf),
        "sequence": freeze.sequence,
    }


class ReleaseRepository:
    """Reads freezes."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader

    async def get(self, project_id: str) -> Freeze | None:
        """The freeze of a project, None when it is not frozen."""
        row = await self._reader.row(FREEZE, {"project_id": project_id})
        return to_freeze(row) if row else None
