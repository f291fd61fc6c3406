"""Writing to the console of a run: every line is stored once and in order, whatever happens to the stream."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime

import grpc
import pytest

from coreason.foundry.v1 import run_pb2
from foundry.client import (
    DeadlineExceeded,
    Foundry,
    LineNumberMismatch,
    NotYours,
    RunFinished,
    RunLogWriter,
    Unavailable,
    connect,
)
from foundry.client.console.backlog import KEPT_LINES
from tests.client.scripted import soon, status
from tests.client.scripted_runs import AppendPeer, ScriptedRuns, numbers, scripted_runs, store


@pytest.fixture
async def runs() -> AsyncIterator[ScriptedRuns]:
    async with scripted_runs() as server:
        yield server


@pytest.fixture
async def foundry(runs: ScriptedRuns) -> AsyncIterator[Foundry]:
    async with connect(runs.target, "the-token") as connected:
        connected.runs._jitter = lambda: 0.0  # comes back at once
        yield connected


async def opened(runs: ScriptedRuns, foundry: Foundry, *, next_line: int = 1) -> tuple[RunLogWriter, AppendPeer]:
    log = foundry.runs.append_log("p1", "r1", timeout=5)
    entering = asyncio.create_task(log.__aenter__())
    peer, _first = await runs.accept_append(next_line=next_line)
    await soon(entering)
    return log, peer


async def close(log: RunLogWriter, peer: AppendPeer) -> None:
    closing = asyncio.create_task(log.close())
    await peer.ended()
    await soon(closing)


async def test_the_first_message_names_the_run_and_nothing_else(runs: ScriptedRuns, foundry: Foundry) -> None:
    log = foundry.runs.append_log("p1", "r1")
    entering = asyncio.create_task(log.__aenter__())
    peer, first = await runs.accept_append(next_line=1)
    assert await soon(entering) is log
    assert peer.authorization == "Bearer the-token"
    assert first == run_pb2.AppendRunLogRequest(project_id="p1", run_id="r1")
    await close(log, peer)


async def test_lines_are_numbered_split_at_line_feeds_and_say_where_and_when(
    runs: ScriptedRuns, foundry: Foundry
) -> None:
    log, peer = await opened(runs, foundry)
    came = datetime(2026, 11, 20, 12, 30, 5, 123456, tzinfo=UTC)
    await log.write("one\ntwo\r\n\nfour\n", stream=run_pb2.LOG_STREAM_STDERR, time=came)
    lines = (await peer.take()).lines
    assert [(line.number, line.text) for line in lines] == [(1, "one"), (2, "two\r"), (3, ""), (4, "four")]
    assert {line.stream for line in lines} == {run_pb2.LOG_STREAM_STDERR}
    assert lines[0].source_time.ToMicroseconds() == round(came.timestamp() * 1_000_000)
    await log.write("")
    await store(peer, 5)
    (line,) = (await peer.take()).lines
    assert (line.number, line.text, line.stream) == (5, "", run_pb2.LOG_STREAM_STDOUT)
    await store(peer, 6)
    await close(log, peer)
    assert log.stored_lines == 5


async def test_lines_go_on_behind_those_of_an_earlier_producer(runs: ScriptedRuns, foundry: Foundry) -> None:
    log, peer = await opened(runs, foundry, next_line=41)
    await log.write("on it goes")
    assert numbers((await peer.take()).lines) == [41]
    await store(peer, 42)
    await close(log, peer)


async def test_what_comes_while_lines_are_on_their_way_is_sent_together(runs: ScriptedRuns, foundry: Foundry) -> None:
    log, peer = await opened(runs, foundry)
    await log.write("first")
    assert numbers((await peer.take()).lines) == [1]
    for _ in range(50):
        await log.write("later")
    assert numbers((await peer.take()).lines) == list(range(2, 52))
    await store(peer, 52)
    await close(log, peer)


async def test_a_message_holds_no_more_than_it_may(runs: ScriptedRuns, foundry: Foundry) -> None:
    log, peer = await opened(runs, foundry)
    await log.write("\n".join(["short"] * 2_500))
    await log.write("\n".join(["x" * 60_000] * 10))
    seen: list[int] = []
    while len(seen) < 2_510:
        request = await peer.take()
        seen += numbers(request.lines)
        assert len(request.lines) <= 1_000
        assert request.ByteSize() <= 256 * 1024
        await store(peer, seen[-1] + 1)
    assert seen == list(range(1, 2_511))
    await close(log, peer)


async def test_closing_waits_until_everything_is_stored(runs: ScriptedRuns, foundry: Foundry) -> None:
    log, peer = await opened(runs, foundry)
    await log.write("one")
    closing = asyncio.create_task(log.close())
    await peer.take()
    assert not closing.done()
    await store(peer, 2)
    await peer.ended()
    await soon(closing)
    with pytest.raises(RuntimeError, match="inside"):
        await log.write("too late")
    await log.close()


async def test_after_a_break_it_goes_on_behind_the_last_stored_line(runs: ScriptedRuns, foundry: Foundry) -> None:
    log, peer = await opened(runs, foundry)
    await log.write("1\n2\n3\n4")
    assert numbers((await peer.take()).lines) == [1, 2, 3, 4]
    await store(peer, 2)
    peer.break_off()
    peer = await runs.accept()
    assert await peer.take() == run_pb2.AppendRunLogRequest(project_id="p1", run_id="r1")
    await log.write("5")
    await store(peer, 4)  # two more were stored before the stream broke
    lines = (await peer.take()).lines
    assert [line.text for line in lines] == ["4", "5"]
    assert numbers(lines) == [4, 5]
    await store(peer, 6)
    await close(log, peer)


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        (grpc.StatusCode.UNAVAILABLE, "GOING_AWAY"),
        (grpc.StatusCode.CANCELLED, ""),
        (grpc.StatusCode.INTERNAL, ""),
        (grpc.StatusCode.UNKNOWN, ""),
    ],
)
async def test_breaks_are_survived(runs: ScriptedRuns, foundry: Foundry, code: grpc.StatusCode, reason: str) -> None:
    log, peer = await opened(runs, foundry)
    peer.end(status(code, reason))
    peer, _first = await runs.accept_append(next_line=1)
    peer.end()  # and so is an end that nobody asked for
    peer, _first = await runs.accept_append(next_line=1)
    await close(log, peer)


async def test_a_refusal_on_entering_is_raised_at_once(runs: ScriptedRuns, foundry: Foundry) -> None:
    entering = asyncio.create_task(foundry.runs.append_log("p1", "r1").__aenter__())
    peer = await runs.accept()
    peer.end(status(grpc.StatusCode.PERMISSION_DENIED, "NOT_YOURS", owner="bob"))
    with pytest.raises(NotYours):
        await soon(entering)
    assert runs.no_further_stream()


async def test_a_refusal_is_raised_by_who_writes_and_by_who_closes(runs: ScriptedRuns, foundry: Foundry) -> None:
    log, peer = await opened(runs, foundry)
    await log.write("one")
    await peer.take()
    closing = asyncio.create_task(log.flush())
    peer.end(status(grpc.StatusCode.FAILED_PRECONDITION, "RUN_FINISHED", run_id="r1", state="CANCELLED"))
    with pytest.raises(RunFinished):
        await soon(closing)
    assert isinstance(log.error, RunFinished)
    with pytest.raises(RunFinished):
        await log.write("two")
    with pytest.raises(RunFinished):
        await log.close()
    assert runs.no_further_stream()


@pytest.mark.parametrize("next_line", [1, 5])
async def test_a_console_that_somebody_else_writes_to_is_refused(
    runs: ScriptedRuns, foundry: Foundry, next_line: int
) -> None:
    """Lines that were stored cannot be gone, and lines that were not written cannot be there."""
    log, peer = await opened(runs, foundry)
    await log.write("1\n2")
    await peer.take()
    await store(peer, 2)
    peer.break_off()
    await runs.accept_append(next_line=next_line)
    with pytest.raises(LineNumberMismatch) as refused:
        await soon(log.close())
    assert (refused.value.expected_line, refused.value.line) == (next_line, 2)


async def test_who_writes_faster_than_is_stored_waits(runs: ScriptedRuns, foundry: Foundry) -> None:
    log, peer = await opened(runs, foundry)
    writing = asyncio.create_task(log.write("\n".join(["line"] * (KEPT_LINES + 1))))
    seen = 0
    while seen < KEPT_LINES:
        seen += len((await peer.take()).lines)
    assert not writing.done()
    assert log.next_line == KEPT_LINES + 1
    await store(peer, 2)
    await soon(writing)
    assert numbers((await peer.take()).lines) == [KEPT_LINES + 1]
    await store(peer, KEPT_LINES + 2)
    await close(log, peer)


async def test_a_server_that_stores_nothing_is_given_up(runs: ScriptedRuns, foundry: Foundry) -> None:
    log = foundry.runs.append_log("p1", "r1", timeout=0.1)
    entering = asyncio.create_task(log.__aenter__())
    await runs.accept()
    with pytest.raises(DeadlineExceeded):
        await soon(entering)


async def test_a_server_that_is_not_there_is_named_as_the_reason() -> None:
    async with connect("127.0.0.1:1", "the-token") as nowhere:
        with pytest.raises(Unavailable):
            await soon(nowhere.runs.append_log("p1", "r1", timeout=0.3).__aenter__())


async def test_each_line_stays_whole_when_several_write(runs: ScriptedRuns, foundry: Foundry) -> None:
    log, peer = await opened(runs, foundry)
    long = "a" * 150_000
    await asyncio.gather(log.write(long + "\nb"), log.write("c", stream=run_pb2.LOG_STREAM_STDERR))
    lines: list[run_pb2.LogLine] = []
    while len(lines) < 5:
        lines += (await peer.take()).lines
    await store(peer, 6)
    whole, pieces = [], ""
    for line in lines:
        pieces += line.text
        if not line.partial:
            whole.append(pieces)
            pieces = ""
    assert sorted(whole) == sorted([long, "b", "c"])
    await close(log, peer)


async def test_a_block_that_fails_still_stores_what_it_wrote(runs: ScriptedRuns, foundry: Foundry) -> None:
    async def work() -> None:
        async with foundry.runs.append_log("p1", "r1") as log:
            await log.write("the last words")
            raise ValueError("broken")

    working = asyncio.create_task(work())
    peer, _first = await runs.accept_append(next_line=1)
    assert [line.text for line in (await peer.take()).lines] == ["the last words"]
    await store(peer, 2)
    with pytest.raises(ValueError, match="broken"):
        await soon(working)


async def test_closing_the_connection_lets_go_of_open_consoles(runs: ScriptedRuns, foundry: Foundry) -> None:
    log, peer = await opened(runs, foundry)
    await foundry.close()
    await peer.ended()
    assert runs.no_further_stream()
    del log


# --- runs for the length of a block --------------------------------------------------------------------------------


async def run_block(runs: ScriptedRuns, foundry: Foundry, *, how: str) -> run_pb2.FinishRunRequest:
    async def work() -> None:
        async with foundry.runs.running("p1", 3, harness="pytest") as run:
            await run.write("hello")
            if how == "raises":
                raise ValueError("broken")
            if how == "set":
                run.state = run_pb2.RUN_STATE_FAILED
            if how == "cancelled":
                await asyncio.Event().wait()
            run.result("accuracy", passed=how != "fails", value="0.9")

    working = asyncio.create_task(work())
    peer, _first = await runs.accept_append(next_line=1)
    await peer.take()
    await store(peer, 2)
    if how == "cancelled":
        working.cancel()
    await peer.ended()
    await soon(asyncio.wait({working}))
    assert working.cancelled() == (how == "cancelled")
    if not working.cancelled():
        assert isinstance(working.exception(), ValueError) == (how == "raises")
    (request,) = runs.finished
    return request


@pytest.mark.parametrize(
    ("how", "state"),
    [
        ("passes", run_pb2.RUN_STATE_PASSED),
        ("fails", run_pb2.RUN_STATE_FAILED),
        ("set", run_pb2.RUN_STATE_FAILED),
        ("raises", run_pb2.RUN_STATE_ERRORED),
        ("cancelled", run_pb2.RUN_STATE_ERRORED),
    ],
)
async def test_a_run_ends_as_its_block_does(runs: ScriptedRuns, foundry: Foundry, how: str, state: int) -> None:
    request = await run_block(runs, foundry, how=how)
    assert (request.state, request.expected_line_count) == (state, 1)
    assert len(request.results) == (how in {"passes", "fails", "set"})


async def test_a_run_that_was_cancelled_meanwhile_raises_that(runs: ScriptedRuns, foundry: Foundry) -> None:
    async def work() -> None:
        async with foundry.runs.running("p1") as run:
            await run.write("hello")

    working = asyncio.create_task(work())
    peer, _first = await runs.accept_append(next_line=1)
    await peer.take()
    peer.end(status(grpc.StatusCode.FAILED_PRECONDITION, "RUN_FINISHED", run_id="r1", state="CANCELLED"))
    with pytest.raises(RunFinished):
        await soon(working)
