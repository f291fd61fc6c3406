"""``foundry run exec``: a command as a run, its output the console."""

from __future__ import annotations

import asyncio
import shutil
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from foundry.cli import consoles, live
from foundry.cli.exit_codes import ExitCode
from foundry.cli.invocation import invocation, project_id_of
from foundry.cli.options import ProjectArgument, parse_pairs
from foundry.cli.output import Failure, Output, to_json
from foundry.cli.pipes import CHUNK_BYTES, LineCutter

if TYPE_CHECKING:
    from coreason.foundry.v1.run_pb2 import LogStream, Run
    from foundry.client import RunningRun

#: How long a command that is told to end may take before it is killed, seconds.
_PARTING_S: Final = 5.0

#: What shells answer for a signal: this, and its number.
_BY_SIGNAL: Final = 128
_INTERRUPTED: Final = 130


def exec_(
    ctx: typer.Context,
    *,
    project: ProjectArgument,
    command: Annotated[
        list[str], typer.Argument(metavar="COMMAND", help="What to run, behind `--`.", show_default=False)
    ],
    version: Annotated[
        int | None, typer.Option(metavar="N", min=1, show_default="the newest", help="The version it tests.")
    ] = None,
    harness: Annotated[str, typer.Option(metavar="NAME", show_default="the command's name", help="What runs it.")] = "",
    label: Annotated[list[str] | None, typer.Option(metavar="KEY=VALUE", help="Label; repeatable.")] = None,
    attempt: Annotated[int, typer.Option(metavar="N", min=1, help="Which attempt it is.")] = 1,
    sha256: Annotated[str, typer.Option(metavar="HASH", help="Only if the version has this content.")] = "",
) -> None:
    """Run a command as a run: what it prints is shown here and, as it comes, to everybody who watches.

    The run has passed if the command ends with 0, else it has failed; and that is what this ends with as well. With
    Ctrl-C the command is ended, and the run has errored. When the console takes no more, because somebody cancelled the
    run or the server stays away, the command is ended too.
    """
    call = invocation(ctx)
    labels = parse_pairs(label, "--label")
    if shutil.which(command[0]) is None:
        call.output.fail(Failure(f"there is no command {command[0]!r}", ExitCode.USAGE, "COMMAND_NOT_FOUND"))
    project_id = project_id_of(call, project)
    job = _Job(call.output, command)

    async def work() -> None:
        async with (
            call.live_foundry() as foundry,
            foundry.runs.running(
                project_id,
                version,
                content_sha256=sha256,
                harness=harness or Path(command[0]).name,
                labels=labels,
                attempt=attempt,
            ) as run,
        ):
            await job.do(run)
        job.tell("finished", run.run)

    with call.refusals():
        stopped = live.run(work())
    raise typer.Exit(_INTERRUPTED if stopped else job.exit_code)


class _Job:
    """A command that runs as a run."""

    def __init__(self, output: Output, command: Sequence[str]) -> None:
        self.exit_code = 0
        self._output = output
        self._command = command

    async def do(self, run: RunningRun) -> None:
        """Run the command to its end; when this is cancelled, or fails, the command is ended."""
        from coreason.foundry.v1 import run_pb2

        self.tell("started", run.run)
        pipe = asyncio.subprocess.PIPE
        child = await asyncio.create_subprocess_exec(*self._command, stdout=pipe, stderr=pipe)
        assert child.stdout is not None  # noqa: S101 - asked for above
        assert child.stderr is not None  # noqa: S101 - the same
        try:
            async with asyncio.TaskGroup() as group:
                refused = group.create_task(run.log.until_error())
                async with asyncio.TaskGroup() as pumps:
                    pumps.create_task(self._pump(child.stdout, run, run_pb2.LOG_STREAM_STDOUT))
                    pumps.create_task(self._pump(child.stderr, run, run_pb2.LOG_STREAM_STDERR))
                refused.cancel()
            code = await child.wait()
        except BaseExceptionGroup as failures:  # whatever fails does for one reason: the console takes no more
            raise _first(failures) from None
        finally:
            await _end(child)
        self.exit_code = code if code >= 0 else _BY_SIGNAL - code
        run.state = run_pb2.RUN_STATE_PASSED if code == 0 else run_pb2.RUN_STATE_FAILED

    async def _pump(self, pipe: asyncio.StreamReader, run: RunningRun, stream: LogStream.ValueType) -> None:
        """Show and append what comes out of a pipe."""
        cutter = LineCutter()
        while data := await pipe.read(CHUNK_BYTES):
            self._show(data, stream)
            await self._append(run, cutter.feed(data), stream)
        await self._append(run, cutter.end(), stream)

    async def _append(self, run: RunningRun, lines: list[bytes], stream: LogStream.ValueType) -> None:
        from coreason.foundry.v1 import run_pb2

        if not lines:
            return
        await run.write(b"\n".join([*lines, b""]), stream=stream)
        if self._output.as_json:
            name = run_pb2.LogStream.Name(stream).removeprefix("LOG_STREAM_")
            for line in lines:
                self._output.line({"event": "line", "stream": name, "text": line.decode("utf-8", "backslashreplace")})

    def _show(self, data: bytes, stream: LogStream.ValueType) -> None:
        """Pass on what the command says, as it says it: it is the caller's own."""
        from coreason.foundry.v1 import run_pb2

        if self._output.as_json:
            return
        there = sys.stderr if stream == run_pb2.LOG_STREAM_STDERR else sys.stdout
        there.buffer.write(data)
        there.flush()

    def tell(self, event: str, run: Run) -> None:
        """Tell that the run was started or finished: scripts on standard output, people on standard error."""
        if self._output.as_json:
            self._output.line({"event": event, "run": to_json(run)})
        elif event == "started":
            self._output.note(f"run {run.run_id} of version {run.version_number}")
        else:
            self._output.note(f"run {run.run_id} {consoles.ended(run)}")


def _first(failure: BaseException) -> BaseException:
    while isinstance(failure, BaseExceptionGroup):
        failure = failure.exceptions[0]
    return failure


async def _end(child: asyncio.subprocess.Process) -> None:
    """End a command if it has not ended by itself: first it is asked, then it is killed."""
    if child.returncode is not None:
        return
    with suppress(ProcessLookupError):
        child.terminate()
        try:
            async with asyncio.timeout(_PARTING_S):
                await child.wait()
        except TimeoutError:
            child.kill()
            await child.wait()
