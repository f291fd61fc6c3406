"""Client of the ProjectService."""

from __future__ import annotations

from collections.abc import Mapping

from google.protobuf.field_mask_pb2 import FieldMask

from coreason.foundry.v1 import project_pb2 as pb
from foundry.client.calls import TIMEOUT_S, AsyncService, Pages, SyncService, Unary, pages, request_id_or_new, unary


class Projects:
    """Projects, their members and their policy.

    Every method raises ``AccessDenied`` for a project that does not exist or is not the caller's to see.
    """

    @unary
    def create(
        self,
        name: str,
        *,
        description: str = "",
        labels: Mapping[str, str] | None = None,
        policy: pb.Policy | None = None,
        request_id: str | None = None,
        timeout: float = TIMEOUT_S,
    ) -> Unary[pb.CreateProjectResponse, pb.Project]:
        """Create a project at version 0; the caller becomes its first OWNER.

        Args:
            name: Name for people, 1 to 200 bytes.
            description: What it is about, at most 4 KiB.
            labels: At most 64, keys and values at most 100 bytes each.
            policy: The rules; None for the defaults.
            request_id: UUID that makes the call safe to repeat for 24 hours; None for a new one.
            timeout: Seconds the call may take.

        Raises:
            InvalidRequest: A bound is broken.
        """
        request = pb.CreateProjectRequest(
            name=name,
            description=description,
            labels=labels or {},
            policy=policy,
            request_id=request_id_or_new(request_id),
        )
        return Unary(request, pb.CreateProjectResponse, lambda answer: answer.project, timeout)

    @unary
    def get(self, project_id: str, *, timeout: float = TIMEOUT_S) -> Unary[pb.GetProjectResponse, pb.Project]:
        """Read a project without its content."""
        request = pb.GetProjectRequest(project_id=project_id)
        return Unary(request, pb.GetProjectResponse, lambda answer: answer.project, timeout)

    @unary
    def membership(self, project_id: str, *, timeout: float = TIMEOUT_S) -> Unary[pb.GetProjectResponse, pb.Member]:
        """Read the caller's own membership of a project."""
        request = pb.GetProjectRequest(project_id=project_id)
        return Unary(request, pb.GetProjectResponse, lambda answer: answer.member, timeout)

    @pages
    def list(
        self,
        *,
        name_contains: str = "",
        labels: Mapping[str, str] | None = None,
        state: pb.ProjectState.ValueType | None = None,
        show_archived: bool = False,
        page_size: int = 50,
        timeout: float = TIMEOUT_S,
    ) -> Pages[pb.ListProjectsResponse, pb.Project]:
        """List the projects the caller is a member of, oldest first.

        Args:
            name_contains: Only projects whose name contains this, compared without case; at most 200 bytes.
            labels: Only projects with all of these labels; at most 64.
            state: Only projects in this state.
            show_archived: Archived projects too.
            page_size: Projects read at a time, 1 to 1,000.
            timeout: Seconds each page may take.
        """
        request = pb.ListProjectsRequest(
            page_size=page_size,
            name_contains=name_contains,
            labels=labels or {},
            state=state or pb.PROJECT_STATE_UNSPECIFIED,
            show_archived=show_archived,
        )
        return Pages(request, pb.ListProjectsResponse, lambda page: page.projects, timeout)

    @unary
    def update(
        self,
        project_id: str,
        *,
        name: str | None = None,
        description: str | None = None,
        labels: Mapping[str, str] | None = None,
        policy: pb.Policy | None = None,
        etag: str = "",
        reason: str = "",
        request_id: str | None = None,
        timeout: float = TIMEOUT_S,
    ) -> Unary[pb.UpdateProjectResponse, pb.Project]:
        """Change what is not None; the rest stays. Needs the role OWNER; the policy is for people only.

        Args:
            project_id: The project.
            name: New name, 1 to 200 bytes.
            description: New description, at most 4 KiB.
            labels: All labels from now on, at most 64.
            policy: All rules from now on.
            etag: Tag the caller read; when given, a project that changed since is left alone.
            reason: Why, at most 4 KiB.
            request_id: UUID that makes the call safe to repeat for 24 hours; None for a new one.
            timeout: Seconds the call may take.

        Raises:
            EtagMismatch: The project changed since.
            ProjectArchived: It is archived.
        """
        changes = {"name": name, "description": description, "labels": labels, "policy": policy}
        request = pb.UpdateProjectRequest(
            project_id=project_id,
            project=pb.Project(name=name or "", description=description or "", labels=labels or {}, policy=policy),
            update_mask=FieldMask(paths=[path for path, value in changes.items() if value is not None]),
            etag=etag,
            reason=reason,
            request_id=request_id_or_new(request_id),
        )
        return Unary(request, pb.UpdateProjectResponse, lambda answer: answer.project, timeout)

    @unary
    def archive(
        self,
        project_id: str,
        *,
        etag: str = "",
        reason: str = "",
        request_id: str | None = None,
        timeout: float = TIMEOUT_S,
    ) -> Unary[pb.ArchiveProjectResponse, pb.Project]:
        """Make a project read-only and hide it from lists. Its locks are released. Arguments as in ``update``.

        Raises:
            EtagMismatch: The project changed since.
        """
        request = pb.ArchiveProjectRequest(
            project_id=project_id, etag=etag, reason=reason, request_id=request_id_or_new(request_id)
        )
        return Unary(request, pb.ArchiveProjectResponse, lambda answer: answer.project, timeout)

    @unary
    def unarchive(
        self,
        project_id: str,
        *,
        etag: str = "",
        reason: str = "",
        request_id: str | None = None,
        timeout: float = TIMEOUT_S,
    ) -> Unary[pb.UnarchiveProjectResponse, pb.Project]:
        """Take a project out of the archive; never thaws a frozen one. Arguments as in ``update``.

        Raises:
            EtagMismatch: The project changed since.
        """
        request = pb.UnarchiveProjectRequest(
            project_id=project_id, etag=etag, reason=reason, request_id=request_id_or_new(request_id)
        )
        return Unary(request, pb.UnarchiveProjectResponse, lambda answer: answer.project, timeout)

    @unary
    def set_member(
        self,
        project_id: str,
        subject: str,
        role: pb.Role.ValueType,
        *,
        display_name: str = "",
        reason: str = "",
        request_id: str | None = None,
        timeout: float = TIMEOUT_S,
    ) -> Unary[pb.SetMemberResponse, pb.Member]:
        """Add a member or change a member's role. For people with the role OWNER.

        Args:
            project_id: The project.
            subject: Subject of the member, 1 to 200 bytes.
            role: What the member may do.
            display_name: Name to show, at most 200 bytes.
            reason: Why, at most 4 KiB.
            request_id: UUID that makes the call safe to repeat for 24 hours; None for a new one.
            timeout: Seconds the call may take.

        Raises:
            FoundryError: With the reason LAST_OWNER when the last OWNER would get another role.
        """
        request = pb.SetMemberRequest(
            project_id=project_id,
            subject=subject,
            role=role,
            display_name=display_name,
            reason=reason,
            request_id=request_id_or_new(request_id),
        )
        return Unary(request, pb.SetMemberResponse, lambda answer: answer.member, timeout)

    @unary
    def remove_member(
        self,
        project_id: str,
        subject: str,
        *,
        reason: str = "",
        request_id: str | None = None,
        timeout: float = TIMEOUT_S,
    ) -> Unary[pb.RemoveMemberResponse, None]:
        """Remove a member; their sessions here end and their locks are released. Arguments as in ``set_member``.

        Raises:
            NotFound: There is no such member.
            FoundryError: With the reason LAST_OWNER for the last OWNER.
        """
        request = pb.RemoveMemberRequest(
            project_id=project_id, subject=subject, reason=reason, request_id=request_id_or_new(request_id)
        )
        return Unary(request, pb.RemoveMemberResponse, lambda _answer: None, timeout)

    @pages
    def members(
        self, project_id: str, *, page_size: int = 50, timeout: float = TIMEOUT_S
    ) -> Pages[pb.ListMembersResponse, pb.Member]:
        """List the members by subject; ``page_size`` are read at a time, 1 to 1,000."""
        request = pb.ListMembersRequest(project_id=project_id, page_size=page_size)
        return Pages(request, pb.ListMembersResponse, lambda page: page.members, timeout)


class ProjectClient(Projects, AsyncService):
    """The ProjectService for asyncio."""


class SyncProjectClient(Projects, SyncService):
    """The ProjectService for threads."""
