"""Operations for the write lane: each writes an entry of the instance log with a mark of its own."""

from __future__ import annotations

from collections.abc import Callable

from foundry.domain.entry import INSTANCE_LOG, Event, NewEntry
from foundry.domain.principal import SYSTEM
from foundry.store.flush import flush
from foundry.store.needs import Needs
from foundry.store.shelf import Shelf
from foundry.store.unit_of_work import UnitOfWork
from tests.managers.workspace import Workspace

INSTANCE = Needs(instance_log=True)


async def unit_of(workspace: Workspace, needs: Needs) -> UnitOfWork:
    """A unit of work as the lane would make it, on rows as they are now."""
    shelf = Shelf()
    await shelf.load(workspace.database.connection, [needs])
    return UnitOfWork(shelf.view(needs), workspace.clock.now_us())


async def flush_unit(workspace: Workspace, unit: UnitOfWork) -> None:
    """Write what a unit of work staged, as the lane would."""
    before = unit.rows.heads
    shelf = Shelf()
    await shelf.load(workspace.database.connection, [unit.rows.needs])
    stored = shelf.view(unit.rows.needs).heads
    await flush(workspace.database.connection, unit.writes, [(stored[log], before[log]) for log in sorted(before)])


def note(unit: UnitOfWork, mark: str = "x") -> int:
    """Write one entry of the instance log; returns its sequence number."""
    return unit.record(NewEntry(Event.AUTHENTICATION_FAILED, SYSTEM, {"cause": mark}), INSTANCE_LOG)


def noting(mark: str) -> Callable[[UnitOfWork], int]:
    """An operation that writes an entry with this mark."""
    return lambda unit: note(unit, mark)


async def marks(workspace: Workspace) -> list[str]:
    """The marks in the stored log, in order."""
    return [str(entry.new.data["cause"]) for entry in await workspace.log(INSTANCE_LOG) if "cause" in entry.new.data]
