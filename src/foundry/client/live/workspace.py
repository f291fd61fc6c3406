"""The state of a project as a session sees it: a fold over the events of its stream."""

from __future__ import annotations

from dataclasses import dataclass, field

from coreason.foundry.v1 import audit_pb2, draft_pb2, lock_pb2, project_pb2, run_pb2, session_event_pb2, session_pb2


@dataclass(slots=True)
class Workspace:
    """The project, its locks, its fields and who is here. Read it freely; only the session writes it.

    Attributes:
        complete: Whether it started from a snapshot. False on a session that was resumed in a new process: then it
            holds only what has changed since.
        project: The project; its description and labels as of the last snapshot, since entries carry no free text.
        locks: The held locks by field. Those that were granted since the snapshot have no ``expire_time`` and no
            ``purpose``.
        fields: The fields by name, without content. ``size`` is 0 when the content changed since the snapshot, and
            ``kind`` is unspecified for fields that are new since.
        presence: The sessions that are here, by id.
        head_version: Number of the newest version, 0 before the first save.
        runs: The runs that run, by id. Those that were started since the snapshot have no ``labels``; ``line_count`` is
            of the snapshot, unless the session follows runs.
    """

    complete: bool = False
    project: project_pb2.Project = field(default_factory=project_pb2.Project)
    locks: dict[str, lock_pb2.Lock] = field(default_factory=dict)
    fields: dict[str, draft_pb2.FieldValue] = field(default_factory=dict)
    presence: dict[str, session_event_pb2.SessionPresence] = field(default_factory=dict)
    head_version: int = 0
    runs: dict[str, run_pb2.Run] = field(default_factory=dict)
    _pages: list[session_event_pb2.SnapshotPage] = field(default_factory=list, repr=False)
    _presence_version: int = field(default=0, repr=False)

    def apply(self, event: session_pb2.ServerEvent) -> None:
        """Take an event in. Entries must come once each and in order."""
        match event.WhichOneof("event"):
            case "opened" | "resync":
                self._pages.clear()  # those of a stream that broke, or of a snapshot that another one replaces
            case "snapshot":
                self._pages.append(event.snapshot)
                if event.snapshot.last:
                    self._install()
            case "entry":
                self._apply_entry(event.entry)
            case "presence":
                self._apply_presence(event.presence)
            case "idle_warning":
                self.locks[event.idle_warning.lock.field] = event.idle_warning.lock
            case "run_log":
                run = self.runs.get(event.run_log.run_id)
                if run is not None and event.run_log.lines:
                    run.line_count = event.run_log.lines[-1].number
            case _:
                pass

    def _install(self) -> None:
        """Replace everything at once, so that nobody reads half a snapshot."""
        first = self._pages[0]
        self.project = project_pb2.Project()
        self.project.CopyFrom(first.project)  # entries change it, and the event is also the subscribers'
        self.head_version = first.project.head_version
        self.locks = {lock.field: lock for lock in first.locks}
        self.fields = {value.name: value for page in self._pages for value in page.fields}
        self.runs = {run.run_id: _copy(run) for run in first.runs}
        self.complete = True
        self._pages = []

    def _apply_entry(self, entry: audit_pb2.LogEntry) -> None:
        match entry.WhichOneof("payload"):
            case "lock_acquired":
                self._apply_acquired(entry)
            case "lock_released":
                held = self.locks.get(entry.lock_released.field)
                if held is not None and held.fencing_token <= entry.lock_released.fencing_token:
                    del self.locks[held.field]
            case "draft_created":
                self._apply_draft(entry)
            case "run_started":
                self._apply_run_started(entry)
            case "run_finished":
                self.runs.pop(entry.run_finished.run_id, None)
            case _:
                self._apply_to_project(entry)

    def _apply_to_project(self, entry: audit_pb2.LogEntry) -> None:
        match entry.WhichOneof("payload"):
            case "project_updated":
                if "name" in entry.project_updated.changed and entry.project_updated.name:
                    self.project.name = entry.project_updated.name
            case "project_archived":
                self.project.archive_time.CopyFrom(entry.time)
            case "project_unarchived":
                self.project.ClearField("archive_time")
            case "policy_changed":
                self.project.policy.CopyFrom(entry.policy_changed.after)
            case "freeze_requested":
                self.project.state = project_pb2.PROJECT_STATE_IN_REVIEW
            case "project_frozen":
                self.project.state = project_pb2.PROJECT_STATE_FROZEN
            case _:
                pass

    def _apply_acquired(self, entry: audit_pb2.LogEntry) -> None:
        acquired = entry.lock_acquired
        self.locks[acquired.field] = lock_pb2.Lock(
            lock_id=acquired.lock_id,
            project_id=self.project.project_id,
            field=acquired.field,
            holder=entry.actor,
            session_id=acquired.session_id,
            fencing_token=acquired.fencing_token,
            acquire_time=entry.time,
        )

    def _apply_run_started(self, entry: audit_pb2.LogEntry) -> None:
        started = entry.run_started
        self.runs[started.run_id] = run_pb2.Run(
            run_id=started.run_id,
            project_id=self.project.project_id,
            version_number=started.version_number,
            content_sha256=started.content_sha256,
            harness=started.harness,
            attempt=started.attempt,
            state=run_pb2.RUN_STATE_RUNNING,
            starter=entry.actor,
            start_time=entry.time,
        )

    def _apply_draft(self, entry: audit_pb2.LogEntry) -> None:
        draft = entry.draft_created
        self.head_version = self.project.head_version = draft.version_number
        self.project.current_draft_id = draft.draft_id
        for change in draft.changed_fields:
            if not change.after_sha256:
                self.fields.pop(change.field, None)
                continue
            before = self.fields.get(change.field, draft_pb2.FieldValue())
            self.fields[change.field] = draft_pb2.FieldValue(
                name=change.field,
                kind=before.kind,
                media_type=before.media_type,
                sha256=change.after_sha256,
                last_changed_version=draft.version_number,
                last_author=entry.actor.subject,
            )

    def _apply_presence(self, update: session_event_pb2.PresenceUpdate) -> None:
        if update.snapshot:
            self.presence = {}
        elif update.version != self._presence_version + 1:
            return  # a snapshot follows
        self._presence_version = update.version
        for session in update.sessions:
            self.presence[session.session_id] = session
        for session_id in update.gone_session_ids:
            self.presence.pop(session_id, None)


def _copy(run: run_pb2.Run) -> run_pb2.Run:
    """A run of one's own: lines change it, and the event is also the subscribers'."""
    copied = run_pb2.Run()
    copied.CopyFrom(run)
    return copied
