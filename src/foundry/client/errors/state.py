"""Refusals of the state a project is in."""

# ruff: noqa: N818 - a refusal bears the name of its reason in the contract: ProjectFrozen is PROJECT_FROZEN

from __future__ import annotations

import grpc

from foundry.client.errors.base import FoundryError, Violation


class StaleVersion(FoundryError):
    """A changed field was changed by somebody else after ``base_version``."""

    default_code = grpc.StatusCode.ABORTED

    @property
    def base(self) -> int:
        """The version the request was based on."""
        return self._number("base_version")

    @property
    def head(self) -> int:
        """The newest version."""
        return self._number("head_version")

    @property
    def changed(self) -> dict[str, tuple[int, str]]:
        """The fields in conflict, each with the version that last changed it and that version's author."""
        fields = [key.split(":")[1] for key in self.metadata if key.startswith("changed:") and key.endswith(":version")]
        return {
            field: (self._number(f"changed:{field}:version"), self._text(f"changed:{field}:author")) for field in fields
        }


class EtagMismatch(FoundryError):
    """The resource changed since it was read."""

    default_code = grpc.StatusCode.ABORTED

    @property
    def current_etag(self) -> str:
        """Its tag now."""
        return self._text("current_etag")


class ProjectFrozen(FoundryError):
    """The project's content can no longer change."""

    default_code = grpc.StatusCode.FAILED_PRECONDITION

    @property
    def state(self) -> str:
        """IN_REVIEW or FROZEN."""
        return self._text("state")


class ProjectArchived(FoundryError):
    """The project is archived: it can be read, and unarchived."""

    default_code = grpc.StatusCode.FAILED_PRECONDITION


class VersionMismatch(FoundryError):
    """The project is at another version than the caller decided on."""

    default_code = grpc.StatusCode.ABORTED

    @property
    def expected(self) -> int:
        """The version the caller decided on."""
        return self._number("expected_version")

    @property
    def head(self) -> int:
        """The newest version."""
        return self._number("head_version")


class FreezeBlocked(FoundryError):
    """Something stands in the way of a freeze; ``blockers`` lists all of it."""

    default_code = grpc.StatusCode.FAILED_PRECONDITION

    @property
    def blocker(self) -> str:
        """The first: NO_VERSION, RUN_RUNNING, EVIDENCE_MISSING or APPROVALS_MISSING."""
        return self._text("blocker")

    @property
    def blockers(self) -> list[Violation]:
        """One for each thing in the way; ``subject`` is what it is about, such as ``runs/{run_id}``."""
        return list(self.violations)


class NotFrozen(FoundryError):
    """The project is not frozen: there is no release to hand over."""

    default_code = grpc.StatusCode.FAILED_PRECONDITION

    @property
    def state(self) -> str:
        """ACTIVE or IN_REVIEW."""
        return self._text("state")


class CommentDeleted(FoundryError):
    """The comment is deleted: it cannot change, and its thread takes no replies."""

    default_code = grpc.StatusCode.FAILED_PRECONDITION

    @property
    def comment_id(self) -> str:
        """The comment."""
        return self._text("comment_id")
