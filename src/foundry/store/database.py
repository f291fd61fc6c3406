"""What the rest of foundry sees of a database, be it SQLite or Postgres."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, TypeVar

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence
    from contextlib import AbstractAsyncContextManager

    from sqlalchemy import Select

    from foundry.store.statement import Row, Statement

T = TypeVar("T")


class Reader(Protocol):
    """Reads. Every method raises ``Unavailable`` when the database cannot be reached."""

    async def row(self, statement: Statement, parameters: Mapping[str, Any]) -> Row | None:
        """The first row of a query, or None."""
        ...

    async def rows(self, statement: Statement, parameters: Mapping[str, Any]) -> list[Row]:
        """All rows of a query."""
        ...

    async def fetch(self, query: Select[Any]) -> Sequence[Row]:
        """All rows of a query that was built for this call: a list whose filters vary."""
        ...


class Connection(Protocol):
    """A connection inside a transaction of the write lane.

    Attributes:
        epoch: The history of the log that this very connection leads to; what others know by now does not matter.
    """

    epoch: int

    async def row(self, statement: Statement, parameters: Mapping[str, Any]) -> Row | None:
        """The first row of a query, or None."""
        ...

    async def rows(self, statement: Statement, parameters: Mapping[str, Any]) -> list[Row]:
        """All rows of a query."""
        ...

    async def each(self, statement: Statement, parameters: Sequence[Mapping[str, Any]]) -> list[Row]:
        """The rows of one query for each set of parameters, one after the other, in one round trip."""
        ...

    async def write(self, statement: Statement, parameters: Sequence[Mapping[str, Any]]) -> int:
        """Run a write for each set of parameters, in order, in one round trip.

        Returns:
            How many rows were touched; of a statement that only inserts the number does not matter.
        """
        ...


class Writer(Protocol):
    """Runs transactions, one after the other."""

    async def transact(self, work: Callable[[Connection], Awaitable[T]]) -> T:
        """Run ``work`` as one transaction and return its result after the commit.

        Raises:
            Unavailable: The database cannot be reached, or the commit failed; whether it was made is not known then.
            StoreBusyError: Others hold what was needed, or there is no room; nothing was written.
            Exception: Whatever ``work`` raised; nothing was written.
        """
        ...


class Database(Reader, Protocol):
    """A store that is open.

    Attributes:
        instance_id: Id of this installation, made when its database was.
        page_token_key: Key with which page tokens are signed, 32 bytes.
        shared: Other server processes may write to it too.
        schema: The revision of its schema.
    """

    instance_id: str
    page_token_key: bytes
    shared: bool
    schema: str

    @property
    def writer(self) -> Writer:
        """Runs the lane's transactions."""
        ...

    @property
    def epoch(self) -> int:
        """Identity of the log's history, from 1. It changes when the database was restored or failed over."""
        ...

    def snapshot(self) -> AbstractAsyncContextManager[Reader]:
        """Reads inside see one state. Await nothing but these reads."""
        ...

    async def close(self) -> None:
        """Close everything."""
        ...


class SharedDatabase(Database, Protocol):
    """A store that other processes write to as well."""

    async def write(self, statement: Statement, parameters: Mapping[str, Any]) -> int:
        """Run one write in a transaction of its own, beside the lane; returns how many rows it touched.

        Raises:
            Unavailable: The database cannot be reached; whether it was written is not known.
        """
        ...

    async def look(self) -> None:
        """See whether another history of the log began, and what time it is there; ``epoch`` and the clock know then.

        Raises:
            Unavailable: The database cannot be reached.
        """
        ...
