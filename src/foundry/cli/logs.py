"""``foundry logs``: the console of a run."""

from __future__ import annotations

from typing import Annotated

import typer

from foundry.cli import live
from foundry.cli.consoles import ConsolePrinter, ended
from foundry.cli.invocation import Invocation, invocation, project_id_of
from foundry.cli.options import ProjectArgument
from foundry.cli.output import Failure


def logs(
    ctx: typer.Context,
    *,
    project: ProjectArgument,
    run: Annotated[str, typer.Argument(metavar="[RUN]", show_default="the newest", help="Id of the run.")] = "",
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until the run is finished, or Ctrl-C.")] = False,
    from_: Annotated[int | None, typer.Option("--from", metavar="N", min=1, help="Begin at this line.")] = None,
    last: Annotated[int | None, typer.Option("--last", "-n", metavar="N", min=0, help="Only the last lines.")] = None,
    timestamps: Annotated[bool, typer.Option("--timestamps", help="Show when each line came out, UTC.")] = False,
) -> None:
    """Show the console of a run, live with --follow; over restarts of the server too.

    Lines go into a pipe byte for byte. On a terminal they keep their colours; other control characters are shown as
    escapes. With --json each line is an object.
    """
    if from_ is not None and last is not None:
        raise typer.BadParameter("--from and --last do not go together")
    call = invocation(ctx)
    project_id = project_id_of(call, project)
    printer = ConsolePrinter(call.output, timestamps=timestamps, at_once=follow)
    with call.refusals():
        live.run(_print(call, printer, project_id, run, from_line=from_, last_lines=last, follow=follow))


async def _print(
    call: Invocation,
    printer: ConsolePrinter,
    project_id: str,
    run_id: str,
    *,
    from_line: int | None,
    last_lines: int | None,
    follow: bool,
) -> None:
    """Print the lines of a run until there are no more."""
    async with call.live_foundry() as foundry:
        if not run_id:
            newest = await anext(foundry.runs.list(project_id, page_size=1), None)
            if newest is None:
                call.output.fail(
                    Failure(
                        "the project has no run yet",
                        reason="RESOURCE_NOT_FOUND",
                        status="NOT_FOUND",
                        metadata={"resource_type": "run", "resource_id": ""},
                    )
                )
            run_id = newest.run_id
        lines = foundry.runs.read_log(project_id, run_id, from_line=from_line, last_lines=last_lines, follow=follow)
        try:
            async for line in lines:
                printer.line(line)
        finally:
            printer.finish()
        if follow:
            run = await foundry.runs.get(project_id, run_id)
            call.output.note(f"run {run_id} {ended(run)}")
