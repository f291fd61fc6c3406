"""Sessions: one client's presence in one project, for as long as its stream lives."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Protocol

from foundry.domain.principal import Principal


class SessionState(enum.StrEnum):
    """Where a session stands. Only an ATTACHED one may acquire; a CLOSED one never comes back."""

    ATTACHED = "ATTACHED"
    DETACHED = "DETACHED"
    CLOSED = "CLOSED"


class CloseReason(enum.StrEnum):
    """Why a session ended."""

    LEAVE = "LEAVE"
    STREAM_GONE = "STREAM_GONE"
    HEARTBEAT = "HEARTBEAT"
    SUPERSEDED = "SUPERSEDED"
    TOKEN_EXPIRED = "TOKEN_EXPIRED"  # noqa: S105 - a reason, not a secret
    ENDED = "ENDED"
    ACCESS_LOST = "ACCESS_LOST"
    SLOW_CONSUMER = "SLOW_CONSUMER"
    SERVER_RESTART = "SERVER_RESTART"
    REPLICA_DEAD = "REPLICA_DEAD"
    DB_FAILOVER = "DB_FAILOVER"
    UNARY = "UNARY"


class Attachment(enum.StrEnum):
    """How a client came in: with identity and position, with position only, or afresh."""

    RESUMED = "RESUMED"
    REPLAYED = "REPLAYED"
    SNAPSHOT = "SNAPSHOT"


@dataclass(frozen=True, slots=True)
class Session:
    """A session as it is stored.

    Attributes:
        stream_epoch: Rises by one with each attach; a close that names an older one does nothing.
        resume_hash: SHA-256 of the current resume secret.
        server_boot_id: The server process that serves it.
        grace_ms: How long locks outlive an unclean end of the stream, 0 to 30,000.
        epoch: The history of the log that it was opened in; in another one it is void.
        detach_time_us: When its stream was lost, 0 while attached.
    """

    session_id: str
    project_id: str
    principal: Principal
    state: SessionState
    stream_epoch: int
    resume_hash: bytes
    server_boot_id: str
    tab_id: str
    client_name: str
    client_version: str
    grace_ms: int
    open_time_us: int
    epoch: int = 1
    detach_time_us: int = 0
    close_time_us: int = 0
    close_reason: CloseReason | None = None


class History(Protocol):
    """Where the epoch of positions comes from: the store, which may fail over while the server runs."""

    @property
    def epoch(self) -> int:
        """Identity of the log's history now, from 1."""
        ...


@dataclass(frozen=True, slots=True)
class Position:
    """A place in a project's log.

    Attributes:
        epoch: Identity of the log's history; changes when a backup is restored.
        sequence: Sequence number of the entry, 0 before the first.
    """

    epoch: int
    sequence: int


@dataclass(frozen=True, slots=True)
class Activity:
    """What a session shows of itself; latest wins, nothing of it is durable.

    Attributes:
        focus_field: Field the person looks at, or empty.
        cursor: Free-form caret position, at most 200 bytes.
        activity: Free-form status, at most 200 bytes (``typing``, ``running tests``).
    """

    focus_field: str = ""
    cursor: str = ""
    activity: str = ""


@dataclass(frozen=True, slots=True)
class Presence:
    """One session as the others see it.

    Attributes:
        reconnecting: True while its stream is lost but its grace is not over.
        stream_epoch: That of the session as whoever shows it knows it; what an older one shows is out of date.
    """

    session_id: str
    principal: Principal
    since_us: int
    shown: Activity = Activity()
    client_name: str = ""
    reconnecting: bool = False
    stream_epoch: int = 0
