"""Coming back to consoles: from behind the line that was seen, also of runs that ended meanwhile."""

from __future__ import annotations

import pytest
import pytest_asyncio

from coreason.foundry.v1 import session_event_pb2
from coreason.foundry.v1.session_command_pb2 import Resume, RunPosition
from foundry.client import Foundry
from tests.session.runs import append, finish, lines, logs, numbers, start, until_finished, until_line, with_version
from tests.session.tab import Tab, Tabs, request
from tests.support import project_with

GRACE = {"seconds": 20}
BIG = 2**63 - 1


@pytest_asyncio.fixture
async def tested(alice: Foundry, project: str) -> str:
    """A project with a version to test."""
    await with_version(alice, project)
    return project


@pytest_asyncio.fixture
async def producer(tabs: Tabs, tested: str) -> Tab:
    """Bob's tab, which does not follow."""
    return await tabs.open("bob", tested)


async def _watching(tabs: Tabs, tested: str) -> Tab:
    return await tabs.open("alice", tested, follow_runs=True, disconnect_grace=GRACE)


def _ticket(tab: Tab, *seen: tuple[str, int]) -> Resume:
    ticket = tab.ticket()
    ticket.runs.extend(RunPosition(run_id=run_id, line=line) for run_id, line in seen)
    return ticket


@pytest.mark.parametrize("seen", [0, 1, 2, 3, 5])
async def test_a_console_goes_on_behind_the_line_that_was_seen(
    tabs: Tabs, tested: str, producer: Tab, seen: int
) -> None:
    """In the middle of what was stored together, and into what comes; nothing of what was seen comes again."""
    first = await _watching(tabs, tested)
    run = await start(producer)
    await append(producer, run, "1", "2", "3", "4", "5")
    await until_line(first, run, 5)
    await first.cancel()
    await append(producer, run, "6", "7", first=6)
    second = await tabs.open("alice", tested, follow_runs=True, resume=_ticket(first, (run.run_id, seen)))
    assert second.opened.attachment == session_event_pb2.ATTACHMENT_RESUMED
    await until_line(second, run, 7)
    await append(producer, run, "8", first=8)
    sealed = await finish(producer, run)
    assert await until_finished(second, run) == sealed
    assert [line.text for line in lines(second, run)] == [f"{number}" for number in range(seen + 1, 9)]


@pytest.mark.parametrize("seen", [0, 3, 7, 9, BIG])
async def test_a_run_that_ended_while_a_client_was_away_is_told_to_its_end(
    tabs: Tabs, tested: str, producer: Tab, seen: int
) -> None:
    """The rest of its lines, and the finished run; also to who has seen all lines, or says to have seen more."""
    first = await _watching(tabs, tested)
    run = await start(producer)
    await append(producer, run, "1", "2", "3")
    await until_line(first, run, 3)
    await first.cancel()
    await append(producer, run, "4", "5", "6", "7", first=4)
    sealed = await finish(producer, run)
    second = await tabs.open("alice", tested, follow_runs=True, resume=_ticket(first, (run.run_id, seen)))
    assert await until_finished(second, run) == sealed
    assert numbers(second, run) == list(range(seen + 1, 8))


@pytest.mark.parametrize("seen", [5, 6, BIG - 1, BIG])
async def test_a_client_that_is_ahead_of_a_console_waits_for_it(
    tabs: Tabs, tested: str, producer: Tab, seen: int
) -> None:
    """Whatever it says it has seen: it is sent what lies behind, and the end; the stream goes on."""
    run = await start(producer)
    await append(producer, run, "1", "2")
    ticket = Resume(runs=[RunPosition(run_id=run.run_id, line=seen)])
    watcher = await tabs.open("alice", tested, follow_runs=True, resume=ticket)
    await append(producer, run, *(f"{number}" for number in range(3, 8)), first=3)
    sealed = await finish(producer, run)
    assert await until_finished(watcher, run) == sealed
    assert numbers(watcher, run) == list(range(seen + 1, 8))


async def test_runs_that_are_not_named_are_told_from_their_first_line(tabs: Tabs, tested: str, producer: Tab) -> None:
    """Those that run, and those that began and ended while the client was away: with their end."""
    first = await _watching(tabs, tested)
    seen = await start(producer)
    await append(producer, seen, "1", "2")
    await until_line(first, seen, 2)
    await first.cancel()
    began, over = await start(producer), await start(producer)
    await append(producer, began, "1")
    await append(producer, over, "1")
    await finish(producer, over)
    second = await tabs.open("alice", tested, follow_runs=True, resume=_ticket(first))
    await until_line(second, began, 1)
    await until_line(second, seen, 2)
    await until_finished(second, over)
    assert (numbers(second, seen), numbers(second, began), numbers(second, over)) == ([1, 2], [1], [1])


async def test_positions_mean_nothing_to_who_does_not_follow(tabs: Tabs, tested: str, producer: Tab) -> None:
    run = await start(producer)
    await append(producer, run, "1")
    quiet = await tabs.open("alice", tested, resume=Resume(runs=[RunPosition(run_id=run.run_id)]))
    await append(producer, run, "2", first=2)
    await finish(producer, run)
    await quiet.until_entry("run_finished")
    await quiet.command(heartbeat={})
    assert logs(quiet) == []


async def test_runs_that_are_not_there_are_not_told(tabs: Tabs, alice: Foundry, tested: str, producer: Tab) -> None:
    """Invented ones, and those of another project that the caller is no member of: neither lines nor an end."""
    other = await project_with(alice, "bob", name="Another")
    await with_version(alice, other)
    elsewhere = await tabs.open("bob", other)
    secret = await start(elsewhere)
    await append(elsewhere, secret, "secret")
    await finish(elsewhere, secret)
    mine = await start(producer)
    seen = [RunPosition(run_id=run_id, line=0) for run_id in (secret.run_id, "nobody's", "", "\0", mine.run_id)]
    carol = await tabs.open("carol", tested, follow_runs=True, resume=Resume(runs=seen))
    await append(producer, mine, "1")
    await finish(producer, mine)
    await until_finished(carol, mine)
    assert {log.run_id for log in logs(carol)} == {mine.run_id}


async def test_a_hundred_positions_may_be_named(tabs: Tabs, tested: str, producer: Tab) -> None:
    run = await start(producer)
    await append(producer, run, "1", "2")
    named = [RunPosition(run_id=f"{number}", line=number) for number in range(99)]
    named.append(RunPosition(run_id=run.run_id, line=1))
    watcher = await tabs.open("alice", tested, follow_runs=True, resume=Resume(runs=named))
    await until_line(watcher, run, 2)
    assert numbers(watcher, run) == [2]


@pytest.mark.parametrize(
    ("seen", "field"),
    [
        ([RunPosition(run_id="r", line=-1)], "open.resume.runs.line"),
        ([RunPosition(run_id="r", line=-(2**63))], "open.resume.runs.line"),
        ([RunPosition(run_id=f"{number}") for number in range(101)], "open.resume.runs"),
    ],
    ids=["before the first", "far before the first", "too many"],
)
async def test_a_position_that_cannot_be_is_blamed(
    tabs: Tabs, tested: str, seen: list[RunPosition], field: str
) -> None:
    tab = tabs.raw("alice")
    resume = Resume(runs=seen)
    await tab.send(request(1, open={"project_id": tested, "follow_runs": True, "resume": resume}))
    ending = await tab.ended()
    assert (ending.reason, ending.details) == ("INVALID_ARGUMENT", {"field": field})


async def test_a_superseded_stream_gets_no_more_lines(tabs: Tabs, tested: str, producer: Tab) -> None:
    """Who came back on a new stream is told there, and only there."""
    run = await start(producer)
    first = await _watching(tabs, tested)
    await append(producer, run, "1")
    await until_line(first, run, 1)
    second = await tabs.open("alice", tested, follow_runs=True, resume=_ticket(first, (run.run_id, 1)))
    assert (await first.ended()).reason == "SESSION_SUPERSEDED"
    await append(producer, run, "2", first=2)
    await until_line(second, run, 2)
    assert (numbers(first, run), numbers(second, run)) == ([1], [2])
