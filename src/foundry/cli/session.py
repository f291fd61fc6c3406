"""``foundry session``: who is connected."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.text import Text

from foundry.cli import tables
from foundry.cli.invocation import project_call
from foundry.cli.options import ProjectArgument, ReasonOption

app = typer.Typer(no_args_is_help=True, help="Open sessions of a project.")


@app.command("list")
def list_(ctx: typer.Context, project: ProjectArgument) -> None:
    """List the open sessions, oldest first."""
    with project_call(ctx, project) as (output, foundry, project_id):
        output.many(foundry.sessions.list(project_id), tables.sessions, empty="Nobody is here.")


@app.command("end")
def end(
    ctx: typer.Context,
    *,
    project: ProjectArgument,
    session: Annotated[str, typer.Argument(metavar="SESSION", help="Id of the session.", show_default=False)],
    reason: ReasonOption = "",
) -> None:
    """End a session and release its locks: your own, or as an owner anyone's."""
    with project_call(ctx, project) as (output, foundry, project_id):
        foundry.sessions.end(project_id, session, reason=reason)
    output.one(
        {"project_id": project_id, "session_id": session, "ended": True},
        lambda: Text.assemble("session ", (session, "bold"), " has ended"),
    )
