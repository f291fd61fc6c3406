"""``foundry run``: tests of a version, with their console for everybody to watch."""

from __future__ import annotations

from enum import StrEnum
from itertools import islice
from typing import TYPE_CHECKING, Annotated, Final, TypeAlias

import typer
from rich.text import Text

from foundry.cli import consoles, live, run_exec
from foundry.cli.invocation import Invocation, invocation, project_call, project_id_of
from foundry.cli.options import ProjectArgument, ReasonOption, parse_pairs
from foundry.cli.pipes import LineCutter, stdin_chunks
from foundry.cli.words import line_count

if TYPE_CHECKING:
    from coreason.foundry.v1.run_pb2 import RunResult

app = typer.Typer(no_args_is_help=True, help="Runs: tests of a version, with their console.")
app.command("exec")(run_exec.exec_)

RunArgument: TypeAlias = Annotated[str, typer.Argument(metavar="RUN", help="Id of the run.", show_default=False)]
VersionOption: TypeAlias = Annotated[
    int | None, typer.Option("--version", metavar="N", min=1, show_default="the newest", help="The version to test.")
]

_VERDICTS: Final = {"pass": True, "passed": True, "fail": False, "failed": False}


class Stream(StrEnum):
    """Where a line came out."""

    STDOUT = "stdout"
    STDERR = "stderr"
    EVENT = "event"


class State(StrEnum):
    """Where a run stands."""

    RUNNING = "running"
    PASSED = "passed"
    FAILED = "failed"
    ERRORED = "errored"
    CANCELLED = "cancelled"


@app.command("start")
def start(
    ctx: typer.Context,
    *,
    project: ProjectArgument,
    version: VersionOption = None,
    harness: Annotated[str, typer.Option(metavar="NAME", help="What runs it.")] = "",
    label: Annotated[list[str] | None, typer.Option(metavar="KEY=VALUE", help="Label; repeatable.")] = None,
    attempt: Annotated[int, typer.Option(metavar="N", min=1, help="Which attempt it is.")] = 1,
    sha256: Annotated[str, typer.Option(metavar="HASH", help="Only if the version has this content.")] = "",
) -> None:
    """Start a run; prints its id."""
    labels = parse_pairs(label, "--label")
    with project_call(ctx, project) as (output, foundry, project_id):
        run = foundry.runs.start(
            project_id, version, content_sha256=sha256, harness=harness, labels=labels, attempt=attempt
        )
    output.one(run, lambda: Text(run.run_id))
    output.note(f"a run of version {run.version_number} was started")


@app.command("log")
def log(
    ctx: typer.Context,
    *,
    project: ProjectArgument,
    run: RunArgument,
    stream: Annotated[Stream, typer.Option(metavar="STREAM", help=f"Where it came out: {', '.join(Stream)}.")] = (
        Stream.STDOUT
    ),
    stderr: Annotated[bool, typer.Option("--stderr", help="The same as --stream stderr.")] = False,
) -> None:
    """Append standard input to the console of a run, line by line as it comes.

    What is no UTF-8 is written as backslash escapes. The run goes on when standard input ends: `run finish` ends it.
    """
    call = invocation(ctx)
    project_id = project_id_of(call, project)
    counted = _Counted()
    with call.refusals():
        live.run(_log(call, project_id, run, Stream.STDERR if stderr else stream, counted))
    call.output.one(
        {"run_id": run, "appended": counted.appended, "line_count": counted.line_count},
        lambda: Text(f"{line_count(counted.appended)} appended, {counted.line_count:,} in all", "dim"),
    )


class _Counted:
    """How much was appended.

    Attributes:
        appended: Lines that this command appended.
        line_count: Lines of the console.
    """

    appended = 0
    line_count = 0


async def _log(call: Invocation, project_id: str, run_id: str, stream: Stream, counted: _Counted) -> None:
    from coreason.foundry.v1 import run_pb2

    where = run_pb2.LogStream.Value(f"LOG_STREAM_{stream.name}")
    cutter = LineCutter()
    async with call.live_foundry() as foundry:
        console = foundry.runs.append_log(project_id, run_id)
        first = 1
        try:
            async with console:
                first = console.next_line
                async for data in stdin_chunks():
                    if lines := cutter.feed(data):
                        await console.write(b"\n".join([*lines, b""]), stream=where)
                for line in cutter.end():
                    await console.write(line, stream=where)
        finally:
            counted.appended = max(0, console.stored_lines - first + 1)
            counted.line_count = console.stored_lines


@app.command("finish")
def finish(
    ctx: typer.Context,
    *,
    project: ProjectArgument,
    run: RunArgument,
    passed: Annotated[bool, typer.Option("--passed", help="It came to a good end.")] = False,
    failed: Annotated[bool, typer.Option("--failed", help="What was tested failed.")] = False,
    errored: Annotated[bool, typer.Option("--errored", help="The test itself failed.")] = False,
    result: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=VALUE:pass|fail", help="What a test came to; the value may be empty; repeatable."),
    ] = None,
    lines: Annotated[
        int | None,
        typer.Option(metavar="N", min=0, show_default="what is there", help="Only if its console has so many lines."),
    ] = None,
) -> None:
    """Finish a run of yours: seal its console."""
    from coreason.foundry.v1 import run_pb2

    chosen = [
        state for state, wanted in ((State.PASSED, passed), (State.FAILED, failed), (State.ERRORED, errored)) if wanted
    ]
    if len(chosen) != 1:
        raise typer.BadParameter("say one of --passed, --failed and --errored")
    results = [parse_result(text) for text in result or ()]
    with project_call(ctx, project) as (output, foundry, project_id):
        finished = foundry.runs.finish(
            project_id,
            run,
            run_pb2.RunState.Value(f"RUN_STATE_{chosen[0].name}"),
            results=results,
            expected_line_count=lines,
        )
    output.one(finished, lambda: consoles.run(finished))


@app.command("cancel")
def cancel(ctx: typer.Context, *, project: ProjectArgument, run: RunArgument, reason: ReasonOption = "") -> None:
    """Cancel a run of yours, or as an owner anyone's."""
    with project_call(ctx, project) as (output, foundry, project_id):
        cancelled = foundry.runs.cancel(project_id, run, reason=reason)
    output.one(cancelled, lambda: consoles.run(cancelled))


@app.command("list")
def list_(
    ctx: typer.Context,
    *,
    project: ProjectArgument,
    version: Annotated[int | None, typer.Option(metavar="N", min=1, help="Only runs of this version.")] = None,
    state: Annotated[State | None, typer.Option(help="Only runs in this state.")] = None,
    sha256: Annotated[str, typer.Option(metavar="HASH", help="Only runs of this content, whatever its version.")] = "",
    limit: Annotated[int, typer.Option(min=0, help="Show at most so many; 0 for all.")] = 50,
) -> None:
    """List the runs, newest first."""
    from coreason.foundry.v1 import run_pb2

    with project_call(ctx, project) as (output, foundry, project_id):
        found = foundry.runs.list(
            project_id,
            version=version,
            state=run_pb2.RunState.Value(f"RUN_STATE_{state.name}") if state else None,
            content_sha256=sha256,
        )
        output.many(
            islice(found, limit or None),
            lambda rows: consoles.runs(rows, output.console.width),
            empty="There is no such run yet.",
        )


@app.command("show")
def show(ctx: typer.Context, *, project: ProjectArgument, run: RunArgument) -> None:
    """Show a run; `foundry logs` shows its console."""
    with project_call(ctx, project) as (output, foundry, project_id):
        found = foundry.runs.get(project_id, run)
    output.one(found, lambda: consoles.run(found))


def parse_result(text: str) -> RunResult:
    """Return what ``NAME=VALUE:pass`` says; the value may be empty or left away, and may itself contain ``:``.

    Raises:
        typer.BadParameter: It has no such form.
    """
    from coreason.foundry.v1.run_pb2 import RunResult

    rest, _, verdict = text.rpartition(":")
    name, _, value = rest.partition("=")
    passed = _VERDICTS.get(verdict.lower())
    if passed is None or not name:
        raise typer.BadParameter(f"{text!r} is not NAME=VALUE:pass or NAME=VALUE:fail", param_hint="--result")
    return RunResult(name=name, passed=passed, value=value)
