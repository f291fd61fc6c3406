"""The unit of work: the rows one operation asked for, and the changes it decided on.

An operation names what it needs (``Needs``), decides in plain synchronous Python on the loaded rows, and stages its
changes and log entries here; the lane flushes them in the order they were staged and commits. Nothing is written when
the decision raises.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeVar

from foundry.domain.entry import INSTANCE_LOG, Entry, NewEntry
from foundry.domain.errors import ProjectAccessDenied, RequestIdReused
from foundry.domain.field import FieldState
from foundry.domain.project import ProjectState
from foundry.store import drafts, entries, fields, projects, requests, sessions
from foundry.store.codec import dump_answer, load_answer
from foundry.store.log import NO_LEAF, chain
from foundry.store.needs import Head, Needs

if TYPE_CHECKING:
    from collections.abc import Mapping

    from foundry.domain.draft import Draft
    from foundry.domain.lock import Lock
    from foundry.domain.project import Member, Project
    from foundry.domain.session import Session
    from foundry.store.sqlite import SqliteConnection, Statement

T = TypeVar("T")


class RowConflictError(Exception):
    """A staged update found its row changed since it was loaded. Only a second writer can cause it."""


@dataclass(frozen=True, slots=True)
class _Write:
    statement: Statement
    parameters: Mapping[str, Any]
    #: Rows it must touch, None when that does not matter.
    expected: int | None = 1


class UnitOfWork:
    """What one operation sees and does. Made by the lane; used by one operation only.

    Attributes:
        now_us: Time of this transaction, microseconds since the Unix epoch: the clock's, but never before the newest
            entry of the logs involved.
    """

    def __init__(self, connection: SqliteConnection, needs: Needs, clock_us: int) -> None:
        self._needs = needs
        self._writes: list[_Write] = []
        self._entries: list[Entry] = []
        self._heads: dict[str, Head] = {}
        self._stored_heads: dict[str, Head] = {}
        self._members: dict[str, Member] = {}
        self._sessions: dict[str, Session] = {}
        self._fields: dict[str, FieldState] = {}
        self._stored_fields: dict[str, FieldState] = {}
        self._project: Project | None = None
        self._answer: tuple[bytes, bytes] | None = None
        self.open_session_count = 0
        self._load(connection)
        self.now_us = max([clock_us, *(head.last_time_us for head in self._heads.values())])

    # --- load ---

    def _load(self, connection: SqliteConnection) -> None:
        needs, project_id = self._needs, self._needs.project_id
        if needs.request:
            found = connection.row(requests.REQUEST, requests.key_parameters(needs.request))
            self._answer = (found[0], found[1]) if found else None
        if project_id:
            row = connection.row(projects.PROJECT, {"project_id": project_id})
            self._project = projects.to_project(row) if row else None
            self._load_head(connection, project_id)
        if needs.instance_log:
            self._load_head(connection, INSTANCE_LOG)
        if needs.all_members:
            rows = connection.rows(projects.MEMBERS, {"project_id": project_id})
            self._members = {row[1]: projects.to_member(row) for row in rows}
        elif needs.subject:
            row = connection.row(projects.MEMBER, {"project_id": project_id, "subject": needs.subject})
            self._members = {row[1]: projects.to_member(row)} if row else {}
        self._load_sessions(connection)
        self._load_fields(connection)

    def _load_head(self, connection: SqliteConnection, log: str) -> None:
        row = connection.row(entries.HEAD, {"log": log})
        if row:
            head = Head(log, ProjectState(row[0]), *row[1:])
            self._heads[log] = self._stored_heads[log] = head

    def _load_sessions(self, connection: SqliteConnection) -> None:
        needs = self._needs
        rows = [connection.row(sessions.SESSION, {"session_id": session_id}) for session_id in needs.sessions]
        if needs.sessions_of:
            of_subject = {"project_id": needs.project_id, "subject": needs.sessions_of}
            rows += connection.rows(sessions.OPEN_SESSIONS_OF, of_subject)
        if needs.all_sessions:
            rows += connection.rows(sessions.OPEN_SESSIONS, {"project_id": needs.project_id})
        self._sessions = {row[0]: sessions.to_session(row) for row in rows if row}
        if needs.count_sessions:
            counted = connection.row(sessions.COUNT_OPEN, {"project_id": needs.project_id})
            self.open_session_count = counted[0] if counted else 0

    def _load_fields(self, connection: SqliteConnection) -> None:
        needs, project_id = self._needs, self._needs.project_id
        rows = [connection.row(fields.FIELD, {"project_id": project_id, "name": name}) for name in needs.fields]
        found = [fields.to_field(row) for row in rows if row]
        if needs.all_fields or len(found) < len(rows) or not all(state.live for state in found):
            found = [fields.to_field(row) for row in connection.rows(fields.FIELDS, {"project_id": project_id})]
        holders = set(needs.held_by)
        if needs.sessions_of or needs.all_sessions:
            holders |= self._sessions.keys()
        for session_id in sorted(holders):
            found += [fields.to_field(row) for row in connection.rows(fields.HELD_BY, {"session_id": session_id})]
        self._fields = {state.name: state for state in found}
        self._stored_fields = dict(self._fields)

    # --- read ---

    @property
    def project(self) -> Project:
        """The project, as this operation has changed it so far.

        Raises:
            ProjectAccessDenied: There is none of this id.
        """
        if self._project is None:
            raise ProjectAccessDenied(self._needs.project_id)
        return self._project

    def member(self, subject: str) -> Member | None:
        """A loaded member, or None when ``subject`` is none."""
        return self._members.get(subject)

    @property
    def members(self) -> list[Member]:
        """All loaded members."""
        return list(self._members.values())

    def session(self, session_id: str) -> Session | None:
        """A loaded session, or None when there is none of this id."""
        return self._sessions.get(session_id)

    @property
    def sessions(self) -> list[Session]:
        """All loaded sessions, by age."""
        return sorted(self._sessions.values(), key=lambda session: session.session_id)

    def field(self, name: str) -> FieldState:
        """A field; one that was never locked or saved is free and empty."""
        return self._fields.get(name) or FieldState(name)

    @property
    def fields(self) -> list[FieldState]:
        """All loaded fields, by name."""
        return sorted(self._fields.values(), key=lambda state: state.name)

    def held_by(self, session_id: str) -> list[Lock]:
        """Locks of a session, by field, among the loaded fields."""
        return [state.lock for state in self.fields if state.lock and state.lock.session_id == session_id]

    def last_sequence(self, log: str = "") -> int:
        """Sequence number of the newest entry of the project's log, or of ``log``, with those staged here."""
        return self._heads[log or self._needs.project_id].last_sequence

    @property
    def entries(self) -> list[Entry]:
        """Entries staged so far, in order."""
        return list(self._entries)

    # --- repeated requests ---

    def replay(self, kind: type[T]) -> T | None:
        """The answer given to the same request before, or None when it is new.

        Raises:
            RequestIdReused: The id was used for another command.
        """
        request = self._needs.request
        if request is None or self._answer is None:
            return None
        command_hash, answer = self._answer
        if command_hash != request.command_hash:
            raise RequestIdReused(request.request_id)
        return load_answer(kind, answer)

    def remember(self, answer: T) -> T:
        """Keep the answer for a repetition of the request, if it has an id; returns it."""
        if self._needs.request:
            row = requests.request_parameters(self._needs.request, dump_answer(answer), self.now_us)
            self._stage(requests.INSERT_REQUEST, row)
        return answer

    def forget_requests(self, *, before_us: int) -> None:
        """Delete the answers of requests older than a time."""
        self._stage(requests.DELETE_OLD, {"before_us": before_us}, None)

    # --- change ---

    def _stage(self, statement: Statement, parameters: Mapping[str, Any], expected: int | None = 1) -> None:
        self._writes.append(_Write(statement, parameters, expected))

    def add_log(self, log: str) -> None:
        """Begin a log: the project's own, or the instance's."""
        head = Head(log, ProjectState.ACTIVE, 0, "", 0, NO_LEAF, self.now_us)
        self._heads[log] = self._stored_heads[log] = head
        self._stage(entries.INSERT_HEAD, {"log": log, **_head_parameters(head)})

    def put_project(self, project: Project) -> None:
        """Insert a new project (``revision`` 1) or update it with its revision raised by one."""
        parameters = projects.project_parameters(project)
        if self._project is None:
            self._stage(projects.INSERT_PROJECT, parameters)
        else:
            key = {"key": project.project_id, "old_revision": project.revision - 1}
            self._stage(projects.UPDATE_PROJECT, {**parameters, **key})
            self._stage(projects.DELETE_LABELS, {"project_id": project.project_id}, None)
        for key_, value in project.labels.items():
            self._stage(projects.INSERT_LABEL, {"project_id": project.project_id, "key": key_, "value": value})
        self._project = project

    def put_member(self, member: Member) -> None:
        """Insert or update a member."""
        parameters = projects.member_parameters(member)
        if member.subject in self._members:
            key = {"key_project_id": member.project_id, "key_subject": member.subject}
            self._stage(projects.UPDATE_MEMBER, {**parameters, **key})
        else:
            self._stage(projects.INSERT_MEMBER, parameters)
        self._members[member.subject] = member

    def remove_member(self, member: Member) -> None:
        """Delete a member."""
        self._stage(projects.DELETE_MEMBER, {"project_id": member.project_id, "subject": member.subject})
        del self._members[member.subject]

    def put_session(self, session: Session) -> None:
        """Insert a session, or update it if it is still as it was loaded."""
        parameters = sessions.session_parameters(session)
        old = self._sessions.get(session.session_id)
        if old is None:
            self._stage(sessions.INSERT_SESSION, parameters)
        else:
            key = {"key": session.session_id, "old_stream_epoch": old.stream_epoch, "old_state": old.state.value}
            self._stage(sessions.UPDATE_SESSION, {**parameters, **key})
        self._sessions[session.session_id] = session

    def put_field(self, state: FieldState) -> None:
        """Insert a field, or update it if it is still as it was loaded (fence, grant and version)."""
        project_id = self._needs.project_id
        parameters = fields.field_parameters(project_id, state)
        old = self._fields.get(state.name)
        if old is None:
            self._stage(fields.INSERT_FIELD, parameters)
        else:
            key = {
                "key_project_id": project_id,
                "key_name": state.name,
                "old_fence": old.fence,
                "old_lock_id": old.lock.lock_id if old.lock else "",
                "old_version": old.last_changed_version,
            }
            self._stage(fields.UPDATE_FIELD, {**parameters, **key})
        self._fields[state.name] = state

    def add_grant(self, lock: Lock, sequence: int) -> None:
        """Record who was given which fencing token, and by which entry."""
        row = {
            "project_id": lock.project_id,
            "field": lock.field,
            "fence": lock.fencing_token,
            "lock_id": lock.lock_id,
            "session_id": lock.session_id,
            "subject": lock.holder.subject,
            "sequence": sequence,
        }
        self._stage(fields.INSERT_GRANT, row)

    def add_draft(self, draft: Draft, contents: Mapping[str, bytes]) -> None:
        """Insert a version with its changes and new contents (by hash), and move the head to it."""
        self._stage(drafts.INSERT_DRAFT, drafts.draft_parameters(draft))
        for change in draft.changed_fields:
            self._stage(drafts.INSERT_CHANGE, drafts.change_parameters(draft, change))
        for sha256, data in contents.items():
            row = {"project_id": draft.project_id, "sha256": bytes.fromhex(sha256), "data": data}
            self._stage(drafts.INSERT_CONTENT, row, None)
        head = self._heads[draft.project_id]
        self._heads[draft.project_id] = replace(
            head, head_version=draft.version_number, current_draft_id=draft.draft_id
        )

    def record(self, new: NewEntry, log: str = "") -> int:
        """Append an entry to the project's log, or to ``log``; returns its sequence number."""
        log = log or self._needs.project_id
        head = self._heads[log]
        entry, sealed = chain(log, new, head.last_sequence + 1, head.tail, self.now_us)
        row = {
            "log": log,
            "sequence": entry.sequence,
            "event": new.event.value,
            "actor_subject": new.actor.subject,
            "prev": head.tail,
            "leaf": entry.leaf,
            "entry": entry.entry_bytes,
        }
        self._stage(entries.INSERT_ENTRY, row)
        if sealed:
            text = {"log": log, "sequence": entry.sequence, "salt": sealed.salt, "text": sealed.text}
            self._stage(entries.INSERT_TEXT, text)
        self._heads[log] = replace(head, last_sequence=entry.sequence, tail=entry.leaf, last_time_us=self.now_us)
        self._entries.append(entry)
        return entry.sequence

    def discard(self) -> None:
        """Forget everything staged: the operation was only to be tried."""
        self._writes.clear()
        self._entries.clear()
        self._heads = dict(self._stored_heads)

    # --- flush ---

    def flush(self, connection: SqliteConnection) -> None:
        """Write what was staged, in order, the head rows last.

        Raises:
            RowConflictError: A row was not as it was loaded.
            sqlite3.Error: A guard or constraint of the database refused.
        """
        for write in self._writes:
            touched = connection.execute(write.statement, write.parameters)
            if write.expected is not None and touched != write.expected:
                raise RowConflictError(write.statement.sql)
        for log in sorted(self._heads):
            head, stored = self._heads[log], self._stored_heads[log]
            if head is not stored:
                key = {"key": log, "old_last_sequence": stored.last_sequence}
                if connection.execute(entries.UPDATE_HEAD, {**_head_parameters(head), **key}) != 1:
                    raise RowConflictError(entries.UPDATE_HEAD.sql)


def _head_parameters(head: Head) -> dict[str, Any]:
    return {
        "state": head.state.value,
        "head_version": head.head_version,
        "current_draft_id": head.current_draft_id,
        "last_sequence": head.last_sequence,
        "tail": head.tail,
        "last_time_us": head.last_time_us,
    }
