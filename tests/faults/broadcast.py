"""I12: what each client received is the log, in order and without gaps, from a snapshot that was true (B1 to B10)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tests.faults.replay import replay
from tests.faults.report import Report

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from tests.faults.entries import Entry
    from tests.faults.history import History, Note


def check_broadcast(
    history: History, entries: Sequence[Entry], report: Report, *, complete: Iterable[str] = ()
) -> None:
    """Compare what came with the log.

    Args:
        complete: Processes that were live and caught up at the end, and so must have received the whole log.
    """
    shown: dict[int, dict[str, Any]] = {}
    for process, notes in history.notes.items():
        listener = _Listener(process, entries, report, shown)
        for note in notes:
            listener.take(note)
        if process in set(complete) and listener.position != len(entries):
            text = f"{process} has received everything up to {listener.position}, and the log ends at {len(entries)}"
            report.add("I12", text)


class _Listener:
    """Follows the notes of one process."""

    def __init__(
        self, process: str, entries: Sequence[Entry], report: Report, shown: dict[int, dict[str, Any]]
    ) -> None:
        self._process = process
        self._entries = entries
        self._report = report
        self._shown = shown
        self._snapshot: Note | None = None
        self._void = True
        self._epoch = 0
        self.position = 0

    def take(self, note: Note) -> None:
        match note.kind:
            case "opened" if note.data["attachment"] == "ATTACHMENT_SNAPSHOT":
                self._void = True
            case "resync":
                self._void = True
            case "snapshot":
                self._snapshot = note
            case "caught_up":
                self._caught_up(note)
            case "entry":
                self._entry(note)

    def _caught_up(self, note: Note) -> None:
        """B2, B9: either there was a snapshot of this position, or everything up to here has come."""
        self._report.counts["caught up"] += 1
        sequence = note.data["sequence"]
        if self._void:
            if self._snapshot is None:
                self._report.add("I12", f"{self._process} was caught up without a snapshot", note)
            elif self._snapshot.data["locks"] != self._locks_at(sequence):
                text = f"{self._process}: the snapshot at {sequence} does not show the locks of the log"
                self._report.add("B9", text, self._snapshot, self._locks_at(sequence))
        elif sequence != self.position:
            text = f"{self._process} was caught up at {sequence}, having received everything up to {self.position}"
            self._report.add("I12", text, note)
        self._snapshot, self._void, self._epoch = None, False, note.data["epoch"]
        self.position = sequence

    def _entry(self, note: Note) -> None:
        """B1 to B3, B6: the next entry, or one seen before; and it is in the log."""
        self._report.counts["events"] += 1
        sequence = note.data["sequence"]
        if sequence > len(self._entries) or self._entries[sequence - 1].leaf != note.data["leaf"]:
            self._report.add("I12", f"{self._process} received an entry {sequence} that is not the log's", note)
        if self._void:
            # Between `opened` or `resync` and `caught_up` there is the snapshot and nothing else.
            self._report.add("I12", f"{self._process} received entry {sequence} before its snapshot", note)
        elif note.data["epoch"] != self._epoch and self._epoch:
            self._report.add("I12", f"{self._process} received entry {sequence} of another epoch", note)
        elif sequence > self.position + 1:
            self._report.add("I12", f"{self._process} received entry {sequence} behind entry {self.position}", note)
        self.position = max(self.position, sequence)

    def _locks_at(self, sequence: int) -> dict[str, Any]:
        if sequence not in self._shown:
            state = replay(self._entries[:sequence], Report())
            self._shown[sequence] = {name: [it.session_id, it.fence] for name, it in sorted(state.held.items())}
        return self._shown[sequence]
