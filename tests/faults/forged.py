"""Logs made by hand: entries that are canonical and chained as the server's, whatever they tell."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tests.faults.entries import canonical_bytes, parse_entry

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
