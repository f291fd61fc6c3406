"""What a session stream carries, before it is encoded: log entries, presence, and news about the stream itself."""

from __future__ import annotations

import enum
from dataclasses import dataclass

from foundry.domain.entry import Entry
from foundry.domain.field import FieldDigest
from foundry.domain.lock import Lock
from foundry.domain.project import Project
from foundry.domain.run import LogLine, Run, RunLines
from foundry.domain.session import Attachment, Position, Presence


class ResyncReason(enum.StrEnum):
    """Why a snapshot follows."""

    NEW = "NEW"
    EPOCH = "EPOCH"
    TOO_MANY = "TOO_MANY"
    AHEAD = "AHEAD"
    SLOW_READER = "SLOW_READER"


@dataclass(frozen=True, slots=True)
class EntryEvent:
    """An entry of the project's log."""

    entry: Entry


@dataclass(frozen=True, slots=True)
class PresenceEvent:
    """Who is here: everybody (``snapshot``), or what changed since the version before.

    Attributes:
        version: Rises by one with each difference.
        joined: Subjects whose first session appeared.
        left: Subjects whose last session went.
        sessions: Present, or changed, sessions.
        gone: Ids of sessions that went.
    """

    version: int
    snapshot: bool
    sessions: tuple[Presence, ...]
    gone: tuple[str, ...] = ()
    joined: tuple[str, ...] = ()
    left: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Opened:
    """The answer to ``open``; ``resync`` says why, when the attachment is SNAPSHOT."""

    session_id: str
    resume_secret: str
    attachment: Attachment
    position: Position
    resync: ResyncReason | None
    role: str


@dataclass(frozen=True, slots=True)
class SnapshotPage:
    """A part of a snapshot; the first page carries project, locks and running runs, each carries some fields."""

    project: Project | None
    locks: tuple[Lock, ...]
    fields: tuple[FieldDigest, ...]
    last: bool
    runs: tuple[Run, ...] = ()


@dataclass(frozen=True, slots=True)
class CaughtUp:
    """The client has seen everything up to ``position``; what follows is live."""

    position: Position


@dataclass(frozen=True, slots=True)
class Tick:
    """The newest position, every two seconds: bookmark and sign of life."""

    position: Position


@dataclass(frozen=True, slots=True)
class IdleWarning:
    """A lock will be released as idle at ``expire_time_us`` unless touched."""

    lock: Lock


@dataclass(frozen=True, slots=True)
class Resync:
    """What the client knows is void; snapshot pages and ``caught_up`` follow on this stream."""

    reason: ResyncReason


@dataclass(frozen=True, slots=True)
class ServerGoing:
    """The server leaves; come back with the resume secret at a random time within ``retry_after_ms``."""

    retry_after_ms: int


@dataclass(frozen=True, slots=True)
class RunLogEvent:
    """Lines of a run's console, or its end: then ``finished`` is the run as it was finished."""

    run_id: str
    lines: tuple[LogLine, ...] = ()
    finished: Run | None = None


@dataclass(frozen=True, slots=True)
class LogGrew:
    """A log has entries up to ``sequence``."""

    log: str
    sequence: int


@dataclass(frozen=True, slots=True)
class RunGrew:
    """The console of a run has lines up to ``line_count``."""

    project_id: str
    run_id: str
    line_count: int


@dataclass(frozen=True, slots=True)
class PresenceChanged:
    """Somebody came to a project, went, or shows something else."""

    project_id: str


#: What a commit brings forth, in its order; whoever follows hears of it.
Committed = Entry | RunLines

#: What followers are told: what was committed, or only that a console grew and its lines are in the store.
News = Committed | RunGrew

#: What server processes ring for: the news themselves are in the store.
Ring = LogGrew | RunGrew | PresenceChanged

SessionEvent = (
    EntryEvent
    | PresenceEvent
    | Opened
    | SnapshotPage
    | CaughtUp
    | Tick
    | IdleWarning
    | Resync
    | ServerGoing
    | RunLogEvent
)
