"""Locks: who holds the pen on a field, and the fencing token that proves it.

A field has one permanent row. Its fence rises by one with each grant and never goes down, so (field, fence) names
exactly one holder for ever. A session holds a lock, never a user: two tabs of one person are two sessions.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass

from foundry.domain.principal import Principal


class ReleaseReason(enum.StrEnum):
    """Why a grant ended. Every grant ends in exactly one release."""

    SAVE = "SAVE"
    CANCEL = "CANCEL"
    LEAVE = "LEAVE"
    STREAM_GONE = "STREAM_GONE"
    HEARTBEAT = "HEARTBEAT"
    IDLE = "IDLE"
    FORCED = "FORCED"
    TRANSFERRED = "TRANSFERRED"
    FREEZE = "FREEZE"
    ACCESS_LOST = "ACCESS_LOST"
    REPLICA_DEAD = "REPLICA_DEAD"
    SERVER_RESTART = "SERVER_RESTART"
    DB_FAILOVER = "DB_FAILOVER"


@dataclass(frozen=True, slots=True)
class Lock:
    """A held lock.

    Attributes:
        lock_id: Id of this grant.
        fencing_token: The field's fence at this grant, from 1.
        expire_time_us: When it is released as idle: the last save, touch or renewal plus the idle limit, microseconds
            since the Unix epoch.
        purpose: What the holder says it is for, at most 200 bytes; may be empty.
    """

    lock_id: str
    project_id: str
    field: str
    holder: Principal
    session_id: str
    fencing_token: int
    acquire_time_us: int
    expire_time_us: int
    purpose: str = ""


@dataclass(frozen=True, slots=True)
class AcquireResult:
    """A granted lock with what the field holds now, so that nobody starts typing on old text.

    Attributes:
        lock: The grant.
        field_version: Version that last changed the field, 0 when it has no content.
        field_sha256: Hash of its content, empty when it has none.
        head_version: Head version of the project.
        sequence: Log position of the ``lock_acquired`` entry.
        already_held: True when this session held it before; nothing was logged then.
    """

    lock: Lock
    field_version: int
    field_sha256: str
    head_version: int
    sequence: int
    already_held: bool = False
