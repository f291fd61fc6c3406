"""Transactions of the lane on Postgres that take too long, fail half-way, or end nobody knows how."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import asyncpg
import pytest
from sqlalchemy import select

from foundry.clock import SystemClock
from foundry.domain.errors import OutcomeUnknown, Unavailable
from foundry.settings import Postgres
from foundry.store import tables as t
from foundry.store.postgres.database import PostgresDatabase
from foundry.store.replicas import INSERT_REPLICA
from foundry.store.statement import Statement
from tests.faults.cluster import behind
from tests.faults.commit_proxy import CommitProxy
from tests.managers.workspace import opened
from tests.store.operations import INSTANCE, marks, noting

if TYPE_CHECKING:
    from foundry.store.database import Connection
    from tests.faults.commit_proxy import When

PATIENCE_S = 20.0
_NAMES = Statement(select(t.replica.c.replica_id))


async def write(connection: Connection, name: str, state: str = "LIVE") -> None:
    """One row of which there can be several."""
    row = {"replica_id": name, "state": state, "renew_count": 0, "start_time_us": 0, "address": ""}
    await connection.write(INSERT_REPLICA, [row])


async def written(database: PostgresDatabase) -> list[str]:
    """The rows that are there."""
    return sorted(row[0] for row in await database.rows(_NAMES, {}))


async def test_a_transaction_that_takes_too_long_ends_and_is_not_continued(url: str) -> None:
    """Nothing of it is stored, at its end or with what is written next."""
    database = await PostgresDatabase.open(url, Postgres(transaction_limit_s=2.0), SystemClock())

    async def endless(connection: Connection) -> None:
        await write(connection, "half done")
        await asyncio.Event().wait()

    with pytest.raises(Unavailable):
        async with asyncio.timeout(PATIENCE_S):
            await database.writer.transact(endless)
    assert await written(database) == []
    await database.writer.transact(lambda connection: write(connection, "next"))
    assert await written(database) == ["next"]
    await database.close()


async def test_a_commit_that_was_a_rollback_is_none(url: str) -> None:
    """The database makes one of it when anything failed before, whoever has looked away."""
    database = await PostgresDatabase.open(url, Postgres(), SystemClock())

    async def careless(connection: Connection) -> None:
        await write(connection, "before")
        with contextlib.suppress(asyncpg.PostgresError):
            await write(connection, "refused", state="NONSENSE")

    with pytest.raises(Unavailable):
        await database.writer.transact(careless)
    await database.writer.transact(lambda connection: write(connection, "next"))
    assert await written(database) == ["next"]
    await database.close()


@pytest.mark.parametrize("when", ["before", "after"])
async def test_a_batch_whose_commit_got_lost_is_not_run_again(url: str, tmp_path: Path, when: When) -> None:
    """Nobody can tell whether it was made. So everybody in it is told that, and the next batch goes through."""
    host = url.rpartition("@")[2].partition("/")[0]
    async with CommitProxy(host) as proxy:
        database = await PostgresDatabase.open(behind(url, proxy.address), Postgres(), SystemClock())
        async with opened(tmp_path, shared=database) as workspace:

            async def both() -> list[Any]:
                submitted = [workspace.lane.submit(INSTANCE, noting(mark)) for mark in ("a", "b")]
                return await asyncio.gather(*submitted, return_exceptions=True)

            proxy.arm(when)
            assert [type(answer) for answer in await both()] == [OutcomeUnknown] * 2
            once = ["a", "b"] if when == "after" else []
            assert await marks(workspace) == once
            assert [type(answer) for answer in await both()] == [int, int]
            assert await marks(workspace) == [*once, "a", "b"]
