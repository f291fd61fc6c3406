"""The write lane: the one place where project writes become transactions.

Managers hand it operations and await the results. It takes what waits, never waiting for more, and runs it as one
transaction; with one waiting operation that is exactly a plain transaction. A refusal is a result and costs the others
nothing; an unexpected failure rolls back its own operation alone; a failed commit fails the whole batch, and request
ids make the repetition safe. After the commit the callers get their answers and the news go out, in order.
"""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import structlog

from foundry.domain.errors import FoundryError, Unavailable
from foundry.store.needs import Needs
from foundry.store.unit_of_work import UnitOfWork

if TYPE_CHECKING:
    from foundry.clock import Clock
    from foundry.domain.events import Committed
    from foundry.store.sqlite import SqliteConnection

T = TypeVar("T")
_log = structlog.get_logger(__name__)

#: Operations of one transaction. More would not be faster and would make the first of them wait.
BATCH_MAX = 64
#: Operations that may wait. Beyond it the store is far behind and callers are told to come back.
WAITING_MAX = 10_000
#: Commits that take longer than this on average wait for the disk, and the lane moves from the event loop to a thread.
#: The rest of a transaction is the interpreter's own work, which a thread would only make slower.
INLINE_SECONDS_MAX = 0.005


@dataclass(slots=True)
class _Job(Generic[T]):
    needs: Needs
    decide: Callable[[UnitOfWork], T]
    future: asyncio.Future[T]


@dataclass(slots=True)
class _Outcome:
    result: Any = None
    error: BaseException | None = None


class WriteLane:
    """Runs operations in batches on the one writing connection.

    Args:
        connection: The writing connection; nobody else may use it while the lane runs.
        clock: Gives the time of transactions.
        on_commit: Called on the event loop after each commit with what it brought forth, in order.
    """

    def __init__(
        self, connection: SqliteConnection, clock: Clock, on_commit: Callable[[list[Committed]], None]
    ) -> None:
        self._connection = connection
        self._clock = clock
        self._on_commit = on_commit
        self._waiting: deque[_Job[Any]] = deque()
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._stopping = False
        self._seconds = 0.0  # of a commit, on average

    def start(self) -> None:
        """Begin to take operations. Call once, on the event loop."""
        self._task = asyncio.create_task(self._run(), name="write-lane")

    async def stop(self) -> None:
        """Finish what waits and stop."""
        self._stopping = True
        self._wake.set()
        if self._task:
            await self._task

    async def submit(self, needs: Needs, decide: Callable[[UnitOfWork], T]) -> T:
        """Run an operation and return what it decided, after its commit.

        The caller's cancellation does not cancel the operation.

        Args:
            needs: The rows to load.
            decide: Decides on them, synchronously; raises a ``FoundryError`` to refuse.

        Raises:
            FoundryError: The operation was refused; nothing of it was written.
            Unavailable: The store cannot commit, or too much waits; whether it committed, the request id tells.
        """
        if self._stopping or len(self._waiting) >= WAITING_MAX:
            raise Unavailable("the store takes no writes now")
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._waiting.append(_Job(needs, decide, future))
        self._wake.set()
        return await future

    async def _run(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._waiting:
                jobs = [self._waiting.popleft() for _ in range(min(BATCH_MAX, len(self._waiting)))]
                if self._seconds > INLINE_SECONDS_MAX:
                    outcomes, news = await self._transact_in_thread(jobs)
                else:
                    outcomes, news = self._transact(jobs)
                for job, outcome in zip(jobs, outcomes, strict=True):
                    _resolve(job.future, outcome)
                if news:
                    self._publish(news)
                # One batch after the other would starve the streams that the news are for.
                await asyncio.sleep(0)
            if self._stopping:
                return

    def _publish(self, news: list[Committed]) -> None:
        try:
            self._on_commit(news)
        except Exception:  # noqa: BLE001 - it is committed, whoever fails now
            # The store is the truth: whoever missed something reads it there.
            _log.exception("publish_failed", news=len(news))

    def _transact(self, jobs: list[_Job[Any]]) -> tuple[list[_Outcome], list[Committed]]:
        connection = self._connection
        news: list[Committed] = []
        try:
            connection.sql("BEGIN IMMEDIATE")
            outcomes = [self._operate(job, news) for job in jobs]
            began = time.perf_counter()
            connection.sql("COMMIT")
            self._seconds += (time.perf_counter() - began - self._seconds) / 16
        except Exception:  # noqa: BLE001 - the lane must outlive whatever fails in it
            _log.exception("transaction_failed", operations=len(jobs))
            self._roll_back()
            return _failed(jobs), []
        return outcomes, news

    async def _transact_in_thread(self, jobs: list[_Job[Any]]) -> tuple[list[_Outcome], list[Committed]]:
        try:
            return await asyncio.to_thread(self._transact, jobs)
        except RuntimeError:  # no thread to be had
            _log.exception("transaction_failed", operations=len(jobs))
            return _failed(jobs), []

    def _operate(self, job: _Job[Any], news: list[Committed]) -> _Outcome:
        connection = self._connection
        try:
            unit = UnitOfWork(connection, job.needs, self._clock.now_us())
            result = job.decide(unit)
        except FoundryError as refusal:
            return _Outcome(error=refusal)
        except sqlite3.Error:
            raise
        except Exception as error:  # noqa: BLE001 - reaches its own caller, who reports it
            return _Outcome(error=error)
        connection.sql("SAVEPOINT operation")
        try:
            unit.flush(connection)
        except Exception as error:  # noqa: BLE001 - reaches its own caller
            _log.exception("operation_failed")
            connection.sql("ROLLBACK TO operation")
            connection.sql("RELEASE operation")
            if isinstance(error, sqlite3.OperationalError):
                return _Outcome(error=Unavailable("the store could not write"))
            return _Outcome(error=error)
        connection.sql("RELEASE operation")
        news += unit.news
        return _Outcome(result=result)

    def _roll_back(self) -> None:
        # A rollback that fails leaves the transaction open; the next BEGIN then fails, and rolls back once more.
        with contextlib.suppress(sqlite3.Error):
            if self._connection.in_transaction:
                self._connection.sql("ROLLBACK")


def _failed(jobs: list[_Job[Any]]) -> list[_Outcome]:
    failed = Unavailable("the store could not commit")
    return [_Outcome(error=failed) for _ in jobs]


def _resolve(future: asyncio.Future[Any], outcome: _Outcome) -> None:
    if future.done():  # the caller went away; what was committed is found again by request id
        return
    if isinstance(outcome.error, StopIteration):  # no future takes it
        future.set_exception(RuntimeError(f"an operation raised {outcome.error!r}"))
    elif outcome.error is not None:
        future.set_exception(outcome.error)
    else:
        future.set_result(outcome.result)
