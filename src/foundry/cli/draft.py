"""``foundry draft``: the immutable, numbered versions of a project."""

from __future__ import annotations

import sys
from enum import StrEnum
from itertools import islice
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer
from rich.console import Group, RenderableType
from rich.text import Text

from foundry.cli import diff, tables
from foundry.cli.changes import parse_changes
from foundry.cli.exit_codes import ExitCode
from foundry.cli.invocation import project_call
from foundry.cli.options import ProjectArgument, ReasonOption
from foundry.cli.output import Failure, Output
from foundry.cli.words import enum_word

if TYPE_CHECKING:
    from coreason.foundry.v1.draft_pb2 import CreateDraftResponse, Draft, FieldValue, RevertDraftResponse

app = typer.Typer(no_args_is_help=True, help="Versions of a project: save, look, compare, go back.")

BaseOption = Annotated[
    int | None,
    typer.Option(
        "--base", metavar="N", min=0, show_default="the newest", help="Version that the changes were made on."
    ),
]
MessageOption = Annotated[str, typer.Option("--message", "-m", metavar="TEXT", help="What the version is about.")]
FieldsOption = Annotated[
    list[str] | None, typer.Option("--field", metavar="FIELD", help="Only this field; repeatable.")
]


class Kind(StrEnum):
    """What a field holds."""

    TEXT = "text"
    JSON = "json"
    YAML = "yaml"
    CONVERSATION_LOG = "conversation_log"
    TEST_CORPUS = "test_corpus"
    BINARY = "binary"


_KIND_HELP = f"What the fields hold: {', '.join(Kind)}."


@app.command("save")
def save(
    ctx: typer.Context,
    *,
    project: ProjectArgument,
    changes: Annotated[
        list[str] | None,
        typer.Argument(metavar="FIELD=TEXT|@FILE|@-", help="New content: a text, a file, or standard input."),
    ] = None,
    remove: Annotated[list[str] | None, typer.Option(metavar="FIELD", help="Remove a field; repeatable.")] = None,
    message: MessageOption = "",
    base: BaseOption = None,
    kind: Annotated[Kind | None, typer.Option(metavar="KIND", show_default="by name", help=_KIND_HELP)] = None,
    validate_only: Annotated[bool, typer.Option("--validate-only", help="Check everything, save nothing.")] = False,
    reason: ReasonOption = "",
) -> None:
    """Save changes as the next version, if nobody else holds their locks."""
    wanted = parse_changes(changes or [], remove or [], kind.value if kind else "")
    with project_call(ctx, project) as (output, foundry, project_id):
        if base is None:
            base = foundry.projects.get(project_id).head_version
        saved = foundry.drafts.save(
            project_id, wanted, base_version=base, message=message, reason=reason, validate_only=validate_only
        )
    output.one(saved, lambda: _saved(saved, validate_only=validate_only))


@app.command("show")
def show(
    ctx: typer.Context,
    *,
    project: ProjectArgument,
    version: Annotated[
        int | None, typer.Argument(metavar="[VERSION]", min=1, show_default="the newest", help="Its number.")
    ] = None,
    field: FieldsOption = None,
    raw: Annotated[bool, typer.Option("--raw", help="Write the bytes of the one --field, and nothing else.")] = False,
) -> None:
    """Show a version and its fields; with --field their content."""
    fields = field or []
    if raw and len(fields) != 1:
        raise typer.BadParameter("--raw needs exactly one --field")
    with project_call(ctx, project) as (output, foundry, project_id):
        draft = foundry.drafts.get(project_id, version, fields=fields, omit_content=not fields and not output.as_json)
    found = {value.name: value for value in draft.fields}
    for name in fields:
        if name not in found:
            _fail_without_field(output, draft, name)
    if raw:
        sys.stdout.buffer.write(_bytes_of(found[fields[0]]))
        sys.stdout.buffer.flush()
    else:
        output.one(draft, lambda: _contents(found, fields) if fields else tables.draft(draft))


@app.command("diff")
def diff_(
    ctx: typer.Context,
    *,
    project: ProjectArgument,
    a: Annotated[int, typer.Argument(metavar="A", min=0, help="The old side; 0 is nothing.", show_default=False)],
    b: Annotated[int, typer.Argument(metavar="B", min=0, help="The new side.", show_default=False)],
    field: FieldsOption = None,
    context: Annotated[int, typer.Option(min=0, max=100, help="Unchanged lines around each change.")] = 3,
) -> None:
    """Compare two versions, field by field."""
    with project_call(ctx, project) as (output, foundry, project_id):
        found = foundry.drafts.compare(project_id, a, b, fields=field or [], context_lines=context)
    if output.as_json:
        for delta in found:
            output.line(delta)
    else:
        output.show(*diff.deltas(found) if found else [Text(f"versions {a} and {b} are the same", "dim")])


@app.command("revert")
def revert(
    ctx: typer.Context,
    *,
    project: ProjectArgument,
    version: Annotated[int, typer.Argument(metavar="VERSION", min=1, help="To go back to.", show_default=False)],
    field: FieldsOption = None,
    message: MessageOption = "",
    base: BaseOption = None,
    validate_only: Annotated[bool, typer.Option("--validate-only", help="Check everything, save nothing.")] = False,
    reason: ReasonOption = "",
) -> None:
    """Make a new version that says what an older one said; nothing in between is lost."""
    with project_call(ctx, project) as (output, foundry, project_id):
        if base is None:
            base = foundry.projects.get(project_id).head_version
        saved = foundry.drafts.revert(
            project_id,
            version,
            fields=field or [],
            base_version=base,
            message=message,
            reason=reason,
            validate_only=validate_only,
        )
    output.one(saved, lambda: _saved(saved, validate_only=validate_only))


@app.command("history")
def history(
    ctx: typer.Context,
    *,
    project: ProjectArgument,
    author: Annotated[str, typer.Option(metavar="SUBJECT", help="Only versions by this author.")] = "",
    field: Annotated[str, typer.Option(metavar="FIELD", help="Only versions that changed this field.")] = "",
    limit: Annotated[int, typer.Option(min=0, help="Show at most so many; 0 for all.")] = 50,
) -> None:
    """List the versions, newest first."""
    with project_call(ctx, project) as (output, foundry, project_id):
        found = foundry.drafts.list(project_id, author=author, field=field)
        output.many(islice(found, limit or None), tables.drafts, empty="There is no such version yet.")


def _saved(saved: CreateDraftResponse | RevertDraftResponse, *, validate_only: bool) -> RenderableType:
    """Return what a save did."""
    draft = saved.draft
    if enum_word(saved, "outcome") == "no_change":
        same = f"version {draft.version_number} says this already" if draft.version_number else "there is nothing yet"
        return Text(f"nothing to save: {same}", "yellow")
    if validate_only:
        return Text("this can be saved", "green")
    return Text.assemble(
        (f"version {draft.version_number}", "bold green"),
        f" saved: {tables.changed_fields(draft.changed_fields)}",
        (f", {tables.origin(draft)}" if draft.source_version else "", "yellow"),
    )


def _contents(found: dict[str, FieldValue], names: list[str]) -> RenderableType:
    """Return the content of some fields, with headings when there are several."""
    parts: list[RenderableType] = []
    for name in names:
        if len(names) > 1:
            parts.append(Text(name, "bold underline"))
        parts.append(diff.content(found[name]))
    return Group(*parts)


def _bytes_of(field: FieldValue) -> bytes:
    return field.data if field.WhichOneof("content") == "data" else field.text.encode()


def _fail_without_field(output: Output, draft: Draft, name: str) -> NoReturn:
    output.fail(
        Failure(
            f"version {draft.version_number} has no field {name!r}",
            ExitCode.ERROR,
            "RESOURCE_NOT_FOUND",
            "NOT_FOUND",
            {"resource_type": "field", "resource_id": name},
        )
    )
