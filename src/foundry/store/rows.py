"""The rows an operation asked for, as they are loaded and as it changes them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from foundry.domain.entry import INSTANCE_LOG
from foundry.domain.project import ProjectState
from foundry.store import comments, entries, fields, projects, requests, runs, sessions
from foundry.store.needs import Head, Needs

if TYPE_CHECKING:
    from foundry.domain.comment import Comment
    from foundry.domain.field import FieldState
    from foundry.domain.project import Member, Project
    from foundry.domain.run import Run
    from foundry.domain.session import Session
    from foundry.store.sqlite import SqliteConnection


class Rows:
    """What ``Needs`` names, read in one go inside the transaction.

    Attributes:
        project: None when there is none of this id.
        source: The other project and the caller's membership in it, None when either is missing.
        answer: Command hash and answer of the same request before, None when it is new.
        text_revisions: By comment, the number of its newest text.
        comment_count: Comments of the project, tombstones included; ``thread_count`` of the loaded one's thread.
    """

    def __init__(self, connection: SqliteConnection, needs: Needs) -> None:
        self._connection = connection
        self._needs = needs
        self.project: Project | None = None
        self.source: tuple[Project, Member] | None = None
        self.answer: tuple[bytes, bytes] | None = None
        self.heads: dict[str, Head] = {}
        self.members: dict[str, Member] = {}
        self.sessions: dict[str, Session] = {}
        self.fields: dict[str, FieldState] = {}
        self.comments: dict[str, Comment] = {}
        self.text_revisions: dict[str, int] = {}
        self.runs: dict[str, Run] = {}
        self.open_session_count = 0
        self.comment_count = 0
        self.thread_count = 0
        self._load()

    def _load(self) -> None:
        connection, needs, project_id = self._connection, self._needs, self._needs.project_id
        if needs.request:
            found = connection.row(requests.REQUEST, requests.key_parameters(needs.request))
            self.answer = (found[0], found[1]) if found else None
        if project_id:
            row = connection.row(projects.PROJECT, {"project_id": project_id})
            self.project = projects.to_project(row) if row else None
            self._load_head(project_id)
        if needs.instance_log:
            self._load_head(INSTANCE_LOG)
        if needs.source:
            self._load_source(needs.source)
        self._load_members()
        self._load_sessions()
        self._load_fields()
        self._load_comments()
        self._load_runs()

    def _load_head(self, log: str) -> None:
        row = self._connection.row(entries.HEAD, {"log": log})
        if row:
            self.heads[log] = Head(log, ProjectState(row[0]), *row[1:])

    def _load_source(self, project_id: str) -> None:
        project = self._connection.row(projects.PROJECT, {"project_id": project_id})
        key = {"project_id": project_id, "subject": self._needs.subject}
        member = self._connection.row(projects.MEMBER, key)
        if project and member:
            self.source = projects.to_project(project), projects.to_member(member)
            self._load_head(project_id)

    def _load_members(self) -> None:
        needs, connection, project_id = self._needs, self._connection, self._needs.project_id
        if needs.all_members:
            rows = connection.rows(projects.MEMBERS, {"project_id": project_id})
        else:
            subjects = [subject for subject in (needs.subject, *needs.members) if subject]
            keys = [{"project_id": project_id, "subject": subject} for subject in subjects]
            rows = [row for key in keys if (row := connection.row(projects.MEMBER, key))]
        self.members = {row[1]: projects.to_member(row) for row in rows}

    def _load_sessions(self) -> None:
        needs, connection = self._needs, self._connection
        rows = [connection.row(sessions.SESSION, {"session_id": session_id}) for session_id in needs.sessions]
        if needs.sessions_of:
            of_subject = {"project_id": needs.project_id, "subject": needs.sessions_of}
            rows += connection.rows(sessions.OPEN_SESSIONS_OF, of_subject)
        if needs.all_sessions:
            rows += connection.rows(sessions.OPEN_SESSIONS, {"project_id": needs.project_id})
        self.sessions = {row[0]: sessions.to_session(row) for row in rows if row}
        if needs.count_sessions:
            counted = connection.row(sessions.COUNT_OPEN, {"project_id": needs.project_id})
            self.open_session_count = counted[0] if counted else 0

    def _load_fields(self) -> None:
        needs, connection, project_id = self._needs, self._connection, self._needs.project_id
        rows = [connection.row(fields.FIELD, {"project_id": project_id, "name": name}) for name in needs.fields]
        found = [fields.to_field(row) for row in rows if row]
        if needs.all_fields or len(found) < len(rows) or not all(state.live for state in found):
            found = [fields.to_field(row) for row in connection.rows(fields.FIELDS, {"project_id": project_id})]
        holders = set(needs.held_by)
        if needs.sessions_of or needs.all_sessions:
            holders |= self.sessions.keys()
        for session_id in sorted(holders):
            found += [fields.to_field(row) for row in connection.rows(fields.HELD_BY, {"session_id": session_id})]
        self.fields = {state.name: state for state in found}

    def _load_comments(self) -> None:
        needs, connection, project_id = self._needs, self._connection, self._needs.project_id
        thread_id = ""
        for comment_id in needs.comments:
            row = connection.row(comments.COMMENT, {"project_id": project_id, "comment_id": comment_id})
            if row:
                self.comments[comment_id] = comments.to_comment(row)
                self.text_revisions[comment_id] = row[comments.TEXT_REVISION]
                thread_id = self.comments[comment_id].thread_id
        if needs.count_comments:
            counted = connection.row(comments.COUNT, {"project_id": project_id, "thread_id": thread_id})
            self.comment_count, self.thread_count = counted or (0, 0)

    def _load_runs(self) -> None:
        needs, connection, project_id = self._needs, self._connection, self._needs.project_id
        rows = [connection.row(runs.RUN, {"project_id": project_id, "run_id": run_id}) for run_id in needs.runs]
        if needs.running_runs:
            rows += connection.rows(runs.RUNNING, {"project_id": project_id})
        self.runs = {row[1]: runs.to_run(row) for row in rows if row}
