"""The promises of coordination. ``memory`` keeps them inside one process; a backend for several fills the same ports.

None of this is ever the truth: the database decides who holds a field, and the log is what happened. A registry or bus
that forgets everything costs time, never correctness.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from foundry.domain.events import Ring
    from foundry.domain.lock import Lock
    from foundry.domain.session import Presence


class LockRegistry(Protocol):
    """Keeps people out of each other's way at once, before the database is asked.

    * ``acquire`` is atomic: of several callers one gets the claim.
    * It may say no quickly; only the database says yes. A caller that is told no checks the row, so a wrong claim
      heals within one retry.
    * ``confirm``, ``renew`` and ``release`` are guarded by the fence: a late one of an older holder does nothing.
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

    async def renew(self, locks: Sequence[Lock]) -> None:
        """Show these grants for another time to live, also those that were forgotten; all at once, not one by one.

        A registry that shows grants until they are released has no time to live and only learns what it forgot.
        """
        ...

    async def release(self, project_id: str, field: str, session_id: str, fence: int) -> None:
        """Forget a grant of this fence or older, or with fence 0 an unconfirmed claim, of this session."""
        ...


class PresenceRegistry(Protocol):
    """Who is here, by session. Counted by user only for display."""

    async def put(self, project_id: str, presence: Presence) -> None:
        """Show a session, or what changed of it; latest wins, but for what a former stream of it shows late."""
        ...

    async def remove(self, project_id: str, session_id: str) -> None:
        """Take a session away; nothing happens if it is gone already."""
        ...

    async def present(self, project_id: str) -> list[Presence]:
        """Everybody in the project, by session age."""
        ...

    def let_go(self, project_id: str, session_id: str) -> None:
        """Keep up a session's presence no longer: another process shows it from now on. It stays as it is shown."""
        ...


class EventBus(Protocol):
    """Rings at the other server processes.

    It may lose rings: whoever is rung at reads the store, and reads it now and then without being rung.
    """

    def ring(self, rings: Sequence[Ring]) -> None:
        """Tell the others what grew or changed. Never blocks, never raises, coalesces what waits.

        Of what waits, the newest ring of a log, of a run and of a project's presence stands for those before it.
        """
        ...

    def subscribe(self, receiver: Callable[[Ring], None]) -> None:
        """Call ``receiver`` on the event loop with rings of other processes, never its own, from now on."""
        ...


class Upkeep(Protocol):
    """What a registry or bus is as well, if it has something to do on its own."""

    async def run(self) -> None:
        """Keep it going, for ever; cancelled at the end. Whatever fails outside is waited out, never raised."""
        ...
