"""C1: the log replayed in the order of its commits, for I1 to I6 and the numbering of versions (I9).

The log is a total order, so no search is needed: one pass. After a violation the replay goes on from what the log says,
so that one defect is reported once and not once for each entry that follows.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from tests.faults.entries import Entry
    from tests.faults.report import Report

_NO_LEAF = "00" * 32


@dataclass(frozen=True, slots=True)
class Grant:
    """A grant as the log tells of it.

    Attributes:
        end: The entry that ended it, None while it is held.
    """

    begin: Entry
    end: Entry | None = None

    @property
    def field(self) -> str:
        """The field."""
        return str(self.begin.data["field"])

    @property
    def fence(self) -> int:
        """Its fencing token."""
        return int(self.begin.data["fencing_token"])

    @property
    def session_id(self) -> str:
        """Its session."""
        return str(self.begin.data["session_id"])

    @property
    def release_reason(self) -> str:
        """Why it ended, without the prefix of the contract; empty while it is held."""
        return str(self.end.data["release_reason"]).removeprefix("LOCK_RELEASE_REASON_") if self.end else ""


@dataclass(slots=True)
class Replay:
    """The state that the log leads to, and all that ever was.

    Attributes:
        held: The held grants by field.
        fences: The newest fencing token by field.
        grants: All grants by field and fencing token.
        open_sessions: Ids of the sessions that are open.
        closed: The entry that closed a session, by its id.
        drafts: The entries of the versions, in order.
        unary: Ids of sessions of the length of one call.
    """

    report: Report
    held: dict[str, Grant] = field(default_factory=dict)
    fences: dict[str, int] = field(default_factory=dict)
    grants: dict[tuple[str, int], Grant] = field(default_factory=dict)
    open_sessions: set[str] = field(default_factory=set)
    closed: dict[str, Entry] = field(default_factory=dict)
    drafts: list[Entry] = field(default_factory=list)
    unary: set[str] = field(default_factory=set)
    _last: Entry | None = None

    def apply(self, entry: Entry) -> None:
        """Take the next entry in."""
        self.report.counts["entries"] += 1
        self._check_place(entry)
        self._last = entry
        steps: dict[str, Callable[[Entry, Mapping[str, Any]], None]] = {
            "session_opened": self._opened,
            "session_resumed": self._resumed,
            "session_closed": self._closed,
            "lock_acquired": self._acquired,
            "lock_released": self._released,
            "draft_created": self._created,
        }
        if step := steps.get(entry.event):
            step(entry, entry.data)

    def _check_place(self, entry: Entry) -> None:
        """I1: the sequence has neither gaps nor repeats, and the entry names the leaf of the one before."""
        before = self._last
        sequence, leaf, time_us = (before.sequence, before.leaf, before.time_us) if before else (0, _NO_LEAF, 0)
        if entry.sequence != sequence + 1:
            self.report.add("I1", f"entry {entry.sequence} follows entry {sequence}", entry)
        elif entry.prev != leaf:
            self.report.add("I1", f"entry {entry.sequence} does not name the leaf of the entry before", entry)
        if not entry.canonical:
            self.report.add("I1", f"the bytes of entry {entry.sequence} are not canonical", entry)
        if entry.time_us < time_us:
            self.report.add("I1", f"time runs backwards at entry {entry.sequence}", before, entry)

    def _opened(self, entry: Entry, data: Mapping[str, Any]) -> None:
        session_id = data["session_id"]
        if session_id in self.open_sessions or session_id in self.closed:
            self.report.add("I6", f"session {session_id} was opened twice", entry)
        self.open_sessions.add(session_id)
        if data.get("unary"):
            self.unary.add(session_id)

    def _resumed(self, entry: Entry, data: Mapping[str, Any]) -> None:
        if data["session_id"] not in self.open_sessions:
            self.report.add("I6", f"session {data['session_id']} was resumed without being open", entry)

    def _closed(self, entry: Entry, data: Mapping[str, Any]) -> None:
        """I6: nothing is held by a closed session."""
        session_id = data["session_id"]
        for grant in self.held.values():
            if grant.session_id == session_id:
                self.report.add("I6", f"closed session {session_id} holds {grant.field}", grant.begin, entry)
        if session_id not in self.open_sessions:
            self.report.add("I6", f"session {session_id} was closed without being open", entry)
        self.open_sessions.discard(session_id)
        self.closed[session_id] = entry

    def _acquired(self, entry: Entry, data: Mapping[str, Any]) -> None:
        """I2, I3, I6: only a free field is granted, under the next fencing token, to an open session."""
        self.report.counts["grants"] += 1
        grant = Grant(entry)
        name, holder = grant.field, self.held.get(grant.field)
        if holder:
            self.report.add("I2", f"{name} was granted while it was held", holder.begin, entry)
        if grant.fence != self.fences.get(name, 0) + 1:
            self.report.add("I3", f"{name}: token {grant.fence} follows {self.fences.get(name, 0)}", entry)
        if grant.session_id not in self.open_sessions:
            self.report.add("I6", f"{name} was granted to {grant.session_id}, which is not open", entry)
        self.fences[name] = max(grant.fence, self.fences.get(name, 0))
        self.held[name] = grant
        self.grants.setdefault((name, grant.fence), grant)

    def _released(self, entry: Entry, data: Mapping[str, Any]) -> None:
        """I4: a grant ends once, as the grant it was."""
        self.report.counts["releases"] += 1
        grant = self.held.get(data["field"])
        if grant is None:
            self.report.add("I4", f"{data['field']} was released while it was free", entry)
            return
        names = ("lock_id", "session_id", "fencing_token")
        if any(data[name] != grant.begin.data[name] for name in names):
            self.report.add(
                "I4", f"{data['field']} was released as a grant that is not the held one", grant.begin, entry
            )
            return
        del self.held[grant.field]
        self.grants[grant.field, grant.fence] = Grant(grant.begin, entry)

    def _created(self, entry: Entry, data: Mapping[str, Any]) -> None:
        """I5 and I9: a version is the next one, and each of its changes lies inside the lock it names."""
        self.report.counts["versions"] += 1
        if data["version_number"] != len(self.drafts) + 1:
            self.report.add("I9", f"version {data['version_number']} follows version {len(self.drafts)}", entry)
        self.drafts.append(entry)
        for change in data["changed_fields"]:
            name, grant = change["field"], self.held.get(change["field"])
            if grant is None:
                self.report.add("I5", f"version {data['version_number']} changed {name} without a lock", entry)
                continue
            shown = (change["lock_id"], change["fencing_token"], entry.session_id, entry.actor)
            if shown != (grant.begin.data["lock_id"], grant.fence, grant.session_id, grant.begin.actor):
                self.report.add("I5", f"{name} was changed under a lock that is not the held one", grant.begin, entry)


def replay(entries: Iterable[Entry], report: Report) -> Replay:
    """Replay a whole log, from its first entry; what it breaks goes to the report."""
    state = Replay(report)
    for entry in entries:
        state.apply(entry)
    return state
