"""``foundry watch``: a project live."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

import typer
from rich.console import RenderableType
from rich.live import Live
from rich.text import Text

from foundry.cli import events, live
from foundry.cli.dashboard import KEPT_VERSIONS, Picture, dashboard, presence_lines
from foundry.cli.invocation import Invocation, invocation, project_id_of
from foundry.cli.options import ProjectArgument
from foundry.cli.output import Output, to_json
from foundry.cli.words import person, plain

if TYPE_CHECKING:
    from coreason.foundry.v1.session_event_pb2 import PresenceUpdate
    from coreason.foundry.v1.session_pb2 import ServerEvent
    from foundry.client import Foundry, Session, Workspace

# The secret in `opened` brings a session back, so it is nothing to print.
_SILENT: Final = frozenset({"opened", "tick", "caught_up"})
_RECENT_ENTRIES: Final = 40
_REDRAW_S: Final = 1.0


def watch(ctx: typer.Context, project: ProjectArgument) -> None:
    """Watch a project live until Ctrl-C: who is here, who holds what, what is saved.

    On a terminal a picture that keeps itself up to date; elsewhere, and with --json, a line for each event.
    """
    call = invocation(ctx)
    project_id = project_id_of(call, project)
    with call.refusals():
        live.run(_watch(call, project_id))


async def _watch(call: Invocation, project_id: str) -> None:
    async with call.live_foundry() as foundry, foundry.session(project_id, client_name="foundry watch") as session:
        if call.output.live:
            await _draw(call.output, foundry, session, project_id)
        else:
            tell_state(call.output, session.state)
            async for event in session.events():
                tell(call.output, event)
        if session.error:
            raise session.error


def tell_state(output: Output, state: Workspace) -> None:
    """Print what there is when the watching begins."""
    here = sorted(state.presence.values(), key=lambda presence: presence.session_id)
    held = [state.locks[field] for field in sorted(state.locks)]
    if output.as_json:
        project, locks, presence = to_json(state.project), list(map(to_json, held)), list(map(to_json, here))
        output.line({"state": {"project": project, "locks": locks, "presence": presence}})
        return
    output.show(Text.assemble((plain(state.project.name), "bold"), f", version {state.head_version}"))
    for principal in {it.principal.subject: it.principal for it in here}.values():
        output.show(Text.assemble(person(principal), " is here"))
    for lock in held:
        output.show(Text.assemble(person(lock.holder), f" holds {plain(lock.field)}"))


def tell(output: Output, event: ServerEvent) -> None:
    """Print one event as a line; what only concerns the stream itself is left out."""
    if event.WhichOneof("event") in _SILENT:
        return
    if output.as_json:
        output.line(event)
    elif event.HasField("entry"):
        output.show(events.line(event.entry))
    elif event.HasField("presence"):
        for line in _presence_lines(event.presence):
            output.show(line)
    elif event.HasField("going_away"):
        output.show(Text("the server is restarting; this goes on by itself", "yellow"))


def _presence_lines(update: PresenceUpdate) -> list[Text]:
    changed = [] if update.snapshot else update.sessions
    return presence_lines(update.joined_subjects, update.left_subjects, changed, datetime.now(UTC))


async def _draw(output: Output, foundry: Foundry, session: Session, project_id: str) -> None:
    """Keep a picture on the terminal up to date until the session ends."""
    picture = Picture()
    news = session.events()  # from before anything is read, so that nothing falls in between
    recent = max(0, session.position.sequence - _RECENT_ENTRIES)
    async for entry in foundry.audit.entries(project_id, after_sequence=recent):
        picture.entries.append(entry)
    async for draft in foundry.drafts.list(project_id, page_size=KEPT_VERSIONS):
        picture.versions.appendleft(draft)
        if len(picture.versions) == KEPT_VERSIONS:
            break

    def drawn() -> RenderableType:
        state = session.state
        picture.project, picture.presence, picture.locks = state.project, state.presence, state.locks
        console = output.console
        return dashboard(picture, width=console.width, height=console.height, now=datetime.now(UTC))

    async def redraw(screen: Live) -> None:
        while True:
            screen.update(drawn(), refresh=True)
            await asyncio.sleep(_REDRAW_S)

    with Live(drawn(), console=output.console, auto_refresh=False, screen=True) as screen:
        redrawing = asyncio.create_task(redraw(screen))
        try:
            async for event in news:
                if event.HasField("entry"):
                    picture.add(event.entry)
                screen.update(drawn(), refresh=True)
        finally:
            redrawing.cancel()
