"""Projects and members: rows, statements, queries."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from sqlalchemy import bindparam, delete, exists, insert, select, update

from foundry.domain.principal import PrincipalKind
from foundry.domain.project import AgentAccess, Member, Project, ProjectState, Role
from foundry.store import tables as t
from foundry.store.codec import dump, dump_policy, dump_principal, load_policy, load_principal
from foundry.store.statement import Row, Statement

if TYPE_CHECKING:
    from foundry.domain.principal import Principal
    from foundry.domain.project import ProjectFilter
    from foundry.store.database import Reader

_PROJECT_COLUMNS = (
    t.project.c.project_id,
    t.project.c.name,
    t.project.c.description,
    t.project.c.labels,
    t.project.c.policy,
    t.project.c.creator,
    t.project.c.create_time_us,
    t.project.c.update_time_us,
    t.project.c.archive_time_us,
    t.project.c.revision,
    t.project.c.revision_of_project_id,
    t.project.c.revision_of_fingerprint,
    t.head.c.state,
    t.head.c.head_version,
    t.head.c.current_draft_id,
)
_PROJECT = select(*_PROJECT_COLUMNS).join(t.head, t.head.c.log == t.project.c.project_id)
_MEMBER_COLUMNS = (
    t.member.c.project_id,
    t.member.c.subject,
    t.member.c.role,
    t.member.c.display_name,
    t.member.c.add_time_us,
)

PROJECT = Statement(_PROJECT.where(t.project.c.project_id == bindparam("project_id")))
INSERT_PROJECT = Statement(insert(t.project))
_FIXED = {"project_id", "creator", "create_time_us", "revision_of_project_id", "revision_of_fingerprint"}
UPDATE_PROJECT = Statement(
    update(t.project)
    .where(t.project.c.project_id == bindparam("key"), t.project.c.revision == bindparam("old_revision"))
    .values({column.name: bindparam(column.name) for column in t.project.c if column.name not in _FIXED})
)
INSERT_LABEL = Statement(insert(t.project_label))
DELETE_LABELS = Statement(delete(t.project_label).where(t.project_label.c.project_id == bindparam("project_id")))
MEMBER = Statement(
    select(*_MEMBER_COLUMNS).where(
        t.member.c.project_id == bindparam("project_id"), t.member.c.subject == bindparam("subject")
    )
)
MEMBERS = Statement(select(*_MEMBER_COLUMNS).where(t.member.c.project_id == bindparam("project_id")))
INSERT_MEMBER = Statement(insert(t.member))
UPDATE_MEMBER = Statement(
    update(t.member)
    .where(t.member.c.project_id == bindparam("key_project_id"), t.member.c.subject == bindparam("key_subject"))
    .values(role=bindparam("role"), display_name=bindparam("display_name"))
)
DELETE_MEMBER = Statement(
    delete(t.member).where(t.member.c.project_id == bindparam("project_id"), t.member.c.subject == bindparam("subject"))
)


def to_project(row: Row) -> Project:
    """A project from a row of ``PROJECT``."""
    return Project(
        project_id=row[0],
        name=row[1],
        description=row[2],
        labels=json.loads(row[3]) if row[3] != "{}" else {},
        policy=load_policy(row[4]),
        creator=load_principal(row[5]),
        create_time_us=row[6],
        update_time_us=row[7],
        archive_time_us=row[8],
        revision=row[9],
        revision_of_project_id=row[10],
        revision_of_fingerprint=row[11],
        state=ProjectState(row[12]),
        head_version=row[13],
        current_draft_id=row[14],
    )


def project_parameters(project: Project) -> dict[str, object]:
    """The columns of a project; what the head row holds is not among them."""
    return {
        "project_id": project.project_id,
        "name": project.name,
        "name_folded": project.name.casefold(),
        "description": project.description,
        "labels": dump(project.labels),
        "policy": dump_policy(project.policy),
        "agent_access": project.policy.agent_access.value,
        "creator": dump_principal(project.creator),
        "create_time_us": project.create_time_us,
        "update_time_us": project.update_time_us,
        "archive_time_us": project.archive_time_us,
        "revision": project.revision,
        "revision_of_project_id": project.revision_of_project_id,
        "revision_of_fingerprint": project.revision_of_fingerprint,
    }


def to_member(row: Row) -> Member:
    """A member from a row of ``MEMBER``."""
    return Member(row[0], row[1], Role(row[2]), row[3], row[4])


def member_parameters(member: Member) -> dict[str, object]:
    """The columns of a member."""
    return {
        "project_id": member.project_id,
        "subject": member.subject,
        "role": member.role.value,
        "display_name": member.display_name,
        "add_time_us": member.add_time_us,
    }


class SqlAlchemyProjectRepository:
    """Reads projects and members."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader

    async def get(self, project_id: str, subject: str) -> tuple[Project, Member] | None:
        """A project with the membership of ``subject``; None when either is missing."""
        member = await self._reader.row(MEMBER, {"project_id": project_id, "subject": subject})
        project = await self._reader.row(PROJECT, {"project_id": project_id}) if member else None
        return (to_project(project), to_member(member)) if project and member else None

    async def head_version(self, project_id: str) -> int:
        """Number of the newest version of a project, 0 before the first."""
        row = await self._reader.row(PROJECT, {"project_id": project_id})
        return to_project(row).head_version if row else 0

    async def list_for(self, principal: Principal, wanted: ProjectFilter, after: str, limit: int) -> list[Project]:
        """Projects that a principal may read, by age, from behind the id ``after``; at most ``limit``."""
        query = (
            _PROJECT.join(t.member, t.member.c.project_id == t.project.c.project_id)
            .where(t.member.c.subject == principal.subject, t.project.c.project_id > after)
            .order_by(t.project.c.project_id)
            .limit(limit)
        )
        if principal.kind is PrincipalKind.AGENT:
            query = query.where(t.project.c.agent_access != AgentAccess.DENY.value)
        if wanted.name_contains:
            query = query.where(t.project.c.name_folded.contains(wanted.name_contains.casefold(), autoescape=True))
        if wanted.state:
            query = query.where(t.head.c.state == wanted.state.value)
        if not wanted.show_archived:
            query = query.where(t.project.c.archive_time_us == 0)
        for key, value in wanted.labels.items():
            label = t.project_label.alias()
            same = (label.c.project_id == t.project.c.project_id) & (label.c.key == key) & (label.c.value == value)
            query = query.where(exists().where(same))
        return [to_project(tuple(row)) for row in await self._reader.fetch(query)]

    async def members(self, project_id: str, after: str, limit: int) -> list[Member]:
        """Members by subject, from behind ``after``; at most ``limit``."""
        query = (
            select(*_MEMBER_COLUMNS)
            .where(t.member.c.project_id == project_id, t.member.c.subject > after)
            .order_by(t.member.c.subject)
            .limit(limit)
        )
        return [to_member(tuple(row)) for row in await self._reader.fetch(query)]
