"""Who may do what: roles, the project's policy towards agents, and what is for people only."""

from __future__ import annotations

import enum

from foundry.domain.errors import (
    AgentAccessDenied,
    HumanRequired,
    NotFrozen,
    ProjectArchived,
    ProjectFrozen,
    ReasonRequired,
    RoleTooLow,
)
from foundry.domain.lock import Lock
from foundry.domain.principal import Principal, PrincipalKind
from foundry.domain.project import AgentAccess, Member, Project, ProjectState, Role


class Action(enum.Enum):
    """What is asked for: the words of a refusal, the roles that may, the role to name in a refusal."""

    READ = ("read", frozenset(Role), Role.VIEWER)
    EDIT = ("edit", frozenset({Role.EDITOR, Role.OWNER}), Role.EDITOR)
    MANAGE = ("manage the project", frozenset({Role.OWNER}), Role.OWNER)
    END_SESSION = ("end another's session", frozenset({Role.OWNER}), Role.OWNER)
    SET_MEMBERS = ("change members", frozenset({Role.OWNER}), Role.OWNER)
    SET_POLICY = ("change the policy", frozenset({Role.OWNER}), Role.OWNER)
    BREAK_LOCK = ("break a lock", frozenset({Role.EDITOR, Role.OWNER}), Role.EDITOR)
    COMMENT = ("comment", frozenset({Role.EDITOR, Role.OWNER}), Role.EDITOR)
    DELETE_COMMENT = ("delete another's comment", frozenset({Role.OWNER}), Role.OWNER)
    RUN = ("run", frozenset({Role.EDITOR, Role.OWNER}), Role.EDITOR)
    CANCEL_RUN = ("cancel another's run", frozenset({Role.OWNER}), Role.OWNER)
    FREEZE = ("freeze", frozenset({Role.OWNER}), Role.OWNER)
    REVISE = ("start a revision", frozenset({Role.EDITOR, Role.OWNER}), Role.EDITOR)

    @property
    def words(self) -> str:
        """The action as a refusal names it."""
        return self.value[0]


#: Whatever a token claims, an agent or a service never does these.
_HUMAN_ONLY = frozenset(
    {
        Action.SET_MEMBERS,
        Action.SET_POLICY,
        Action.BREAK_LOCK,
        Action.END_SESSION,
        Action.DELETE_COMMENT,
        Action.CANCEL_RUN,
        Action.FREEZE,
    }
)
#: What an agent may do that is let in to read and suggest.
_SUGGESTING = frozenset({Action.READ, Action.COMMENT})


def check_access(action: Action, principal: Principal, member: Member, project: Project) -> None:
    """Refuse an action that the member's role, the principal's kind or the policy does not allow.

    Raises:
        RoleTooLow: The role does not include it.
        HumanRequired: Only people may do it.
        AgentAccessDenied: The project's policy keeps agents from it.
    """
    words, roles, required = action.value
    if principal.kind is PrincipalKind.AGENT:
        access = project.policy.agent_access
        if access is AgentAccess.DENY or (action not in _SUGGESTING and access is not AgentAccess.EDIT):
            raise AgentAccessDenied(words, access.value)
    may = member.role in roles
    if action is Action.COMMENT and member.role is Role.VIEWER:
        may = project.policy.viewers_may_comment
    if not may:
        raise RoleTooLow(words, member.role.value, required.value)
    if action in _HUMAN_ONLY and principal.kind is not PrincipalKind.HUMAN:
        raise HumanRequired(words, principal.kind.value)


def check_breaking(member: Member, lock: Lock) -> None:
    """Refuse breaking a person's lock to anyone but an OWNER; an EDITOR may break an agent's.

    Raises:
        RoleTooLow: The lock's holder is not an agent and the member is no OWNER.
    """
    if member.role is not Role.OWNER and lock.holder.kind is not PrincipalKind.AGENT:
        raise RoleTooLow("break this lock", member.role.value, Role.OWNER.value)


def check_not_archived(project: Project) -> None:
    """Refuse any write to an archived project.

    Raises:
        ProjectArchived: It is archived.
    """
    if project.archive_time_us:
        raise ProjectArchived(project.project_id)


def check_thawed(project: Project) -> None:
    """Refuse what a frozen project does not know any more.

    Raises:
        ProjectFrozen: It is FROZEN.
    """
    if project.state is ProjectState.FROZEN:
        raise ProjectFrozen(project.project_id, project.state.value)


def check_open(project: Project) -> None:
    """Refuse any write to a project that is frozen or archived.

    Raises:
        ProjectFrozen: It is FROZEN; under review comments and runs go on.
        ProjectArchived: It is archived.
    """
    check_thawed(project)
    check_not_archived(project)


def check_frozen(project: Project) -> None:
    """Refuse to hand over what is not released.

    Raises:
        NotFrozen: It is not FROZEN.
    """
    if project.state is not ProjectState.FROZEN:
        raise NotFrozen(project.project_id, project.state.value)


def check_content_open(project: Project) -> None:
    """Refuse a change of content unless the project is ACTIVE and not archived.

    Raises:
        ProjectFrozen: A freeze was requested or done.
        ProjectArchived: It is archived.
    """
    if project.state is not ProjectState.ACTIVE:
        raise ProjectFrozen(project.project_id, project.state.value)
    check_not_archived(project)


def check_reason(project: Project, reason: str) -> None:
    """Refuse a change without a reason where policy requires one; blank does not count.

    Raises:
        ReasonRequired: Policy requires one and there is none.
    """
    if project.policy.require_reason and not reason.strip():
        raise ReasonRequired
