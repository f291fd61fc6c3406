"""``foundry demo``: a real server and real clients play the product's stories."""

from __future__ import annotations

import shlex
import shutil
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from foundry.cli import live
from foundry.cli.exit_codes import ExitCode
from foundry.cli.invocation import invocation
from foundry.cli.output import Failure, Output

if TYPE_CHECKING:
    from foundry.cli.demo.example import Example
    from foundry.cli.demo.stage import Stage


def demo(
    ctx: typer.Context,
    *,
    once: Annotated[bool, typer.Option("--once", help="End after the stories; otherwise the server goes on.")] = False,
    data_dir: Annotated[
        Path | None, typer.Option(show_default="a temporary one", help="Data directory of the server.")
    ] = None,
    example: Annotated[
        Path | None, typer.Option(show_default="examples/oncology", help="Folder of the project to play with.")
    ] = None,
) -> None:
    """See it work: a server, and three people's programs that play the stories of the product.

    Ends with 0 only if every step was really observed. It stops whatever it started.
    """
    from foundry.cli.demo.example import find_example, load_example

    output = invocation(ctx).output
    try:
        project = load_example(find_example(example))
    except FileNotFoundError as error:
        output.fail(Failure(str(error), ExitCode.USAGE, "EXAMPLE_MISSING"))
    with ExitStack() as cleanup:
        where = (
            data_dir.absolute()
            if data_dir
            else Path(cleanup.enter_context(tempfile.TemporaryDirectory(prefix="foundry-demo-")))
        )
        missing = ["the end of the play"]
        stopped = live.run(_demo(output, project, where, missing, once=once))
    if missing:
        if stopped:
            output.note("stopped before the end of the play")
        raise typer.Exit(ExitCode.ERROR)


async def _demo(output: Output, example: Example, data_dir: Path, missing: list[str], *, once: bool) -> None:
    """Play the stories, then keep the server going until told to stop; ``missing`` becomes what was not observed."""
    from foundry.cli.demo.play import play
    from foundry.cli.demo.stage import Stage
    from foundry.cli.demo.story_a import STORY_A
    from foundry.cli.demo.story_b import STORY_B
    from foundry.cli.demo.story_c import STORY_C
    from foundry.cli.demo.story_log import STORY_LOG
    from foundry.cli.demo.story_opening import OPENING
    from foundry.cli.demo.story_release import STORY_RELEASE
    from foundry.cli.demo.story_talk import STORY_TALK
    from foundry.cli.demo.transcript import Transcript

    stories = (OPENING, STORY_A, STORY_B, STORY_TALK, STORY_C, STORY_RELEASE, STORY_LOG)
    promised = sum(len(story.steps) for story in stories)
    async with Stage(example, data_dir, Transcript(output)) as stage:
        missing[:] = await play(stories, stage)
        stage.transcript.summary(promised - len(missing), missing)
        if not once and stage.target:
            await stage.everybody_leaves()
            _invite(output, stage)
            await stage.server_ended()
            output.note("the server ended by itself")
            missing.append("a server that goes on")


def _invite(output: Output, stage: Stage) -> None:
    """Say how to join the revision from another terminal."""
    from foundry.cli.demo.example import BENCHMARK

    if output.as_json:
        output.line({"target": stage.target, "data_dir": str(stage.data_dir), "project_id": stage.revision_id})
        return
    foundry = _own_name()
    token = f"{foundry} token --data-dir {shlex.quote(str(stage.data_dir))} --subject alice --name 'Alice A.'"
    project = stage.revision_id
    benchmark = shlex.quote(str(stage.example.folder / BENCHMARK))
    commands = (
        f"export FOUNDRY_TARGET={stage.target}",
        f"export FOUNDRY_TOKEN=$({token})",
        f"{foundry} watch {project}",
    )
    more = (
        f"{foundry} run exec {project} -- {shlex.quote(sys.executable)} {benchmark} --pace 0.2",
        f"{foundry} logs -f {project}",
        f"{foundry} lock hold {project} system_prompt",
        f"{foundry} comment add {project} 'Why so strict?' --field system_prompt --lines 13",
        f"{foundry} log {stage.project_id} --verify",
    )
    output.show(
        Text(f"\nThe server goes on at {stage.target} until Ctrl-C. Join from another terminal:\n"),
        *map(_command, commands),
        Text("\nand give it something to show from a third one, after the same two exports:\n"),
        *map(_command, more),
        Text("\nAs bob or sre (editors of the released project): the same with --subject bob.", "dim"),
    )


def _command(line: str) -> Text:
    return Text(f"  {line}", "bold", no_wrap=True, overflow="ignore")


def _own_name() -> str:
    """Return what to type to run this program once more."""
    script = Path(sys.argv[0])
    if script.name != "foundry":
        return f"{shlex.quote(sys.executable)} -m foundry"
    on_path = shutil.which("foundry")
    return "foundry" if on_path and Path(on_path).samefile(script) else shlex.quote(str(script))
