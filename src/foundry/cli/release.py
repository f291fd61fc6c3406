"""``foundry freeze``, ``publish`` and ``revise``: the end of a project, its bundle, and what goes on from it."""

from __future__ import annotations

import shlex
import sys
import tarfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeAlias

import typer
from rich.console import Group, RenderableType
from rich.text import Text

from foundry.cli import tables
from foundry.cli.exit_codes import ExitCode
from foundry.cli.invocation import project_call
from foundry.cli.options import ProjectArgument, ReasonOption
from foundry.cli.output import Failure, Output, to_json
from foundry.cli.tables import facts
from foundry.cli.words import moment, name_of, person, plain, shown, size

if TYPE_CHECKING:
    from coreason.foundry.v1.export_pb2 import Freeze, RequestFreezeResponse
    from foundry.client import SavedBundle, SyncFoundry

_NAME_HELP = "Name of the new project."

OutOption: TypeAlias = Annotated[
    Path,
    typer.Option("--output", "-o", metavar="DIR|FILE", show_default="here", help="Where the bundle is to be written."),
]


def freeze(
    ctx: typer.Context,
    *,
    project: ProjectArgument,
    version: Annotated[
        int, typer.Option(metavar="N", min=1, help="The version that is released; the newest one.", show_default=False)
    ],
    reason: ReasonOption = "",
) -> None:
    """Freeze a project at its newest version, for ever: nothing of it changes any more."""
    with project_call(ctx, project) as (output, foundry, project_id), _blockers(output):
        frozen = foundry.exports.freeze(project_id, version, reason=reason)
    output.one(frozen, lambda: _frozen(frozen))


def publish(
    ctx: typer.Context,
    *,
    project: ProjectArgument,
    out: OutOption = Path(),
    version: Annotated[
        int | None,
        typer.Option(metavar="N", min=1, help="The version to freeze first, if that has not happened yet."),
    ] = None,
    reason: ReasonOption = "",
) -> None:
    """Write the final bundle of a project, and freeze the project before if need be.

    It is there when it is whole, and not before.
    """
    with project_call(ctx, project) as (output, foundry, project_id):
        with _blockers(output):
            _freeze_before(output, foundry, project_id, version, reason)
        with _progress(output) as progress:
            try:
                saved = foundry.exports.save_bundle(project_id, out, progress=progress)
            except OSError as error:
                output.fail(Failure(f"{out} cannot be written: {error.strerror}", ExitCode.ERROR, "FILE_NOT_WRITTEN"))
    output.one(
        {"file": str(saved.path), "directory": _directory(saved.path), "bundle": to_json(saved.bundle)},
        lambda: _published(saved),
    )


def revise(
    ctx: typer.Context,
    *,
    project: ProjectArgument,
    name: Annotated[str, typer.Option(metavar="TEXT", show_default="the same", help=_NAME_HELP)] = "",
    reason: ReasonOption = "",
) -> None:
    """Go on from a frozen project in a new one, whose version 1 is what was released."""
    with project_call(ctx, project) as (output, foundry, project_id):
        started = foundry.exports.start_revision(project_id, name=name, reason=reason)
    output.one(started, lambda: Group(Text("created", "green"), tables.project(started)))


def _freeze_before(output: Output, foundry: SyncFoundry, project_id: str, version: int | None, reason: str) -> None:
    """Freeze a project that is not frozen; one that is must be so at the version that was named, if one was."""
    from foundry.client import NotFound

    try:
        found = foundry.exports.get_freeze(project_id)
    except NotFound:
        head = foundry.projects.get(project_id).head_version
        foundry.exports.freeze(project_id, version or _ask_for_version(output, head), reason=reason)
        return
    if version not in {None, found.version_number}:
        output.fail(
            Failure(
                f"the project is frozen at version {found.version_number}, not at {version}",
                ExitCode.STALE,
                "VERSION_MISMATCH",
                "ABORTED",
                {"expected_version": str(version), "head_version": str(found.version_number)},
            )
        )


def _ask_for_version(output: Output, head: int) -> int:
    """Ask a person which version to freeze; scripts have to say so before."""
    if output.as_json or not sys.stdin.isatty():
        output.fail(
            Failure(
                "the project is not frozen yet: name the --version to freeze, for ever",
                ExitCode.USAGE,
                "NOT_FROZEN",
                "FAILED_PRECONDITION",
                {"head_version": str(head)},
            )
        )
    output.note(f"The project is not frozen yet, and freezing is for ever. Its newest version is {head}.")
    answer: int = typer.prompt("Version to freeze", type=int, err=True)
    return answer


@contextmanager
def _blockers(output: Output) -> Iterator[None]:
    """Tell people everything that stands in the way of a freeze, before the refusal ends the command."""
    from foundry.client import FreezeBlocked

    try:
        yield
    except FreezeBlocked as blocked:
        if len(blocked.blockers) > 1:  # the refusal names the first
            for blocker in blocked.blockers:
                output.note(f"- {blocker.description}")
        raise


@contextmanager
def _progress(output: Output) -> Iterator[Callable[[int, int], None] | None]:
    """Show on a terminal how much of a bundle has come; yields what is to be told, or None when nobody looks."""
    if output.as_json or not output.errors.is_terminal:
        yield None
        return
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

    columns = (TextColumn("bundle"), BarColumn(), DownloadColumn(binary_units=True), TransferSpeedColumn())
    with Progress(*columns, console=output.errors, transient=True) as bar:
        task = bar.add_task("bundle")
        yield lambda done, total: bar.update(task, completed=done, total=total)


def _frozen(it: RequestFreezeResponse) -> RenderableType:
    """Return what a freeze did."""
    released = [
        Text(f"{plain(lock.field)} was taken from {name_of(lock.holder)}", "yellow") for lock in it.released_locks
    ]
    return Group(Text("frozen", "bold cyan"), _release(it.freeze), *released)


def _release(it: Freeze) -> RenderableType:
    """Return the facts of a release."""
    return facts(
        [
            ("project", Text(it.project_id)),
            ("version", Text(str(it.version_number))),
            ("frozen", Text.assemble(moment(it.create_time), " by ", person(it.requester))),
            ("because", shown(it.reason)),
            ("content", Text(it.content_sha256)),
            ("fingerprint", Text(it.fingerprint, "bold")),
        ]
    )


def _published(saved: SavedBundle) -> RenderableType:
    """Return what was written, and how to check it."""
    file = shlex.quote(str(saved.path))
    directory = shlex.quote(_directory(saved.path))
    return Group(
        Text.assemble(
            ("published", "bold green"), "  ", plain(str(saved.path)), (f", {size(saved.bundle.size)}", "dim")
        ),
        _release(saved.bundle.freeze),
        facts([("manifest", Text(saved.bundle.manifest_sha256, "bold"))]),
        Text(),
        Text("to check it", "dim"),
        Text(f"  tar xf {plain(file)}"),
        Text(f"  cd {plain(directory)} && sha256sum -c SHA256SUMS"),
        Text("  sha256sum MANIFEST.json"),
    )


def _directory(bundle: Path) -> str:
    """Return the one directory that everything in a bundle is below."""
    with tarfile.open(bundle) as archive:
        first = archive.next()
    return first.name.partition("/")[0] if first else ""
