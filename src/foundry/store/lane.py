"""The write lane: the one place where project writes become transactions.

Managers hand it operations and await the results. It takes what waits, never waiting for more, and runs it as one
transaction; with one waiting operation that is exactly a plain transaction. A refusal is a result and costs the others
nothing; an unexpected failure rolls the transaction back, and its operations run again, each by itself, so that it
costs only its own; a failed commit fails the whole batch, and request ids make the repetition safe. After the commit
the callers get their answers and the news go out, in order.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict, deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import structlog

from foundry.domain.errors import Unavailable
from foundry.store.errors import RequestTakenError, StoreBusyError
from foundry.store.flush import Write, flush
from foundry.store.needs import Needs
from foundry.store.shelf import NotCoveredError, Shelf
from foundry.store.unit_of_work import UnitOfWork

if TYPE_CHECKING:
    from foundry.clock import Clock
    from foundry.domain.events import Committed
    from foundry.store.database import Connection, Database

T = TypeVar("T")
_log = structlog.get_logger(__name__)

#: Operations of one transaction. More would not be faster and would make the first of them wait.
BATCH_MAX = 64
#: Operations that may wait. Beyond it the store is far behind and callers are told to come back.
WAITING_MAX = 10_000


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
    """Runs operations in batches on the store's writer.

    Args:
        database: The store; nobody else may use its writer while the lane runs.
        clock: Gives the time of transactions.
        on_commit: Called on the event loop after each commit with what it brought forth, in order.
    """

    def __init__(self, database: Database, clock: Clock, on_commit: Callable[[list[Committed]], None]) -> None:
        self._writer = database.writer
        self._clock = clock
        self._on_commit = on_commit
        self._waiting: deque[_Job[Any]] = deque()
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._stopping = False
        self._away = False

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
                await self._settle(jobs)
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

    # --- one transaction ---

    async def _settle(self, jobs: list[_Job[Any]], *, again: bool = True) -> None:
        """Run jobs as one transaction; if it fails over one of them, each in a transaction of its own.

        Args:
            again: Whether one whose request was taken meanwhile is run once more.
        """
        try:
            await self._transact(jobs)
        except Unavailable as away:
            # Said once, until one goes through.
            say = _log.debug if self._away else _log.warning
            say("transaction_failed", operations=len(jobs), why=str(away))
            self._away = True
            self._fail(jobs, away)
        except Exception as error:  # noqa: BLE001 - the lane must outlive whatever fails in it
            parts = _apart(jobs, error)
            taken = isinstance(error, RequestTakenError)
            if len(parts) == 1 and not (taken and again):
                self._fail(jobs, _told(jobs, error))
                return
            for part in parts:
                await self._settle(part, again=not taken)

    async def _transact(self, jobs: list[_Job[Any]]) -> None:
        outcomes, news = await self._writer.transact(lambda connection: self._operate(connection, jobs))
        self._away = False
        decided = list(zip(jobs, outcomes, strict=True))
        self._waiting.extendleft(job for job, outcome in reversed(decided) if outcome is None)
        for job, outcome in decided:
            if outcome:
                _resolve(job.future, outcome)
        if news:
            self._publish(news)

    async def _operate(
        self, connection: Connection, jobs: list[_Job[Any]]
    ) -> tuple[list[_Outcome | None], list[Committed]]:
        """Load, decide, flush. The outcome of a job that must wait for the next transaction is None."""
        shelf = Shelf()
        await shelf.load(connection, [job.needs for job in jobs])
        writes: list[Write] = []
        news: list[Committed] = []
        outcomes: list[_Outcome | None] = []
        for job in jobs:
            try:
                unit = UnitOfWork(shelf.view(job.needs), self._clock.now_us(), connection.epoch)
                result = job.decide(unit)
            except NotCoveredError:
                outcomes.append(None)
                continue
            except Exception as error:  # noqa: BLE001 - a refusal, or a failure that its own caller reports
                outcomes.append(_Outcome(error=error))
                continue
            if unit.writes:
                shelf.keep(unit)
                writes += unit.writes
                news += unit.news
            outcomes.append(_Outcome(result=result))
        await flush(connection, writes, shelf.changed_heads())
        return outcomes, news

    @staticmethod
    def _fail(jobs: list[_Job[Any]], error: Exception) -> None:
        for job in jobs:
            _resolve(job.future, _Outcome(error=error))


def _told(jobs: list[_Job[Any]], error: Exception) -> Exception:
    """What the callers of operations are told that could not be run."""
    if isinstance(error, StoreBusyError):
        _log.warning("store_busy", operations=len(jobs), why=str(error))
        return Unavailable(str(error))
    _log.error("operation_failed", operations=len(jobs), exc_info=error)
    return error


def _apart(jobs: list[_Job[Any]], error: Exception) -> list[list[_Job[Any]]]:
    """The jobs in smaller parts: by project when somebody else holds one, else one by one."""
    if not isinstance(error, StoreBusyError) or isinstance(error, RequestTakenError):
        return [[job] for job in jobs]
    projects: defaultdict[str, list[_Job[Any]]] = defaultdict(list)
    for job in jobs:
        projects[job.needs.project_id].append(job)
    return list(projects.values())


def _resolve(future: asyncio.Future[Any], outcome: _Outcome) -> None:
    if future.done():  # the caller went away; what was committed is found again by request id
        return
    if isinstance(outcome.error, StopIteration):  # no future takes it
        future.set_exception(RuntimeError(f"an operation raised {outcome.error!r}"))
    elif outcome.error is not None:
        future.set_exception(outcome.error)
    else:
        future.set_result(outcome.result)
