"""`foundry audit attribution`, as an auditor uses it: on a sound database, and on one that somebody forged."""

from __future__ import annotations

import contextlib
import json
import secrets
import shutil
import signal
import sqlite3
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from typer.testing import CliRunner, Result

from foundry.cli import app, to_front
from tests.cli.server import Server, child
from tests.servers.postgres import execute, finished

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.servers.postgres import PostgresServer

PASSWORD = "correct-horse-battery-staple"
#: What somebody changed behind the server's back, and what the auditor is told of it.
FORGERIES = {
    "another author of the change": (
        "UPDATE draft_change SET subject = 'mallory' WHERE version_number = 2",
        "its token was granted to somebody else",
    ),
    "another author of the version": (
        "UPDATE draft SET author_subject = 'mallory' WHERE version_number = 2",
        "its token was granted to somebody else",
    ),
    "another session": (
        "UPDATE draft_change SET session_id = 'forged' WHERE version_number = 2",
        "its token was granted to another session",
    ),
    "a token of an earlier lock": (
        "UPDATE draft_change SET fence = 1 WHERE version_number = 2",
        "its token was granted to another session",
    ),
    "a token that nobody was given": (
        "UPDATE draft_change SET fence = 99 WHERE version_number = 2",
        "its fencing token was never granted",
    ),
    "a grant that is gone": (
        "DELETE FROM lock_grant WHERE fence = 2",
        "its fencing token was never granted",
    ),
    "a version that is gone": (
        "DELETE FROM draft WHERE version_number = 2",
        "its version is missing",
    ),
    "a version that the log does not know": (
        "UPDATE draft SET sequence = 9999 WHERE version_number = 2",
        "the log does not tell of its version",
    ),
    "a grant dated back": (
        "UPDATE lock_grant SET sequence = 9999 WHERE fence = 2",
        "it was saved before its token was granted",
    ),
    "a lock that had ended": (
        "UPDATE draft SET sequence = (SELECT max(sequence) FROM draft) WHERE version_number = 2",
        "it was saved after its lock had ended",
    ),
}


@dataclass(frozen=True)
class Evidence:
    """A database with three saved changes that was served and is left alone.

    Attributes:
        where: The option that names it, and its value.
        forge: Change it as only they can who first switch its guards off.
    """

    where: tuple[str, str]
    forge: Callable[[str], None]


def attribution(*args: str) -> Result:
    """Run the command."""
    return CliRunner().invoke(app, to_front(("audit", "attribution", *args)))


def refusal(result: Result) -> Any:
    """What a failed command with --json says; nothing on standard output."""
    assert result.stdout == ""
    return json.loads(result.stderr)


def _serve_three_versions(data_dir: Path, *options: str) -> None:
    """Serve, save a field three times, and stop."""
    with child("serve", "--dev", "--data-dir", str(data_dir), "--listen", "127.0.0.1:0", *options) as serving:
        ready = serving.line()
        assert ready.startswith("foundry ready on "), serving.end()[2]
        server = Server(ready.removeprefix("foundry ready on "), data_dir)
        project_id = server.ask("alice", "project", "create", "Oncology")["project_id"]
        for text in ("Be exact.", "Be brief.", "Be both."):
            server.ask("alice", "draft", "save", project_id, f"system_prompt={text}")
        assert serving.end(signal.SIGTERM)[0] == 0


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The data directory of a server."""
    data_dir = tmp_path_factory.mktemp("audit") / "data"
    _serve_three_versions(data_dir)
    return data_dir


@pytest.fixture(scope="module")
def database(postgres: PostgresServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The name of a server's database."""
    name = postgres.create_database()
    _serve_three_versions(tmp_path_factory.mktemp("audit") / "data", "--database-url", postgres.server_url(name))
    yield name
    postgres.drop_database(name)


@pytest.fixture(params=["sqlite", "postgres"])
def evidence(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Evidence]:
    """A copy of either for each test."""
    if request.param == "sqlite":
        copy = tmp_path / "data"
        shutil.copytree(request.getfixturevalue("directory"), copy)
        yield Evidence(("--data-dir", str(copy)), lambda change: _forge_directory(copy, change))
        return
    postgres: PostgresServer = request.getfixturevalue("postgres")
    original, name = request.getfixturevalue("database"), f"foundry_test_{secrets.token_hex(8)}"
    finished(execute(postgres.owner_url("postgres"), f"CREATE DATABASE {name} TEMPLATE {original}"))
    yield Evidence(
        ("--database-url", postgres.server_url(name)), lambda change: _forge_database(postgres.admin_url(name), change)
    )
    finished(execute(postgres.owner_url("postgres"), f"DROP DATABASE {name} WITH (FORCE)"))


def _forge_directory(data_dir: Path, change: str) -> None:
    """Without triggers; foreign keys are off by themselves."""
    with contextlib.closing(sqlite3.connect(data_dir / "foundry.sqlite3", isolation_level=None)) as connection:
        for (guard,) in connection.execute("SELECT name FROM sqlite_schema WHERE type = 'trigger'").fetchall():
            connection.execute(f"DROP TRIGGER {guard}")
        connection.execute(change)


def _forge_database(superuser_url: str, change: str) -> None:
    """Without triggers, and in Postgres foreign keys are triggers as well."""
    off = [f"ALTER TABLE {table} DISABLE TRIGGER ALL" for table in ("draft", "draft_change", "lock_grant")]
    finished(execute(superuser_url, *off, change))


def test_in_a_sound_database_every_change_has_its_holder(evidence: Evidence) -> None:
    """It says how many it looked at; the exit code is 0."""
    people, scripts = attribution(*evidence.where), attribution("--json", *evidence.where)
    assert (people.exit_code, scripts.exit_code) == (0, 0)
    assert people.stdout == "attributed each of 3 saved changes belongs to one holder of its lock\n"
    assert json.loads(scripts.stdout) == {"changes": 3, "unattributed": 0}


@pytest.mark.parametrize("what", list(FORGERIES))
def test_a_forged_change_is_found(evidence: Evidence, what: str) -> None:
    """It is told by what is wrong with it, and the exit code is 1."""
    change, why = FORGERIES[what]
    evidence.forge(change)
    result = attribution("--json", *evidence.where)
    *found, summary = [json.loads(line) for line in result.stdout.splitlines()]
    assert result.exit_code == 1
    assert [(row["version_number"], row["field"], row["why"]) for row in found] == [(2, "system_prompt", why)]
    assert summary == {"changes": 3, "unattributed": 1}


def test_people_read_a_table_of_what_was_forged(evidence: Evidence, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who is said to have written what, and why that cannot be."""
    monkeypatch.setenv("COLUMNS", "200")
    evidence.forge(FORGERIES["another author of the change"][0])
    result = attribution(*evidence.where)
    assert result.exit_code == 1
    [row] = [line for line in result.stdout.splitlines() if "mallory" in line]
    assert "system_prompt" in row
    assert row.rstrip().endswith("its token was granted to somebody else")


def test_it_looks_while_a_server_writes(server: Server, project: str) -> None:
    """The server is not asked, and need not stop."""
    server.ask("bob", "draft", "save", project, "system_prompt=Be exact.")
    result = attribution("--json", "--data-dir", str(server.data_dir))
    assert result.exit_code == 0
    assert json.loads(result.stdout)["changes"] >= 1


@pytest.mark.parametrize("options", [(), ("--data-dir", "here", "--database-url", "postgresql://there")])
def test_it_wants_one_database(options: tuple[str, ...]) -> None:
    """Neither none nor two: the command line is wrong."""
    result = attribution("--json", *options)
    assert result.exit_code == 2
    assert refusal(result)["message"] == "give either --data-dir or --database-url"


def test_an_empty_directory_is_no_sound_database(tmp_path: Path) -> None:
    """Nothing is found in it because there is nothing; it stays empty."""
    result = attribution("--json", "--data-dir", str(tmp_path))
    assert result.exit_code == 1
    assert refusal(result)["reason"] == "DATABASE_UNREADABLE"
    assert list(tmp_path.iterdir()) == []


def test_a_database_without_our_tables_is_no_sound_one(postgres: PostgresServer) -> None:
    """It is unreadable, not innocent."""
    result = attribution("--json", "--database-url", postgres.owner_url("postgres"))
    assert result.exit_code == 1
    assert refusal(result)["reason"] == "DATABASE_UNREADABLE"


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://auditor:{password}@127.0.0.1:1/foundry",
        "postgresql://auditor:{password}@127.0.0.1:port/foundry",
        "postgresql://auditor:{password}@[::1/foundry",
        "mysql://auditor:{password}@127.0.0.1:1/foundry",
        "auditor:{password}@127.0.0.1/foundry",
    ],
)
def test_a_password_is_never_shown(url: str) -> None:
    """Whatever is wrong with the URL, it ends in a sentence without the URL's secrets."""
    result = attribution("--json", "--database-url", url.format(password=PASSWORD))
    assert result.exit_code == 1
    assert refusal(result)["reason"] == "DATABASE_UNREADABLE"
    assert PASSWORD not in result.output
