"""The composition root: opens things in order, closes them in reverse."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import os
import signal
import sys
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
from foundry.managers.hub import SessionHub
from foundry.managers.idle import IdleWatch
from foundry.managers.locks import LockManager
from foundry.managers.presence import PresenceBoard
from foundry.managers.projects import ProjectManager
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
from foundry.rpc.server import bind, build_server, set_serving
from foundry.rpc.session import SessionServicer
from foundry.rpc.stream import StreamParts
from foundry.settings import StartupError
from foundry.store.database import Database, StoreError
from foundry.store.housekeeping import forget_old_requests
from foundry.store.lane import WriteLane
from foundry.store.repositories import Repositories

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Coroutine
    from typing import Any

    from foundry.clock import Clock
    from foundry.settings import ServerSettings

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
    clock = clock or SystemClock()
    failures: list[Exception] = []
    async with contextlib.AsyncExitStack() as stack:
        database = _open_database(settings, clock)
        stack.push_async_callback(database.close)
        bus = MemoryEventBus()
        lane = WriteLane(database.writer, clock, bus.publish)
        lane.start()
        stack.push_async_callback(lane.stop)
        workers = Workers()
        stack.push_async_callback(workers.close)

        managers = _managers(settings, clock, database, lane, workers)
        stack.push_async_callback(managers.denials.flush)
        for follower in (managers.hub, managers.console, managers.run_log, managers.locks):
            follower.follow(bus)
        await managers.hub.recover()
        stack.push_async_callback(managers.hub.stop)

        calls = Calls(_verifier(settings, clock), managers.denials, limit_bytes=settings.limits.message_bytes_max)
        sessions, runs, servicers = _servicers(settings, clock, database, calls, managers)
        runs.follow(bus)
        server, healthy = build_server(calls, servicers, settings.limits)
        address = bind(server, settings)

        for work in (
            managers.hub.run(),
            managers.locks.run(),
            managers.denials.run(),
            managers.idle.run(),
            forget_old_requests(lane),
        ):
            stack.push_async_callback(_cancel, asyncio.create_task(_supervised(work, failures)))
        await server.start()
        await set_serving(healthy)
        try:
            yield address
        finally:
            await healthy.enter_graceful_shutdown()
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


def _managers(
    settings: ServerSettings, clock: Clock, database: Database, lane: WriteLane, workers: Workers
) -> _Managers:
    limits, liveness, instance_id = settings.limits, settings.liveness, database.instance_id
    idle_limit_us = int(liveness.idle_limit_s * 1_000_000)
    store = Repositories(database)
    projects, fields, drafts = store.projects, store.fields, store.drafts
    denials = Denials(lane, clock)
    locks = LockManager(lane, projects, fields, MemoryLockRegistry(clock), denials, idle_limit_us=idle_limit_us)
    sessions = SessionManager(
        lane, projects, store.sessions, boot_id=new_id(), sessions_max=limits.sessions_per_project_max
    )
    state = StateReader(database, store, fanout=settings.fanout)
    encode = EventEncoder(epoch=database.epoch, limits=limits, liveness=liveness)
    console, anchoring = Console(store.runs, encode), Anchoring(drafts, workers)
    hub = SessionHub(
        sessions,
        state,
        PresenceBoard(MemoryPresenceRegistry()),
        clock,
        encode,
        console=console,
        liveness=liveness,
        fanout=settings.fanout,
    )
    return _Managers(
        denials=denials,
        projects=ProjectManager(lane, projects, instance_id=instance_id),
        locks=locks,
        drafts=DraftManager(lane, projects, fields, drafts, workers, limits=limits, idle_limit_us=idle_limit_us),
        sessions=sessions,
        comments=CommentManager(lane, projects, store.comments, store.runs, anchoring),
        comment_reader=CommentReader(projects, store.comments, anchoring),
        runs=RunManager(lane, projects, drafts, store.runs, limits=limits),
        exports=ExportManager(
            lane, store, workers, limits=limits, instance_id=instance_id, idle_limit_us=idle_limit_us
        ),
        bundler=Bundler(lane, store, workers),
        audit=AuditManager(
            projects, store.entries, epoch=database.epoch, administrators=frozenset(settings.administrators)
        ),
        state=state,
        console=console,
        run_log=RunLogReader(projects, store.runs, clock, drain_s=liveness.drain_s),
        hub=hub,
        idle=IdleWatch(locks, fields, hub, clock, liveness),
    )


def _servicers(
    settings: ServerSettings, clock: Clock, database: Database, calls: Calls, managers: _Managers
) -> tuple[SessionServicer, RunServicer, dict[str, object]]:
    """Everything that translates, by service; those with streams, which must be seen off, once more by themselves."""
    limits, liveness = settings.limits, settings.liveness
    epoch, pages = database.epoch, Pages(database.page_token_key)
    drafts = DraftServicer(managers.drafts, pages, epoch=epoch, changes_max=limits.changes_per_save_max)
    runs = RunServicer(
        managers.runs, managers.run_log, pages, clock, epoch=epoch, limits=limits, drain_s=liveness.drain_s
    )
    parts = StreamParts(managers.hub, managers.locks, drafts, runs, managers.state, calls, liveness, epoch)
    sessions = SessionServicer(managers.sessions, pages, parts, epoch=epoch)
    return (
        sessions,
        runs,
        {
            "ProjectService": ProjectServicer(managers.projects, pages),
            "DraftService": drafts,
            "LockService": LockServicer(managers.locks, pages, epoch=epoch),
            "SessionService": sessions,
            "AuditService": AuditServicer(managers.audit, pages, epoch=epoch),
            "CommentService": CommentServicer(managers.comments, managers.comment_reader, pages, epoch=epoch),
            "RunService": runs,
            "ExportService": ExportServicer(managers.exports, managers.bundler, epoch=epoch),
        },
    )


def _open_database(settings: ServerSettings, clock: Clock) -> Database:
    try:
        return Database(settings.data_dir, clock)
    except (StoreError, OSError) as error:
        raise StartupError(str(error)) from error


def _verifier(settings: ServerSettings, clock: Clock) -> JwtVerifier:
    if settings.token_public_key_file:
        key = load_public_key(settings.token_public_key_file)
        return JwtVerifier(key, issuer=settings.token_issuer, audience=settings.token_audience, clock=clock)
    return JwtVerifier(make_dev_key(settings.data_dir), issuer=DEV_ISSUER, audience=DEV_AUDIENCE, clock=clock)


async def _supervised(work: Coroutine[Any, Any, None], failures: list[Exception]) -> None:
    """A task of the server that fails takes the server with it: a half-alive server would hold locks for ever."""
    try:
        await work
    except asyncio.CancelledError:
        raise
    except Exception as error:  # noqa: BLE001 - whatever it was
        failures.append(error)
        _log.exception("server_task_failed")
        signal.raise_signal(signal.SIGTERM)


async def _cancel(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


# --- the process ---


def run(settings: ServerSettings) -> int:
    """Serve until SIGTERM or SIGINT; prints ``foundry ready on ADDRESS`` on one line when it serves.

    Returns:
        Exit code 0 after a clean stop, 1 when a task of the server failed.

    Raises:
        StartupError: The server cannot start.
    """
    configure_logging(settings)
    # Children are started by exec only; without this gRPC complains at each of them.
    os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")
    loop_factory = None
    if sys.platform != "win32":
        import uvloop  # noqa: PLC0415 - not on every platform

        loop_factory = uvloop.new_event_loop
    try:
        with asyncio.Runner(loop_factory=loop_factory) as runner:
            runner.run(_until_signal(settings))
    except ServerFailedError:
        return 1
    return 0


async def _until_signal(settings: ServerSettings) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    async with serve(settings) as address:
        # What was made so far stays: the collector need not look at it again and again.
        gc.collect()
        gc.freeze()
        sys.stdout.write(f"foundry ready on {address}\n")
        sys.stdout.flush()
        await stop.wait()
        _log.info("draining")


class _Lines:
    """A logger on standard error. A log that cannot be written, its disk full or its reader gone, stops nothing."""

    def __init__(self, *_: object) -> None:
        """See ``structlog.PrintLogger``; what is given are the names of loggers."""

    def msg(self, line: str) -> None:
        """Write a line."""
        with contextlib.suppress(OSError, ValueError):
            sys.stderr.write(line + "\n")
            sys.stderr.flush()

    debug = info = warning = error = critical = exception = msg


def configure_logging(settings: ServerSettings) -> None:
    """Log to standard error: events by name with values, as lines for people or as JSON."""
    level = logging.getLevelNamesMapping()[settings.log_level.upper()]
    render = (
        structlog.processors.JSONRenderer()
        if settings.log_json
        # Plain: a traceback with the values of variables would carry content into the log.
        else structlog.dev.ConsoleRenderer(
            colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback
        )
    )
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            render,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=_Lines,
        cache_logger_on_first_use=True,
    )
    # Cancelled writes to clients that are gone are no news.
    logging.getLogger("grpc._cython.cygrpc").setLevel(logging.CRITICAL)
    logging.getLogger("alembic").setLevel(logging.WARNING)
