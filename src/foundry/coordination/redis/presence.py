"""Who is here, on all replicas: leases that each replica renews for its own sessions."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import structlog
from pydantic import TypeAdapter, ValidationError

from foundry.coordination.redis.scripts import Call, Script, evaluate, percent_encoded
from foundry.domain.session import Presence

if TYPE_CHECKING:
    from collections.abc import Iterable

    from foundry.clock import Clock
    from foundry.coordination.redis.link import RedisLink

_log = structlog.get_logger(__name__)

_PUT = Script.load("presence_put")
_REMOVE = Script.load("presence_remove")
_READ = Script.load("presence_read")


@dataclass(frozen=True, slots=True)
class _Member:
    """What is stored of a session, beside ``expires_at``, which the script adds."""

    replica_id: str
    presence: Presence


@dataclass(frozen=True, slots=True)
class _Seen:
    presence: Presence
    until_s: float  # monotonic


_MEMBER = TypeAdapter(_Member)


def presence_key(project_id: str) -> str:
    """Return the key that lists the sessions of a project."""
    return f"presence:project:{percent_encoded(project_id)}"


class RedisPresenceRegistry:
    """A ``PresenceRegistry`` that every replica sees, with an ``Upkeep``.

    A hash by session: JSON with ``expires_at`` (milliseconds since the Unix epoch on the clock of Redis),
    ``replica_id`` and ``presence``. A session is shown by the replica that put it last. While Redis is away, this
    process answers with its own sessions and with those of others that it saw, until their leases are over.

    Args:
        ttl_s: The lease, in seconds; renewed three times within it.
    """

    def __init__(self, link: RedisLink, *, replica_id: str, ttl_s: float = 15.0, clock: Clock) -> None:
        self._link = link
        self._replica_id = replica_id
        self._ttl_s = ttl_s
        self._clock = clock
        self._own: defaultdict[str, dict[str, Presence]] = defaultdict(dict)
        self._seen: dict[str, dict[str, _Seen]] = {}
        # Sessions that ended here, by project and id, and when to forget that. Redis may have been away at their end.
        self._removed: dict[tuple[str, str], float] = {}

    async def put(self, project_id: str, presence: Presence) -> None:
        """See ``PresenceRegistry.put``."""
        own = self._own[project_id]
        if presence.stream_epoch < own.get(presence.session_id, presence).stream_epoch:
            return
        own[presence.session_id] = presence
        self._removed.pop((project_id, presence.session_id), None)
        await self._link.evaluate([self._show(project_id, [presence], "put")])

    async def remove(self, project_id: str, session_id: str) -> None:
        """See ``PresenceRegistry.remove``."""
        self._disown(project_id, session_id)
        self._seen.get(project_id, {}).pop(session_id, None)
        self._removed[project_id, session_id] = self._lease_ends_s()
        await self._link.evaluate([Call(_REMOVE, presence_key(project_id), (session_id,))])

    def let_go(self, project_id: str, session_id: str) -> None:
        """See ``PresenceRegistry.let_go``. It is shown until its lease is over, if nobody else puts it."""
        if presence := self._disown(project_id, session_id):
            self._seen.setdefault(project_id, {})[session_id] = _Seen(presence, self._lease_ends_s())

    async def present(self, project_id: str) -> list[Presence]:
        """See ``PresenceRegistry.present``."""
        calls = [Call(_READ, presence_key(project_id))]
        answers = await self._link.run(partial(evaluate, calls=calls))
        if answers is not None:
            self._see(project_id, answers[0])
        now_s = self._clock.monotonic_s()
        seen = self._seen.get(project_id, {})
        others = {session_id: one.presence for session_id, one in seen.items() if one.until_s > now_s}
        # A session that moved to another replica is shown as that one shows it, also while its end here is under way.
        everybody = {**self._own.get(project_id, {}), **others}
        return [everybody[session_id] for session_id in sorted(everybody)]

    async def run(self) -> None:
        """See ``Upkeep.run``: renew the leases of this process's sessions."""
        while True:
            await asyncio.sleep(self._ttl_s / 3)
            await self.renew()

    async def renew(self) -> None:
        """Show this process's sessions for another lease, also after Redis forgot them; one round trip for all."""
        self._forget()
        await self._link.evaluate(
            [self._show(project_id, own.values(), "renew") for project_id, own in self._own.items()]
        )

    def _disown(self, project_id: str, session_id: str) -> Presence | None:
        own = self._own.get(project_id, {})
        presence = own.pop(session_id, None)
        if not own:
            self._own.pop(project_id, None)
        return presence

    def _lease_ends_s(self) -> float:
        return self._clock.monotonic_s() + self._ttl_s

    def _forget(self) -> None:
        now_s = self._clock.monotonic_s()
        self._removed = {key: until_s for key, until_s in self._removed.items() if until_s > now_s}
        for project_id, seen in list(self._seen.items()):
            if all(one.until_s <= now_s for one in seen.values()):
                del self._seen[project_id]

    def _show(self, project_id: str, sessions: Iterable[Presence], how: str) -> Call:
        args: list[str | int] = [self._replica_id, max(1, round(self._ttl_s * 1000)), how]
        for one in sessions:
            args += (one.session_id, _MEMBER.dump_json(_Member(self._replica_id, one)).decode())
        return Call(_PUT, presence_key(project_id), tuple(args))

    def _see(self, project_id: str, listed: list[Any]) -> None:
        now_s = self._clock.monotonic_s()
        seen: dict[str, _Seen] = {}
        for left_ms, text in zip(listed[1::3], listed[2::3], strict=True):
            try:
                member = _MEMBER.validate_json(text, strict=True)
            except ValidationError:
                _log.debug("presence_unreadable", project_id=project_id)
                continue
            session_id = member.presence.session_id
            # Of its own sessions this process knows better: those it keeps up, and those that ended.
            own = member.replica_id == self._replica_id and session_id in self._own.get(project_id, {})
            # What ended never comes back; another process may have shown it late.
            if not own and (project_id, session_id) not in self._removed:
                seen[session_id] = _Seen(member.presence, now_s + left_ms / 1000)
        if seen:
            self._seen[project_id] = seen
        else:
            self._seen.pop(project_id, None)
