"""Operations for the write lane: each writes an entry of the instance log with a mark of its own."""

from __future__ import annotations

from collections.abc import Callable

from foundry.domain.entry import INSTANCE_LOG, Event, NewEntry
from foundry.domain.principal import SYSTEM
from foundry.store.needs import Needs
from foundry.store.unit_of_work import UnitOfWork
from tests.managers.workspace import Workspace

INSTANCE = Needs(instance_log=True)


def note(unit: UnitOfWork, mark: str = "x") -> int:
    """Write one entry of the instance log; returns its sequence number."""
    return unit.record(NewEntry(Event.AUTHENTICATION_FAILED, SYSTEM, {"cause": mark}), INSTANCE_LOG)


def noting(mark: str) -> Callable[[UnitOfWork], int]:
    """An operation that writes an entry with this mark."""
    return lambda unit: note(unit, mark)


async def marks(workspace: Workspace) -> list[str]:
    """The marks in the stored log, in order."""
    return [str(entry.new.data["cause"]) for entry in await workspace.log(INSTANCE_LOG) if "cause" in entry.new.data]
