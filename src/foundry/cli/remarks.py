"""What people say to each other, for those who watch: open comments and tasks, kept up to date by the log."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from coreason.foundry.v1.audit_pb2 import LogEntry
    from coreason.foundry.v1.comment_pb2 import Comment
    from foundry.client import Foundry

#: Characters of a comment that are kept: its first words.
_WORDS: Final = 400

#: Comments read at a time, and fetched at the same time.
_PAGE: Final = 200
_AT_ONCE: Final = 8

#: How long after a failure it is tried again, seconds.
_AGAIN_S: Final = 3.0


class Remarks:
    """Comments and tasks of a project, by their first words.

    Attributes:
        is_read: Whether all that were made before are here.
    """

    def __init__(self) -> None:
        self.is_read = False
        self._comments: dict[str, Comment] = {}

    def take(self, comment: Comment) -> None:
        """Take in a comment as it is now."""
        from coreason.foundry.v1.comment_pb2 import Comment

        if comment.HasField("delete_time"):
            self.drop(comment.comment_id)
            return
        kept = Comment()
        kept.CopyFrom(comment)
        kept.text = comment.text[:_WORDS]
        kept.anchor.quote = ""
        if not comment.HasField("anchor"):
            kept.ClearField("anchor")
        self._comments[kept.comment_id] = kept

    def drop(self, comment_id: str) -> None:
        """Take in that a comment is no more."""
        self._comments.pop(comment_id, None)

    def keep(self, comment_ids: set[str]) -> None:
        """Forget all others."""
        for comment_id in self._comments.keys() - comment_ids:
            del self._comments[comment_id]
        self.is_read = True

    def notes(self) -> list[Comment]:
        """Return the open threads that are no tasks, newest first."""
        from coreason.foundry.v1 import comment_pb2 as pb

        threads = [
            it
            for it in self._comments.values()
            if it.state == pb.COMMENT_STATE_OPEN and it.kind != pb.COMMENT_KIND_TASK and not it.parent_comment_id
        ]
        return sorted(threads, key=_age, reverse=True)

    def tasks(self) -> list[Comment]:
        """Return the tasks: what is to be done, oldest first, then what was done, the last first."""
        from coreason.foundry.v1 import comment_pb2 as pb

        tasks = [it for it in self._comments.values() if it.kind == pb.COMMENT_KIND_TASK and not it.parent_comment_id]
        done = [it for it in tasks if it.state == pb.COMMENT_STATE_DONE]
        return [
            *sorted((it for it in tasks if it.state != pb.COMMENT_STATE_DONE), key=_age),
            *sorted(done, key=lambda it: it.update_time.ToNanoseconds(), reverse=True),
        ]

    def replies(self, comment_id: str) -> int:
        """Return how many replies a thread has."""
        return sum(it.parent_comment_id == comment_id for it in self._comments.values())

    def fields(self) -> set[str]:
        """Return the fields that open threads are about."""
        return {it.anchor.field for it in [*self.notes(), *self.tasks()] if it.HasField("anchor")}


class RemarkReader:
    """Reads comments when the log says that there are new ones. What it cannot read now it reads later.

    Args:
        foundry: The connection.
        project_id: The project.
        remarks: Where they are kept.
        told: Told of each open thread there is at first, and from then on of each comment that is new or changed.
        changed: Told when something is different.
        again_s: How long after a failure it is tried again, seconds.
    """

    def __init__(
        self,
        foundry: Foundry,
        project_id: str,
        remarks: Remarks,
        *,
        told: Callable[[Comment], Awaitable[None]] | None = None,
        changed: Callable[[], None] | None = None,
        again_s: float = _AGAIN_S,
    ) -> None:
        self._foundry = foundry
        self._project_id = project_id
        self._remarks = remarks
        self._told = told
        self._changed = changed
        self._again_s = again_s
        self._is_void = True
        self._is_new = True
        self._ids: dict[str, None] = {}
        self._fields: set[str] = set()
        self._stir = asyncio.Event()

    def hear(self, entry: LogEntry) -> None:
        """Take in an entry; many about one comment make one call."""
        match entry.WhichOneof("payload"):
            case "comment_created":
                self._ids[entry.comment_created.comment_id] = None
            case "comment_updated":
                self._ids[entry.comment_updated.comment_id] = None
            case "comment_state_changed":
                self._ids[entry.comment_state_changed.comment_id] = None
            case "comment_deleted":
                self._ids[entry.comment_deleted.comment_id] = None
            case "draft_created":  # the lines they are about may be elsewhere now
                self._fields |= {change.field for change in entry.draft_created.changed_fields} & self._remarks.fields()
            case _:
                return
        self._stir.set()

    def start_over(self) -> None:
        """Read everything again: entries were missed."""
        self._is_void = True
        self._stir.set()

    async def run(self) -> None:
        """Read everything there is, and from then on what is new."""
        from foundry.client import FoundryError

        while True:
            self._stir.clear()
            try:
                await self._read()
            except FoundryError:
                await asyncio.sleep(self._again_s)
                self._stir.set()
            await self._stir.wait()

    async def _read(self) -> None:
        if self._is_void:
            await self._read_all()
        while self._fields:
            await self._read_field(self._fields.pop())
        while self._ids:
            ids = list(self._ids)[:_AT_ONCE]
            for comment in await asyncio.gather(*(self._fetch(comment_id) for comment_id in ids)):
                if comment is not None and self._told is not None:
                    await self._told(comment)
        if self._changed is not None:
            self._changed()

    async def _read_all(self) -> None:
        from coreason.foundry.v1.comment_pb2 import COMMENT_STATE_OPEN

        self._is_void = False
        seen = set()
        try:
            async for comment in self._foundry.comments.list(self._project_id, page_size=_PAGE):
                self._remarks.take(comment)
                seen.add(comment.comment_id)
        except BaseException:
            self._is_void = True
            raise
        self._remarks.keep(seen)
        if self._is_new and self._told is not None:
            for thread in [*reversed(self._remarks.notes()), *self._remarks.tasks()]:
                if thread.state == COMMENT_STATE_OPEN:
                    await self._told(thread)
        self._is_new = False

    async def _read_field(self, field: str) -> None:
        """Read where the open threads of a field are now."""
        from coreason.foundry.v1.comment_pb2 import COMMENT_STATE_OPEN

        found = self._foundry.comments.list(self._project_id, field=field, state=COMMENT_STATE_OPEN, page_size=_PAGE)
        try:
            async for comment in found:
                self._remarks.take(comment)
        except BaseException:
            self._fields.add(field)
            raise

    async def _fetch(self, comment_id: str) -> Comment | None:
        """Read one comment; None when there is no such one any more."""
        from foundry.client import NotFound

        del self._ids[comment_id]  # before: what is said of it from now on has to be read as well
        try:
            comment = await self._foundry.comments.get(self._project_id, comment_id)
        except NotFound:
            return None
        except BaseException:
            self._ids[comment_id] = None
            raise
        self._remarks.take(comment)
        return comment


def _age(comment: Comment) -> tuple[int, str]:
    return comment.create_time.ToNanoseconds(), comment.comment_id
