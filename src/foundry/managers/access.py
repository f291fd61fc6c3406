"""Membership: who the caller is in a project, before anything else is said about it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from foundry.domain.access import Action, check_access
from foundry.domain.errors import ProjectAccessDenied

if TYPE_CHECKING:
    from foundry.domain.principal import Caller
    from foundry.domain.project import Member, Project
    from foundry.store.projects import SqlAlchemyProjectRepository
    from foundry.store.unit_of_work import UnitOfWork


def authorize(unit: UnitOfWork, caller: Caller, action: Action) -> tuple[Project, Member]:
    """Project and membership of the caller, if the action is allowed; inside an operation.

    Raises:
        ProjectAccessDenied: No such project, or not a member: the same answer.
        RoleTooLow, HumanRequired, AgentAccessDenied: See ``check_access``.
    """
    project = unit.project
    member = unit.member(caller.principal.subject)
    if member is None:
        raise ProjectAccessDenied(project.project_id)
    check_access(action, caller.principal, member, project)
    return project, member


async def readable(projects: SqlAlchemyProjectRepository, caller: Caller, project_id: str) -> tuple[Project, Member]:
    """Project and membership of the caller, if they may read it; outside of operations.

    Raises:
        ProjectAccessDenied: No such project, or not a member: the same answer.
        AgentAccessDenied: The project's policy keeps agents out.
    """
    found = await projects.get(project_id, caller.principal.subject)
    if found is None:
        raise ProjectAccessDenied(project_id)
    project, member = found
    check_access(Action.READ, caller.principal, member, project)
    return project, member
