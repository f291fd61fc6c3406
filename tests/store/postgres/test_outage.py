"""What the log says of a database that is away: that it is, and why; that it is back; and nothing in between."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import pytest
from structlog.testing import capture_logs
from structlog.typing import EventDict

from foundry.clock import SystemClock
from foundry.domain.errors import LockHeld, Unavailable
from foundry.settings import Postgres
from foundry.store.postgres.database import PostgresDatabase
from foundry.store.postgres.outage import Outage
from foundry.store.replicas import ReplicaRepository
from tests.faults.cluster import behind
from tests.faults.proxy import Proxy
from tests.managers.workspace import opened
from tests.store.operations import INSTANCE, noting

PASSWORD = "correct-horse-battery-staple"
LIMITS = Postgres(pool_max=4, connect_limit_s=2.0)


def with_password(url: str, address: str) -> str:
    """The URL of a database at another address, with a password in it: the server's own, or one it does not want."""
    parts = urlsplit(behind(url, address))
    who, _, where = parts.netloc.rpartition("@")
    return urlunsplit(parts._replace(netloc=f"{who if ':' in who else f'{who}:{PASSWORD}'}@{where}"))


def loud(lines: list[EventDict]) -> list[str]:
    """Events that operators see."""
    return [line["event"] for line in lines if line["log_level"] != "debug"]


async def test_an_outage_is_said_once_and_its_end_is_too(url: str, tmp_path: Path) -> None:
    """By reads, transactions and snapshots together, however many fail meanwhile; the reason holds no secret."""
    host = url.rpartition("@")[2].partition("/")[0]
    async with Proxy(host) as proxy:
        database = await PostgresDatabase.open(with_password(url, proxy.address), LIMITS, SystemClock())
        async with opened(tmp_path, shared=database) as workspace:
            for _ in range(2):
                with capture_logs() as lines:
                    proxy.refuse()
                    proxy.cut()
                    for _ in range(5):
                        with pytest.raises(Unavailable):
                            await ReplicaRepository(database).open()
                        with pytest.raises(Unavailable):
                            await workspace.lane.submit(INSTANCE, noting("a"))
                        with pytest.raises(Unavailable):
                            async with database.snapshot():
                                pass
                    assert loud(lines) == ["database_unavailable", "transaction_failed"]
                    proxy.heal()
                    await ReplicaRepository(database).open()
                    await workspace.lane.submit(INSTANCE, noting("b"))
                assert loud(lines) == ["database_unavailable", "transaction_failed", "database_back"]
                away, back = lines[0], lines[-1]
                assert away["error"]
                assert away["reason"]
                assert 0 <= back["away_s"] < 60
                secret = urlsplit(database._url).password
                assert secret
                assert secret not in str(lines)


async def test_a_snapshot_that_is_cut_ends_no_outage(url: str) -> None:
    """Its end succeeds whatever happens, since nothing was written; that says nothing of the database."""
    host = url.rpartition("@")[2].partition("/")[0]
    async with Proxy(host) as proxy:
        database = await PostgresDatabase.open(behind(url, proxy.address), LIMITS, SystemClock())

        async def cut_inside() -> None:
            async with database.snapshot() as reader:
                proxy.refuse()
                proxy.cut()
                await ReplicaRepository(reader).open()  # type: ignore[arg-type]  # it only reads

        with capture_logs() as lines:
            with pytest.raises(Unavailable):
                await cut_inside()
            assert loud(lines) == ["database_unavailable"]
        with capture_logs() as lines:
            await database.close()
            with pytest.raises(Unavailable):
                await ReplicaRepository(database).open()
        assert lines == []  # whoever leaves has said enough


async def test_somebody_who_stands_in_the_way_is_no_outage(url: str, tmp_path: Path) -> None:
    """Nor is a refusal: the database answers."""
    database = await PostgresDatabase.open(url, LIMITS, SystemClock())
    async with opened(tmp_path, shared=database) as workspace:
        project_id = await workspace.project()
        mine, other = [await workspace.session(project_id) for _ in range(2)]
        with capture_logs() as lines:
            await workspace.lock(mine, "topology")
            with pytest.raises(LockHeld):
                await workspace.lock(other, "topology")
        assert loud(lines) == []


async def test_an_answer_to_what_was_asked_before_ends_nothing() -> None:
    """As one connection fails the last answers come on others."""
    with capture_logs() as lines:
        outage, asked_s = Outage(), time.monotonic()
        await asyncio.sleep(0)
        outage.failed(TimeoutError())
        outage.answered(asked_s)
        assert [(line["event"], line["reason"]) for line in lines] == [("database_unavailable", "no answer in time")]
        outage.answered(time.monotonic() + 1)
        outage.answered(time.monotonic() + 1)
        assert loud(lines) == ["database_unavailable", "database_back"]
        outage.failed(OSError("gone"))
        assert loud(lines) == ["database_unavailable", "database_back", "database_unavailable"]
