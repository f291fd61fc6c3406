"""Entries of the FoundryLog: the closed table of events, and an entry as it travels inside the server."""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from foundry.domain.principal import Principal

#: Name of the log of the installation itself; all other logs are named by their project id.
INSTANCE_LOG = "instance"

#: A value of an entry's data: what RFC 8785 can carry without floats.
Value = str | int | bool | None | Sequence["Value"] | Mapping[str, "Value"]


class Event(enum.StrEnum):
    """What an entry tells of. The value is the name of the arm in the contract, verbatim, for ever."""

    PROJECT_CREATED = "project_created"
    PROJECT_UPDATED = "project_updated"
    PROJECT_ARCHIVED = "project_archived"
    PROJECT_UNARCHIVED = "project_unarchived"
    MEMBER_SET = "member_set"
    MEMBER_REMOVED = "member_removed"
    POLICY_CHANGED = "policy_changed"
    SESSION_OPENED = "session_opened"
    SESSION_RESUMED = "session_resumed"
    SESSION_CLOSED = "session_closed"
    LOCK_ACQUIRED = "lock_acquired"
    LOCK_RELEASED = "lock_released"
    LOCK_DENIED = "lock_denied"
    DRAFT_CREATED = "draft_created"
    LOG_GENESIS = "log_genesis"
    AUTHENTICATION_FAILED = "authentication_failed"
    MIGRATION_APPLIED = "migration_applied"
    COMMENT_CREATED = "comment_created"
    COMMENT_UPDATED = "comment_updated"
    COMMENT_DELETED = "comment_deleted"
    COMMENT_STATE_CHANGED = "comment_state_changed"
    RUN_STARTED = "run_started"
    RUN_FINISHED = "run_finished"
    ASSAY_EXPORTED = "assay_exported"
    FREEZE_REQUESTED = "freeze_requested"
    PROJECT_FROZEN = "project_frozen"
    BUNDLE_EXPORTED = "bundle_exported"
    REVISION_STARTED = "revision_started"


@dataclass(frozen=True, slots=True)
class NewEntry:
    """An entry before it has a place in a log.

    Attributes:
        event: Arm of the closed table.
        actor: Who did it; ``SYSTEM`` for what the server does by itself.
        data: The arm's fields, by their names in the contract: ids, hashes, numbers; no free text.
        text: Free text of the entry (reason, message, names), kept beside the chain and committed to by a salted
            hash, so that it can be redacted while the chain still verifies.
        session_id: Session in which it happened, or empty.
        request_id: Idempotency key of the call, or empty.
        correlation_id: Id of the call, or empty.
    """

    event: Event
    actor: Principal
    data: Mapping[str, Value]
    text: dict[str, str] = field(default_factory=dict)
    session_id: str = ""
    request_id: str = ""
    correlation_id: str = ""


@dataclass(frozen=True, slots=True)
class Entry:
    """An entry of a log.

    Attributes:
        log: Project id, or ``instance``.
        sequence: From 1, without gaps; order of entries is order of commits.
        time_us: Database time of the append, microseconds since the Unix epoch; never before its predecessor's.
        entry_bytes: The canonical bytes (RFC 8785) that are stored, chained and verified.
        leaf: SHA-256(0x00 || entry_bytes), the RFC 6962 leaf hash.
    """

    log: str
    sequence: int
    time_us: int
    new: NewEntry
    entry_bytes: bytes
    leaf: bytes
