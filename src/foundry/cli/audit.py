"""``foundry audit``: what an auditor asks of the database itself, without a server in between."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from foundry.cli.exit_codes import ExitCode
from foundry.cli.invocation import invocation
from foundry.cli.options import SEEN_BY_OTHERS, given, given_path
from foundry.cli.output import Failure
from foundry.cli.words import plain, plural

app = typer.Typer(no_args_is_help=True, help="Ask the database itself, without a server in between.")


@app.callback()
def audit() -> None:
    """Ask the database itself, without a server in between."""


@app.command()
def attribution(
    ctx: typer.Context,
    *,
    data_dir: Annotated[
        Path | None,
        typer.Option(parser=given_path, metavar="PATH", show_default=False, help="Directory of an embedded database."),
    ] = None,
    database_url: Annotated[
        str | None,
        typer.Option(
            envvar="FOUNDRY_DATABASE_URL",
            show_envvar=True,
            parser=given,
            metavar="URL",
            show_default=False,
            help="Or a Postgres database, as a role that may read its tables. " + SEEN_BY_OTHERS,
        ),
    ] = None,
) -> None:
    """List saved changes that cannot be attributed to one holder who held the lock when they were saved.

    In a sound database there is none, and the exit code is 0; it is 1 when there is one. Servers may run meanwhile.
    """
    from foundry.process import attribution_of
    from foundry.settings import StartupError

    output = invocation(ctx).output
    source = ctx.get_parameter_source("database_url")
    if data_dir is not None and source and source.name == "ENVIRONMENT":
        database_url = None  # what is typed wins
    if (data_dir is None) == (database_url is None):
        output.fail(Failure("give either --data-dir or --database-url", ExitCode.USAGE, "SETTINGS_INVALID"))
    try:
        found = attribution_of(data_dir, database_url)
    except StartupError as error:
        output.fail(Failure(str(error), reason="DATABASE_UNREADABLE"))
    if output.as_json:
        for row in found.unattributed:
            output.line(asdict(row))
        output.line({"changes": found.changes, "unattributed": len(found.unattributed)})
    else:
        # No table: it would cut or fold the ids, which have to be copied.
        for row in found.unattributed:
            saved = f"{row.project_id} {row.field} version {row.version_number}, token {row.fencing_token}"
            output.show(Text(plain(f"{saved}, by {row.subject} in session {row.session_id}: {row.why}")))
        output.show(_verdict(found.changes, len(found.unattributed)))
    if found.unattributed:
        raise typer.Exit(1)


def _verdict(changes: int, unattributed: int) -> Text:
    """How it ended; a change that is missing is not among those that the database has."""
    if unattributed:
        cannot = f"{plural(unattributed, 'change')} cannot be attributed; the database has {changes}"
        return Text.assemble(("not attributed ", "red"), cannot)
    match changes:
        case 0:
            said = "nothing: no change is saved"
        case 1:
            said = "the one saved change belongs to one holder of its lock"
        case _:
            said = f"each of {changes} saved changes belongs to one holder of its lock"
    return Text.assemble(("attributed ", "green"), said)
