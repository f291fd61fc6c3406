"""``foundry migrate``: bring the schema of a shared database up to date."""

from __future__ import annotations

from typing import Annotated

import typer

from foundry.cli.invocation import invocation
from foundry.cli.options import SEEN_BY_OTHERS, given
from foundry.cli.output import Failure


def migrate(
    ctx: typer.Context,
    *,
    database_url: Annotated[
        str,
        typer.Option(
            envvar="FOUNDRY_OWNER_DATABASE_URL",
            show_envvar=True,
            parser=given,
            metavar="URL",
            show_default=False,
            help="Postgres, as the role that owns the tables: postgresql://OWNER:PASSWORD@HOST/DATABASE. "
            + SEEN_BY_OTHERS,
        ),
    ],
    server_role: Annotated[
        str,
        typer.Option(
            parser=given, metavar="ROLE", help="The role of the servers; it is given what they need and no more."
        ),
    ] = "foundry_server",
) -> None:
    """Make or update the tables of a Postgres database that servers share, and grant the servers' role its rights.

    Servers of this version and of the one before may run meanwhile. Several may migrate at once: one does it, the
    others wait and find nothing to do. The embedded database is brought up to date by `foundry serve` itself.
    """
    from foundry.process import migrate_database
    from foundry.settings import StartupError

    output = invocation(ctx).output
    try:
        before, after = migrate_database(database_url, server_role)
    except StartupError as error:
        output.fail(Failure(str(error), reason="MIGRATION_FAILED"))
    if output.as_json:
        output.line({"before": before, "after": after, "server_role": server_role})
    elif before == after:
        typer.echo(f"the schema is {after} already; rights of {server_role} granted anew")
    else:
        typer.echo(f"the schema went from {before or 'nothing'} to {after}; rights of {server_role} granted")
