"""The ProjectManager: workspaces, their members and their policy."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from foundry.domain.access import Action, check_access, check_not_archived, check_open, check_reason
from foundry.domain.entry import INSTANCE_LOG, Event
from foundry.domain.errors import EtagMismatch, LastOwner, LimitExceeded, NotFound
from foundry.domain.lock import ReleaseReason
from foundry.domain.principal import PrincipalKind
from foundry.domain.project import AgentAccess, Member, Policy, Project, Role
from foundry.domain.session import CloseReason
from foundry.ids import new_id
from foundry.managers.access import authorize, readable
from foundry.managers.entries import entry, policy_data
from foundry.managers.holding import close, release
from foundry.store.instance import genesis
from foundry.store.needs import Needs
from foundry.store.requests import request_key

if TYPE_CHECKING:
    from collections.abc import Callable

    from foundry.domain.entry import Value
    from foundry.domain.principal import Caller
    from foundry.domain.project import ProjectFilter
    from foundry.store.lane import WriteLane
    from foundry.store.projects import SqlAlchemyProjectRepository
    from foundry.store.unit_of_work import UnitOfWork

#: Members of one project.
_MEMBERS_MAX = 1_000


@dataclass(frozen=True, slots=True)
class ProjectChange:
    """What to change of a project; None leaves a member as it is. ``policy`` maps single rules to new values."""

    name: str | None = None
    description: str | None = None
    labels: dict[str, str] | None = None
    policy: dict[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Removed:
    """The answer to a removal, which has nothing to say."""


class ProjectManager:
    """Creates and keeps projects.

    Args:
        instance_id: Id of the installation, bound into every log's first entry.
    """

    def __init__(self, lane: WriteLane, projects: SqlAlchemyProjectRepository, *, instance_id: str) -> None:
        self._lane = lane
        self._projects = projects
        self._instance_id = instance_id

    async def create_project(
        self,
        caller: Caller,
        name: str,
        *,
        description: str = "",
        labels: dict[str, str] | None = None,
        policy: Policy | None = None,
        request_id: str = "",
    ) -> Project:
        """Create a project at version 0; the caller becomes its first OWNER.

        Raises:
            RequestIdReused: The request id was used for another command.
        """
        project_id, principal = new_id(), caller.principal
        policy = policy or Policy()

        def decide(unit: UnitOfWork) -> Project:
            if (done := unit.replay(Project)) is not None:
                return done
            project = Project(project_id, name, description, labels or {}, policy, principal, unit.now_us, unit.now_us)
            begin_project(unit, caller, project, instance_id=self._instance_id, request_id=request_id)
            return unit.remember(project)

        command: Value = [name, description, labels or {}, asdict(policy)]
        request = request_key(principal, "CreateProject", request_id, command)
        return await self._lane.submit(Needs(project_id, instance_log=True, request=request), decide)

    async def get(self, caller: Caller, project_id: str) -> tuple[Project, Member]:
        """A project with the caller's membership."""
        return await readable(self._projects, caller, project_id)

    async def list_projects(self, caller: Caller, wanted: ProjectFilter, after: str, limit: int) -> list[Project]:
        """The caller's projects by age, from behind the id ``after``; at most ``limit``."""
        return await self._projects.list_for(caller.principal, wanted, after, limit)

    async def update(
        self,
        caller: Caller,
        project_id: str,
        change: ProjectChange,
        *,
        etag: str = "",
        reason: str = "",
        request_id: str = "",
    ) -> Project:
        """Change name, description, labels or single rules of the policy.

        Raises:
            EtagMismatch: ``etag`` is given and the project changed since.
            ProjectArchived, ReasonRequired, RoleTooLow, HumanRequired: See the contract.
        """

        def decide(unit: UnitOfWork) -> Project:
            project, member = authorize(unit, caller, Action.MANAGE)
            if change.policy is not None:
                check_access(Action.SET_POLICY, caller.principal, member, project)
            if (done := unit.replay(Project)) is not None:
                return done
            check_open(project)
            check_reason(project, reason)
            _check_etag(project, etag)
            updated = self._change(unit, caller, project, change, reason=reason, request_id=request_id)
            return unit.remember(updated)

        command: Value = [project_id, asdict(change), etag, reason]
        request = request_key(caller.principal, "UpdateProject", request_id, command)
        policy = change.policy is not None
        needs = Needs(project_id, caller.principal.subject, all_fields=policy, all_sessions=policy, request=request)
        return await self._lane.submit(needs, decide)

    def _change(
        self, unit: UnitOfWork, caller: Caller, project: Project, change: ProjectChange, *, reason: str, request_id: str
    ) -> Project:
        wanted = {"name": change.name, "description": change.description, "labels": change.labels}
        new = {key: value for key, value in wanted.items() if value is not None and value != getattr(project, key)}
        policy = replace(project.policy, **(change.policy or {}))
        if not new and policy == project.policy:
            return project
        updated = replace(
            project,
            **new,  # type: ignore[arg-type]  # checked names of ``Project``
            policy=policy,
            update_time_us=unit.now_us,
            revision=project.revision + 1,
        )
        unit.put_project(updated)
        if new:
            text = {"name": updated.name} if "name" in new else {}
            data = {"changed": [*sorted(new)]}
            unit.record(entry(Event.PROJECT_UPDATED, caller, data, reason=reason, request_id=request_id, **text))
        if policy != project.policy:
            rules = {"before": policy_data(project.policy), "after": policy_data(policy)}
            unit.record(entry(Event.POLICY_CHANGED, caller, rules, reason=reason, request_id=request_id))
            if policy.agent_access is not AgentAccess.EDIT:
                _release_of(unit, caller, lambda kind, _: kind is PrincipalKind.AGENT)
            if policy.agent_access is AgentAccess.DENY:
                for session in unit.sessions:
                    if session.principal.kind is PrincipalKind.AGENT:
                        close(unit, caller, session, CloseReason.ACCESS_LOST)
        return updated

    async def archive(
        self, caller: Caller, project_id: str, *, etag: str = "", reason: str = "", request_id: str = ""
    ) -> Project:
        """Make a project read-only and hide it; releases its locks. Archiving an archived one changes nothing."""
        return await self._set_archived(
            caller, project_id, archived=True, etag=etag, reason=reason, request_id=request_id
        )

    async def unarchive(
        self, caller: Caller, project_id: str, *, etag: str = "", reason: str = "", request_id: str = ""
    ) -> Project:
        """Take a project out of the archive; its state stays what it was."""
        return await self._set_archived(
            caller, project_id, archived=False, etag=etag, reason=reason, request_id=request_id
        )

    async def _set_archived(
        self, caller: Caller, project_id: str, *, archived: bool, etag: str, reason: str, request_id: str
    ) -> Project:
        event = Event.PROJECT_ARCHIVED if archived else Event.PROJECT_UNARCHIVED

        def decide(unit: UnitOfWork) -> Project:
            project, _ = authorize(unit, caller, Action.MANAGE)
            if (done := unit.replay(Project)) is not None:
                return done
            check_reason(project, reason)
            _check_etag(project, etag)
            if bool(project.archive_time_us) is archived:
                return unit.remember(project)
            now_us = unit.now_us
            if archived:
                _release_of(unit, caller, lambda *_: True, ReleaseReason.FREEZE)
            updated = replace(
                project,
                archive_time_us=now_us if archived else 0,
                update_time_us=now_us,
                revision=project.revision + 1,
            )
            unit.put_project(updated)
            unit.record(entry(event, caller, {}, reason=reason, request_id=request_id))
            return unit.remember(updated)

        request = request_key(caller.principal, event.value, request_id, [project_id, etag, reason])
        needs = Needs(project_id, caller.principal.subject, all_fields=archived, request=request)
        return await self._lane.submit(needs, decide)

    # --- members ---

    async def set_member(
        self,
        caller: Caller,
        project_id: str,
        subject: str,
        role: Role,
        *,
        display_name: str = "",
        reason: str = "",
        request_id: str = "",
    ) -> Member:
        """Add a member or change a role. Who may no longer edit loses their locks in the same transaction.

        Raises:
            LastOwner: The last OWNER would get another role.
            LimitExceeded: The project has 1,000 members.
        """

        def decide(unit: UnitOfWork) -> Member:
            project, _ = authorize(unit, caller, Action.SET_MEMBERS)
            if (done := unit.replay(Member)) is not None:
                return done
            check_not_archived(project)
            check_reason(project, reason)
            old = unit.member(subject)
            if old is None and len(unit.members) >= _MEMBERS_MAX:
                raise LimitExceeded("members in a project", _MEMBERS_MAX)
            if old and old.role is Role.OWNER and role is not Role.OWNER:
                _check_other_owner(unit, subject)
            name = display_name or (old.display_name if old else "")
            new = Member(project_id, subject, role, name, old.add_time_us if old else unit.now_us)
            if new != old:
                unit.put_member(new)
                data = _member_data(subject, old.role if old else None, role)
                unit.record(entry(Event.MEMBER_SET, caller, data, reason=reason, request_id=request_id))
                if role not in {Role.EDITOR, Role.OWNER}:
                    _release_of(unit, caller, lambda _, holder: holder == subject)
            return unit.remember(new)

        command: Value = [project_id, subject, role.value, display_name, reason]
        request = request_key(caller.principal, "SetMember", request_id, command)
        needs = Needs(project_id, all_members=True, all_fields=True, request=request)
        return await self._lane.submit(needs, decide)

    async def remove_member(
        self, caller: Caller, project_id: str, subject: str, *, reason: str = "", request_id: str = ""
    ) -> None:
        """Remove a member; their sessions in the project end and their locks are released, all in one transaction.

        Raises:
            NotFound: ``subject`` is no member.
            LastOwner: They are the last OWNER.
        """

        def decide(unit: UnitOfWork) -> Removed:
            project, _ = authorize(unit, caller, Action.SET_MEMBERS)
            if (done := unit.replay(Removed)) is not None:
                return done
            check_not_archived(project)
            check_reason(project, reason)
            member = unit.member(subject)
            if member is None:
                raise NotFound("member", subject)
            if member.role is Role.OWNER:
                _check_other_owner(unit, subject)
            unit.remove_member(member)
            data = {"subject": subject, "before": f"ROLE_{member.role.value}"}
            unit.record(entry(Event.MEMBER_REMOVED, caller, data, reason=reason, request_id=request_id))
            for session in unit.sessions:
                close(unit, caller, session, CloseReason.ACCESS_LOST)
            return unit.remember(Removed())

        request = request_key(caller.principal, "RemoveMember", request_id, [project_id, subject, reason])
        needs = Needs(project_id, all_members=True, sessions_of=subject, request=request)
        await self._lane.submit(needs, decide)

    async def list_members(self, caller: Caller, project_id: str, after: str, limit: int) -> list[Member]:
        """Members by subject, from behind ``after``; at most ``limit``."""
        await readable(self._projects, caller, project_id)
        return await self._projects.members(project_id, after, limit)


def begin_project(unit: UnitOfWork, caller: Caller, project: Project, *, instance_id: str, request_id: str) -> None:
    """Stage a new project with its log; the caller becomes its first OWNER."""
    principal = caller.principal
    unit.add_log(project.project_id)
    unit.put_project(project)
    unit.put_member(Member(project.project_id, principal.subject, Role.OWNER, principal.display_name, unit.now_us))
    unit.record(genesis(instance_id))
    data: dict[str, Value] = {"project_id": project.project_id}
    if project.revision_of_project_id:
        data["revision_of_project_id"] = project.revision_of_project_id
        data["revision_of_fingerprint"] = project.revision_of_fingerprint
    created = entry(Event.PROJECT_CREATED, caller, data, request_id=request_id, name=project.name)
    unit.record(created)
    unit.record(entry(Event.MEMBER_SET, caller, _member_data(principal.subject, None, Role.OWNER)))
    unit.record(created, INSTANCE_LOG)


def _check_etag(project: Project, etag: str) -> None:
    if etag and etag != project.etag:
        raise EtagMismatch(project.etag)


def _check_other_owner(unit: UnitOfWork, subject: str) -> None:
    if not any(member.role is Role.OWNER and member.subject != subject for member in unit.members):
        raise LastOwner(subject)


def _member_data(subject: str, before: Role | None, after: Role) -> dict[str, Any]:
    role = before.value if before else "UNSPECIFIED"
    return {"subject": subject, "before": f"ROLE_{role}", "after": f"ROLE_{after.value}"}


def _release_of(
    unit: UnitOfWork,
    caller: Caller,
    whose: Callable[[PrincipalKind, str], bool],
    why: ReleaseReason = ReleaseReason.ACCESS_LOST,
) -> None:
    """Release held locks, chosen by the holder's kind and subject."""
    for state in unit.fields:
        if state.lock and whose(state.lock.holder.kind, state.lock.holder.subject):
            release(unit, caller, state.lock, why)
