"""The SessionManager: sessions as they are stored. The streams themselves are the hub's."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import secrets
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from foundry.domain.access import Action, check_access
from foundry.domain.entry import Event
from foundry.domain.errors import LimitExceeded, NotFound, ResumeRefused, Unavailable
from foundry.domain.session import CloseReason, Session, SessionState
from foundry.ids import new_id
from foundry.managers.access import authorize, readable
from foundry.managers.endings import ending
from foundry.managers.entries import SERVER, entry
from foundry.managers.holding import close
from foundry.store.needs import Needs
from foundry.store.requests import request_key

if TYPE_CHECKING:
    from foundry.domain.principal import Caller
    from foundry.domain.project import Member, Project
    from foundry.store.lane import WriteLane
    from foundry.store.projects import SqlAlchemyProjectRepository
    from foundry.store.sessions import SessionRepository
    from foundry.store.unit_of_work import UnitOfWork


#: Sessions that are closed in one go when their server is gone.
_REAPED_AT_ONCE = 500
#: Who waits longer to be let in into a new history is told to come back; its client may have gone elsewhere by then.
_SETTLING_S = 5.0
#: A client that missed being told so must not come back by itself after these.
_FOR_GOOD = frozenset({CloseReason.SUPERSEDED, CloseReason.ENDED})


@dataclass(frozen=True, slots=True)
class OpenSession:
    """What a client asks for when it opens a stream.

    Attributes:
        resume_session_id: Session to come back to, or empty.
        resume_secret: Its newest secret.
        grace_ms: How long locks shall outlive an unclean end.
    """

    project_id: str
    tab_id: str = ""
    resume_session_id: str = ""
    resume_secret: str = ""
    grace_ms: int = 0


@dataclass(frozen=True, slots=True)
class Attempt:
    """One attempt at opening a session; if its answer is lost, it is recognised by this.

    Attributes:
        session_id: Of the session, if it becomes a new one.
        secret: The new resume secret, 256 random bits; only its hash is stored.
    """

    session_id: str = field(default_factory=new_id)
    secret: str = field(default_factory=lambda: secrets.token_urlsafe(32))


@dataclass(frozen=True, slots=True)
class AttachedSession:
    """A session with a stream: new, or resumed with its locks.

    Attributes:
        secret: See ``Attempt``.
    """

    session: Session
    secret: str
    resumed: bool
    project: Project
    member: Member


@dataclass(frozen=True, slots=True)
class Ended:
    """The answer to EndSession."""

    sequence: int


class SessionManager:
    """Opens, resumes, detaches and closes.

    Args:
        boot_id: Id of this server process; a random one per start.
        shared: Other processes serve sessions too, and may give this one up; then it opens none.
    """

    def __init__(
        self,
        lane: WriteLane,
        projects: SqlAlchemyProjectRepository,
        sessions: SessionRepository,
        *,
        boot_id: str,
        sessions_max: int,
        shared: bool = False,
    ) -> None:
        self._lane = lane
        self._projects = projects
        self._sessions = sessions
        self._boot_id = boot_id
        self._replica_id = boot_id if shared else ""
        self._sessions_max = sessions_max
        self._settling = asyncio.Lock()
        self._settled_epoch = 1  # before the first history there is none

    async def open(self, caller: Caller, wanted: OpenSession, attempt: Attempt | None = None) -> AttachedSession:
        """Open a session, or resume one with its locks; either way with a fresh secret.

        Resuming compares the secret, rotates it, and raises the stream epoch, so a late teardown of the older stream
        does nothing. A session of the same principal with the same ``tab_id`` is superseded and closed.

        In a new history of the log nobody is let in before what was open in the one before is closed: nobody is to find
        a field held by a session that is over.

        Args:
            attempt: Names what is made; to be given to ``disown`` if it is not known whether it was.

        Raises:
            OutcomeUnknown: It may be open nevertheless.
            ResumeRefused: The secret is not the newest of a session of this principal in this project.
            SessionEnded: The session was superseded, or ended by somebody.
            LimitExceeded: The project has too many open sessions.
            ProjectAccessDenied, AgentAccessDenied: See the contract.
        """
        attempt = attempt or Attempt()
        secret = attempt.secret

        def decide(unit: UnitOfWork) -> AttachedSession | int:
            if unit.epoch > self._settled_epoch:
                return unit.epoch
            project, member = authorize(unit, caller, Action.READ)
            unit.check_replica()
            old = self._resumable(unit, caller, wanted) if wanted.resume_session_id else None
            if old and old.state is not SessionState.CLOSED and old.epoch == unit.epoch:
                session = self._resume(unit, caller, old, wanted, _hash(secret))
                return AttachedSession(session, secret, resumed=True, project=project, member=member)
            superseded = [
                other
                for other in unit.sessions
                # The one that could not be resumed is among them, and closed already.
                if other.state is not SessionState.CLOSED
                and wanted.tab_id == other.tab_id != ""
                and other.principal.same_actor(caller.principal)
            ]
            for other in superseded:
                close(unit, caller, other, CloseReason.SUPERSEDED)
            if unit.open_session_count - len(superseded) >= self._sessions_max:
                raise LimitExceeded("sessions in a project", self._sessions_max)
            session = self._new(unit, caller, wanted, attempt)
            return AttachedSession(session, secret, resumed=False, project=project, member=member)

        needs = Needs(
            wanted.project_id,
            caller.principal.subject,
            sessions=(wanted.resume_session_id,) if wanted.resume_session_id else (),
            sessions_of=caller.principal.subject if wanted.tab_id else "",
            count_sessions=True,
            replica=self._replica_id,
        )
        while isinstance(opened := await self._lane.submit(needs, decide), int):
            await self._settle(opened)
        return opened

    async def _settle(self, epoch: int) -> None:
        """Close what is left of the histories before, one of all who wait to be let in for the others."""
        try:
            async with asyncio.timeout(_SETTLING_S), self._settling:
                if epoch > self._settled_epoch:
                    await self.close_older(epoch)
                    self._settled_epoch = epoch
        except TimeoutError:
            raise Unavailable("sessions from before the failover are being closed") from None

    def _resumable(self, unit: UnitOfWork, caller: Caller, wanted: OpenSession) -> Session:
        session = unit.session(wanted.resume_session_id)
        if (
            session is None
            or session.project_id != wanted.project_id
            or not session.principal.same_actor(caller.principal)
            or not hmac.compare_digest(session.resume_hash, _hash(wanted.resume_secret))
        ):
            raise ResumeRefused(wanted.resume_session_id)
        if session.close_reason in _FOR_GOOD and (error := ending(session.close_reason, session.session_id)):
            raise error
        return session

    def _resume(
        self, unit: UnitOfWork, caller: Caller, old: Session, wanted: OpenSession, secret_hash: bytes
    ) -> Session:
        session = replace(
            old,
            state=SessionState.ATTACHED,
            stream_epoch=old.stream_epoch + 1,
            resume_hash=secret_hash,
            server_boot_id=self._boot_id,
            tab_id=wanted.tab_id or old.tab_id,
            grace_ms=wanted.grace_ms,
            detach_time_us=0,
        )
        unit.put_session(session)
        data: dict[str, Any] = {
            "session_id": session.session_id,
            "stream_epoch": session.stream_epoch,
            "peer": caller.peer,
        }
        unit.record(entry(Event.SESSION_RESUMED, caller, data, session_id=session.session_id))
        return session

    def _new(self, unit: UnitOfWork, caller: Caller, wanted: OpenSession, attempt: Attempt) -> Session:
        session = Session(
            session_id=attempt.session_id,
            project_id=wanted.project_id,
            principal=caller.principal,
            state=SessionState.ATTACHED,
            stream_epoch=1,
            resume_hash=_hash(attempt.secret),
            server_boot_id=self._boot_id,
            tab_id=wanted.tab_id,
            client_name=caller.client_name,
            client_version=caller.client_version,
            grace_ms=wanted.grace_ms,
            open_time_us=unit.now_us,
            epoch=unit.epoch,
        )
        unit.put_session(session)
        data: dict[str, Any] = {
            "session_id": session.session_id,
            "client": {"name": caller.client_name, "version": caller.client_version},
            "peer": caller.peer,
        }
        unit.record(entry(Event.SESSION_OPENED, caller, data, session_id=session.session_id))
        return session

    async def disown(self, wanted: OpenSession, attempt: Attempt) -> bool:
        """Close what an attempt made, if it did: nobody has its secret, so nobody could ever resume it."""
        session_ids = tuple(filter(None, (attempt.session_id, wanted.resume_session_id)))

        def decide(unit: UnitOfWork) -> bool:
            for session in filter(None, map(unit.session, session_ids)):
                mine = hmac.compare_digest(session.resume_hash, _hash(attempt.secret))
                if mine and session.state is not SessionState.CLOSED:
                    close(unit, SERVER, session, CloseReason.STREAM_GONE)
                    return True
            return False

        return await self._lane.submit(Needs(wanted.project_id, sessions=session_ids, held_by=session_ids), decide)

    async def current(self, session: Session) -> Session:
        """A session as it is stored now."""
        return await self._sessions.get(session.session_id) or session

    async def detach(self, session: Session) -> bool:
        """Note that a stream was lost while its session lives on for its grace; False if it was resumed meanwhile.

        Idempotent: whether an attempt was stored is not always known.
        """

        def decide(unit: UnitOfWork) -> bool:
            current = unit.session(session.session_id)
            if current is None or current.state is SessionState.CLOSED or current.stream_epoch != session.stream_epoch:
                return False
            if current.state is SessionState.ATTACHED:
                unit.put_session(replace(current, state=SessionState.DETACHED, detach_time_us=unit.now_us))
            return True

        return await self._lane.submit(Needs(session.project_id, sessions=(session.session_id,)), decide)

    async def close(self, session: Session, why: CloseReason, *, by: Caller | None = None) -> bool:
        """Close a session and release its locks, if it is still on the stream that ``session`` names.

        Idempotent; a late close of an older stream does nothing and returns False.
        """

        def decide(unit: UnitOfWork) -> bool:
            current = unit.session(session.session_id)
            if current is None or current.state is SessionState.CLOSED or current.stream_epoch != session.stream_epoch:
                return False
            close(unit, by or SERVER, current, why)
            return True

        held = (session.session_id,)
        return await self._lane.submit(Needs(session.project_id, sessions=held, held_by=held), decide)

    async def end(
        self, caller: Caller, project_id: str, session_id: str, *, reason: str = "", request_id: str = ""
    ) -> Ended:
        """End a session: everybody their own, a person with the role OWNER anyone's.

        Raises:
            NotFound: No open session of this id in the project.
            RoleTooLow, HumanRequired: It is somebody else's.
        """

        def decide(unit: UnitOfWork) -> Ended:
            project, member = authorize(unit, caller, Action.READ)
            if (done := unit.replay(Ended)) is not None:
                return done
            session = unit.session(session_id)
            if session is None or session.project_id != project_id or session.state is SessionState.CLOSED:
                raise NotFound("session", session_id)
            if not session.principal.same_actor(caller.principal):
                check_access(Action.END_SESSION, caller.principal, member, project)
            sequence = close(unit, caller, session, CloseReason.ENDED, reason=reason, request_id=request_id)
            return unit.remember(Ended(sequence))

        request = request_key(caller.principal, "EndSession", request_id, [project_id, session_id, reason])
        needs = Needs(
            project_id, caller.principal.subject, sessions=(session_id,), held_by=(session_id,), request=request
        )
        return await self._lane.submit(needs, decide)

    async def list_sessions(self, caller: Caller, project_id: str, after: str, limit: int) -> list[Session]:
        """Open sessions by age, from behind the id ``after``; at most ``limit``."""
        await readable(self._projects, caller, project_id)
        return await self._sessions.open_in(project_id, after, limit)

    async def orphans(self) -> list[Session]:
        """Open sessions whose server process was given up; at most ``_REAPED_AT_ONCE``."""
        return await self._sessions.of_the_dead(_REAPED_AT_ONCE)

    async def close_older(self, epoch: int) -> int:
        """Close every open session from before an epoch, in all projects; returns how many this process closed."""
        count = 0
        while older := await self._sessions.of_older_epochs(epoch, _REAPED_AT_ONCE):
            closing = (self.close(one, CloseReason.DB_FAILOVER) for one in older)
            closed = await asyncio.gather(*closing, return_exceptions=True)  # none waits behind one that cannot be
            for failure in closed:
                if isinstance(failure, BaseException):
                    raise failure
            count += closed.count(True)
        return count

    async def left_behind(self) -> list[Session]:
        """Open sessions that an earlier server process served, now detached: their streams are gone."""
        left = await self._sessions.left_by_other_boots(self._boot_id)
        for session in left:
            if session.state is SessionState.ATTACHED:
                await self.detach(session)
        return left


def _hash(secret: str) -> bytes:
    return hashlib.sha256(secret.encode()).digest()
