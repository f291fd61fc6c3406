"""Fixtures: one installation for all tests here, migrated as Compose would do it."""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.deploy.installation import Installation
from tests.servers.postgres import finished, private_postgres
from tests.servers.redis import private_redis

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.stories.processes import Finished


@pytest.fixture(scope="session")
def unmigrated() -> Iterator[Installation]:
    """An installation whose database is empty."""
    # Not below TMPDIR, which may be long: the path of a socket has 107 bytes at most.
    with (
        private_postgres() as postgres,
        private_redis() as redis,
        tempfile.TemporaryDirectory(prefix="fd-", dir="/tmp") as folder,
    ):
        made = Installation(postgres, redis, Path(folder) / "keys")
        made.set_up()
        yield made


@pytest.fixture(scope="session")
def migrations(unmigrated: Installation) -> list[Finished]:
    """What two migrations said that ran at once."""

    async def both() -> list[Finished]:
        return list(await asyncio.gather(*(unmigrated.command("migrate") for _ in range(2))))

    done: list[Finished] = finished(both())
    return done


@pytest.fixture
def installation(unmigrated: Installation, migrations: list[Finished]) -> Installation:
    """An installation that servers can be started in."""
    assert [done.exit_code for done in migrations] == [0, 0], migrations
    return unmigrated
