"""Promises that a known defect breaks and that no other suite looks at so closely, most of them of several servers.

Two servers without their gRPC edge, on one Postgres and on a clock of the test; what they ring at each other is lost
unless a test says otherwise, so nothing holds because a ring came in time.
"""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NoReturn

import pytest
import structlog

from coreason.foundry.v1 import lock_pb2, session_pb2
from foundry.domain.draft import SaveResult
from foundry.domain.entry import Entry, Event
from foundry.domain.errors import LockHeld, LockLost
from foundry.domain.lock import ReleaseReason
from foundry.domain.session import CloseReason, SessionState
from foundry.managers.replicas import FencedError
from foundry.managers.sessions import OpenSession
from foundry.store.postgres.database import PostgresDatabase
from foundry.store.replicas import ReplicaRepository
from tests import backends
from tests.faults.proxy import Proxy
from tests.managers.servers import PATIENT
from tests.managers.workspace import ALICE, BOB, LIVENESS, Workspace, opened
from tests.servers.holding import held, waiting
from tests.servers.postgres import ANOTHER_TIMELINE, execute, finished
from tests.session.tab import Tabs, request
from tests.store.batches import batched
from tests.store.manual_clock import ManualClock
from tests.support import RunningServer, project_with, running_server

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from structlog.typing import EventDict

    from foundry.domain.events import News
    from foundry.managers.replicas import Replicas
    from tests.servers.postgres import PostgresServer

#: Bound on waiting for what is under way, seconds.
PATIENCE_S: Final = 20.0
#: A half-open link is noticed by its pings within 20 s; gRPC's own default would take 70.
PINGS_S: Final = 35.0


@dataclass
class Servers:
    """Two servers that share a store, and the clock of both."""

    here: Workspace
    there: Workspace
    clock: ManualClock
    name: str

    @property
    def watching(self) -> Replicas:
        """What this server knows of the others."""
        assert self.here.replicas
        return self.here.replicas

    @property
    def counters(self) -> ReplicaRepository:
        """The counters as they are stored."""
        return self.watching._store

    @property
    def id_there(self) -> str:
        """Id of the other server."""
        assert self.there.replicas
        return self.there.replicas._boot_id

    async def lives(self) -> bool:
        """Whether nobody gave the other server up."""
        return self.id_there in await self.counters.open()

    async def look(self, seconds: float) -> None:
        """Let time pass, in which this server does what it does every second, and the other one nothing."""
        for _ in range(round(seconds)):
            self.clock.advance(1.0)
            await self.watching._renew()
            await self.watching._observe()


@pytest.fixture
def database(postgres: PostgresServer) -> Iterator[str]:
    name = postgres.create_database()
    yield name
    postgres.drop_database(name)


@pytest.fixture
async def servers(postgres: PostgresServer, database: str, tmp_path: Path) -> AsyncIterator[Servers]:
    clock, url = ManualClock(), postgres.server_url(database)
    async with contextlib.AsyncExitStack() as stack:
        here, there = [
            await stack.enter_async_context(
                opened(tmp_path, clock, shared=await PostgresDatabase.open(url, PATIENT, clock))
            )
            for _ in range(2)
        ]
        yield Servers(here, there, clock, database)


@pytest.fixture
async def alone(tmp_path: Path) -> AsyncIterator[Workspace]:
    async with opened(tmp_path) as made:
        yield made


# --- one project, two writers ---


async def test_two_servers_that_write_to_one_project_fail_no_save(servers: Servers) -> None:
    """One waits for the other's head row: every save of both is a version, and the log has every number once."""
    project_id = await servers.here.project()
    for turn in range(8):
        await asyncio.gather(
            servers.here.save_unary(project_id, 0, {f"here/{turn}": "x"}),
            servers.there.save_unary(project_id, 0, {f"there/{turn}": "x"}),
        )
    entries = await servers.here.log(project_id)
    assert [entry.sequence for entry in entries] == list(range(1, len(entries) + 1))
    versions = [entry.new.data["version_number"] for entry in entries if entry.new.event is Event.DRAFT_CREATED]
    assert versions == list(range(1, 17))


async def test_a_save_that_waits_behind_the_release_of_its_lock_is_refused(alone: Workspace) -> None:
    """The lock was held when the save was called. What counts is the transaction of the save."""
    project_id = await alone.project()
    lock = await alone.lock(await alone.session(project_id), "topology")
    releasing = alone.locks.release(ALICE, project_id, lock.session_id, "topology", lock.fencing_token)
    released, refused = await asyncio.gather(releasing, alone.save(lock, "late", 0), return_exceptions=True)
    assert not isinstance(released, BaseException)
    assert isinstance(refused, LockLost)


async def test_a_lock_is_released_behind_the_change_that_was_made_under_it(tmp_path: Path) -> None:
    """Also where the same batch releases another one before: the database looks at the row of the field."""
    async with batched(tmp_path) as batches:
        workspace = batches.workspace
        project_id = await workspace.project()
        session = await workspace.session(project_id)
        kept, given_back = await workspace.lock(session, "topology"), await workspace.lock(session, "notes")
        workspace.clock.advance(60)
        where = (ALICE, project_id, session.session_id, "notes", given_back.fencing_token)
        *_, saved = await batches.together(
            workspace.locks.renew(*where), workspace.locks.release(*where), workspace.save(kept, "{}", 0)
        )
        assert isinstance(saved, SaveResult)
        assert saved.released_locks == (kept,)


# --- what the registry says ---


async def test_a_field_that_only_the_registry_calls_free_is_not_granted(servers: Servers) -> None:
    """The registry of the other server has never heard of the lock; the row has."""
    project_id = await servers.here.project(ALICE, BOB)
    lock = await servers.here.lock(await servers.here.session(project_id), "topology")
    other = await servers.there.session(project_id, BOB)
    with pytest.raises(LockHeld) as refused:
        await servers.there.lock(other, "topology", BOB)
    assert refused.value.locks == (lock,)


async def test_a_field_that_only_the_registry_calls_held_is_granted(alone: Workspace) -> None:
    """Whoever it names has no lock: the row is asked before anybody is refused."""
    project_id = await alone.project()
    await alone.locks._registry.confirm(project_id, "topology", "bob", "nobody's session", 7)
    assert (await alone.lock(await alone.session(project_id), "topology")).fencing_token == 1


# --- sessions that move ---


async def test_a_late_teardown_here_leaves_a_session_alone_that_went_on_there(servers: Servers) -> None:
    """The stream of before ends when its session has a new one on another server: neither closed nor detached."""
    project_id = await servers.here.project()
    attached = await servers.here.sessions.open(ALICE, OpenSession(project_id))
    lock = await servers.here.lock(attached.session, "topology")
    coming_back = OpenSession(project_id, resume_session_id=attached.session.session_id, resume_secret=attached.secret)
    resumed = (await servers.there.sessions.open(ALICE, coming_back)).session
    assert not await servers.here.sessions.close(attached.session, CloseReason.STREAM_GONE)
    assert not await servers.here.sessions.detach(attached.session)
    assert (await servers.there.sessions.current(resumed)).state is SessionState.ATTACHED
    assert (await servers.there.save(lock, "{}", 0)).draft is not None


@pytest.mark.parametrize("held_before", [False, True], ids=["nothing is granted", "nothing is given back"])
async def test_of_a_stream_whose_session_goes_on_elsewhere_nothing_is_taken(
    postgres: PostgresServer, tmp_path: Path, *, held_before: bool
) -> None:
    """It asked before, and its server comes to it after: its client knows only of what it did there."""
    backend, data_dir = backends.Backend("postgres+memory", postgres), tmp_path / "data"
    patient = {"lock_limit_s": PATIENCE_S, "statement_limit_s": PATIENCE_S}
    async with contextlib.AsyncExitStack() as stack:
        stack.callback(backend.drop)
        stack.enter_context(backends.using(backend))
        here, there = [await stack.enter_async_context(running_server(data_dir, postgres=patient)) for _ in range(2)]
        project_id = await project_with(await stack.enter_async_context(here.connect("alice")), "bob")
        tabs, tabs_there = Tabs(here), Tabs(there)
        stack.push_async_callback(tabs.close)
        stack.push_async_callback(tabs_there.close)
        first, second = await tabs.open("bob", project_id), tabs_there.raw("bob")
        got = await first.acquire("topology") if held_before else None
        owner = postgres.owner_url(backend.databases[data_dir])
        async with held(owner, "head WHERE log = $1", project_id) as holding:
            going_on = asyncio.create_task(second.open(project_id, resume=first.ticket()))
            await waiting(holding, 1)
            if got:
                await first.send(request(9, release_lock={"field": "topology", "fencing_token": 1}))
            else:
                await first.send(request(9, acquire_lock={"field": "topology"}))
            await waiting(holding, 2)
        await going_on
        other = await tabs_there.open("alice", project_id)
        if got:
            assert (await other.acquire_refused("topology")).reason == "LOCK_HELD"
            assert (await second.touch(got.lock)).fencing_token == 1
        else:
            assert (await other.acquire("topology")).lock.fencing_token == 1


async def test_a_server_that_stood_still_holds_it_against_no_client(alone: Workspace) -> None:
    """Messages that came meanwhile lie unread, and nothing was written: the silence is the server's."""
    project_id = await alone.project()
    live = await alone.stream(project_id)
    running = asyncio.create_task(alone.hub.run())
    ticks = 0
    try:
        async with asyncio.timeout(PATIENCE_S):
            while ticks < 2:
                events = session_pb2.ProjectSessionResponse.FromString(await live.take()).events
                assert events, "the stream was ended"
                ticked = any(event.HasField("tick") for event in events)
                ticks += ticked
                if ticked and ticks == 1:
                    alone.hub.writing(live, begins=True)
                    alone.clock.advance(5 * LIVENESS.silence_limit_s)
    finally:
        running.cancel()
    assert not live.closing


class _Postponed:
    """Hears in the server's own log that it failed to store the end of a session."""

    def __init__(self) -> None:
        self._count = 0
        self._came = asyncio.Event()

    def __call__(self, _logger: object, _method: str, event: EventDict) -> NoReturn:
        if event["event"] == "session_close_postponed":
            self._count += 1
            self._came.set()
        raise structlog.DropEvent  # writing tracebacks takes longer than all the rest

    async def times(self, more: int) -> None:
        """Wait until it has happened so many times more."""
        least = self._count + more
        async with asyncio.timeout(PATIENCE_S):
            while self._count < least:
                self._came.clear()
                await self._came.wait()


@pytest.fixture
def postponed() -> Iterator[_Postponed]:
    heard, processors = _Postponed(), structlog.get_config()["processors"]
    processors.insert(0, heard)
    yield heard
    processors.remove(heard)


async def test_the_end_of_a_stream_is_stored_also_when_its_call_is_cancelled(
    postgres: PostgresServer, tmp_path: Path, postponed: _Postponed
) -> None:
    """The store is away when a client half-closes; then the client resets the call. The lock is freed all the same."""
    backend, data_dir = backends.Backend("postgres+memory", postgres), tmp_path / "data"
    impatient = {"lock_limit_s": 0.05}
    with backends.using(backend):
        async with running_server(data_dir, postgres=impatient) as server, server.connect("alice") as alice:
            tabs, project_id = Tabs(server), await project_with(alice, "bob")
            watcher, tab = await tabs.open("alice", project_id), await tabs.open("bob", project_id)
            got = await tab.acquire()
            with backend.writes_blocked(data_dir):
                await tab.half_close()
                await postponed.times(1)
                await tab.cancel()
                await postponed.times(2)
            released = await watcher.until_entry("lock_released", lock_id=got.lock.lock_id)
            assert released.lock_released.release_reason == lock_pb2.LOCK_RELEASE_REASON_STREAM_GONE
            await tabs.close()
    backend.drop()


# --- who lives ---


async def test_a_step_of_the_wall_clock_gives_no_server_up(servers: Servers) -> None:
    """Silence is measured on the clock that never steps, forward or back."""
    for step_s in (86_400.0, -172_800.0):
        await servers.look(1.0)
        servers.clock.step(step_s)
        await servers.look(1.0)
        assert await servers.lives()
    await servers.look(LIVENESS.replica_silence_s)
    assert not await servers.lives()


async def test_after_the_store_was_away_nobody_was_silent(servers: Servers) -> None:
    """Who could not be heard is given a whole period to be heard again."""
    await servers.look(1.0)
    servers.clock.advance(10 * LIVENESS.replica_silence_s)
    await servers.look(LIVENESS.replica_silence_s - 1.0)
    assert await servers.lives()
    await servers.look(2.0)
    assert not await servers.lives()


async def test_a_server_that_finds_itself_given_up_stops(servers: Servers) -> None:
    """The others have closed its sessions: it may not serve a moment longer."""
    await servers.look(LIVENESS.replica_silence_s + 1.0)
    assert servers.there.replicas
    with pytest.raises(FencedError):
        async with asyncio.timeout(PATIENCE_S):
            await servers.there.replicas.run()


async def test_what_a_dead_server_left_is_closed_also_in_its_grace(servers: Servers) -> None:
    """Nobody's timer counts the grace of a session whose server is gone."""
    project_id = await servers.here.project()
    sessions = [await servers.there.session(project_id, grace_ms=grace_ms) for grace_ms in (0, 30_000)]
    locks = [await servers.there.lock(one, f"notes/{at}") for at, one in enumerate(sessions)]
    assert await servers.there.sessions.detach(sessions[1])
    await servers.look(LIVENESS.replica_silence_s + 1.0)
    await servers.watching._reap()
    assert await servers.here.locks.list_locks(ALICE, project_id, "", 10) == []
    released = [entry.new.data for entry in servers.here.committed if entry.new.event is Event.LOCK_RELEASED]
    assert {data["field"] for data in released} == {lock.field for lock in locks}
    dead = f"LOCK_RELEASE_REASON_{ReleaseReason.REPLICA_DEAD.value}"
    assert {data["release_reason"] for data in released} == {dead}


# --- what is told ---


class _Told:
    """What a server tells of a log, by number."""

    def __init__(self, workspace: Workspace) -> None:
        self.sequences: list[int] = []
        self._came = asyncio.Event()
        workspace.feed.subscribe(self._receive)

    def _receive(self, news: News) -> None:
        if isinstance(news, Entry):
            self.sequences.append(news.sequence)
            self._came.set()

    async def until(self, sequence: int) -> None:
        """Wait until an entry was told of."""
        async with asyncio.timeout(PATIENCE_S):
            while sequence not in self.sequences:
                self._came.clear()
                await self._came.wait()


async def test_what_a_server_commits_is_told_behind_what_others_committed_before(servers: Servers) -> None:
    """Though it knows of its own at once, and no ring told of the others'."""
    project_id = await servers.here.project()
    await servers.here.feed.watch(project_id)
    told, last = _Told(servers.here), (await servers.here.log(project_id))[-1].sequence
    for turn in range(3):
        await servers.there.save_unary(project_id, 0, {f"there/{turn}": "x"})
        await servers.here.save_unary(project_id, 0, {f"here/{turn}": "x"})
    newest = (await servers.here.log(project_id))[-1].sequence
    await told.until(newest)
    assert told.sequences == list(range(last + 1, newest + 1))


# --- the history ---


async def test_another_timeline_of_the_database_is_another_epoch(servers: Servers, postgres: PostgresServer) -> None:
    """Promoted or restored: the last commits may be gone, so positions of before mean nothing. Raised once for all."""
    where = (servers.here.database, servers.there.database)
    finished(execute(postgres.owner_url(servers.name), ANOTHER_TIMELINE))
    for database in where:
        assert isinstance(database, PostgresDatabase)
        await database.look()
        assert database.epoch > 1
        await database.look()
    assert where[0].epoch == where[1].epoch


# --- the link ---


@pytest.fixture
async def patient(tmp_path: Path) -> AsyncIterator[RunningServer]:
    """A server that waits for heartbeats practically for ever."""
    liveness = {"silence_limit_s": 120.0, "slow_consumer_limit_s": 600.0}
    async with running_server(tmp_path / "data", liveness=liveness) as running:
        yield running


@pytest.mark.slow
async def test_a_half_open_link_is_noticed_by_its_pings(patient: RunningServer) -> None:
    """Nothing comes through and nothing says so: without any heartbeat the session ends within the bound of pings."""
    tabs = Tabs(patient)
    async with patient.connect("alice") as alice, Proxy(patient.address) as proxy:
        project_id = await project_with(alice, "bob")
        behind = Tabs(RunningServer(proxy.address, patient.data_dir))
        watcher, lost = await tabs.open("alice", project_id), await behind.open("bob", project_id)
        got = await lost.acquire()
        proxy.swallow()
        async with asyncio.timeout(PINGS_S):
            while True:
                with contextlib.suppress(TimeoutError):  # a tab waits for less long than this
                    entry = await watcher.until_entry("lock_released", lock_id=got.lock.lock_id)
                    break
        assert entry.lock_released.release_reason == lock_pb2.LOCK_RELEASE_REASON_STREAM_GONE
        proxy.cut()
        await behind.close()
    await tabs.close()
