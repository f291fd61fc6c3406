"""The server without its gRPC edge: real managers over a real database, on a clock that the test owns."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

from foundry.coordination.memory import MemoryEventBus, MemoryLockRegistry, MemoryPresenceRegistry
from foundry.domain.draft import SaveResult
from foundry.domain.entry import Entry
from foundry.domain.events import Committed
from foundry.domain.lock import Lock
from foundry.domain.principal import Caller, Principal, PrincipalKind
from foundry.domain.project import Role
from foundry.domain.session import Session
from foundry.ids import new_id
from foundry.managers.anchoring import Anchoring
from foundry.managers.bundle import Bundler
from foundry.managers.comments import CommentManager
from foundry.managers.console import Console
from foundry.managers.denials import Denials
from foundry.managers.drafts import DraftManager, RequestedChange, SaveRequest
from foundry.managers.exports import ExportManager
from foundry.managers.feed import Feed
from foundry.managers.hub import SessionHub
from foundry.managers.idle import IdleWatch
from foundry.managers.live import LiveSession
from foundry.managers.locks import LockManager
from foundry.managers.presence import PresenceBoard
from foundry.managers.projects import ProjectManager
from foundry.managers.replicas import Replicas
from foundry.managers.runs import RunManager
from foundry.managers.sessions import OpenSession, SessionManager
from foundry.managers.state import StateReader
from foundry.managers.workers import Workers
from foundry.rpc.encoding import EventEncoder
from foundry.settings import Fanout, Limits, Liveness
from foundry.store.entries import EntryRepository
from foundry.store.lane import WriteLane
from foundry.store.postgres.database import PostgresDatabase
from foundry.store.repositories import Repositories
from foundry.store.sqlite.database import SqliteDatabase
from tests.store.manual_clock import ManualClock

LIVENESS = Liveness()


def caller(subject: str, kind: PrincipalKind = PrincipalKind.HUMAN, *, display_name: str = "") -> Caller:
    """Somebody with a client and a correlation id, as the edge would make them."""
    principal = Principal(subject, kind, display_name)
    return Caller(principal, 0, "test", "1.0", "ipv4:127.0.0.1:5", f"correlation-{subject}")


ALICE, BOB = caller("alice", display_name="Alice A."), caller("bob")
AGENT = caller("agent", PrincipalKind.AGENT)


@dataclass
class Workspace:
    """Everything below the edge. ``committed`` fills with the entries of each commit, ``commits`` counts them."""

    database: SqliteDatabase
    clock: ManualClock
    lane: WriteLane
    feed: Feed
    projects: ProjectManager
    locks: LockManager
    drafts: DraftManager
    comments: CommentManager
    runs: RunManager
    exports: ExportManager
    bundler: Bundler
    sessions: SessionManager
    hub: SessionHub
    denials: Denials
    idle: IdleWatch
    store: Repositories
    entries: EntryRepository
    replicas: Replicas | None
    committed: list[Entry] = field(default_factory=list)
    batches: list[list[Entry]] = field(default_factory=list)

    def on_commit(self, news: list[Committed]) -> None:
        """Note the entries of a commit and spread what it brought forth."""
        entries = [item for item in news if isinstance(item, Entry)]
        self.batches.append(entries)
        self.committed += entries
        self.feed.publish(news)

    async def project(self, owner: Caller = ALICE, *editors: Caller) -> str:
        """A new project with members; returns its id."""
        project = await self.projects.create_project(owner, "Oncology Clinical Protocol Agent")
        for editor in editors:
            await self.projects.set_member(owner, project.project_id, editor.principal.subject, Role.EDITOR)
        return project.project_id

    async def session(self, project_id: str, who: Caller = ALICE, **options: object) -> Session:
        """An open session without a stream."""
        wanted = OpenSession(project_id, **options)  # type: ignore[arg-type]  # passed on
        return (await self.sessions.open(who, wanted)).session

    async def stream(self, project_id: str, who: Caller = ALICE) -> LiveSession:
        """A session whose stream nobody reads yet."""
        return await self.hub.open(who, OpenSession(project_id), None)

    async def lock(self, session: Session, name: str, who: Caller = ALICE) -> Lock:
        """A granted lock."""
        return (await self.locks.acquire(who, session.project_id, session.session_id, name)).lock

    async def save(self, lock: Lock, text: str, base: int, who: Caller = ALICE, *, keep: bool = False) -> SaveResult:
        """A save of one text under a lock."""
        request = SaveRequest(
            lock.project_id, base, {lock.field: lock.fencing_token}, lock.session_id, keep, message="why not"
        )
        return await self.drafts.create_draft(who, request, [RequestedChange(lock.field, content=text.encode())])

    async def save_unary(
        self, project_id: str, base: int, texts: dict[str, str], who: Caller = ALICE, *, request_id: str = ""
    ) -> SaveResult:
        """A save without a session."""
        changes = [RequestedChange(name, content=text.encode()) for name, text in texts.items()]
        return await self.drafts.create_draft(who, SaveRequest(project_id, base, {}, request_id=request_id), changes)

    async def log(self, name: str) -> Sequence[Entry]:
        """All entries of a log as they are stored."""
        return await self.entries.after(name, 0, 10_000)


@contextlib.asynccontextmanager
async def opened(
    directory: Path,
    clock: ManualClock | None = None,
    *,
    liveness: Liveness = LIVENESS,
    shared: PostgresDatabase | None = None,
    line: list[MemoryEventBus] | None = None,
) -> AsyncIterator[Workspace]:
    """A workspace over the database in ``directory``, closed in the end.

    Args:
        shared: Another one, which several workspaces have each their own object of. It is known there as a replica.
        line: The party line on which they ring at each other.
    """
    clock = clock or ManualClock()
    database: SqliteDatabase | PostgresDatabase = shared or SqliteDatabase(directory, clock)
    bus, workers, boot_id = MemoryEventBus(line), Workers(), new_id()
    lane = WriteLane(database, clock, lambda news: made.on_commit(news))  # noqa: PLW0108 - made later
    store, denials = Repositories(database), Denials(lane, clock)
    feed = Feed(bus, store.entries, store.runs, history=database, shared=database.shared)
    projects, fields = store.projects, store.fields
    limits, fanout = Limits(), Fanout()
    idle_us = int(liveness.idle_limit_s * 1_000_000)
    locks = LockManager(lane, projects, fields, MemoryLockRegistry(clock), denials, idle_limit_us=idle_us)
    sessions = SessionManager(
        lane,
        projects,
        store.sessions,
        boot_id=boot_id,
        sessions_max=limits.sessions_per_project_max,
        shared=database.shared,
    )
    encode = EventEncoder(history=database, limits=limits, liveness=liveness)
    console = Console(store.runs, store.entries, feed, encode, history=database)
    hub = SessionHub(
        sessions,
        StateReader(database, fanout=fanout),
        PresenceBoard(MemoryPresenceRegistry(), bus),
        clock,
        encode,
        feed=feed,
        console=console,
        liveness=liveness,
        fanout=fanout,
    )
    for follower in (console, locks):
        follower.follow(feed)
    hub.follow(bus)
    made = Workspace(
        cast("SqliteDatabase", database),  # tests of the embedded store look inside it
        clock,
        lane,
        feed,
        ProjectManager(lane, projects, instance_id=database.instance_id),
        locks,
        DraftManager(
            lane, projects, fields, store.drafts, workers, denials=denials, limits=limits, idle_limit_us=idle_us
        ),
        CommentManager(lane, projects, store.comments, store.runs, Anchoring(store.drafts, workers)),
        RunManager(lane, projects, store.drafts, store.runs, limits=limits),
        ExportManager(lane, store, workers, limits=limits, instance_id=database.instance_id, idle_limit_us=idle_us),
        Bundler(lane, store, workers),
        sessions,
        hub,
        denials,
        IdleWatch(locks, fields, hub, clock, liveness),
        store,
        store.entries,
        Replicas(shared, sessions, hub, clock=clock, liveness=liveness, boot_id=boot_id) if shared else None,
    )
    lane.start()
    if made.replicas:
        await made.replicas.join("127.0.0.1:1")
    try:
        yield made
    finally:
        await hub.stop()
        await lane.stop()
        await workers.close()
        await database.close()
