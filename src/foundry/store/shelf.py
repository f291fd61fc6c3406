"""The rows that the operations of one transaction need, read together, and as these operations change them.

A batch is loaded in a few round trips, however many operations it has. Each operation gets its own view of the shelf,
decides on it, and only if it succeeds its changes are put back for those behind it.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from foundry.domain.entry import INSTANCE_LOG
from foundry.domain.project import ProjectState
from foundry.domain.run import RunState
from foundry.domain.session import SessionState
from foundry.store import comments, entries, fields, projects, replicas, requests, runs, sessions
from foundry.store.needs import Head, Needs
from foundry.store.rows import Rows

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from foundry.domain.comment import Comment
    from foundry.domain.field import FieldState
    from foundry.domain.project import Member, Project
    from foundry.domain.run import Run
    from foundry.domain.session import Session
    from foundry.store.database import Connection
    from foundry.store.requests import RequestKey
    from foundry.store.statement import Row, Statement
    from foundry.store.unit_of_work import UnitOfWork


class NotCoveredError(Exception):
    """What an operation needs changed within this batch so that more must be read: it belongs into the next one."""


class Shelf:
    """Loaded rows by key, of all operations of a transaction."""

    def __init__(self) -> None:
        self._stored_heads: dict[str, Head] = {}
        self._heads: dict[str, Head] = {}
        self._live_replicas: set[str] = set()
        self._answers: dict[tuple[str, str, str], tuple[bytes, bytes]] = {}
        self._projects: dict[str, Project] = {}
        self._members: defaultdict[str, dict[str, Member]] = defaultdict(dict)
        self._sessions: dict[str, Session] = {}
        self._fields: defaultdict[str, dict[str, FieldState]] = defaultdict(dict)
        self._all_fields: set[str] = set()
        self._comments: dict[tuple[str, str], tuple[Comment, int]] = {}
        self._runs: dict[tuple[str, str], Run] = {}
        self._stored_runs: dict[tuple[str, str], Run] = {}
        self._consoles: dict[tuple[str, str, int], list[tuple[int, int, bytes]]] = {}
        self._session_counts: dict[str, int] = {}
        self._comment_counts: dict[str, int] = {}
        self._thread_counts: dict[tuple[str, str], int] = {}

    # --- load ---

    async def load(self, connection: Connection, batch: Sequence[Needs]) -> None:
        """Read what a batch needs, its heads first.

        A head row is locked as it is read, and the rows of a project are written only under its head. So what is read
        behind it stays as it is until this transaction ends, without locks of its own. Heads are taken in sorted
        order, and nobody who holds one waits for anything else: there is no deadlock.
        """
        boots = [{"replica_id": boot} for boot in sorted({needs.replica for needs in batch if needs.replica})]
        self._live_replicas |= {row[0] for row in await _each(connection, replicas.LIVE, boots)}
        await self._load_heads(connection, batch)
        asked = [needs.request for needs in batch if needs.request]
        for row in await _each(connection, requests.REQUEST, [requests.key_parameters(key) for key in asked]):
            self._answers[row[0], row[1], row[2]] = row[3], row[4]
        await self._load_people(connection, batch)
        await self._load_sessions(connection, batch)
        await self._load_fields(connection, batch)
        await self._load_comments(connection, batch)
        await self._load_runs(connection, batch)

    async def _load_heads(self, connection: Connection, batch: Sequence[Needs]) -> None:
        project_ids = {name for needs in batch for name in (needs.project_id, needs.source) if name}
        logs = project_ids | ({INSTANCE_LOG} if any(needs.instance_log for needs in batch) else set())
        for row in await _each(connection, entries.HEAD_TO_WRITE, [{"log": log} for log in sorted(logs)]):
            self._heads[row[0]] = Head(row[0], ProjectState(row[1]), *row[2:])
        self._stored_heads = dict(self._heads)
        for row in await _each(connection, projects.PROJECT, _of_projects(project_ids)):
            self._projects[row[0]] = projects.to_project(row)

    async def _load_people(self, connection: Connection, batch: Sequence[Needs]) -> None:
        keys = {
            (needs.project_id, subject)
            for needs in batch
            for subject in (needs.subject, *needs.members)
            if subject and needs.project_id
        } | {(needs.source, needs.subject) for needs in batch if needs.source}
        wanted = [{"project_id": project_id, "subject": subject} for project_id, subject in sorted(keys)]
        rows = await _each(connection, projects.MEMBER, wanted)
        everybody = {needs.project_id for needs in batch if needs.all_members}
        rows += await _each(connection, projects.MEMBERS, _of_projects(everybody))
        for row in rows:
            self._members[row[0]][row[1]] = projects.to_member(row)

    async def _load_sessions(self, connection: Connection, batch: Sequence[Needs]) -> None:
        ids = {session_id for needs in batch for session_id in needs.sessions}
        rows = await _each(connection, sessions.SESSION, [{"session_id": session_id} for session_id in sorted(ids)])
        of_people = {(needs.project_id, needs.sessions_of) for needs in batch if needs.sessions_of}
        wanted = [{"project_id": project_id, "subject": subject} for project_id, subject in sorted(of_people)]
        rows += await _each(connection, sessions.OPEN_SESSIONS_OF, wanted)
        all_of = {needs.project_id for needs in batch if needs.all_sessions}
        rows += await _each(connection, sessions.OPEN_SESSIONS, _of_projects(all_of))
        for row in rows:
            self._sessions[row[0]] = sessions.to_session(row)
        counted = {needs.project_id for needs in batch if needs.count_sessions}
        for row in await _each(connection, sessions.COUNT_OPEN, _of_projects(counted)):
            self._session_counts[row[0]] = row[1]

    async def _load_fields(self, connection: Connection, batch: Sequence[Needs]) -> None:
        every = {needs.project_id for needs in batch if needs.all_fields}
        keys = {(needs.project_id, name) for needs in batch if needs.project_id not in every for name in needs.fields}
        wanted = [{"project_id": project_id, "name": name} for project_id, name in sorted(keys)]
        self._put_fields(await _each(connection, fields.FIELD, wanted))
        # A name that is not taken is checked against all that are.
        every |= {key[0] for key in keys if not self._is_live(*key)}
        self._put_fields(await _each(connection, fields.FIELDS, _of_projects(every)))
        self._all_fields |= every
        holders = {
            session.session_id
            for needs in batch
            if needs.project_id not in self._all_fields
            for session in self._holders(needs)
        }
        held = [{"session_id": session_id} for session_id in sorted(holders)]
        self._put_fields(await _each(connection, fields.HELD_BY, held))

    def _put_fields(self, rows: Iterable[Row]) -> None:
        for row in rows:
            self._fields[row[0]][row[1]] = fields.to_field(row)

    def _is_live(self, project_id: str, name: str) -> bool:
        state = self._fields[project_id].get(name)
        return state is not None and state.live

    async def _load_comments(self, connection: Connection, batch: Sequence[Needs]) -> None:
        keys = {(needs.project_id, comment_id) for needs in batch for comment_id in needs.comments}
        wanted = [{"project_id": project_id, "comment_id": comment_id} for project_id, comment_id in sorted(keys)]
        for row in await _each(connection, comments.COMMENT, wanted):
            self._comments[row[0], row[1]] = comments.to_comment(row), row[comments.TEXT_REVISION]
        threads = {(needs.project_id, self._thread(needs)) for needs in batch if needs.count_comments}
        counted = [{"project_id": project_id, "thread_id": thread_id} for project_id, thread_id in sorted(threads)]
        for project_id, thread_id, in_project, in_thread in await _each(connection, comments.COUNT, counted):
            self._comment_counts[project_id] = in_project
            self._thread_counts[project_id, thread_id] = in_thread

    def _thread(self, needs: Needs) -> str:
        found = [self._comments.get((needs.project_id, comment_id)) for comment_id in needs.comments]
        threads = [comment.thread_id for comment, _ in filter(None, found)]
        return threads[-1] if threads else ""

    async def _load_runs(self, connection: Connection, batch: Sequence[Needs]) -> None:
        keys = {(needs.project_id, run_id) for needs in batch for run_id in needs.runs}
        wanted = [{"project_id": project_id, "run_id": run_id} for project_id, run_id in sorted(keys)]
        rows = await _each(connection, runs.RUN, wanted)
        going = {needs.project_id for needs in batch if needs.running_runs}
        rows += await _each(connection, runs.RUNNING, _of_projects(going))
        for row in rows:
            self._runs[row[0], row[1]] = runs.to_run(row)
        self._stored_runs = dict(self._runs)
        behind = {(needs.project_id, *needs.console) for needs in batch if needs.console}
        for project_id, run_id, line in sorted(behind):
            chunks = await connection.each(runs.TAIL, [{"project_id": project_id, "run_id": run_id, "line": line}])
            self._consoles[project_id, run_id, line] = [(row[0], row[1], row[2]) for row in chunks]

    # --- what an operation sees ---

    def view(self, needs: Needs) -> Rows:
        """The rows that an operation asked for, with what those before it in this batch changed.

        Raises:
            NotCoveredError: Because of such a change more must be read.
        """
        project_id = needs.project_id
        rows = Rows(needs)
        for log in (project_id, needs.source, INSTANCE_LOG if needs.instance_log else ""):
            if log in self._heads:
                rows.heads[log] = self._heads[log]
        rows.replica_live = needs.replica in self._live_replicas
        rows.answer = self._answers.get(_request(needs.request)) if needs.request else None
        rows.project = self._project(project_id)
        source, source_member = self._project(needs.source), self._members[needs.source].get(needs.subject)
        rows.source = (source, source_member) if source and source_member else None
        members = self._members[project_id]
        subjects = members if needs.all_members else (needs.subject, *needs.members)
        rows.members = {subject: members[subject] for subject in subjects if subject in members}
        rows.sessions = {session.session_id: session for session in self._wanted_sessions(needs)}
        rows.open_session_count = self._session_counts.get(project_id, 0)
        rows.fields = self._view_fields(needs)
        for comment_id in needs.comments:
            if found := self._comments.get((project_id, comment_id)):
                rows.comments[comment_id], rows.text_revisions[comment_id] = found
        rows.comment_count = self._comment_counts.get(project_id, 0)
        rows.thread_count = self._thread_counts.get((project_id, self._thread(needs)), 0)
        rows.runs = {
            run_id: run
            for (of, run_id), run in self._runs.items()
            if of == project_id and (run_id in needs.runs or (needs.running_runs and run.state is RunState.RUNNING))
        }
        if needs.console:
            rows.console = self._view_console(project_id, *needs.console)
        return rows

    def _view_console(self, project_id: str, run_id: str, line: int) -> list[tuple[int, int, bytes]]:
        if self._runs.get((project_id, run_id)) is not self._stored_runs.get((project_id, run_id)):
            raise NotCoveredError  # it has become longer
        return self._consoles[project_id, run_id, line]

    def _project(self, project_id: str) -> Project | None:
        project, head = self._projects.get(project_id), self._heads.get(project_id)
        if project is None or head is None:
            return None
        seen = (project.state, project.head_version, project.current_draft_id)
        if seen == (head.state, head.head_version, head.current_draft_id):
            return project
        return replace(
            project, state=head.state, head_version=head.head_version, current_draft_id=head.current_draft_id
        )

    def _wanted_sessions(self, needs: Needs) -> list[Session]:
        named = [self._sessions[session_id] for session_id in needs.sessions if session_id in self._sessions]
        if not (needs.sessions_of or needs.all_sessions):
            return named
        return named + [
            session
            for session in self._sessions.values()
            if session.project_id == needs.project_id
            and session.state is not SessionState.CLOSED
            and (needs.all_sessions or session.principal.subject == needs.sessions_of)
        ]

    def _holders(self, needs: Needs) -> list[Session]:
        """The sessions whose locks an operation needs; they are loaded."""
        held_by = [self._sessions[session_id] for session_id in needs.held_by if session_id in self._sessions]
        return held_by + (self._wanted_sessions(needs) if needs.sessions_of or needs.all_sessions else [])

    def _view_fields(self, needs: Needs) -> dict[str, FieldState]:
        project_id, known = needs.project_id, self._fields[needs.project_id]
        must_check = needs.fields and not all(self._is_live(project_id, name) for name in needs.fields)
        if needs.all_fields or must_check:
            if project_id not in self._all_fields:
                raise NotCoveredError
            return dict(known)
        holders = {session.session_id for session in self._holders(needs)}
        return {
            name: state
            for name, state in known.items()
            if name in needs.fields or (state.lock and state.lock.session_id in holders)
        }

    # --- what an operation changed ---

    def keep(self, unit: UnitOfWork) -> None:
        """Take over what an operation changed, for those behind it and for the heads."""
        rows = unit.rows
        needs, project_id = rows.needs, rows.needs.project_id
        if needs.request and rows.answer:
            self._answers[_request(needs.request)] = rows.answer
        self._heads |= rows.heads
        if rows.project:
            self._projects[rows.project.project_id] = rows.project
        for subject in rows.removed_members:
            self._members[project_id].pop(subject, None)
        self._members[project_id] |= rows.members
        self._sessions |= rows.sessions
        for name in rows.changed_fields:
            self._fields[project_id][name] = rows.fields[name]
        for comment_id, comment in rows.comments.items():
            self._comments[project_id, comment_id] = comment, rows.text_revisions[comment_id]
        for run_id, run in rows.runs.items():
            self._runs[project_id, run_id] = run
        self._count(unit)

    def _count(self, unit: UnitOfWork) -> None:
        rows, project_id = unit.rows, unit.rows.needs.project_id
        if project_id in self._session_counts:
            self._session_counts[project_id] += rows.opened_sessions
        for comment in rows.new_comments:
            if project_id in self._comment_counts:
                self._comment_counts[project_id] += 1
            thread = project_id, comment.thread_id
            if thread in self._thread_counts:
                self._thread_counts[thread] += 1

    def changed_heads(self) -> list[tuple[Head, Head]]:
        """Heads as they were loaded or made and as they are now, by log, without those that are the same."""
        pairs = ((self._stored_heads.get(log), head) for log, head in sorted(self._heads.items()))
        return [(stored or replace(head, last_sequence=0), head) for stored, head in pairs if head is not stored]


async def _each(connection: Connection, statement: Statement, parameters: Sequence[dict[str, Any]]) -> list[Row]:
    return await connection.each(statement, parameters) if parameters else []


def _of_projects(project_ids: Iterable[str]) -> list[dict[str, Any]]:
    return [{"project_id": project_id} for project_id in sorted(project_ids)]


def _request(key: RequestKey) -> tuple[str, str, str]:
    return key.subject, key.rpc, key.request_id
