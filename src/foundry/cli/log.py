"""``foundry log``: the tamper-evident log of a project, or of the installation."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import TYPE_CHECKING, Annotated, Final, NoReturn

import typer

from foundry.cli import events
from foundry.cli.invocation import project_call
from foundry.cli.output import Failure, Output

if TYPE_CHECKING:
    from coreason.foundry.v1.audit_pb2 import LogEntry
    from foundry.client import SyncFoundry

_POLL_S: Final = 1.0


def log(
    ctx: typer.Context,
    *,
    project: Annotated[
        str,
        typer.Argument(
            metavar="PROJECT",
            show_default=False,
            help="Id or whole name of the project, or `instance` for the installation's log.",
        ),
    ],
    after: Annotated[int, typer.Option(metavar="N", min=0, help="Only entries after this number.")] = 0,
    event: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="Only this event, e.g. draft_created; repeatable.")
    ] = None,
    actor: Annotated[str, typer.Option(metavar="SUBJECT", help="Only what this actor did.")] = "",
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until Ctrl-C.")] = False,
    verify: Annotated[
        bool, typer.Option("--verify", help="Read the whole log and recompute its hash chain here.")
    ] = False,
) -> None:
    """Show the log; with --verify prove that no entry was altered, removed or put in between."""
    with project_call(ctx, project) as (output, foundry, project_id):

        def read(after_sequence: int) -> Iterator[LogEntry]:
            return foundry.audit.entries(project_id, after_sequence=after_sequence, events=event or [], actor=actor)

        if not follow:
            output.many(
                read(after), lambda rows: events.entries(rows, output.console.width), empty="There is no such entry."
            )
        if verify:
            _verify(output, foundry, project_id)
        if follow:
            with suppress(KeyboardInterrupt):
                _follow(output, read, after)


def _follow(output: Output, read: Callable[[int], Iterator[LogEntry]], after: int) -> NoReturn:
    """Print entries as they come; it asks again and again, because a session that listens would itself be logged."""
    while True:
        for entry in read(after):
            if output.as_json:
                output.line(entry)
            else:
                output.show(events.line(entry))
            after = entry.position.sequence
        time.sleep(_POLL_S)  # polled: a listening session would itself be an entry


def _verify(output: Output, foundry: SyncFoundry, project_id: str) -> None:
    """Recompute the hash chain, and end the command when it is broken."""
    from foundry.client import LogAltered

    try:
        found = foundry.audit.verify(project_id)
    except LogAltered as altered:
        output.fail(
            Failure(
                f"the log was altered at entry {altered.sequence}: {altered.problem}",
                reason="LOG_ALTERED",
                metadata={"sequence": str(altered.sequence), "problem": altered.problem},
            )
        )
    output.one(
        {"verified": True, "entries": found.entries, "head": found.head},
        lambda: events.verified(found.entries, found.head),
    )
