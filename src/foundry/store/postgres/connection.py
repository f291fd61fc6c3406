"""Driver connections to Postgres: how they are made, what runs on them, and which failures mean that it is away."""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import TYPE_CHECKING, Any, Final, TypeAlias, TypeVar

import asyncpg
import structlog
from asyncpg.connect_utils import SessionAttribute

from foundry.domain.errors import OutcomeUnknown, Unavailable
from foundry.store.errors import RequestTakenError, StoreBusyError
from foundry.store.postgres.outage import Outage
from foundry.store.postgres.text import from_postgres, to_postgres
from foundry.store.statement import compiled_select

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence

    from sqlalchemy import Select

    from foundry.settings import Postgres
    from foundry.store.database import Connection
    from foundry.store.statement import Row, Statement

T = TypeVar("T")
_log = structlog.get_logger(__name__)
Driver: TypeAlias = "asyncpg.Connection[Any]"

#: The server, the network or this connection is gone, or the server will not do it now.
AWAY: Final = (
    OSError,
    TimeoutError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    asyncpg.PostgresConnectionError,
    asyncpg.OperatorInterventionError,
    asyncpg.InsufficientResourcesError,
    asyncpg.IdleInTransactionSessionTimeoutError,
    asyncpg.ReadOnlySQLTransactionError,
    asyncpg.InvalidAuthorizationSpecificationError,
    asyncpg.InvalidCatalogNameError,
    asyncpg.PostgresSystemError,
)
#: Another transaction stands in the way.
BUSY: Final = (
    asyncpg.LockNotAvailableError,
    asyncpg.DeadlockDetectedError,
    asyncpg.SerializationError,
)
#: Of two requests with one id that were decided at the same time, in two projects, one finds the other's answer here.
_REQUESTS: Final = "pk_request_record"
_AWAY_TEXT: Final = "the database cannot be reached"
_STATEMENTS_CACHED: Final = 256


async def connect(url: str, limits: Postgres) -> Driver:
    """A connection to the server that takes writes, with limits on everything that could hold others up."""

    def milliseconds(seconds: float) -> str:
        return str(int(seconds * 1_000))

    driver: Driver = await asyncpg.connect(
        dsn=url,
        timeout=limits.connect_limit_s,
        command_timeout=limits.transaction_limit_s,
        statement_cache_size=_STATEMENTS_CACHED,
        target_session_attrs=SessionAttribute.read_write,
        server_settings={
            "application_name": "foundry",
            "statement_timeout": milliseconds(limits.statement_limit_s),
            "lock_timeout": milliseconds(limits.lock_limit_s),
            "idle_in_transaction_session_timeout": milliseconds(limits.idle_in_transaction_limit_s),
            "tcp_user_timeout": milliseconds(limits.transaction_limit_s),
            # Each statement of a transaction sees what was committed before it: that is what waiting for a head is for.
            "default_transaction_isolation": "read committed",
            # A plan made for one project is good for the next.
            "plan_cache_mode": "force_generic_plan",
            "jit": "off",
        },
    )
    # Durable first: an acknowledged save must survive a crash, whatever the server's own default is.
    if await driver.fetchval("SELECT current_setting('synchronous_commit')") == "off":
        await driver.execute("SET synchronous_commit TO on")
    return driver


class PostgresConnection:
    """A ``Connection`` and a ``Reader`` on a driver connection that is this task's for now."""

    def __init__(self, driver: Driver, epoch: int = 0) -> None:
        self._driver = driver
        self.epoch = epoch

    async def row(self, statement: Statement, parameters: Mapping[str, Any]) -> Row | None:
        """See ``Reader.row``."""
        record = await self._driver.fetchrow(statement.postgres, *_arguments(statement, parameters))
        return None if record is None else from_postgres(tuple(record))

    async def rows(self, statement: Statement, parameters: Mapping[str, Any]) -> list[Row]:
        """See ``Reader.rows``."""
        return _rows(await self._driver.fetch(statement.postgres, *_arguments(statement, parameters)))

    async def fetch(self, query: Select[Any]) -> list[Row]:
        """See ``Reader.fetch``."""
        sql, arguments = compiled_select(query)
        return _rows(await self._driver.fetch(sql, *to_postgres(arguments)))

    async def each(self, statement: Statement, parameters: Sequence[Mapping[str, Any]]) -> list[Row]:
        """See ``Connection.each``."""
        if len(parameters) == 1:
            return await self.rows(statement, parameters[0])
        arguments = [_arguments(statement, one) for one in parameters]
        return _rows(await self._driver.fetchmany(statement.postgres, arguments))

    async def write(self, statement: Statement, parameters: Sequence[Mapping[str, Any]]) -> int:
        """See ``Connection.write``."""
        arguments = [_arguments(statement, one) for one in parameters]
        if statement.inserts:
            await self._driver.executemany(statement.postgres, arguments)
            return len(arguments)
        return len(await self._driver.fetchmany(statement.postgres, arguments))


def _arguments(statement: Statement, parameters: Mapping[str, Any]) -> Sequence[Any]:
    return to_postgres(statement.arguments(parameters))


def _rows(records: Sequence[Any]) -> list[Row]:
    return [from_postgres(tuple(record)) for record in records]


class PostgresWriter:
    """Runs transactions on a connection of its own, made anew when it is lost.

    Args:
        make: Gives a connection that was checked, and the epoch that it leads to.

    Attributes:
        outage: Told of failure and success; reads tell it as well.
    """

    def __init__(self, make: Callable[[], Awaitable[tuple[Driver, int]]], limits: Postgres) -> None:
        self._make = make
        self._limits = limits
        self._driver: Driver | None = None
        self._epoch = 0
        self._stale = False
        self.outage = Outage()

    def renew(self) -> None:
        """Make the next transaction on a new connection: this one may lead to a server that was replaced."""
        self._stale = True

    async def transact(self, work: Callable[[Connection], Awaitable[T]]) -> T:
        """See ``Writer.transact``."""
        began_s = time.monotonic()
        committing = False
        try:
            async with asyncio.timeout(self._limits.transaction_limit_s):
                driver = await self._connected()
                await driver.execute("BEGIN")
                result = await work(PostgresConnection(driver, self._epoch))
                committing = True
                await _commit(driver)
                self.outage.answered(began_s)
                return result
        except BUSY as error:
            await self._roll_back()
            raise StoreBusyError("others write to this project; try again") from error
        except asyncpg.UniqueViolationError as error:
            await self._roll_back()
            if error.constraint_name != _REQUESTS:
                raise
            raise RequestTakenError("a request of this id was under way elsewhere; try again") from error
        except (*AWAY, Unavailable) as error:
            if isinstance(error, ValueError):  # what was asked was wrong, and not the database
                await self._roll_back()
                raise
            self._drop()
            self.outage.failed(error)
            raise (OutcomeUnknown if committing else Unavailable)(_AWAY_TEXT) from error
        except BaseException:
            await self._roll_back()
            raise

    async def _connected(self) -> Driver:
        if self._stale:
            self._drop()
        if self._driver is None or self._driver.is_closed():
            self._driver, self._epoch = await self._make()
        self._stale = False
        return self._driver

    async def _roll_back(self) -> None:
        try:
            if self._driver:
                async with asyncio.timeout(self._limits.connect_limit_s):
                    await self._driver.execute("ROLLBACK")
        except Exception:  # noqa: BLE001 - what cannot be rolled back is dropped, and then rolled back by the server
            self._drop()

    def _drop(self) -> None:
        driver, self._driver = self._driver, None
        if driver:
            with contextlib.suppress(Exception):
                driver.terminate()

    async def close(self) -> None:
        """Close the connection."""
        self.outage.end()
        driver, self._driver = self._driver, None
        if driver:
            await _closed(driver, self._limits)


async def _commit(driver: Driver) -> None:
    # Of a transaction that a failure has ended COMMIT makes a rollback, and says so.
    if await driver.execute("COMMIT") != "COMMIT":
        raise Unavailable(_AWAY_TEXT)


async def _closed(driver: Driver, limits: Postgres) -> None:
    try:
        await driver.close(timeout=limits.connect_limit_s)
    except Exception:  # noqa: BLE001 - it is gone either way
        driver.terminate()


async def to_the_end(work: Coroutine[Any, Any, T], outage: Outage | None = None) -> T:
    """Run work in a task of its own, to its end also when the caller is cancelled.

    A call that is cancelled while the driver waits for an answer would leave the connection in the middle of it.

    Args:
        outage: Told of failure and success, whoever still waits for it.

    Raises:
        Unavailable: The database cannot be reached.
    """
    began_s = time.monotonic()
    task = asyncio.create_task(work)
    task.add_done_callback(lambda task: _looked_at(task, outage, began_s))
    try:
        return await asyncio.shield(task)
    except (*AWAY, *BUSY) as error:
        if isinstance(error, ValueError):
            raise
        raise Unavailable(_AWAY_TEXT) from error


def _looked_at(task: asyncio.Task[Any], outage: Outage | None, began_s: float) -> None:
    if task.cancelled():
        return
    error = task.exception()
    if isinstance(error, BUSY):
        _log.warning("database_busy", error=type(error).__name__)
    elif outage and error is None:
        outage.answered(began_s)
    elif outage and isinstance(error, (*AWAY, Unavailable)) and not isinstance(error, ValueError):
        outage.failed(error)
