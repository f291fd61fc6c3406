"""The state of things and of the server: archived, frozen, stale, away."""

from __future__ import annotations

from foundry.domain.errors.base import FoundryError


class ProjectArchived(FoundryError):
    """The project is archived; it can be read and unarchived."""

    reason = "PROJECT_ARCHIVED"

    def __init__(self, project_id: str) -> None:
        super().__init__("the project is archived", project_id=project_id)


class ProjectFrozen(FoundryError):
    """The project's content can no longer change (IN_REVIEW or FROZEN)."""

    reason = "PROJECT_FROZEN"

    def __init__(self, project_id: str, state: str) -> None:
        super().__init__(f"the project is {state}; its content cannot change", project_id=project_id, state=state)


class LastOwner(FoundryError):
    """The last OWNER cannot be removed or demoted."""

    reason = "LAST_OWNER"

    def __init__(self, subject: str) -> None:
        super().__init__(f"{subject} is the last OWNER of the project", subject=subject)


class EtagMismatch(FoundryError):
    """Somebody changed the resource since it was read."""

    reason = "ETAG_MISMATCH"

    def __init__(self, current_etag: str) -> None:
        super().__init__("the resource changed since you read it", current_etag=current_etag)


class StaleVersion(FoundryError):
    """A changed field was changed by somebody else after ``base_version``."""

    reason = "STALE_VERSION"

    def __init__(self, base_version: int, head_version: int, changed: dict[str, tuple[int, str]]) -> None:
        """Args: changed maps each conflicting field to (version, author subject) of its last change."""
        who = ", ".join(f"{name} in version {version} by {author}" for name, (version, author) in changed.items())
        details: dict[str, str | int] = {"base_version": base_version, "head_version": head_version}
        for name, (version, author) in changed.items():
            details[f"changed:{name}:version"] = version
            details[f"changed:{name}:author"] = author
        super().__init__(f"changed since version {base_version}: {who}", **details)
        self.base_version, self.head_version, self.changed = base_version, head_version, changed


class Unavailable(FoundryError):
    """The store cannot commit now; nothing of the request took effect, or its request id will tell."""

    reason = "STORE_UNAVAILABLE"
    retry_after_s = 1.0


class GoingAway(FoundryError):
    """The server is shutting down; sessions keep their locks and may resume."""

    reason = "GOING_AWAY"

    def __init__(self, retry_after_s: float) -> None:
        super().__init__("the server is shutting down; resume in a moment")
        self.retry_after_s = retry_after_s
