"""Sessions: rows, statements, queries."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import Text, bindparam, func, insert, select, update

from foundry.domain.session import CloseReason, Session, SessionState
from foundry.store import tables as t
from foundry.store.codec import dump_principal, load_principal
from foundry.store.statement import Row, Statement

if TYPE_CHECKING:
    from foundry.store.database import Reader

_COLUMNS = tuple(column for column in t.session.c if column.name != "subject")
_SESSION = select(*_COLUMNS)
_OPEN = t.SESSION_IS_OPEN

SESSION = Statement(_SESSION.where(t.session.c.session_id == bindparam("session_id")))
OPEN_SESSIONS_OF = Statement(
    _SESSION.where(
        t.session.c.project_id == bindparam("project_id"), t.session.c.subject == bindparam("subject"), _OPEN
    ).order_by(t.session.c.session_id)
)
OPEN_SESSIONS = Statement(
    _SESSION.where(t.session.c.project_id == bindparam("project_id"), _OPEN).order_by(t.session.c.session_id)
)
COUNT_OPEN = Statement(
    select(bindparam("project_id", type_=Text), func.count())
    .select_from(t.session)
    .where(t.session.c.project_id == bindparam("project_id", type_=Text), _OPEN)
)
INSERT_SESSION = Statement(insert(t.session))

#: Compare and swap on (state, stream_epoch): a late teardown of an older stream touches nothing.
UPDATE_SESSION = Statement(
    update(t.session)
    .where(
        t.session.c.session_id == bindparam("key"),
        t.session.c.stream_epoch == bindparam("old_stream_epoch"),
        t.session.c.state == bindparam("old_state"),
    )
    .values(
        {
            name: bindparam(name)
            for name in (
                "state",
                "stream_epoch",
                "resume_hash",
                "server_boot_id",
                "tab_id",
                "grace_ms",
                "detach_time_us",
                "close_time_us",
                "close_reason",
            )
        }
    )
)


def to_session(row: Row) -> Session:
    """A session from a row of ``SESSION``."""
    return Session(
        session_id=row[0],
        project_id=row[1],
        principal=load_principal(row[2]),
        state=SessionState(row[3]),
        stream_epoch=row[4],
        resume_hash=row[5],
        server_boot_id=row[6],
        tab_id=row[7],
        client_name=row[8],
        client_version=row[9],
        grace_ms=row[10],
        open_time_us=row[11],
        epoch=row[15],
        detach_time_us=row[12],
        close_time_us=row[13],
        close_reason=CloseReason(row[14]) if row[14] else None,
    )


def session_parameters(session: Session) -> dict[str, object]:
    """The columns of a session."""
    return {
        "session_id": session.session_id,
        "project_id": session.project_id,
        "subject": session.principal.subject,
        "principal": dump_principal(session.principal),
        "state": session.state.value,
        "stream_epoch": session.stream_epoch,
        "resume_hash": session.resume_hash,
        "server_boot_id": session.server_boot_id,
        "tab_id": session.tab_id,
        "client_name": session.client_name,
        "client_version": session.client_version,
        "grace_ms": session.grace_ms,
        "open_time_us": session.open_time_us,
        "epoch": session.epoch,
        "detach_time_us": session.detach_time_us,
        "close_time_us": session.close_time_us,
        "close_reason": session.close_reason.value if session.close_reason else "",
    }


class SessionRepository:
    """Reads sessions."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader

    async def get(self, session_id: str) -> Session | None:
        """A session by id, open or closed."""
        row = await self._reader.row(SESSION, {"session_id": session_id})
        return to_session(row) if row else None

    async def open_in(self, project_id: str, after: str, limit: int) -> list[Session]:
        """Open sessions of a project by id (that is, by age), from behind ``after``; at most ``limit``."""
        query = (
            _SESSION.where(t.session.c.project_id == project_id, t.session.c.session_id > after, _OPEN)
            .order_by(t.session.c.session_id)
            .limit(limit)
        )
        return [to_session(tuple(row)) for row in await self._reader.fetch(query)]

    async def of_the_dead(self, limit: int) -> list[Session]:
        """Open sessions whose server process was given up, in all projects; at most ``limit``."""
        # Those that were not given up are few; those that were are all there ever were.
        others = select(t.replica.c.replica_id).where(t.REPLICA_IS_OPEN)
        query = _SESSION.where(_OPEN, t.session.c.server_boot_id.not_in(others)).limit(limit)
        return [to_session(tuple(row)) for row in await self._reader.fetch(query)]

    async def of_older_epochs(self, epoch: int, limit: int) -> list[Session]:
        """Open sessions of all projects from before an epoch; at most ``limit``."""
        query = _SESSION.where(_OPEN, t.session.c.epoch < epoch).limit(limit)
        return [to_session(tuple(row)) for row in await self._reader.fetch(query)]

    async def left_by_other_boots(self, boot_id: str) -> list[Session]:
        """Open sessions that an earlier process served, in all projects."""
        query = _SESSION.where(_OPEN, t.session.c.server_boot_id != boot_id)
        return [to_session(tuple(row)) for row in await self._reader.fetch(query)]
