"""The feed: whoever watches a project is told each of its entries once, in order, whichever server committed it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from itertools import pairwise
from pathlib import Path

import pytest

from foundry.domain.entry import Entry
from foundry.domain.errors import Unavailable
from foundry.domain.events import LogGrew, News, RunGrew
from foundry.domain.run import LogLine, RunLines
from foundry.managers.comments import WantedComment
from foundry.managers.runs import WantedRun
from tests.managers.servers import Heard, servers, until
from tests.managers.workspace import ALICE, Workspace
from tests.servers.postgres import PostgresServer, execute

#: Of ten rings some are lost, some come twice, some late.
SHAKY = (0, 0, 1, 1, 1, 2, 2, -1, -1, -1)


@pytest.fixture
async def pair(url: str, tmp_path: Path) -> AsyncIterator[list[Workspace]]:
    """Two servers whose rings all arrive."""
    async with servers(tmp_path, url, 2) as made:
        yield made


@pytest.fixture
async def deaf(url: str, tmp_path: Path) -> AsyncIterator[list[Workspace]]:
    """Two servers whose rings are all lost."""
    async with servers(tmp_path, url, 2, fates=(0,)) as made:
        yield made


async def say(workspace: Workspace, project_id: str, text: str = "Too cheerful?") -> None:
    """Commit one entry."""
    await workspace.comments.create(ALICE, project_id, WantedComment(text))


async def newest(workspace: Workspace, project_id: str) -> int:
    """Number of the newest entry of a project that is stored."""
    found = await workspace.entries.last_sequence(project_id)
    assert found is not None
    return found


# --- entries ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(5))
async def test_entries_are_told_in_order_and_without_gaps(url: str, tmp_path: Path, seed: int) -> None:
    """Whoever commits, and however the rings come: lost, late or twice. A look finds the rest."""
    async with servers(tmp_path, url, 3, fates=SHAKY, seed=seed) as made:
        project_id = await made[0].project(ALICE)
        heard = [Heard(one) for one in made]
        for one in made:
            await one.feed.watch(project_id)
        since = await newest(made[0], project_id)

        async def speak(who: int) -> None:
            for number in range(12):
                await say(made[who], project_id, f"{who} says {number}")

        await asyncio.gather(*(speak(who) for who in (0, 0, 1, 1, 2)))
        last = await newest(made[0], project_id)
        assert last == since + 60
        for one, told in zip(made, heard, strict=True):
            assert told.sequences(project_id) == list(range(since + 1, since + 1 + len(told.sequences(project_id))))
            await one.feed.reconcile()
            await until(lambda told=told: len(told.sequences(project_id)) >= 60)  # type: ignore[misc]  # as of a lambda with a default
        await asyncio.sleep(0.03)  # the last of the late rings
        for one, told in zip(made, heard, strict=True):
            await one.feed.reconcile()
            assert told.sequences(project_id) == list(range(since + 1, last + 1))


async def test_what_another_server_committed_is_what_it_told_itself(pair: list[Workspace]) -> None:
    """The same entries, to the byte: read from the store, where nothing is that was not committed."""
    one, two = pair
    project_id = await one.project(ALICE)
    here, there = Heard(one), Heard(two)
    await two.feed.watch(project_id)
    for number in range(5):
        await say(one, project_id, f"{number}")
    await until(lambda: len(there.news) == 5)
    told = [(item.sequence, item.entry_bytes, item.leaf) for item in there.news if isinstance(item, Entry)]
    assert told == [(item.sequence, item.entry_bytes, item.leaf) for item in here.news if isinstance(item, Entry)]


async def test_a_lost_ring_is_made_up_for_by_a_look(deaf: list[Workspace]) -> None:
    """Without any ring nothing is heard of what others do; the look tells all of it, also after own commits."""
    one, two = deaf
    project_id = await one.project(ALICE)
    heard = Heard(two)
    await two.feed.watch(project_id)
    since = await newest(one, project_id)
    await say(one, project_id)
    await say(one, project_id)
    assert heard.news == []
    await two.feed.reconcile()
    await until(lambda: heard.sequences(project_id) == [since + 1, since + 2])
    await say(one, project_id)
    await say(two, project_id)  # its own comes behind one that it has not heard of
    await until(lambda: heard.sequences(project_id) == [since + number for number in range(1, 5)])


async def test_own_commits_are_told_at_once(pair: list[Workspace]) -> None:
    """Before the caller has its answer, without a read."""
    one, _ = pair
    project_id = await one.project(ALICE)
    await one.feed.watch(project_id)
    heard = Heard(one)
    since = await newest(one, project_id)
    for number in range(1, 4):
        await say(one, project_id)
        assert heard.sequences(project_id) == [since + at for at in range(1, number + 1)]


async def test_a_ring_for_what_cannot_be_seen_yet_is_kept(pair: list[Workspace]) -> None:
    """A ring may overtake what it tells of, or be a lie: nothing is told that is not stored, and nothing is lost."""
    one, two = pair
    project_id = await one.project(ALICE)
    await two.feed.watch(project_id)
    heard = Heard(two)
    since = await newest(one, project_id)
    one.feed._bus.ring([LogGrew(project_id, since + 2), LogGrew(project_id, since + 1), LogGrew("other", 9)])
    await say(one, project_id)
    await until(lambda: heard.sequences(project_id) == [since + 1])
    await say(one, project_id)
    await until(lambda: heard.sequences(project_id) == [since + 1, since + 2])


# --- who watches -----------------------------------------------------------------------------------------------------


async def test_who_watches_is_told_from_now_on(pair: list[Workspace]) -> None:
    """Nothing of before, for as long as anybody watches, and nothing after."""
    one, two = pair
    project_id = await one.project(ALICE)
    heard = Heard(two)
    await say(one, project_id)
    await asyncio.gather(two.feed.watch(project_id), two.feed.watch(project_id))
    since = await newest(one, project_id)
    await say(one, project_id)
    await until(lambda: heard.sequences(project_id) == [since + 1])
    two.feed.unwatch(project_id)
    await say(one, project_id)
    await until(lambda: heard.sequences(project_id) == [since + 1, since + 2])
    two.feed.unwatch(project_id)
    await say(one, project_id)
    await two.feed.reconcile()
    two.feed.unwatch(project_id)  # once too often
    await two.feed.watch(project_id)
    await say(one, project_id)
    await until(lambda: heard.sequences(project_id) == [since + 1, since + 2, since + 4])


async def test_projects_are_watched_one_by_one(pair: list[Workspace]) -> None:
    one, two = pair
    watched, other = await one.project(ALICE), await one.project(ALICE)
    heard = Heard(two)
    await two.feed.watch(watched)
    since = await newest(one, watched)
    await say(one, other)
    await say(one, watched)
    await until(lambda: heard.sequences(watched) == [since + 1])
    await two.feed.reconcile()
    assert heard.sequences(other) == []


async def test_entries_committed_while_a_watch_begins_leave_no_gap(deaf: list[Workspace]) -> None:
    """Between the look at where the log ends and what is told first nothing falls through."""
    one, two = deaf
    project_id = await one.project(ALICE)
    for _ in range(10):
        since = await newest(one, project_id)

        async def watched() -> Heard:
            await two.feed.watch(project_id)
            return Heard(two)

        heard, *_ = await asyncio.gather(watched(), say(one, project_id), say(two, project_id))
        await say(one, project_id)
        last = await newest(one, project_id)
        await two.feed.reconcile()
        await until(lambda heard=heard, last=last: heard.sequences(project_id)[-1:] == [last])  # type: ignore[misc]  # as of a lambda with a default
        told = heard.sequences(project_id)
        assert all(after == before + 1 for before, after in pairwise(told))
        assert told[0] > since
        two.feed.unwatch(project_id)


@pytest.mark.parametrize("seen", [True, False])
async def test_an_own_entry_committed_while_the_first_watch_begins_is_told_once(
    deaf: list[Workspace], monkeypatch: pytest.MonkeyPatch, *, seen: bool
) -> None:
    """Whether the look at where the log ends has seen it or not; whoever comes behind it is told without a gap."""
    one, _ = deaf
    project_id = await one.project(ALICE)
    heard = Heard(one)
    since = await newest(one, project_id)
    look = one.entries.last_sequence

    async def meanwhile(log: str) -> int:
        before = await look(log)
        await say(one, project_id)
        return await look(log) if seen else before

    with monkeypatch.context() as patched:
        patched.setattr(one.entries, "last_sequence", meanwhile)
        await one.feed.watch(project_id)
    assert heard.sequences(project_id) == [since + 1]
    await one.feed.reconcile()
    await say(one, project_id)
    assert heard.sequences(project_id) == [since + 1, since + 2]


async def test_a_watch_that_fails_or_is_cancelled_watches_nothing(pair: list[Workspace]) -> None:
    """Whoever could not begin must not have to end."""
    one, two = pair
    project_id = await one.project(ALICE)
    beginning = asyncio.create_task(two.feed.watch(project_id))
    await asyncio.sleep(0)
    beginning.cancel()
    await asyncio.gather(beginning, return_exceptions=True)
    assert two.feed._tails == {}
    await two.database.close()
    with pytest.raises(Unavailable):
        await two.feed.watch(project_id)
    assert two.feed._tails == {}


async def test_one_receiver_does_not_starve_the_others(pair: list[Workspace]) -> None:
    """A receiver that fails costs nobody an entry, itself neither."""
    one, two = pair
    project_id = await one.project(ALICE)
    tried: list[News] = []

    def failing(news: News) -> None:
        tried.append(news)
        raise ZeroDivisionError

    two.feed.subscribe(failing)
    heard = Heard(two)
    await two.feed.watch(project_id)
    await say(one, project_id)
    await say(one, project_id)
    await until(lambda: len(heard.news) == len(tried) == 2)


# --- another history -------------------------------------------------------------------------------------------------


async def test_after_a_failover_watches_begin_where_the_logs_end(
    deaf: list[Workspace], postgres: PostgresServer, url: str
) -> None:
    """What the old history's followers missed is nobody's any more; whoever comes then is told without gaps."""
    one, two = deaf
    project_id = await one.project(ALICE)
    heard = Heard(two)
    await two.feed.watch(project_id)
    await say(one, project_id)
    owner = postgres.owner_url(url.rpartition("/")[2])
    await execute(owner, "UPDATE instance SET value = '2' WHERE name = 'epoch'")
    await two.database.look()  # type: ignore[attr-defined]  # it is a shared one here
    assert two.database.epoch > 1
    await two.feed.reconcile()
    await two.feed.watch(project_id)
    since = await newest(one, project_id)
    await say(one, project_id)
    await two.feed.reconcile()
    await until(lambda: heard.sequences(project_id) == [since + 1])


async def test_who_watches_over_a_failover_is_told_what_comes_after_it(
    deaf: list[Workspace], postgres: PostgresServer, url: str
) -> None:
    """Though nobody comes anew: the next look finds where the log of now ends, and the look after it what follows."""
    one, two = deaf
    project_id = await one.project(ALICE)
    heard = Heard(two)
    await two.feed.watch(project_id)
    owner = postgres.owner_url(url.rpartition("/")[2])
    await execute(owner, "UPDATE instance SET value = '2' WHERE name = 'epoch'")
    await two.database.look()  # type: ignore[attr-defined]  # it is a shared one here
    await two.feed.reconcile()
    since = await newest(one, project_id)
    await say(one, project_id)
    await two.feed.reconcile()
    await until(lambda: heard.sequences(project_id) == [since + 1])
    await say(two, project_id)
    assert heard.sequences(project_id) == [since + 1, since + 2]


@pytest.mark.parametrize("at", ["watch", "reconcile"])
async def test_where_the_log_of_before_ended_is_not_where_that_of_now_does(
    deaf: list[Workspace], postgres: PostgresServer, url: str, monkeypatch: pytest.MonkeyPatch, at: str
) -> None:
    """The server that was replaced had two entries more, and its answer comes behind the failover."""
    one, two = deaf
    project_id = await one.project(ALICE)
    heard, since = Heard(two), await newest(one, project_id)
    look = two.entries.last_sequences
    if at == "reconcile":
        await two.feed.watch(project_id)

    async def more(logs: Sequence[str]) -> list[tuple[str, int]]:
        found = await look(logs)
        owner = postgres.owner_url(url.rpartition("/")[2])
        await execute(owner, "UPDATE instance SET value = '2' WHERE name = 'epoch'")
        await two.database.look()  # type: ignore[attr-defined]  # it is a shared one here
        monkeypatch.undo()
        return [(log, sequence + 2) for log, sequence in found]

    async def one_more(log: str) -> int:
        return (await more([log]))[0][1]

    monkeypatch.setattr(two.entries, "last_sequences", more)
    monkeypatch.setattr(two.entries, "last_sequence", one_more)
    await (two.feed.watch(project_id) if at == "watch" else two.feed.reconcile())
    await two.feed.reconcile()
    for _ in range(3):
        await say(one, project_id)
    await two.feed.reconcile()
    await until(lambda: heard.sequences(project_id)[-1:] == [since + 3])
    assert heard.sequences(project_id) == [since + 1, since + 2, since + 3]


# --- consoles --------------------------------------------------------------------------------------------------------


async def test_consoles_ring_once_for_what_others_stored(pair: list[Workspace]) -> None:
    """Own lines are told as they are, those of others by how many there are: never twice, never fewer than before."""
    one, two = pair
    project_id = await one.project(ALICE)
    await one.save_unary(project_id, 0, {"notes": "1"})
    run = (await one.runs.start(ALICE, project_id, WantedRun())).run
    await asyncio.gather(one.feed.watch(project_id), two.feed.watch(project_id))
    here, there = Heard(one), Heard(two)
    await one.runs.append(ALICE, project_id, run.run_id, [LogLine(1, "1"), LogLine(2, "2")])
    grew = RunGrew(project_id, run.run_id, 2)
    await until(lambda: grew in there.news)
    one.feed._bus.ring([grew, RunGrew(project_id, run.run_id, 1)])
    await two.feed.reconcile()
    await two.runs.append(ALICE, project_id, run.run_id, [LogLine(3, "3")])
    await until(lambda: RunGrew(project_id, run.run_id, 3) in here.news)
    await one.feed.reconcile()
    consoles = [item for item in there.news if isinstance(item, RunGrew | RunLines)]
    assert [type(item) for item in consoles] == [RunGrew, RunLines]
    assert [item.line_count for item in here.news if isinstance(item, RunGrew)] == [3]


# --- many writers ----------------------------------------------------------------------------------------------------


async def test_sixteen_writers_over_two_servers_lose_no_save(pair: list[Workspace]) -> None:
    """One project, sixteen people who save as fast as they can: they wait for each other, and nobody fails."""
    project_id = await pair[0].project(ALICE)
    heard = [Heard(one) for one in pair]
    for one in pair:
        await one.feed.watch(project_id)
    since = await newest(pair[0], project_id)

    async def write(who: int) -> list[int]:
        versions = [0]
        for number in range(8):
            saved = await pair[(who + number) % 2].save_unary(project_id, versions[-1], {f"field_{who}": f"{number}"})
            assert saved.draft
            versions.append(saved.draft.version_number)
        return versions[1:]

    versions = await asyncio.gather(*(write(who) for who in range(16)))
    assert sorted(number for some in versions for number in some) == list(range(1, 129))
    assert all(some == sorted(some) for some in versions)
    last = await newest(pair[0], project_id)
    for told in heard:
        await until(lambda told=told: told.sequences(project_id)[-1:] == [last])  # type: ignore[misc]  # as of a lambda with a default
        assert told.sequences(project_id) == list(range(since + 1, last + 1))
