"""The mirror of the locks: who holds what, for whoever wants to know at once. The database decides."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from typing import TYPE_CHECKING

import structlog

from foundry.coordination.redis.scripts import Call, Script, percent_encoded
from foundry.metrics import MIRROR_HEALED

if TYPE_CHECKING:
    from collections.abc import Sequence

    from foundry.coordination.redis.link import RedisLink
    from foundry.domain.lock import Lock

_log = structlog.get_logger(__name__)

_TRY = Script.load("lock_try")
_PUT = Script.load("lock_put")
_DEL = Script.load("lock_del")


def lock_key(project_id: str, field: str) -> str:
    """Return the key that shows the lock of a field."""
    return f"lock:project:{percent_encoded(project_id)}:field:{percent_encoded(field)}"


class RedisLockRegistry:
    """A ``LockRegistry`` that every replica sees.

    A key shows JSON with ``user_id``, ``expires_at`` (milliseconds since the Unix epoch on the clock of Redis, for
    readers; the key expires by itself), ``session_id``, ``replica_id`` and ``fence`` (0: a claim). Grants that nobody
    renews are forgotten after ``ttl_s``. While Redis is away everybody is told yes, and the database decides alone.

    Args:
        replica_id: This process, for whoever reads the keys.
        ttl_s: Life of a grant that is not renewed, in seconds; three times the interval of ``renew``.
    """

    def __init__(self, link: RedisLink, *, replica_id: str, ttl_s: float = 15.0) -> None:
        self._link = link
        self._replica_id = replica_id
        self._ttl_s = ttl_s
        # What ended here lately, by key and session: (fence, when to forget it). Whoever renews may have read the row
        # before it changed.
        self._ended: OrderedDict[tuple[str, str], tuple[int, float]] = OrderedDict()

    async def acquire(self, project_id: str, field: str, user_id: str, session_id: str, ttl_seconds: float) -> bool:
        """See ``LockRegistry.acquire``."""
        args = (user_id, session_id, self._replica_id, _milliseconds(ttl_seconds))
        answer = await self._call(_TRY, project_id, field, args)
        return answer is None or answer

    async def confirm(self, project_id: str, field: str, user_id: str, session_id: str, fence: int) -> None:
        """See ``LockRegistry.confirm``."""
        if not self._has_ended(lock_key(project_id, field), session_id, fence):
            args = (user_id, session_id, self._replica_id, _milliseconds(self._ttl_s), fence)
            await self._call(_PUT, project_id, field, args)

    async def renew(self, locks: Sequence[Lock]) -> None:
        """See ``LockRegistry.renew``."""
        px_ms = _milliseconds(self._ttl_s)
        calls = []
        shown = []
        for lock in locks:
            key = lock_key(lock.project_id, lock.field)
            if not self._has_ended(key, lock.session_id, lock.fencing_token):
                args = (lock.holder.subject, lock.session_id, self._replica_id, px_ms, lock.fencing_token)
                calls.append(Call(_PUT, key, args))
                shown.append(lock)
        for lock, (_, unreadable) in zip(shown, await self._link.evaluate(calls) or (), strict=False):
            if unreadable:
                _healed(lock.project_id, lock.field)

    async def release(self, project_id: str, field: str, session_id: str, fence: int) -> None:
        """See ``LockRegistry.release``."""
        if fence:
            self._ends(lock_key(project_id, field), session_id, fence)
        await self._call(_DEL, project_id, field, (session_id, fence))

    async def _call(self, script: Script, project_id: str, field: str, args: tuple[str | int, ...]) -> bool | None:
        answers = await self._link.evaluate([Call(script, lock_key(project_id, field), args)])
        if answers is None:
            return None
        [(done, unreadable)] = answers
        if unreadable:
            _healed(project_id, field)
        return bool(done)

    def _ends(self, key: str, session_id: str, fence: int) -> None:
        now = asyncio.get_running_loop().time()
        while self._ended and next(iter(self._ended.values()))[1] <= now:
            self._ended.popitem(last=False)
        before, _ = self._ended.pop((key, session_id), (0, 0.0))
        self._ended[key, session_id] = (max(before, fence), now + self._ttl_s)

    def _has_ended(self, key: str, session_id: str, fence: int) -> bool:
        return fence <= self._ended.get((key, session_id), (0, 0.0))[0]


def _healed(project_id: str, field: str) -> None:
    MIRROR_HEALED.inc()
    _log.warning("mirror_unreadable", project_id=project_id, field=field)


def _milliseconds(seconds: float) -> int:
    return max(1, round(seconds * 1000))
