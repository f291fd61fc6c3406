"""Coordination inside one process: what the embedded server uses."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

import structlog

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from foundry.clock import Clock
    from foundry.domain.events import Ring
    from foundry.domain.lock import Lock
    from foundry.domain.session import Presence

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class _Claim:
    user_id: str
    session_id: str
    fence: int  # 0 until confirmed
    expires_s: float  # monotonic; only an unconfirmed claim expires


class MemoryLockRegistry:
    """A ``LockRegistry`` in a dictionary."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._claims: dict[tuple[str, str], _Claim] = {}

    async def acquire(self, project_id: str, field: str, user_id: str, session_id: str, ttl_seconds: float) -> bool:
        """See ``LockRegistry.acquire``."""
        key, now = (project_id, field), self._clock.monotonic_s()
        current = self._claims.get(key)
        if current and current.session_id != session_id and (current.fence or current.expires_s > now):
            return False
        if current is None or current.session_id != session_id or not current.fence:
            self._claims[key] = _Claim(user_id, session_id, 0, now + ttl_seconds)
        return True

    async def confirm(self, project_id: str, field: str, user_id: str, session_id: str, fence: int) -> None:
        """See ``LockRegistry.confirm``."""
        key = (project_id, field)
        current = self._claims.get(key)
        if current is None or current.fence < fence:
            self._claims[key] = _Claim(user_id, session_id, fence, 0.0)

    async def renew(self, locks: Sequence[Lock]) -> None:
        """See ``LockRegistry.renew``."""
        for lock in locks:
            await self.confirm(lock.project_id, lock.field, lock.holder.subject, lock.session_id, lock.fencing_token)

    async def release(self, project_id: str, field: str, session_id: str, fence: int) -> None:
        """See ``LockRegistry.release``."""
        key = (project_id, field)
        current = self._claims.get(key)
        if current and current.session_id == session_id and current.fence <= fence:
            del self._claims[key]


class MemoryPresenceRegistry:
    """A ``PresenceRegistry`` in a dictionary."""

    def __init__(self) -> None:
        self._projects: defaultdict[str, dict[str, Presence]] = defaultdict(dict)

    async def put(self, project_id: str, presence: Presence) -> None:
        """See ``PresenceRegistry.put``."""
        shown = self._projects[project_id]
        if presence.stream_epoch >= shown.get(presence.session_id, presence).stream_epoch:
            shown[presence.session_id] = presence

    async def remove(self, project_id: str, session_id: str) -> None:
        """See ``PresenceRegistry.remove``."""
        sessions = self._projects.get(project_id, {})
        sessions.pop(session_id, None)
        if not sessions:
            self._projects.pop(project_id, None)

    def let_go(self, project_id: str, session_id: str) -> None:
        """See ``PresenceRegistry.let_go``. Nothing expires here, so nothing is kept up."""

    async def present(self, project_id: str) -> list[Presence]:
        """See ``PresenceRegistry.present``."""
        sessions = self._projects.get(project_id, {})
        return [sessions[session_id] for session_id in sorted(sessions)]


class MemoryEventBus:
    """An ``EventBus`` that calls.

    Args:
        line: The party line that several buses of one process share; each joins it. Alone, a bus has nobody to ring at.
    """

    def __init__(self, line: list[MemoryEventBus] | None = None) -> None:
        self._line = [] if line is None else line
        self._line.append(self)
        self._receivers: list[Callable[[Ring], None]] = []

    def ring(self, rings: Sequence[Ring]) -> None:
        """See ``EventBus.ring``. Nothing ever waits here, so there is nothing to coalesce."""
        for other in self._line:
            if other is not self:
                deliver(rings, other._receivers)  # noqa: SLF001 - a bus of the same line

    def subscribe(self, receiver: Callable[[Ring], None]) -> None:
        """See ``EventBus.subscribe``."""
        self._receivers.append(receiver)


def deliver(rings: Sequence[Ring], receivers: Sequence[Callable[[Ring], None]]) -> None:
    """Call every receiver with every ring, in order; one that fails is logged and misses nothing else."""
    for ring in rings:
        for receiver in receivers:
            try:
                receiver(ring)
            except Exception:  # noqa: BLE001 - one receiver must not starve the others
                _log.exception("receiver_failed", kind=type(ring).__name__)
