"""`foundry migrate`, as the owner of a database uses it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from typer.testing import CliRunner, Result

from foundry.cli import app, to_front
from foundry.store.postgres.schema import REVISION
from tests.servers.postgres import execute, finished

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.servers.postgres import PostgresServer

PASSWORD = "correct-horse-battery-staple"


@pytest.fixture
def empty(postgres: PostgresServer) -> Iterator[str]:
    """URL of a database without a schema, for its owner."""
    name = postgres.create_database(empty=True)
    yield postgres.owner_url(name)
    postgres.drop_database(name)


def migrate(*args: str, **env: str) -> Result:
    """Run the command."""
    return CliRunner().invoke(app, to_front(("migrate", *args)), env={"FOUNDRY_OWNER_DATABASE_URL": None, **env})


def refusal(result: Result) -> Any:
    """What a failed command with --json says; nothing on standard output."""
    assert result.stdout == ""
    return json.loads(result.stderr)


def test_it_says_from_where_to_where_the_schema_went(postgres: PostgresServer, empty: str) -> None:
    """And when there was nothing to do, that it granted the rights anew."""
    options = ("--database-url", empty, "--server-role", postgres.server)
    first, again = migrate(*options), migrate(*options)
    assert (first.exit_code, again.exit_code) == (0, 0)
    assert first.stdout == f"the schema went from nothing to {REVISION}; rights of {postgres.server} granted\n"
    assert again.stdout == f"the schema is {REVISION} already; rights of {postgres.server} granted anew\n"
    assert first.stderr == again.stderr == ""


def test_scripts_read_one_line_of_json(postgres: PostgresServer, empty: str) -> None:
    """The revisions before and after; before is empty for a new database."""
    options = ("--json", "--server-role", postgres.server)
    first = migrate(*options, FOUNDRY_OWNER_DATABASE_URL=empty)
    again = migrate(*options, FOUNDRY_OWNER_DATABASE_URL=empty)
    told = {"after": REVISION, "server_role": postgres.server}
    assert json.loads(first.stdout) == {"before": "", **told}
    assert json.loads(again.stdout) == {"before": REVISION, **told}


def test_without_a_url_it_says_what_to_give() -> None:
    """The command line is wrong; nothing was tried."""
    result = migrate()
    assert result.exit_code == 2
    assert "--database-url" in result.stderr


def test_the_servers_role_must_be_there(empty: str) -> None:
    """It is named, with what to do."""
    result = migrate("--json", "--database-url", empty, "--server-role", "nobody_here")
    assert result.exit_code == 1
    assert refusal(result)["reason"] == "MIGRATION_FAILED"
    assert refusal(result)["message"].startswith("there is no role nobody_here for the server; create it")


def test_who_migrates_does_not_serve(postgres: PostgresServer, empty: str) -> None:
    """A server that owned its tables could switch their guards off."""
    result = migrate("--database-url", empty, "--server-role", postgres.owner)
    assert result.exit_code == 1
    assert "the server needs a role of its own" in result.stderr


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://owner:{password}@127.0.0.1:1/foundry",
        "postgresql://owner:{password}@127.0.0.1:port/foundry",
        "postgresql://owner:{password}@[::1/foundry",
        "postgresql://owner:{password}@127.0.0.1:1/foundry?sslmode=nonsense",
        "mysql://owner:{password}@127.0.0.1:1/foundry",
        "owner:{password}@127.0.0.1/foundry",
        "postgresql://owner@127.0.0.1:1/foundry?password={password}&connect_timeout=soon",
        "postgresql://owner:{password}/x@127.0.0.1:1/foundry",
        "postgresql://owner:{password}#x@127.0.0.1:1/foundry",
        "postgresql://owner:{password}?x@127.0.0.1:1/foundry",
        "postgresql://owner:x?{password}@127.0.0.1:1/foundry",
        "postgresql://owner:{password}@x@127.0.0.1:1/foundry",
        "postgresql://owner:x@{password}@127.0.0.1:1/foundry",
        "postgresql://owner:{password}@127.0.0.1:99999/foundry",
    ],
)
@pytest.mark.parametrize("options", [(), ("--json",)], ids=["people", "scripts"])
def test_a_password_is_never_shown(url: str, options: tuple[str, ...]) -> None:
    """Whatever is wrong with the URL, it ends in a sentence, without a traceback and without the URL's secrets."""
    result = migrate(*options, "--database-url", url.format(password=PASSWORD))
    assert result.exit_code == 1
    assert "cannot be migrated" in result.stderr
    assert "Traceback" not in result.stderr
    assert PASSWORD not in result.output


def test_a_database_without_a_guard_is_no_success(postgres: PostgresServer, empty: str) -> None:
    """A server would refuse it; so does who migrates, and says what to do."""
    options = ("--database-url", empty, "--server-role", postgres.server)
    assert migrate(*options).exit_code == 0
    finished(execute(empty, "DROP TRIGGER log_entry_no_update ON log_entry"))
    refused = migrate("--json", *options)
    assert refused.exit_code == 1
    said = refusal(refused)["message"]
    assert said.startswith("the guards log_entry_no_update of the database are missing or altered")
    assert said.endswith("make them again, see docs/operations.md")


def test_the_help_shows_no_value_of_the_environment() -> None:
    """Its variable is named, and what is in it is not."""
    url = f"postgresql://owner:{PASSWORD}@127.0.0.1/foundry"
    result = migrate("--help", FOUNDRY_OWNER_DATABASE_URL=url)
    assert result.exit_code == 0
    assert PASSWORD not in result.output
