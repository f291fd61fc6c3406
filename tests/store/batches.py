"""The lane over either database, with what it wrote on record, and operations that are one batch."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from foundry.clock import SystemClock
from foundry.settings import Postgres
from foundry.store.database import Connection, Writer
from foundry.store.needs import Needs
from foundry.store.postgres.database import PostgresDatabase
from foundry.store.statement import Row, Statement
from tests.managers.workspace import Workspace, opened
from tests.servers.postgres import PostgresServer

T = TypeVar("T")


class Recorded:
    """A connection that notes what ran on it: the statement, and its parameters."""

    def __init__(self, connection: Connection, record: list[tuple[Statement, Sequence[Mapping[str, Any]]]]) -> None:
        self._connection = connection
        self.epoch = connection.epoch
        self._record = record

    async def row(self, statement: Statement, parameters: Mapping[str, Any]) -> Row | None:
        self._record.append((statement, [parameters]))
        return await self._connection.row(statement, parameters)

    async def rows(self, statement: Statement, parameters: Mapping[str, Any]) -> list[Row]:
        self._record.append((statement, [parameters]))
        return await self._connection.rows(statement, parameters)

    async def each(self, statement: Statement, parameters: Sequence[Mapping[str, Any]]) -> list[Row]:
        self._record.append((statement, parameters))
        return await self._connection.each(statement, parameters)

    async def write(self, statement: Statement, parameters: Sequence[Mapping[str, Any]]) -> int:
        self._record.append((statement, parameters))
        return await self._connection.write(statement, parameters)


class RecordingWriter:
    """A writer whose transactions are on record, each as the statements that ran in it: one round trip each.

    They wait while ``may_begin`` is not set; ``arrived`` says that one waits.
    """

    def __init__(self, writer: Writer) -> None:
        self._writer = writer
        self.may_begin = asyncio.Event()
        self.may_begin.set()
        self.arrived = asyncio.Event()
        self.transactions: list[list[tuple[Statement, Sequence[Mapping[str, Any]]]]] = []

    async def transact(self, work: Callable[[Connection], Awaitable[T]]) -> T:
        self.arrived.set()
        await self.may_begin.wait()
        record: list[tuple[Statement, Sequence[Mapping[str, Any]]]] = []
        self.transactions.append(record)
        return await self._writer.transact(lambda connection: work(Recorded(connection, record)))


class Batches:
    """A workspace whose operations are batched as a test says."""

    def __init__(self, workspace: Workspace) -> None:
        self.workspace = workspace
        self.writer = RecordingWriter(workspace.lane._writer)
        workspace.lane._writer = self.writer

    async def together(self, *work: Awaitable[Any], transactions: int = 1) -> list[Any]:
        """Hand operations over in their order, so that they wait together; their answers, or what they raised."""
        lane, self.writer.transactions = self.workspace.lane, []
        self.writer.may_begin.clear()
        self.writer.arrived.clear()
        tasks = [asyncio.ensure_future(lane.submit(Needs(), lambda _: None))]
        await self.writer.arrived.wait()
        for one in work:
            waiting = len(lane._waiting)
            tasks.append(asyncio.ensure_future(one))
            while len(lane._waiting) == waiting and not tasks[-1].done():  # noqa: ASYNC110 - no event tells of it
                await asyncio.sleep(0)  # what it reads before it is handed over
        self.writer.may_begin.set()
        answers = await asyncio.gather(*tasks, return_exceptions=True)
        assert len(self.writer.transactions) == 1 + transactions
        return answers[1:]


@contextlib.asynccontextmanager
async def batched(
    directory: Path, postgres: PostgresServer | None = None, *, limits: Postgres | None = None
) -> AsyncIterator[Batches]:
    """A lane over a database of its own: a file, or one in Postgres."""
    if postgres is None:
        async with opened(directory) as workspace:
            yield Batches(workspace)
        return
    name = postgres.create_database()
    database = await PostgresDatabase.open(postgres.server_url(name), limits or Postgres(), SystemClock())
    async with opened(directory, shared=database) as workspace:
        yield Batches(workspace)
    postgres.drop_database(name)
