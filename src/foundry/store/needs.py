"""What an operation reads: the rows it names, and the head row that every writer takes last."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from foundry.domain.project import ProjectState

if TYPE_CHECKING:
    from foundry.store.requests import RequestKey


@dataclass(frozen=True, slots=True)
class Needs:
    """The rows an operation reads. All belong to one project; ``project_id`` is empty for the instance alone.

    Attributes:
        subject: Load this principal's membership.
        members: Load the memberships of these principals too.
        all_members: Load every member.
        sessions: Load these sessions.
        sessions_of: Load the open sessions of this subject in the project.
        all_sessions: Load every open session of the project, and what they hold.
        count_sessions: Count the open sessions of the project.
        fields: Load these fields. Where one is not live, all fields are loaded, to check its name against them.
        all_fields: Load every field.
        held_by: Load the fields that these sessions hold.
        comments: Load these comments.
        count_comments: Count the comments of the project, and of the thread of the loaded one.
        runs: Load these runs.
        running_runs: Load every run that runs.
        console: Load the chunks behind this line of this run; not all when there are very many.
        instance_log: The operation writes to the instance log too.
        replica: The server process that the operation opens or resumes a session for; it must not be fenced.
        source: Read this other project with the caller's membership in it; its log may be written to.
        request: Look up the answer to this request, to repeat it.
    """

    project_id: str = ""
    subject: str = ""
    members: tuple[str, ...] = ()
    all_members: bool = False
    sessions: tuple[str, ...] = ()
    sessions_of: str = ""
    all_sessions: bool = False
    count_sessions: bool = False
    fields: tuple[str, ...] = ()
    all_fields: bool = False
    held_by: tuple[str, ...] = ()
    comments: tuple[str, ...] = ()
    count_comments: bool = False
    runs: tuple[str, ...] = ()
    running_runs: bool = False
    console: tuple[str, int] | None = None
    instance_log: bool = False
    replica: str = ""
    source: str = ""
    request: RequestKey | None = None


@dataclass(frozen=True, slots=True)
class Head:
    """The one row of a log: state and head version of its project, and the tail of the chain."""

    log: str
    state: ProjectState
    head_version: int
    current_draft_id: str
    last_sequence: int
    tail: bytes
    last_time_us: int
