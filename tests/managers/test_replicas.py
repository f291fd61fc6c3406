"""Server processes on one store: who lives is let live, who is silent is given up, what the dead held comes free."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import structlog

from foundry.domain.entry import Entry, Event
from foundry.domain.errors import Unavailable
from foundry.domain.session import SessionState
from foundry.managers import replicas
from foundry.managers.replicas import FencedError
from foundry.managers.sessions import OpenSession
from foundry.settings import Liveness, Postgres
from foundry.store.replicas import ReplicaRepository
from tests.managers.servers import servers, until
from tests.managers.workspace import ALICE, BOB, Workspace
from tests.servers.holding import held, waiting
from tests.servers.postgres import PostgresServer, PrivateServer, private_postgres

LIVENESS = Liveness()
#: Longer than a living process is ever silent, shorter than a silent one is let live.
A_WHILE_S = LIVENESS.replica_renewal_s + 1.0
TOO_LONG_S = LIVENESS.replica_silence_s + 1.0
#: A store that lets everybody wait for longer than a test takes.
PATIENT = Postgres(pool_max=4, lock_limit_s=60.0, statement_limit_s=60.0, transaction_limit_s=60.0)


@pytest.fixture(autouse=True)
def quick_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Look around without waiting: what counts is the time of the test's clocks."""
    monkeypatch.setattr(replicas, "_POLL_S", 0.002)


class Replica:
    """One process: it lives while ``living`` lasts."""

    def __init__(self, workspace: Workspace) -> None:
        assert workspace.replicas
        self.workspace = workspace
        self.replicas = workspace.replicas
        self.id = self.replicas._boot_id
        self.store = ReplicaRepository(workspace.database)  # type: ignore[arg-type]  # it is a shared one here
        self.health: list[bool] = []
        self.replicas.report(self.health.append)

    @contextlib.asynccontextmanager
    async def living(self) -> AsyncIterator[asyncio.Task[None]]:
        """It renews, observes and reaps meanwhile."""
        task = asyncio.create_task(self.replicas.run())
        try:
            yield task
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def count(self) -> int:
        """Its counter; -1 when it was given up."""
        found = (await self.store.open()).get(self.id)
        return found.renew_count if found else -1


async def time_passes(seconds: float, *those: Replica) -> None:
    """Let time pass for these, in steps that a living one does not miss; each of them renews in every step."""
    for _ in range(round(seconds / A_WHILE_S) + 1):
        before = [await one.count() for one in those]
        for one in those:
            one.workspace.clock.advance(A_WHILE_S)
        async with asyncio.timeout(20):
            for one, count in zip(those, before, strict=True):
                while await one.count() <= count:
                    pass


@pytest.fixture
async def three(url: str, tmp_path: Path) -> AsyncIterator[list[Replica]]:
    async with servers(tmp_path, url, 3) as made:
        yield [Replica(workspace) for workspace in made]


# --- living ----------------------------------------------------------------------------------------------------------


async def test_whoever_lives_is_let_live(three: list[Replica]) -> None:
    """Counters rise by the time of their own clocks, and however long it goes on, nobody is given up."""
    async with contextlib.AsyncExitStack() as stack:
        tasks = [await stack.enter_async_context(one.living()) for one in three]
        await time_passes(5 * TOO_LONG_S, *three)
        assert not any(task.done() for task in tasks)
    assert len(await three[0].store.open()) == 3


async def test_clocks_that_run_apart_give_nobody_up(three: list[Replica]) -> None:
    """One machine's time says nothing about another's: only a counter that stands still does, by the observer's."""
    one, two, _ = three
    two.workspace.clock.advance(1_000_000)
    one.workspace.clock.step(-1_000_000)
    async with one.living() as first, two.living() as second:
        await time_passes(2 * TOO_LONG_S, one, two)
        assert not first.done()
        assert not second.done()


async def test_a_process_opens_no_session_unless_it_is_live(three: list[Replica]) -> None:
    """One that was given up neither opens nor resumes, though it does not know of it yet."""
    one, two, _ = three
    project_id = await one.workspace.project(ALICE)
    opened = await one.workspace.sessions.open(ALICE, OpenSession(project_id))
    assert await two.store.fence(one.id, await one.count())
    with pytest.raises(Unavailable):
        await one.workspace.session(project_id)
    coming_back = OpenSession(project_id, resume_session_id=opened.session.session_id, resume_secret=opened.secret)
    with pytest.raises(Unavailable):
        await one.workspace.sessions.open(ALICE, coming_back)
    resumed = await two.workspace.sessions.open(ALICE, coming_back)
    assert resumed.resumed


# --- given up --------------------------------------------------------------------------------------------------------


async def test_of_a_process_that_leaves_the_others_know(three: list[Replica]) -> None:
    """It opens no session any more; its clients have longer to come back than after a crash, and nobody is alarmed."""
    leaving, alive, other = three
    project_id = await alive.workspace.project(ALICE, BOB)
    came, stayed = [await leaving.workspace.sessions.open(who, OpenSession(project_id)) for who in (ALICE, BOB)]
    await leaving.replicas.leave()
    with pytest.raises(Unavailable):
        await leaving.workspace.session(project_id)
    with structlog.testing.capture_logs() as logs:
        async with alive.living(), other.living():
            await time_passes(2 * TOO_LONG_S, alive, other)
            back = OpenSession(project_id, resume_session_id=came.session.session_id, resume_secret=came.secret)
            assert (await alive.workspace.sessions.open(ALICE, back)).resumed
            await time_passes(LIVENESS.departure_grace_s, alive, other)
            await until(lambda: any(entry.new.event is Event.SESSION_CLOSED for entry in _told(three)))
    closed = [it.new for it in await alive.workspace.log(project_id) if it.new.event is Event.SESSION_CLOSED]
    assert [new.data["session_id"] for new in closed] == [stayed.session.session_id]
    told = [(log["event"], log["log_level"]) for log in logs if log["event"].startswith("replica")]
    assert told == [("replica_left", "info")]
    assert await leaving.count() == -1


async def test_what_a_dead_process_held_comes_free(three: list[Replica]) -> None:
    """Its sessions are closed and their locks released, both for REPLICA_DEAD; nobody else's are."""
    dead, alive, other = three
    project_id = await alive.workspace.project(ALICE, BOB)
    lost, kept = await dead.workspace.session(project_id), await alive.workspace.session(project_id, BOB)
    await dead.workspace.lock(lost, "notes")
    held = await alive.workspace.lock(kept, "topology", BOB)
    async with alive.living(), other.living():
        await time_passes(TOO_LONG_S, alive, other)
        await until(lambda: any(entry.new.event is Event.SESSION_CLOSED for entry in _told(three)))
    log = await alive.workspace.log(project_id)
    ends = [entry.new for entry in log if entry.new.event in {Event.SESSION_CLOSED, Event.LOCK_RELEASED}]
    assert {new.event for new in ends} == {Event.SESSION_CLOSED, Event.LOCK_RELEASED}
    assert len(ends) == 2
    assert {new.data["session_id"] for new in ends} == {lost.session_id}
    reasons = {new.data.get("close_reason") or new.data.get("release_reason") for new in ends}
    assert reasons == {"SESSION_CLOSE_REASON_REPLICA_DEAD", "LOCK_RELEASE_REASON_REPLICA_DEAD"}
    assert await alive.workspace.lock(kept, "topology", BOB) == held
    taken = await alive.workspace.lock(kept, "notes", BOB)
    assert taken.fencing_token == 2


def _told(those: list[Replica]) -> list[Entry]:
    return [entry for one in those for entry in one.workspace.committed]


async def test_a_process_that_was_given_up_stops(three: list[Replica]) -> None:
    """The next thing it does is to find out, and it does not come back under its name."""
    slow, alive, _ = three
    with structlog.testing.capture_logs() as logs:
        async with alive.living():
            await time_passes(TOO_LONG_S, alive)
            async with asyncio.timeout(20):
                while await slow.count() >= 0:
                    await time_passes(A_WHILE_S, alive)
    given_up = {log["replica_id"]: log["address"] for log in logs if log["event"] == "replica_given_up"}
    assert given_up[slow.id] == "127.0.0.1:1"
    with pytest.raises(FencedError):
        await slow.replicas.run()
    assert not await slow.store.renew(slow.id)
    assert await slow.count() == -1


async def test_a_process_is_given_up_by_compare_and_set(three: list[Replica]) -> None:
    """Never for a counter that was raised since it was seen; of several who try at once by one."""
    one, two, other = three
    seen = await one.count()
    assert await one.store.renew(one.id)
    assert not await two.store.fence(one.id, seen)
    assert await one.store.renew(one.id)
    seen = await one.count()
    tries = await asyncio.gather(*(each.store.fence(one.id, seen) for each in (two, other, two, other)))
    assert sorted(tries) == [False, False, False, True]
    assert not await one.store.renew(one.id)


async def test_a_renewal_and_giving_up_at_once_agree(three: list[Replica]) -> None:
    """Either it renewed and lives, or it was given up and knows: never both, never neither."""
    one, two, _ = three
    for number in range(20):
        boot = f"boot {number}"
        await one.store.join(boot, 0, "")
        fenced, renewed = await asyncio.gather(two.store.fence(boot, 0), one.store.renew(boot))
        assert fenced != renewed


async def test_sessions_of_the_dead_are_found_by_state(three: list[Replica]) -> None:
    """Whoever gave the process up may have died before it could close them: the next who looks does."""
    dead, alive, _ = three
    project_id = await alive.workspace.project(ALICE)
    lost = await dead.workspace.session(project_id)
    assert await alive.store.fence(dead.id, await dead.count())
    async with alive.living():
        await until(lambda: any(entry.new.event is Event.SESSION_CLOSED for entry in alive.workspace.committed))
    stored = await alive.workspace.store.sessions.get(lost.session_id)
    assert stored
    assert stored.state is SessionState.CLOSED


async def test_a_session_that_moved_on_survives_its_first_server(three: list[Replica]) -> None:
    """Resumed elsewhere, it is the other process's, with its locks."""
    dead, alive, _ = three
    project_id = await alive.workspace.project(ALICE)
    opened = await dead.workspace.sessions.open(ALICE, OpenSession(project_id))
    lock = await dead.workspace.lock(opened.session, "notes")
    coming_back = OpenSession(project_id, resume_session_id=opened.session.session_id, resume_secret=opened.secret)
    resumed = await alive.workspace.sessions.open(ALICE, coming_back)
    async with alive.living():
        await time_passes(2 * TOO_LONG_S, alive)
    assert await dead.count() == -1
    assert await alive.workspace.lock(resumed.session, "notes") == lock


# --- one's own silence -----------------------------------------------------------------------------------------------


async def test_whoever_was_asleep_gives_nobody_up_for_it(three: list[Replica]) -> None:
    """Two processes of a machine that was suspended wake up: neither heard the other, and both live."""
    one, two, _ = three
    async with one.living(), two.living():
        await time_passes(A_WHILE_S, one, two)
    for each in (one, two):
        each.workspace.clock.advance(100 * TOO_LONG_S)
    async with one.living() as first, two.living() as second:
        await time_passes(TOO_LONG_S / 2, one, two)
        assert not first.done()
        assert not second.done()


@pytest.fixture
def own_postgres() -> Iterator[PrivateServer]:
    """A server that a test may stop."""
    with private_postgres() as server:
        yield server


async def test_nobody_is_given_up_for_an_outage_of_the_store(own_postgres: PrivateServer, tmp_path: Path) -> None:
    """While it is away nobody counts; health says so; when it is back all go on, with their sessions."""
    url = own_postgres.server_url(own_postgres.create_database())
    async with servers(tmp_path, url, 2, limits=Postgres(pool_max=2)) as made:
        one, two = (Replica(workspace) for workspace in made)
        project_id = await made[0].project(ALICE)
        session = await made[0].session(project_id)
        lock = await made[0].lock(session, "notes")
        async with one.living() as first, two.living() as second:
            await time_passes(A_WHILE_S, one, two)
            await asyncio.to_thread(own_postgres.kill)
            for each in (one, two):
                each.workspace.clock.advance(10 * TOO_LONG_S)
            await until(lambda: one.health == two.health == [False])
            await asyncio.to_thread(own_postgres.start)
            await until(lambda: one.health == two.health == [False, True])
            await time_passes(TOO_LONG_S, one, two)
            assert not first.done()
            assert not second.done()
        assert len(await one.store.open()) == 2
        assert await made[0].lock(session, "notes") == lock


async def test_nobody_is_given_up_when_the_store_stood_still_in_a_renewal(
    postgres: PostgresServer, url: str, tmp_path: Path
) -> None:
    """It began in time, and while it lasted the others were not heard, which is not their silence."""
    owner = postgres.owner_url(url.rpartition("/")[2])
    async with servers(tmp_path, url, 2, limits=PATIENT) as made:
        one, two = (Replica(workspace) for workspace in made)
        async with one.living() as first:
            await time_passes(A_WHILE_S, one)
            async with held(owner, "replica WHERE replica_id = $1", one.id) as store:
                one.workspace.clock.advance(A_WHILE_S)
                await waiting(store)
                one.workspace.clock.advance(TOO_LONG_S)
            await time_passes(TOO_LONG_S / 2, one)
            assert await two.count() >= 0
            async with two.living() as second:
                await time_passes(TOO_LONG_S, one, two)
                assert not first.done()
                assert not second.done()
        assert len(await one.store.open()) == 2


# --- what the dead left ----------------------------------------------------------------------------------------------


async def test_who_clears_up_behind_the_dead_renews_meanwhile(
    postgres: PostgresServer, url: str, tmp_path: Path
) -> None:
    """However long it takes: else whoever closes the sessions of one that died is given up for it."""
    owner = postgres.owner_url(url.rpartition("/")[2])
    async with servers(tmp_path, url, 2, limits=PATIENT) as made:
        dead, alive = (Replica(workspace) for workspace in made)
        project_id = await made[1].project(ALICE)
        lost = await made[0].session(project_id)
        assert await alive.store.fence(dead.id, await dead.count())
        async with contextlib.AsyncExitStack() as stack:
            async with held(owner, "head WHERE log = $1", project_id) as store:
                await stack.enter_async_context(alive.living())
                await waiting(store)
                await time_passes(TOO_LONG_S, alive)
                assert alive.health == []
                assert (await made[1].sessions.current(lost)).state is SessionState.ATTACHED
            await until(lambda: any(entry.new.event is Event.SESSION_CLOSED for entry in made[1].committed))
        assert (await made[1].sessions.current(lost)).state is SessionState.CLOSED
