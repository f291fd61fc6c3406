"""The LockManager: who holds the pen on a field."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from foundry.domain.access import Action, check_access, check_breaking, check_content_open, check_thawed
from foundry.domain.entry import Entry, Event
from foundry.domain.errors import LockHeld, LockLost, NotFound, Unavailable
from foundry.domain.field import check_field_name
from foundry.domain.lock import AcquireResult, Lock, ReleaseReason
from foundry.managers.access import authorize, readable
from foundry.managers.entries import SERVER
from foundry.managers.holding import attached_session, check_free, grant, release
from foundry.store.needs import Needs
from foundry.store.requests import request_key

if TYPE_CHECKING:
    from foundry.coordination.ports import LockRegistry
    from foundry.domain.events import News
    from foundry.domain.field import FieldState
    from foundry.domain.principal import Caller
    from foundry.managers.denials import Denials
    from foundry.managers.feed import Feed
    from foundry.store.fields import FieldRepository
    from foundry.store.lane import WriteLane
    from foundry.store.projects import SqlAlchemyProjectRepository
    from foundry.store.unit_of_work import UnitOfWork

#: A claim in the registry that no grant confirms within this time is void.
_CLAIM_TTL_S = 15.0
#: A grant that is not shown again for three times this long is forgotten by a registry with leases.
_SHOWN_AGAIN_S = 5.0
#: A touch that would move the expiry by less than this, or less than a hundredth of the idle limit, is not written.
_TOUCH_US_MIN = 5_000_000


@dataclass(frozen=True, slots=True)
class ReleaseResult:
    """A lock that ended, and the log position of its entry."""

    lock: Lock
    sequence: int


class LockManager:
    """Acquire, renew, release, break: on the stream and by RPC through the same methods.

    Args:
        idle_limit_us: A lock without save, touch or renewal for this long is released, microseconds.
        boot_id: This server process; it keeps the locks of its own sessions shown in the registry.
    """

    def __init__(
        self,
        lane: WriteLane,
        projects: SqlAlchemyProjectRepository,
        fields: FieldRepository,
        registry: LockRegistry,
        denials: Denials,
        *,
        idle_limit_us: int,
        boot_id: str = "",
    ) -> None:
        self._lane = lane
        self._projects = projects
        self._fields = fields
        self._registry = registry
        self._denials = denials
        self._idle_limit_us = idle_limit_us
        self._boot_id = boot_id
        self._released: asyncio.Queue[Entry] = asyncio.Queue()

    # --- the holder ---

    async def acquire(
        self,
        caller: Caller,
        project_id: str,
        session_id: str,
        field: str,
        *,
        purpose: str = "",
        if_unchanged_since: int = 0,
        stream_epoch: int = 0,
    ) -> AcquireResult:
        """Take the lock of a free field. A session that holds it already gets the same grant again.

        The registry may say no at once; only the database says yes.

        Args:
            if_unchanged_since: When over 0, grant only if the field's fence is still this.
            stream_epoch: That of the stream that asks, 0 for a call: what is granted to a stream after another one has
                taken its place, its client hears nothing of.

        Raises:
            LockHeld: Another session holds it; the holder is named and the refusal counted in the log.
            LockIntervened: Somebody held the field since ``if_unchanged_since``.
            SessionClosed, SessionEnded, ProjectFrozen, ProjectArchived, FieldNameConflict, LimitExceeded: See the
                contract.
        """
        check_field_name(field)
        claimed = await self._registry.acquire(project_id, field, caller.principal.subject, session_id, _CLAIM_TTL_S)
        if not claimed:
            await self._check_not_held(caller, project_id, field, session_id)

        def decide(unit: UnitOfWork) -> AcquireResult:
            check_content_open(authorize(unit, caller, Action.EDIT)[0])
            session = attached_session(unit, caller, session_id, stream_epoch)
            state = unit.field(field)
            already = state.lock is not None and state.lock.session_id == session_id
            if state.lock is not None and already:
                lock = state.lock
            else:
                check_free(unit, caller, [field])
                lock = grant(
                    unit,
                    caller,
                    session,
                    state,
                    idle_limit_us=self._idle_limit_us,
                    purpose=purpose,
                    if_unchanged_since=if_unchanged_since,
                )
            return _acquired(unit, lock, state, already_held=already)

        needs = Needs(project_id, caller.principal.subject, sessions=(session_id,), fields=(field,))
        try:
            result = await self._lane.submit(needs, decide)
        except LockHeld as held:
            await self._registry.release(project_id, field, session_id, 0)
            holder = held.locks[0]
            await self._registry.confirm(
                project_id, field, holder.holder.subject, holder.session_id, holder.fencing_token
            )
            self._denials.lock_denied(project_id, field, caller.principal.subject)
            raise
        except BaseException:
            await self._registry.release(project_id, field, session_id, 0)
            raise
        await self._registry.confirm(project_id, field, caller.principal.subject, session_id, result.lock.fencing_token)
        return result

    async def _check_not_held(self, caller: Caller, project_id: str, field: str, session_id: str) -> None:
        """The registry said no: refuse if the row says so too; a caller without rights learns nothing."""
        state = await self._fields.get(project_id, field)
        # Behind it: who lost the right to read is not told who holds what since.
        project, member = await readable(self._projects, caller, project_id)
        check_access(Action.EDIT, caller.principal, member, project)
        check_content_open(project)
        if state and state.lock and state.lock.session_id != session_id:
            self._denials.lock_denied(project_id, field, caller.principal.subject)
            raise LockHeld([state.lock], same_principal=state.lock.holder.same_actor(caller.principal))

    async def renew(self, caller: Caller, project_id: str, session_id: str, field: str, fencing_token: int) -> Lock:
        """Put off the idle release. Not logged, and written at most every five seconds.

        Raises:
            LockLost: The session does not hold the field with this token.
            SessionClosed: The session is not the caller's or not attached.
        """

        def decide(unit: UnitOfWork) -> Lock:
            project, _ = authorize(unit, caller, Action.READ)
            check_thawed(project)
            attached_session(unit, caller, session_id)
            lock = _held(unit, field, session_id, fencing_token)
            renewed = replace(lock, expire_time_us=unit.now_us + self._idle_limit_us)
            if renewed.expire_time_us - lock.expire_time_us < min(_TOUCH_US_MIN, self._idle_limit_us // 100):
                return lock
            unit.put_field(replace(unit.field(field), lock=renewed))
            return renewed

        check_field_name(field)
        needs = Needs(project_id, caller.principal.subject, sessions=(session_id,), fields=(field,))
        return await self._lane.submit(needs, decide)

    async def release(
        self,
        caller: Caller,
        project_id: str,
        session_id: str,
        field: str,
        fencing_token: int,
        *,
        request_id: str = "",
        stream_epoch: int = 0,
    ) -> ReleaseResult:
        """Give a lock back without saving.

        Args:
            stream_epoch: That of the stream that asks, 0 for a call: what its client asked for before it went on with
                another one must not take away what it has got again there.

        Raises:
            LockLost: The session does not hold the field with this token.
            SessionClosed: The session is not the caller's or not attached.
            SessionEnded: Another stream has attached it since.
        """

        def decide(unit: UnitOfWork) -> ReleaseResult:
            project, _ = authorize(unit, caller, Action.READ)
            if (done := unit.replay(ReleaseResult)) is not None:
                return done
            check_thawed(project)
            attached_session(unit, caller, session_id, stream_epoch)
            lock = _held(unit, field, session_id, fencing_token)
            sequence = release(unit, caller, lock, ReleaseReason.CANCEL, request_id=request_id)
            return unit.remember(ReleaseResult(lock, sequence))

        check_field_name(field)
        request = request_key(
            caller.principal, "ReleaseLock", request_id, [project_id, session_id, field, fencing_token]
        )
        needs = Needs(project_id, caller.principal.subject, sessions=(session_id,), fields=(field,), request=request)
        return await self._lane.submit(needs, decide)

    # --- others ---

    async def break_(
        self,
        caller: Caller,
        project_id: str,
        field: str,
        fencing_token: int,
        *,
        reason: str,
        request_id: str = "",
    ) -> ReleaseResult:
        """Take a lock away from its holder, if it is still the grant the caller saw.

        Raises:
            LockLost: The field is free, or was granted anew.
            RoleTooLow, HumanRequired: See ``check_breaking``.
        """

        def decide(unit: UnitOfWork) -> ReleaseResult:
            project, member = authorize(unit, caller, Action.BREAK_LOCK)
            if (done := unit.replay(ReleaseResult)) is not None:
                return done
            check_thawed(project)
            state = unit.field(field)
            if state.lock is None or state.lock.fencing_token != fencing_token:
                raise LockLost(field, fencing_token, state.lock, state.fence)
            check_breaking(member, state.lock)
            sequence = release(unit, caller, state.lock, ReleaseReason.FORCED, reason=reason, request_id=request_id)
            return unit.remember(ReleaseResult(state.lock, sequence))

        check_field_name(field)
        request = request_key(caller.principal, "BreakLock", request_id, [project_id, field, fencing_token, reason])
        needs = Needs(project_id, caller.principal.subject, fields=(field,), request=request)
        return await self._lane.submit(needs, decide)

    async def get(self, caller: Caller, project_id: str, field: str) -> Lock:
        """The lock of a field.

        Raises:
            NotFound: The field is free.
        """
        await readable(self._projects, caller, project_id)
        check_field_name(field)
        state = await self._fields.get(project_id, field)
        if state is None or state.lock is None:
            raise NotFound("lock", field)
        return state.lock

    async def list_locks(self, caller: Caller, project_id: str, after: str, limit: int) -> list[Lock]:
        """Held locks by field, from behind the field ``after``; at most ``limit``."""
        await readable(self._projects, caller, project_id)
        return await self._fields.locks(project_id, after, limit)

    # --- the server ---

    async def release_idle(self, lock: Lock) -> bool:
        """Release a lock that was not touched in time; False when it was touched or ended meanwhile."""

        def decide(unit: UnitOfWork) -> bool:
            current = unit.field(lock.field).lock
            if current is None or current.lock_id != lock.lock_id or current.expire_time_us > unit.now_us:
                return False
            release(unit, SERVER, current, ReleaseReason.IDLE)
            return True

        return await self._lane.submit(Needs(lock.project_id, fields=(lock.field,)), decide)

    def follow(self, feed: Feed) -> None:
        """Let the registry forget what the log says was released."""

        def receive(entry: News) -> None:
            if isinstance(entry, Entry) and entry.new.event is Event.LOCK_RELEASED:
                self._released.put_nowait(entry)

        feed.subscribe(receive)

    async def run(self) -> None:
        """Keep the registry in step with the log and with the rows, for as long as the server runs."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._forget_released())
            tasks.create_task(self._show_held())

    async def _forget_released(self) -> None:
        while True:
            entry = await self._released.get()
            data = entry.new.data
            await self._registry.release(
                entry.log, str(data["field"]), str(data["session_id"]), int(str(data["fencing_token"]))
            )

    async def _show_held(self) -> None:
        """What the rows say, every five seconds: whatever the registry lost or has wrong is right again then."""
        while True:
            await asyncio.sleep(_SHOWN_AGAIN_S)
            with contextlib.suppress(Unavailable):
                await self._registry.renew(await self._fields.held_on(self._boot_id))


def _acquired(unit: UnitOfWork, lock: Lock, state: FieldState, *, already_held: bool) -> AcquireResult:
    return AcquireResult(
        lock=lock,
        field_version=state.last_changed_version,
        field_sha256=state.content.sha256 if state.content else "",
        head_version=unit.project.head_version,
        sequence=unit.last_sequence(),
        already_held=already_held,
    )


def _held(unit: UnitOfWork, field: str, session_id: str, fencing_token: int) -> Lock:
    state = unit.field(field)
    lock = state.lock
    if lock is None or lock.session_id != session_id or lock.fencing_token != fencing_token:
        raise LockLost(field, fencing_token, lock, state.fence)
    return lock
