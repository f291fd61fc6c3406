"""`foundry audit attribution`, as an auditor uses it: on a sound database, and on one that somebody forged."""

from __future__ import annotations

import contextlib
import json
import re
import secrets
import shutil
import signal
import sqlite3
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit, urlunsplit

import pytest
from typer.testing import CliRunner, Result

from foundry.cli import app, to_front
from foundry.store.attribution import Attribution, Unattributed
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
    "a change that is gone": (
        "DELETE FROM draft_change WHERE version_number = 2",
        "the log tells of it, and it is missing",
    ),
    "a version that is gone with its change": (
        "DELETE FROM draft_change WHERE version_number = 2; DELETE FROM draft WHERE version_number = 2",
        "the log tells of it, and it is missing",
    ),
    "another author everywhere but in the log": (
        (
            "UPDATE draft SET author_subject = 'mallory' WHERE version_number = 2; "
            "UPDATE draft_change SET subject = 'mallory' WHERE version_number = 2; "
            "UPDATE lock_grant SET subject = 'mallory' WHERE fence = 2"
        ),
        "the log tells of somebody else",
    ),
    "another session everywhere but in the log": (
        (
            "UPDATE draft SET session_id = 'forged' WHERE version_number = 2; "
            "UPDATE draft_change SET session_id = 'forged' WHERE version_number = 2; "
            "UPDATE lock_grant SET session_id = 'forged' WHERE fence = 2"
        ),
        "the log tells of another session",
    ),
    "another content": (
        "UPDATE draft_change SET after_sha256 = before_sha256 WHERE version_number = 2",
        "the log tells of another content",
    ),
}
_DELETED = {"a change that is gone", "a version that is gone with its change"}


@dataclass(frozen=True)
class Evidence:
    """A database with three saved changes that was served and is left alone.

    Attributes:
        where: The option that names it, and its value.
        forge: Change it as only they can who first switch its guards off.
    """

    where: tuple[str, str]
    forge: Callable[[str], None]


def attribution(*args: str, **env: str) -> Result:
    """Run the command."""
    return CliRunner().invoke(app, to_front(("audit", "attribution", *args)), env={"FOUNDRY_DATABASE_URL": None, **env})


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
        connection.executescript(change)


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
    assert summary == {"changes": 2 if what in _DELETED else 3, "unattributed": 1}


#: A field that the version did not change, under a lock that was held all the time.
ADDED = (
    "INSERT INTO lock_grant SELECT project_id, 'notes', fence, lock_id, session_id, subject, sequence FROM lock_grant; "
    "INSERT INTO draft_change SELECT project_id, 'notes', version_number, kind, media_type, before_sha256, "
    "after_sha256, size, lock_id, fence, session_id, subject FROM draft_change WHERE version_number = 2"
)


def test_a_change_that_was_added_later_is_found(evidence: Evidence) -> None:
    """Its session held the field when the version was saved, but the version's entry does not tell of it."""
    evidence.forge(ADDED)
    result = attribution("--json", *evidence.where)
    *found, summary = [json.loads(line) for line in result.stdout.splitlines()]
    assert result.exit_code == 1
    expected = [(2, "notes", "the log does not tell of it")]
    assert [(row["version_number"], row["field"], row["why"]) for row in found] == expected
    assert summary == {"changes": 4, "unattributed": 1}


def test_a_change_that_is_missing_is_shown_as_the_log_tells_of_it(evidence: Evidence) -> None:
    """Whose it was, and under which token, though no row says so any more."""
    evidence.forge("DELETE FROM draft_change; DELETE FROM lock_grant; DELETE FROM draft")
    result = attribution("--json", *evidence.where)
    *found, summary = [json.loads(line) for line in result.stdout.splitlines()]
    told = [(row["version_number"], row["fencing_token"], row["subject"], row["field"]) for row in found]
    assert told == [(number, number, "alice", "system_prompt") for number in (1, 2, 3)]
    assert all(len(row["session_id"]) == 36 for row in found)
    assert summary == {"changes": 0, "unattributed": 3}


def test_people_read_a_line_for_what_was_forged(evidence: Evidence, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who is said to have written what, and why that cannot be; with whole ids, however narrow the terminal is."""
    monkeypatch.setenv("COLUMNS", "80")
    evidence.forge(FORGERIES["another author of the change"][0])
    [row, _] = [json.loads(line) for line in attribution("--json", *evidence.where).stdout.splitlines()]
    result = attribution(*evidence.where)
    assert result.exit_code == 1
    where = f"{row['project_id']} system_prompt version 2, token 2, by mallory in session {row['session_id']}"
    assert result.stdout.splitlines() == [
        f"{where}: its token was granted to somebody else",
        "not attributed 1 change cannot be attributed; the database has 3",
    ]


@pytest.mark.parametrize(
    ("changes", "unattributed", "said"),
    [
        (0, 0, "attributed nothing: no change is saved"),
        (1, 0, "attributed the one saved change belongs to one holder of its lock"),
        (35, 6, "not attributed 6 changes cannot be attributed; the database has 35"),
        (0, 3, "not attributed 3 changes cannot be attributed; the database has 0"),
    ],
)
def test_how_many_there_were_is_said_last(
    changes: int, unattributed: int, said: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Of one change and of none as well."""
    row = Unattributed("p", "f", 1, 1, "s", "x", "why")
    answer = Attribution(changes, (row,) * unattributed)
    monkeypatch.setattr("foundry.process.attribution_of_directory", lambda _: answer)
    assert attribution("--data-dir", str(tmp_path)).stdout.splitlines()[-1] == said


def test_the_url_is_taken_from_the_environment(postgres: PostgresServer, database: str, directory: Path) -> None:
    """So that its password stands on no command line. A directory that is typed wins."""
    found = attribution("--json", FOUNDRY_DATABASE_URL=postgres.server_url(database))
    assert json.loads(found.stdout) == {"changes": 3, "unattributed": 0}
    typed = attribution("--json", "--data-dir", str(directory), FOUNDRY_DATABASE_URL="postgresql://127.0.0.1:1/x")
    assert json.loads(typed.stdout) == {"changes": 3, "unattributed": 0}


def test_an_auditor_needs_no_more_than_the_documents_say(postgres: PostgresServer, database: str) -> None:
    """A role of its own that reads four tables; the installation's secrets are in none of them."""
    text = (Path(__file__).parents[2] / "docs" / "operations.md").read_text("utf-8")
    grants = re.findall(r"^GRANT .* TO foundry_auditor;$", text, re.MULTILINE)
    role = f"auditor_{secrets.token_hex(8)}"
    rights = [
        grant.replace("foundry_auditor", role).replace("DATABASE foundry", f"DATABASE {database}") for grant in grants
    ]
    admin = postgres.admin_url(database)
    finished(execute(admin, f"CREATE ROLE {role} LOGIN", *rights))
    try:
        url = urlsplit(postgres.server_url(database))
        url = url._replace(netloc=f"{role}@{url.netloc.rpartition('@')[2]}")
        result = attribution("--json", FOUNDRY_DATABASE_URL=urlunsplit(url))
    finally:
        finished(execute(admin, f"DROP OWNED BY {role}", f"DROP ROLE {role}"))
    assert len(grants) == 3
    assert json.loads(result.stdout) == {"changes": 3, "unattributed": 0}, result.stderr


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


@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
def test_a_database_without_our_tables_is_no_sound_one(kind: str, postgres: PostgresServer, tmp_path: Path) -> None:
    """It is unreadable, not innocent; said in a sentence."""
    where = ("--database-url", postgres.owner_url("postgres"))
    if kind == "sqlite":
        (tmp_path / "foundry.sqlite3").touch()
        where = ("--data-dir", str(tmp_path))
    result = attribution("--json", *where)
    assert result.exit_code == 1
    assert refusal(result)["reason"] == "DATABASE_UNREADABLE"
    assert "it was never migrated" in refusal(result)["message"]
    assert "draft_change" not in result.output


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
