"""Reading comments: each with its place in the version asked about."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from foundry.domain.errors import NotFound
from foundry.managers.access import readable
from foundry.managers.paging import read_page

if TYPE_CHECKING:
    from collections.abc import Sequence

    from foundry.domain.comment import Comment, CommentFilter, Place
    from foundry.domain.principal import Caller
    from foundry.domain.project import Project
    from foundry.managers.anchoring import Anchoring
    from foundry.store.comments import CommentRepository
    from foundry.store.projects import SqlAlchemyProjectRepository


@dataclass(frozen=True, slots=True)
class PlacedComment:
    """A comment, and where its anchor is in the version asked about; None without an anchor."""

    comment: Comment
    place: Place | None


class CommentReader:
    """Gets and lists comments."""

    def __init__(
        self, projects: SqlAlchemyProjectRepository, comments: CommentRepository, anchoring: Anchoring
    ) -> None:
        self._projects = projects
        self._comments = comments
        self._anchoring = anchoring

    async def placed(self, comment: Comment) -> PlacedComment:
        """A comment just changed, with its place in the head."""
        version = await self._projects.head_version(comment.project_id)
        (placed,) = await self._place(comment.project_id, [comment], version)
        return placed

    async def get(self, caller: Caller, project_id: str, comment_id: str, *, at_version: int = 0) -> PlacedComment:
        """A comment, with its place in a version; 0 for the head.

        Raises:
            NotFound: No such comment or version.
        """
        project, _ = await readable(self._projects, caller, project_id)
        _check_version(project, at_version)
        comment = await self._comments.get(project_id, comment_id)
        if comment is None:
            raise NotFound("comment", comment_id)
        (placed,) = await self._place(project_id, [comment], at_version or project.head_version)
        return placed

    async def list_comments(
        self, caller: Caller, project_id: str, wanted: CommentFilter, after: str, limit: int, *, at_version: int = 0
    ) -> tuple[list[PlacedComment], bool]:
        """Comments by age, from behind the id ``after``, and whether there are more.

        At most ``limit``; fewer, but one at least, where placing them costs much.

        Raises:
            NotFound: No such version.
        """
        project, _ = await readable(self._projects, caller, project_id)
        _check_version(project, at_version)
        comments, more = await read_page(
            lambda behind, most: self._comments.page(project_id, wanted, behind, most),
            after,
            limit,
            key=lambda comment: comment.comment_id,
            size=lambda comment: len(comment.text),
        )
        placed = await self._place(project_id, comments, at_version or project.head_version)
        return placed, more or len(comments) > len(placed)

    async def _place(self, project_id: str, comments: Sequence[Comment], version: int) -> list[PlacedComment]:
        places = await self._anchoring.places(project_id, [comment.anchor for comment in comments], version)
        return [PlacedComment(comment, place) for comment, place in zip(comments, places, strict=False)]


def _check_version(project: Project, version: int) -> None:
    if version > project.head_version:
        raise NotFound("draft", str(version))
