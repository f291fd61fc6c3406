"""The locks a session holds, over all its streams."""

# ruff: noqa: ASYNC109 - the timeout of a command covers breaks of the stream and ends in an error of ours

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from coreason.foundry.v1 import audit_pb2, draft_pb2, lock_pb2, types_pb2
from foundry.client.calls import TIMEOUT_S
from foundry.client.errors import LockLost

if TYPE_CHECKING:
    from foundry.client.live.session import Session

#: The holder gave it back, by a save or without one.
_GIVEN_BACK: Final = (lock_pb2.LOCK_RELEASE_REASON_SAVE, lock_pb2.LOCK_RELEASE_REASON_CANCEL)

#: The session went, and not this lock alone: a new session may ask for it back.
_SESSION_GONE: Final = (
    lock_pb2.LOCK_RELEASE_REASON_LEAVE,
    lock_pb2.LOCK_RELEASE_REASON_STREAM_GONE,
    lock_pb2.LOCK_RELEASE_REASON_HEARTBEAT,
    lock_pb2.LOCK_RELEASE_REASON_REPLICA_DEAD,
    lock_pb2.LOCK_RELEASE_REASON_SERVER_RESTART,
    lock_pb2.LOCK_RELEASE_REASON_DB_FAILOVER,
)


class HeldLock:
    """The lock of one field. It stays the same object when the session gets it back under a new fencing token.

    Attributes:
        field: The field.
        purpose: What it is for.
        acquired: The newest grant, with what the field held at that time.
        base_version: The version a save is based on: the head at the grant, then the caller's own newest save.
        known_sha256: Hash of the field's content at that version, empty when it has none.
        held: Whether it is neither given back nor lost for good.
        lost: Set when the caller must take the lock for lost: because the server said so, because the session ended,
            or because no heartbeat was answered for 9 s. In the last case, and only then, it is cleared again when a
            server answers, on the same stream or to a resume, and set once more if the server turns out to have been
            given up by the others. A save never needs to look: the server refuses it with ``LockLost``.
    """

    def __init__(self, session: Session, acquired: lock_pb2.AcquiredLock, purpose: str) -> None:
        self._session = session
        self.field = acquired.lock.field
        self.purpose = purpose
        self.acquired = acquired
        self.base_version = acquired.head_version
        self.known_sha256 = acquired.field_sha256
        self.held = True
        self.lost = asyncio.Event()

    @property
    def fencing_token(self) -> int:
        """The token of the newest grant, from 1."""
        return self.acquired.lock.fencing_token

    @property
    def _grant(self) -> tuple[int, int]:
        """Names the newest grant: another history of the log may give a token a second time."""
        return self.acquired.position.epoch, self.fencing_token

    @property
    def token(self) -> lock_pb2.LockToken:
        """What a save shows."""
        return lock_pb2.LockToken(field=self.field, fencing_token=self.fencing_token)

    async def save(
        self,
        content: str | bytes | None,
        *,
        message: str = "",
        reason: str = "",
        keep: bool = False,
        timeout: float = TIMEOUT_S,
    ) -> draft_pb2.CreateDraftResponse:
        """Save the field as the next version and give the lock back.

        Args:
            content: Text of at most 1 MiB, bytes of at most 3 MiB, or None to remove the field.
            message: What the version is about, at most 4 KiB.
            reason: Why, at most 4 KiB.
            keep: Keep the lock.
            timeout: Seconds it may take, a reconnect included.

        Raises:
            LockLost: The lock is no longer held.
            StaleVersion: The field changed since ``base_version``.
            InvalidContent: The content is not what the field's kind demands.
            DeadlineExceeded: No answer in time.
        """
        while True:
            grant = self._grant
            try:
                return await self._session.save(
                    {self.field: content},
                    base_version=None,
                    locks=(self,),
                    keep_locks=keep,
                    message=message,
                    reason=reason,
                    timeout=timeout,
                )
            except LockLost:
                # The stream broke under the save, it did not happen, and the lock was got back: then save under that.
                if not self.held or self._grant == grant:
                    raise

    async def touch(self, *, timeout: float = TIMEOUT_S) -> lock_pb2.Lock:
        """Put off the idle release; returns the lock with its new expiry.

        Raises:
            LockLost: The lock is no longer held.
            DeadlineExceeded: No answer in time.
        """
        return await self._session.touch(self, timeout=timeout)

    async def release(self, *, timeout: float = TIMEOUT_S) -> None:
        """Give the lock back without saving; nothing happens when it is not held any more.

        Raises:
            DeadlineExceeded: No answer in time.
        """
        await self._session.release(self, timeout=timeout)

    def is_of(self, position: types_pb2.Position | None) -> bool:
        """Whether the grant is of the history of the log that a position is of.

        Another history may have lost what happened last in this one. Tokens and versions are given a second time then,
        and only the content tells whether the field is as it was.
        """
        return position is None or self.acquired.position.epoch == position.epoch

    def saved(self, draft: draft_pb2.Draft) -> None:
        """Take in a version that was saved under this lock."""
        self.base_version = draft.version_number
        for change in draft.changed_fields:
            if change.field == self.field:
                self.known_sha256 = change.after_sha256

    def granted(self, acquired: lock_pb2.AcquiredLock) -> None:
        """Take in a newer grant, or the same again."""
        if not self.is_of(acquired.position):
            self.base_version = acquired.head_version
        self.acquired = acquired
        self.lost.clear()


class HeldLocks:
    """The locks of one session by field. Only the session uses it."""

    def __init__(self) -> None:
        self._by_field: dict[str, HeldLock] = {}
        self._closing: Counter[str] = Counter()

    def __iter__(self) -> Iterator[HeldLock]:
        return iter(list(self._by_field.values()))

    def get(self, field: str) -> HeldLock | None:
        """Return the held lock of a field, or None."""
        return self._by_field.get(field)

    def add(self, lock: HeldLock) -> None:
        """Take in a new lock."""
        self._by_field[lock.field] = lock

    @contextlib.contextmanager
    def closing(self, *locks: HeldLock) -> Iterator[None]:
        """While it lasts, an entry that says a lock was given back is no loss: the reply to it is on its way."""
        fields = [lock.field for lock in locks]
        self._closing.update(fields)
        try:
            yield
        finally:
            self._closing.subtract(fields)

    def given_back(self, field: str, fencing_token: int) -> None:
        """The caller gave a grant back; a newer one stays."""
        lock = self._by_field.get(field)
        if lock is not None and lock.fencing_token <= fencing_token:
            self._drop(lock)

    def lose(self, lock: HeldLock) -> None:
        """A lock is lost for good."""
        self._drop(lock)
        lock.lost.set()

    def released(self, entry: audit_pb2.LockReleased) -> None:
        """Take in that the log tells of the end of a grant."""
        lock = self._by_field.get(entry.field)
        if lock is None or lock.fencing_token != entry.fencing_token or entry.release_reason in _SESSION_GONE:
            return
        if self._closing[lock.field] > 0 and entry.release_reason in _GIVEN_BACK:
            self._drop(lock)
        else:
            self.lose(lock)

    def doubt(self) -> None:
        """No heartbeat was answered for too long: the server may have given the locks to others."""
        for lock in self:
            lock.lost.set()

    def trust(self) -> None:
        """The server answers again, on the same stream: the locks were held all the time, or the log will tell."""
        for lock in self:
            lock.lost.clear()

    def lose_all(self) -> None:
        """The session is over."""
        for lock in self:
            self.lose(lock)

    def _drop(self, lock: HeldLock) -> None:
        lock.held = False
        if self._by_field.get(lock.field) is lock:
            del self._by_field[lock.field]
