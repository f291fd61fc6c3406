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
    from foundry.store.database import Database


class Repositories:
    """One repository a resource."""

    def __init__(self, database: Database) -> None:
        self.projects = SqlAlchemyProjectRepository(database)
        self.fields = FieldRepository(database)
        self.sessions = SessionRepository(database)
        self.drafts = DraftRepository(database)
        self.comments = CommentRepository(database)
        self.runs = RunRepository(database)
        self.releases = ReleaseRepository(database)
        self.entries = EntryRepository(database)
