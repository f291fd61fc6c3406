"""The AuditManager: reading the logs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from foundry.domain.entry import INSTANCE_LOG
from foundry.domain.errors import AdministratorRequired
from foundry.domain.session import Position
from foundry.managers.access import readable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from foundry.domain.entry import Entry
    from foundry.domain.principal import Caller
    from foundry.domain.session import History
    from foundry.store.entries import EntryRepository
    from foundry.store.projects import SqlAlchemyProjectRepository


class AuditManager:
    """Lists entries.

    Args:
        administrators: Subjects that may read the instance log.
    """

    def __init__(
        self,
        projects: SqlAlchemyProjectRepository,
        entries: EntryRepository,
        *,
        history: History,
        administrators: frozenset[str],
    ) -> None:
        self._projects = projects
        self._entries = entries
        self._history = history
        self._administrators = administrators

    async def list_entries(
        self, caller: Caller, log: str, *, after: int, limit: int, events: Sequence[str], actor: str
    ) -> tuple[list[Entry], Position]:
        """Entries behind ``after`` in order, at most ``limit``, and the head of the log.

        Raises:
            AdministratorRequired: The instance log is asked for by somebody else.
            ProjectAccessDenied: No such project, or not a member.
        """
        if log == INSTANCE_LOG:
            if caller.principal.subject not in self._administrators:
                raise AdministratorRequired("read the instance log")
        else:
            await readable(self._projects, caller, log)
        head = Position(self._history.epoch, await self._entries.last_sequence(log))
        return await self._entries.page(log, after, limit, events, actor), head
