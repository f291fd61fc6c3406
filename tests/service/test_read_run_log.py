"""ReadRunLog: any part of a console, in order, each line once; how it was stored shows nowhere."""

from __future__ import annotations

from typing import Any

import pytest
import pytest_asyncio

from coreason.foundry.v1 import project_pb2
from coreason.foundry.v1 import run_pb2 as pb
from tests.service.house import House
from tests.service.refusals import blamed, refused
from tests.service.runs import Producer, Reader, append, as_stored, cancel, finish, get, ids, line, read, running

pytestmark = pytest.mark.asyncio(loop_scope="module")

BIG = 2**63 - 1


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def long(house: House) -> tuple[pb.Run, list[pb.LogLine]]:
    """A run whose 200 lines were stored in pieces of every size, and its lines."""
    run = await running(house)
    lines = [line(number, f"{number} " + "x" * (number * 397 % 20_011)) for number in range(1, 201)]
    producer = Producer(house.olga, run)
    at = 0
    for size in (1, 1, 2, 3, 40, 1, 90, 2, 60):
        await producer.send(*lines[at : at + size])
        at += size
        await producer.until(at + 1)
    assert at == 200
    return await get(house.olga, run), as_stored(lines)


def _wanted(lines: list[pb.LogLine], wanted: dict[str, int]) -> list[pb.LogLine]:
    """What the contract says a request is answered with."""
    first = wanted.get("from_line", 1)
    if "last_lines" in wanted:
        first = max(1, len(lines) - wanted["last_lines"] + 1)
    last = wanted.get("to_line") or len(lines)
    return [read for read in lines if first <= read.number <= last]


WANTED: list[dict[str, int]] = [
    {},
    {"from_line": 1},
    {"from_line": 200},
    {"from_line": 201},
    {"from_line": BIG},
    {"to_line": 1},
    {"to_line": 199},
    {"to_line": 200},
    {"to_line": 201},
    {"to_line": BIG},
    {"from_line": 5, "to_line": 5},
    {"from_line": 5, "to_line": 4},
    {"from_line": BIG, "to_line": BIG},
    {"from_line": 201, "to_line": 300},
    {"last_lines": 0},
    {"last_lines": 1},
    {"last_lines": 199},
    {"last_lines": 200},
    {"last_lines": 201},
    {"last_lines": BIG},
    {"last_lines": 10, "to_line": 195},
    {"last_lines": 10, "to_line": 3},
]


@pytest.mark.parametrize("wanted", WANTED, ids=str)
async def test_a_part_of_a_console_is_what_was_asked_for(
    house: House, long: tuple[pb.Run, list[pb.LogLine]], wanted: dict[str, int]
) -> None:
    """From a line, the last ones, up to a line: those lines and no others, then the run in the last message alone."""
    run, lines = long
    reader = Reader(house.caller("vera"), run, **wanted)  # who may read the project may read its consoles
    assert await reader.rest() == _wanted(lines, wanted)
    assert reader.run == run
    assert reader.sizes[-1] == 0
    assert all(reader.sizes[:-1])


async def test_reading_may_begin_and_end_at_every_line(house: House, long: tuple[pb.Run, list[pb.LogLine]]) -> None:
    """Inside a stored piece, at its edges, across many: nothing is lost, nothing comes twice."""
    run, lines = long
    for first in range(1, 202):
        for last in {first, first + 1 + first % 60, 200 * (first % 4 == 0)}:
            wanted = {"from_line": first, "to_line": last}
            assert await read(house.olga, run, **wanted) == _wanted(lines, wanted), wanted


async def test_no_message_is_larger_than_clients_take(house: House) -> None:
    """However many lines there are, and however long: a message stays far below 4 MiB."""
    run = await running(house)
    lines = [line(number, "x" * 64 * 1024) for number in range(1, 61)]
    await append(house.olga, run, lines)
    reader = Reader(house.olga, run)
    assert await reader.rest() == as_stored(lines)
    assert max(reader.sizes) <= 2


async def test_a_console_without_lines_is_read_to_its_end(house: House) -> None:
    run = await running(house)
    for wanted in ({}, {"from_line": 1}, {"last_lines": 10}, {"to_line": 5}):
        reader = Reader(house.olga, run, **wanted)
        assert (await reader.rest(), reader.run) == ([], run)


@pytest.mark.parametrize("end", [finish, cancel])
async def test_a_sealed_console_is_read_as_ever(house: House, end: Any) -> None:
    """Also in an archived project; whether to follow makes no difference."""
    run = await running(house, "one", "two")
    sealed = (await end(house.olga, run)).run
    await house.olga.call(project_pb2.ArchiveProjectRequest(project_id=run.project_id))
    for wanted in ({}, {"follow": True}, {"follow": True, "from_line": 9}):
        reader = Reader(house.olga, run, **wanted)
        await reader.rest()
        assert reader.run == sealed
    assert [read.text for read in await read(house.olga, run, follow=True)] == ["one", "two"]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("from_line", 0),
        ("from_line", -1),
        ("from_line", -(2**63)),
        ("last_lines", -1),
        ("last_lines", -(2**63)),
        ("to_line", -1),
        ("to_line", -(2**63)),
    ],
)
async def test_a_line_that_cannot_be_is_blamed(house: House, field: str, value: int) -> None:
    run = await running(house)
    for follow in (False, True):
        request = pb.ReadRunLogRequest(**{**ids(run), field: value, "follow": follow})
        await blamed(house.olga.call(request), field)


async def test_an_unknown_run_has_no_console(house: House) -> None:
    run = await running(house)
    for run_id in ("", "nobody's", "\0"):
        request = pb.ReadRunLogRequest(project_id=run.project_id, run_id=run_id, follow=True)
        await refused(house.olga.call(request), "RESOURCE_NOT_FOUND", resource_type="run", resource_id=run_id)


async def test_who_goes_away_while_reading_disturbs_nobody(house: House, long: tuple[pb.Run, list[pb.LogLine]]) -> None:
    run, lines = long
    for _ in range(5):
        gone = Reader(house.olga, run, follow=True)
        await gone.message()
        gone.cancel()
    assert await read(house.olga, run) == lines
