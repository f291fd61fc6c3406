"""A live session in a project, as programs use it."""

# ruff: noqa: ASYNC109 - the timeout of a command covers breaks of the stream and ends in an error of ours

from __future__ import annotations

import contextlib
import uuid
from collections.abc import AsyncIterator, Iterable, Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

from google.protobuf.duration_pb2 import Duration

from coreason.foundry.v1 import draft_pb2, lock_pb2, project_pb2, types_pb2
from coreason.foundry.v1 import session_command_pb2 as command_pb2
from coreason.foundry.v1.session_pb2 import ProjectSessionRequest, ServerEvent
from foundry import __version__
from foundry.client.calls import TIMEOUT_S, request_id_or_new
from foundry.client.channel import Token
from foundry.client.errors import FoundryError, LockLost, ProjectArchived, ProjectFrozen, SessionClosed
from foundry.client.live.held_lock import HeldLock
from foundry.client.live.link import Link, StartCall
from foundry.client.live.pulse import Timing
from foundry.client.live.reconnect import Reconnect
from foundry.client.live.run_commands import RunCommands
from foundry.client.live.subscription import CAPACITY
from foundry.client.live.workspace import Workspace
from foundry.client.services.drafts import Changes, field_changes


@dataclass(frozen=True, slots=True)
class ResumeState:
    """What a program keeps to come back to its session later, even as another process.

    Attributes:
        session_id: The session.
        resume_secret: Its newest secret; it works once.
        epoch: Identity of the log's history, from 1; 0 to name no position and get a snapshot.
        sequence: Sequence number of the last entry seen, from 0.
        runs: Of the runs it follows and whose end it has not seen, the last line seen, by run.
    """

    session_id: str
    resume_secret: str
    epoch: int = 0
    sequence: int = 0
    runs: Mapping[str, int] = field(default_factory=dict)


class Session(RunCommands):
    """A session in a project that comes back by itself when its stream breaks. Used with ``async with``.

    Entering opens it and waits until it is caught up; leaving the block ends it and releases its locks. It belongs to
    one event loop. Every command waits while the stream is broken, and takes a ``timeout`` in seconds for all of that.
    """

    def __init__(
        self,
        start: StartCall,
        token: Token,
        project_id: str,
        *,
        tab_id: str = "",
        client_name: str = "foundry-python",
        disconnect_grace: float = 0.0,
        follow_runs: bool = False,
        resume: ResumeState | None = None,
        timeout: float = TIMEOUT_S,
        reconnect: Reconnect | None = None,
        timing: Timing | None = None,
    ) -> None:
        """Args: as for ``Foundry.session``; ``reconnect`` and ``timing`` are there for tests."""
        grace = Duration()
        grace.FromMilliseconds(round(disconnect_grace * 1000))
        opening = command_pb2.Open(
            project_id=project_id,
            # Without one, a stream whose end the server has not noticed yet would keep its locks from its successor.
            tab_id=tab_id or str(uuid.uuid4()),
            client=types_pb2.ClientInfo(name=client_name, version=__version__),
            disconnect_grace=grace,
            follow_runs=follow_runs,
        )
        if resume is not None:
            opening.resume.session_id = resume.session_id
            opening.resume.resume_secret = resume.resume_secret
            if resume.epoch:
                opening.resume.after.CopyFrom(types_pb2.Position(epoch=resume.epoch, sequence=resume.sequence))
            for run_id, line in resume.runs.items():
                opening.resume.runs.add(run_id=run_id, line=line)
        self._timeout = timeout
        self._link = Link(start, token, opening, reconnect=reconnect, timing=timing)

    async def __aenter__(self) -> Self:
        await self._link.connect(self._timeout)
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.leave()

    # --- what it knows ------------------------------------------------------------------------------------------

    @property
    def session_id(self) -> str:
        """Its id; another one after a reconnect that could not resume it."""
        return self._link.opened.session_id

    @property
    def role(self) -> project_pb2.Role.ValueType:
        """The caller's role in the project."""
        return self._link.opened.role

    @property
    def position(self) -> types_pb2.Position:
        """The last position seen."""
        return self._link.position or types_pb2.Position()

    @property
    def state(self) -> Workspace:
        """The project, its locks, its fields, its runs and who is here, kept up to date; always the same object.

        It follows the events: the answer to a command of one's own may come a moment before the entries it caused.
        """
        return self._link.workspace

    @property
    def resume_state(self) -> ResumeState:
        """What to keep to come back to this session; changes with every stream, every entry and every console line."""
        opened, position, runs = self._link.opened, self.position, self._link.runs.as_dict()
        return ResumeState(opened.session_id, opened.resume_secret, position.epoch, position.sequence, runs)

    @property
    def jeopardy(self) -> bool:
        """Whether nothing has come from the server for 6 s: the session may be lost, and saves will wait."""
        return self._link.jeopardy

    @property
    def ended(self) -> bool:
        """Whether it is over."""
        return self._link.ended

    @property
    def error(self) -> FoundryError | None:
        """Why it is over; None while it is not, and after ``leave``."""
        return self._link.error if self._link.ended else None

    def events(self, *, capacity: int = CAPACITY) -> AsyncIterator[ServerEvent]:
        """Return all events from this call on, but replies: in order, entries and lines once each, over reconnects.

        It ends when the session ends; ``error`` says why that was. Called before the session is entered, it begins with
        ``opened`` and what was missed, or the snapshot. There may be several at the same time. Each tells, before the
        application acts on an event, what ``state`` already shows.

        Args:
            capacity: Events that may wait, at least 1. A reader that falls further behind finds a ``resync`` with the
                reason SLOW_READER in place of what it lost; console lines are read again with ``runs.read_log``.
        """
        return self._link.subscribe(capacity)

    # --- locks --------------------------------------------------------------------------------------------------

    @contextlib.asynccontextmanager
    async def lock(self, field: str, *, purpose: str = "") -> AsyncIterator[HeldLock]:
        """Hold the lock of a field for the length of a block; on the way out it is released if still held.

        Args:
            field: The field, at most 200 bytes; it need not exist yet.
            purpose: What it is for, at most 200 bytes.

        Raises:
            FoundryError: As for ``acquire``.
        """
        lock = await self.acquire(field, purpose=purpose)
        try:
            yield lock
        finally:
            await self.release(lock)

    async def acquire(
        self,
        field: str,
        *,
        purpose: str = "",
        if_unchanged_since: int = 0,
        timeout: float = TIMEOUT_S,
    ) -> HeldLock:
        """Take the lock of a free field. For a field this session holds already it returns the same lock.

        Args:
            field: The field, at most 200 bytes; it need not exist yet.
            purpose: What it is for, at most 200 bytes.
            if_unchanged_since: When over 0: only if nobody held the field since this fencing token.
            timeout: Seconds it may take.

        Raises:
            LockHeld: Another session holds it; names the holder.
            LockIntervened: Somebody held it since ``if_unchanged_since``.
            AccessDenied: The caller may not edit.
            ProjectFrozen: The content can no longer change.
            DeadlineExceeded: No answer in time; a grant that still comes is given back.
        """
        command = command_pb2.SessionAcquireLock(field=field, purpose=purpose, if_unchanged_since=if_unchanged_since)
        reply = await self._link.command(lambda: ProjectSessionRequest(acquire_lock=command), timeout)
        lock = self._link.locks.get(field)
        if lock is None:
            lock = HeldLock(self, reply.acquired, purpose)
            self._link.locks.add(lock)
        else:
            lock.granted(reply.acquired)
        return lock

    async def release(self, lock: HeldLock, *, timeout: float = TIMEOUT_S) -> None:
        """Give a lock back without saving; nothing happens when it is not held any more.

        Raises:
            DeadlineExceeded: No answer in time.
        """

        def command() -> ProjectSessionRequest:
            release = command_pb2.SessionReleaseLock(field=lock.field, fencing_token=lock.fencing_token)
            return ProjectSessionRequest(release_lock=release)

        if not lock.held:
            return
        # A project that was frozen or archived meanwhile has released it, even if that entry is still on its way.
        gone = contextlib.suppress(LockLost, SessionClosed, ProjectFrozen, ProjectArchived)
        with self._link.locks.closing(lock), gone:
            await self._link.command(command, timeout)
        self._link.locks.given_back(lock.field, lock.fencing_token)

    async def touch(self, lock: HeldLock, *, timeout: float = TIMEOUT_S) -> lock_pb2.Lock:
        """Put off the idle release of a lock; returns it with its new expiry.

        Raises:
            LockLost: It is no longer held.
            DeadlineExceeded: No answer in time.
        """

        def command() -> ProjectSessionRequest:
            touch = command_pb2.SessionTouch(field=lock.field, fencing_token=lock.fencing_token)
            return ProjectSessionRequest(touch=touch)

        reply = await self._link.command(command, timeout)
        lock.acquired.lock.CopyFrom(reply.touched)
        return reply.touched

    # --- content and presence -----------------------------------------------------------------------------------

    async def save(
        self,
        changes: Changes,
        *,
        base_version: int | None,
        locks: Iterable[HeldLock] = (),
        keep_locks: bool = False,
        message: str = "",
        reason: str = "",
        validate_only: bool = False,
        request_id: str | None = None,
        timeout: float = TIMEOUT_S,
    ) -> draft_pb2.CreateDraftResponse:
        """Save changes as the next version and give the locks of the changed fields back.

        Args:
            changes: 1 to 64 changes, each field once; see ``DraftClient.save``.
            base_version: The version the changes were made on, 0 for an empty project; None for the newest that the
                locks are based on when it is sent: another history of the log numbers versions anew.
            locks: The lock of each changed field.
            keep_locks: Keep the locks.
            message: What the version is about, at most 4 KiB.
            reason: Why, at most 4 KiB.
            validate_only: Check everything and change nothing.
            request_id: UUID that makes the save safe to repeat for 24 hours; None for a new one.
            timeout: Seconds it may take.

        Raises:
            LockRequired: A changed field is not named in ``locks``.
            LockLost: A lock is no longer held.
            StaleVersion: A field changed since ``base_version``.
            InvalidContent: Content is not what its field's kind demands.
            DeadlineExceeded: No answer in time; whether it was saved, ``state`` and the same ``request_id`` tell.
        """
        held = tuple(locks)
        request = draft_pb2.CreateDraftRequest(
            changes=field_changes(changes),
            base_version=base_version or 0,
            keep_locks=keep_locks,
            message=message,
            reason=reason,
            request_id=request_id_or_new(request_id),
            validate_only=validate_only,
        )

        def command() -> ProjectSessionRequest:
            if base_version is None:
                request.base_version = max((lock.base_version for lock in held), default=0)
            request.locks.extend(lock.token for lock in held)
            return ProjectSessionRequest(create_draft=request)

        with self._link.locks.closing(*held):
            saved = (await self._link.command(command, timeout)).saved
        for lock in held:
            if saved.HasField("draft") and not validate_only:
                lock.saved(saved.draft)
        for released in saved.released_locks:
            self._link.locks.given_back(released.field, released.fencing_token)
        return saved

    async def update_presence(
        self,
        *,
        focus_field: str = "",
        cursor: str = "",
        activity: str = "",
        timeout: float = TIMEOUT_S,
    ) -> None:
        """Show the others what this session is at; replaces what it showed before, and is shown again after a break.

        Args:
            focus_field: Field the person looks at, at most 200 bytes.
            cursor: Caret position in a form the clients agree on, at most 200 bytes.
            activity: What the person or agent does, at most 200 bytes.
            timeout: Seconds it may take.

        Raises:
            DeadlineExceeded: No answer in time.
        """
        presence = command_pb2.UpdatePresence(focus_field=focus_field, cursor=cursor, activity=activity)
        self._link.presence = presence
        await self._link.command(lambda: ProjectSessionRequest(update_presence=presence), timeout)

    # --- life cycle ---------------------------------------------------------------------------------------------

    async def refresh_token(self, token: str, *, timeout: float = TIMEOUT_S) -> None:
        """Replace the token before it expires, here and for the streams to come.

        Args:
            token: The new token of the same subject, kind and delegation, without ``Bearer``; at most 16 KiB.
            timeout: Seconds it may take.

        Raises:
            Unauthenticated: It is no valid token for this session.
            DeadlineExceeded: No answer in time.
        """
        command = command_pb2.RefreshToken(token=token)
        await self._link.command(lambda: ProjectSessionRequest(refresh_token=command), timeout)
        self._link.token.refresh(token)

    async def leave(self) -> None:
        """End the session and release its locks; takes at most 2 s, and does nothing when it is over."""
        await self._link.leave()
