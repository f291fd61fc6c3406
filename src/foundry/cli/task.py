"""``foundry task``: the checklist of a project."""

from __future__ import annotations

from typing import Annotated, TypeAlias

import typer

from foundry.cli import threads
from foundry.cli.comment import EtagOption, TextArgument
from foundry.cli.invocation import project_call
from foundry.cli.options import ProjectArgument, ReasonOption
from foundry.cli.places import AtOption, FieldOption, LinesOption, QuoteOption, RunOption, parse_place, text_of

app = typer.Typer(no_args_is_help=True, help="Tasks: comments that are something to do.")

TaskArgument: TypeAlias = Annotated[str, typer.Argument(metavar="TASK", help="Id of the task.", show_default=False)]


@app.command("add")
def add(
    ctx: typer.Context,
    *,
    project: ProjectArgument,
    text: TextArgument,
    assign: Annotated[str, typer.Option(metavar="SUBJECT", help="The member who is to do it.")] = "",
    field: FieldOption = "",
    lines: LinesOption = "",
    at: AtOption = None,
    quote: QuoteOption = "",
    run: RunOption = "",
) -> None:
    """Put something to do on the checklist."""
    place = parse_place(field, lines, at, quote)
    said = text_of(text)
    with project_call(ctx, project) as (output, foundry, project_id):
        made = foundry.comments.create(
            project_id,
            said,
            field=place.field,
            version=place.version_in(foundry, project_id),
            start_line=place.start_line,
            end_line=place.end_line,
            quote=place.quote,
            task=True,
            assignee=assign,
            run_id=run,
        )
    output.one(made, lambda: threads.comment(made))


@app.command("list")
def list_(
    ctx: typer.Context,
    *,
    project: ProjectArgument,
    mine: Annotated[bool, typer.Option("--mine", help="Only your tasks.")] = False,
    assignee: Annotated[str, typer.Option(metavar="SUBJECT", help="Only the tasks of this member.")] = "",
    open_: Annotated[bool, typer.Option("--open", help="Only what is still to do.")] = False,
    done: Annotated[bool, typer.Option("--done", help="Only what is done.")] = False,
    field: Annotated[str, typer.Option(metavar="FIELD", help="Only tasks about this field.")] = "",
) -> None:
    """Show the checklist, oldest first."""
    from coreason.foundry.v1.comment_pb2 import COMMENT_KIND_TASK, COMMENT_STATE_DONE, COMMENT_STATE_OPEN

    if mine and assignee:
        raise typer.BadParameter("--mine and --assignee do not go together")
    if open_ and done:
        raise typer.BadParameter("--open and --done do not go together")
    state = COMMENT_STATE_OPEN if open_ else COMMENT_STATE_DONE if done else None
    with project_call(ctx, project) as (output, foundry, project_id):
        if mine:
            assignee = foundry.projects.membership(project_id).subject
        found = foundry.comments.list(project_id, kind=COMMENT_KIND_TASK, state=state, assignee=assignee, field=field)
        output.many(found, threads.checklist, empty="There is nothing to do.")


@app.command("done")
def done(
    ctx: typer.Context,
    *,
    project: ProjectArgument,
    task: TaskArgument,
    etag: EtagOption = "",
    reason: ReasonOption = "",
) -> None:
    """Tick a task off."""
    with project_call(ctx, project) as (output, foundry, project_id):
        ticked = foundry.comments.resolve(project_id, task, etag=etag, reason=reason)
    output.one(ticked, lambda: threads.comment(ticked))


@app.command("reopen")
def reopen(
    ctx: typer.Context,
    *,
    project: ProjectArgument,
    task: TaskArgument,
    etag: EtagOption = "",
    reason: ReasonOption = "",
) -> None:
    """Put a task that was done back on the list."""
    with project_call(ctx, project) as (output, foundry, project_id):
        back = foundry.comments.reopen(project_id, task, etag=etag, reason=reason)
    output.one(back, lambda: threads.comment(back))


@app.command("assign")
def assign(
    ctx: typer.Context,
    *,
    project: ProjectArgument,
    task: TaskArgument,
    subject: Annotated[str, typer.Argument(metavar="[SUBJECT]", help="The member; leave away for nobody.")] = "",
    etag: EtagOption = "",
    reason: ReasonOption = "",
) -> None:
    """Give a task to a member, or to nobody."""
    with project_call(ctx, project) as (output, foundry, project_id):
        given = foundry.comments.update(project_id, task, assignee=subject, etag=etag, reason=reason)
    output.one(given, lambda: threads.comment(given))
