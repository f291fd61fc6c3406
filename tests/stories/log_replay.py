"""A project's log, verified and replayed from ``ListEntries`` alone: what the log proves, in the tests' own words.

It shares no code with the server or the SDK, so a mistake in theirs cannot hide itself.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from coreason.foundry.v1 import audit_pb2, comment_pb2, lock_pb2

if TYPE_CHECKING:
    from collections.abc import Iterable

    from coreason.foundry.v1.audit_pb2 import LogEntry
    from foundry.client import Foundry


#: What may still be logged once a project is frozen.
_AFTER_A_FREEZE = {
    *("session_opened", "session_resumed", "session_closed", "member_set", "member_removed", "lock_denied"),
    *("project_archived", "project_unarchived", "assay_exported", "bundle_exported", "revision_started"),
}


@dataclass(slots=True)
class Replayed:
    """The state of a project that its log leads to.

    Attributes:
        held: The held locks by field.
        fences: The newest fencing token by field.
        content: SHA-256 by field, of the fields that exist.
        sessions: Ids of the open sessions.
        drafts: The entries of the versions, in order.
        ended: The releases, in order.
        resumed: Ids of sessions that came back, in order.
        running: Ids of the runs that run.
        sealed: How runs ended, in order.
        comments: State of each thread by the id of its first comment.
        frozen: The freeze, None while the project is open.
    """

    held: dict[str, audit_pb2.LockAcquired] = field(default_factory=dict)
    fences: dict[str, int] = field(default_factory=dict)
    content: dict[str, str] = field(default_factory=dict)
    sessions: set[str] = field(default_factory=set)
    drafts: list[LogEntry] = field(default_factory=list)
    ended: list[audit_pb2.LockReleased] = field(default_factory=list)
    resumed: list[str] = field(default_factory=list)
    running: set[str] = field(default_factory=set)
    sealed: list[audit_pb2.RunFinished] = field(default_factory=list)
    comments: dict[str, comment_pb2.CommentState.ValueType] = field(default_factory=dict)
    frozen: audit_pb2.ProjectFrozen | None = None

    @property
    def head_version(self) -> int:
        """Number of the newest version."""
        return len(self.drafts)

    def apply(self, entry: LogEntry) -> None:
        """Take the next entry in; an entry that breaks a promise of the contract fails."""
        arm = str(entry.WhichOneof("payload"))
        assert not self.frozen or arm in _AFTER_A_FREEZE, f"{arm} in a frozen project"
        take = getattr(self, f"_{arm}", None)
        if take:
            take(entry)

    def _session_opened(self, entry: LogEntry) -> None:
        assert entry.session_opened.session_id not in self.sessions
        self.sessions.add(entry.session_opened.session_id)

    def _session_resumed(self, entry: LogEntry) -> None:
        assert entry.session_resumed.session_id in self.sessions, "a closed session came back"
        self.resumed.append(entry.session_resumed.session_id)

    def _run_started(self, entry: LogEntry) -> None:
        assert 1 <= entry.run_started.version_number <= self.head_version
        self.running.add(entry.run_started.run_id)

    def _run_finished(self, entry: LogEntry) -> None:
        self.running.remove(entry.run_finished.run_id)
        self.sealed.append(entry.run_finished)

    def _comment_created(self, entry: LogEntry) -> None:
        if not entry.comment_created.parent_comment_id:
            self.comments[entry.comment_created.comment_id] = comment_pb2.COMMENT_STATE_OPEN

    def _comment_state_changed(self, entry: LogEntry) -> None:
        changed = entry.comment_state_changed
        assert self.comments[changed.comment_id] == changed.before != changed.after
        self.comments[changed.comment_id] = changed.after

    def _project_frozen(self, entry: LogEntry) -> None:
        """Nobody holds or runs anything any more, and it is the newest version that is frozen."""
        assert not self.held
        assert not self.running
        frozen, newest = entry.project_frozen, self.drafts[-1].draft_created
        assert (frozen.version_number, frozen.content_sha256) == (newest.version_number, newest.content_sha256)
        self.frozen = frozen

    def _session_closed(self, entry: LogEntry) -> None:
        session_id = entry.session_closed.session_id
        holds = [name for name, lock in self.held.items() if lock.session_id == session_id]
        assert not holds, f"closed session {session_id} holds {holds}"
        assert session_id in self.sessions, f"session {session_id} was closed without having been opened, or twice"
        self.sessions.remove(session_id)

    def _lock_acquired(self, entry: LogEntry) -> None:
        """Alternating: only a free field is granted, to an open session, with the next fencing token."""
        grant = entry.lock_acquired
        assert grant.field not in self.held, f"{grant.field} was granted twice"
        assert grant.session_id in self.sessions, f"{grant.field} was granted to a session that is not open"
        assert grant.fencing_token == self.fences.get(grant.field, 0) + 1
        self.fences[grant.field] = grant.fencing_token
        self.held[grant.field] = grant

    def _lock_released(self, entry: LogEntry) -> None:
        """Sealed: a grant ends once, as the grant it was, with a reason."""
        end = entry.lock_released
        grant = self.held.pop(end.field, None)
        assert grant is not None, f"{end.field} was released twice"
        assert (end.lock_id, end.session_id, end.fencing_token) == (
            grant.lock_id,
            grant.session_id,
            grant.fencing_token,
        )
        assert end.release_reason != lock_pb2.LOCK_RELEASE_REASON_UNSPECIFIED
        self.ended.append(end)

    def _draft_created(self, entry: LogEntry) -> None:
        """A version is the next one, and each of its changes lies inside the lock it names."""
        draft = entry.draft_created
        assert draft.version_number == self.head_version + 1
        assert draft.changed_fields
        for change in draft.changed_fields:
            grant = self.held.get(change.field)
            assert grant is not None, f"version {draft.version_number} changed {change.field} without a lock"
            assert (change.lock_id, change.fencing_token) == (grant.lock_id, grant.fencing_token)
            assert entry.session_id == grant.session_id
            assert change.before_sha256 == self.content.get(change.field, "")
            if change.after_sha256:
                self.content[change.field] = change.after_sha256
            else:
                del self.content[change.field]
        self.drafts.append(entry)


def check_chain(entries: Iterable[LogEntry]) -> None:
    """Recompute the chain: sequence, canonical bytes, leaf, and that each entry names the leaf of the one before."""
    previous, time_ns = bytes(32), 0
    for sequence, entry in enumerate(entries, start=1):
        stored: dict[str, Any] = json.loads(entry.entry_bytes)
        canonical = json.dumps(stored, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
        assert entry.entry_bytes == canonical.encode(), f"entry {sequence} is not canonical"
        assert entry.position.sequence == stored["seq"] == sequence
        assert entry.leaf == hashlib.sha256(b"\x00" + entry.entry_bytes).digest()
        assert stored["prev"] == previous.hex(), f"entry {sequence} does not name the leaf before"
        assert stored["event"] == entry.WhichOneof("payload")
        assert entry.time.ToNanoseconds() >= time_ns, "time ran backwards"
        previous, time_ns = entry.leaf, entry.time.ToNanoseconds()


async def read_log(foundry: Foundry, project_id: str) -> list[LogEntry]:
    """A project's whole log."""
    return [entry async for entry in foundry.audit.entries(project_id, page_size=1_000)]


async def verified_replay(foundry: Foundry, project_id: str) -> Replayed:
    """Read a project's whole log, verify its chain and replay it."""
    entries = await read_log(foundry, project_id)
    check_chain(entries)
    replayed = Replayed()
    for entry in entries:
        replayed.apply(entry)
    return replayed
