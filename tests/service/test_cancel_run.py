"""Cancelling a run: by its starter, and by people who own the project, with a reason where policy wants one."""

from __future__ import annotations

import asyncio
import uuid

import pytest
from google.protobuf.field_mask_pb2 import FieldMask

from coreason.foundry.v1 import project_pb2
from coreason.foundry.v1 import run_pb2 as pb
from tests.service.house import House
from tests.service.logs import entries_of
from tests.service.refusals import blamed, refused
from tests.service.runs import (
    Producer,
    append,
    cancel,
    digest_of,
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


async def test_a_cancelled_run_is_sealed_as_it_is(house: House) -> None:
    """Its console stays, and the log says who ended whose run, and why."""
    bob = house.caller("bob")
    run = await start(bob, await tested(house))
    await append(bob, run, lines_of("one", "two"))
    answer = await cancel(house.olga, run, reason="It hangs.")
    sealed = answer.run
    assert (sealed.state, sealed.line_count, list(sealed.results)) == (pb.RUN_STATE_CANCELLED, 2, [])
    assert sealed.log_sha256 == digest_of(lines_of("one", "two"))
    [entry] = await entries_of(house.olga, run.project_id, events=["run_finished"])
    assert (answer.position, sealed.finish_time) == (entry.position, entry.time)
    assert (entry.actor.subject, entry.reason, entry.run_finished.starter) == ("olga", "It hangs.", "bob")
    assert entry.run_finished.state == pb.RUN_STATE_CANCELLED
    assert b"hangs" not in entry.entry_bytes
    assert await get(bob, run) == sealed
    await refused(append(bob, run, lines_of("x", first=3)), "RUN_FINISHED", run_id=run.run_id, state="CANCELLED")


async def test_its_starter_cancels_a_run_whoever_that_is(house: House) -> None:
    """An agent its own, as long as it may run tests at all."""
    project_id = await tested(house, agent_access=project_pb2.AGENT_ACCESS_EDIT)
    for kind in ("human", "agent", "service"):
        bob = house.caller("bob", kind=kind)
        assert (await cancel(bob, await start(bob, project_id))).run.state == pb.RUN_STATE_CANCELLED


async def test_anothers_run_is_cancelled_by_people_who_own_the_project(house: House) -> None:
    """Not by editors, not by what acts in an owner's name, and not by who may not run tests."""
    project_id = await tested(house, agent_access=project_pb2.AGENT_ACCESS_EDIT)
    run = await start(house.caller("bob"), project_id)
    editor = project_pb2.SetMemberRequest(project_id=project_id, subject="carol", role=project_pb2.ROLE_EDITOR)
    await house.olga.call(editor)
    strangers = [
        (house.caller("carol"), "NOT_YOURS"),
        (house.caller("bob", kind="agent"), "NOT_YOURS"),
        (house.caller("olga", kind="agent"), "NOT_YOURS"),
        (house.caller("olga", kind="service"), "NOT_YOURS"),
        (house.caller("vera"), "ROLE_TOO_LOW"),
        (house.caller("eve"), "PROJECT_ACCESS_DENIED"),
    ]
    async with house.unchanged(project_id):
        for stranger, reason in strangers:
            await refused(cancel(stranger, run), reason)
    assert (await cancel(house.olga, run)).run.state == pb.RUN_STATE_CANCELLED


@pytest.mark.parametrize("reason", ["", " ", "\t\n"])
async def test_policy_may_want_a_reason(house: House, reason: str) -> None:
    """Of the starter as of the owner; blank is none."""
    run = await running(house)
    policy = project_pb2.UpdateProjectRequest(
        project_id=run.project_id,
        project=project_pb2.Project(policy=project_pb2.Policy(require_reason=True)),
        update_mask=FieldMask(paths=["policy.require_reason"]),
    )
    await house.olga.call(policy)
    async with house.unchanged(run.project_id):
        await refused(cancel(house.olga, run, reason=reason), "REASON_REQUIRED")
    assert (await cancel(house.olga, run, reason="lunch")).run.state == pb.RUN_STATE_CANCELLED


async def test_a_reason_has_4_kib_at_most(house: House) -> None:
    run = await running(house)
    await blamed(cancel(house.olga, run, reason="é" * 2048 + "x"), "reason")
    await blamed(cancel(house.olga, run, request_id="x"), "request_id")
    assert (await cancel(house.olga, run, reason="é" * 2048)).run.state == pb.RUN_STATE_CANCELLED


async def test_a_repeated_cancel_answers_the_same(house: House) -> None:
    run = await running(house, "one")
    request_id = str(uuid.uuid4())
    first = await cancel(house.olga, run, reason="lunch", request_id=request_id)
    assert await cancel(house.olga, run, reason="lunch", request_id=request_id) == first
    await refused(cancel(house.olga, run, reason="dinner", request_id=request_id), "REQUEST_ID_REUSED")
    await refused(cancel(house.olga, run), "RUN_FINISHED", run_id=run.run_id, state="CANCELLED")


async def test_a_cancel_ends_the_stream_of_its_producer(house: House) -> None:
    """Though it has nothing to say: nobody wants its lines any more. Producers of other runs are not disturbed."""
    bob = house.caller("bob")
    project_id = await tested(house)
    runs = [await start(bob, project_id) for _ in range(3)]
    streams = [Producer(bob, run) for run in runs]
    for stream in streams:
        await stream.send()
        await stream.until(1)
    await cancel(house.olga, runs[0])
    await refused(streams[0].rest(), "RUN_FINISHED", run_id=runs[0].run_id, state="CANCELLED")
    await finish(bob, runs[1])  # whoever finishes a run ends its stream too
    for run, stream in zip(runs[1:], streams[1:], strict=True):
        await stream.send(line(1, "late"))
        if run is runs[1]:
            await refused(stream.rest(), "RUN_FINISHED", run_id=run.run_id, state="PASSED")
        else:
            assert await stream.close() == [2]


@pytest.mark.parametrize("at", [0, 1])
async def test_a_cancel_at_any_server_ends_the_stream_of_its_producer(house: House, at: int) -> None:
    """Whichever server the producer streams to, and though it never says a word."""
    bob = house.caller_at(0, "bob")
    project_id = await tested(house)
    run = await start(bob, project_id)
    stream = Producer(bob, run)
    await stream.send()
    await stream.until(1)
    await cancel(house.caller_at(at, "olga"), run)
    await refused(stream.rest(), "RUN_FINISHED", run_id=run.run_id, state="CANCELLED")


async def test_a_run_that_floods_is_cancelled_all_the_same(house: House) -> None:
    """A test gone wild cannot outrun its owner: the producer is told, and what was stored is sealed."""
    bob = house.caller("bob")
    run = await start(bob, await tested(house))
    producer = Producer(bob, run)

    async def flood() -> None:
        first = 1
        while await producer.send(*lines_of(*("x" * 1_000 for _ in range(50)), first=first)):
            first += 50

    async def listen() -> None:
        await refused(producer.rest(), "RUN_FINISHED", run_id=run.run_id, state="CANCELLED")

    flooding, listening = asyncio.create_task(flood()), asyncio.create_task(listen())
    while (await get(house.olga, run)).line_count < 1_000:
        pass
    sealed = (await cancel(house.olga, run)).run
    await asyncio.gather(listening, flooding)
    await refused(append(bob, run), "RUN_FINISHED", run_id=run.run_id, state="CANCELLED")
    lines = await read(house.olga, run)
    assert (len(lines), digest_of(lines)) == (sealed.line_count, sealed.log_sha256)
