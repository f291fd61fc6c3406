"""Streams of runs on servers of their own: bounds that can be reached, tokens that expire, servers that leave."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from coreason.foundry.v1 import run_pb2 as pb
from tests.service.clocks import LateClock
from tests.service.house import House, housed
from tests.service.refusals import Refused, refused
from tests.service.runs import (
    BrokenError,
    Producer,
    Reader,
    append,
    console_of,
    finish,
    get,
    line,
    lines_of,
    read,
    running,
)
from tests.support import running_server

KIB, MIB = 1024, 1024 * 1024


@pytest.fixture
async def small(tmp_path: Path) -> AsyncIterator[House]:
    """A server whose runs have 1,000 lines and 1 MiB at most."""
    limits = {"run_lines_max": 1_000, "run_bytes_max": MIB, "lines_per_message_max": 700, "line_bytes_max": 2 * KIB}
    async with (
        running_server(tmp_path / "data", limits=limits, postgres={"lock_limit_s": 20.0}) as server,
        housed(server) as house,
    ):
        yield house


async def test_a_run_has_so_many_lines_and_no_more(small: House) -> None:
    """The message that would go beyond is refused as a whole; up to the bound there is room, and the run ends well."""
    run = await running(small, *[""] * 700)
    over = append(small.olga, run, lines_of(*[""] * 301, first=701))
    await refused(over, "LIMIT_EXCEEDED", limit_name="lines in a run", limit="1000")
    assert (await get(small.olga, run)).line_count == 700
    assert await append(small.olga, run, lines_of(*[""] * 300, first=701)) == 1_001
    await refused(append(small.olga, run, lines_of("", first=1_001)), "LIMIT_EXCEEDED")
    assert await append(small.olga, run) == 1_001
    assert (await finish(small.olga, run, expected_line_count=1_000)).run.line_count == 1_000


async def test_a_run_has_so_many_bytes_and_no_more(small: House) -> None:
    """As they are stored and hashed, to the byte."""
    run = await running(small)
    full = line(1, "x" * 2 * KIB)
    size = len(console_of([full]))
    count = MIB // (size + 4)  # the numbers grow longer
    lines = [line(number, "x" * 2 * KIB) for number in range(1, count + 1)]
    await append(small.olga, run, lines)
    left = MIB - len(console_of(lines))
    envelope = len(console_of([line(count + 1)]))
    over = append(small.olga, run, lines_of("x" * (left - envelope + 1), first=count + 1))
    await refused(over, "LIMIT_EXCEEDED", limit_name="bytes in a run", limit=f"{MIB}")
    await append(small.olga, run, lines_of("x" * (left - envelope), first=count + 1))
    assert (await finish(small.olga, run)).run.log_bytes == MIB


@pytest.mark.parametrize(
    ("last", "reason"), [(line(1_001), "LIMIT_EXCEEDED"), (line(1_003), "LINE_NUMBER_MISMATCH")], ids=["bound", "gap"]
)
async def test_messages_that_came_in_one_go_with_a_refused_one_are_stored(
    small: House, last: pb.LogLine, reason: str
) -> None:
    """While the store is away they gather, and are stored together: one that cannot be takes no other with it."""
    run = await running(small)
    producer = Producer(small.olga, run)
    await producer.send()
    await producer.until(1)
    with small.writes_blocked():
        for first in range(1, 1_000, 100):
            await producer.send(*lines_of(*[""] * 100, first=first))
        await producer.send(last)
        for _ in range(20):
            await get(small.olga, run)  # by now the server has read them
    await refused(producer.rest(), reason)
    assert (await get(small.olga, run)).line_count == 1_000


async def test_bounds_of_messages_and_lines_are_the_servers(small: House) -> None:
    run = await running(small)
    refusal = await refused(append(small.olga, run, lines_of(*[""] * 701)), "INVALID_ARGUMENT", field="lines")
    assert "700" in refusal.message
    await refused(append(small.olga, run, lines_of("x" * (2 * KIB + 1))), "CONTENT_TOO_LARGE", limit_bytes=f"{2 * KIB}")


# --- tokens ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def clock() -> LateClock:
    return LateClock()


@pytest.fixture
async def house(tmp_path: Path, clock: LateClock) -> AsyncIterator[House]:
    """A server on a clock that a test puts forward."""
    async with running_server(tmp_path / "data", clock=clock) as server, housed(server) as made:
        yield made


async def test_a_producer_whose_token_expires_appends_no_more(house: House, clock: LateClock) -> None:
    """A stream lives no longer than its token; what was stored stays, and a new token goes on."""
    run = await running(house, "one")
    producer = Producer(house.olga, run)
    await producer.send(line(2, "two"))
    await producer.until(3)
    clock.ahead_s = 3_601
    await producer.send(line(3, "three"))
    await refused(producer.rest(), "TOKEN_EXPIRED")
    again = house.caller("olga", name="Olga O.", ttl_seconds=86_400)
    assert await append(again, run, lines_of("three", first=3)) == 4


async def test_a_follower_whose_token_expires_reads_no_more(house: House, clock: LateClock) -> None:
    """It is found out at the latest when there is something to tell, which it is not told."""
    run = await running(house, "one")
    reader = Reader(house.caller("vera"), run, follow=True)
    await reader.until(1)
    clock.ahead_s = 3_601
    lasting = house.caller("olga", name="Olga O.", ttl_seconds=86_400)
    await append(lasting, run, lines_of("two", first=2))
    await append(lasting, run, lines_of("three", first=3))
    await refused(reader.rest(), "TOKEN_EXPIRED")
    assert reader.numbers == [1]


async def test_a_follower_whose_token_expires_while_nothing_happens_is_told_so(house: House) -> None:
    """It does not hang on a console that is silent."""
    run = await running(house, "one")
    reader = Reader(house.caller("vera", ttl_seconds=5), run, follow=True)
    await refused(reader.rest(), "TOKEN_EXPIRED")
    assert reader.numbers == [1]


# --- servers that leave ----------------------------------------------------------------------------------------------


async def test_a_leaving_server_sends_its_streams_away_and_loses_no_line(tmp_path: Path) -> None:
    """GOING_AWAY, with a time to come back in; the next server goes on where the console ends."""
    data_dir = tmp_path / "data"
    async with contextlib.AsyncExitStack() as staying:
        async with running_server(data_dir) as server:
            house = await staying.enter_async_context(housed(server))
            run = await running(house, "one", "two")
            producer, idle = Producer(house.olga, run), Producer(house.olga, run)
            reader = Reader(house.caller("vera"), run, follow=True)
            await idle.send()
            await idle.until(3)
            await producer.send(line(3, "three"))
            await producer.until(4)
            await reader.until(3)
            ends = [asyncio.create_task(refused(each.rest(), "GOING_AWAY")) for each in (producer, idle, reader)]
        await asyncio.gather(*ends)
    async with running_server(data_dir) as server, housed(server) as house:
        assert await append(house.olga, run) == 4
        assert [read.text for read in await read(house.olga, run)] == ["one", "two", "three"]
        assert (await finish(house.olga, run, expected_line_count=3)).run.state == pb.RUN_STATE_PASSED


async def test_what_waits_when_a_server_leaves_is_stored_or_not_acknowledged(tmp_path: Path) -> None:
    """In the middle of a flood: what was acknowledged is there, in order, and nothing twice."""
    data_dir = tmp_path / "data"
    async with contextlib.AsyncExitStack() as staying:
        async with running_server(data_dir) as server:
            house = await staying.enter_async_context(housed(server))
            run = await running(house)
            producer = Producer(house.olga, run)
            flooding = asyncio.create_task(_flood(producer))
            await producer.until_at_least(500)
        with pytest.raises((Refused, BrokenError)) as ended:
            await producer.rest()
        assert getattr(ended.value, "reason", "GOING_AWAY") == "GOING_AWAY"
        await flooding
    async with running_server(data_dir) as server, housed(server) as house:
        next_line = await append(house.olga, run)
        assert next_line >= producer.acknowledged
        lines = await read(house.olga, run)
        assert [(read.number, read.text) for read in lines] == [(n, f"{n}") for n in range(1, next_line)]


async def _flood(producer: Producer) -> None:
    first = 1
    while await producer.send(*lines_of(*(f"{number}" for number in range(first, first + 20)), first=first)):
        first += 20
