"""Following a console: whoever joins, at whatever moment, sees every line once and in order, and how the run ended."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import pytest

from coreason.foundry.v1 import project_pb2
from coreason.foundry.v1 import run_pb2 as pb
from tests.service.house import House
from tests.service.refusals import refused
from tests.service.runs import (
    Producer,
    Reader,
    append,
    cancel,
    finish,
    get,
    lines_of,
    running,
    start,
    tested,
)

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest.mark.parametrize("end", [finish, cancel])
async def test_a_follower_sees_the_lines_and_then_the_end(house: House, end: Any) -> None:
    """Those before it came, those after, and in the last message the run as it was sealed."""
    run = await running(house, "one")
    reader = Reader(house.caller("vera"), run, follow=True)
    await reader.until(1)
    await append(house.olga, run, lines_of("two", "three", first=2))
    await reader.until(3)
    sealed = (await end(house.olga, run)).run
    assert [read.text for read in await reader.rest()] == ["one", "two", "three"]
    assert reader.run == sealed


async def test_following_ends_at_the_last_line_asked_for(house: House) -> None:
    """Though the run goes on: at once when the line is there, else when it comes."""
    run = await running(house, "1", "2", "3")
    there = Reader(house.olga, run, follow=True, to_line=3)
    assert len(await there.rest()) == 3
    coming = Reader(house.olga, run, follow=True, from_line=3, to_line=5)
    await coming.until(3)
    await append(house.olga, run, lines_of("4", "5", "6", first=4))
    assert [read.text for read in await coming.rest()] == ["3", "4", "5"]
    assert coming.run is not None
    assert (coming.run.state, coming.run.line_count) == (pb.RUN_STATE_RUNNING, 6)


@pytest.mark.parametrize("wanted", [{"from_line": 3}, {"from_line": 4}, {"last_lines": 0}], ids=str)
async def test_a_follower_waits_for_lines_that_are_to_come(house: House, wanted: dict[str, int]) -> None:
    """Beyond the end is where the future is: an empty message says that it follows, then comes what it asked for."""
    run = await running(house, "1", "2")
    reader = Reader(house.olga, run, follow=True, **wanted)
    assert await reader.message()
    assert (reader.sizes, reader.run) == ([0], None)
    await append(house.olga, run, lines_of("3", "4", "5", first=3))
    await finish(house.olga, run)
    await reader.rest()
    assert reader.numbers == list(range(wanted.get("from_line", 3), 6))


async def test_a_follower_of_an_empty_console_is_told_that_it_follows(house: House) -> None:
    """Once; where there is something to read, or nothing to wait for, no message is empty but the last."""
    run = await running(house)
    reader = Reader(house.olga, run, follow=True)
    assert await reader.message()
    for number in range(1, 4):
        await append(house.olga, run, lines_of(f"{number}", first=number))
        await reader.until(number)
    there = Reader(house.olga, run, follow=True)
    await there.until(3)
    await finish(house.olga, run)
    for each in (reader, there):
        await each.rest()
        assert each.numbers == [1, 2, 3]
    assert (reader.sizes[0], reader.sizes.count(0), there.sizes.count(0)) == (0, 2, 1)


@pytest.mark.parametrize("seed", range(8))
async def test_whoever_joins_at_whatever_moment_sees_every_line_once(house: House, seed: int) -> None:
    """No seam between what is stored and what comes: many followers, from many lines, at random moments of a flood."""
    chosen = random.Random(seed)
    run = await running(house)
    total = 600
    producer = Producer(house.olga, run)
    joining: list[asyncio.Task[tuple[int, list[int], pb.Run | None]]] = []

    async def join(first: int) -> tuple[int, list[int], pb.Run | None]:
        reader = Reader(house.caller(chosen.choice(["olga", "bob", "vera"])), run, from_line=first, follow=True)
        await reader.rest()
        return first, reader.numbers, reader.run

    sent = 0
    while sent < total:
        size = min(chosen.choice([1, 1, 2, 5, 40]), total - sent)
        texts = [f"{number}" + "x" * chosen.choice([0, 10, 9_000]) for number in range(sent + 1, sent + size + 1)]
        await producer.send(*lines_of(*texts, first=sent + 1))
        sent += size
        if chosen.random() < 0.3:
            joining.append(asyncio.create_task(join(chosen.choice([1, 1, sent, sent + 30, max(1, sent - 30)]))))
        if chosen.random() < 0.3:
            await producer.until(sent + 1)
    joining.append(asyncio.create_task(join(1)))
    await producer.close()
    sealed = (await finish(house.olga, run, expected_line_count=total)).run
    joining.append(asyncio.create_task(join(1)))
    for first, numbers, ended in await asyncio.gather(*joining):
        assert numbers == list(range(first, total + 1))
        assert ended == sealed


async def test_a_follower_misses_no_end_whenever_it_comes(house: House) -> None:
    """While it waits, while it is told of a line, or while it looks: it always ends with the run."""
    project_id = await tested(house)

    async def follow(moments: int) -> None:
        run = await start(house.olga, project_id)
        reader = Reader(house.olga, run, follow=True)
        await reader.message()
        await append(house.olga, run, lines_of("one"))
        for _ in range(moments):
            await get(house.olga, run)
        sealed = (await finish(house.olga, run)).run
        await reader.rest()
        assert (reader.numbers, reader.run) == ([1], sealed)

    for moments in range(60):  # until after what a follower waits for more lines to be told together
        await follow(moments)


async def test_followers_of_one_run_see_nothing_of_another(house: House) -> None:
    """Runs of one project at once: each console is its own."""
    project_id = await tested(house)
    runs = [await start(house.olga, project_id, harness=f"{number}") for number in range(3)]
    readers = [Reader(house.olga, run, follow=True) for run in runs]
    for turn in range(20):
        for run in runs:
            await append(house.olga, run, lines_of(f"{run.harness} {turn}", first=turn + 1))
    for run in runs:
        await finish(house.olga, run)
    for run, reader in zip(runs, readers, strict=True):
        assert [read.text for read in await reader.rest()] == [f"{run.harness} {turn}" for turn in range(20)]


async def test_a_follower_in_an_archived_project_goes_on_waiting(house: House) -> None:
    """It may be taken out of the archive, and then the run goes on."""
    run = await running(house, "one")
    reader = Reader(house.olga, run, follow=True)
    await reader.until(1)
    await house.olga.call(project_pb2.ArchiveProjectRequest(project_id=run.project_id))
    await house.olga.call(project_pb2.UnarchiveProjectRequest(project_id=run.project_id))
    await append(house.olga, run, lines_of("two", first=2))
    await reader.until(2)
    await finish(house.olga, run)
    assert len(await reader.rest()) == 2


# --- the right to read -----------------------------------------------------------------------------------------------


async def test_a_member_that_is_removed_is_told_so_at_once(house: House) -> None:
    """Without a line having to come; what comes then is for the others."""
    run = await running(house, "one")
    vera, bob = Reader(house.caller("vera"), run, follow=True), Reader(house.caller("bob"), run, follow=True)
    await vera.until(1)
    await bob.until(1)
    await house.olga.call(project_pb2.RemoveMemberRequest(project_id=run.project_id, subject="vera"))
    refusal = await refused(vera.rest(), "ACCESS_LOST")
    assert refusal.metadata == {"session_id": ""}
    assert vera.run is None
    await append(house.olga, run, lines_of("secret", first=2))
    await bob.until(2)
    await finish(house.olga, run)
    assert len(await bob.rest()) == 2
    assert vera.numbers == [1]


async def test_another_role_that_may_read_changes_nothing(house: House) -> None:
    run = await running(house, "one")
    reader = Reader(house.caller("vera"), run, follow=True)
    await reader.until(1)
    for role in (project_pb2.ROLE_AUDITOR, project_pb2.ROLE_EDITOR, project_pb2.ROLE_VIEWER):
        await house.olga.call(project_pb2.SetMemberRequest(project_id=run.project_id, subject="vera", role=role))
    await append(house.olga, run, lines_of("two", first=2))
    await reader.until(2)
    reader.cancel()


async def test_an_agent_that_is_kept_out_by_policy_is_told_so(house: House) -> None:
    """It may no longer read the project, whatever took the right away."""
    project_id = await tested(house, agent_access=project_pb2.AGENT_ACCESS_SUGGEST_ONLY)
    run = await start(house.olga, project_id)
    reader = Reader(house.caller("vera", kind="agent"), run, follow=True)
    await append(house.olga, run, lines_of("one"))
    await reader.until(1)
    policy = project_pb2.Policy(agent_access=project_pb2.AGENT_ACCESS_DENY)
    await house.olga.foundry.projects.update(project_id, policy=policy)
    await refused(reader.rest(), "ACCESS_LOST")


@pytest.mark.parametrize("follow", [True, False])
async def test_a_slow_reader_that_is_removed_reads_no_further(house: House, follow: bool) -> None:
    """What it has still to read it has lost the right to: slowness is no right."""
    run = await running(house)
    for first in range(1, 400, 50):
        await append(house.olga, run, lines_of(*["x" * 64 * 1024] * 50, first=first))
    reader = Reader(house.caller("vera"), run, follow=follow)
    await reader.until(1)
    await house.olga.call(project_pb2.RemoveMemberRequest(project_id=run.project_id, subject="vera"))
    await refused(reader.rest(), "ACCESS_LOST")
    assert reader.numbers == list(range(1, len(reader.numbers) + 1))
    assert len(reader.numbers) < 400
