"""``foundry watch``: a project live."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

import typer

from foundry.cli import live, ticker
from foundry.cli.invocation import Invocation, invocation, project_id_of
from foundry.cli.options import ProjectArgument
from foundry.cli.output import Output
from foundry.cli.remarks import RemarkReader, Remarks
from foundry.cli.screen import Screen

if TYPE_CHECKING:
    from coreason.foundry.v1.comment_pb2 import Comment
    from coreason.foundry.v1.session_pb2 import ServerEvent
    from foundry.client import Foundry, Session


def watch(ctx: typer.Context, project: ProjectArgument) -> None:
    """Watch a project live until Ctrl-C: people, locks, versions, comments, tasks, and the consoles of runs.

    On a terminal a picture that keeps itself up to date, in two columns when it is wide; elsewhere, and with --json, a
    line for each event, and for each line of a console.
    """
    call = invocation(ctx)
    project_id = project_id_of(call, project)
    with call.refusals():
        live.run(_watch(call, project_id))


async def _watch(call: Invocation, project_id: str) -> None:
    output = call.output
    async with call.live_foundry() as foundry:
        session = foundry.session(project_id, client_name="foundry watch", follow_runs=True)
        news = session.events()  # from before it is open, so that no line of a console is missed
        async with session:
            if output.live and not output.console.is_dumb_terminal:
                await Screen(output.console, foundry, session, project_id).show(news)
            else:
                await _tick(output, foundry, session, project_id, news)
        if session.error:
            raise session.error


async def _tick(
    output: Output, foundry: Foundry, session: Session, project_id: str, news: AsyncIterator[ServerEvent]
) -> None:
    """Print a line for each event until the session ends.

    It is printed in a thread: whoever reads slowly must not make the session fall silent.
    """
    one_by_one = asyncio.Lock()

    async def tell_remark(comment: Comment) -> None:
        async with one_by_one:
            await asyncio.to_thread(ticker.tell_remark, output, comment)

    reader = RemarkReader(foundry, project_id, Remarks(), told=tell_remark)
    ticker.tell_state(output, session.state)
    is_known = True  # until the first caught_up: the state was told above
    async with live.beside(*([] if output.as_json else [reader.run()])):
        async for event in news:
            if not is_known or event.HasField("run_log"):
                async with one_by_one:
                    await asyncio.to_thread(ticker.tell, output, event)
            if not is_known and event.HasField("entry"):
                reader.hear(event.entry)
            is_known = is_known and not event.HasField("caught_up")
