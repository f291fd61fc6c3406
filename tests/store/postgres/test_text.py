"""Whatever text the contract allows is read as it was written, though Postgres cannot hold all of it."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import bindparam, insert, select

from foundry.clock import SystemClock
from foundry.settings import Postgres
from foundry.store import tables as t
from foundry.store.postgres.database import PostgresDatabase
from foundry.store.postgres.text import from_postgres, to_postgres
from foundry.store.statement import Statement
from tests.servers.postgres import PostgresServer

#: U+0000, which Postgres has not, the mark that it is written with, and what follows the mark.
TRICKY = st.text(st.sampled_from("\0\uffff01a\ufffe\U0010ffff"), max_size=12) | st.text(max_size=12)
PUT = Statement(insert(t.instance))
GET = Statement(select(t.instance.c.name, t.instance.c.value).where(t.instance.c.name == bindparam("name")))
TEXTS = [
    "",
    "\0",
    "\uffff",
    "\0\0",
    "\uffff0",
    "\uffff1",
    "a\0b",
    "\uffff\0",
    "\0\uffff1",
    "\uffff\uffff0\0",
    "\U0010ffff",
]


@given(st.lists(TRICKY | st.none() | st.integers() | st.binary(max_size=3), max_size=4))
def test_what_is_written_is_read(values: list[object]) -> None:
    """Each text, and nothing else is touched; what goes to Postgres holds no U+0000."""
    written = to_postgres(values)
    assert not any(isinstance(value, str) and "\0" in value for value in written)
    assert from_postgres(tuple(written)) == tuple(values)


@given(TRICKY, TRICKY)
def test_texts_are_equal_as_they_were(one: str, other: str) -> None:
    """A key is found by itself alone, also in a list of keys."""
    [here], [there] = to_postgres([one]), to_postgres([other])
    assert (here == there) == (one == other)
    assert to_postgres([[one, other], "\0"])[0] == [here, there]


@pytest.fixture
async def database(postgres: PostgresServer) -> AsyncIterator[PostgresDatabase]:
    name = postgres.create_database()
    opened = await PostgresDatabase.open(postgres.server_url(name), Postgres(pool_max=2), SystemClock())
    yield opened
    await opened.close()
    postgres.drop_database(name)


async def test_the_database_keeps_it(database: PostgresDatabase) -> None:
    """As a key and as a value, by single reads, by lists of keys, in a snapshot and in the lane."""
    for number, text in enumerate(TEXTS):
        await database.write(PUT, {"name": f"{text} {number}", "value": text})
    for number, text in enumerate(TEXTS):
        name = f"{text} {number}"
        expected = (name, text)
        assert await database.row(GET, {"name": name}) == expected
        assert await database.writer.transact(lambda connection, name=name: connection.each(GET, [{"name": name}])) == [  # type: ignore[misc]  # as of a lambda with a default
            expected
        ]
        async with database.snapshot() as reader:
            assert await reader.row(GET, {"name": name}) == expected
    names = [f"{text} {number}" for number, text in enumerate(TEXTS)]
    found = await database.fetch(select(t.instance.c.value).where(t.instance.c.name.in_(names)))
    assert sorted(row[0] for row in found) == sorted(TEXTS)
