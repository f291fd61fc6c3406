"""Client of the CommentService."""

from __future__ import annotations

from google.protobuf.field_mask_pb2 import FieldMask

from coreason.foundry.v1 import comment_pb2 as pb
from foundry.client.calls import TIMEOUT_S, AsyncService, Pages, SyncService, Unary, pages, request_id_or_new, unary


class Comments:
    """Comments: what people say about lines of a version, and the tasks they set each other."""

    @unary
    def create(
        self,
        project_id: str,
        text: str,
        *,
        field: str = "",
        version: int | None = None,
        start_line: int = 0,
        end_line: int | None = None,
        quote: str = "",
        task: bool = False,
        assignee: str = "",
        reply_to: str = "",
        run_id: str = "",
        request_id: str | None = None,
        timeout: float = TIMEOUT_S,
    ) -> Unary[pb.CreateCommentResponse, pb.Comment]:
        """Comment on lines of a field, on a whole field, on a run, or on the project; or reply. Needs the role EDITOR.

        Args:
            project_id: The project.
            text: What to say, 1 byte to 64 KiB, not blank.
            field: The field it is about; empty for none.
            version: The version whose field and lines are meant, from 1; goes with ``field``.
            start_line: First line, from 1; 0 for the whole field.
            end_line: Last line, included; None for ``start_line``.
            quote: The words within the lines that it is about, at most 4 KiB; empty for the lines themselves.
            task: Whether it is something to do, an item of the project's checklist; with an ``assignee`` it is.
            assignee: Subject of the member who is to do it.
            reply_to: Id of the comment to reply to; a reply has no place and no assignee of its own.
            run_id: The run it is about.
            request_id: UUID that makes the call safe to repeat for 24 hours; None for a new one.
            timeout: Seconds the call may take.

        Raises:
            NotFound: There is no such parent, version, field, run or assignee.
            AnchorOutOfRange: The field has no such lines there.
            CommentDeleted: The thread is closed to replies.
            ProjectFrozen: The project is frozen.
            ValueError: A field without a version, or a version without a field.
        """
        if bool(field) != (version is not None):
            raise ValueError("a place is a field of a version: name both, or neither")
        request = pb.CreateCommentRequest(
            project_id=project_id,
            text=text,
            kind=pb.COMMENT_KIND_TASK if task or assignee else pb.COMMENT_KIND_UNSPECIFIED,
            parent_comment_id=reply_to,
            assignee=assignee,
            run_id=run_id,
            request_id=request_id_or_new(request_id),
        )
        if version is not None:
            request.anchor.CopyFrom(
                pb.Anchor(
                    version_number=version,
                    field=field,
                    start_line=start_line,
                    end_line=start_line if end_line is None else end_line,
                    quote=quote,
                )
            )
        return Unary(request, pb.CreateCommentResponse, lambda answer: answer.comment, timeout)

    @unary
    def get(
        self, project_id: str, comment_id: str, *, at_version: int | None = None, timeout: float = TIMEOUT_S
    ) -> Unary[pb.GetCommentResponse, pb.Comment]:
        """Read a comment, with its place in a version.

        Args:
            project_id: The project.
            comment_id: The comment.
            at_version: The version to find its lines in, from 1; None for the newest.
            timeout: Seconds the call may take.

        Raises:
            NotFound: There is no such comment or version.
        """
        request = pb.GetCommentRequest(project_id=project_id, comment_id=comment_id, at_version=at_version or 0)
        return Unary(request, pb.GetCommentResponse, lambda answer: answer.comment, timeout)

    @pages
    def list(
        self,
        project_id: str,
        *,
        at_version: int | None = None,
        thread_id: str = "",
        kind: pb.CommentKind.ValueType | None = None,
        state: pb.CommentState.ValueType | None = None,
        field: str = "",
        author: str = "",
        assignee: str = "",
        run_id: str = "",
        page_size: int = 50,
        timeout: float = TIMEOUT_S,
    ) -> Pages[pb.ListCommentsResponse, pb.Comment]:
        """List comments, oldest first, deleted ones as tombstones.

        Args:
            project_id: The project.
            at_version: The version to find their lines in, from 1; None for the newest.
            thread_id: Only this thread: its first comment and the replies.
            kind: Only comments of this kind.
            state: Only threads in this state, by their first comment: no replies.
            field: Only comments on this field.
            author: Only comments by this author's subject.
            assignee: Only tasks of this assignee's subject.
            run_id: Only comments about this run.
            page_size: Comments read at a time, 1 to 1,000.
            timeout: Seconds each page may take.

        Raises:
            NotFound: There is no such version.
        """
        request = pb.ListCommentsRequest(
            project_id=project_id,
            page_size=page_size,
            at_version=at_version or 0,
            thread_id=thread_id,
            kind=kind or pb.COMMENT_KIND_UNSPECIFIED,
            state=state or pb.COMMENT_STATE_UNSPECIFIED,
            field=field,
            author=author,
            assignee=assignee,
            run_id=run_id,
        )
        return Pages(request, pb.ListCommentsResponse, lambda page: page.comments, timeout)

    @unary
    def update(
        self,
        project_id: str,
        comment_id: str,
        *,
        text: str | None = None,
        assignee: str | None = None,
        etag: str = "",
        reason: str = "",
        request_id: str | None = None,
        timeout: float = TIMEOUT_S,
    ) -> Unary[pb.UpdateCommentResponse, pb.Comment]:
        """Change what is not None: the text, for its author alone, or the assignee of a task.

        Args:
            project_id: The project.
            comment_id: The comment.
            text: New text, 1 byte to 64 KiB, not blank.
            assignee: New assignee's subject; empty for nobody.
            etag: Tag the caller read; when given, a comment that changed since is left alone.
            reason: Why, at most 4 KiB.
            request_id: UUID that makes the call safe to repeat for 24 hours; None for a new one.
            timeout: Seconds the call may take.

        Raises:
            NotYours: Somebody else wrote it.
            NotFound: There is no such comment or assignee.
            EtagMismatch: It changed since.
            CommentDeleted: It is deleted.
        """
        changes = {"text": text, "assignee": assignee}
        request = pb.UpdateCommentRequest(
            project_id=project_id,
            comment_id=comment_id,
            text=text or "",
            assignee=assignee or "",
            update_mask=FieldMask(paths=[path for path, value in changes.items() if value is not None]),
            etag=etag,
            reason=reason,
            request_id=request_id_or_new(request_id),
        )
        return Unary(request, pb.UpdateCommentResponse, lambda answer: answer.comment, timeout)

    @unary
    def delete(
        self,
        project_id: str,
        comment_id: str,
        *,
        etag: str = "",
        reason: str = "",
        request_id: str | None = None,
        timeout: float = TIMEOUT_S,
    ) -> Unary[pb.DeleteCommentResponse, pb.Comment]:
        """Delete a comment; returns the tombstone that stays. For its author, and for people with the role OWNER.

        Arguments as in ``update``.

        Raises:
            NotYours: Somebody else wrote it, and the caller is no OWNER.
            NotFound: There is no such comment.
            EtagMismatch: It changed since.
        """
        request = pb.DeleteCommentRequest(
            project_id=project_id,
            comment_id=comment_id,
            etag=etag,
            reason=reason,
            request_id=request_id_or_new(request_id),
        )
        return Unary(request, pb.DeleteCommentResponse, lambda answer: answer.comment, timeout)

    @unary
    def resolve(
        self,
        project_id: str,
        comment_id: str,
        *,
        etag: str = "",
        reason: str = "",
        request_id: str | None = None,
        timeout: float = TIMEOUT_S,
    ) -> Unary[pb.ResolveCommentResponse, pb.Comment]:
        """Close a thread by its first comment: a note becomes RESOLVED, a task DONE. Arguments as in ``update``.

        Raises:
            NotFound: There is no such comment.
            EtagMismatch: It changed since.
            CommentDeleted: It is deleted.
        """
        request = pb.ResolveCommentRequest(
            project_id=project_id,
            comment_id=comment_id,
            etag=etag,
            reason=reason,
            request_id=request_id_or_new(request_id),
        )
        return Unary(request, pb.ResolveCommentResponse, lambda answer: answer.comment, timeout)

    @unary
    def reopen(
        self,
        project_id: str,
        comment_id: str,
        *,
        etag: str = "",
        reason: str = "",
        request_id: str | None = None,
        timeout: float = TIMEOUT_S,
    ) -> Unary[pb.ReopenCommentResponse, pb.Comment]:
        """Open a closed thread again by its first comment. Arguments and errors as of ``resolve``."""
        request = pb.ReopenCommentRequest(
            project_id=project_id,
            comment_id=comment_id,
            etag=etag,
            reason=reason,
            request_id=request_id_or_new(request_id),
        )
        return Unary(request, pb.ReopenCommentResponse, lambda answer: answer.comment, timeout)


class CommentClient(Comments, AsyncService):
    """The CommentService for asyncio."""


class SyncCommentClient(Comments, SyncService):
    """The CommentService for threads."""
