"""Servers die, leave, stand still or are cut off, one of two: clients go on at the other, or are let go in time.

Clients come in three kinds. Movers know both servers and are on the one that fails; settlers know only that one, and do
not come back; bystanders know only the other one, and notice nothing.
"""

from __future__ import annotations

import asyncio
import signal
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest

from tests.faults.bounds import BOUND_S, Departure
from tests.faults.cluster import behind, calm_since, notes_of, saves, session_of, trusts, turns
from tests.faults.entries import Entry
from tests.faults.figures import SLACK_S, tell
from tests.faults.proxy import Proxy
from tests.faults.recorder import now_ns
from tests.faults.server import StallingServer
from tests.stories.processes import ServerProcess

if TYPE_CHECKING:
    from tests.faults.bounds import Calm
    from tests.faults.cluster import Cluster
    from tests.faults.programs import RecordedClient

pytestmark = pytest.mark.fault

#: Clients that lose their stream try again at random within half a second, then within one, two and four.
MOVED_S = 4.0
#: A client that hears nothing for this long, seconds, goes elsewhere; who comes to the same server once more, after the
#: time for which its session lasts there.
SILENCE_S = 8.0
LASTS_S = 15.0
#: What one server commits is seen on the other one within this time, seconds, also while nothing rings.
RECONCILE_S = 1.0


@dataclass(frozen=True, slots=True)
class Scene:
    """A cluster at work, and who is where.

    Attributes:
        failing: The server that fails.
        other: The one that does not.
        begin_ns: From here on it fails.
    """

    failing: ServerProcess
    other: ServerProcess
    movers: list[RecordedClient]
    settlers: list[RecordedClient]
    bystander: RecordedClient

    @property
    def moving(self) -> list[str]:
        """Sessions of the movers."""
        return [session_of(client) for client in self.movers]

    def calm(self, begin_ns: int, fault: str, *also: RecordedClient) -> Calm:
        """Who has no part in it."""
        return calm_since(begin_ns, fault, self.bystander, *also)


async def scene(
    cluster: Cluster, *, movers: int = 2, settlers: int = 1, program: type[ServerProcess] = ServerProcess, **env: str
) -> Scene:
    """Two servers with clients of all kinds on them, each with a lock of its own, and others at work in between."""
    await cluster.serve(1, program=program, **env)
    await cluster.serve(1)
    failing, other = cluster.servers
    moving, settled, beside = await asyncio.gather(
        asyncio.gather(*(cluster.client(f"mover{it}", failing, other, holds=f"mover/{it}") for it in range(movers))),
        asyncio.gather(*(cluster.client(f"settler{it}", failing, holds=f"settler/{it}") for it in range(settlers))),
        cluster.client("bystander", other, holds="bystander"),
    )
    await cluster.load(2, pause_s=0.1)
    return Scene(failing, other, list(moving), list(settled), beside)


async def moved(cluster: Cluster, scene: Scene, begin_ns: float, after: int) -> list[float]:
    """Wait until the movers were resumed; returns after how many seconds."""
    back = [await cluster.store.sees("session_resumed", after=after, session_id=it) for it in scene.moving]
    return [(cluster.store.ns(entry) - begin_ns) / 1e9 for entry in back]


async def freed(cluster: Cluster, sessions: list[str], after: int, within_s: float) -> set[str]:
    """Wait until these sessions are closed, or were resumed: a client gives a server up a second before others do.

    Returns:
        Those that were closed.
    """
    ends = {"session_closed", "session_resumed"}
    seen: dict[str, str] = {}
    for session_id in sessions:

        def ended(entry: Entry, session_id: str = session_id) -> bool:
            return entry.event in ends and entry.data["session_id"] == session_id

        seen[session_id] = (
            await cluster.store.finds(ended, f"end of {session_id}", after=after, within_s=within_s)
        ).event
    return {session_id for session_id, event in seen.items() if event == "session_closed"}


async def save_all(scene: Scene) -> None:
    """Movers and the bystander still hold what they held."""
    for place, client in enumerate(scene.movers):
        await saves(client, f"mover/{place}", "still mine")
    await saves(scene.bystander, "bystander", "still mine")


def settled(scene: Scene, begin_ns: float) -> list[Departure]:
    """The settlers are gone, for the others, with their server."""
    return [Departure(session_of(client), "replica dead", begin_ns) for client in scene.settlers]


async def test_clients_of_a_killed_server_keep_their_locks_on_another_one(cluster: Cluster) -> None:
    """SIGKILL: who comes back keeps everything, without a release in between; who does not is let go in 12 s."""
    it = await scene(cluster, movers=3, settlers=2)
    after, begin_ns = await cluster.store.look(), now_ns()
    departures = settled(it, begin_ns)
    cluster.servers.remove(it.failing)
    await it.failing.kill()
    tell("server SIGKILL", "clients back on the other one after", await moved(cluster, it, begin_ns, after), MOVED_S)
    await save_all(it)
    await freed(cluster, [session_of(one) for one in it.settlers], after, BOUND_S["replica dead"] + SLACK_S)
    await cluster.store.grows(20)
    calm = it.calm(begin_ns, "server SIGKILL", *it.movers)
    await cluster.judge("server SIGKILL", departures=departures, calms=[calm])


async def test_a_server_that_is_asked_to_leave_sends_its_clients_away_with_their_locks(cluster: Cluster) -> None:
    """SIGTERM: clients are told, move, and lose nothing; the server ends with exit code 0."""
    it = await scene(cluster, movers=3, settlers=0)
    after, begin_ns = await cluster.store.look(), now_ns()
    cluster.servers.remove(it.failing)
    assert await it.failing.terminate() == 0
    tell("server SIGTERM", "it has ended after", (now_ns() - begin_ns) / 1e9, 10.0)
    tell("server SIGTERM", "clients back on the other one after", await moved(cluster, it, begin_ns, after), MOVED_S)
    for client in it.movers:
        assert "going_away" in [note["note"] for note in notes_of(client)]
    await save_all(it)
    await cluster.store.grows(20)
    await cluster.judge("server SIGTERM", calms=[it.calm(begin_ns, "server SIGTERM", *it.movers)])
    assert not cluster.robbed


def stall(server: ServerProcess, how: str) -> None:
    """Let it stand still: as a whole, or its event loop alone."""
    server.process.send_signal(signal.SIGSTOP if how == "stopped" else signal.SIGUSR1)


@pytest.mark.parametrize("how", ["stopped", "blocked"])
async def test_a_server_that_stands_still_for_a_moment_loses_nothing(cluster: Cluster, how: str) -> None:
    """5 s: less than the 10 s after which the others give it up. What its clients asked for is done afterwards."""
    it = await scene(cluster, program=StallingServer, STALL_S="5")
    begin_ns = now_ns()
    stall(it.failing, how)
    asked = asyncio.create_task(it.settlers[0].do("save", field="settler/0", text="patience", keep=True))
    await asyncio.sleep(5.0)
    if how == "stopped":
        it.failing.process.send_signal(signal.SIGCONT)
    done = await asked
    await saves_after(it.settlers[0], done)
    tell(f"server {how} 5 s", "a save of its client returned after", (now_ns() - begin_ns) / 1e9, 5.0 + 2.0)
    await save_all(it)
    await cluster.store.grows(20)
    calm = it.calm(begin_ns, f"server {how} 5 s", *it.movers, *it.settlers)
    await cluster.judge(f"server {how} 5 s", calms=[calm])
    assert not cluster.robbed


async def saves_after(client: RecordedClient, done: dict[str, object]) -> None:
    """A save that was under way happened, however often it had to be asked for."""
    while done["outcome"] == "unknown":
        done = await client.do("repeat")
    assert done["outcome"] == "ok", done


@pytest.mark.parametrize("how", ["stopped", "blocked"])
async def test_a_server_that_stands_still_for_too_long_is_given_up_for_good(cluster: Cluster, how: str) -> None:
    """15 s: the other one closes its sessions; when it wakes, what its clients asked for changes nothing, and it ends.

    Who can goes to the other server before that, with its locks; who comes later asks for its fields there.
    """
    it = await scene(cluster, program=StallingServer, STALL_S="15")
    after, begin_ns = await cluster.store.look(), now_ns()
    served = [session_of(one) for one in [*it.settlers, *it.movers]]
    cluster.servers.remove(it.failing)
    stall(it.failing, how)
    late = asyncio.create_task(it.settlers[0].do("save", field="settler/0", text="too late", keep=True))
    closed = await freed(cluster, served, after, BOUND_S["replica dead"] + SLACK_S)
    departures = [Departure(session_id, "replica dead", begin_ns) for session_id in closed]
    kept = [await cluster.store.sees("session_resumed", after=after, session_id=it) for it in set(it.moving) - closed]
    if kept:
        times = [(cluster.store.ns(entry) - begin_ns) / 1e9 for entry in kept]
        tell(f"server {how} 15 s", "clients on the other one, with their locks, after", times, SILENCE_S + MOVED_S)
    # Somebody else takes the field and writes it before the server wakes.
    assert (await it.bystander.do("acquire", field="settler/0"))["outcome"] == "ok"
    await saves(it.bystander, "settler/0", "in time")
    left_s = 15.0 - (now_ns() - begin_ns) / 1e9
    await asyncio.sleep(max(0.0, left_s))
    woken_ns = now_ns()
    if how == "stopped":
        it.failing.process.send_signal(signal.SIGCONT)
    async with asyncio.timeout(20.0):
        assert await it.failing.process.wait() == 1
    tell(f"server {how} 15 s", "it has ended itself after waking in", (now_ns() - woken_ns) / 1e9, 12.0)
    assert (await late)["outcome"] != "ok"
    for place, client in enumerate(it.movers):
        await regains(cluster, client, f"mover/{place}")
    tell(f"server {how} 15 s", "clients at work on the other one after", (now_ns() - begin_ns) / 1e9, LASTS_S + MOVED_S)
    await cluster.judge(f"server {how} 15 s", departures=departures, calms=[it.calm(begin_ns, f"server {how} 15 s")])


async def regains(cluster: Cluster, client: RecordedClient, field: str) -> None:
    """Wait until a client holds a field, in the same session or in a new one, and saves."""
    await cluster.store.holds(client.record.stem, field)
    await trusts(client, field)
    await saves(client, field, "mine again")


@pytest.mark.parametrize("seconds", [5, 15])
async def test_a_server_that_is_cut_off_from_the_database_alone(cluster: Cluster, seconds: int) -> None:
    """Its packets to Postgres vanish. 5 s: nothing is lost. 15 s: it is given up, and ends when it learns of that."""
    fault = f"server without Postgres {seconds} s"
    async with Proxy(f"127.0.0.1:{cluster.postgres.port}") as proxy:
        it = await scene(cluster, FOUNDRY_DATABASE_URL=behind(cluster.env["FOUNDRY_DATABASE_URL"], proxy.address))
        after, begin_ns = await cluster.store.look(), now_ns()
        gone = [*it.settlers, *it.movers]
        served, departures = [session_of(one) for one in gone], []
        proxy.swallow()
        if seconds > 10:
            cluster.servers.remove(it.failing)
            unhealthy = await turns(it.failing.address, serving=False, within_s=30.0)
            tell(fault, "it says that it does not serve after", (unhealthy - begin_ns) / 1e9, 7.0)
            closed = await freed(cluster, served, after, BOUND_S["replica dead"] + SLACK_S)
            departures = [Departure(session_id, "replica dead", begin_ns) for session_id in closed]
        await asyncio.sleep(max(0.0, seconds - (now_ns() - begin_ns) / 1e9))
        proxy.heal()
        if seconds > 10:
            healed_ns = now_ns()
            async with asyncio.timeout(40.0):
                assert await it.failing.process.wait() == 1
            tell(fault, "it has ended itself after", (now_ns() - healed_ns) / 1e9, 25.0)
            for place, client in enumerate(it.movers):
                await regains(cluster, client, f"mover/{place}")
            calm = it.calm(begin_ns, fault)
        else:
            await saves(it.settlers[0], "settler/0", "still mine")
            tell(fault, "its clients save again after", (now_ns() - begin_ns) / 1e9, 5.0 + 10.0)
            await save_all(it)
            calm = it.calm(begin_ns, fault, *gone)
        await cluster.store.grows(20)
        await cluster.judge(fault, departures=departures, calms=[calm])


async def test_a_server_that_is_cut_off_from_redis_alone_serves_on(cluster: Cluster) -> None:
    """What it commits is seen on the other server, and the other way round, within its look at the log of a second."""
    fault = "server without Redis"
    async with Proxy(f"127.0.0.1:{urlsplit(cluster.redis.url).port}") as proxy:
        it = await scene(cluster, FOUNDRY_REDIS_URL=f"redis://{proxy.address}/0")
        await cluster.quiet()  # what others commit would make a server look at once
        begin_ns = now_ns()
        proxy.swallow()
        times = []
        for number in range(5):
            for writer, field, reader in (
                (it.settlers[0], "settler/0", it.bystander),
                (it.bystander, "bystander", it.settlers[0]),
            ):
                after = await cluster.store.look()
                await saves(writer, field, f"{field} {number}")
                entry = await cluster.store.sees("draft_created", after=after)
                times.append(await received(reader, entry.sequence) - cluster.store.ns(entry))
        tell(fault, "commits seen elsewhere after", [ns / 1e9 for ns in times], RECONCILE_S)
        proxy.heal()
        await save_all(it)
        calm = it.calm(begin_ns, fault, *it.movers, *it.settlers)
        await cluster.judge(fault, calms=[calm])
        assert not cluster.robbed


async def received(client: RecordedClient, sequence: int) -> float:
    """When a client received an entry; waits for it."""
    async with asyncio.timeout(20.0):
        while True:
            for note in reversed(notes_of(client)):
                if note["note"] == "entry" and note["sequence"] == sequence:
                    return float(note["ns"])
            await asyncio.sleep(0.02)
