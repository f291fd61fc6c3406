"""Who is here: differences of the presence registry, as the streams of this process are told."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from typing import TYPE_CHECKING

from foundry.domain.events import PresenceChanged, PresenceEvent

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from foundry.coordination.ports import EventBus, PresenceRegistry
    from foundry.domain.session import Presence


class PresenceBoard:
    """Keeps the registry, tells what changed, and rings at the other processes. Latest wins.

    A user joins with their first session and leaves with the last. What changed is always measured against what this
    process told last, whoever changed it.
    """

    def __init__(self, registry: PresenceRegistry, bus: EventBus) -> None:
        self._registry = registry
        self._bus = bus
        self._told: dict[str, dict[str, Presence]] = {}
        #: Registries answer out of order; a difference must be one between two states that followed each other.
        self._turns: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    async def put(self, project_id: str, here: Presence, version: int) -> PresenceEvent | None:
        """Show a session; returns the difference, numbered ``version``, or None when nothing changed."""
        async with self._turns[project_id]:
            told = await self._begun(project_id)
            if told.get(here.session_id) != here:
                await self._registry.put(project_id, here)
                self._bus.ring([PresenceChanged(project_id)])
            return await self._difference(project_id, version)

    async def remove(self, project_id: str, session_id: str, version: int) -> PresenceEvent | None:
        """Take a session away; returns the difference, or None when it was not there."""
        async with self._turns[project_id]:
            told = await self._begun(project_id)
            await self._registry.remove(project_id, session_id)
            if session_id in told:
                self._bus.ring([PresenceChanged(project_id)])
            return await self._difference(project_id, version)

    async def refresh(self, project_id: str, version: int) -> PresenceEvent | None:
        """What changed without this process doing it; None when nothing did."""
        async with self._turns[project_id]:
            return await self._difference(project_id, version) if project_id in self._told else None

    async def snapshot(self, project_id: str, version: int) -> PresenceEvent:
        """Everybody, as they were told last."""
        async with self._turns[project_id]:
            told = await self._begun(project_id)
            sessions = tuple(told[session_id] for session_id in sorted(told))
            return PresenceEvent(version, snapshot=True, sessions=sessions)

    def forget(self, project_id: str) -> None:
        """Nobody here is told about a project any more."""
        self._told.pop(project_id, None)
        turn = self._turns.get(project_id)
        if turn and not turn.locked():
            del self._turns[project_id]

    def let_go(self, project_id: str, session_id: str) -> None:
        """Another process shows this session from now on."""
        self._registry.let_go(project_id, session_id)

    async def _begun(self, project_id: str) -> dict[str, Presence]:
        if project_id not in self._told:
            self._told[project_id] = _by_id(await self._registry.present(project_id))
        return self._told[project_id]

    async def _difference(self, project_id: str, version: int) -> PresenceEvent | None:
        now = _by_id(await self._registry.present(project_id))
        before = self._told.get(project_id, {})
        self._told[project_id] = now
        changed = tuple(here for session_id, here in sorted(now.items()) if before.get(session_id) != here)
        gone = tuple(sorted(before.keys() - now.keys()))
        if not changed and not gone:
            return None
        were, are = _subjects(before.values()), _subjects(now.values())
        return PresenceEvent(
            version,
            snapshot=False,
            sessions=changed,
            gone=gone,
            joined=tuple(sorted(are - were)),
            left=tuple(sorted(were - are)),
        )


def _by_id(present: Sequence[Presence]) -> dict[str, Presence]:
    return {here.session_id: here for here in present}


def _subjects(present: Iterable[Presence]) -> set[str]:
    return {here.principal.subject for here in present}
