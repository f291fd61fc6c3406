"""A well-formed request for every unary RPC of a project."""

from __future__ import annotations

from typing import Any

from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.message import Message

from coreason.foundry.v1 import audit_pb2, draft_pb2, lock_pb2, project_pb2, session_pb2


def forms(
    project_id: str,
    *,
    session_id: str = "01994b7e-0000-7000-8000-000000000002",
    fencing_token: int = 1,
    field: str = "system_prompt",
    member: str = "mia",
) -> dict[str, Message]:
    """Requests by the name of their RPC, naming things that exist if the arguments do."""
    lock: dict[str, Any] = {"project_id": project_id, "field": field, "fencing_token": fencing_token}
    held = {**lock, "session_id": session_id}
    description = project_pb2.Project(description="What it is about.")
    requests: list[Message] = [
        project_pb2.CreateProjectRequest(name="Triage agent"),
        project_pb2.GetProjectRequest(project_id=project_id),
        project_pb2.ListProjectsRequest(),
        project_pb2.UpdateProjectRequest(
            project_id=project_id, project=description, update_mask=FieldMask(paths=["description"])
        ),
        project_pb2.ArchiveProjectRequest(project_id=project_id),
        project_pb2.UnarchiveProjectRequest(project_id=project_id),
        project_pb2.SetMemberRequest(project_id=project_id, subject=member, role=project_pb2.ROLE_VIEWER),
        project_pb2.RemoveMemberRequest(project_id=project_id, subject=member),
        project_pb2.ListMembersRequest(project_id=project_id),
        draft_pb2.CreateDraftRequest(
            project_id=project_id, changes=[draft_pb2.FieldChange(field=field, text="You are careful.\n")]
        ),
        draft_pb2.GetDraftRequest(project_id=project_id),
        draft_pb2.ListDraftsRequest(project_id=project_id),
        draft_pb2.CompareDraftsRequest(project_id=project_id),
        draft_pb2.RevertDraftRequest(project_id=project_id, version_number=1),
        lock_pb2.AcquireLockRequest(project_id=project_id, field=field, session_id=session_id),
        lock_pb2.RenewLockRequest(**held),
        lock_pb2.ReleaseLockRequest(**held),
        lock_pb2.GetLockRequest(project_id=project_id, field=field),
        lock_pb2.ListLocksRequest(project_id=project_id),
        lock_pb2.BreakLockRequest(**lock, reason="It has been open since Monday."),
        session_pb2.ListSessionsRequest(project_id=project_id),
        session_pb2.EndSessionRequest(project_id=project_id, session_id=session_id),
        audit_pb2.ListEntriesRequest(project_id=project_id),
    ]
    return {type(request).__name__.removesuffix("Request"): request for request in requests}
