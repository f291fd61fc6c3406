"""The composition root: opens things in order, closes them in reverse."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from dataclasses import dataclass
from typing import TYPE_CHECKING

import structlog

from foundry.clock import SystemClock
from foundry.coordination.memory import MemoryEventBus, MemoryLockRegistry, MemoryPresenceRegistry
from foundry.identity import DEV_AUDIENCE, DEV_ISSUER, JwtVerifier, load_public_key, make_dev_key
from foundry.ids import new_id
from foundry.managers.anchoring import Anchoring
from foundry.managers.audit import AuditManager
from foundry.managers.bundle import Bundler
from foundry.managers.comment_reader import CommentReader
from foundry.managers.comments import CommentManager
from foundry.managers.console import Console
from foundry.managers.denials import Denials
from foundry.managers.drafts import DraftManager
from foundry.managers.exports import ExportManager
from foundry.managers.feed import Feed
from foundry.managers.hub import SessionHub
from foundry.managers.idle import IdleWatch
from foundry.managers.locks import LockManager
from foundry.managers.presence import PresenceBoard
from foundry.managers.projects import ProjectManager
from foundry.managers.replicas import FencedError, Replicas
from foundry.managers.run_log import RunLogReader
from foundry.managers.runs import RunManager
from foundry.managers.sessions import SessionManager
from foundry.managers.state import StateReader
from foundry.managers.workers import Workers
from foundry.rpc.audit import AuditServicer
from foundry.rpc.calls import Calls
from foundry.rpc.comment import CommentServicer
from foundry.rpc.draft import DraftServicer
from foundry.rpc.encoding import EventEncoder
from foundry.rpc.export import ExportServicer
from foundry.rpc.lock import LockServicer
from foundry.rpc.pages import Pages
from foundry.rpc.project import ProjectServicer
from foundry.rpc.run import RunServicer
from foundry.rpc.server import bind, build_server
from foundry.rpc.session import SessionServicer
from foundry.rpc.stream import StreamParts
from foundry.settings import StartupError
from foundry.store.errors import StoreError
from foundry.store.housekeeping import forget_old_requests
from foundry.store.lane import WriteLane
from foundry.store.postgres.database import PostgresDatabase
from foundry.store.repositories import Repositories
from foundry.store.sqlite.database import SqliteDatabase

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Coroutine
    from pathlib import Path
    from typing import Any

    from foundry.clock import Clock
    from foundry.coordination.ports import EventBus, LockRegistry, PresenceRegistry, Upkeep
    from foundry.settings import ServerSettings
    from foundry.store.database import Database

_log = structlog.get_logger(__name__)


class ServerFailedError(Exception):
    """A task of the server failed and the server has stopped; the log says why."""


@contextlib.asynccontextmanager
async def serve(settings: ServerSettings, clock: Clock | None = None) -> AsyncIterator[str]:
    """Serve while the context lasts; gives the address that clients connect to.

    Leaving the context drains: clients are told to come back, sessions keep their locks, then everything stops.

    Raises:
        StartupError: The server cannot start, in one sentence.
        ServerFailedError: On leaving, when one of its tasks had failed.
    """
    settings.check()
    failures: list[Exception] = []
    async with contextlib.AsyncExitStack() as stack:
        database, clock = await _open_database(settings, clock)
        stack.push_async_callback(database.close)
        shared = await _coordination(settings, clock, stack)
        store = Repositories(database)
        feed = Feed(shared.bus, store.entries, store.runs, history=database, shared=database.shared)
        lane = WriteLane(database, clock, feed.publish)
        lane.start()
        stack.push_async_callback(lane.stop)
        workers = Workers()
        stack.push_async_callback(workers.close)

        managers = _managers(_Ground(settings, clock, database, store, lane, feed, shared, workers))
        stack.push_async_callback(managers.denials.flush)
        for follower in (managers.console, managers.run_log, managers.locks):
            follower.follow(feed)
        managers.hub.follow(shared.bus)
        stack.push_async_callback(managers.hub.stop)

        calls = Calls(_verifier(settings, clock), managers.denials, limit_bytes=settings.limits.message_bytes_max)
        sessions, runs, servicers = _servicers(settings, clock, database, calls, managers, feed=feed)
        runs.follow()
        server, health = build_server(calls, servicers, settings.limits)
        address = bind(server, settings)
        if managers.replicas:
            await managers.replicas.join(address)
            stack.push_async_callback(managers.replicas.leave)
        else:
            await managers.hub.recover()

        for work in (
            managers.hub.run(),
            managers.locks.run(),
            managers.denials.run(),
            managers.idle.run(),
            feed.run(),
            forget_old_requests(lane),
            *(upkeep.run() for upkeep in shared.upkeep),
            *([managers.replicas.run()] if managers.replicas else []),
        ):
            stack.push_async_callback(_cancel, asyncio.create_task(_supervised(work, failures)))
        await server.start()
        about = {"replica_id": shared.boot_id, "address": address}
        _log.info("serving", **about, epoch=database.epoch, schema=database.schema)
        health.change(serving=True)
        if managers.replicas:
            managers.replicas.report(health.change)
        try:
            yield address
        finally:
            health.leave()
            runs.drain()
            await managers.hub.drain()
            await server.stop(settings.liveness.stop_grace_s)
            await sessions.wait_closed(settings.liveness.stop_grace_s)
    if failures:
        raise ServerFailedError from failures[0]


@dataclass(frozen=True, slots=True)
class _Managers:
    """Everything that decides."""

    denials: Denials
    projects: ProjectManager
    locks: LockManager
    drafts: DraftManager
    sessions: SessionManager
    comments: CommentManager
    comment_reader: CommentReader
    runs: RunManager
    exports: ExportManager
    bundler: Bundler
    audit: AuditManager
    state: StateReader
    console: Console
    run_log: RunLogReader
    hub: SessionHub
    idle: IdleWatch
    replicas: Replicas | None


@dataclass(frozen=True, slots=True)
class _Coordination:
    """What this process shares with others, and what of it wants upkeep.

    Attributes:
        boot_id: Id of this process, a random one per start.
    """

    boot_id: str
    locks: LockRegistry
    presence: PresenceRegistry
    bus: EventBus
    upkeep: tuple[Upkeep, ...] = ()


async def _coordination(settings: ServerSettings, clock: Clock, stack: contextlib.AsyncExitStack) -> _Coordination:
    boot_id = new_id()
    if settings.redis_url is None:
        return _Coordination(boot_id, MemoryLockRegistry(clock), MemoryPresenceRegistry(), MemoryEventBus())
    from foundry.coordination.redis import (  # noqa: PLC0415 - the embedded server does without
        RedisEventBus,
        RedisLink,
        RedisLockRegistry,
        RedisPresenceRegistry,
    )

    try:
        link = RedisLink(settings.redis_url.get_secret_value())
    except ValueError as error:
        raise StartupError(str(error)) from error
    await link.start()
    stack.push_async_callback(link.close)
    presence = RedisPresenceRegistry(link, replica_id=boot_id, clock=clock)
    bus = RedisEventBus(link, replica_id=boot_id)
    return _Coordination(boot_id, RedisLockRegistry(link, replica_id=boot_id), presence, bus, (presence, bus))


@dataclass(frozen=True, slots=True)
class _Ground:
    """What managers stand on."""

    settings: ServerSettings
    clock: Clock
    database: Database
    store: Repositories
    lane: WriteLane
    feed: Feed
    shared: _Coordination
    workers: Workers


def _managers(on: _Ground) -> _Managers:
    settings, clock, database, store, lane = on.settings, on.clock, on.database, on.store, on.lane
    feed, shared, workers = on.feed, on.shared, on.workers
    limits, liveness, instance_id = settings.limits, settings.liveness, database.instance_id
    idle_limit_us = int(liveness.idle_limit_s * 1_000_000)
    projects, fields, drafts = store.projects, store.fields, store.drafts
    denials = Denials(lane, clock)
    locks = LockManager(
        lane, projects, fields, shared.locks, denials, idle_limit_us=idle_limit_us, boot_id=shared.boot_id
    )
    sessions = SessionManager(
        lane,
        projects,
        store.sessions,
        boot_id=shared.boot_id,
        sessions_max=limits.sessions_per_project_max,
        shared=database.shared,
    )
    state = StateReader(database, fanout=settings.fanout)
    encode = EventEncoder(history=database, limits=limits, liveness=liveness)
    console = Console(store.runs, store.entries, feed, encode, history=database)
    anchoring = Anchoring(drafts, workers)
    hub = SessionHub(
        sessions,
        state,
        PresenceBoard(shared.presence, shared.bus),
        clock,
        encode,
        feed=feed,
        console=console,
        liveness=liveness,
        fanout=settings.fanout,
    )
    return _Managers(
        denials=denials,
        projects=ProjectManager(lane, projects, instance_id=instance_id),
        locks=locks,
        drafts=DraftManager(
            lane, projects, fields, drafts, workers, denials=denials, limits=limits, idle_limit_us=idle_limit_us
        ),
        sessions=sessions,
        comments=CommentManager(lane, projects, store.comments, store.runs, anchoring),
        comment_reader=CommentReader(projects, store.comments, anchoring),
        runs=RunManager(lane, projects, drafts, store.runs, limits=limits),
        exports=ExportManager(
            lane, store, workers, limits=limits, instance_id=instance_id, idle_limit_us=idle_limit_us
        ),
        bundler=Bundler(lane, store, workers),
        audit=AuditManager(
            projects, store.entries, history=database, administrators=frozenset(settings.administrators)
        ),
        state=state,
        console=console,
        run_log=RunLogReader(projects, store.runs, feed, clock, drain_s=liveness.drain_s),
        hub=hub,
        idle=IdleWatch(locks, fields, hub, clock, liveness),
        replicas=(
            Replicas(database, sessions, hub, clock=clock, liveness=liveness, boot_id=shared.boot_id)
            if isinstance(database, PostgresDatabase)
            else None
        ),
    )


def _servicers(
    settings: ServerSettings, clock: Clock, database: Database, calls: Calls, managers: _Managers, *, feed: Feed
) -> tuple[SessionServicer, RunServicer, dict[str, object]]:
    """Everything that translates, by service; those with streams, which must be seen off, once more by themselves."""
    limits, liveness = settings.limits, settings.liveness
    pages = Pages(database.page_token_key)
    drafts = DraftServicer(managers.drafts, pages, history=database, changes_max=limits.changes_per_save_max)
    runs = RunServicer(
        managers.runs, managers.run_log, feed, pages, clock, history=database, limits=limits, drain_s=liveness.drain_s
    )
    parts = StreamParts(managers.hub, managers.locks, drafts, runs, managers.state, calls, liveness, database)
    sessions = SessionServicer(managers.sessions, pages, parts, history=database)
    return (
        sessions,
        runs,
        {
            "ProjectService": ProjectServicer(managers.projects, pages),
            "DraftService": drafts,
            "LockService": LockServicer(managers.locks, pages, history=database),
            "SessionService": sessions,
            "AuditService": AuditServicer(managers.audit, pages, history=database),
            "CommentService": CommentServicer(managers.comments, managers.comment_reader, pages, history=database),
            "RunService": runs,
            "ExportService": ExportServicer(managers.exports, managers.bundler, history=database),
        },
    )


async def _open_database(settings: ServerSettings, clock: Clock | None) -> tuple[Database, Clock]:
    """The store, and the clock that its times come from: a shared one has its own."""
    local = clock or SystemClock()
    try:
        if settings.database_url is None:
            return SqliteDatabase(_data_dir(settings), local), local
        database = await PostgresDatabase.open(settings.database_url.get_secret_value(), settings.postgres, local)
    except (StoreError, OSError) as error:
        raise StartupError(str(error)) from error
    return database, clock or database.clock


def _data_dir(settings: ServerSettings) -> Path:
    if settings.data_dir is None:
        raise StartupError("give --data-dir")
    return settings.data_dir


def _verifier(settings: ServerSettings, clock: Clock) -> JwtVerifier:
    if settings.token_public_key_file:
        key = load_public_key(settings.token_public_key_file)
        return JwtVerifier(key, issuer=settings.token_issuer, audience=settings.token_audience, clock=clock)
    return JwtVerifier(make_dev_key(_data_dir(settings)), issuer=DEV_ISSUER, audience=DEV_AUDIENCE, clock=clock)


async def _supervised(work: Coroutine[Any, Any, None], failures: list[Exception]) -> None:
    """A task of the server that fails takes the server with it: a half-alive server would hold locks for ever."""
    try:
        await work
    except asyncio.CancelledError:
        raise
    except Exception as error:  # noqa: BLE001 - whatever it was
        failures.append(error)
        if not isinstance(error, FencedError):  # which was said already; nothing is wrong with this process
            _log.exception("server_task_failed")
        signal.raise_signal(signal.SIGTERM)


async def _cancel(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
