"""Releases: the freeze of a project, and what may stand in its way."""

from __future__ import annotations

import enum
from dataclasses import dataclass

from foundry.domain.principal import Principal


class Blocker(enum.StrEnum):
    """What stands in the way of a freeze."""

    NO_VERSION = "NO_VERSION"
    RUN_RUNNING = "RUN_RUNNING"
    EVIDENCE_MISSING = "EVIDENCE_MISSING"
    APPROVALS_MISSING = "APPROVALS_MISSING"


@dataclass(frozen=True, slots=True)
class Freeze:
    """The freeze of a project: what was released.

    Attributes:
        fingerprint: SHA-256 (hex) of the release statement, which names the version, its content, and the head of the
            log before the freeze.
        log_sequence: That head's sequence number.
        log_leaf: That head's leaf hash in hex; it commits to the whole history.
        sequence: Sequence number of the ``project_frozen`` entry.
    """

    freeze_id: str
    project_id: str
    version_number: int
    draft_id: str
    content_sha256: str
    fingerprint: str
    requester: Principal
    create_time_us: int
    reason: str
    log_sequence: int
    log_leaf: str
    sequence: int
