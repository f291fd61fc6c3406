"""Edits through the client library and records each operation, and each event that comes."""

from __future__ import annotations

import asyncio
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from coreason.foundry.v1.lock_pb2 import LockToken
from foundry.client import FoundryError, NotFound
from tests.faults.listening import listen

if TYPE_CHECKING:
    from coreason.foundry.v1.draft_pb2 import CreateDraftResponse
    from foundry.client import Foundry, HeldLock, Session
    from tests.faults.recorder import Call, Recorder

#: Old grants kept per field, to be shown when they are over.
_STALE_MAX = 8


@dataclass(slots=True, eq=False)
class Grip:
    """A grant as its holder knows it.

    Attributes:
        lock: The client library's lock, None for one taken by a call of its own.
        demoted: Whether the recording says that it is taken for lost.
    """

    field: str
    session_id: str
    fence: int
    base_version: int
    lock: HeldLock | None = None
    demoted: bool = False

    @property
    def doubtful(self) -> bool:
        """Whether its holder must take it for lost."""
        return self.lock is not None and self.lock.lost.is_set()


class Editor:
    """One session after the other in a project, and the locks that it holds.

    Operations go by the session's stream, or by calls that name the session (``way`` is ``stream`` or ``call``). Each
    returns the recorded operation, or None when there was nothing to do.

    Attributes:
        session_id: The newest session.
        grips: What it holds, by field.
        undecided: Saves whose outcome is not known.
    """

    def __init__(
        self, foundry: Foundry, recorder: Recorder, project_id: str, *, timeout_s: float = 5.0, grace_s: float = 0.0
    ) -> None:
        self._foundry = foundry
        self._recorder = recorder
        self._project_id = project_id
        self._timeout_s = timeout_s
        self._grace_s = grace_s
        self._session: Session | None = None
        self._asked_back: list[tuple[Call, Grip]] = []
        self._stale: dict[str, list[Grip]] = {}
        self._listening: set[asyncio.Task[None]] = set()
        self._watching: set[asyncio.Task[None]] = set()
        self._doubted: set[tuple[str, int]] = set()
        self.session_id = ""
        self.grips: dict[str, Grip] = {}
        self.undecided: list[dict[str, Any]] = []

    # --- sessions ---

    @property
    def ended(self) -> bool:
        """Whether it has no session."""
        return self._session is None or self._session.ended

    async def open(self) -> Call:
        """Open a session."""
        self.session_id = ""
        session = self._foundry.session(self._project_id, disconnect_grace=self._grace_s, timeout=self._timeout_s)
        listening = asyncio.create_task(listen(session.events(capacity=100_000), self._recorder, self._ask_back))
        self._listening.add(listening)
        listening.add_done_callback(self._listening.discard)
        with self._recorder.call("open") as call:
            try:
                await session.__aenter__()
            except FoundryError as error:
                call.failed(error)
            else:
                self._session = session
                self.session_id = session.session_id
                call.ok(session_id=session.session_id)
        return call

    async def leave(self) -> Call | None:
        """Leave the session. Recorded as done only when the server no longer lists it."""
        session = self._session
        if session is None:
            return None
        self._settle()
        session_id = session.session_id
        with self._recorder.call("leave", session_id=session_id) as call:
            try:
                await session.leave()
                listed = [it.session_id async for it in self._foundry.sessions.list(self._project_id, page_size=1_000)]
            except FoundryError as error:
                call.failed(error, certain=False)
            else:
                if session_id in listed:
                    call.unknown("LISTED")
                else:
                    call.ok()
        self._session = None
        for grip in list(self.grips.values()):
            self._let_go(grip)
        return call

    async def close(self) -> None:
        """Leave, and write down what will not be known any more."""
        await self.leave()
        if self._listening:
            await asyncio.wait(self._listening, timeout=self._timeout_s)
        for task in self._watching | self._listening:
            task.cancel()
        await asyncio.gather(*self._watching, *self._listening, return_exceptions=True)
        for call, _ in self._asked_back:
            call.unknown("LEFT")
        self._asked_back.clear()

    # --- locks ---

    async def acquire(self, field: str, way: str = "stream") -> Call | None:
        """Take the lock of a field."""
        session = self._ready()
        if session is None:
            return None
        with self._recorder.call("acquire", session_id=session.session_id, field=field, way=way) as call:
            lock: HeldLock | None = None
            try:
                if way == "stream":
                    lock = await session.acquire(field, timeout=self._timeout_s)
                    acquired = lock.acquired
                else:
                    acquired = await self._foundry.locks.acquire(
                        self._project_id, field, session.session_id, timeout=self._timeout_s
                    )
            except FoundryError as error:
                self._failed(call, error, way)
            else:
                granted = acquired.lock
                grip = Grip(field, granted.session_id, granted.fencing_token, acquired.head_version, lock)
                self.grips[field] = grip
                self._trust(grip)  # it may be the same grant again, which was taken for lost meanwhile
                self._watch(grip)
                call.ok(fence=grip.fence, session_id=grip.session_id, head_version=grip.base_version)
        return call

    async def touch(self, field: str, way: str = "stream") -> Call | None:
        """Put the idle release of a lock off."""
        session, grip = self._ready(), self.grips.get(field)
        if session is None or grip is None or grip.doubtful:
            return None
        way = way if grip.lock else "call"
        with self._recorder.call("touch", session_id=grip.session_id, field=field, fence=grip.fence, way=way) as call:
            try:
                if grip.lock and way == "stream":
                    touched = await session.touch(grip.lock, timeout=self._timeout_s)
                else:
                    touched = await self._foundry.locks.renew(
                        self._project_id, field, grip.session_id, grip.fence, timeout=self._timeout_s
                    )
            except FoundryError as error:
                self._failed(call, error, way)
            else:
                call.ok(fence=touched.fencing_token, session_id=touched.session_id)
        if call.reason in {"LOCK_LOST", "SESSION_CLOSED"}:
            self._let_go(grip)
        return call

    async def release(self, field: str, way: str = "stream") -> Call | None:
        """Give a lock back. On the stream the client library does not tell whether it was still held."""
        session, grip = self._ready(), self.grips.get(field)
        if session is None or grip is None:
            return None
        way = way if grip.lock else "call"
        named: dict[str, Any] = {"field": field, "fence": grip.fence, "request_id": str(uuid.uuid4()), "way": way}
        with self._recorder.call("release", session_id=grip.session_id, **named) as call:
            try:
                if grip.lock and way == "stream":
                    await session.release(grip.lock, timeout=self._timeout_s)
                    call.ok(certain=False)
                else:
                    await self._foundry.locks.release(
                        self._project_id,
                        field,
                        grip.session_id,
                        grip.fence,
                        request_id=named["request_id"],
                        timeout=self._timeout_s,
                    )
                    call.ok()
            except FoundryError as error:
                self._failed(call, error, way)
        self._let_go(grip)
        return call

    async def break_(self, field: str, reason: str = "needed now") -> Call | None:
        """Take a lock away from whoever holds it."""
        try:
            lock = await self._foundry.locks.get(self._project_id, field, timeout=self._timeout_s)
        except FoundryError as error:
            if isinstance(error, NotFound):
                return None
            raise
        named: dict[str, Any] = {"field": field, "fence": lock.fencing_token, "request_id": str(uuid.uuid4())}
        with self._recorder.call("break", session_id=self.session_id, **named) as call:
            try:
                await self._foundry.locks.break_(
                    self._project_id,
                    field,
                    lock.fencing_token,
                    reason,
                    request_id=named["request_id"],
                    timeout=self._timeout_s,
                )
            except FoundryError as error:
                call.failed(error)
            else:
                call.ok()
        return call

    # --- saves ---

    async def save(self, field: str, text: str, way: str = "stream", *, keep: bool = False) -> Call | None:
        """Save a field that it holds and does not doubt."""
        session, grip = self._ready(), self.grips.get(field)
        if session is None or grip is None or grip.doubtful:
            return None
        named = self._naming(grip, text, keep=keep, way=way if grip.lock else "call")
        call = await self._save(named, session if grip.lock and named["way"] == "stream" else None, grip.lock)
        if call.outcome == "ok" and keep:
            grip.base_version = max(grip.base_version, named["saved"])
        elif call.outcome != "refused" or call.reason != "STALE_VERSION":
            self._let_go(grip)
        return call

    async def save_stale(self, field: str, text: str) -> Call | None:
        """Save under an old token on purpose, perhaps of a session that is closed: it must be refused."""
        self._settle()
        stale = self._stale.get(field)
        if not stale:
            return None
        named = self._naming(stale[-1], text, keep=False, way="call")
        return await self._save({**named, "deliberate": True})

    async def save_once(self, field: str, text: str) -> Call | None:
        """Save a field that nobody holds, by a call that takes the lock and gives it back."""
        session = self._ready()
        if session is None:
            return None
        grip = Grip(field, "", 0, session.state.head_version)
        return await self._save(self._naming(grip, text, keep=False, way="call"))

    async def repeat(self) -> Call | None:
        """Ask again what became of the oldest undecided save, under its request id."""
        return await self._save({**self.undecided.pop(0), "way": "call"}) if self.undecided else None

    def _naming(self, grip: Grip, text: str, *, keep: bool, way: str) -> dict[str, Any]:
        return {
            "session_id": grip.session_id,
            "field": grip.field,
            "fence": grip.fence,
            "base_version": grip.base_version,
            "request_id": str(uuid.uuid4()),
            "text": text,
            "keep": keep,
            "way": way,
        }

    async def _save(self, named: dict[str, Any], session: Session | None = None, lock: HeldLock | None = None) -> Call:
        changes: dict[str, str | bytes | None] = {named["field"]: named["text"]}
        options: dict[str, Any] = {
            "base_version": named["base_version"],
            "request_id": named["request_id"],
            "keep_locks": named["keep"],
            "timeout": self._timeout_s,
        }
        with self._recorder.call("save", **named) as call:
            try:
                if session and lock:
                    saved = await session.save(changes, locks=(lock,), **options)
                else:
                    token = LockToken(field=named["field"], fencing_token=named["fence"])
                    saved = await self._foundry.drafts.save(
                        self._project_id,
                        changes,
                        session_id=named["session_id"],
                        locks=[token] if named["fence"] else (),
                        **options,
                    )
            except FoundryError as error:
                self._failed(call, error, named["way"])
            else:
                named["saved"] = saved.draft.version_number
                call.ok(**_saved(saved, named))
        if call.outcome == "unknown":
            self.undecided.append(named)
        return call

    # --- what becomes of grips ---

    def _ready(self) -> Session | None:
        self._settle()
        return None if self.ended else self._session

    def _settle(self) -> None:
        """Take in what the client library did by itself since the last operation."""
        for asked in list(self._asked_back):
            call, grip = asked
            lock = grip.lock
            assert lock is not None
            if (lock.fencing_token, lock.acquired.lock.session_id) != (grip.fence, grip.session_id):
                grip.fence, grip.session_id = lock.fencing_token, lock.acquired.lock.session_id
                call.ok(fence=grip.fence, session_id=grip.session_id)
            elif not lock.held:
                call.unknown("NOT_GIVEN_BACK")
            else:
                continue
            self._asked_back.remove(asked)
        for grip in list(self.grips.values()):
            asking = any(it is grip for _, it in self._asked_back)
            if self.ended or (grip.lock and not grip.lock.held) or (grip.session_id != self.session_id and not asking):
                self._let_go(grip)
            elif grip.demoted and not grip.doubtful:
                grip.demoted = False
                self._trust(grip)
                self._watch(grip)

    def _failed(self, call: Call, error: FoundryError, way: str) -> None:
        # A command that waits when its session ends gets the session's error, and may have been done all the same.
        if way == "call" or self._session is None:
            call.failed(error)
        else:
            call.failed(error, certain=not self.ended, session_id=self._session.session_id)

    def _let_go(self, grip: Grip) -> None:
        """It is over, or may be: from now on good for nothing but a stale save."""
        if self.grips.get(grip.field) is grip:
            del self.grips[grip.field]
        self._stale.setdefault(grip.field, []).append(grip)
        del self._stale[grip.field][:-_STALE_MAX]

    def _trust(self, grip: Grip) -> None:
        """Write down that the server has confirmed a grant which was taken for lost."""
        if (grip.field, grip.fence) in self._doubted:
            self._doubted.discard((grip.field, grip.fence))
            self._recorder.note("regained", session_id=grip.session_id, field=grip.field, fence=grip.fence)

    def _watch(self, grip: Grip) -> None:
        """Write down when the client library says that a lock must be taken for lost."""
        if grip.lock is None:
            return
        lost, fence = grip.lock.lost, grip.fence

        async def watch() -> None:
            await lost.wait()
            grip.demoted = True
            self._doubted.add((grip.field, fence))
            self._recorder.note("demoted", session_id=grip.session_id, field=grip.field, fence=fence)

        watching = asyncio.create_task(watch())
        self._watching.add(watching)
        watching.add_done_callback(self._watching.discard)

    # --- what the client library does by itself ---

    def _ask_back(self, session_id: str) -> None:
        """A new session took the old one's place: now the client library asks for each lock, by itself."""
        self.session_id = session_id
        for grip in self.grips.values():
            if grip.lock is not None and grip.lock.held:
                call = self._recorder.call(
                    "acquire", session_id=session_id, field=grip.field, if_unchanged_since=grip.fence, way="ask back"
                )
                self._asked_back.append((call, grip))


def _saved(saved: CreateDraftResponse, named: dict[str, Any]) -> dict[str, Any]:
    """What an acknowledged save says: version (0 for no change), and the grant under which it was made."""
    fences = {change.field: change.fencing_token for change in saved.draft.changed_fields}
    return {
        "version": saved.draft.version_number,
        "fence": fences.get(named["field"], named["fence"]),
        "session_id": saved.draft.session_id or named["session_id"],
    }
