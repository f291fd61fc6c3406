"""``foundry lock``: who holds the pen on a field."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Annotated, Final

import typer
from rich.text import Text

from foundry.cli import live, tables
from foundry.cli.exit_codes import ExitCode
from foundry.cli.invocation import Invocation, invocation, project_call, project_id_of
from foundry.cli.options import FieldArgument, ProjectArgument
from foundry.cli.output import Failure, JsonObject, Output, to_json
from foundry.cli.words import enum_word, name_of, plain

if TYPE_CHECKING:
    from coreason.foundry.v1.audit_pb2 import LogEntry
    from foundry.client import HeldLock, Session

_DOUBT_POLL_S: Final = 0.5

app = typer.Typer(no_args_is_help=True, help="Locks: who holds the pen on a field.")


@app.command("hold")
def hold(
    ctx: typer.Context,
    *,
    project: ProjectArgument,
    field: FieldArgument,
    purpose: Annotated[str, typer.Option(metavar="TEXT", help="What it is for; others see it.")] = "",
) -> None:
    """Hold the lock of a field until Ctrl-C or SIGTERM, then give it back.

    While it runs it answers idle warnings, so the lock stays. Exit code 8 when the lock is lost.
    """
    call = invocation(ctx)
    project_id = project_id_of(call, project)
    with call.refusals():
        live.run(_hold(call, project_id, field, purpose))


@app.command("list")
def list_(ctx: typer.Context, project: ProjectArgument) -> None:
    """List the held locks, by field."""
    with project_call(ctx, project) as (output, foundry, project_id):
        output.many(foundry.locks.list(project_id), tables.locks, empty="No field is locked.")


@app.command("break")
def break_(
    ctx: typer.Context,
    *,
    project: ProjectArgument,
    field: FieldArgument,
    reason: Annotated[str, typer.Option(metavar="TEXT", help="Why; it goes into the log.", show_default=False)],
    token: Annotated[
        int | None,
        typer.Option(metavar="N", min=1, show_default="the current one", help="Fencing token that you saw."),
    ] = None,
) -> None:
    """Take a lock away from its holder: as an owner anyone's, as an editor an agent's."""
    with project_call(ctx, project) as (output, foundry, project_id):
        if token is None:
            token = foundry.locks.get(project_id, field).fencing_token
        broken = foundry.locks.break_(project_id, field, token, reason)
    output.one(
        broken,
        lambda: Text.assemble((plain(field), "bold"), " is free; it was held by ", (name_of(broken.holder), "bold")),
    )


async def _hold(call: Invocation, project_id: str, field: str, purpose: str) -> None:
    """Hold a lock until cancelled or lost, telling what happens."""
    teller = _Teller(call.output, field)
    async with call.live_foundry() as foundry, foundry.session(project_id, client_name="foundry lock hold") as session:
        lock = await session.acquire(field, purpose=purpose)
        teller.acquired(lock)
        doubting = asyncio.create_task(_doubt(lock, teller))
        try:
            await _until_lost(session, lock, teller)
        except asyncio.CancelledError:
            await session.release(lock)
            teller.released(lock)
            raise
        finally:
            doubting.cancel()
        teller.lost(lock, str(session.error or ""))


async def _until_lost(session: Session, lock: HeldLock, teller: _Teller) -> None:
    """Tell what concerns the lock, and answer idle warnings, until it is lost for good."""
    async for event in session.events():
        if event.HasField("entry"):
            teller.entry(event.entry)
        elif event.HasField("idle_warning") and event.idle_warning.lock.field == teller.field:
            await lock.touch()
        # The lock knows of its end before its entry comes here, which says why; without one a tick will do.
        if not lock.held and (teller.knows_the_end or event.HasField("tick")):
            return


async def _doubt(lock: HeldLock, teller: _Teller) -> None:
    """Tell when the lock is in doubt because the server is silent, and when it is not any more."""
    while True:
        await lock.lost.wait()
        if not lock.held:
            return
        teller.doubtful()
        while lock.lost.is_set():  # noqa: ASYNC110 - the client has no event for the end of a doubt
            await asyncio.sleep(_DOUBT_POLL_S)
        teller.acquired(lock)


class _Teller:
    """Tells people, or a script, what happens to one lock."""

    def __init__(self, output: Output, field: str) -> None:
        self.field = field
        self._output = output
        self._end: LogEntry | None = None

    @property
    def knows_the_end(self) -> bool:
        """Whether the log told of the end of a grant."""
        return self._end is not None

    def acquired(self, lock: HeldLock) -> None:
        acquired = lock.acquired
        self._say(
            {"event": "acquired", "acquired": to_json(acquired)},
            Text.assemble(
                ("holding ", "green"),
                (plain(self.field), "bold"),
                f" (token {acquired.lock.fencing_token}, field at version {acquired.field_version});"
                " Ctrl-C gives it back",
            ),
        )

    def entry(self, entry: LogEntry) -> None:
        """Tell an entry that concerns the field."""
        if entry.HasField("lock_denied") and entry.lock_denied.field == self.field:
            self._say(
                {"event": "denied", "entry": to_json(entry)},
                Text.assemble(("wanted", "yellow"), f" by {plain(entry.lock_denied.subject)}, who was refused"),
            )
        elif entry.HasField("lock_released") and entry.lock_released.field == self.field:
            self._end = entry
        elif entry.HasField("lock_acquired") and entry.lock_acquired.field == self.field:
            self._end = None

    def doubtful(self) -> None:
        self._say({"event": "doubtful"}, Text("the server is silent: the lock may be lost", "yellow"))

    def released(self, lock: HeldLock) -> None:
        self._say(
            {"event": "released", "lock": to_json(lock.acquired.lock)}, Text(f"{self.field} is free again", "green")
        )

    def lost(self, lock: HeldLock, why: str) -> None:
        """Tell that the lock is gone, and why as far as anybody knows, and end the command."""
        if self._end is not None:
            reason = enum_word(self._end.lock_released, "release_reason").replace("_", " ")
            why = f"{reason} by {name_of(self._end.actor)}"
            why += f', because "{self._end.reason}"' if self._end.reason else ""
        if self._output.as_json:
            self._output.line({"event": "lost", "why": why, "lock": to_json(lock.acquired.lock)})
        self._output.fail(
            Failure(
                f"the lock of {self.field} is lost" + (f": {why}" if why else ""),
                ExitCode.LOCK_LOST,
                "LOCK_LOST",
                "FAILED_PRECONDITION",
                {"field": self.field, "fencing_token": str(lock.fencing_token)},
            )
        )

    def _say(self, fields: JsonObject, sentence: Text) -> None:
        if self._output.as_json:
            self._output.line(fields)
        else:
            self._output.show(sentence)
