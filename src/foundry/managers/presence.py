"""Who is here: differences of the presence registry, as the streams are told."""

from __future__ import annotations

from typing import TYPE_CHECKING

from foundry.domain.events import PresenceEvent

if TYPE_CHECKING:
    from foundry.coordination.ports import PresenceRegistry
    from foundry.domain.session import Presence


class PresenceBoard:
    """Keeps the registry and tells what changed. A user joins with their first session and leaves with the last."""

    def __init__(self, registry: PresenceRegistry) -> None:
        self._registry = registry

    async def put(self, project_id: str, here: Presence, version: int) -> PresenceEvent | None:
        """Show a session; returns the difference, numbered ``version``, or None when nothing changed."""
        before = await self._registry.present(project_id)
        if here in before:
            return None
        await self._registry.put(project_id, here)
        subject = here.principal.subject
        first = all(other.principal.subject != subject for other in before)
        return PresenceEvent(version, snapshot=False, sessions=(here,), joined=(subject,) if first else ())

    async def remove(self, project_id: str, session_id: str, version: int) -> PresenceEvent | None:
        """Take a session away; returns the difference, or None when it was not there."""
        before = await self._registry.present(project_id)
        gone = next((other for other in before if other.session_id == session_id), None)
        if gone is None:
            return None
        await self._registry.remove(project_id, session_id)
        subject = gone.principal.subject
        last = all(other.principal.subject != subject for other in before if other is not gone)
        return PresenceEvent(version, snapshot=False, sessions=(), gone=(session_id,), left=(subject,) if last else ())

    async def snapshot(self, project_id: str, version: int) -> PresenceEvent:
        """Everybody."""
        return PresenceEvent(version, snapshot=True, sessions=tuple(await self._registry.present(project_id)))
