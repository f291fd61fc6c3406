"""What a server logs of itself: as what it serves, and that it was given up."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from structlog.testing import capture_logs
from structlog.typing import EventDict

from foundry.app import ServerFailedError
from foundry.store.postgres.schema import REVISION
from tests.servers.postgres import PostgresServer, execute, value_of
from tests.support import PATIENCE_S, running_server


def named(lines: list[EventDict], event: str) -> list[EventDict]:
    """Those of an event."""
    return [line for line in lines if line["event"] == event]


async def test_a_server_says_as_what_it_serves(tmp_path: Path) -> None:
    """One line, by which its other lines and those of the others about it are understood."""
    with capture_logs() as lines:
        async with running_server(tmp_path / "data") as server:
            [line] = named(lines, "serving")
            assert (line["log_level"], line["address"]) == ("info", server.address)
            assert (line["epoch"], line["schema"]) == (1, REVISION)
            assert len(line["replica_id"]) == 36


async def test_a_server_that_was_given_up_fails_without_a_traceback(
    url: str, postgres: PostgresServer, tmp_path: Path, terminated: asyncio.Event
) -> None:
    """It is as documented: the others did not hear of it. It ends, and whoever supervises it starts it again."""
    owner = postgres.owner_url(url.rpartition("/")[2])

    async def live() -> None:
        async with running_server(tmp_path / "data", database_url=url, liveness={"replica_renewal_s": 0.2}):
            [line] = named(lines, "serving")
            assert line["schema"] == REVISION
            assert await value_of(owner, "SELECT address FROM replica WHERE replica_id = $1", line["replica_id"])
            await execute(owner, "UPDATE replica SET state = 'FENCED'")
            async with asyncio.timeout(PATIENCE_S):
                await terminated.wait()

    with capture_logs() as lines:
        with pytest.raises(ServerFailedError):
            await live()
        assert len(named(lines, "replica_fenced")) == 1
        assert named(lines, "server_task_failed") == []
