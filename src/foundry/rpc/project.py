"""ProjectService: translation only."""

from __future__ import annotations

from typing import TYPE_CHECKING

from coreason.foundry.v1 import project_pb2 as pb
from foundry.domain.errors import InvalidArgument
from foundry.domain.project import ProjectFilter
from foundry.managers.projects import ProjectChange
from foundry.rpc import codec, validation

if TYPE_CHECKING:
    from foundry.domain.principal import Caller
    from foundry.managers.projects import ProjectManager
    from foundry.rpc.pages import Pages

_PATHS = frozenset({"name", "description", "labels", "policy"})
_RULES = frozenset(field.name for field in pb.Policy.DESCRIPTOR.fields)


class ProjectServicer:
    """See ``project.proto``."""

    def __init__(self, projects: ProjectManager, pages: Pages) -> None:
        self._projects = projects
        self._pages = pages

    async def CreateProject(self, request: pb.CreateProjectRequest, caller: Caller) -> pb.CreateProjectResponse:
        """Create a project."""
        fields = validation.check(
            validation.ProjectFields, name=request.name, description=request.description, labels=dict(request.labels)
        )
        mutation = validation.check(validation.Mutation, request_id=request.request_id)
        project = await self._projects.create_project(
            caller,
            fields.name,
            description=fields.description,
            labels=fields.labels,
            policy=validation.policy(request.policy) if request.HasField("policy") else None,
            request_id=mutation.request_id,
        )
        return pb.CreateProjectResponse(project=codec.project(project))

    async def GetProject(self, request: pb.GetProjectRequest, caller: Caller) -> pb.GetProjectResponse:
        """Read a project and the caller's membership."""
        project, member = await self._projects.get(caller, request.project_id)
        return pb.GetProjectResponse(project=codec.project(project), member=codec.member(member))

    async def ListProjects(self, request: pb.ListProjectsRequest, caller: Caller) -> pb.ListProjectsResponse:
        """List the caller's projects."""
        size = self._pages.size(request.page_size)
        fields = validation.check(
            validation.ProjectFilterFields, name_contains=request.name_contains, labels=dict(request.labels)
        )
        state = validation.state_filter(request.state)
        wanted = ProjectFilter(fields.name_contains, fields.labels, state, request.show_archived)
        filters = [fields.name_contains, fields.labels, request.state, request.show_archived]
        bound = ("ListProjects", caller.principal.subject, filters)
        after = self._pages.read(request.page_token, "", *bound)
        found = await self._projects.list_projects(caller, wanted, after, size + 1)
        projects = self._pages.fit(found, size, codec.project)
        more = self._pages.issue(found[len(projects) - 1].project_id, *bound) if len(found) > len(projects) else ""
        return pb.ListProjectsResponse(projects=projects, next_page_token=more)

    async def UpdateProject(self, request: pb.UpdateProjectRequest, caller: Caller) -> pb.UpdateProjectResponse:
        """Change what the mask names."""
        mutation = validation.check(validation.Mutation, reason=request.reason, request_id=request.request_id)
        project = await self._projects.update(
            caller,
            request.project_id,
            _change(request),
            etag=request.etag,
            reason=mutation.reason,
            request_id=mutation.request_id,
        )
        return pb.UpdateProjectResponse(project=codec.project(project))

    async def ArchiveProject(self, request: pb.ArchiveProjectRequest, caller: Caller) -> pb.ArchiveProjectResponse:
        """Put a project into the archive."""
        mutation = validation.check(validation.Mutation, reason=request.reason, request_id=request.request_id)
        project = await self._projects.archive(
            caller, request.project_id, etag=request.etag, reason=mutation.reason, request_id=mutation.request_id
        )
        return pb.ArchiveProjectResponse(project=codec.project(project))

    async def UnarchiveProject(
        self, request: pb.UnarchiveProjectRequest, caller: Caller
    ) -> pb.UnarchiveProjectResponse:
        """Take a project out of the archive."""
        mutation = validation.check(validation.Mutation, reason=request.reason, request_id=request.request_id)
        project = await self._projects.unarchive(
            caller, request.project_id, etag=request.etag, reason=mutation.reason, request_id=mutation.request_id
        )
        return pb.UnarchiveProjectResponse(project=codec.project(project))

    async def SetMember(self, request: pb.SetMemberRequest, caller: Caller) -> pb.SetMemberResponse:
        """Add or change a member."""
        fields = validation.check(
            validation.MemberFields,
            subject=request.subject,
            display_name=request.display_name,
            reason=request.reason,
            request_id=request.request_id,
        )
        member = await self._projects.set_member(
            caller,
            request.project_id,
            fields.subject,
            validation.role(request.role),
            display_name=fields.display_name,
            reason=fields.reason,
            request_id=fields.request_id,
        )
        return pb.SetMemberResponse(member=codec.member(member))

    async def RemoveMember(self, request: pb.RemoveMemberRequest, caller: Caller) -> pb.RemoveMemberResponse:
        """Remove a member."""
        fields = validation.check(
            validation.MemberFields, subject=request.subject, reason=request.reason, request_id=request.request_id
        )
        await self._projects.remove_member(
            caller, request.project_id, fields.subject, reason=fields.reason, request_id=fields.request_id
        )
        return pb.RemoveMemberResponse()

    async def ListMembers(self, request: pb.ListMembersRequest, caller: Caller) -> pb.ListMembersResponse:
        """List members."""
        size, bound = self._pages.size(request.page_size), ("ListMembers", request.project_id)
        after = self._pages.read(request.page_token, "", *bound)
        found = await self._projects.list_members(caller, request.project_id, after, size + 1)
        more = self._pages.issue(found[size - 1].subject, *bound) if len(found) > size else ""
        return pb.ListMembersResponse(members=[codec.member(member) for member in found[:size]], next_page_token=more)


def _change(request: pb.UpdateProjectRequest) -> ProjectChange:
    """What an update's mask names, checked."""
    paths = list(request.update_mask.paths)
    rules = {path.removeprefix("policy.") for path in paths if path.startswith("policy.")}
    unknown = [path for path in paths if path not in _PATHS and not path.startswith("policy.")]
    unknown += [f"policy.{rule}" for rule in rules - _RULES]
    if not paths or unknown:
        allowed = ", ".join([*sorted(_PATHS), "policy.*"])
        got = unknown[0] if unknown else "nothing"
        raise InvalidArgument("update_mask", f"names what to change, of {allowed}; not {got}")
    given = request.project
    values = {
        "name": given.name if "name" in paths else "unchanged",
        "description": given.description if "description" in paths else "",
        "labels": dict(given.labels) if "labels" in paths else {},
    }
    fields = validation.check(validation.ProjectFields, **values)
    asked = _RULES if "policy" in paths else rules
    checked = validation.policy_rules(pb.Policy(**{rule: getattr(given.policy, rule) for rule in asked}))
    chosen = {rule: checked[rule] for rule in asked}
    return ProjectChange(
        name=fields.name if "name" in paths else None,
        description=fields.description if "description" in paths else None,
        labels=fields.labels if "labels" in paths else None,
        policy=chosen or None,
    )
