"""LockService: translation only."""

from __future__ import annotations

from typing import TYPE_CHECKING

from coreason.foundry.v1 import lock_pb2 as pb
from coreason.foundry.v1 import types_pb2
from foundry.domain.errors import InvalidArgument
from foundry.rpc import codec, validation

if TYPE_CHECKING:
    from foundry.domain.principal import Caller
    from foundry.domain.session import History
    from foundry.managers.locks import LockManager
    from foundry.rpc.pages import Pages


class LockServicer:
    """See ``lock.proto``."""

    def __init__(self, locks: LockManager, pages: Pages, *, history: History) -> None:
        self._locks = locks
        self._pages = pages
        self._history = history

    async def AcquireLock(self, request: pb.AcquireLockRequest, caller: Caller) -> pb.AcquireLockResponse:
        """Take a free field."""
        fields = validation.check(
            validation.AcquireFields,
            project_id=request.project_id,
            field=request.field,
            session_id=request.session_id,
            purpose=request.purpose,
            if_unchanged_since=request.if_unchanged_since,
        )
        acquired = await self._locks.acquire(
            caller,
            fields.project_id,
            fields.session_id,
            fields.field,
            purpose=fields.purpose,
            if_unchanged_since=fields.if_unchanged_since,
        )
        return pb.AcquireLockResponse(acquired=codec.acquired(acquired, self._history.epoch))

    async def RenewLock(self, request: pb.RenewLockRequest, caller: Caller) -> pb.RenewLockResponse:
        """Put off the idle release."""
        fields = validation.check(
            validation.LockFields,
            project_id=request.project_id,
            field=request.field,
            session_id=request.session_id,
            fencing_token=request.fencing_token,
        )
        lock = await self._locks.renew(caller, fields.project_id, fields.session_id, fields.field, fields.fencing_token)
        return pb.RenewLockResponse(lock=codec.lock(lock))

    async def ReleaseLock(self, request: pb.ReleaseLockRequest, caller: Caller) -> pb.ReleaseLockResponse:
        """Give a lock back."""
        fields = validation.check(
            validation.LockFields,
            project_id=request.project_id,
            field=request.field,
            session_id=request.session_id,
            fencing_token=request.fencing_token,
            request_id=request.request_id,
        )
        released = await self._locks.release(
            caller,
            fields.project_id,
            fields.session_id,
            fields.field,
            fields.fencing_token,
            request_id=fields.request_id,
        )
        return pb.ReleaseLockResponse(lock=codec.lock(released.lock), position=self._at(released.sequence))

    async def GetLock(self, request: pb.GetLockRequest, caller: Caller) -> pb.GetLockResponse:
        """Read the lock of a field."""
        return pb.GetLockResponse(lock=codec.lock(await self._locks.get(caller, request.project_id, request.field)))

    async def ListLocks(self, request: pb.ListLocksRequest, caller: Caller) -> pb.ListLocksResponse:
        """List held locks."""
        size, bound = self._pages.size(request.page_size), ("ListLocks", request.project_id)
        after = self._pages.read(request.page_token, "", *bound)
        found = await self._locks.list_locks(caller, request.project_id, after, size + 1)
        more = self._pages.issue(found[size - 1].field, *bound) if len(found) > size else ""
        return pb.ListLocksResponse(locks=[codec.lock(lock) for lock in found[:size]], next_page_token=more)

    async def BreakLock(self, request: pb.BreakLockRequest, caller: Caller) -> pb.BreakLockResponse:
        """Take a lock away."""
        mutation = validation.check(validation.Mutation, reason=request.reason, request_id=request.request_id)
        if not mutation.reason.strip():
            raise InvalidArgument("reason", "breaking a lock needs a reason")
        if request.fencing_token < 1:
            raise InvalidArgument("fencing_token", "the token you saw, from 1")
        broken = await self._locks.break_(
            caller,
            request.project_id,
            request.field,
            request.fencing_token,
            reason=mutation.reason,
            request_id=mutation.request_id,
        )
        return pb.BreakLockResponse(lock=codec.lock(broken.lock), position=self._at(broken.sequence))

    def _at(self, sequence: int) -> types_pb2.Position:
        return types_pb2.Position(epoch=self._history.epoch, sequence=sequence)
