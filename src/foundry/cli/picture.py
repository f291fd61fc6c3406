"""What is known of a project that is watched: its state, its newest entries, comments and consoles."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from foundry.cli.remarks import Remarks
from foundry.cli.tails import Consoles

if TYPE_CHECKING:
    from coreason.foundry.v1.audit_pb2 import LogEntry
    from coreason.foundry.v1.draft_pb2 import Draft, FieldValue
    from coreason.foundry.v1.lock_pb2 import Lock
    from coreason.foundry.v1.project_pb2 import Project
    from coreason.foundry.v1.session_event_pb2 import SessionPresence
    from foundry.client import Session

KEPT_ENTRIES: Final = 200
KEPT_VERSIONS: Final = 20


@dataclass(slots=True)
class Picture:
    """What the dashboard shows.

    Attributes:
        project: The project, or None before the server told.
        presence: Who is here, by session.
        locks: Held locks, by field.
        fields: The fields, by name.
        entries: The newest entries of the log, oldest first.
        versions: The newest versions, oldest first.
        remarks: Comments and tasks.
        consoles: Runs and the ends of their consoles.
        is_read: Whether entries and versions from before are here.
        trouble: What stands between this and the server, or nothing.
    """

    project: Project | None = None
    presence: Mapping[str, SessionPresence] = field(default_factory=dict)
    locks: Mapping[str, Lock] = field(default_factory=dict)
    fields: Mapping[str, FieldValue] = field(default_factory=dict)
    entries: deque[LogEntry] = field(default_factory=lambda: deque(maxlen=KEPT_ENTRIES))
    versions: deque[Draft] = field(default_factory=lambda: deque(maxlen=KEPT_VERSIONS))
    remarks: Remarks = field(default_factory=Remarks)
    consoles: Consoles = field(default_factory=Consoles)
    is_read: bool = False
    trouble: str = ""

    def look(self, session: Session) -> None:
        """Take in the state of a session as it is now."""
        state = session.state
        self.project, self.presence, self.locks, self.fields = state.project, state.presence, state.locks, state.fields
        self.consoles.see(state.runs)
        self.trouble = "no word from the server" if session.jeopardy else ""

    def add(self, entry: LogEntry) -> None:
        """Take in an entry of the log, unless it is known already."""
        if self.entries and _place(entry) <= _place(self.entries[-1]):
            return
        self.entries.append(entry)
        self.consoles.hear(entry)
        if entry.HasField("draft_created"):
            self._add_version(entry)

    def remember(self, entries: list[LogEntry], versions: list[Draft]) -> None:
        """Take in what was before, oldest first."""
        self.is_read = True
        first = _place(self.entries[0]) if self.entries else None
        before = [entry for entry in entries if first is None or _place(entry) < first]
        room = KEPT_ENTRIES - len(self.entries)
        self.entries.extendleft(reversed(before[len(before) - min(room, len(before)) :]))
        known = {draft.version_number for draft in self.versions}
        older = [draft for draft in versions if draft.version_number not in known]
        merged = sorted([*self.versions, *older], key=lambda draft: draft.version_number)
        self.versions = deque(merged, maxlen=KEPT_VERSIONS)

    def _add_version(self, entry: LogEntry) -> None:
        from coreason.foundry.v1.draft_pb2 import Draft

        created = entry.draft_created
        if created.version_number <= (self.versions[-1].version_number if self.versions else 0):
            return
        self.versions.append(
            Draft(
                version_number=created.version_number,
                source_version=created.source_version,
                origin=created.origin,
                author=entry.actor,
                create_time=entry.time,
                message=created.message,
                changed_fields=created.changed_fields,
            )
        )


def _place(entry: LogEntry) -> tuple[int, int]:
    return entry.position.epoch, entry.position.sequence
