"""The promises of coordination. ``memory`` keeps them inside one process; a backend for several fills the same ports.

None of this is ever the truth: the database decides who holds a field, and the log is what happened. A registry or bus
that forgets everything costs time, never correctness.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from foundry.domain.events import Committed
    from foundry.domain.session import Presence


class LockRegistry(Protocol):
    """Keeps people out of each other's way at once, before the database is asked.

    * ``acquire`` is atomic: of several callers one gets the claim.
    * It may say no quickly; only the database says yes. A caller that is told no checks the row, so a wrong claim
      heals within one retry.
    * ``confirm`` and ``release`` are guarded by the fence: a late one of an older holder does nothing.
    """

    async def acquire(self, project_id: str, field: str, user_id: str, session_id: str, ttl_seconds: float) -> bool:
        """Claim a field for a session until it is confirmed, for at most ``ttl_seconds``.

        Returns:
            False when another session has claimed or holds it.
        """
        ...

    async def confirm(self, project_id: str, field: str, user_id: str, session_id: str, fence: int) -> None:
        """Show a grant that the database made; replaces any claim and any older grant."""
        ...

    async def release(self, project_id: str, field: str, session_id: str, fence: int) -> None:
        """Forget a grant of this fence or older, or with fence 0 an unconfirmed claim, of this session."""
        ...


class PresenceRegistry(Protocol):
    """Who is here, by session. Counted by user only for display."""

    async def put(self, project_id: str, presence: Presence) -> None:
        """Show a session, or what changed of it; latest wins."""
        ...

    async def remove(self, project_id: str, session_id: str) -> None:
        """Take a session away; nothing happens if it is gone already."""
        ...

    async def present(self, project_id: str) -> list[Presence]:
        """Everybody in the project, by session age."""
        ...


class EventBus(Protocol):
    """Rings for what was committed: entries of logs and lines of consoles.

    It may lose some: receivers check continuity and read gaps from the store.
    """

    def publish(self, news: Sequence[Committed]) -> None:
        """Spread what one commit brought forth, in its order, after it. Never blocks, never raises for a receiver."""
        ...

    def subscribe(self, receiver: Callable[[Committed], None]) -> None:
        """Call ``receiver`` on the event loop with each of them, in the order of the commits, from now on."""
        ...
