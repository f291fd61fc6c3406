"""Server processes that share a store: rows, statements."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from sqlalchemy import bindparam, insert, select, update

from foundry.store import tables as t
from foundry.store.statement import Statement

if TYPE_CHECKING:
    from foundry.store.database import SharedDatabase

LIVE_STATE, LEFT_STATE, FENCED_STATE = "LIVE", "LEFT", "FENCED"
_live = t.replica.c.state == LIVE_STATE
_open = t.REPLICA_IS_OPEN

#: A process that may serve sessions; it stays so until the transaction ends.
LIVE = Statement(
    select(t.replica.c.replica_id)
    .where(t.replica.c.replica_id == bindparam("replica_id"), _live)
    .with_for_update(read=True)
)
#: A process that has left is waited for like one that is silent: its clients may be on their way to the others.
ALL_OPEN = Statement(
    select(t.replica.c.replica_id, t.replica.c.renew_count, t.replica.c.state, t.replica.c.address).where(_open)
)
INSERT_REPLICA = Statement(insert(t.replica))
#: Touches no row when the process was fenced: it must stop.
RENEW = Statement(
    update(t.replica)
    .where(t.replica.c.replica_id == bindparam("key"), _live)
    .values(renew_count=t.replica.c.renew_count + 1)
)
LEAVE = Statement(update(t.replica).where(t.replica.c.replica_id == bindparam("key"), _live).values(state=LEFT_STATE))
#: Compare and set on the counter: of several observers one wins, and none against a process that lives after all.
FENCE = Statement(
    update(t.replica)
    .where(t.replica.c.replica_id == bindparam("key"), t.replica.c.renew_count == bindparam("seen"), _open)
    .values(state=FENCED_STATE)
)


class OpenReplica(NamedTuple):
    """A process that was not given up.

    Attributes:
        renew_count: Its counter.
        left: Whether it left by itself.
        address: Where it serves, or did.
    """

    renew_count: int
    left: bool
    address: str


class ReplicaRepository:
    """The counters of the processes, each change in a transaction of its own, beside the lane."""

    def __init__(self, database: SharedDatabase) -> None:
        self._database = database

    async def join(self, replica_id: str, now_us: int, address: str) -> None:
        """Add a live process."""
        row = {"replica_id": replica_id, "state": LIVE_STATE, "renew_count": 0, "start_time_us": now_us}
        await self._database.write(INSERT_REPLICA, {**row, "address": address})

    async def renew(self, replica_id: str) -> bool:
        """Raise a counter; False when the process was fenced."""
        return await self._database.write(RENEW, {"key": replica_id}) == 1

    async def leave(self, replica_id: str) -> None:
        """Say that a process ends as it should. From now on it serves no session."""
        await self._database.write(LEAVE, {"key": replica_id})

    async def open(self) -> dict[str, OpenReplica]:
        """The processes that were not given up, by id."""
        rows = await self._database.rows(ALL_OPEN, {})
        return {row[0]: OpenReplica(row[1], row[2] == LEFT_STATE, row[3]) for row in rows}

    async def fence(self, replica_id: str, seen: int) -> bool:
        """Give a process up unless its counter moved; True for the one caller who did."""
        return await self._database.write(FENCE, {"key": replica_id, "seen": seen}) == 1
