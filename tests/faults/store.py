"""The shared database as an onlooker sees it: a log as it grows, who holds what, and which server serves whom.

It asks on a connection of its own and makes a new one whenever that is lost, so it outlives every fault.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any, Final

import asyncpg
from asyncpg.connect_utils import SessionAttribute

from tests.faults.entries import parse_entry
from tests.faults.recorder import now_ns

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from tests.faults.entries import Entry

#: How often it looks, seconds.
_LOOK_S: Final = 0.02
#: Longest wait for anything that has no bound of its own, seconds.
PATIENCE_S: Final = 45.0

_LOG = "SELECT entry FROM log_entry WHERE log = $1 AND sequence > $2 ORDER BY sequence"
_SERVER = """
SELECT r.address FROM session s JOIN replica r ON r.replica_id = s.server_boot_id
WHERE s.session_id = $1 AND s.state = 'ATTACHED'
"""
_HOLDER = """
SELECT s.session_id FROM field f JOIN session s ON s.session_id = f.session_id
WHERE f.project_id = $1 AND f.name = $2 AND f.holder_subject = $3 AND s.state = 'ATTACHED'
"""


class Onlooker:
    """Watches one project.

    Args:
        url: Of a role that may read the tables; of several hosts it looks at the one that takes writes.

    Attributes:
        entries: The log, as far as it was read.
    """

    def __init__(self, url: str, project_id: str = "") -> None:
        self._url = url
        self._connection: asyncpg.Connection[Any] | None = None
        self._turn = asyncio.Lock()
        self._offset_ns = time.time_ns() - now_ns()
        self.project_id = project_id
        self.entries: list[Entry] = []

    async def close(self) -> None:
        """Part from the database."""
        if self._connection:
            self._connection.terminate()

    async def query(self, statement: str, *arguments: object) -> Sequence[Mapping[str, Any]]:
        """Rows of a statement; waits while the database is away."""
        async with asyncio.timeout(PATIENCE_S):
            while True:
                try:
                    async with self._turn:
                        return await self._ask(statement, *arguments)
                except (OSError, TimeoutError, asyncpg.InterfaceError, asyncpg.PostgresError):
                    if self._connection:
                        self._connection.terminate()
                    self._connection = None
                    await asyncio.sleep(_LOOK_S)

    async def _ask(self, statement: str, *arguments: object) -> Sequence[Mapping[str, Any]]:
        if self._connection is None or self._connection.is_closed():
            self._connection = await asyncpg.connect(
                self._url, timeout=3.0, command_timeout=5.0, target_session_attrs=SessionAttribute.read_write
            )
        rows: Any = await self._connection.fetch(statement, *arguments)
        return [dict(row) for row in rows]

    async def until(self, statement: str, *arguments: object, what: str, within_s: float = PATIENCE_S) -> Any:
        """The first value of the first row, as soon as there is one that is neither false nor nothing."""
        deadline_s = time.monotonic() + within_s
        while True:
            rows = await self.query(statement, *arguments)
            if rows and (value := next(iter(rows[0].values()))):
                return value
            assert time.monotonic() < deadline_s, f"not within {within_s:g} s: {what}"
            await asyncio.sleep(_LOOK_S)

    # --- the log ---

    async def look(self) -> int:
        """Read what is new in the log; returns how many entries there are."""
        rows = await self.query(_LOG, self.project_id, len(self.entries))
        for row in rows:
            entry = parse_entry(row["entry"])
            if entry.sequence == len(self.entries) + 1:  # another reader may have been first
                self.entries.append(entry)
        return len(self.entries)

    def ns(self, entry: Entry) -> float:
        """When an entry was committed, by the clock of the recordings."""
        return float(entry.time_us * 1_000 - self._offset_ns)

    async def sees(
        self, event: str, what: str = "", *, after: int = 0, within_s: float = PATIENCE_S, **data: object
    ) -> Entry:
        """Wait for an entry behind a sequence number, by its event and particulars."""

        def matches(entry: Entry) -> bool:
            return entry.event == event and all(entry.data.get(name) == value for name, value in data.items())

        return await self.finds(matches, what or f"{event} {data}", after=after, within_s=within_s)

    async def finds(
        self, matches: Callable[[Entry], bool], what: str, *, after: int = 0, within_s: float = PATIENCE_S
    ) -> Entry:
        """Wait for an entry behind a sequence number."""
        deadline_s = time.monotonic() + within_s
        looked = after
        while True:
            late = time.monotonic() > deadline_s
            await self.look()
            for entry in self.entries[looked:]:
                if matches(entry):
                    return entry
            looked = max(looked, len(self.entries))
            assert not late, f"not within {within_s:g} s: {what}"
            await asyncio.sleep(_LOOK_S)

    async def grows(self, by: int, *, within_s: float = PATIENCE_S) -> int:
        """Wait for as many entries more than there are now; returns how many there are."""
        before = await self.look()
        await self.finds(lambda _: len(self.entries) >= before + by, f"{by} more entries", within_s=within_s)
        return len(self.entries)

    # --- who is where ---

    async def server_of(self, session_id: str) -> str:
        """Address of the server that serves a session, empty when none does."""
        rows = await self.query(_SERVER, session_id)
        return str(rows[0]["address"]) if rows else ""

    async def held_by(self, session_id: str) -> dict[str, int]:
        """What a session holds: fencing tokens by field."""
        statement = "SELECT name, fence FROM field WHERE project_id = $1 AND session_id = $2"
        return {row["name"]: row["fence"] for row in await self.query(statement, self.project_id, session_id)}

    async def holds(self, subject: str, field: str) -> str:
        """Wait until somebody holds a field in a session that is attached; returns its id."""
        where = (self.project_id, field, subject)
        return str(await self.until(_HOLDER, *where, what=f"{subject} holds {field}"))

    async def calm(self) -> bool:
        """Wait until the project has no open session; False when some stay open."""
        statement = "SELECT count(*) = 0 AS none FROM session WHERE project_id = $1 AND state <> 'CLOSED'"
        try:
            await self.until(statement, self.project_id, what="no open session", within_s=PATIENCE_S)
        except AssertionError:
            return False
        return True
