"""``foundry audit``: what an auditor asks of the database itself, without a server in between."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from foundry.cli.exit_codes import ExitCode
from foundry.cli.invocation import invocation
from foundry.cli.output import Failure
from foundry.cli.tables import number, table
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
        Path | None, typer.Option(show_default=False, help="Directory of an embedded database.")
    ] = None,
    database_url: Annotated[
        str | None,
        typer.Option(
            metavar="URL", show_default=False, help="Or a Postgres database, as a role that may read its tables."
        ),
    ] = None,
) -> None:
    """List saved changes that cannot be attributed to one holder who held the lock when they were saved.

    In a sound database there is none, and the exit code is 0; it is 1 when there is one. Servers may run meanwhile.
    """
    from foundry.process import attribution_of
    from foundry.settings import StartupError

    output = invocation(ctx).output
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
    elif found.unattributed:
        shown = table("project", "field", number("version"), number("fence"), "by", "session", "why")
        for row in found.unattributed:
            version, fence = str(row.version_number), str(row.fencing_token)
            shown.add_row(row.project_id, plain(row.field), version, fence, plain(row.subject), row.session_id, row.why)
        output.show(shown)
    else:
        verdict = f"each of {plural(found.changes, 'saved change')} belongs to one holder of its lock"
        output.show(Text.assemble(("attributed ", "green"), verdict))
    if found.unattributed:
        raise typer.Exit(1)
