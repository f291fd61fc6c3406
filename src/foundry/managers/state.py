"""What a stream needs to begin or go on: the entries it missed, or a snapshot with its position."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from foundry.domain.errors import ProjectAccessDenied
from foundry.domain.events import EntryEvent, ResyncReason, SnapshotPage
from foundry.domain.session import Position
from foundry.store.repositories import Repositories

if TYPE_CHECKING:
    from foundry.domain.events import SessionEvent
    from foundry.settings import Fanout
    from foundry.store.database import Database

#: Fields on one snapshot page: about 256 KiB at the longest names.
_PAGE_FIELDS = 500


@dataclass(frozen=True, slots=True)
class Missed:
    """What brings a client up to a position.

    Attributes:
        events: The entries it missed, or the pages of a snapshot.
        resync: Why it is a snapshot; None when it is entries.
    """

    events: list[SessionEvent]
    position: Position
    resync: ResyncReason | None


class StateReader:
    """Reads positions, missed entries and snapshots."""

    def __init__(
        self,
        database: Database,
        *,
        fanout: Fanout,
    ) -> None:
        self._database = database
        self._fanout = fanout

    @property
    def epoch(self) -> int:
        """Identity of the log's history now."""
        return self._database.epoch

    def at(self, sequence: int) -> Position:
        """A position of this history of the log."""
        return Position(self._database.epoch, sequence)

    async def since(self, project_id: str, subject: str, after: Position | None) -> Missed:
        """What happened behind a position; or a snapshot, and why there must be one.

        Raises:
            ProjectAccessDenied: ``subject`` is no member any more.
        """
        epoch = self._database.epoch
        async with self._database.snapshot() as reader:
            store = Repositories(reader)
            last = await store.entries.last_sequence(project_id)
            resync = self._unusable(after, last)
            if after is not None and resync is None:
                entries = await store.entries.after(project_id, after.sequence, self._fanout.replay_entries_max)
                if sum(len(entry.entry_bytes) for entry in entries) <= self._fanout.replay_bytes_max:
                    return Missed([EntryEvent(entry) for entry in entries], Position(epoch, last), None)
                resync = ResyncReason.TOO_MANY
            pages = await _pages(store, project_id, subject)
        return Missed(pages, Position(epoch, last), resync)

    def _unusable(self, after: Position | None, last: int) -> ResyncReason | None:
        if after is None:
            return ResyncReason.NEW
        if after.epoch != self._database.epoch:
            return ResyncReason.EPOCH
        if after.sequence > last:
            return ResyncReason.AHEAD
        return ResyncReason.TOO_MANY if last - after.sequence > self._fanout.replay_entries_max else None


async def _pages(store: Repositories, project_id: str, subject: str) -> list[SessionEvent]:
    found = await store.projects.get(project_id, subject)
    if found is None:
        raise ProjectAccessDenied(project_id)
    states = await store.fields.all(project_id)
    locks = tuple(state.lock for state in states if state.lock)
    digests = tuple(state.content for state in states if state.content)
    runs = await store.runs.running(project_id)
    pages: list[SessionEvent] = []
    for start in range(0, max(len(digests), 1), _PAGE_FIELDS):
        first, end = start == 0, start + _PAGE_FIELDS
        project = found[0] if first else None
        last = end >= len(digests)
        shown = digests[start:end]
        pages.append(SnapshotPage(project, locks if first else (), shown, last, runs if first else ()))
    return pages
