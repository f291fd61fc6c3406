"""CommentService: translation only."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from coreason.foundry.v1 import comment_pb2 as pb
from coreason.foundry.v1 import types_pb2
from foundry.domain.comment import CommentFilter, CommentKind
from foundry.domain.errors import InvalidArgument, Unavailable
from foundry.managers.anchoring import WantedAnchor
from foundry.managers.comments import Edit, WantedComment
from foundry.rpc import codec, validation

if TYPE_CHECKING:
    from foundry.domain.principal import Caller
    from foundry.domain.session import History
    from foundry.managers.comment_reader import CommentReader, PlacedComment
    from foundry.managers.comments import CommentManager, CommentResult
    from foundry.rpc.pages import Pages

_MASK: Final = frozenset({"text", "assignee"})
_EditRequest = pb.UpdateCommentRequest | pb.DeleteCommentRequest | pb.ResolveCommentRequest | pb.ReopenCommentRequest


class CommentServicer:
    """See ``comment.proto``."""

    def __init__(self, comments: CommentManager, reader: CommentReader, pages: Pages, *, history: History) -> None:
        self._comments = comments
        self._reader = reader
        self._pages = pages
        self._history = history

    async def CreateComment(self, request: pb.CreateCommentRequest, caller: Caller) -> pb.CreateCommentResponse:
        """Comment, or reply."""
        fields = validation.check(
            validation.CommentFields,
            project_id=request.project_id,
            text=request.text,
            parent_comment_id=request.parent_comment_id,
            assignee=request.assignee,
            run_id=request.run_id,
            request_id=request.request_id,
        )
        wanted = WantedComment(
            text=fields.text,
            anchor=_anchor(request.anchor) if request.HasField("anchor") else None,
            kind=validation.comment_kind(request.kind) or CommentKind.NOTE,
            parent_comment_id=fields.parent_comment_id,
            assignee=fields.assignee,
            run_id=fields.run_id,
        )
        result = await self._comments.create(caller, fields.project_id, wanted, request_id=fields.request_id)
        return pb.CreateCommentResponse(comment=await self._shown(result), position=self._position(result))

    async def GetComment(self, request: pb.GetCommentRequest, caller: Caller) -> pb.GetCommentResponse:
        """Read a comment."""
        found = await self._reader.get(
            caller, request.project_id, request.comment_id, at_version=_version(request.at_version)
        )
        return pb.GetCommentResponse(comment=_message(found))

    async def ListComments(self, request: pb.ListCommentsRequest, caller: Caller) -> pb.ListCommentsResponse:
        """List comments."""
        wanted = CommentFilter(
            thread_id=request.thread_id,
            kind=validation.comment_kind(request.kind),
            state=validation.comment_state(request.state),
            field=request.field,
            author=request.author,
            assignee=request.assignee,
            run_id=request.run_id,
        )
        at_version = _version(request.at_version)
        size = self._pages.size(request.page_size)
        bound = ("ListComments", request.project_id, at_version, *(str(value or "") for value in _values(wanted)))
        after = self._pages.read(request.page_token, "", *bound)
        found, more = await self._reader.list_comments(
            caller, request.project_id, wanted, after, size, at_version=at_version
        )
        comments = self._pages.fit(found, size, _message)
        more = more or len(found) > len(comments)
        token = self._pages.issue(comments[-1].comment_id, *bound) if more else ""
        return pb.ListCommentsResponse(comments=comments, next_page_token=token)

    async def UpdateComment(self, request: pb.UpdateCommentRequest, caller: Caller) -> pb.UpdateCommentResponse:
        """Change text or assignee."""
        edit, mask = _edit(request), set(request.update_mask.paths)
        if not mask or not mask <= _MASK:
            raise InvalidArgument("update_mask", f"of {', '.join(sorted(_MASK))}")
        text = assignee = None
        if "text" in mask:
            text = validation.check(validation.TextFields, text=request.text).text
        if "assignee" in mask:
            assignee = validation.check(validation.AssigneeFields, assignee=request.assignee).assignee
        result = await self._comments.update(caller, edit, text=text, assignee=assignee)
        return pb.UpdateCommentResponse(comment=await self._shown(result), position=self._position(result))

    async def DeleteComment(self, request: pb.DeleteCommentRequest, caller: Caller) -> pb.DeleteCommentResponse:
        """Leave a tombstone."""
        result = await self._comments.delete(caller, _edit(request))
        return pb.DeleteCommentResponse(comment=await self._shown(result), position=self._position(result))

    async def ResolveComment(self, request: pb.ResolveCommentRequest, caller: Caller) -> pb.ResolveCommentResponse:
        """Close a thread."""
        result = await self._comments.set_closed(caller, _edit(request), closed=True)
        return pb.ResolveCommentResponse(comment=await self._shown(result), position=self._position(result))

    async def ReopenComment(self, request: pb.ReopenCommentRequest, caller: Caller) -> pb.ReopenCommentResponse:
        """Open a thread again."""
        result = await self._comments.set_closed(caller, _edit(request), closed=False)
        return pb.ReopenCommentResponse(comment=await self._shown(result), position=self._position(result))

    async def _shown(self, result: CommentResult) -> pb.Comment:
        try:
            return _message(await self._reader.placed(result.comment))
        except Unavailable:  # it is done; where it is now, the next reading tells
            return codec.comment(result.comment, None)

    def _position(self, result: CommentResult) -> types_pb2.Position:
        return types_pb2.Position(epoch=self._history.epoch, sequence=result.sequence)


def _message(found: PlacedComment) -> pb.Comment:
    return codec.comment(found.comment, found.place)


def _anchor(anchor: pb.Anchor) -> WantedAnchor:
    fields = validation.check(
        validation.AnchorFields,
        "anchor",
        version_number=anchor.version_number,
        draft_id=anchor.draft_id,
        field=anchor.field,
        start_line=anchor.start_line,
        end_line=anchor.end_line,
        quote=anchor.quote,
    )
    if not fields.version_number and not fields.draft_id:
        raise InvalidArgument("anchor.version_number", "from 1, or give draft_id")
    return WantedAnchor(**fields.model_dump())


def _edit(request: _EditRequest) -> Edit:
    fields = validation.check(
        validation.CommentEditFields,
        project_id=request.project_id,
        comment_id=request.comment_id,
        etag=request.etag,
        reason=request.reason,
        request_id=request.request_id,
    )
    return Edit(**fields.model_dump())


def _version(value: int) -> int:
    if value < 0:
        raise InvalidArgument("at_version", "from 0")
    return value


def _values(wanted: CommentFilter) -> list[object]:
    return [getattr(wanted, name) for name in wanted.__slots__]
