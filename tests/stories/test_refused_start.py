"""A server does not serve what it cannot vouch for."""
# ruff: noqa: S608 - the tampering is SQL, put together

from __future__ import annotations

import contextlib
import re
import sqlite3
from typing import TYPE_CHECKING

import pytest

from foundry.client import LogAltered
from tests.stories.log_replay import check_chain, read_log
from tests.stories.processes import run
from tests.support import project_with, running_server

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.stories.processes import ServerProcess

#: The end of the project's log, and a place in the middle of it.
_LAST = "log != 'instance' AND sequence = (SELECT max(sequence) FROM log_entry WHERE log != 'instance')"
_SECOND = "log != 'instance' AND sequence = 2"


async def refused_start(data_dir: Path) -> str:
    """Try to serve as people do; returns the one sentence that the refusal must be, with exit code 1."""
    finished = await run("serve", "--dev", "--data-dir", str(data_dir), "--listen", "127.0.0.1:0")
    assert (finished.exit_code, finished.out) == (1, ""), finished
    (sentence,) = finished.err.splitlines()
    return sentence


@contextlib.contextmanager
def unguarded(data_dir: Path) -> Iterator[sqlite3.Connection]:
    """The closed database without its triggers, which are put back word for word: its owner can do that."""
    with contextlib.closing(sqlite3.connect(data_dir / "foundry.sqlite3")) as connection:
        triggers = connection.execute("SELECT name, sql FROM sqlite_master WHERE type = 'trigger'").fetchall()
        for name, _ in triggers:
            connection.execute(f"DROP TRIGGER {name}")
        yield connection
        for _, sql in triggers:
            connection.execute(sql)
        connection.commit()


@pytest.fixture
async def closed(tmp_path: Path) -> Path:
    """Data of a server that has stopped, with a project in it."""
    async with running_server(tmp_path / "data") as server, server.connect("alice") as alice:
        await project_with(alice, "bob")
    return tmp_path / "data"


async def test_two_servers_do_not_share_a_data_directory(served: ServerProcess) -> None:
    """The second one is refused, and the first one does not notice."""
    assert "another server uses the data directory" in await refused_start(served.data_dir)
    async with await served.connect("alice") as alice:
        await project_with(alice)


async def test_a_server_without_a_guard_does_not_start(closed: Path) -> None:
    """The rule that keeps entries from being changed is gone: the refusal names it."""
    with contextlib.closing(sqlite3.connect(closed / "foundry.sqlite3")) as connection:
        connection.execute("DROP TRIGGER log_entry_no_update")
        connection.commit()
    assert re.search("guards? log_entry_no_update .*missing or altered", await refused_start(closed))


@pytest.mark.parametrize(
    "tampering",
    [
        f"DELETE FROM log_entry WHERE {_LAST}",
        f"UPDATE log_entry SET entry = CAST(replace(CAST(entry AS TEXT), 'bob', 'eve') AS BLOB) WHERE {_LAST}",
    ],
    ids=["cut", "altered"],
)
async def test_a_server_with_a_cut_or_altered_log_does_not_start(closed: Path, tampering: str) -> None:
    """All guards are in place again, but the log does not end with what its head names."""
    with unguarded(closed) as connection:
        assert connection.execute(tampering).rowcount == 1
    assert "altered or cut" in await refused_start(closed)


async def test_an_altered_entry_in_the_middle_is_named_by_verification(closed: Path) -> None:
    """The start checks the ends of the logs; whoever verifies a log learns which entry is not what was written."""
    with unguarded(closed) as connection:
        altered = "UPDATE log_entry SET entry = CAST(replace(CAST(entry AS TEXT), 'alice', 'mallory') AS BLOB)"
        assert connection.execute(f"{altered} WHERE {_SECOND}").rowcount == 1
    async with running_server(closed) as server, server.connect("alice") as alice:
        (project,) = [project async for project in alice.projects.list()]
        with pytest.raises(LogAltered) as refusal:
            await alice.audit.verify(project.project_id)
        assert refusal.value.sequence == 2
        with pytest.raises(AssertionError):
            check_chain(await read_log(alice, project.project_id))
