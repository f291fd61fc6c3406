"""The command line ``foundry``: one module a command group; it talks gRPC only, like any client."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from itertools import islice
from pathlib import Path
from typing import Annotated, Final

import typer

import foundry
from foundry.cli import (
    audit,
    comment,
    demo,
    draft,
    export,
    health,
    lock,
    log,
    logs,
    migrate,
    project,
    release,
    run,
    serve,
    session,
    task,
    token,
    watch,
)
from foundry.cli.exit_codes import MEANINGS
from foundry.cli.invocation import Invocation
from foundry.cli.output import Output

_FLAGS: Final = frozenset({"--json", "--tls", "--no-tls"})
_VALUED: Final = frozenset({"--target", "--token-file", "--ca-file"})

_EPILOG: Final = "\n".join(
    [
        "\b",  # keeps the line breaks
        "[bold]Exit codes[/bold]",
        *(f"  [bold]{code}[/bold]  {meaning}" for code, meaning in MEANINGS.items()),
        "",
        "Global options may also stand after the command, all but --token.",
    ]
)


def to_front(args: Iterable[str]) -> list[str]:
    """Return the arguments with the global options first: people add ``--json`` to the end of what they typed before.

    What follows ``--`` stays where it is, and so does ``--token``, which ``lock break`` has as well.
    """
    front: list[str] = []
    rest: list[str] = []
    queue = iter(args)
    for arg in queue:
        if arg == "--":
            rest += [arg, *queue]
        elif arg in _FLAGS:
            front.append(arg)
        elif arg.partition("=")[0] in _VALUED:
            front += [arg, *islice(queue, 0 if "=" in arg else 1)]
        else:
            rest.append(arg)
    return front + rest


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"foundry {foundry.__version__}")
        raise typer.Exit


app = typer.Typer(
    name="foundry",
    no_args_is_help=True,
    rich_markup_mode="rich",
    epilog=_EPILOG,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback()
def root(
    ctx: typer.Context,
    *,
    target: Annotated[
        str, typer.Option(envvar="FOUNDRY_TARGET", metavar="HOST:PORT[,...]", help="Server to call.")
    ] = "127.0.0.1:50051",
    token_: Annotated[
        str,
        typer.Option(
            "--token",
            envvar="FOUNDRY_TOKEN",
            show_envvar=True,
            show_default=False,
            help="Bearer token. On the command line other users of this machine can see it.",
        ),
    ] = "",
    token_file: Annotated[
        Path | None, typer.Option(envvar="FOUNDRY_TOKEN_FILE", help="File with the bearer token.")
    ] = None,
    tls: Annotated[
        bool | None,
        typer.Option("--tls/--no-tls", show_default="TLS, unless the server is this machine", help="Speak TLS or not."),
    ] = None,
    ca_file: Annotated[
        Path | None, typer.Option(help="PEM file with the authorities to trust instead of the system's.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object a line, for scripts.")] = False,
    _version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=_print_version, help="Print the version.")
    ] = False,
) -> None:
    """Work on AI agents together, and prove afterwards who did what."""
    ctx.obj = Invocation(
        target=target,
        token=token_.strip(),
        token_file=token_file,
        tls=tls,
        ca_file=ca_file,
        output=Output(as_json=as_json),
    )


app.command("serve")(serve.serve)
app.command("migrate")(migrate.migrate)
app.command("token")(token.token)
app.command("health")(health.health)
app.add_typer(project.app, name="project")
app.add_typer(draft.app, name="draft")
app.add_typer(lock.app, name="lock")
app.add_typer(session.app, name="session")
app.add_typer(comment.app, name="comment")
app.add_typer(task.app, name="task")
app.add_typer(run.app, name="run")
app.command("logs")(logs.logs)
app.command("log")(log.log)
app.command("watch")(watch.watch)
app.command("export")(export.export)
app.command("freeze")(release.freeze)
app.command("publish")(release.publish)
app.command("revise")(release.revise)
app.add_typer(audit.app, name="audit")
app.command("demo")(demo.demo)


def main() -> None:
    """Run the command line of this process and exit with its code."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # not when something else took its place
            stream.reconfigure(errors="backslashreplace")  # a poor terminal must not cost anyone the result
    app(to_front(sys.argv[1:]), prog_name="foundry")
