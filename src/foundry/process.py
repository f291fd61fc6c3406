"""What the command line does in this process instead of asking a server: serve, migrate, look into the database."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import os
import signal
import sys
from typing import TYPE_CHECKING

import structlog
from prometheus_client import start_http_server

from foundry.app import ServerFailedError, serve
from foundry.settings import StartupError
from foundry.store.attribution import attribution_of_directory, attribution_of_url
from foundry.store.errors import StoreError
from foundry.store.postgres.migrate import migrate

if TYPE_CHECKING:
    from pathlib import Path

    from foundry.settings import ServerSettings
    from foundry.store.attribution import Attribution

_log = structlog.get_logger(__name__)


def migrate_database(owner_url: str, server_role: str) -> tuple[str, str]:
    """Bring a shared database up to date; see ``foundry.store.postgres.migrate``.

    Returns:
        The revisions before and after; before is empty for a new database.

    Raises:
        StartupError: It cannot be done; nothing has changed.
    """
    try:
        return asyncio.run(migrate(owner_url, server_role=server_role))
    except StoreError as error:
        raise StartupError(str(error)) from error


def attribution_of(data_dir: Path | None, database_url: str | None) -> Attribution:
    """Ask one of two databases for changes that cannot be attributed.

    Raises:
        StartupError: It cannot be read.
    """
    try:
        if data_dir is not None:
            return attribution_of_directory(data_dir)
        return attribution_of_url(database_url or "")
    except StoreError as error:
        raise StartupError(str(error)) from error


def run(settings: ServerSettings) -> int:
    """Serve until SIGTERM or SIGINT; prints ``foundry ready on ADDRESS`` on one line when it serves.

    Returns:
        Exit code 0 after a clean stop, 1 when a task of the server failed.

    Raises:
        StartupError: The server cannot start.
    """
    configure_logging(settings)
    _serve_metrics(settings.metrics_listen)
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


def _serve_metrics(listen: str) -> None:
    if not listen:
        return
    host, _, port = listen.rpartition(":")
    try:
        start_http_server(int(port), addr=host.strip("[]") or "127.0.0.1")
    except (OSError, ValueError) as error:
        raise StartupError(f"metrics cannot be served on {listen}: is something else there?") from error


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
