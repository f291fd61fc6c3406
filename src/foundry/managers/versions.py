"""The version somebody names: by number, by id, or the newest."""

from __future__ import annotations

from typing import TYPE_CHECKING

from foundry.domain.errors import NotFound

if TYPE_CHECKING:
    from foundry.domain.draft import Draft
    from foundry.domain.project import Project
    from foundry.store.drafts import DraftRepository


async def named_version(
    drafts: DraftRepository, project: Project, *, version_number: int | None = None, draft_id: str | None = None
) -> Draft:
    """A version of a project; the head when neither number nor id is given.

    Raises:
        NotFound: No such version in this project.
    """
    if draft_id is not None:
        asked, draft = draft_id, await drafts.get_by_id(project.project_id, draft_id)
    else:
        asked = "head" if version_number is None else str(version_number)
        number = project.head_version if version_number is None else version_number
        draft = await drafts.get(project.project_id, number)
    if draft is None:
        raise NotFound("draft", asked)
    return draft
