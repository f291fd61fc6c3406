"""``foundry export``: a version for a test harness."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.text import Text

from foundry.cli.exit_codes import ExitCode
from foundry.cli.invocation import project_call
from foundry.cli.options import ProjectArgument
from foundry.cli.output import Failure, Output, to_json
from foundry.cli.tables import facts
from foundry.cli.words import shown, size

if TYPE_CHECKING:
    from coreason.foundry.v1.export_pb2 import AssayExport


def export(
    ctx: typer.Context,
    *,
    project: ProjectArgument,
    version: Annotated[
        int | None, typer.Option(metavar="N", min=1, show_default="the newest", help="The version.")
    ] = None,
    output_file: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", metavar="FILE", dir_okay=False, help="File to write instead of standard output."
        ),
    ] = None,
    scratchpad: Annotated[bool, typer.Option("--scratchpad", help="Put the scratchpad in as well.")] = False,
) -> None:
    """Export a version as the payload that a harness tests: JSON, the same bytes every time.

    With --json the whole answer is printed, with hash and manifest, the payload as base64; with --output as well, all
    but the payload.
    """
    with project_call(ctx, project) as (output, foundry, project_id):
        found = foundry.exports.for_assay(project_id, version, include_scratchpad=scratchpad)
    if output_file is not None:
        _write(output, output_file, found.payload)
        output.one(_about(found, output_file), lambda: _facts(found, output_file))
    elif output.as_json:
        output.line(found)
    else:
        sys.stdout.buffer.write(found.payload)
        if output.console.is_terminal:
            sys.stdout.buffer.write(b"\n")
        sys.stdout.flush()


def _write(output: Output, file: Path, payload: bytes) -> None:
    try:
        file.write_bytes(payload)
    except OSError as error:
        output.fail(Failure(f"{file} cannot be written: {error.strerror}", ExitCode.ERROR, "FILE_NOT_WRITTEN"))


def _about(found: AssayExport, file: Path) -> dict[str, Any]:
    """Everything but the payload."""
    fields = to_json(found)
    del fields["payload"]
    return {**fields, "file": str(file), "size": len(found.payload)}


def _facts(found: AssayExport, file: Path) -> Any:  # noqa: ANN401 - what rich can show
    return facts(
        [
            ("written", shown(f"{file}, {size(len(found.payload))}")),
            ("version", Text(str(found.version_number))),
            ("content", Text(found.content_sha256)),
            ("payload", Text(found.payload_sha256)),
        ]
    )
