"""The console lane below the edge: what is encoded once, who is woken when, and what is forgotten."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path

import pytest

from coreason.foundry.v1.session_pb2 import ProjectSessionResponse
from foundry.domain.events import SnapshotPage
from foundry.domain.run import Run
from foundry.domain.session import CloseReason, Position
from foundry.managers.console import Follower
from foundry.managers.sessions import OpenSession
from foundry.managers.state import Missed
from foundry.store.runs import Chunk
from tests.managers.console_lane import Lane, owned_time
from tests.managers.workspace import ALICE, opened

ALL = 1_000_000


async def _seen(follower: Follower, run: Run) -> str:
    """All that waits for a follower of one run, without the name of the run."""
    return (await follower.take(ALL)).decode().replace(f"{run.run_id[-4:]} ", "")


@pytest.fixture
async def lane(tmp_path: Path) -> AsyncIterator[Lane]:
    async with opened(tmp_path / "data") as workspace:
        project_id = await workspace.project()
        await workspace.save_unary(project_id, 0, {"system_prompt": "one"})
        yield Lane(workspace, project_id)


async def test_what_was_just_stored_is_encoded_once_for_everybody(lane: Lane) -> None:
    """However many follow; with nobody there, it is not encoded at all."""
    run = await lane.run()
    await lane.append(run, 1)
    assert lane.encoded == []
    followers = [await lane.follower() for _ in range(20)]
    assert {await _seen(follower, run) for follower in followers} == {"[1-1]"}
    await lane.append(run, 2, 3)
    await owned_time().advance(1)
    assert {await _seen(follower, run) for follower in followers} == {"[2-4]"}
    assert [event.lines[0].number for event in lane.encoded] == [1, 2]


async def test_who_begins_inside_a_piece_gets_the_rest_of_it(lane: Lane) -> None:
    """From every line of it, and then the next piece as everybody; behind the end there is nothing yet."""
    run = await lane.run()
    await lane.append(run, 1, 3)
    await lane.append(run, 4, 2)
    wanted = ["[1-3][4-5]", "[2-3][4-5]", "[3-3][4-5]", "[4-5]", "[5-5]", "", ""]
    for seen, rest in enumerate(wanted):
        assert await _seen(await lane.follower(**{run.run_id: seen}), run) == rest


async def test_a_quiet_console_tells_at_once_and_a_busy_one_lingers(lane: Lane) -> None:
    """Lines that come one by one are gathered for 25 ms: people see no difference, and it saves a message each."""
    run, follower = await lane.run(), await lane.follower()
    await lane.append(run, 1)
    assert (lane.woken, await _seen(follower, run)) == ([1], "[1-1]")
    for number in range(2, 6):
        await lane.append(run, number)
    await owned_time().advance(0.0249)
    assert (lane.woken, await _seen(follower, run)) == ([1], "")
    await owned_time().advance(0.0002)
    assert (lane.woken, await _seen(follower, run)) == ([2], "[2-2][3-3][4-4][5-5]")


async def test_the_more_follow_the_longer_a_busy_console_lingers(lane: Lane) -> None:
    """Telling 600 sessions takes a third of a core at most."""
    run = await lane.run()
    followers = [await lane.follower() for _ in range(600)]
    await lane.append(run, 1)
    await lane.append(run, 2)
    await owned_time().advance(600 * 25e-6 / 0.3 - 0.0001)
    assert set(lane.woken) == {1}
    await owned_time().advance(0.0002)
    assert set(lane.woken) == {2}
    assert await _seen(followers[-1], run) == "[1-1][2-2]"


async def test_nobody_is_woken_for_what_they_do_not_follow(lane: Lane) -> None:
    """Neither for runs of another project, nor for those whose end they have seen."""
    other = Lane(lane.workspace, await lane.workspace.project())
    await lane.workspace.save_unary(other.project_id, 0, {"system_prompt": "one"})
    run, elsewhere = await lane.run(), await other.run()
    follower, stranger = await lane.follower(), await other.follower()
    assert await stranger.take(ALL) == b""
    await lane.append(run, 1)
    await lane.finish(run)
    await owned_time().advance(1)
    assert await _seen(follower, run) == "[1-1][end]"
    assert (other.woken, stranger.ready) == ([0], {})
    woken = list(lane.woken)
    await other.append(elsewhere, 1)
    await owned_time().advance(1)
    assert lane.woken == woken
    assert (follower.next_lines, follower.ready) == ({}, {})


async def test_runs_take_turns_within_a_frame(lane: Lane) -> None:
    """A piece of each, again and again, until the frame is full; what is left waits for the next one."""
    runs = [await lane.run() for _ in range(3)]
    for first in (1, 2, 3):
        for run in runs:
            await lane.append(run, first)
    follower = await lane.follower()
    names = {run.run_id[-4:]: at for at, run in enumerate(runs)}
    piece = len(b"[0000 1-1]")

    def turns(frame: bytes) -> list[tuple[int, str]]:
        pieces = frame.decode().strip("[]").split("][")
        return [(names[part.split()[0]], part.split()[1]) for part in pieces]

    assert turns(await follower.take(5 * piece)) == [(0, "1-1"), (1, "1-1"), (2, "1-1"), (0, "2-2"), (1, "2-2")]
    assert turns(await follower.take(1)) == [(2, "2-2")]
    assert turns(await follower.take(ALL)) == [(0, "3-3"), (1, "3-3"), (2, "3-3")]
    assert await follower.take(ALL) == b""


async def test_the_end_comes_after_the_last_line_however_late(lane: Lane) -> None:
    """Who was not told in time of lines or end finds both in the store, in their order, and the end once."""
    run, follower = await lane.run(), await lane.follower()
    await lane.append(run, 1, 2)
    await lane.append(run, 3)
    await lane.finish(run)
    assert await _seen(follower, run) == "[1-2][3-3][end]"
    await owned_time().advance(1)
    assert await _seen(follower, run) == ""
    assert [event.finished for event in lane.encoded if event.finished] == [
        await lane.workspace.store.runs.get(lane.project_id, run.run_id)
    ]


async def test_a_run_is_followed_from_the_moment_it_is_started(lane: Lane) -> None:
    """Nobody has to come back for it; its lines wake who was there before it."""
    follower = await lane.follower()
    run = await lane.run()
    assert (follower.next_lines, follower.ready) == ({run.run_id: 1}, {})
    await lane.append(run, 1)
    assert (lane.woken, await _seen(follower, run)) == ([1], "[1-1]")


@pytest.mark.parametrize("lost", range(6))
async def test_what_the_bus_loses_is_found_with_what_comes_next(lane: Lane, lost: int) -> None:
    """Lines, or several: the store has them, and the next thing that is told leads there. Entries are never lost."""
    follower = await lane.follower()
    lane.losing = {lane.came + 1 + lost, lane.came + 2 + lost}
    run = await lane.run()
    told = ""
    for number in range(1, 9):
        await lane.append(run, number)
        await owned_time().advance(1)
        told += await _seen(follower, run)
    await lane.finish(run)
    await owned_time().advance(1)
    told += await _seen(follower, run)
    assert told == "".join(f"[{number}-{number}]" for number in range(1, 9)) + "[end]"


async def test_a_run_that_stirs_while_its_end_is_read_is_over(lane: Lane, monkeypatch: pytest.MonkeyPatch) -> None:
    """A ring that comes late, right then, breaks nothing and tells nothing a second time."""
    runs, run, follower = lane.workspace.store.runs, await lane.run(), await lane.follower()
    await lane.append(run, 1)
    assert await _seen(follower, run) == "[1-1]"
    await lane.finish(run)
    await owned_time().advance(1)
    look = runs.chunk

    async def stirs(project_id: str, run_id: str, line: int) -> Chunk | None:
        found = await look(project_id, run_id, line)
        await lane.rung(run, 1)
        assert run_id in follower.ready
        return found

    monkeypatch.setattr(runs, "chunk", stirs)
    assert await _seen(follower, run) == "[end]"
    assert (follower.next_lines, follower.ready) == ({}, {})


async def test_a_ring_behind_the_end_tells_nobody_again_and_keeps_the_end_from_nobody(lane: Lane) -> None:
    """Who has had the end is not begun again; who has not is not taken for up to date."""
    run, prompt, slow = await lane.run(), await lane.follower(), await lane.follower()
    await lane.append(run, 1)
    assert [await _seen(prompt, run), await _seen(slow, run)] == ["[1-1]", "[1-1]"]
    await lane.finish(run)
    await owned_time().advance(1)
    assert await _seen(prompt, run) == "[end]"
    await lane.rung(run, 1)
    assert [await _seen(prompt, run), await _seen(slow, run)] == ["", "[end]"]
    await lane.rung(run, 1)
    assert [await _seen(prompt, run), await _seen(slow, run)] == ["", ""]


async def test_a_ring_behind_an_end_that_nobody_followed_keeps_it_from_nobody(lane: Lane) -> None:
    """Whoever comes between the two is told of the end."""
    run = await lane.run()
    await lane.append(run, 1)
    await lane.finish(run)
    follower = await lane.follower(**{run.run_id: 1})
    await lane.rung(run, 1)
    assert await _seen(follower, run) == "[end]"


async def test_a_ring_behind_an_end_that_was_never_told_here_begins_nothing(lane: Lane) -> None:
    """The run was over before anybody came; who says that they had seen it is told of its end, and nobody else."""
    lane.losing = set(range(lane.came, lane.came + 3))
    run = await lane.run()
    await lane.append(run, 1)
    await lane.finish(run)
    new, back = await lane.follower(), await lane.follower(**{run.run_id: 1})
    await lane.rung(run, 1)
    assert [await _seen(new, run), await _seen(back, run)] == ["", "[end]"]
    assert (new.next_lines, back.next_lines) == ({}, {})


async def test_who_had_the_end_before_it_was_told_is_not_begun_again(lane: Lane) -> None:
    """Whoever comes back reads the end in the store; that the run began and ended is told here later."""
    lane.losing = {lane.came, lane.came + 1}
    run = await lane.run()
    await lane.finish(run)
    follower = await lane.follower(**{run.run_id: 0})
    assert await _seen(follower, run) == "[end]"
    lane.console._receive(lane.workspace.committed[-2])
    await lane.rung(run, 0)
    lane.console._receive(lane.workspace.committed[-1])
    await owned_time().advance(1)
    assert (lane.woken, await _seen(follower, run), follower.next_lines) == ([0], "", {})


async def test_the_end_that_one_was_told_is_not_kept_from_another(lane: Lane) -> None:
    """One read it in the store, before those who were there all along were told that the run had begun."""
    stays = await lane.follower()
    lane.losing = {lane.came, lane.came + 1}
    run = await lane.run()
    await lane.finish(run)
    back = await lane.follower(**{run.run_id: 0})
    assert [await _seen(stays, run), await _seen(back, run)] == ["", "[end]"]
    for late in lane.workspace.committed[-2:]:
        lane.console._receive(late)
    await owned_time().advance(1)
    assert [await _seen(stays, run), await _seen(back, run)] == ["[end]", ""]


async def test_who_is_gone_is_forgotten(lane: Lane) -> None:
    """Not woken, not encoded for; going twice is going once, and the others stay."""
    run = await lane.run()
    gone, stays = await lane.follower(), await lane.follower()
    for _ in range(2):
        lane.console.detach(gone)
    await lane.append(run, 1)
    assert (lane.woken, len(lane.encoded)) == ([0, 1], 1)
    lane.console.detach(stays)
    await lane.append(run, 2)
    await owned_time().advance(1)
    assert (lane.woken, len(lane.encoded)) == ([0, 1], 1)
    again = await lane.follower()
    assert await _seen(again, run) == "[1-1][2-2]"


@pytest.mark.parametrize("how", ["leaves", "is closed by somebody", "is superseded"])
async def test_a_session_that_ends_follows_no_more(lane: Lane, how: str) -> None:
    """However its stream ends: nothing is kept for it, and nothing told."""
    workspace, wanted = lane.workspace, OpenSession(lane.project_id, tab_id="t")
    live = await workspace.hub.open(ALICE, wanted, None, {})
    follower, run = live.console, await lane.run()
    assert follower is not None
    await lane.append(run, 1)
    assert list(follower.ready) == [run.run_id]
    follower.ready.clear()
    if how == "leaves":
        await workspace.hub.finished(live, CloseReason.LEAVE)
    elif how == "is superseded":
        await workspace.hub.open(ALICE, wanted, None, {})
    else:
        await workspace.sessions.end(ALICE, lane.project_id, live.session_id)
    await lane.append(run, 2)
    await owned_time().advance(1)
    assert follower.ready == {}


async def test_a_session_that_ends_while_it_begins_to_follow_is_not_kept(
    lane: Lane, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was not yet known to follow when its end was told."""
    workspace, console = lane.workspace, lane.workspace.hub._console
    attach = console.attach

    async def ends_meanwhile(
        project_id: str, epoch: int, seen: Mapping[str, int], wake: Callable[[], None]
    ) -> Follower:
        follower = await attach(project_id, epoch, seen, wake)
        [session_id] = workspace.hub._live
        await workspace.sessions.end(ALICE, project_id, session_id)
        return follower

    monkeypatch.setattr(console, "attach", ends_meanwhile)
    live = await workspace.hub.open(ALICE, OpenSession(lane.project_id), None, {})
    assert live.ended.is_set()
    assert console._followers == {}


@pytest.mark.parametrize("when", ["before it follows", "before the state is read", "after it was read"])
async def test_a_run_that_ends_while_a_stream_begins_is_told_to_its_end(
    lane: Lane, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    """Whoever was shown it as running is told its lines and its end."""
    workspace, run = lane.workspace, await lane.run()
    await lane.append(run, 1, 3)
    hub = workspace.hub
    attach, since = hub._console.attach, hub._state.since
    news: list[Missed] = []

    async def attached(project_id: str, epoch: int, seen: Mapping[str, int], wake: Callable[[], None]) -> Follower:
        if when == "before it follows":
            await lane.finish(run)
        return await attach(project_id, epoch, seen, wake)

    async def read(project_id: str, subject: str, after: Position | None) -> Missed:
        if when == "before the state is read":
            await lane.finish(run)
        news.append(await since(project_id, subject, after))
        if when == "after it was read":
            await lane.finish(run)
        return news[0]

    monkeypatch.setattr(hub._console, "attach", attached)
    monkeypatch.setattr(hub._state, "since", read)
    live = await hub.open(ALICE, OpenSession(lane.project_id), None, {})
    await owned_time().advance(1)
    shown = any(isinstance(page, SnapshotPage) and page.runs for page in news[0].events)
    assert shown is (when == "after it was read")
    assert live.console
    logs = [event.run_log for event in ProjectSessionResponse.FromString(await live.console.take(ALL)).events]
    told = [line.number for log in logs for line in log.lines], [log.HasField("finished_run") for log in logs]
    assert told == (([], []) if when == "before it follows" else ([1, 2, 3], [False, True]))


async def test_the_last_to_go_may_go_while_lines_linger(lane: Lane) -> None:
    """What was to be told is told to nobody, and whoever comes then is told as ever."""
    run, follower = await lane.run(), await lane.follower()
    await lane.append(run, 1)
    await lane.append(run, 2)
    lane.console.detach(follower)
    await owned_time().advance(1)
    again = await lane.follower()
    assert await _seen(again, run) == "[1-1][2-2]"
    await lane.append(run, 3)
    assert (lane.woken, await _seen(again, run)) == ([1, 1], "[3-3]")


async def test_a_console_larger_than_what_is_kept_at_hand_is_read_all_the_same(lane: Lane) -> None:
    """What is not at hand any more is in the store; nothing of it is lost."""
    run = await lane.run()
    follower = await lane.follower()
    for first in range(1, 101, 10):
        await lane.append(run, first, 10, text="x" * 1_000)
    lane.console._pieces.clear()
    assert await _seen(follower, run) == "".join(f"[{first}-{first + 9}]" for first in range(1, 101, 10))
