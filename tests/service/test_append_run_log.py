"""AppendRunLog: lines in, acknowledgements out; numbered without gaps, stored once, durable when acknowledged."""

from __future__ import annotations

import asyncio
import hashlib
from typing import Any

import pytest

from coreason.foundry.v1 import project_pb2
from coreason.foundry.v1 import run_pb2 as pb
from tests.service.house import House
from tests.service.refusals import Refused, blamed, refused
from tests.service.runs import (
    Producer,
    append,
    as_stored,
    cancel,
    finish,
    get,
    line,
    lines_of,
    read,
    running,
    start,
    tested,
)

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_the_first_message_is_acknowledged_even_without_lines(house: House) -> None:
    """So a producer that lost its stream learns where to go on."""
    run = await running(house)
    assert await append(house.olga, run) == 1
    assert await append(house.olga, run, lines_of("one", "two")) == 3
    assert await append(house.olga, run) == 3
    assert await append(house.olga, run, lines_of("three", first=3)) == 4


async def test_what_is_acknowledged_is_stored(house: House) -> None:
    """Durable first: whoever reads after the acknowledgement sees the lines, and the run counts them."""
    run = await running(house)
    producer = Producer(house.olga, run)
    for first in range(1, 31, 3):
        await producer.send(*lines_of("a", "b", "c", first=first))
        await producer.until(first + 3)
        assert (await get(house.olga, run)).line_count == first + 2
        assert len(await read(house.olga, run)) == first + 2
    assert await producer.close() == []


async def test_only_the_first_message_names_the_run(house: House) -> None:
    """Those after it may, as long as they name the same."""
    run = await running(house)
    producer = Producer(house.olga, run)
    await producer.send(line(1, "one"))
    await producer.send(line(2, "two"), project_id="", run_id="")
    await producer.send(line(3, "three"), project_id="")
    assert (await producer.close())[-1] == 4
    assert [read.text for read in await read(house.olga, run)] == ["one", "two", "three"]


@pytest.mark.parametrize("field", ["project_id", "run_id"])
async def test_a_stream_is_about_one_run(house: House, field: str) -> None:
    """Its first message must name it and no later one another; what came before stays."""
    run, other = await running(house), await running(house)
    nameless = Producer(house.olga, run)
    await nameless.send(line(1, "one"), **{field: ""})
    await blamed(nameless.rest(), field)
    producer = Producer(house.olga, run)
    await producer.send(line(1, "one"))
    await producer.send(line(2, "two"), **{field: getattr(other, field)})
    await blamed(producer.rest(), field)
    assert [(await get(house.olga, each)).line_count for each in (run, other)] == [1, 0]


async def test_a_producer_goes_on_where_it_lost_its_stream(house: House) -> None:
    """Cut at any moment, asked anew, gone on with: every line is there once."""
    run = await running(house)
    next_line = 1
    for turn in range(12):
        producer = Producer(house.olga, run)
        await producer.send()
        next_line = await producer.next_line() or 0
        assert next_line == (await get(house.olga, run)).line_count + 1
        for first in range(next_line, next_line + 40, 4):
            await producer.send(*lines_of(*(f"line {number}" for number in range(first, first + 4)), first=first))
        if turn % 3:
            await producer.next_line()
        producer.cancel()
    last = await append(house.olga, run)
    lines = await read(house.olga, run)
    assert [(read.number, read.text) for read in lines] == [(number, f"line {number}") for number in range(1, last)]
    assert last > 40


async def test_lines_appended_are_no_entries(house: House) -> None:
    """The log tells of the seal; a console of any length leaves nothing else in it."""
    run = await running(house)
    before = await house.state(run.project_id)
    await append(house.olga, run, lines_of(*("x" for _ in range(500))))
    assert (await house.state(run.project_id)).leaves == before.leaves


# --- out of order ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("numbers", "expected", "got"),
    [
        ([4], 3, 4),
        ([5, 6], 3, 5),
        ([1], 3, 1),
        ([2, 3], 3, 2),
        ([3, 5], 4, 5),
        ([3, 4, 4], 5, 4),
        ([3, 4, 3], 5, 3),
        ([3, 2], 4, 2),
        ([4, 3], 5, 3),
        ([2**53], 3, 2**53),
        ([2**63 - 2], 3, 2**63 - 2),
    ],
    ids=str,
)
async def test_lines_that_do_not_go_on_are_refused(house: House, numbers: list[int], expected: int, got: int) -> None:
    """A gap, a repetition, a step back; at the start of a message or inside: nothing of the message is stored."""
    run = await running(house, "one", "two")
    call = append(house.olga, run, [line(number, "x") for number in numbers])
    await refused(call, "LINE_NUMBER_MISMATCH", run_id=run.run_id, expected_line=f"{expected}", line=f"{got}")
    assert [read.text for read in await read(house.olga, run)] == ["one", "two"]
    assert await append(house.olga, run, lines_of("three", first=3)) == 4


@pytest.mark.parametrize("number", [0, -1, -(2**63), 2**63 - 1])
async def test_lines_are_numbered_from_one(house: House, number: int) -> None:
    run = await running(house)
    await blamed(append(house.olga, run, [line(number)]), "lines.number")


@pytest.mark.parametrize("good", [1, 2, 7])
async def test_a_refused_message_leaves_those_before_it(house: House, good: int) -> None:
    """However they were stored together."""
    run = await running(house)
    producer = Producer(house.olga, run)
    for number in range(1, good + 1):
        await producer.send(line(number, f"{number}"))
    await producer.send(line(good + 1, "x"), line(good + 3, "gap"))
    refusal = await refused(producer.rest(), "LINE_NUMBER_MISMATCH")
    assert refusal.metadata["expected_line"] == f"{good + 2}"
    assert [read.text for read in await read(house.olga, run)] == [f"{number}" for number in range(1, good + 1)]


async def test_nothing_behind_a_refused_message_is_stored(house: House) -> None:
    """Lines refused end the stream, though what follows would go on where the console ends."""
    run = await running(house)
    producer = Producer(house.olga, run)
    await producer.send(line(1, "one"))
    await producer.send(line(2, "x"), line(4, "gap"))
    for text in ("behind", "far behind"):
        await producer.send(line(2, text))
    await refused(producer.rest(), "LINE_NUMBER_MISMATCH", expected_line="3")
    assert [read.text for read in await read(house.olga, run)] == ["one"]


async def test_of_two_producers_each_line_is_stored_once(house: House) -> None:
    """Two processes that both think the run theirs: one of them is told where the console is."""
    run = await running(house)
    refusals: list[Refused] = []

    async def produce(name: str) -> str:
        producer = Producer(house.olga, run)
        for number in range(1, 100):
            await producer.send(line(number, name))
            try:
                await producer.next_line()
            except Refused as refusal:
                refusals.append(refusal)
                return ""
        await producer.close()
        return name

    ends = await asyncio.gather(produce("a"), produce("b"))
    lines = await read(house.olga, run)
    assert [read.number for read in lines] == list(range(1, 100))
    assert sorted(ends) in (["", "a"], ["", "b"])
    assert lines[-1].text == "".join(ends)
    [refusal] = refusals
    assert refusal.reason == "LINE_NUMBER_MISMATCH"
    assert int(refusal.metadata["expected_line"]) > int(refusal.metadata["line"])


# --- who may ---------------------------------------------------------------------------------------------------------


async def test_nobody_but_its_starter_appends_to_a_run(house: House) -> None:
    """Not the owner of the project, and not the same subject in another shape; not even an empty message."""
    run = await start(house.caller("bob"), await tested(house, agent_access=project_pb2.AGENT_ACCESS_EDIT))
    strangers = [
        (house.olga, "NOT_YOURS"),
        (house.caller("bob", kind="agent"), "NOT_YOURS"),
        (house.caller("bob", kind="service"), "NOT_YOURS"),
        (house.caller("vera"), "ROLE_TOO_LOW"),
        (house.caller("eve"), "PROJECT_ACCESS_DENIED"),
    ]
    async with house.unchanged(run.project_id):
        for stranger, reason in strangers:
            for lines in (lines_of("mine"), []):
                await refused(append(stranger, run, lines), reason)


async def test_only_a_run_that_is_there_takes_lines(house: House) -> None:
    """An invented one, and one of another project, are not; what project that is, outsiders are not told."""
    run, elsewhere = await running(house), await tested(house)
    for project_id, run_id in ((elsewhere, run.run_id), (run.project_id, "nobody's"), (run.project_id, "\0'")):
        stray = pb.Run(project_id=project_id, run_id=run_id)
        call = append(house.olga, stray, lines_of("x"))
        await refused(call, "RESOURCE_NOT_FOUND", resource_type="run", resource_id=run_id)
    invented = pb.Run(project_id="nobody's", run_id=run.run_id)
    await refused(append(house.olga, invented, lines_of("x")), "PROJECT_ACCESS_DENIED", project_id="nobody's")


async def test_a_finished_run_takes_no_more_lines(house: House) -> None:
    """It is sealed: neither the next line, nor an old one, nor none."""
    run = await running(house, "one")
    producer = Producer(house.olga, run)
    await producer.send(line(2, "two"))
    await producer.until(3)
    sealed = (await finish(house.olga, run, pb.RUN_STATE_FAILED)).run
    await producer.send(line(3, "late"))
    await refused(producer.rest(), "RUN_FINISHED", run_id=run.run_id, state="FAILED")
    for lines in (lines_of("late", first=3), lines_of("one"), []):
        await refused(append(house.olga, run, lines), "RUN_FINISHED")
    assert await get(house.olga, run) == sealed
    assert len(await read(house.olga, run)) == 2


async def test_an_archived_project_takes_no_lines(house: House) -> None:
    run = await running(house, "one")
    producer = Producer(house.olga, run)
    await producer.send()
    await producer.until(2)
    await house.olga.call(project_pb2.ArchiveProjectRequest(project_id=run.project_id))
    await producer.send(line(2, "two"))
    await refused(producer.rest(), "PROJECT_ARCHIVED", project_id=run.project_id)
    await house.olga.call(project_pb2.UnarchiveProjectRequest(project_id=run.project_id))
    assert await append(house.olga, run, lines_of("two", first=2)) == 3


async def test_under_review_a_run_goes_on(house: House) -> None:
    """A freeze that is asked for waits for runs, so they must be able to end."""
    run = await running(house, "one")
    house.put_in_review(run.project_id)
    assert await append(house.olga, run, lines_of("two", first=2)) == 3
    assert (await cancel(house.olga, run)).run.line_count == 2


@pytest.mark.parametrize("how", ["demoted", "removed"])
async def test_who_loses_the_right_loses_it_with_the_next_message(house: House, how: str) -> None:
    """An open stream keeps no right alive; what was stored stays."""
    bob = house.caller("bob")
    run = await start(bob, await tested(house))
    producer = Producer(bob, run)
    await producer.send(line(1, "one"))
    await producer.until(2)
    request: Any = project_pb2.RemoveMemberRequest(project_id=run.project_id, subject="bob")
    if how == "demoted":
        request = project_pb2.SetMemberRequest(project_id=run.project_id, subject="bob", role=project_pb2.ROLE_VIEWER)
    await house.olga.call(request)
    await producer.send(line(2, "two"))
    await refused(producer.rest(), "ROLE_TOO_LOW" if how == "demoted" else "PROJECT_ACCESS_DENIED")
    assert [read.text for read in await read(house.olga, run)] == ["one"]


# --- how many --------------------------------------------------------------------------------------------------------


async def test_lines_sent_one_by_one_are_stored_in_order(house: House) -> None:
    """A producer that gathers nothing is served as well; acknowledgements rise and end behind the last line."""
    run = await running(house)
    producer = Producer(house.olga, run)

    async def send() -> None:
        for number in range(1, 2_001):
            await producer.send(line(number, f"{number}"))

    sending = asyncio.create_task(send())
    await producer.until(2_001)
    await sending
    assert [read.text for read in await read(house.olga, run)] == [f"{number}" for number in range(1, 2_001)]


@pytest.mark.parametrize("count", [20_000, pytest.param(1_000_000, marks=pytest.mark.slow)])
async def test_empty_lines_are_lines_however_many(house: House, count: int) -> None:
    """In messages as large as may be; none is lost, none is merged."""
    run = await running(house)
    producer = Producer(house.olga, run)

    async def send() -> None:
        for first in range(1, count + 1, 5_000):
            await producer.send(*lines_of(*[""] * 5_000, first=first))

    sending = asyncio.create_task(send())
    await producer.until(count + 1)
    await sending
    sealed = (await finish(house.olga, run, expected_line_count=count)).run
    hashed = hashlib.sha256()
    for number in range(1, count + 1):
        hashed.update(b'{"n":%d,"stream":"STDOUT","text":""}\n' % number)
    assert (sealed.line_count, sealed.log_sha256) == (count, hashed.hexdigest())
    last = await read(house.olga, run, last_lines=7_000)
    assert last == as_stored(lines_of(*[""] * 7_000, first=count - 6_999))


@pytest.mark.parametrize("count", [5_001, 1_000_000])
async def test_a_message_has_5000_lines_at_most(house: House, count: int) -> None:
    """A million empty ones fit into 2 MB, and are refused before anybody looks at them."""
    run = await running(house)
    assert await append(house.olga, run, lines_of(*["x"] * 5_000)) == 5_001
    producer = Producer(house.olga, run)
    named = pb.AppendRunLogRequest(project_id=run.project_id, run_id=run.run_id).SerializeToString()
    await producer.send_bytes(named + b"\x1a\x00" * count)
    await blamed(producer.rest(), "lines")
    assert (await get(house.olga, run)).line_count == 5_000
