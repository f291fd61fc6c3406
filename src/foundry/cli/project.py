"""``foundry project``: containers of a team's fields, with members and policy."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer
from rich.console import Group
from rich.text import Text

from foundry.cli import member, tables
from foundry.cli.invocation import invocation, project_call
from foundry.cli.options import EtagOption, ProjectArgument, ReasonOption, parse_pairs
from foundry.cli.policy import parse_rules

app = typer.Typer(no_args_is_help=True, help="Projects, their members and their policy.")
app.add_typer(member.app, name="member")

_LABEL_HELP = "Label; repeatable."
_RULE_HELP = (
    "Rule of the policy, repeatable: agent_access=deny|suggest_only|edit, require_reason=true, require_evidence=true,"
    " min_approvals=N, viewers_may_comment=true, log_retention_days=N."
)


class State(StrEnum):
    """Where a project's content stands."""

    ACTIVE = "active"
    IN_REVIEW = "in_review"
    FROZEN = "frozen"


@app.command("create")
def create(
    ctx: typer.Context,
    *,
    name: Annotated[str, typer.Argument(help="Name for people.", show_default=False)],
    description: Annotated[str, typer.Option(metavar="TEXT", help="What it is about.")] = "",
    label: Annotated[list[str] | None, typer.Option(metavar="KEY=VALUE", help=_LABEL_HELP)] = None,
    rule: Annotated[list[str] | None, typer.Option(metavar="RULE=VALUE", help=_RULE_HELP)] = None,
) -> None:
    """Create a project; you become its first owner."""
    labels = parse_pairs(label, "--label")
    policy = parse_rules(rule) if rule else None
    call = invocation(ctx)
    with call.foundry() as foundry:
        created = foundry.projects.create(name, description=description, labels=labels, policy=policy)
    call.output.one(created, lambda: Group(Text("created", "green"), tables.project(created)))


@app.command("get")
def get(ctx: typer.Context, project: ProjectArgument) -> None:
    """Show a project and your role in it."""
    with project_call(ctx, project) as (output, foundry, project_id):
        found = foundry.projects.get(project_id)
        membership = foundry.projects.membership(project_id)
    output.one(found, lambda: tables.project(found, membership))


@app.command("list")
def list_(
    ctx: typer.Context,
    *,
    name: Annotated[str, typer.Option(metavar="TEXT", help="Only projects whose name contains this.")] = "",
    label: Annotated[list[str] | None, typer.Option(metavar="KEY=VALUE", help="Only with this label.")] = None,
    state: Annotated[State | None, typer.Option(help="Only projects in this state.")] = None,
    archived: Annotated[bool, typer.Option("--archived", help="Archived projects too.")] = False,
) -> None:
    """List the projects that you are a member of, oldest first."""
    from coreason.foundry.v1.project_pb2 import ProjectState

    call = invocation(ctx)
    with call.foundry() as foundry:
        found = foundry.projects.list(
            name_contains=name,
            labels=parse_pairs(label, "--label"),
            state=ProjectState.Value(f"PROJECT_STATE_{state.name}") if state else None,
            show_archived=archived,
        )
        call.output.many(found, tables.projects, empty="You are a member of no such project.")


@app.command("update")
def update(
    ctx: typer.Context,
    *,
    project: ProjectArgument,
    name: Annotated[str | None, typer.Option(help="New name.", show_default=False)] = None,
    description: Annotated[str | None, typer.Option(metavar="TEXT", help="New text.", show_default=False)] = None,
    label: Annotated[list[str] | None, typer.Option(metavar="KEY=VALUE", help=f"Set a label. {_LABEL_HELP}")] = None,
    remove_label: Annotated[list[str] | None, typer.Option(metavar="KEY", help="Remove a label; repeatable.")] = None,
    rule: Annotated[list[str] | None, typer.Option(metavar="RULE=VALUE", help=_RULE_HELP)] = None,
    etag: EtagOption = "",
    reason: ReasonOption = "",
) -> None:
    """Change name, description, labels or policy; what you do not name stays."""
    if name is None and description is None and not (label or remove_label or rule):
        raise typer.BadParameter("name at least one thing to change")
    added = parse_pairs(label, "--label")
    parse_rules(rule or [])  # refuses a wrong one before anything is called
    with project_call(ctx, project) as (output, foundry, project_id):
        before = foundry.projects.get(project_id)
        kept = {key: value for key, value in before.labels.items() if key not in (remove_label or ())}
        changed = foundry.projects.update(
            project_id,
            name=name,
            description=description,
            labels=kept | added if label or remove_label else None,
            policy=parse_rules(rule, before.policy) if rule else None,
            etag=etag or before.etag,  # labels and rules are sent whole: nobody's change in between may be undone
            reason=reason,
        )
    output.one(changed, lambda: tables.project(changed))


@app.command("archive")
def archive(ctx: typer.Context, *, project: ProjectArgument, etag: EtagOption = "", reason: ReasonOption = "") -> None:
    """Make a project read-only and hide it from lists."""
    with project_call(ctx, project) as (output, foundry, project_id):
        archived = foundry.projects.archive(project_id, etag=etag, reason=reason)
    output.one(archived, lambda: tables.project(archived))


@app.command("unarchive")
def unarchive(
    ctx: typer.Context, *, project: ProjectArgument, etag: EtagOption = "", reason: ReasonOption = ""
) -> None:
    """Take a project out of the archive."""
    with project_call(ctx, project) as (output, foundry, project_id):
        back = foundry.projects.unarchive(project_id, etag=etag, reason=reason)
    output.one(back, lambda: tables.project(back))
