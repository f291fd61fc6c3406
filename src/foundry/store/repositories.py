"""All that reads the store, in one place, for those who read much of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from foundry.store.comments import CommentRepository
from foundry.store.drafts import DraftRepository
from foundry.store.entries import EntryRepository
from foundry.store.fields import FieldRepository
from foundry.store.projects import SqlAlchemyProjectRepository
from foundry.store.releases import ReleaseRepository
from foundry.store.runs import RunRepository
from foundry.store.sessions import SessionRepository

if TYPE_CHECKING:
    from foundry.store.database import Reader


class Repositories:
    """One repository a resource."""

    def __init__(self, reader: Reader) -> None:
        self.projects = SqlAlchemyProjectRepository(reader)
        self.fields = FieldRepository(reader)
        self.sessions = SessionRepository(reader)
        self.drafts = DraftRepository(reader)
        self.comments = CommentRepository(reader)
        self.runs = RunRepository(reader)
        self.releases = ReleaseRepository(reader)
        self.entries = EntryRepository(reader)
