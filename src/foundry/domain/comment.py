"""Comments: what people say about lines of a version, and the tasks they set each other."""

from __future__ import annotations

import enum
from dataclasses import dataclass

from foundry.domain.principal import Principal

#: Comments one project may hold, tombstones included, and comments of one thread.
COMMENTS_PER_PROJECT_MAX = 20_000
COMMENTS_PER_THREAD_MAX = 1_000
#: Longest quote of an anchor, bytes of UTF-8.
QUOTE_BYTES_MAX = 4096


class CommentKind(enum.StrEnum):
    """What a comment is; replies are notes."""

    NOTE = "NOTE"
    TASK = "TASK"


class CommentState(enum.StrEnum):
    """Where a thread stands; a reply has no state of its own."""

    OPEN = "OPEN"
    RESOLVED = "RESOLVED"
    DONE = "DONE"


#: The state that closes a thread, by what its first comment is.
CLOSED = {CommentKind.NOTE: CommentState.RESOLVED, CommentKind.TASK: CommentState.DONE}


class AnchorState(enum.StrEnum):
    """How surely an anchor was found in another version."""

    EXACT = "EXACT"
    SHIFTED = "SHIFTED"
    FUZZY = "FUZZY"
    OUTDATED = "OUTDATED"
    ORPHANED = "ORPHANED"


@dataclass(frozen=True, slots=True)
class Anchor:
    """Where a comment was put; never rewritten.

    Attributes:
        start_line: First line, from 1; 0 with ``end_line`` 0 for the whole field.
        end_line: Last line, included.
        quote: The words it is about, at most ``QUOTE_BYTES_MAX`` bytes.
        field_sha256: Hash of the field's content in that version, in hex.
    """

    version_number: int
    draft_id: str
    field: str
    start_line: int
    end_line: int
    quote: str
    field_sha256: str


@dataclass(frozen=True, slots=True)
class Place:
    """Where an anchor is in a version; lines are 0 when it is about the whole field or they are gone."""

    version_number: int
    state: AnchorState
    start_line: int = 0
    end_line: int = 0


@dataclass(frozen=True, slots=True)
class Comment:
    """A comment as it is stored.

    Attributes:
        thread_id: Id of the first comment of its thread; its own when it is that.
        state: None in replies.
        text: What it says; earlier texts stay in the store.
        revision: Rises by one with each change; makes the etag.
        edit_time_us: When the text was last changed, 0 when it never was.
        delete_time_us: When it was deleted, 0 when it was not.
        closer: Who closed the thread, None while it is open.
        closed_at_version: Newest version when the thread was closed, 0 while it is open.
    """

    comment_id: str
    project_id: str
    thread_id: str
    kind: CommentKind
    state: CommentState | None
    anchor: Anchor | None
    text: str
    author: Principal
    assignee: str
    run_id: str
    create_time_us: int
    update_time_us: int
    revision: int = 1
    edit_time_us: int = 0
    delete_time_us: int = 0
    closer: Principal | None = None
    closed_at_version: int = 0

    @property
    def is_reply(self) -> bool:
        """Whether it stands below the first comment of a thread."""
        return self.thread_id != self.comment_id

    @property
    def etag(self) -> str:
        """Opaque tag; changes whenever ``revision`` does."""
        return f"{self.comment_id[-12:]}-{self.revision}"


@dataclass(frozen=True, slots=True)
class CommentFilter:
    """Which comments to list; empty members do not restrict. A state restricts to first comments of threads, alive."""

    thread_id: str = ""
    kind: CommentKind | None = None
    state: CommentState | None = None
    field: str = ""
    author: str = ""
    assignee: str = ""
    run_id: str = ""
