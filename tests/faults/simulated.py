"""A lock service and its clients in simulated time: it keeps the rules, or breaks one of them on purpose.

Each operation is called, takes effect and returns at three times of its own, so operations overlap; answers and
requests get lost, streams break and are resumed, programs die. It makes what a real run makes: a history and a log.
"""

from __future__ import annotations

import enum
import heapq
from dataclasses import dataclass, field
from functools import partial
from itertools import count
from math import inf
from random import Random
from typing import TYPE_CHECKING, Any

from tests.faults.forged import Log
from tests.faults.history import History, Note, Operation

if TYPE_CHECKING:
    from collections.abc import Callable

#: An answer: outcome, reason, result.
Answer = tuple[str, str, dict[str, Any]]


class Defect(enum.Enum):
    """What the service does wrong, once."""

    DOUBLE_GRANT = "grants a field that is held"
    FENCE_REUSE = "grants a field under the token of the grant before"
    STALE_SAVE = "takes a save under a token that is over"
    LOST_RELEASE = "acknowledges a release and keeps the lock"
    LATE_CLOSE = "lets an older stream's end close a session that was resumed"


@dataclass(slots=True)
class _Row:
    fence: int = 0
    holder: str = ""


@dataclass(slots=True)
class Service:
    """Grants, saves and releases, as the database does.

    Attributes:
        did: Whether the defect has happened.
    """

    defect: Defect | None
    log: Log = field(default_factory=Log)
    rows: dict[str, _Row] = field(default_factory=dict)
    epochs: dict[str, int] = field(default_factory=dict)
    done: dict[str, Answer] = field(default_factory=dict)
    versions: int = 0
    did: bool = False

    def _errs(self, defect: Defect) -> bool:
        errs = defect is self.defect and not self.did
        self.did |= errs
        return errs

    def open(self, session_id: str) -> Answer:
        self.epochs[session_id] = 1
        self.log.opened(session_id)
        return "ok", "", {"session_id": session_id}

    def resume(self, session_id: str) -> None:
        if session_id in self.epochs:
            self.epochs[session_id] += 1
            self.log.resumed(session_id, self.epochs[session_id])

    def close(self, session_id: str, epoch: int, reason: str) -> Answer:
        if session_id not in self.epochs:
            return "ok", "", {}
        if self.epochs[session_id] != epoch and not self._errs(Defect.LATE_CLOSE):
            return "ok", "", {}
        for name, row in sorted(self.rows.items()):
            if row.holder == session_id:
                self._free(name, row, reason)
        del self.epochs[session_id]
        self.log.closed(session_id, reason)
        return "ok", "", {}

    def acquire(self, session_id: str, name: str) -> Answer:
        row = self.rows.setdefault(name, _Row())
        if session_id not in self.epochs:
            return "refused", "SESSION_CLOSED", {}
        if row.holder and row.holder != session_id and not self._errs(Defect.DOUBLE_GRANT):
            told = {"session_id": row.holder, "fencing_token": str(row.fence)}
            return "refused", "LOCK_HELD", {"metadata": told}
        if row.holder != session_id:
            if not row.fence or not self._errs(Defect.FENCE_REUSE):
                row.fence += 1
            row.holder = session_id
            self.log.acquired(name, row.fence, session_id, session_id)
        return "ok", "", {"fence": row.fence, "session_id": session_id}

    def release(self, session_id: str, name: str, fence: int) -> Answer:
        row = self.rows.setdefault(name, _Row())
        if refusal := self._refusal(session_id, row, fence):
            return refusal
        if not self._errs(Defect.LOST_RELEASE):
            self._free(name, row, "CANCEL")
        return "ok", "", {}

    def save(self, session_id: str, name: str, fence: int, request_id: str, *, keep: bool) -> Answer:
        if request_id in self.done:
            return self.done[request_id]
        row = self.rows.setdefault(name, _Row())
        refusal = self._refusal(session_id, row, fence)
        if refusal and not (refusal[1] == "LOCK_LOST" and fence and self._errs(Defect.STALE_SAVE)):
            return refusal
        self.versions += 1
        self.log.saved(self.versions, name, fence, session_id, session_id, request_id=request_id)
        if not keep and not refusal:
            self._free(name, row, "SAVE")
        self.done[request_id] = "ok", "", {"version": self.versions, "fence": fence, "session_id": session_id}
        return self.done[request_id]

    def _refusal(self, session_id: str, row: _Row, fence: int) -> Answer | None:
        if session_id not in self.epochs:
            return "refused", "SESSION_CLOSED", {}
        if (row.holder, row.fence) == (session_id, fence):
            return None
        told = {"current_fencing_token": str(row.fence)} | ({"session_id": row.holder} if row.holder else {})
        return "refused", "LOCK_LOST", {"metadata": told}

    def _free(self, name: str, row: _Row, reason: str) -> None:
        self.log.released(name, row.fence, row.holder, reason)
        row.holder = ""


@dataclass(slots=True)
class _Client:
    process: str
    session_id: str = ""
    epoch: int = 0
    dead: bool = False
    seen: int | None = None
    held: dict[str, int] = field(default_factory=dict)
    old: list[tuple[str, str, int]] = field(default_factory=list)
    repeats: list[dict[str, Any]] = field(default_factory=list)


class World:
    """Clients at work on a service, until each has made its operations.

    Args:
        seed: Of all that is left to chance.
        steps: Operations of each client.
    """

    def __init__(self, seed: int, *, clients: int, fields: int, steps: int, defect: Defect | None = None) -> None:
        self._chance = Random(seed)
        self._fields = [f"f{number}" for number in range(fields)]
        self._steps = steps
        self._ids = count(1)
        self._todo: list[tuple[float, int, Callable[[], None]]] = []
        self._now = 0.0
        self._failed = 0
        self._clients = [_Client(f"c{number}") for number in range(clients)]
        self.service = Service(defect)
        self.operations: list[Operation] = []
        self.notes: dict[str, list[Note]] = {it.process: [] for it in self._clients}
        self.lost: dict[str, float] = {}

    def run(self) -> History:
        """Run to the end; returns what the clients recorded."""
        for client in self._clients:
            self._at(self._chance.random() * 10, partial(self._open, client, self._steps))
        while self._todo:
            self._now, _, deed = heapq.heappop(self._todo)
            deed()
            for client in self._clients:
                self._listen(client)
        return History(sorted(self.operations, key=lambda it: it.call_ns), self.notes, self.lost)

    def _at(self, time: float, deed: Callable[[], None]) -> None:
        heapq.heappush(self._todo, (time, next(self._ids), deed))

    def _note(self, client: _Client, kind: str, **data: Any) -> None:
        self.notes[client.process].append(Note(client.process, kind, client.session_id, self._now, data))

    @property
    def observable(self) -> bool:
        """Whether the defect has happened, and any client was told something that is not so."""
        if self.service.defect is not Defect.LOST_RELEASE:
            return self.service.did
        return any(it.ok and it.number == self._failed for it in self.operations)

    def _listen(self, client: _Client) -> None:
        """Tell a client that has a stream of what was committed."""
        if client.seen is None or client.dead:
            return
        for entry in self.service.log.entries[client.seen :]:
            self._note(client, "entry", epoch=1, sequence=entry.sequence, leaf=entry.leaf)
            if entry.event == "session_closed" and entry.data["session_id"] == client.session_id:
                self._note(client, "gone")
        client.seen = len(self.service.log.entries)

    def _call(
        self,
        client: _Client,
        kind: str,
        effect: Callable[[], Answer],
        args: dict[str, Any],
        then: Callable[[Operation], None],
        *,
        session_id: str | None = None,
    ) -> None:
        """An operation: its effect and its return come later, or never."""
        called, number = self._now, next(self._ids)
        session = client.session_id if session_id is None else session_id
        fate = self._chance.random()

        def record(returned: float, outcome: str, reason: str, result: dict[str, Any]) -> None:
            it = Operation(client.process, number, kind, session, called, returned, outcome, args, result, reason)
            self.operations.append(it)
            if not client.dead:
                then(it)

        def happen() -> None:
            did = self.service.did
            outcome, reason, result = effect()
            if self.service.did and not did:
                self._failed = number
            if fate < 0.92:
                self._at(self._now + self._chance.random() * 5, lambda: back(outcome, reason, result))

        def back(outcome: str, reason: str, result: dict[str, Any]) -> None:
            if client.dead:
                record(inf, "unknown", "LOST", {})
            else:
                record(self._now, outcome, reason, result)

        if fate < 0.96:
            self._at(called + self._chance.random() * 5, happen)
        if fate >= 0.92:
            self._at(called + 12, lambda: record(inf, "unknown", "DEADLINE_EXCEEDED", {}))

    # --- what clients do ---

    def _open(self, client: _Client, steps: int) -> None:
        session_id = f"s{next(self._ids)}"

        def opened(it: Operation) -> None:
            client.held.clear()
            if not it.ok:
                self._next(client, steps)
                return
            client.session_id, client.epoch = session_id, 1
            held = {name: [row.holder, row.fence] for name, row in self.service.rows.items() if row.holder}
            self._note(client, "opened", attachment="ATTACHMENT_SNAPSHOT")
            self._note(client, "snapshot", locks=held)
            client.seen = len(self.service.log.entries)
            self._note(client, "caught_up", epoch=1, sequence=client.seen)
            self._next(client, steps)

        client.session_id, client.seen = "", None
        self._call(client, "open", lambda: self.service.open(session_id), {}, opened, session_id="")

    def _next(self, client: _Client, steps: int) -> None:
        if steps > 0 and not client.dead:
            self._at(self._now + self._chance.random() * 8, lambda: self._step(client, steps - 1))

    def _step(self, client: _Client, steps: int) -> None:
        if client.dead:
            return
        chance, name = self._chance.random(), self._chance.choice(self._fields)
        if not client.session_id or client.session_id not in self.service.epochs:
            self._open(client, steps)
        elif client.repeats and chance < 0.5:
            self._save(client, steps, **client.repeats.pop())
        elif chance < 0.03:
            self._die(client)
        elif chance < 0.10:
            self._break_stream(client, steps)
        elif chance < 0.14:
            self._leave(client, steps)
        elif chance < 0.28 and client.old:
            session_id, old_name, fence = self._chance.choice(client.old)
            self._save(client, steps, session_id=session_id, name=old_name, fence=fence, request_id="", keep=False)
        elif name not in client.held:
            self._acquire(client, steps, name)
        elif chance < 0.75:
            keep, fence = self._chance.random() < 0.5, client.held[name]
            self._save(client, steps, session_id=client.session_id, name=name, fence=fence, request_id="", keep=keep)
        else:
            self._release(client, steps, name)

    def _acquire(self, client: _Client, steps: int, name: str) -> None:
        session_id = client.session_id

        def acquired(it: Operation) -> None:
            if it.ok:
                client.held[name] = it.fence
            self._next(client, steps)

        self._call(client, "acquire", lambda: self.service.acquire(session_id, name), {"field": name}, acquired)

    def _release(self, client: _Client, steps: int, name: str) -> None:
        session_id, fence = client.session_id, client.held.pop(name)
        client.old.append((session_id, name, fence))
        args = {"field": name, "fence": fence}
        self._call(
            client,
            "release",
            lambda: self.service.release(session_id, name, fence),
            args,
            lambda _: self._next(client, steps),
        )

    def _save(
        self, client: _Client, steps: int, *, session_id: str, name: str, fence: int, request_id: str, keep: bool
    ) -> None:
        request = request_id or f"r{next(self._ids)}"
        args = {"field": name, "fence": fence, "request_id": request, "keep": keep}
        if not keep and client.held.get(name) == fence:
            del client.held[name]
            client.old.append((session_id, name, fence))

        def saved(it: Operation) -> None:
            if it.outcome == "unknown" and not request_id:
                again = {"session_id": session_id, "name": name, "fence": fence, "request_id": request, "keep": keep}
                client.repeats.append(again)
            self._next(client, steps)

        def effect() -> Answer:
            return self.service.save(session_id, name, fence, request, keep=keep)

        self._call(client, "save", effect, args, saved, session_id=session_id)

    def _leave(self, client: _Client, steps: int) -> None:
        session_id, epoch = client.session_id, client.epoch
        client.old += [(session_id, name, fence) for name, fence in client.held.items()]
        client.held.clear()

        def left(_: Operation) -> None:
            self._note(client, "gone")
            self._open(client, steps)

        self._call(client, "leave", lambda: self.service.close(session_id, epoch, "LEAVE"), {}, left)

    def _break_stream(self, client: _Client, steps: int) -> None:
        """The stream breaks, and is resumed before or after its server notices that the old one is gone."""
        session_id, epoch, seen = client.session_id, client.epoch, client.seen
        client.seen = None

        def resume() -> None:
            if session_id in self.service.epochs:
                self.service.resume(session_id)
                client.epoch += 1
                client.seen = seen
                self._note(client, "opened", attachment="ATTACHMENT_RESUMED")
                self._listen(client)
                self._note(client, "caught_up", epoch=1, sequence=client.seen)
                self._next(client, steps)
                return
            self._note(client, "gone")
            client.old += [(session_id, name, fence) for name, fence in client.held.items()]
            self._open(client, steps)

        def teardown() -> None:
            # A later one that comes while the next stream is broken too could not be told from the end of that one.
            if not client.dead and (client.epoch == epoch or client.seen is not None):
                self.service.close(session_id, epoch, "STREAM_GONE")

        self._at(self._now + self._chance.random() * 10, resume)
        self._at(self._now + self._chance.random() * 20, teardown)

    def _die(self, client: _Client) -> None:
        session_id = client.session_id
        client.dead = True
        self.lost[client.process] = self._now

        def teardown() -> None:
            self.service.close(session_id, self.service.epochs.get(session_id, 0), "STREAM_GONE")

        self._at(self._now + self._chance.random() * 5, teardown)
