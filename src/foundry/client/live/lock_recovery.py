"""What becomes of the locks of a session when its stream broke and another one took its place."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Final, TypeAlias

from coreason.foundry.v1 import session_command_pb2 as command_pb2
from coreason.foundry.v1 import session_event_pb2 as event_pb2
from coreason.foundry.v1 import session_pb2, types_pb2
from foundry.client.errors import FoundryError, LockLost
from foundry.client.live.held_lock import HeldLock, HeldLocks
from foundry.client.live.workspace import Workspace

_log: Final = logging.getLogger(__name__)

_Request: TypeAlias = session_pb2.ProjectSessionRequest

#: Sends a command and returns its reply; raises a ``FoundryError`` when it is refused.
Exchange: TypeAlias = Callable[[_Request], Awaitable[event_pb2.Reply]]


async def recover(
    locks: HeldLocks, exchange: Exchange, workspace: Workspace, session_id: str, position: types_pb2.Position | None
) -> None:
    """Keep locks that are still the session's, ask for those back that a former session held; the others are lost.

    Args:
        exchange: For what must be asked.
        workspace: The project as it is at ``position``.
        session_id: The session as it is now.
    """

    async def confirm(lock: HeldLock) -> None:
        now = workspace.locks.get(lock.field)
        if now is not None and now.session_id == session_id:
            if now.fencing_token != lock.fencing_token:  # a grant whose reply got lost
                lock.acquired.lock.CopyFrom(now)
            lock.lost.clear()
        elif lock.acquired.lock.session_id == session_id:
            # A grant whose reply overtook the snapshot is not in it.
            if position is None or lock.acquired.position.sequence <= position.sequence:
                locks.lose(lock)
        else:
            await ask_back(lock)

    async def ask_back(lock: HeldLock) -> None:
        since = lock.fencing_token if lock.is_of(position) else 0
        ask = command_pb2.SessionAcquireLock(field=lock.field, purpose=lock.purpose, if_unchanged_since=since)
        try:
            acquired = (await exchange(_Request(acquire_lock=ask))).acquired
            if not since and acquired.field_sha256 != lock.known_sha256:
                back = command_pb2.SessionReleaseLock(field=lock.field, fencing_token=acquired.lock.fencing_token)
                await exchange(_Request(release_lock=back))
                raise LockLost(message=f"{lock.field} is not what it was when it was locked")
        except FoundryError as refusal:
            _log.info("the lock of %s was not given back: %s", lock.field, refusal)
            locks.lose(lock)
        else:
            lock.granted(acquired)

    await asyncio.gather(*(confirm(lock) for lock in locks))
