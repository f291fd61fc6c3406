"""Client of the LockService. On a session, ``Session.lock`` is what a program wants."""

from __future__ import annotations

from coreason.foundry.v1 import lock_pb2 as pb
from foundry.client.calls import TIMEOUT_S, AsyncService, Pages, SyncService, Unary, pages, request_id_or_new, unary


class Locks:
    """Locks: who holds the pen on a field."""

    @unary
    def acquire(
        self,
        project_id: str,
        field: str,
        session_id: str,
        *,
        purpose: str = "",
        if_unchanged_since: int = 0,
        timeout: float = TIMEOUT_S,
    ) -> Unary[pb.AcquireLockResponse, pb.AcquiredLock]:
        """Take the lock of a free field for a live session; one that holds it already gets the same grant again.

        Args:
            project_id: The project.
            field: The field, at most 200 bytes; it need not exist yet.
            session_id: A live session of the caller in this project.
            purpose: What it is for, at most 200 bytes.
            if_unchanged_since: When over 0: grant only if nobody held the field since this fencing token.
            timeout: Seconds the call may take.

        Raises:
            LockHeld: Another session holds it.
            LockIntervened: Somebody held it since ``if_unchanged_since``.
            SessionClosed: The session is not open, or not the caller's.
        """
        request = pb.AcquireLockRequest(
            project_id=project_id,
            field=field,
            session_id=session_id,
            purpose=purpose,
            if_unchanged_since=if_unchanged_since,
        )
        return Unary(request, pb.AcquireLockResponse, lambda answer: answer.acquired, timeout)

    @unary
    def renew(
        self, project_id: str, field: str, session_id: str, fencing_token: int, *, timeout: float = TIMEOUT_S
    ) -> Unary[pb.RenewLockResponse, pb.Lock]:
        """Put off the idle release of a lock; returns it with its new expiry.

        Raises:
            LockLost: It is not the session's.
        """
        request = pb.RenewLockRequest(
            project_id=project_id, field=field, session_id=session_id, fencing_token=fencing_token
        )
        return Unary(request, pb.RenewLockResponse, lambda answer: answer.lock, timeout)

    @unary
    def release(
        self,
        project_id: str,
        field: str,
        session_id: str,
        fencing_token: int,
        *,
        request_id: str | None = None,
        timeout: float = TIMEOUT_S,
    ) -> Unary[pb.ReleaseLockResponse, pb.Lock]:
        """Give a lock back without saving; returns what was given back.

        Raises:
            LockLost: It is not the session's.
        """
        request = pb.ReleaseLockRequest(
            project_id=project_id,
            field=field,
            session_id=session_id,
            fencing_token=fencing_token,
            request_id=request_id_or_new(request_id),
        )
        return Unary(request, pb.ReleaseLockResponse, lambda answer: answer.lock, timeout)

    @unary
    def get(self, project_id: str, field: str, *, timeout: float = TIMEOUT_S) -> Unary[pb.GetLockResponse, pb.Lock]:
        """Read the lock of a field.

        Raises:
            NotFound: The field is free.
        """
        request = pb.GetLockRequest(project_id=project_id, field=field)
        return Unary(request, pb.GetLockResponse, lambda answer: answer.lock, timeout)

    @pages
    def list(
        self, project_id: str, *, page_size: int = 50, timeout: float = TIMEOUT_S
    ) -> Pages[pb.ListLocksResponse, pb.Lock]:
        """List the held locks by field; ``page_size`` are read at a time, 1 to 1,000."""
        request = pb.ListLocksRequest(project_id=project_id, page_size=page_size)
        return Pages(request, pb.ListLocksResponse, lambda page: page.locks, timeout)

    @unary
    def break_(
        self,
        project_id: str,
        field: str,
        fencing_token: int,
        reason: str,
        *,
        request_id: str | None = None,
        timeout: float = TIMEOUT_S,
    ) -> Unary[pb.BreakLockResponse, pb.Lock]:
        """Take a lock away from its holder. For people only: an OWNER breaks anyone's, an EDITOR an agent's.

        Args:
            project_id: The project.
            field: The locked field.
            fencing_token: The token the caller saw, so that a lock that changed hands is not broken by mistake.
            reason: Why, 1 byte to 4 KiB.
            request_id: UUID that makes the call safe to repeat for 24 hours; None for a new one.
            timeout: Seconds the call may take.

        Returns:
            The lock that was broken, naming its holder.

        Raises:
            LockLost: The field is free or held with another token.
        """
        request = pb.BreakLockRequest(
            project_id=project_id,
            field=field,
            fencing_token=fencing_token,
            reason=reason,
            request_id=request_id_or_new(request_id),
        )
        return Unary(request, pb.BreakLockResponse, lambda answer: answer.lock, timeout)


class LockClient(Locks, AsyncService):
    """The LockService for asyncio."""


class SyncLockClient(Locks, SyncService):
    """The LockService for threads."""
