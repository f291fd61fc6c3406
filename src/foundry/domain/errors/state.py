"""The state of things and of the server: archived, frozen, stale, away."""

from __future__ import annotations

from typing import TYPE_CHECKING

from foundry.domain.errors.base import FoundryError

if TYPE_CHECKING:
    from collections.abc import Sequence


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


class NotFrozen(FoundryError):
    """The project is not frozen: there is no release to hand over."""

    reason = "NOT_FROZEN"

    def __init__(self, project_id: str, state: str) -> None:
        super().__init__(f"the project is {state}; freeze it first", project_id=project_id, state=state)


class FreezeBlocked(FoundryError):
    """Something stands in the way of a freeze; every blocker is named."""

    reason = "FREEZE_BLOCKED"

    def __init__(self, blockers: Sequence[tuple[str, str, str]]) -> None:
        """Args: blockers are each a type, a subject (``runs/{run_id}``, or empty for the project) and a sentence."""
        super().__init__(
            "; ".join(text for _, _, text in blockers), blocker=blockers[0][0], blocker_count=len(blockers)
        )
        self.blockers = tuple(blockers)


class VersionMismatch(FoundryError):
    """The project is at another version than the caller decided on."""

    reason = "VERSION_MISMATCH"

    def __init__(self, expected_version: int, head_version: int) -> None:
        super().__init__(
            f"the project is at version {head_version}, not {expected_version}",
            expected_version=expected_version,
            head_version=head_version,
        )


class ContentMismatch(FoundryError):
    """The version does not have the content that the caller says it has."""

    reason = "CONTENT_MISMATCH"

    def __init__(self, version_number: int, content_sha256: str) -> None:
        super().__init__(
            f"version {version_number} has other content: its hash is {content_sha256}",
            version_number=version_number,
            content_sha256=content_sha256,
        )


class CommentDeleted(FoundryError):
    """The comment is deleted: it cannot change, and its thread takes no replies."""

    reason = "COMMENT_DELETED"

    def __init__(self, comment_id: str) -> None:
        super().__init__("the comment is deleted", comment_id=comment_id)


class RunFinished(FoundryError):
    """The run is finished: it takes no more lines and no other end."""

    reason = "RUN_FINISHED"

    def __init__(self, run_id: str, state: str) -> None:
        super().__init__(f"the run is finished: {state}", run_id=run_id, state=state)


class LineNumberMismatch(FoundryError):
    """Lines do not go on where the console ends; everything before ``expected_line`` is stored."""

    reason = "LINE_NUMBER_MISMATCH"

    def __init__(self, run_id: str, expected_line: int, line: int) -> None:
        super().__init__(
            f"the next line is {expected_line}; got {line}", run_id=run_id, expected_line=expected_line, line=line
        )


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


class OutcomeUnknown(Unavailable):
    """The same, where the answer to the commit was lost: whether it was made is not known."""


class GoingAway(FoundryError):
    """The server is shutting down; sessions keep their locks and may resume."""

    reason = "GOING_AWAY"

    def __init__(self, retry_after_s: float) -> None:
        super().__init__("the server is shutting down; resume in a moment")
        self.retry_after_s = retry_after_s
