"""Who may do what: the whole table, written out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import product

import pytest

from foundry.domain.access import (
    Action,
    check_access,
    check_breaking,
    check_content_open,
    check_frozen,
    check_not_archived,
    check_open,
    check_reason,
    check_thawed,
)
from foundry.domain.errors import (
    AgentAccessDenied,
    FoundryError,
    HumanRequired,
    NotFrozen,
    ProjectArchived,
    ProjectFrozen,
    ReasonRequired,
    RoleTooLow,
)
from foundry.domain.lock import Lock
from foundry.domain.principal import Principal, PrincipalKind
from foundry.domain.project import AgentAccess, Member, Policy, Project, ProjectState, Role

PROJECT = Project("p", "P", "", {}, Policy(), Principal("alice"), 1, 1)

#: Roles that may, as the contract says: V(iewer), E(ditor), O(wner), A(uditor).
MAY = {
    Action.READ: "VEOA",
    Action.EDIT: "EO",
    Action.MANAGE: "O",
    Action.END_SESSION: "O",
    Action.SET_MEMBERS: "O",
    Action.SET_POLICY: "O",
    Action.BREAK_LOCK: "EO",
    Action.COMMENT: "EO",
    Action.DELETE_COMMENT: "O",
    Action.RUN: "EO",
    Action.CANCEL_RUN: "O",
    Action.FREEZE: "O",
    Action.REVISE: "EO",
}
#: What only people do, whatever scopes a token claims.
PEOPLE_ONLY = {
    Action.END_SESSION,
    Action.SET_MEMBERS,
    Action.SET_POLICY,
    Action.BREAK_LOCK,
    Action.DELETE_COMMENT,
    Action.CANCEL_RUN,
    Action.FREEZE,
}
#: What an agent may do that is let in to suggest.
SUGGESTING = {Action.READ, Action.COMMENT}


def allowed(action: Action, kind: PrincipalKind, role: Role, access: AgentAccess) -> bool:
    """The contract in one expression."""
    may = role.value[0] in MAY[action]
    if kind is not PrincipalKind.HUMAN:
        may = may and action not in PEOPLE_ONLY
    if kind is PrincipalKind.AGENT:
        may = may and (access is AgentAccess.EDIT or (access is AgentAccess.SUGGEST_ONLY and action in SUGGESTING))
    return may


@pytest.mark.parametrize(
    ("action", "kind", "role", "access"), list(product(Action, PrincipalKind, Role, AgentAccess)), ids=str
)
def test_the_access_table(action: Action, kind: PrincipalKind, role: Role, access: AgentAccess) -> None:
    """Every action for every kind of actor, role and policy: allowed exactly where the contract says so."""
    project = replace(PROJECT, policy=Policy(agent_access=access))
    refusal: FoundryError | None = None
    try:
        check_access(action, Principal("somebody", kind), Member("p", "somebody", role), project)
    except FoundryError as error:
        refusal = error
    assert (refusal is None) == allowed(action, kind, role, access)
    if refusal:
        assert isinstance(refusal, RoleTooLow | HumanRequired | AgentAccessDenied)
        assert refusal.details["action"] == action.words


def test_every_action_is_in_the_table() -> None:
    """A new action must be decided for everybody."""
    assert MAY.keys() == set(Action)


@pytest.mark.parametrize(
    ("action", "role"), [(action, role) for action in Action for role in Role if role.value[0] not in MAY[action]]
)
def test_a_refusal_names_a_role_that_would_do(action: Action, role: Role) -> None:
    """Who is refused can ask for the right thing."""
    with pytest.raises(RoleTooLow) as caught:
        check_access(action, Principal("a"), Member("p", "a", role), PROJECT)
    assert caught.value.details["role"] == role.value
    check_access(action, Principal("a"), Member("p", "a", Role(caught.value.details["required_role"])), PROJECT)


def test_an_agent_is_told_of_the_policy_first() -> None:
    """Where agents are kept out, an agent learns nothing of roles."""
    project = replace(PROJECT, policy=Policy(agent_access=AgentAccess.DENY))
    with pytest.raises(AgentAccessDenied) as caught:
        check_access(Action.READ, Principal("bot", PrincipalKind.AGENT), Member("p", "bot", Role.VIEWER), project)
    assert caught.value.details == {"action": "read", "agent_access": "DENY"}


@pytest.mark.parametrize(("role", "kind"), list(product([Role.EDITOR, Role.OWNER], PrincipalKind)), ids=str)
def test_whose_lock_may_be_broken(role: Role, kind: PrincipalKind) -> None:
    """An EDITOR may break an agent's lock, an OWNER anyone's."""
    lock = Lock("l", "p", "f", Principal("holder", kind), "s", 1, 1, 2)
    if role is Role.OWNER or kind is PrincipalKind.AGENT:
        check_breaking(Member("p", "a", role), lock)
    else:
        with pytest.raises(RoleTooLow):
            check_breaking(Member("p", "a", role), lock)


@pytest.mark.parametrize(("state", "archived"), list(product(ProjectState, [0, 5])), ids=str)
def test_content_changes_only_in_an_active_project(state: ProjectState, archived: int) -> None:
    """IN_REVIEW, FROZEN and archived projects keep their content; frozen is said before archived."""
    project = replace(PROJECT, state=state, archive_time_us=archived)
    refusal: type[FoundryError] | None = None
    try:
        check_content_open(project)
    except FoundryError as error:
        refusal = type(error)
    if state is not ProjectState.ACTIVE:
        assert refusal is ProjectFrozen
    else:
        assert refusal is (ProjectArchived if archived else None)


def test_archiving_and_freezing_are_two_things() -> None:
    """An archived project is read-only whatever its state; a frozen one is not archived by that."""
    check_not_archived(replace(PROJECT, state=ProjectState.FROZEN))
    with pytest.raises(ProjectArchived):
        check_not_archived(replace(PROJECT, archive_time_us=1))


@pytest.mark.parametrize("reason", ["", " ", "\n\t"])
def test_a_blank_reason_is_none(reason: str) -> None:
    """Where policy demands a reason, white space is not one; elsewhere none is needed."""
    check_reason(PROJECT, reason)
    strict = replace(PROJECT, policy=Policy(require_reason=True))
    check_reason(strict, " because ")
    with pytest.raises(ReasonRequired):
        check_reason(strict, reason)


def test_an_actor_is_subject_kind_and_delegation() -> None:
    """Names and gateways are no part of identity; a namesake of another kind, or for another person, is another."""
    alice = Principal("alice", PrincipalKind.AGENT, "Alice", "carol", "gateway")
    assert alice.same_actor(replace(alice, display_name="", client_id=""))
    assert not alice.same_actor(replace(alice, kind=PrincipalKind.HUMAN))
    assert not alice.same_actor(replace(alice, on_behalf_of="dave"))
    assert not alice.same_actor(replace(alice, subject="alice2"))
    assert (alice.label, replace(alice, display_name="").label) == ("Alice", "alice")


@pytest.mark.parametrize(("state", "archived"), list(product(ProjectState, [0, 5])), ids=str)
def test_what_a_frozen_or_archived_project_still_takes(state: ProjectState, archived: int) -> None:
    """Under review comments and runs go on; frozen is said before archived; only a frozen one is handed over."""
    project = replace(PROJECT, state=state, archive_time_us=archived)
    frozen = state is ProjectState.FROZEN
    wanted: type[FoundryError] | None = ProjectFrozen if frozen else ProjectArchived if archived else None
    assert refusal_of(check_open, project) is wanted
    assert refusal_of(check_thawed, project) is (ProjectFrozen if frozen else None)
    assert refusal_of(check_frozen, project) is (None if frozen else NotFrozen)


@pytest.mark.parametrize(("may", "role"), list(product([False, True], Role)), ids=str)
def test_viewers_comment_where_policy_says_so(may: bool, role: Role) -> None:
    """And an AUDITOR never does."""
    project = replace(PROJECT, policy=Policy(viewers_may_comment=may))
    allows = role in {Role.EDITOR, Role.OWNER} or (may and role is Role.VIEWER)
    member = Member("p", "a", role)
    refused = refusal_of(lambda of: check_access(Action.COMMENT, Principal("a"), member, of), project)
    assert refused is (None if allows else RoleTooLow)


def refusal_of(check: Callable[[Project], None], project: Project) -> type[FoundryError] | None:
    """What a check refuses with."""
    try:
        check(project)
    except FoundryError as error:
        return type(error)
    return None
