"""Comments as requests, and what tests ask of them."""

from __future__ import annotations

from typing import Any

from google.protobuf.field_mask_pb2 import FieldMask

from coreason.foundry.v1 import audit_pb2, comment_pb2
from tests.service.house import Caller, House


def anchor(lines: tuple[int, int] = (0, 0), field: str = "notes", **fields: Any) -> comment_pb2.Anchor:
    """An anchor on lines of version 1, or on a whole field."""
    version = {} if "draft_id" in fields else {"version_number": 1}
    return comment_pb2.Anchor(field=field, start_line=lines[0], end_line=lines[1], **{**version, **fields})


async def say(caller: Caller, project_id: str, text: str = "Is this so?", **fields: Any) -> comment_pb2.Comment:
    """Comment; returns what was made."""
    request = comment_pb2.CreateCommentRequest(project_id=project_id, text=text, **fields)
    answer: comment_pb2.CreateCommentResponse = await caller.call(request)
    return answer.comment


async def reply(caller: Caller, to: comment_pb2.Comment, text: str = "It is.") -> comment_pb2.Comment:
    """Reply to a comment."""
    return await say(caller, to.project_id, text, parent_comment_id=to.comment_id)


def about(comment: comment_pb2.Comment, **fields: Any) -> dict[str, Any]:
    """What names a comment in a request."""
    return {"project_id": comment.project_id, "comment_id": comment.comment_id, **fields}


def edit(comment: comment_pb2.Comment, text: str, **fields: Any) -> comment_pb2.UpdateCommentRequest:
    """A change of its text."""
    return comment_pb2.UpdateCommentRequest(
        **about(comment, text=text, **fields), update_mask=FieldMask(paths=["text"])
    )


def assign(comment: comment_pb2.Comment, subject: str, **fields: Any) -> comment_pb2.UpdateCommentRequest:
    """A change of its assignee."""
    mask = FieldMask(paths=["assignee"])
    return comment_pb2.UpdateCommentRequest(**about(comment, assignee=subject, **fields), update_mask=mask)


def delete(comment: comment_pb2.Comment, **fields: Any) -> comment_pb2.DeleteCommentRequest:
    """Its end."""
    return comment_pb2.DeleteCommentRequest(**about(comment, **fields))


def resolve(comment: comment_pb2.Comment, **fields: Any) -> comment_pb2.ResolveCommentRequest:
    """The end of its thread."""
    return comment_pb2.ResolveCommentRequest(**about(comment, **fields))


def reopen(comment: comment_pb2.Comment, **fields: Any) -> comment_pb2.ReopenCommentRequest:
    """The thread goes on."""
    return comment_pb2.ReopenCommentRequest(**about(comment, **fields))


async def read(caller: Caller, comment: comment_pb2.Comment, at_version: int = 0) -> comment_pb2.Comment:
    """A comment as it is now, with its place in a version."""
    answer: comment_pb2.GetCommentResponse = await caller.call(
        comment_pb2.GetCommentRequest(**about(comment, at_version=at_version))
    )
    return answer.comment


async def listed(caller: Caller, project_id: str, **filters: Any) -> list[comment_pb2.Comment]:
    """All comments that the filters let through, by their pages."""
    request = comment_pb2.ListCommentsRequest(project_id=project_id, **filters)
    found: list[comment_pb2.Comment] = []
    while True:
        answer = await caller.call(request)
        found += answer.comments
        request.page_token = answer.next_page_token
        if not request.page_token:
            return found


async def told(house: House, project_id: str) -> list[audit_pb2.LogEntry]:
    """What the log tells of comments."""
    events = ["comment_created", "comment_updated", "comment_deleted", "comment_state_changed"]
    request = audit_pb2.ListEntriesRequest(project_id=project_id, page_size=1000, events=events)
    return list((await house.olga.call(request)).entries)
