"""``foundry project member``: who may do what in a project."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer
from rich.text import Text

from foundry.cli import tables
from foundry.cli.invocation import project_call
from foundry.cli.options import ProjectArgument, ReasonOption
from foundry.cli.words import enum_word, plain

app = typer.Typer(no_args_is_help=True, help="Members of a project.")

SubjectArgument = Annotated[str, typer.Argument(metavar="SUBJECT", help="Who, as tokens name them.")]


class Role(StrEnum):
    """What a member may do."""

    VIEWER = "viewer"
    EDITOR = "editor"
    OWNER = "owner"
    AUDITOR = "auditor"


@app.command("set")
def set_(
    ctx: typer.Context,
    *,
    project: ProjectArgument,
    subject: SubjectArgument,
    role: Annotated[Role, typer.Argument(help="What they may do.", case_sensitive=False)],
    name: Annotated[str, typer.Option(help="Name to show.")] = "",
    reason: ReasonOption = "",
) -> None:
    """Add a member, or change a member's role."""
    from coreason.foundry.v1 import project_pb2

    with project_call(ctx, project) as (output, foundry, project_id):
        member = foundry.projects.set_member(
            project_id, subject, project_pb2.Role.Value(f"ROLE_{role.name}"), display_name=name, reason=reason
        )
    output.one(
        member,
        lambda: Text.assemble((plain(member.subject), "bold"), f" is now {_with_article(enum_word(member, 'role'))}"),
    )


@app.command("remove")
def remove(
    ctx: typer.Context, *, project: ProjectArgument, subject: SubjectArgument, reason: ReasonOption = ""
) -> None:
    """Remove a member: their sessions end and their locks are released."""
    with project_call(ctx, project) as (output, foundry, project_id):
        foundry.projects.remove_member(project_id, subject, reason=reason)
    output.one(
        {"project_id": project_id, "subject": subject, "removed": True},
        lambda: Text.assemble((plain(subject), "bold"), " is no longer a member"),
    )


@app.command("list")
def list_(ctx: typer.Context, project: ProjectArgument) -> None:
    """List the members, by subject."""
    with project_call(ctx, project) as (output, foundry, project_id):
        output.many(foundry.projects.members(project_id), tables.members, empty="There are no members.")


def _with_article(noun: str) -> str:
    return f"an {noun}" if noun[:1] in "aeiou" else f"a {noun}"
