"""The unit of work: the rows one operation asked for, and the changes it decided on.

An operation names what it needs (``Needs``), decides in plain synchronous Python on the loaded rows, and stages its
changes and log entries here; the lane flushes them in the order they were staged and commits. Nothing is written when
the decision raises.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar

from foundry.domain.errors import ProjectAccessDenied, RequestIdReused, Unavailable
from foundry.domain.field import FieldState
from foundry.domain.project import ProjectState
from foundry.domain.run import RunLines, RunState
from foundry.domain.session import Position, SessionState
from foundry.store import comments, drafts, entries, fields, projects, releases, requests, runs, sessions
from foundry.store.codec import dump_answer, load_answer
from foundry.store.flush import Key, Write, head_parameters
from foundry.store.log import NO_LEAF, chain
from foundry.store.needs import Head

if TYPE_CHECKING:
    from collections.abc import Mapping

    from foundry.domain.comment import Comment
    from foundry.domain.draft import Draft
    from foundry.domain.entry import NewEntry
    from foundry.domain.events import Committed
    from foundry.domain.lock import Lock
    from foundry.domain.project import Member, Project
    from foundry.domain.release import Freeze
    from foundry.domain.run import LogLine, Run
    from foundry.domain.session import Session
    from foundry.store.rows import Rows
    from foundry.store.statement import Statement

T = TypeVar("T")


class UnitOfWork:
    """What one operation sees and does. Made by the lane; used by one operation only.

    Attributes:
        epoch: The history of the log that this transaction writes to.
        rows: What was loaded, as this operation has changed it so far.
        writes: What is to be written.
        now_us: Time of this transaction, microseconds since the Unix epoch: the clock's, but never before the newest
            entry of the logs involved.
    """

    def __init__(self, rows: Rows, clock_us: int, epoch: int = 1) -> None:
        self.epoch = epoch
        self.rows = self._rows = rows
        self.writes: list[Write] = []
        self._needs = rows.needs
        self._news: list[Committed] = []
        self._loaded_heads = dict(rows.heads)
        self.now_us = max([clock_us, *(head.last_time_us for head in rows.heads.values())])

    # --- read ---

    @property
    def project(self) -> Project:
        """The project, as this operation has changed it so far.

        Raises:
            ProjectAccessDenied: There is none of this id.
        """
        if self._rows.project is None:
            raise ProjectAccessDenied(self._needs.project_id)
        return self._rows.project

    def member(self, subject: str) -> Member | None:
        """A loaded member, or None when ``subject`` is none."""
        return self._rows.members.get(subject)

    @property
    def members(self) -> list[Member]:
        """All loaded members."""
        return list(self._rows.members.values())

    def session(self, session_id: str) -> Session | None:
        """A loaded session, or None when there is none of this id."""
        return self._rows.sessions.get(session_id)

    @property
    def open_session_count(self) -> int:
        """How many sessions of the project are open."""
        return self._rows.open_session_count

    @property
    def sessions(self) -> list[Session]:
        """All loaded sessions, by age."""
        return sorted(self._rows.sessions.values(), key=lambda session: session.session_id)

    def field(self, name: str) -> FieldState:
        """A field; one that was never locked or saved is free and empty."""
        return self._rows.fields.get(name) or FieldState(name)

    @property
    def fields(self) -> list[FieldState]:
        """All loaded fields, by name."""
        return sorted(self._rows.fields.values(), key=lambda state: state.name)

    def held_by(self, session_id: str) -> list[Lock]:
        """Locks of a session, by field, among the loaded fields."""
        return [state.lock for state in self.fields if state.lock and state.lock.session_id == session_id]

    @property
    def source(self) -> tuple[Project, Member]:
        """The other project, and the caller's membership in it.

        Raises:
            ProjectAccessDenied: There is none of this id, or the caller is no member of it.
        """
        if self._rows.source is None:
            raise ProjectAccessDenied(self._needs.source)
        return self._rows.source

    def comment(self, comment_id: str) -> Comment | None:
        """A loaded comment, or None when there is none of this id."""
        return self._rows.comments.get(comment_id)

    @property
    def comment_counts(self) -> tuple[int, int]:
        """Comments of the project, and of the thread of the loaded one; tombstones included."""
        return self._rows.comment_count, self._rows.thread_count

    def run(self, run_id: str) -> Run | None:
        """A loaded run, or None when there is none of this id."""
        return self._rows.runs.get(run_id)

    @property
    def running_runs(self) -> list[Run]:
        """Loaded runs that run, by age."""
        return sorted((run for run in self._rows.runs.values() if run.state is RunState.RUNNING), key=_by_id)

    @property
    def console(self) -> list[tuple[int, int, bytes]]:
        """Number of the first line, number of lines and bytes of the chunks that were asked for, in order."""
        return self._rows.console

    def tail(self) -> tuple[int, bytes]:
        """Sequence number and leaf hash of the newest entry of the project's log, with those staged here."""
        head = self._rows.heads[self._needs.project_id]
        return head.last_sequence, head.tail

    def last_sequence(self, log: str = "") -> int:
        """Sequence number of the newest entry of the project's log, or of ``log``, with those staged here."""
        return self._rows.heads[log or self._needs.project_id].last_sequence

    def has_log(self, log: str) -> bool:
        """Whether there is a log of this name."""
        return log in self._rows.heads

    def check_replica(self) -> None:
        """Refuse to speak for a server process that others have given up.

        Raises:
            Unavailable: The named process is not live.
        """
        if self._needs.replica and not self._rows.replica_live:
            raise Unavailable("this server was given up by the others and stops")

    @property
    def news(self) -> list[Committed]:
        """What the commit is to tell: entries, and lines of consoles, in the order they were staged."""
        return list(self._news)

    # --- repeated requests ---

    def replay(self, kind: type[T]) -> T | None:
        """The answer given to the same request before, or None when it is new.

        Raises:
            RequestIdReused: The id was used for another command.
        """
        request = self._needs.request
        if request is None or self._rows.answer is None:
            return None
        command_hash, answer = self._rows.answer
        if command_hash != request.command_hash:
            raise RequestIdReused(request.request_id)
        return load_answer(kind, answer)

    def remember(self, answer: T) -> T:
        """Keep the answer for a repetition of the request, if it has an id; returns it."""
        if self._needs.request:
            stored = dump_answer(answer)
            row = requests.request_parameters(self._needs.request, stored, self.now_us)
            self._stage(requests.INSERT_REQUEST, row)
            self._rows.answer = self._needs.request.command_hash, stored
        return answer

    def forget_requests(self, *, before_us: int) -> None:
        """Delete the answers of requests older than a time."""
        self._stage(requests.DELETE_OLD, {"before_us": before_us}, expected=None)

    # --- change ---

    def _stage(
        self,
        statement: Statement,
        parameters: Mapping[str, Any],
        *makes: Key,
        rests_on: tuple[Key, ...] = (),
        expected: int | None = 1,
    ) -> None:
        self.writes.append(Write(statement, parameters, makes, rests_on, expected))

    def add_log(self, log: str) -> None:
        """Begin a log: the project's own, or the instance's."""
        head = Head(log, ProjectState.ACTIVE, 0, "", 0, NO_LEAF, self.now_us)
        self._rows.heads[log] = self._loaded_heads[log] = head
        self._stage(entries.INSERT_HEAD, {"log": log, **head_parameters(head)}, ("log", log))

    def put_project(self, project: Project) -> None:
        """Insert a new project (``revision`` 1) or update it with its revision raised by one."""
        parameters, project_id = projects.project_parameters(project), project.project_id
        row, labels = ("project", project_id), ("labels", project_id)
        if self._rows.project is None:
            self._stage(projects.INSERT_PROJECT, parameters, row)
        else:
            key = {"key": project_id, "old_revision": project.revision - 1}
            self._stage(projects.UPDATE_PROJECT, {**parameters, **key}, row)
            self._stage(projects.DELETE_LABELS, {"project_id": project_id}, labels, expected=None)
        for name, value in project.labels.items():
            label = {"project_id": project_id, "key": name, "value": value}
            self._stage(projects.INSERT_LABEL, label, labels, rests_on=(row,))
        self._rows.project = project

    def put_member(self, member: Member) -> None:
        """Insert or update a member."""
        parameters = projects.member_parameters(member)
        row, project = ("member", member.project_id, member.subject), ("project", member.project_id)
        if member.subject in self._rows.members:
            key = {"key_project_id": member.project_id, "key_subject": member.subject}
            self._stage(projects.UPDATE_MEMBER, {**parameters, **key}, row)
        else:
            self._stage(projects.INSERT_MEMBER, parameters, row, rests_on=(project,))
        self._rows.members[member.subject] = member

    def remove_member(self, member: Member) -> None:
        """Delete a member."""
        key = {"project_id": member.project_id, "subject": member.subject}
        self._stage(projects.DELETE_MEMBER, key, ("member", member.project_id, member.subject))
        del self._rows.members[member.subject]
        self._rows.removed_members.append(member.subject)

    def put_session(self, session: Session) -> None:
        """Insert a session, or update it if it is still as it was loaded."""
        parameters = sessions.session_parameters(session)
        row, project = ("session", session.session_id), ("project", session.project_id)
        old = self._rows.sessions.get(session.session_id)
        if old is None:
            self._stage(sessions.INSERT_SESSION, parameters, row, rests_on=(project,))
        else:
            key = {"key": session.session_id, "old_stream_epoch": old.stream_epoch, "old_state": old.state.value}
            self._stage(sessions.UPDATE_SESSION, {**parameters, **key}, row)
        was_open = old is not None and old.state is not SessionState.CLOSED
        self._rows.opened_sessions += (session.state is not SessionState.CLOSED) - was_open
        self._rows.sessions[session.session_id] = session

    def put_field(self, state: FieldState) -> None:
        """Insert a field, or update it if it is still as it was loaded (fence, grant and version)."""
        project_id = self._needs.project_id
        parameters = fields.field_parameters(project_id, state)
        row, holder = ("field", project_id, state.name), (("session", state.lock.session_id),) if state.lock else ()
        old = self._rows.fields.get(state.name)
        if old is None:
            self._stage(fields.INSERT_FIELD, parameters, row, rests_on=(("project", project_id), *holder))
        else:
            key = {
                "key_project_id": project_id,
                "key_name": state.name,
                "old_fence": old.fence,
                "old_lock_id": old.lock.lock_id if old.lock else "",
                "old_version": old.last_changed_version,
            }
            self._stage(fields.UPDATE_FIELD, {**parameters, **key}, row, rests_on=holder)
        self._rows.fields[state.name] = state
        self._rows.changed_fields.add(state.name)

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
        field = ("field", lock.project_id, lock.field)
        self._stage(
            fields.INSERT_GRANT,
            row,
            ("grant", lock.project_id, lock.field, lock.fencing_token),
            rests_on=(field, ("session", lock.session_id)),
        )

    def add_draft(self, draft: Draft, contents: Mapping[str, bytes]) -> None:
        """Insert a version with its changes and new contents (by hash), and move the head to it."""
        self.writes += drafts.draft_writes(draft, contents)
        head = self._rows.heads[draft.project_id]
        self._rows.heads[draft.project_id] = replace(
            head, head_version=draft.version_number, current_draft_id=draft.draft_id
        )

    def put_comment(self, comment: Comment) -> None:
        """Insert a comment, or update it if it is still as it was loaded; a new text goes beside the earlier ones."""
        old, texts = self._rows.comments.get(comment.comment_id), self._rows.text_revisions
        revision = texts.get(comment.comment_id, 0)
        says_more = old is None or (comment.text != old.text and not comment.delete_time_us)
        texts[comment.comment_id] = revision = revision + says_more
        row, project = ("comment", comment.project_id, comment.comment_id), ("project", comment.project_id)
        if old is None:
            parameters = comments.comment_parameters(comment, revision)
            self._stage(comments.INSERT_COMMENT, parameters, row, rests_on=(project,))
            self._rows.new_comments.append(comment)
        else:
            key = {"key_project_id": comment.project_id, "key_comment_id": comment.comment_id}
            parameters = {**comments.changing_parameters(comment, revision), **key, "old_revision": old.revision}
            self._stage(comments.UPDATE_COMMENT, parameters, row)
        if says_more:
            text = {"project_id": comment.project_id, "comment_id": comment.comment_id, "text": comment.text}
            self._stage(comments.INSERT_TEXT, {**text, "revision": revision}, (*row, revision), rests_on=(row,))
        self._rows.comments[comment.comment_id] = comment

    def put_run(self, run: Run) -> None:
        """Insert a run, or update it if it is still as it was loaded."""
        old = self._rows.runs.get(run.run_id)
        row = ("run", run.project_id, run.run_id)
        if old is None:
            version = ("draft", run.project_id, run.version_number)
            self._stage(runs.INSERT_RUN, runs.run_parameters(run), row, rests_on=(version,))
        else:
            key = {"key_project_id": run.project_id, "key_run_id": run.run_id, "old_line_count": old.line_count}
            self._stage(runs.UPDATE_RUN, {**runs.changing_parameters(run), **key}, row)
        self._rows.runs[run.run_id] = run

    def add_lines(self, run: Run, lines: tuple[LogLine, ...], data: bytes) -> None:
        """Insert lines of a run's console, as they are hashed. ``put_run`` with their count must follow."""
        stored = RunLines(run.project_id, run.run_id, lines, Position(self.epoch, self.last_sequence()))
        row = {"project_id": run.project_id, "run_id": run.run_id, "first_line": stored.first}
        chunk = {**row, "line_count": len(lines), "data": data}
        self._stage(runs.INSERT_CHUNK, chunk, ("run", run.project_id, run.run_id))
        self._news.append(stored)

    def add_freeze(self, freeze: Freeze) -> None:
        """Insert the freeze of the project and make its state FROZEN."""
        version = ("draft", freeze.project_id, freeze.version_number)
        parameters = releases.freeze_parameters(freeze)
        self._stage(releases.INSERT_FREEZE, parameters, ("freeze", freeze.project_id), rests_on=(version,))
        self._rows.heads[freeze.project_id] = replace(self._rows.heads[freeze.project_id], state=ProjectState.FROZEN)
        self._rows.project = replace(self.project, state=ProjectState.FROZEN)

    def copy_content(self, source_id: str, sha256: str) -> None:
        """Give the project content that another one has."""
        project_id = self._needs.project_id
        row = {"project_id": project_id, "source_id": source_id, "sha256": bytes.fromhex(sha256)}
        content, project = ("content", project_id, sha256), ("project", project_id)
        self._stage(drafts.COPY_CONTENT, row, content, rests_on=(project,), expected=None)

    def record(self, new: NewEntry, log: str = "") -> int:
        """Append an entry to the project's log, or to ``log``; returns its sequence number."""
        log = log or self._needs.project_id
        head = self._rows.heads[log]
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
        place = ("entry", log, entry.sequence)
        self._stage(entries.INSERT_ENTRY, row, place, ("log", log))
        if sealed:
            text = {"log": log, "sequence": entry.sequence, "salt": sealed.salt, "text": sealed.text}
            self._stage(entries.INSERT_TEXT, text, ("text", log, entry.sequence), rests_on=(place,))
        self._rows.heads[log] = replace(head, last_sequence=entry.sequence, tail=entry.leaf, last_time_us=self.now_us)
        self._news.append(entry)
        return entry.sequence

    def discard(self) -> None:
        """Forget everything staged: the operation was only to be tried. Read nothing more behind it but the heads."""
        self.writes.clear()
        self._news.clear()
        self._rows.heads = dict(self._loaded_heads)


def _by_id(run: Run) -> str:
    return run.run_id
