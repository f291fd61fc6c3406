"""Finishing a run: its console is sealed by number and digest, once, by whom it belongs to."""

from __future__ import annotations

import asyncio
import hashlib
import json
import uuid
from typing import Any

import pytest

from coreason.foundry.v1 import audit_pb2, project_pb2
from coreason.foundry.v1 import run_pb2 as pb
from tests.service.house import House
from tests.service.logs import entries_of
from tests.service.refusals import Refused, blamed, refused
from tests.service.runs import (
    Producer,
    append,
    as_stored,
    cancel,
    console_of,
    digest_of,
    finish,
    get,
    ids,
    line,
    lines_of,
    read,
    running,
    start,
    tested,
)

pytestmark = pytest.mark.asyncio(loop_scope="module")

RESULTS = [
    pb.RunResult(name="toxicity", passed=True, value="0.01"),
    pb.RunResult(name="a\u2028ä", passed=False),
]


async def _finished(house: House, project_id: str) -> list[audit_pb2.LogEntry]:
    return await entries_of(house.olga, project_id, events=["run_finished"])


@pytest.mark.parametrize("state", [pb.RUN_STATE_PASSED, pb.RUN_STATE_FAILED, pb.RUN_STATE_ERRORED])
async def test_a_finished_run_is_sealed_by_number_and_digest(house: House, state: pb.RunState.ValueType) -> None:
    """Anybody can recompute the digest from the lines that are read back, in the documented form."""
    run = await running(house)
    lines = [
        line(1, "collected 3 items", source_time={"seconds": 1_795_000_000, "nanos": 123_456_999}),
        line(2, '\x1b[31mE  é\u2028\r\0 \\ "quoted" \U0001f9ea', stream=pb.LOG_STREAM_STDERR, partial=True),
        line(3, "", stream=pb.LOG_STREAM_EVENT, source_time={}),
    ]
    await append(house.olga, run, lines)
    answer = await finish(house.olga, run, state, results=RESULTS, expected_line_count=3)
    console = console_of(lines)
    sealed = answer.run
    assert (sealed.state, sealed.line_count, sealed.log_bytes) == (state, 3, len(console))
    assert sealed.log_sha256 == hashlib.sha256(console).hexdigest() == digest_of(await read(house.olga, run))
    assert list(sealed.results) == RESULTS
    assert (sealed.run_id, sealed.starter, sealed.start_time) == (run.run_id, run.starter, run.start_time)
    [entry] = await _finished(house, run.project_id)
    assert (answer.position, sealed.finish_time) == (entry.position, entry.time)
    assert await get(house.olga, run) == sealed


async def test_the_log_says_what_a_run_came_to(house: House) -> None:
    """Console and results by their digests: whoever changes either afterwards is found out."""
    run = await start(house.caller("bob"), await tested(house))
    await append(house.caller("bob"), run, lines_of("one", "two"))
    await finish(house.caller("bob"), run, pb.RUN_STATE_FAILED, results=RESULTS)
    [entry] = await _finished(house, run.project_id)
    results = [{"name": result.name, "passed": result.passed, "value": result.value} for result in RESULTS]
    canonical = json.dumps(results, ensure_ascii=False, separators=(",", ":"), sort_keys=True)
    assert entry.run_finished == audit_pb2.RunFinished(
        run_id=run.run_id,
        state=pb.RUN_STATE_FAILED,
        line_count=2,
        log_sha256=digest_of(lines_of("one", "two")),
        results_sha256=hashlib.sha256(canonical.encode()).hexdigest(),
        starter="bob",
    )
    assert (entry.actor.subject, entry.reason) == ("bob", "")


async def test_a_run_without_a_line_or_result_is_sealed_too(house: House) -> None:
    run = await running(house)
    sealed = (await finish(house.olga, run, expected_line_count=0)).run
    assert (sealed.line_count, sealed.log_bytes, sealed.log_sha256) == (0, 0, hashlib.sha256().hexdigest())
    [entry] = await _finished(house, run.project_id)
    assert entry.run_finished.results_sha256 == hashlib.sha256(b"[]").hexdigest()


async def test_a_console_of_many_pieces_is_sealed_as_one(house: House) -> None:
    """How lines were stored leaves no trace in the digest."""
    run = await running(house)
    lines = [line(number, chr(64 + number % 60) * (number * 701 % 60_000)) for number in range(1, 61)]
    for first in range(0, 60, 7):
        await append(house.olga, run, lines[first : first + 7])
    sealed = (await finish(house.olga, run)).run
    assert (sealed.line_count, sealed.log_bytes) == (60, len(console_of(lines)))
    assert sealed.log_bytes > 9 * 128 * 1024
    assert sealed.log_sha256 == digest_of(lines)


@pytest.mark.parametrize("expected", [0, 1, 3, 2**63 - 1])
async def test_a_run_of_another_length_than_its_starter_says_is_not_sealed(house: House, expected: int) -> None:
    """Lines that were lost on the way are found out; the run goes on and takes them."""
    run = await running(house, "one", "two")
    async with house.unchanged(run.project_id):
        await refused(
            finish(house.olga, run, expected_line_count=expected),
            "LINE_NUMBER_MISMATCH",
            run_id=run.run_id,
            expected_line="3",
            line=f"{expected + 1}",
        )
    assert await append(house.olga, run, lines_of("three", first=3)) == 4
    assert (await finish(house.olga, run, expected_line_count=3)).run.line_count == 3


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"state": 0}, "state"),
        ({"state": pb.RUN_STATE_RUNNING}, "state"),
        ({"state": pb.RUN_STATE_CANCELLED}, "state"),
        ({"state": 99}, "state"),
        ({"expected_line_count": -1}, "expected_line_count"),
        ({"request_id": "x"}, "request_id"),
        ({"results": [pb.RunResult(name=f"{number}") for number in range(201)]}, "results"),
        ({"results": [pb.RunResult(name="a"), pb.RunResult(name="a", passed=True)]}, "results"),
        ({"results": [pb.RunResult(name="")]}, "results.name"),
        ({"results": [pb.RunResult(name=" \t")]}, "results.name"),
        ({"results": [pb.RunResult(name="é" * 101)]}, "results.name"),
        ({"results": [pb.RunResult(name="a", value="x" * 201)]}, "results.value"),
    ],
    ids=str,
)
async def test_an_end_that_is_out_of_bounds_is_blamed(house: House, fields: dict[str, Any], field: str) -> None:
    run = await running(house)
    async with house.unchanged(run.project_id):
        await blamed(
            house.olga.call(pb.FinishRunRequest(**{**ids(run), "state": pb.RUN_STATE_PASSED, **fields})), field
        )
    assert (await get(house.olga, run)) == run


async def test_two_hundred_results_at_their_bounds_are_kept(house: House) -> None:
    run = await running(house)
    results = [pb.RunResult(name=f"{number:03}" + "x" * 197, value="é" * 100) for number in range(200)]
    assert list((await finish(house.olga, run, results=results)).run.results) == results


# --- whose it is -----------------------------------------------------------------------------------------------------


async def test_nobody_but_its_starter_finishes_a_run(house: House) -> None:
    """Not the owner of the project, and not the same subject in another shape."""
    policy = project_pb2.AGENT_ACCESS_EDIT
    run = await start(house.caller("bob"), await tested(house, agent_access=policy))
    strangers = [
        (house.olga, "NOT_YOURS"),
        (house.caller("bob", kind="agent"), "NOT_YOURS"),
        (house.caller("bob", kind="service"), "NOT_YOURS"),
        (house.caller("bot", kind="agent", on_behalf_of="bob"), "PROJECT_ACCESS_DENIED"),
        (house.caller("vera"), "ROLE_TOO_LOW"),
        (house.caller("eve"), "PROJECT_ACCESS_DENIED"),
    ]
    async with house.unchanged(run.project_id):
        for stranger, reason in strangers:
            refusal = await refused(finish(stranger, run), reason)
            if reason == "NOT_YOURS":
                metadata = {"resource_type": "run", "resource_id": run.run_id, "owner": "bob"}
                assert refusal.metadata == metadata
    assert (await finish(house.caller("bob"), run)).run.state == pb.RUN_STATE_PASSED


async def test_who_may_no_longer_run_tests_finishes_none(house: House) -> None:
    run = await start(house.caller("bob"), await tested(house))
    demoted = project_pb2.SetMemberRequest(project_id=run.project_id, subject="bob", role=project_pb2.ROLE_VIEWER)
    await house.olga.call(demoted)
    await refused(finish(house.caller("bob"), run), "ROLE_TOO_LOW", action="run", role="VIEWER", required_role="EDITOR")
    await house.olga.call(project_pb2.RemoveMemberRequest(project_id=run.project_id, subject="bob"))
    await refused(finish(house.caller("bob"), run), "PROJECT_ACCESS_DENIED")
    assert (await cancel(house.olga, run)).run.state == pb.RUN_STATE_CANCELLED  # it must not run for ever


async def test_a_run_of_another_project_is_not_there(house: House) -> None:
    run, elsewhere = await running(house), await tested(house)
    for end in (finish, cancel):
        stray = pb.Run(project_id=elsewhere, run_id=run.run_id)
        await refused(end(house.olga, stray), "RESOURCE_NOT_FOUND", resource_type="run", resource_id=run.run_id)
        nobodys = pb.Run(project_id=elsewhere, run_id="\0' OR 1=1")
        await refused(end(house.olga, nobodys), "RESOURCE_NOT_FOUND", resource_type="run")
    assert (await get(house.olga, run)) == run


# --- once ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("first", [finish, cancel])
@pytest.mark.parametrize("second", [finish, cancel])
async def test_a_run_ends_once(house: House, first: Any, second: Any) -> None:
    """The end that came first stays; every other is told of it."""
    run = await running(house, "one")
    sealed = (await first(house.olga, run)).run
    state = pb.RunState.Name(sealed.state).removeprefix("RUN_STATE_")
    async with house.unchanged(run.project_id):
        await refused(second(house.olga, run), "RUN_FINISHED", run_id=run.run_id, state=state)
    assert await get(house.olga, run) == sealed


async def test_a_repeated_finish_answers_the_same(house: House) -> None:
    """Also from an archived project; the same id for another end is refused."""
    run = await running(house, "one")
    fields: dict[str, Any] = {"results": RESULTS, "request_id": str(uuid.uuid4())}
    first = await finish(house.olga, run, **fields)
    assert await finish(house.olga, run, **fields) == first
    await house.olga.call(project_pb2.ArchiveProjectRequest(project_id=run.project_id))
    assert await finish(house.olga, run, **fields) == first
    assert len(await _finished(house, run.project_id)) == 1
    others: list[dict[str, Any]] = [
        {"state": pb.RUN_STATE_FAILED},
        {"results": RESULTS[:1]},
        {"expected_line_count": 1},
    ]
    for other in others:
        await refused(finish(house.olga, run, **{**fields, **other}), "REQUEST_ID_REUSED")


@pytest.mark.parametrize("same", [True, False], ids=["with one request id", "each for itself"])
async def test_of_many_ends_at_once_one_counts(house: House, same: bool) -> None:
    """Repetitions get its answer, all others are told that it is finished."""
    run = await running(house, *(f"line {number}" for number in range(100)))
    request_id = str(uuid.uuid4())
    ends = [finish(house.olga, run, request_id=request_id if same else str(uuid.uuid4())) for _ in range(8)]
    answers = await asyncio.gather(*ends, return_exceptions=True)
    done = [answer for answer in answers if isinstance(answer, pb.FinishRunResponse)]
    reasons = {answer.reason for answer in answers if isinstance(answer, Refused)}
    assert (len(done), reasons) == ((8, set()) if same else (1, {"RUN_FINISHED"}))
    assert all(answer == done[0] for answer in done)
    assert len(await _finished(house, run.project_id)) == 1


async def test_no_run_ends_in_an_archived_project(house: House) -> None:
    """Whoever takes it out of the archive finds it as it was."""
    run = await running(house)
    await house.olga.call(project_pb2.ArchiveProjectRequest(project_id=run.project_id))
    async with house.unchanged(run.project_id):
        for end in (finish, cancel):
            await refused(end(house.olga, run), "PROJECT_ARCHIVED", project_id=run.project_id)
    await house.olga.call(project_pb2.UnarchiveProjectRequest(project_id=run.project_id))
    assert (await finish(house.olga, run)).run.state == pb.RUN_STATE_PASSED


@pytest.mark.parametrize("turn", range(6))
async def test_a_run_that_is_sealed_while_lines_come_is_sealed_with_those_before(house: House, turn: int) -> None:
    """At whatever moment: number, digest and console agree, and no line comes after."""
    run = await running(house, *(f"{number}" for number in range(turn * 50)))
    producer = Producer(house.olga, run)

    async def send() -> None:
        for first in range(turn * 50 + 1, turn * 50 + 1_200, 20):
            await producer.send(*lines_of(*("x" * 500 for _ in range(20)), first=first))

    sending = asyncio.create_task(send())
    if turn % 2:
        await producer.next_line()
    sealed = (await finish(house.olga, run)).run
    await sending
    try:
        await producer.close()
        assert producer.acknowledged == sealed.line_count + 1
    except Refused as refusal:
        assert refusal.reason == "RUN_FINISHED"  # noqa: PT017 - or it was sealed after the last line
    lines = await read(house.olga, run)
    assert (len(lines), digest_of(lines)) == (sealed.line_count, sealed.log_sha256)
    assert sealed.log_bytes == len(console_of(lines))
    assert await get(house.olga, run) == sealed
    assert lines == as_stored(lines)
