"""The rows one operation asked for, as they were loaded and as it changes them."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from foundry.domain.comment import Comment
    from foundry.domain.field import FieldState
    from foundry.domain.project import Member, Project
    from foundry.domain.run import Run
    from foundry.domain.session import Session
    from foundry.store.needs import Head, Needs


class Rows:
    """What ``Needs`` names, in its operation's own copy.

    Attributes:
        project: None when there is none of this id.
        source: The other project and the caller's membership in it, None when either is missing.
        answer: Command hash and answer of the same request before, None when it is new.
        replica_live: The server process that the operation speaks for may serve sessions.
        console: Number of the first line, number of lines and bytes of each chunk that was asked for, in order.
        text_revisions: By comment, the number of its newest text.
        open_session_count: Open sessions of the project when the operation began; ``opened_sessions`` is how many more
            there are since, which may be less than none.
        comment_count: Comments of the project, tombstones included; ``thread_count`` of the loaded one's thread.
    """

    def __init__(self, needs: Needs) -> None:
        self.needs = needs
        self.project: Project | None = None
        self.source: tuple[Project, Member] | None = None
        self.answer: tuple[bytes, bytes] | None = None
        self.replica_live = False
        self.heads: dict[str, Head] = {}
        self.members: dict[str, Member] = {}
        self.removed_members: list[str] = []
        self.sessions: dict[str, Session] = {}
        self.opened_sessions = 0
        self.fields: dict[str, FieldState] = {}
        self.changed_fields: set[str] = set()
        self.comments: dict[str, Comment] = {}
        self.new_comments: list[Comment] = []
        self.text_revisions: dict[str, int] = {}
        self.runs: dict[str, Run] = {}
        self.console: list[tuple[int, int, bytes]] = []
        self.open_session_count = 0
        self.comment_count = 0
        self.thread_count = 0
