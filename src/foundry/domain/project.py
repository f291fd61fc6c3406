"""Projects: the container of a team's fields, with its members and its policy."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field

from foundry.domain.principal import Principal

#: Fields one project may ever have held.
FIELDS_PER_PROJECT_MAX = 2_000


class ProjectState(enum.StrEnum):
    """Where the project's content stands. Archiving is separate and never thaws anything."""

    ACTIVE = "ACTIVE"
    IN_REVIEW = "IN_REVIEW"
    FROZEN = "FROZEN"


class AgentAccess(enum.StrEnum):
    """What AGENT principals may do in a project, beyond what their role says."""

    DENY = "DENY"
    SUGGEST_ONLY = "SUGGEST_ONLY"
    EDIT = "EDIT"


class Role(enum.StrEnum):
    """What a member may do."""

    VIEWER = "VIEWER"
    EDITOR = "EDITOR"
    OWNER = "OWNER"
    AUDITOR = "AUDITOR"


@dataclass(frozen=True, slots=True)
class Policy:
    """The rules a project's owners set.

    Attributes:
        agent_access: What agents may do; they may read and suggest by default.
        require_reason: Whether every change of content, access or state needs a reason.
        require_evidence: Whether a freeze needs a passing run of the same content hash.
        min_approvals: Signatures a freeze needs, 0 to 10.
        viewers_may_comment: Whether VIEWER members may comment.
        log_retention_days: How long console lines of runs are kept, 0 for ever, at most 36,500. FoundryLog entries
            are always kept.
    """

    agent_access: AgentAccess = AgentAccess.SUGGEST_ONLY
    require_reason: bool = False
    require_evidence: bool = False
    min_approvals: int = 0
    viewers_may_comment: bool = False
    log_retention_days: int = 0


@dataclass(frozen=True, slots=True)
class Project:
    """A project without its content.

    Attributes:
        revision: Rises by one with each change of name, description, labels, policy, or archiving; makes the etag.
        archive_time_us: Microseconds since the Unix epoch, 0 when not archived.
        revision_of_project_id: The frozen project it goes on from, or empty.
        revision_of_fingerprint: Fingerprint of that project's freeze, or empty.
    """

    project_id: str
    name: str
    description: str
    labels: dict[str, str]
    policy: Policy
    creator: Principal
    create_time_us: int
    update_time_us: int
    archive_time_us: int = 0
    revision: int = 1
    state: ProjectState = ProjectState.ACTIVE
    head_version: int = 0
    current_draft_id: str = ""
    revision_of_project_id: str = ""
    revision_of_fingerprint: str = ""

    @property
    def etag(self) -> str:
        """Opaque tag of the metadata; changes whenever ``revision`` does. Saves do not change it."""
        return f"{self.project_id[-12:]}-{self.revision}"


@dataclass(frozen=True, slots=True)
class Member:
    """A principal's place in a project."""

    project_id: str
    subject: str
    role: Role
    display_name: str = ""
    add_time_us: int = 0


@dataclass(frozen=True, slots=True)
class ProjectFilter:
    """Which of the caller's projects to list; empty members do not restrict.

    Attributes:
        name_contains: Substring of the name, compared without case.
        labels: Labels that must all be equal.
        state: Exact state.
        show_archived: Whether archived projects are listed too.
    """

    name_contains: str = ""
    labels: dict[str, str] = field(default_factory=dict)
    state: ProjectState | None = None
    show_archived: bool = False
