"""Reading the console of a run: every line once and in order, over breaks of the connection."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from typing import Any

import grpc
import pytest

from coreason.foundry.v1 import run_pb2
from foundry.client import AccessDenied, Foundry, Unavailable, connect, connect_sync
from foundry.client.console.comeback import Comeback
from foundry.client.console.reader import Reading
from tests.client.scripted import soon, status
from tests.client.scripted_runs import ReadPeer, ScriptedRuns, scripted_runs

FINISHED = run_pb2.Run(run_id="r1", state=run_pb2.RUN_STATE_PASSED)


@pytest.fixture
async def runs() -> AsyncIterator[ScriptedRuns]:
    async with scripted_runs() as server:
        yield server


@pytest.fixture
async def foundry(runs: ScriptedRuns) -> AsyncIterator[Foundry]:
    async with connect(runs.target, "the-token") as connected:
        connected.runs._jitter = lambda: 0.0
        yield connected


def lines(*numbers: int) -> list[run_pb2.LogLine]:
    return [run_pb2.LogLine(number=number, text=f"line {number}") for number in numbers]


async def send(peer: ReadPeer, numbers: Iterable[int], run: run_pb2.Run | None = None) -> None:
    await peer.send(run_pb2.ReadRunLogResponse(lines=lines(*numbers), run=run))


async def read(foundry: Foundry, **options: Any) -> list[int]:
    return [line.number async for line in foundry.runs.read_log("p1", "r1", **options)]


@pytest.mark.parametrize(
    ("options", "asked"),
    [
        ({}, {"from_line": 1}),
        ({"from_line": 7, "to_line": 9}, {"from_line": 7, "to_line": 9}),
        ({"last_lines": 4}, {"from_line": 17}),
        ({"last_lines": 0}, {"from_line": 21}),
        ({"last_lines": 100}, {"from_line": 1}),
        ({"follow": True}, {"from_line": 1, "follow": True}),
    ],
)
async def test_reading_asks_for_what_it_is_told(
    runs: ScriptedRuns, foundry: Foundry, options: dict[str, Any], asked: dict[str, Any]
) -> None:
    runs.run.line_count = 20
    reading = asyncio.create_task(read(foundry, **options))
    peer, request = await runs.accept_read()
    assert request == run_pb2.ReadRunLogRequest(project_id="p1", run_id="r1", **asked)
    await send(peer, [], FINISHED)
    peer.end()
    assert await soon(reading) == []


async def test_following_reads_on_behind_the_last_line_after_a_break(runs: ScriptedRuns, foundry: Foundry) -> None:
    reading = asyncio.create_task(read(foundry, follow=True))
    peer, _request = await runs.accept_read()
    await send(peer, [1, 2])
    await send(peer, [3])
    peer.end(status(grpc.StatusCode.UNAVAILABLE, "GOING_AWAY"))
    peer, request = await runs.accept_read()
    assert request.from_line == 4
    peer.break_off()
    peer, request = await runs.accept_read()
    assert request.from_line == 4
    peer.end()  # OK, but the run was not told: something in between gave up
    peer, request = await runs.accept_read()
    await send(peer, [4], FINISHED)
    peer.end()
    assert await soon(reading) == [1, 2, 3, 4]
    assert runs.no_further_stream()


async def test_what_the_server_refuses_is_raised(runs: ScriptedRuns, foundry: Foundry) -> None:
    reading = asyncio.create_task(read(foundry, follow=True))
    peer, _request = await runs.accept_read()
    await send(peer, [1])
    peer.end(status(grpc.StatusCode.PERMISSION_DENIED, "ACCESS_LOST"))
    with pytest.raises(AccessDenied):
        await soon(reading)
    assert runs.no_further_stream()


async def test_a_break_behind_the_last_line_that_was_asked_for_is_no_matter(
    runs: ScriptedRuns, foundry: Foundry
) -> None:
    reading = asyncio.create_task(read(foundry, to_line=2))
    peer, _request = await runs.accept_read()
    await send(peer, [1, 2])
    peer.break_off()
    assert await soon(reading) == [1, 2]
    assert runs.no_further_stream()


async def test_a_reader_that_stops_ends_its_call(runs: ScriptedRuns, foundry: Foundry) -> None:
    reading = foundry.runs.read_log("p1", "r1", follow=True)
    first = asyncio.ensure_future(anext(reading))
    peer, _request = await runs.accept_read()
    await send(peer, [1])
    assert (await soon(first)).text == "line 1"
    await reading.aclose()
    assert runs.no_further_stream()


async def test_a_beginning_is_named_once(foundry: Foundry) -> None:
    with pytest.raises(ValueError, match="not both"):
        await read(foundry, from_line=1, last_lines=1)


def test_a_break_without_following_ends_at_the_timeout() -> None:
    now = 100.0
    reading = Reading(
        FINISHED,
        from_line=None,
        last_lines=None,
        to_line=0,
        follow=False,
        timeout=10,
        comeback=Comeback(may_renew=False, jitter=lambda: 1.0),
        clock=lambda: now,
    )
    assert reading.delay_after(Unavailable()) == 0.5
    now = 109.5
    with pytest.raises(Unavailable):
        reading.delay_after(Unavailable())
    assert [line.number for line in reading.take(run_pb2.ReadRunLogResponse(lines=lines(1)))] == [1]
    assert reading.delay_after(Unavailable()) == 2
    assert reading.call().request == run_pb2.ReadRunLogRequest(run_id="r1", from_line=2)


async def test_threads_read_consoles_as_well(runs: ScriptedRuns) -> None:
    def read_all() -> list[int]:
        with connect_sync(runs.target, "the-token") as foundry:
            foundry.runs._jitter = lambda: 0.0
            return [line.number for line in foundry.runs.read_log("p1", "r1", follow=True)]

    reading = asyncio.create_task(asyncio.to_thread(read_all))
    peer, _request = await runs.accept_read()
    await send(peer, [1, 2])
    peer.break_off()
    peer, request = await runs.accept_read()
    assert request.from_line == 3
    await send(peer, [3], FINISHED)
    peer.end()
    assert await soon(reading) == [1, 2, 3]
