"""A well-formed request for every RPC of a project; of a stream of requests the first one."""

from __future__ import annotations

from typing import Any

from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.message import Message

from coreason.foundry.v1 import (
    audit_pb2,
    comment_pb2,
    draft_pb2,
    export_pb2,
    lock_pb2,
    project_pb2,
    run_pb2,
    session_pb2,
)


def forms(
    project_id: str,
    *,
    session_id: str = "01994b7e-0000-7000-8000-000000000002",
    fencing_token: int = 1,
    field: str = "system_prompt",
    member: str = "mia",
    comment_id: str = "01994b7e-0000-7000-8000-000000000005",
    run_id: str = "01994b7e-0000-7000-8000-000000000006",
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
        *_about_comments(project_id, field, comment_id),
        *_about_runs(project_id, run_id),
        *_about_exports(project_id),
    ]
    return {type(request).__name__.removesuffix("Request"): request for request in requests}


def _about_comments(project_id: str, field: str, comment_id: str) -> list[Message]:
    comment: dict[str, Any] = {"project_id": project_id, "comment_id": comment_id}
    return [
        comment_pb2.CreateCommentRequest(
            project_id=project_id,
            text="Is this still true?",
            anchor=comment_pb2.Anchor(version_number=1, field=field, start_line=1, end_line=1),
        ),
        comment_pb2.GetCommentRequest(**comment),
        comment_pb2.ListCommentsRequest(project_id=project_id),
        comment_pb2.UpdateCommentRequest(**comment, text="Was this ever true?", update_mask=FieldMask(paths=["text"])),
        comment_pb2.DeleteCommentRequest(**comment),
        comment_pb2.ResolveCommentRequest(**comment),
        comment_pb2.ReopenCommentRequest(**comment),
    ]


def _about_runs(project_id: str, run_id: str) -> list[Message]:
    run: dict[str, Any] = {"project_id": project_id, "run_id": run_id}
    return [
        run_pb2.StartRunRequest(project_id=project_id, version_number=1),
        run_pb2.AppendRunLogRequest(**run, lines=[run_pb2.LogLine(number=1, text="1 of 3 passed")]),
        run_pb2.FinishRunRequest(**run, state=run_pb2.RUN_STATE_PASSED),
        run_pb2.CancelRunRequest(**run),
        run_pb2.GetRunRequest(**run),
        run_pb2.ListRunsRequest(project_id=project_id),
        run_pb2.ReadRunLogRequest(**run),
    ]


def _about_exports(project_id: str) -> list[Message]:
    return [
        export_pb2.ExportForAssayRequest(project_id=project_id),
        export_pb2.RequestFreezeRequest(project_id=project_id, expected_version=1),
        export_pb2.GetFreezeRequest(project_id=project_id),
        export_pb2.ExportForPublisherRequest(project_id=project_id),
        export_pb2.StartRevisionRequest(project_id=project_id),
    ]
