"""The CommentManager: threads on lines of a version, and the checklist."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from foundry.content import sha256_hex
from foundry.domain.access import Action, check_access, check_open, check_reason
from foundry.domain.comment import (
    CLOSED,
    COMMENTS_PER_PROJECT_MAX,
    COMMENTS_PER_THREAD_MAX,
    Comment,
    CommentKind,
    CommentState,
)
from foundry.domain.entry import Event
from foundry.domain.errors import (
    CommentDeleted,
    EtagMismatch,
    FoundryError,
    InvalidArgument,
    LimitExceeded,
    NotFound,
    NotYours,
)
from foundry.ids import new_id
from foundry.managers.access import authorize, readable
from foundry.managers.entries import entry
from foundry.store.needs import Needs
from foundry.store.requests import request_key

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from foundry.domain.comment import Anchor
    from foundry.domain.entry import NewEntry, Value
    from foundry.domain.principal import Caller
    from foundry.managers.anchoring import Anchoring, WantedAnchor
    from foundry.store.comments import CommentRepository
    from foundry.store.lane import WriteLane
    from foundry.store.projects import SqlAlchemyProjectRepository
    from foundry.store.runs import RunRepository
    from foundry.store.unit_of_work import UnitOfWork


@dataclass(frozen=True, slots=True)
class WantedComment:
    """A comment as it was asked for.

    Attributes:
        parent_comment_id: The comment to reply to, or empty.
        assignee: Subject of the member who is to do a task, or empty.
        run_id: The run it is about, or empty.
    """

    text: str
    anchor: WantedAnchor | None = None
    kind: CommentKind = CommentKind.NOTE
    parent_comment_id: str = ""
    assignee: str = ""
    run_id: str = ""


@dataclass(frozen=True, slots=True)
class Edit:
    """What every change of a comment says; see the contract for each member."""

    project_id: str
    comment_id: str
    etag: str = ""
    reason: str = ""
    request_id: str = ""

    def entry(self, event: Event, caller: Caller, data: Mapping[str, Value], **text: str) -> NewEntry:
        """The entry of the change."""
        return entry(event, caller, data, request_id=self.request_id, reason=self.reason, **text)


@dataclass(frozen=True, slots=True)
class CommentResult:
    """A comment after a change, and the log position of the change; of the head when there was none."""

    comment: Comment
    sequence: int


class CommentManager:
    """Comments, replies, closes and reopens threads; assigns tasks."""

    def __init__(
        self,
        lane: WriteLane,
        projects: SqlAlchemyProjectRepository,
        comments: CommentRepository,
        runs: RunRepository,
        anchoring: Anchoring,
    ) -> None:
        self._lane = lane
        self._projects = projects
        self._comments = comments
        self._runs = runs
        self._anchoring = anchoring

    # --- write ---

    async def create(
        self, caller: Caller, project_id: str, wanted: WantedComment, *, request_id: str = ""
    ) -> CommentResult:
        """Comment, or reply.

        Raises:
            FoundryError: See ``CommentService.CreateComment``.
        """
        project, member = await readable(self._projects, caller, project_id)
        check_access(Action.COMMENT, caller.principal, member, project)
        if not request_id:  # or it may be the repetition of a comment that was made before the project was closed
            check_open(project)
        _check_shape(wanted)
        # Versions and runs never go away, so what is found now is there in the transaction too.
        anchor = await self._anchoring.anchor(project_id, wanted.anchor) if wanted.anchor else None
        if wanted.run_id and await self._runs.get(project_id, wanted.run_id) is None:
            raise NotFound("run", wanted.run_id)
        comment_id = new_id()
        thread_id = await self._thread(project_id, wanted.parent_comment_id) or comment_id
        is_reply = thread_id != comment_id

        def decide(unit: UnitOfWork) -> CommentResult:
            project, _ = authorize(unit, caller, Action.COMMENT)
            if (done := unit.replay(CommentResult)) is not None:
                return done
            check_open(project)
            first = unit.comment(thread_id)
            if first and first.delete_time_us:
                raise CommentDeleted(thread_id)
            _check_assignee(unit, wanted.assignee)
            _check_room(unit, reply=is_reply)
            comment = Comment(
                comment_id=comment_id,
                project_id=project_id,
                thread_id=thread_id,
                kind=wanted.kind,
                state=None if is_reply else CommentState.OPEN,
                anchor=anchor,
                text=wanted.text,
                author=caller.principal,
                assignee=wanted.assignee,
                run_id=wanted.run_id,
                create_time_us=unit.now_us,
                update_time_us=unit.now_us,
            )
            unit.put_comment(comment)
            sequence = unit.record(
                entry(
                    Event.COMMENT_CREATED,
                    caller,
                    _created(comment, anchor),
                    request_id=request_id,
                    text_sha256=sha256_hex(comment.text.encode()),
                    quote_sha256=sha256_hex(anchor.quote.encode()) if anchor else "",
                )
            )
            return unit.remember(CommentResult(comment, sequence))

        asked = wanted.anchor.as_command() if wanted.anchor else None
        command: Value = [
            *(project_id, wanted.text, asked, wanted.kind.value),
            *(wanted.parent_comment_id, wanted.assignee, wanted.run_id),
        ]
        needs = Needs(
            project_id,
            caller.principal.subject,
            members=(wanted.assignee,),
            comments=(thread_id,) if is_reply else (),
            count_comments=True,
            request=request_key(caller.principal, "CreateComment", request_id, command),
        )
        return await self._lane.submit(needs, decide)

    async def _thread(self, project_id: str, parent_id: str) -> str:
        """The thread that a reply joins, empty without a parent. A comment never leaves its thread."""
        if not parent_id:
            return ""
        parent = await self._comments.get(project_id, parent_id)
        if parent is None:
            raise NotFound("comment", parent_id)
        return parent.thread_id

    async def update(
        self, caller: Caller, edit: Edit, *, text: str | None = None, assignee: str | None = None
    ) -> CommentResult:
        """Change the text (its author) or the assignee of a task (everybody who may comment); None leaves it.

        Raises:
            FoundryError: See ``CommentService.UpdateComment``.
        """

        def change(unit: UnitOfWork, comment: Comment) -> CommentResult | None:
            if comment.delete_time_us:
                raise CommentDeleted(comment.comment_id)
            if text is not None and not comment.author.same_actor(caller.principal):
                raise NotYours("comment", comment.comment_id, comment.author.subject)
            if assignee and comment.kind is not CommentKind.TASK:
                raise InvalidArgument("assignee", "only a task has one")
            _check_assignee(unit, assignee or "")
            new_text = comment.text if text is None else text
            new_assignee = comment.assignee if assignee is None else assignee
            changed = ["assignee"] if new_assignee != comment.assignee else []
            changed += ["text"] if new_text != comment.text else []
            if not changed:
                return None
            edited = unit.now_us if "text" in changed else comment.edit_time_us
            updated = replace(_touched(unit, comment), text=new_text, assignee=new_assignee, edit_time_us=edited)
            data: dict[str, Value] = {"comment_id": comment.comment_id, "changed": changed, "assignee": new_assignee}
            new = edit.entry(Event.COMMENT_UPDATED, caller, data, text_sha256=sha256_hex(new_text.encode()))
            return _changed(unit, updated, new)

        return await self._change(caller, edit, "UpdateComment", change, [text, assignee], members=(assignee or "",))

    async def delete(self, caller: Caller, edit: Edit) -> CommentResult:
        """Leave a tombstone; for its author, and for people with the role OWNER.

        Raises:
            FoundryError: See ``CommentService.DeleteComment``.
        """

        def change(unit: UnitOfWork, comment: Comment) -> CommentResult | None:
            if not comment.author.same_actor(caller.principal):
                _check_owner(unit, caller, comment)
            if comment.delete_time_us:
                return None
            deleted = replace(_touched(unit, comment), text="", delete_time_us=unit.now_us)
            data: dict[str, Value] = {"comment_id": comment.comment_id, "author": comment.author.subject}
            return _changed(unit, deleted, edit.entry(Event.COMMENT_DELETED, caller, data))

        return await self._change(caller, edit, "DeleteComment", change)

    async def set_closed(self, caller: Caller, edit: Edit, *, closed: bool) -> CommentResult:
        """Close a thread or open it again; nothing changes when it is so already.

        Raises:
            FoundryError: See ``CommentService.ResolveComment``.
        """

        def change(unit: UnitOfWork, comment: Comment) -> CommentResult | None:
            before = comment.state
            if before is None:
                raise InvalidArgument("comment_id", "a reply has no state: name the first comment of its thread")
            if comment.delete_time_us:
                raise CommentDeleted(comment.comment_id)
            after = CLOSED[comment.kind] if closed else CommentState.OPEN
            if before is after:
                return None
            changed = replace(
                _touched(unit, comment),
                state=after,
                closer=caller.principal if closed else None,
                closed_at_version=unit.project.head_version if closed else 0,
            )
            states = {"before": f"COMMENT_STATE_{before.value}", "after": f"COMMENT_STATE_{after.value}"}
            data: dict[str, Value] = {"comment_id": comment.comment_id, **states}
            return _changed(unit, changed, edit.entry(Event.COMMENT_STATE_CHANGED, caller, data))

        return await self._change(caller, edit, "ResolveComment" if closed else "ReopenComment", change)

    async def _change(
        self,
        caller: Caller,
        edit: Edit,
        rpc: str,
        change: Callable[[UnitOfWork, Comment], CommentResult | None],
        asked: Sequence[Value] = (),
        *,
        members: tuple[str, ...] = (),
    ) -> CommentResult:
        """What every change of a comment has in common; ``change`` gives None when nothing is to change."""

        def decide(unit: UnitOfWork) -> CommentResult:
            project, _ = authorize(unit, caller, Action.COMMENT)
            if (done := unit.replay(CommentResult)) is not None:
                return done
            comment = unit.comment(edit.comment_id)
            if comment is None:
                raise NotFound("comment", edit.comment_id)
            check_open(project)
            check_reason(project, edit.reason)
            if edit.etag and edit.etag != comment.etag:
                raise EtagMismatch(comment.etag)
            return unit.remember(change(unit, comment) or CommentResult(comment, unit.last_sequence()))

        command: Value = [edit.project_id, edit.comment_id, edit.etag, edit.reason, *asked]
        needs = Needs(
            edit.project_id,
            caller.principal.subject,
            members=members,
            comments=(edit.comment_id,),
            request=request_key(caller.principal, rpc, edit.request_id, command),
        )
        return await self._lane.submit(needs, decide)


def _check_shape(wanted: WantedComment) -> None:
    if wanted.assignee and wanted.kind is not CommentKind.TASK:
        raise InvalidArgument("assignee", "only a task has one")
    if wanted.parent_comment_id and wanted.kind is CommentKind.TASK:
        raise InvalidArgument("kind", "a reply is a note")
    if wanted.parent_comment_id and wanted.anchor:
        raise InvalidArgument("anchor", "a reply is where its thread is")


def _check_assignee(unit: UnitOfWork, subject: str) -> None:
    if subject and unit.member(subject) is None:
        raise NotFound("member", subject)


def _check_room(unit: UnitOfWork, *, reply: bool) -> None:
    in_project, in_thread = unit.comment_counts
    if in_project >= COMMENTS_PER_PROJECT_MAX:
        raise LimitExceeded("comments in a project", COMMENTS_PER_PROJECT_MAX)
    if reply and in_thread >= COMMENTS_PER_THREAD_MAX:
        raise LimitExceeded("comments in a thread", COMMENTS_PER_THREAD_MAX)


def _check_owner(unit: UnitOfWork, caller: Caller, comment: Comment) -> None:
    """Others' comments are for people with the role OWNER; to everybody else they are simply not theirs."""
    try:
        authorize(unit, caller, Action.DELETE_COMMENT)
    except FoundryError:
        raise NotYours("comment", comment.comment_id, comment.author.subject) from None


def _changed(unit: UnitOfWork, comment: Comment, new: NewEntry) -> CommentResult:
    unit.put_comment(comment)
    return CommentResult(comment, unit.record(new))


def _touched(unit: UnitOfWork, comment: Comment) -> Comment:
    return replace(comment, update_time_us=unit.now_us, revision=comment.revision + 1)


def _created(comment: Comment, anchor: Anchor | None) -> dict[str, Value]:
    return {
        "comment_id": comment.comment_id,
        "parent_comment_id": comment.thread_id if comment.is_reply else "",
        "kind": f"COMMENT_KIND_{comment.kind.value}",
        "version_number": anchor.version_number if anchor else 0,
        "field": anchor.field if anchor else "",
        "start_line": anchor.start_line if anchor else 0,
        "end_line": anchor.end_line if anchor else 0,
        "assignee": comment.assignee,
        "run_id": comment.run_id,
    }
