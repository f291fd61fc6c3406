"""What a stream needs to begin or go on: the entries it missed, or a snapshot with its position."""

from __future__ import annotations

from typing import TYPE_CHECKING

from foundry.domain.errors import ProjectAccessDenied
from foundry.domain.events import CaughtUp, EntryEvent, Resync, ResyncReason, SnapshotPage
from foundry.domain.session import Position

if TYPE_CHECKING:
    from foundry.domain.entry import Entry
    from foundry.domain.events import SessionEvent
    from foundry.settings import Fanout
    from foundry.store.database import Database
    from foundry.store.entries import EntryRepository
    from foundry.store.fields import FieldRepository
    from foundry.store.projects import SqlAlchemyProjectRepository

#: Fields on one snapshot page: about 256 KiB at the longest names.
_PAGE_FIELDS = 500


class StateReader:
    """Reads positions, missed entries and snapshots."""

    def __init__(
        self,
        database: Database,
        projects: SqlAlchemyProjectRepository,
        fields: FieldRepository,
        entries: EntryRepository,
        *,
        fanout: Fanout,
    ) -> None:
        self._database = database
        self._projects = projects
        self._fields = fields
        self._entries = entries
        self._fanout = fanout

    async def position(self, project_id: str) -> Position:
        """The newest position of a project's log."""
        return Position(self._database.epoch, await self._entries.last_sequence(project_id))

    async def missed(self, project_id: str, after: Position | None) -> tuple[list[Entry] | None, ResyncReason | None]:
        """Entries behind a position; or None, and why there must be a snapshot instead."""
        if after is None:
            return None, ResyncReason.NEW
        if after.epoch != self._database.epoch:
            return None, ResyncReason.EPOCH
        last = await self._entries.last_sequence(project_id)
        if after.sequence > last:
            return None, ResyncReason.AHEAD
        if last - after.sequence > self._fanout.replay_entries_max:
            return None, ResyncReason.TOO_MANY
        found = await self._entries.after(project_id, after.sequence, self._fanout.replay_entries_max)
        if sum(len(entry.entry_bytes) for entry in found) > self._fanout.replay_bytes_max:
            return None, ResyncReason.TOO_MANY
        return found, None

    async def catch_up(
        self, project_id: str, subject: str, missed: list[Entry] | None
    ) -> tuple[list[SessionEvent], int]:
        """The missed entries, or the pages of a snapshot, with ``caught_up`` last; and the sequence they lead to.

        Raises:
            ProjectAccessDenied: ``subject`` is no member any more.
        """
        if missed is not None:
            position = await self.position(project_id)
            if missed:
                position = Position(position.epoch, missed[-1].sequence)
            return [*(EntryEvent(entry) for entry in missed), CaughtUp(position)], position.sequence
        with self._database.snapshot():
            position = await self.position(project_id)
            found = await self._projects.get(project_id, subject)
            states = await self._fields.all(project_id)
        if found is None:
            raise ProjectAccessDenied(project_id)
        locks = tuple(state.lock for state in states if state.lock)
        digests = tuple(state.content for state in states if state.content)
        pages: list[SessionEvent] = []
        for start in range(0, max(len(digests), 1), _PAGE_FIELDS):
            first, end = start == 0, start + _PAGE_FIELDS
            page = SnapshotPage(
                found[0] if first else None, locks if first else (), digests[start:end], end >= len(digests)
            )
            pages.append(page)
        return [*pages, CaughtUp(position)], position.sequence

    @staticmethod
    def resync(reason: ResyncReason) -> Resync:
        """What tells a client that a snapshot follows on its stream."""
        return Resync(reason)
