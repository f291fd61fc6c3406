"""Runs on a live session: consoles that are followed over breaks, and the commands about runs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import grpc
import pytest

from coreason.foundry.v1 import audit_pb2, run_pb2, session_command_pb2, session_event_pb2
from coreason.foundry.v1.session_pb2 import ServerEvent
from foundry.client import Foundry, LineNumberMismatch, ResumeState, Session
from tests.client.conftest import NewSession
from tests.client.scripted import (
    Peer,
    ScriptedServer,
    caught_up,
    entry,
    granted,
    opened,
    snapshot,
    soon,
    status,
)


async def open_session(scripted: ScriptedServer, session: Session) -> Peer:
    opening = asyncio.create_task(session.__aenter__())
    peer, _open = await scripted.accept_open()
    await peer.welcome("s1", head=3, sequence=7)
    await soon(opening)
    return peer


def lines(*numbers: int) -> list[run_pb2.LogLine]:
    return [run_pb2.LogLine(number=number, text=f"line {number}") for number in numbers]


def run_log(run_id: str, *numbers: int, finished: bool = False) -> ServerEvent:
    log = run_pb2.RunLog(run_id=run_id, lines=lines(*numbers))
    if finished:
        log.finished_run.CopyFrom(run_pb2.Run(run_id=run_id, state=run_pb2.RUN_STATE_PASSED))
    return ServerEvent(run_log=log)


def run_started(sequence: int, run_id: str) -> ServerEvent:
    return entry(sequence, run_started=audit_pb2.RunStarted(run_id=run_id, version_number=3, harness="pytest"))


async def test_following_runs_is_asked_for(scripted: ScriptedServer, foundry: Foundry) -> None:
    for session, follows in ((foundry.session("p1", follow_runs=True), True), (foundry.session("p1"), False)):
        opening = asyncio.create_task(session.__aenter__())
        peer, request = await scripted.accept_open()
        assert request.open.follow_runs is follows
        await peer.welcome()
        await soon(opening)
        await session._link.stop()


async def test_lines_come_once_each_over_a_reconnect(scripted: ScriptedServer, new_session: NewSession) -> None:
    session = new_session()
    peer = await open_session(scripted, session)
    events = session.events()
    await peer.send(run_log("r1", 1, 2), run_log("r2", 1), run_log("r3", 1, finished=True))
    peer.break_off()
    peer, request = await scripted.accept_open()
    assert {run.run_id: run.line for run in request.open.resume.runs} == {"r1": 2, "r2": 1}
    await peer.welcome_back("s1", 7)
    await peer.send(run_log("r1", 2, 3), run_log("r2", 1), run_log("r2", finished=True))
    seen: list[tuple[str, list[int], bool]] = []
    while len(seen) < 5:
        event = await soon(anext(events))
        if event.HasField("run_log"):
            log = event.run_log
            seen.append((log.run_id, [line.number for line in log.lines], log.HasField("finished_run")))
    assert seen == [
        ("r1", [1, 2], False),
        ("r2", [1], False),
        ("r3", [1], True),
        ("r1", [3], False),
        ("r2", [], True),
    ]
    assert session.resume_state.runs == {"r1": 3}


async def test_places_are_kept_for_another_process(scripted: ScriptedServer, new_session: NewSession) -> None:
    session = new_session(resume=ResumeState("s1", "secret", 1, 8, {"r1": 41}))
    opening = asyncio.create_task(session.__aenter__())
    peer, request = await scripted.accept_open()
    assert list(request.open.resume.runs) == [session_command_pb2.RunPosition(run_id="r1", line=41, epoch=1)]
    events = session.events()
    await peer.welcome_back("s1", 8, run_log("r1", 41, 42))
    await soon(opening)
    assert await _next_lines(events) == [42]


async def test_places_in_another_history_of_the_log_are_forgotten(
    scripted: ScriptedServer, new_session: NewSession
) -> None:
    """Its lines are told from the first one on; those that were seen before may be lost, and others in their place."""
    session = new_session()
    peer = await open_session(scripted, session)
    events = session.events()
    await peer.send(run_log("r1", 1, 2))
    assert await _next_lines(events) == [1, 2]
    peer.break_off()
    back, request = await scripted.accept_open()
    assert [(run.run_id, run.line) for run in request.open.resume.runs] == [("r1", 2)]
    whole = session_event_pb2.ATTACHMENT_SNAPSHOT
    await back.send(opened("s2", whole, 7, epoch=2), snapshot(), caught_up(7, epoch=2), run_log("r1", 1))
    assert await _next_lines(events) == [1]
    assert session.resume_state.runs == {"r1": 1}
    back.break_off()
    _again, request = await scripted.accept_open()
    assert [(run.run_id, run.line, run.epoch) for run in request.open.resume.runs] == [("r1", 1, 2)]
    await session._link.stop()


async def test_a_run_stays_known_when_a_snapshot_breaks_off(scripted: ScriptedServer, new_session: NewSession) -> None:
    """Also in another history of the log, of which no line came yet: its end may come while the session is away."""
    session = new_session()
    peer = await open_session(scripted, session)
    events = session.events()
    await peer.send(run_log("r1", 1, 2))
    assert await _next_lines(events) == [1, 2]
    peer.break_off()
    for epoch, named in ((1, ("r1", 2, 1)), (2, ("r1", 2, 1)), (2, ("r1", 0, 2))):
        back, request = await scripted.accept_open()
        assert [(run.run_id, run.line, run.epoch) for run in request.open.resume.runs] == [named]
        await back.send(opened("s2", session_event_pb2.ATTACHMENT_SNAPSHOT, 7, epoch=epoch))
        back.break_off()
    await session._link.stop()


async def _next_lines(events: AsyncIterator[ServerEvent]) -> list[int]:
    """Numbers of the lines that are told next."""
    while not (event := await soon(anext(events))).HasField("run_log"):
        pass
    return [line.number for line in event.run_log.lines]


async def test_no_more_places_are_named_than_the_contract_allows(
    scripted: ScriptedServer, new_session: NewSession
) -> None:
    session = new_session()
    peer = await open_session(scripted, session)
    events = session.events()
    await peer.send(*(run_log(f"r{number}", 1) for number in range(101)))
    for _ in range(101):
        await soon(anext(events))
    peer.break_off()
    _peer, request = await scripted.accept_open()
    named = {run.run_id for run in request.open.resume.runs}
    assert named == {f"r{number}" for number in range(1, 101)}


async def test_a_run_is_started_fed_and_finished(scripted: ScriptedServer, new_session: NewSession) -> None:
    session = new_session()
    peer = await open_session(scripted, session)
    starting = asyncio.create_task(
        session.start_run(3, content_sha256="ab", harness="pytest", labels={"a": "b"}, attempt=2)
    )
    request = await peer.take("start_run")
    assert request.start_run.request_id
    request.start_run.request_id = ""
    assert request.start_run == run_pb2.StartRunRequest(
        version_number=3, content_sha256="ab", harness="pytest", labels={"a": "b"}, attempt=2
    )
    await peer.reply(request, run_started=run_pb2.StartRunResponse(run=run_pb2.Run(run_id="r1")))
    assert (await soon(starting)).run_id == "r1"

    appending = asyncio.create_task(session.append_run_log("r1", lines(1, 2)))
    request = await peer.take("append_run_log")
    assert list(request.append_run_log.lines) == lines(1, 2)
    await peer.reply(request, run_appended=run_pb2.AppendRunLogResponse(next_line=3))
    assert await soon(appending) == 3

    result = run_pb2.RunResult(name="accuracy", passed=True)
    finishing = asyncio.create_task(
        session.finish_run("r1", run_pb2.RUN_STATE_PASSED, results=[result], expected_line_count=2)
    )
    request = await peer.take("finish_run")
    assert request.finish_run.run_id == "r1"
    assert list(request.finish_run.results) == [result]
    assert request.finish_run.expected_line_count == 2
    finished = run_pb2.Run(run_id="r1", state=run_pb2.RUN_STATE_PASSED)
    await peer.reply(request, run_finished=run_pb2.FinishRunResponse(run=finished))
    assert await soon(finishing) == finished


async def test_an_append_that_was_stored_before_the_stream_broke_succeeds(
    scripted: ScriptedServer, new_session: NewSession
) -> None:
    """It is sent again after the break, and the server says that its lines are there already."""
    session = new_session()
    peer = await open_session(scripted, session)
    appending = asyncio.create_task(session.append_run_log("r1", lines(1, 2)))
    await peer.take("append_run_log")
    peer.break_off()
    peer, _open = await scripted.accept_open()
    await peer.welcome_back("s1", 7)
    request = await peer.take("append_run_log")
    stored = status(grpc.StatusCode.FAILED_PRECONDITION, "LINE_NUMBER_MISMATCH", expected_line="3", line="1")
    await peer.reply(request, error=stored)
    assert await soon(appending) == 3


async def test_an_append_with_a_gap_is_refused(scripted: ScriptedServer, new_session: NewSession) -> None:
    session = new_session()
    peer = await open_session(scripted, session)
    appending = asyncio.create_task(session.append_run_log("r1", lines(5)))
    gap = status(grpc.StatusCode.FAILED_PRECONDITION, "LINE_NUMBER_MISMATCH", expected_line="3", line="5")
    await peer.reply(await peer.take("append_run_log"), error=gap)
    with pytest.raises(LineNumberMismatch):
        await soon(appending)


async def test_the_state_knows_the_runs_that_run(scripted: ScriptedServer, new_session: NewSession) -> None:
    session = new_session()
    opening = asyncio.create_task(session.__aenter__())
    peer, _open = await scripted.accept_open()
    there = snapshot(head=3)
    there.snapshot.runs.add(run_id="r1", line_count=4)
    await peer.send(opened("s1", session_event_pb2.ATTACHMENT_SNAPSHOT, 7), there, caught_up(7))
    await soon(opening)
    assert set(session.state.runs) == {"r1"}
    events = session.events()
    await peer.send(run_started(8, "r2"), run_log("r1", 1, 2, 3, 4, 5), run_log("r2", 1))
    for _ in range(3):
        await soon(anext(events))
    started = session.state.runs["r2"]
    assert (started.version_number, started.harness, started.starter.subject) == (3, "pytest", "alice")
    assert started.state == run_pb2.RUN_STATE_RUNNING
    assert {run.run_id: run.line_count for run in session.state.runs.values()} == {"r1": 5, "r2": 1}
    assert there.snapshot.runs[0].line_count == 4
    await peer.send(entry(9, run_finished=audit_pb2.RunFinished(run_id="r2", state=run_pb2.RUN_STATE_PASSED)))
    await soon(anext(events))
    assert set(session.state.runs) == {"r1"}


@pytest.mark.parametrize("reason", ["PROJECT_FROZEN", "PROJECT_ARCHIVED", "LOCK_LOST"])
async def test_leaving_a_lock_that_a_freeze_took_is_quiet(
    scripted: ScriptedServer, new_session: NewSession, reason: str
) -> None:
    session = new_session()
    peer = await open_session(scripted, session)

    async def work() -> None:
        async with session.lock("a"):
            pass

    working = asyncio.create_task(work())
    await peer.reply(await peer.take("acquire_lock"), acquired=granted("a", "s1", 1))
    gone = status(grpc.StatusCode.FAILED_PRECONDITION, reason, field="a")
    await peer.reply(await peer.take("release_lock"), error=gone)
    await soon(working)
    assert session._link.locks.get("a") is None
