"""``foundry comment``: what people say about lines of a version."""

from __future__ import annotations

from itertools import islice
from typing import Annotated, TypeAlias

import typer
from rich.text import Text

from foundry.cli import threads
from foundry.cli.invocation import project_call
from foundry.cli.options import ProjectArgument, ReasonOption
from foundry.cli.places import AtOption, FieldOption, LinesOption, QuoteOption, RunOption, parse_place, text_of

app = typer.Typer(no_args_is_help=True, help="Comments on lines, fields, runs and the project.")

CommentArgument: TypeAlias = Annotated[
    str, typer.Argument(metavar="COMMENT", help="Id of the comment.", show_default=False)
]
TextArgument: TypeAlias = Annotated[
    str, typer.Argument(metavar="TEXT|-", help="What to say, or - for standard input.", show_default=False)
]
FoundAtOption: TypeAlias = Annotated[
    int | None,
    typer.Option("--at", metavar="VERSION", min=1, show_default="the newest", help="The version to find the lines in."),
]
EtagOption: TypeAlias = Annotated[
    str, typer.Option("--etag", metavar="TAG", help="Only if the comment still has this etag.")
]


@app.command("add")
def add(
    ctx: typer.Context,
    *,
    project: ProjectArgument,
    text: TextArgument,
    field: FieldOption = "",
    lines: LinesOption = "",
    at: AtOption = None,
    quote: QuoteOption = "",
    run: RunOption = "",
    reply_to: Annotated[str, typer.Option(metavar="COMMENT", help="The comment to reply to.")] = "",
) -> None:
    """Comment on lines of a field, on a field, on a run, or on the project; or reply."""
    place = parse_place(field, lines, at, quote)
    if reply_to and place.field:
        raise typer.BadParameter("a reply is where its thread is: leave --field away")
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
            reply_to=reply_to,
            run_id=run,
        )
    output.one(made, lambda: threads.comment(made))


@app.command("list")
def list_(
    ctx: typer.Context,
    *,
    project: ProjectArgument,
    field: Annotated[str, typer.Option(metavar="FIELD", help="Only comments on this field.")] = "",
    open_: Annotated[bool, typer.Option("--open", help="Only open threads, without their replies.")] = False,
    thread: Annotated[str, typer.Option(metavar="COMMENT", help="Only this thread, by its first comment.")] = "",
    author: Annotated[str, typer.Option(metavar="SUBJECT", help="Only comments by this author.")] = "",
    run: Annotated[str, typer.Option(metavar="RUN", help="Only comments about this run.")] = "",
    at: FoundAtOption = None,
    limit: Annotated[int, typer.Option(min=0, help="Show at most so many; 0 for all.")] = 0,
) -> None:
    """List the comments, thread by thread; with --json flat, oldest first."""
    from coreason.foundry.v1.comment_pb2 import COMMENT_STATE_OPEN

    with project_call(ctx, project) as (output, foundry, project_id):
        found = foundry.comments.list(
            project_id,
            at_version=at,
            thread_id=thread,
            state=COMMENT_STATE_OPEN if open_ else None,
            field=field,
            author=author,
            run_id=run,
        )
        output.many(islice(found, limit or None), threads.threads, empty="Nobody has said anything here.")


@app.command("show")
def show(ctx: typer.Context, *, project: ProjectArgument, comment: CommentArgument, at: FoundAtOption = None) -> None:
    """Show a comment, and the replies to it."""
    with project_call(ctx, project) as (output, foundry, project_id):
        found = foundry.comments.get(project_id, comment, at_version=at)
        replies = []
        if not output.as_json and not found.parent_comment_id:
            thread = foundry.comments.list(project_id, thread_id=found.comment_id, at_version=at)
            replies = [row for row in thread if row.parent_comment_id]
    output.one(found, lambda: threads.threads([found, *replies]))


@app.command("edit")
def edit(
    ctx: typer.Context,
    *,
    project: ProjectArgument,
    comment: CommentArgument,
    text: TextArgument,
    etag: EtagOption = "",
    reason: ReasonOption = "",
) -> None:
    """Change what a comment of yours says; earlier texts are kept."""
    said = text_of(text)
    with project_call(ctx, project) as (output, foundry, project_id):
        changed = foundry.comments.update(project_id, comment, text=said, etag=etag, reason=reason)
    output.one(changed, lambda: threads.comment(changed))


@app.command("delete")
def delete(
    ctx: typer.Context,
    *,
    project: ProjectArgument,
    comment: CommentArgument,
    etag: EtagOption = "",
    reason: ReasonOption = "",
) -> None:
    """Delete a comment of yours, or as an owner anyone's; a tombstone stays."""
    with project_call(ctx, project) as (output, foundry, project_id):
        gone = foundry.comments.delete(project_id, comment, etag=etag, reason=reason)
    output.one(gone, lambda: Text(f"comment {gone.comment_id} is deleted"))


@app.command("resolve")
def resolve(
    ctx: typer.Context,
    *,
    project: ProjectArgument,
    comment: CommentArgument,
    etag: EtagOption = "",
    reason: ReasonOption = "",
) -> None:
    """Close a thread by its first comment."""
    with project_call(ctx, project) as (output, foundry, project_id):
        closed = foundry.comments.resolve(project_id, comment, etag=etag, reason=reason)
    output.one(closed, lambda: threads.comment(closed))


@app.command("reopen")
def reopen(
    ctx: typer.Context,
    *,
    project: ProjectArgument,
    comment: CommentArgument,
    etag: EtagOption = "",
    reason: ReasonOption = "",
) -> None:
    """Open a closed thread again by its first comment."""
    with project_call(ctx, project) as (output, foundry, project_id):
        back = foundry.comments.reopen(project_id, comment, etag=etag, reason=reason)
    output.one(back, lambda: threads.comment(back))
