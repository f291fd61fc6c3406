"""Logs and histories made by hand: well-formed and chained as the real ones, whatever they tell."""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING, Any

from tests.faults.entries import canonical_bytes, parse_entry
from tests.faults.history import History, Note, Operation

if TYPE_CHECKING:
    from tests.faults.entries import Entry


class Log:
    """A log that takes whatever it is given.

    Attributes:
        entries: What it was given, chained.
    """

    def __init__(self) -> None:
        self.entries: list[Entry] = []

    def add(
        self,
        event: str,
        data: dict[str, Any],
        *,
        session_id: str = "",
        request_id: str = "",
        actor: str = "",
        us: int = 0,
    ) -> Entry:
        """Append an entry; ``us`` is its time in microseconds since the Unix epoch, below a million."""
        record: dict[str, Any] = {
            "actor": {"id": actor, "kind": "HUMAN"},
            "data": data,
            "event": event,
            "prev": self.entries[-1].leaf if self.entries else "00" * 32,
            "seq": len(self.entries) + 1,
            "session_id": session_id,
            "request_id": request_id,
            "time": f"1970-01-01T00:00:00.{us:06d}Z",
        }
        entry = parse_entry(canonical_bytes(record))
        self.entries.append(entry)
        return entry

    def opened(self, session_id: str, *, unary: bool = False, us: int = 0) -> Entry:
        """A session was opened."""
        data: dict[str, Any] = {"session_id": session_id}
        return self.add("session_opened", data | ({"unary": True} if unary else {}), session_id=session_id, us=us)

    def resumed(self, session_id: str, epoch: int = 2, *, us: int = 0) -> Entry:
        """A session came back."""
        return self.add("session_resumed", {"session_id": session_id, "stream_epoch": epoch}, us=us)

    def closed(self, session_id: str, reason: str = "LEAVE", *, us: int = 0) -> Entry:
        """A session ended."""
        data = {"session_id": session_id, "close_reason": f"SESSION_CLOSE_REASON_{reason}"}
        return self.add("session_closed", data, session_id=session_id, us=us)

    def acquired(self, field: str, fence: int, session_id: str, actor: str = "ann", *, us: int = 0) -> Entry:
        """A lock was granted; its id is made of field and fence."""
        return self.add("lock_acquired", _lock(field, fence, session_id), session_id=session_id, actor=actor, us=us)

    def released(self, field: str, fence: int, session_id: str, reason: str = "CANCEL", *, us: int = 0) -> Entry:
        """A lock ended."""
        data = _lock(field, fence, session_id) | {"release_reason": f"LOCK_RELEASE_REASON_{reason}"}
        return self.add("lock_released", data, session_id=session_id, us=us)

    def saved(
        self,
        version: int,
        field: str,
        fence: int,
        session_id: str,
        actor: str = "ann",
        *,
        request_id: str = "",
        us: int = 0,
    ) -> Entry:
        """A version was saved that changed one field."""
        change = {"field": field, "lock_id": f"{field}/{fence}", "fencing_token": fence}
        data = {"version_number": version, "changed_fields": [change]}
        return self.add("draft_created", data, session_id=session_id, request_id=request_id, actor=actor, us=us)


def _lock(field: str, fence: int, session_id: str) -> dict[str, Any]:
    return {"lock_id": f"{field}/{fence}", "field": field, "session_id": session_id, "fencing_token": fence}


def operation(
    kind: str,
    begin: float,
    end: float | None,
    session_id: str = "",
    *,
    process: str = "c",
    reason: str = "",
    **named: Any,
) -> Operation:
    """An operation of a hand-made history.

    Args:
        end: When it returned; None for one whose outcome is not known.
        reason: Of a refusal; empty for one that was acknowledged.
        named: Its arguments; of these ``granted``, ``version`` and ``metadata`` are what it was told.
    """
    told = {"granted": "fence", "version": "version", "metadata": "metadata", "held_by": "session_id"}
    return Operation(
        process=process,
        number=int(begin),
        kind=kind,
        session_id=session_id,
        call_ns=begin,
        return_ns=inf if end is None else end,
        outcome="unknown" if end is None else "refused" if reason else "ok",
        args={name: value for name, value in named.items() if name not in told},
        result={told[name]: value for name, value in named.items() if name in told},
        reason=reason,
    )


def note(kind: str, ns: float, session_id: str = "", *, process: str = "c", **data: Any) -> Note:
    """A note of a hand-made history."""
    return Note(process, kind, session_id, ns, data)


def heard(log: Log, *, process: str = "c", session_id: str = "s1", since: int = 0, ns: float = 0) -> list[Note]:
    """What a client notes that comes in at a snapshot of an empty log, and hears the rest."""
    notes = [
        note("opened", ns, session_id, process=process, attachment="ATTACHMENT_SNAPSHOT"),
        note("snapshot", ns, session_id, process=process, locks={}),
        note("caught_up", ns, session_id, process=process, epoch=1, sequence=since),
    ]
    for entry in log.entries[since:]:
        place = {"epoch": 1, "sequence": entry.sequence, "leaf": entry.leaf}
        notes.append(note("entry", ns + entry.sequence, session_id, process=process, **place))
    return notes


def history_of(*parts: Operation | Note, lost: dict[str, float] | None = None) -> History:
    """A history of operations and notes; the notes of each process in the order in which they are given."""
    notes: dict[str, list[Note]] = {}
    for it in parts:
        if isinstance(it, Note):
            notes.setdefault(it.process, []).append(it)
    operations = sorted((it for it in parts if isinstance(it, Operation)), key=lambda it: it.call_ns)
    return History(operations, notes, lost or {})


def log_of_one_save(request_id: str = "r") -> Log:
    """A session takes a field, saves it once and so gives it back: four entries."""
    log = Log()
    log.opened("a")
    log.acquired("f", 1, "a")
    log.saved(1, "f", 1, "a", request_id=request_id)
    log.released("f", 1, "a", "SAVE")
    return log


def held_until(us: int | None, *, resumed_us: int | None = None) -> Log:
    """A session holds a field until its stream is gone at that time, microseconds; None for ever."""
    log = Log()
    log.opened("a", us=1)
    log.acquired("f", 1, "a", us=2)
    if resumed_us:
        log.resumed("a", us=resumed_us)
    if us is not None:
        log.released("f", 1, "a", "STREAM_GONE", us=us)
        log.closed("a", "STREAM_GONE", us=us)
    return log
