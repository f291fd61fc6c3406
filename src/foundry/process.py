"""What the command line does in this process instead of asking a server: serve, migrate, look into the database."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import gc
import logging
import os
import signal
import socket
import sys
from typing import TYPE_CHECKING

import structlog
from prometheus_client import start_http_server

from foundry.app import ServerFailedError, serve
from foundry.settings import StartupError
from foundry.store.attribution import attribution_of_directory, attribution_of_url
from foundry.store.errors import StoreError
from foundry.store.postgres.migrate import migrate
from foundry.store.postgres.reasons import reason

if TYPE_CHECKING:
    from pathlib import Path

    from foundry.settings import ServerSettings
    from foundry.store.attribution import Attribution

_log = structlog.get_logger(__name__)

#: Why an address cannot be had.
_OF_AN_ADDRESS = {
    errno.EADDRINUSE: "something else is there",
    errno.EADDRNOTAVAIL: "this machine has no such address",
}


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
        if isinstance(error.__cause__, OSError | ValueError):
            raise StartupError(f"the database cannot be read: {reason(error.__cause__)}") from error
        raise StartupError(str(error)) from error
    except OverflowError as error:
        raise StartupError(f"the database cannot be read: {reason(error)}") from error


def run(settings: ServerSettings) -> int:
    """Serve until SIGTERM or SIGINT; prints ``foundry ready on ADDRESS`` on one line when it serves.

    Returns:
        Exit code 0 after a clean stop, 1 when a task of the server failed.

    Raises:
        StartupError: The server cannot start.
    """
    configure_logging(settings)
    settings.check()
    _make_directory(settings)
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
    except (socket.gaierror, UnicodeError) as error:
        raise StartupError(f"metrics cannot be served on {listen}: the host is not known") from error
    except OSError as error:
        why = _OF_AN_ADDRESS.get(error.errno or 0, error.strerror)
        raise StartupError(f"metrics cannot be served on {listen}: {why}") from error


def _make_directory(settings: ServerSettings) -> None:
    """See to the directory of the data or the key before anything is opened in it."""
    if settings.data_dir is None or (settings.database_url and not settings.dev):
        return
    why = "it cannot be written to"
    try:
        settings.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        if os.access(settings.data_dir, os.W_OK | os.X_OK):
            return
    except (FileExistsError, NotADirectoryError):
        why = "there is a file in its place"
    except OSError as error:
        why = error.strerror or "it cannot be made"
    raise StartupError(f"the data directory {settings.data_dir} cannot be used: {why}")


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
