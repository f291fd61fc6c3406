"""Runs by commands of a session stream: the same as by calls, and whatever is refused, the stream goes on."""

from __future__ import annotations

from typing import Any

import grpc
import pytest
import pytest_asyncio

from coreason.foundry.v1 import run_pb2 as pb
from foundry.client import Foundry
from tests.session.runs import append, finish, start, texts_of, with_version
from tests.session.tab import Refusal, Tab, Tabs, refusal, request
from tests.support import project_with

MIB = 1024 * 1024


@pytest_asyncio.fixture
async def tested(alice: Foundry, project: str) -> str:
    """A project with a version to test."""
    await with_version(alice, project)
    return project


async def _alive(tab: Tab) -> None:
    """The stream takes commands as ever."""
    await tab.command(heartbeat={})
    assert tab.ending is None


async def test_a_run_lives_by_commands(tabs: Tabs, tested: str) -> None:
    """Started, appended to and finished on the stream; each answer says what the call would, and where the log is."""
    tab = await tabs.open("bob", tested)
    reply = await tab.command(start_run={"harness": "pytest", "labels": {"a": "b"}, "attempt": 2})
    run = reply.run_started.run
    started = await tab.until_entry("run_started", run_id=run.run_id, harness="pytest", attempt=2)
    assert reply.position == reply.run_started.position == started.position
    assert (started.session_id, started.actor.subject) == (tab.session_id, "bob")
    assert (run.version_number, run.state, run.starter.display_name) == (1, pb.RUN_STATE_RUNNING, "Bob")
    assert await append(tab, run, "one", "two") == 3
    assert await append(tab, run) == 3
    reply = await tab.command(
        finish_run={
            "run_id": run.run_id,
            "state": pb.RUN_STATE_FAILED,
            "results": [{"name": "a", "value": "1"}],
            "expected_line_count": 2,
        }
    )
    sealed = reply.run_finished.run
    finished = await tab.until_entry("run_finished", run_id=run.run_id, state=pb.RUN_STATE_FAILED, line_count=2)
    assert reply.position == reply.run_finished.position == finished.position
    assert finished.run_finished.log_sha256 == sealed.log_sha256 != ""
    assert (sealed.line_count, [result.name for result in sealed.results]) == (2, ["a"])


async def test_a_run_outlives_its_session(tabs: Tabs, tested: str) -> None:
    """A tab that is closed ends no test: another session of the same person goes on with it."""
    first = await tabs.open("bob", tested)
    run = await start(first)
    await append(first, run, "one")
    await first.leave()
    second = await tabs.open("bob", tested)
    assert [found.run_id for found in second.events[1].snapshot.runs] == [run.run_id]
    assert await append(second, run) == 2
    assert await append(second, run, "two", first=2) == 3
    assert (await finish(second, run, expected_line_count=2)).state == pb.RUN_STATE_PASSED


async def test_a_command_is_about_the_streams_own_project_and_session(tabs: Tabs, alice: Foundry, tested: str) -> None:
    """Named or left out; named wrongly, it is refused and nothing is started."""
    other = await project_with(alice, "bob", name="Another")
    tab, neighbour = await tabs.open("bob", tested), await tabs.open("bob", tested)
    run = await start(tab, project_id=tested, session_id=tab.session_id)
    assert run.project_id == tested
    wrong: list[tuple[str, dict[str, Any], str]] = [
        ("start_run", {"project_id": other}, "start_run.project_id"),
        ("start_run", {"session_id": neighbour.session_id}, "start_run.session_id"),
        ("finish_run", {"project_id": other, "run_id": run.run_id, "state": 2}, "finish_run.project_id"),
    ]
    for arm, fields, field in wrong:
        refused = await tab.refused(**{arm: fields})
        assert (refused.reason, refused.details["field"]) == ("INVALID_ARGUMENT", field)
    assert (await finish(tab, run)).state == pb.RUN_STATE_PASSED
    later = await tabs.open("alice", tested)
    assert not later.events[1].snapshot.runs


@pytest.mark.parametrize(
    ("lines", "reason", "details"),
    [
        (texts_of("x", first=4), "LINE_NUMBER_MISMATCH", {"expected_line": "3", "line": "4"}),
        (texts_of("x", first=2), "LINE_NUMBER_MISMATCH", {"expected_line": "3", "line": "2"}),
        (texts_of("x", first=3) + texts_of("y", first=5), "LINE_NUMBER_MISMATCH", {"expected_line": "4", "line": "5"}),
        (texts_of("x", first=0), "INVALID_ARGUMENT", {"field": "lines.number"}),
        (texts_of("a\nb", first=3), "INVALID_ARGUMENT", {"field": "lines.text"}),
        ([{"number": 3, "stream": 9}], "INVALID_ARGUMENT", {"field": "lines.stream"}),
        ([{"number": 3, "source_time": {"seconds": -1}}], "INVALID_ARGUMENT", {"field": "lines.source_time"}),
        (texts_of(*["x"] * 5_001, first=3), "INVALID_ARGUMENT", {"field": "lines"}),
        (texts_of("x" * 65_537, first=3), "CONTENT_TOO_LARGE", {"size_bytes": "65537", "limit_bytes": "65536"}),
    ],
    ids=["gap", "repeated", "gap inside", "number", "line feed", "stream", "time", "too many", "too long"],
)
async def test_lines_that_are_refused_leave_the_stream_and_the_console(
    tabs: Tabs, tested: str, lines: list[dict[str, Any]], reason: str, details: dict[str, str]
) -> None:
    """Unlike AppendRunLog the stream goes on, with its locks; and so does the run, where it was."""
    tab = await tabs.open("bob", tested)
    got = await tab.acquire()
    run = await start(tab)
    await append(tab, run, "one", "two")
    refused = await tab.refused(append_run_log={"run_id": run.run_id, "lines": lines})
    assert refused.reason == reason
    assert refused.details == refused.details | details
    assert await append(tab, run, "three", first=3) == 4
    assert (await tab.touch(got.lock)).fencing_token == got.lock.fencing_token


async def test_who_may_not_is_refused_and_stays(tabs: Tabs, alice: Foundry, tested: str) -> None:
    """Another's run, an unknown one, a finished one; the owner's stream and the stranger's both go on."""
    mine, stranger = await tabs.open("bob", tested), await tabs.open("carol", tested)
    run = await start(mine)
    other = await project_with(alice, "carol", name="Another")
    await with_version(alice, other)
    theirs = await start(await tabs.open("carol", other))

    async def both(tab: Tab, run_id: str) -> list[Refusal]:
        return [
            await tab.refused(append_run_log={"run_id": run_id, "lines": texts_of("x")}),
            await tab.refused(finish_run={"run_id": run_id, "state": pb.RUN_STATE_PASSED}),
        ]

    for refused in await both(stranger, run.run_id):
        assert (refused.code, refused.reason) == (grpc.StatusCode.PERMISSION_DENIED, "NOT_YOURS")
        assert refused.details == {"resource_type": "run", "resource_id": run.run_id, "owner": "bob"}
    for run_id in ("", "nobody's", theirs.run_id):
        for refused in await both(stranger, run_id):
            assert (refused.code, refused.reason) == (grpc.StatusCode.NOT_FOUND, "RESOURCE_NOT_FOUND")
    await finish(mine, run)
    for refused in await both(mine, run.run_id):
        assert (refused.code, refused.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "RUN_FINISHED")
        assert refused.details == {"run_id": run.run_id, "state": "PASSED"}
    await _alive(mine)
    await _alive(stranger)


async def test_a_start_that_is_refused_says_why(tabs: Tabs, alice: Foundry, project: str) -> None:
    """Nothing to test yet, another hash, an unknown version, a bound."""
    tab = await tabs.open("bob", project)
    assert (await tab.refused(start_run={})).details == {"resource_type": "draft", "resource_id": "head"}
    await with_version(alice, project)
    refused = await tab.refused(start_run={"content_sha256": "a" * 64})
    assert (refused.reason, refused.details["version_number"]) == ("CONTENT_MISMATCH", "1")
    assert (await tab.refused(start_run={"version_number": 2})).reason == "RESOURCE_NOT_FOUND"
    assert (await tab.refused(start_run={"harness": "x" * 201})).details == {"field": "harness"}
    assert (await tab.refused(start_run={"request_id": "x"})).details == {"field": "request_id"}
    await _alive(tab)


async def test_a_command_of_10_mb_is_refused_with_its_size_and_the_stream_goes_on(tabs: Tabs, tested: str) -> None:
    """Nobody can tell what it was about, so the answer names no command."""
    tab = await tabs.open("bob", tested)
    got = await tab.acquire()
    run = await start(tab)
    huge = request(77, append_run_log={"run_id": run.run_id, "lines": texts_of("x" * 10_000_000)})
    reply = await tab.reply_to(0, huge)
    refused = refusal(reply.error)
    assert refused.reason == "MESSAGE_TOO_LARGE"
    assert refused.details == {"size_bytes": f"{huge.ByteSize()}", "limit_bytes": f"{4 * MIB}"}
    assert await append(tab, run, "one") == 2
    assert (await tab.touch(got.lock)).fencing_token == got.lock.fencing_token


async def test_text_that_is_no_utf8_is_refused_and_the_stream_goes_on(tabs: Tabs, tested: str) -> None:
    tab = await tabs.open("bob", tested)
    run = await start(tab)
    good = request(78, append_run_log={"run_id": run.run_id, "lines": texts_of("AAAA")}).SerializeToString()
    for bad in (b"\xff\xfe\xfd\xfc", b"\xed\xa0\x80A", b"\xc0\x8aAA"):
        reply = await tab.reply_to(0, good.replace(b"AAAA", bad))
        assert refusal(reply.error).reason == "MALFORMED_MESSAGE"
    assert await append(tab, run, "one") == 2


async def test_commands_are_done_in_the_order_they_were_sent(tabs: Tabs, tested: str) -> None:
    """Sent at once, without waiting for answers: lines one after the other, and then the end."""
    tab = await tabs.open("bob", tested)
    run = await start(tab)
    for number in range(1, 31):
        lines = texts_of(f"{number}", first=number)
        await tab.send(request(100 + number, append_run_log={"run_id": run.run_id, "lines": lines}))
    end = {"run_id": run.run_id, "state": pb.RUN_STATE_PASSED, "expected_line_count": 30}
    reply = await tab.reply_to(200, request(200, finish_run=end))
    assert reply.run_finished.run.line_count == 30
    replies = [event.reply for event in tab.events if event.reply.command_id > 100]
    assert [reply.command_id for reply in replies] == [*range(101, 131), 200]
    assert [reply.run_appended.next_line for reply in replies[:-1]] == list(range(2, 32))
