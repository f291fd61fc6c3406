"""Clients die, freeze, hang up or lose their network, all at once: each lock is free in its time, and not before.

They share two servers and a project with others at work, and each holds a field of its own.
"""

from __future__ import annotations

import asyncio
import signal
from typing import TYPE_CHECKING, Any, Final

import pytest

from coreason.foundry.v1 import session_pb2
from coreason.foundry.v1.session_command_pb2 import Open, SessionAcquireLock
from coreason.foundry.v1.session_pb2 import ProjectSessionRequest
from tests.faults.bounds import BOUND_S, Departure
from tests.faults.cluster import calm_of, calm_since, notes_of, saves, session_of, trusts
from tests.faults.figures import SLACK_S, tell
from tests.faults.proxy import Proxy
from tests.faults.recorder import Recorder, now_ns
from tests.support import open_channel

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.faults.bounds import Calm
    from tests.faults.cluster import Cluster
    from tests.faults.programs import RecordedClient

pytestmark = pytest.mark.fault

#: How soon a client that was away is back in a session, seconds: its attempts are at most 4 s apart at first.
BACK_S: Final = 8.0
_PROJECT_SESSION = "/coreason.foundry.v1.SessionService/ProjectSession"


async def lost(cluster: Cluster, session_id: str, cause: str, begin_ns: float) -> Departure:
    """Wait until a session is closed, as long as that may take."""
    await cluster.store.sees("session_closed", session_id=session_id, within_s=BOUND_S[cause] + SLACK_S + 5)
    return Departure(session_id, cause, begin_ns)


async def killed(cluster: Cluster) -> Departure:
    """SIGKILL."""
    client = await cluster.client("killed", holds="killed")
    session_id, begin_ns = session_of(client), now_ns()
    await client.kill()
    return await lost(cluster, session_id, "stream end", begin_ns)


async def left(cluster: Cluster) -> Departure:
    """It says that it leaves."""
    client = await cluster.client("leaver", holds="leaver")
    session_id, begin_ns = session_of(client), now_ns()
    assert (await client.do("leave"))["outcome"] in {"ok", "unknown"}  # it waits for 2 s; the bound is looked at below
    return await lost(cluster, session_id, "leave", begin_ns)


async def hung_up(cluster: Cluster, folder: Path, name: str, hang_up: Callable[[Any], Any]) -> Departure:
    """A program of a few lines, without the client library, that ends its call without a word."""
    recorder = Recorder(folder / f"{name}.jsonl", name)
    async with open_channel(cluster.servers[0].address) as channel:
        rpc: Any = channel.stream_stream(
            _PROJECT_SESSION,
            request_serializer=session_pb2.ProjectSessionRequest.SerializeToString,
            response_deserializer=session_pb2.ProjectSessionResponse.FromString,
        )
        stream = rpc(metadata=(("authorization", f"Bearer {cluster.token('ann')}"),))
        with recorder.call("open") as call:
            await stream.write(ProjectSessionRequest(command_id=1, open=Open(project_id=cluster.store.project_id)))
            session_id = (await event(stream, "opened")).opened.session_id
            call.ok(session_id=session_id)
        with recorder.call("acquire", session_id=session_id, field=name) as call:
            await stream.write(ProjectSessionRequest(command_id=2, acquire_lock=SessionAcquireLock(field=name)))
            lock = (await event(stream, "reply")).reply.acquired.lock
            call.ok(fence=lock.fencing_token, session_id=session_id)
        begin_ns = now_ns()
        hanging_up = hang_up(stream)
        if asyncio.iscoroutine(hanging_up):
            await hanging_up
        departure = await lost(cluster, session_id, "stream end", begin_ns)
        stream.cancel()
    recorder.note("gone", session_id=session_id)
    recorder.end()
    cluster.records.append(folder / f"{name}.jsonl")
    return departure


async def event(stream: Any, arm: str) -> Any:
    """The next event of a kind."""
    async with asyncio.timeout(20.0):
        while True:
            for found in (await stream.read()).events:
                if found.WhichOneof("event") == arm:
                    return found


async def frozen(cluster: Cluster, seconds: float) -> str:
    """SIGSTOP for less than the 15 s after which it would be given up; returns the session it was in."""
    name = f"frozen_{seconds:g}"
    client = await cluster.client(name, holds=name)
    session_id = session_of(client)
    client.process.send_signal(signal.SIGSTOP)
    await asyncio.sleep(seconds)
    client.process.send_signal(signal.SIGCONT)
    woken_ns = now_ns()
    await trusts(client, name)
    await saves(client, name, "still mine")
    tell(f"client SIGSTOP {seconds:g} s", "it saves again after", (now_ns() - woken_ns) / 1e9, BACK_S)
    return session_id


async def frozen_for_long(cluster: Cluster, bystander: RecordedClient) -> Departure:
    """SIGSTOP for 30 s, and meanwhile somebody else writes one of its two fields."""
    client = await cluster.client("frozen_30", holds="touched")
    assert (await client.do("acquire", field="untouched"))["outcome"] == "ok"
    session_id, begin_ns = session_of(client), now_ns()
    client.process.send_signal(signal.SIGSTOP)
    try:
        departure = await lost(cluster, session_id, "contact lost", begin_ns)
        assert (await bystander.do("acquire", field="touched"))["outcome"] == "ok"
        await saves(bystander, "touched", "meanwhile")
        assert (await bystander.do("release", field="touched"))["outcome"] == "ok"
        await asyncio.sleep(max(0.0, 30.0 - (now_ns() - begin_ns) / 1e9))
    finally:
        client.process.send_signal(signal.SIGCONT)
    woken_ns = now_ns()
    await trusts(client, "untouched")
    tell("client SIGSTOP 30 s", "it has back what nobody touched after", (now_ns() - woken_ns) / 1e9, BACK_S)
    await saves(client, "untouched", "mine again")
    assert (await client.do("save", field="touched", text="over it"))["outcome"] == "nothing", (
        "it knows that it lost it"
    )
    done = await client.do("stale", field="touched", text="over it")
    assert done["outcome"] == "refused", done
    return departure


async def cut_off(cluster: Cluster, name: str, *, to_server: bool, to_client: bool) -> Departure:
    """A network that swallows what is sent, one way or both; later it is there again."""
    async with Proxy(cluster.servers[0].address) as proxy:
        client = await cluster.client(name, holds=name, target=proxy.address)
        session_id, begin_ns = session_of(client), now_ns()
        proxy.swallow(to_server=to_server, to_client=to_client)
        departure = await lost(cluster, session_id, "contact lost", begin_ns)
        assert "demoted" in [note["note"] for note in notes_of(client)], "it knew before anybody else could have it"
        proxy.heal()
        await trusts(client, name)
        await saves(client, name, "mine again")
        await client.stop()
    return departure


async def held_up(cluster: Cluster, seconds: float) -> Calm:
    """A network that passes nothing for less than the 10 s after which its pings give it up, and then everything."""
    async with Proxy(cluster.servers[0].address) as proxy:
        client = await cluster.client("held_up", holds="held_up", target=proxy.address)
        begin_ns = now_ns()
        proxy.pause()
        await asyncio.sleep(seconds)
        proxy.heal()
        healed_ns = now_ns()
        await trusts(client, "held_up")
        await saves(client, "held_up", "still mine")
        tell(f"network stands still {seconds:g} s", "it saves again after", (now_ns() - healed_ns) / 1e9, BACK_S)
        calm = calm_since(begin_ns, f"a network that stood still for {seconds:g} s", client)
        await client.stop()
    return calm


async def test_each_way_of_losing_a_client_frees_its_lock_in_its_time(cluster: Cluster, tmp_path: Path) -> None:
    """Killed, cancelled, half-closed or left: 1 s. Frozen or cut off: 16 s, and not at all for less than 15 s.

    A client that wakes up late is refused under its old token, and gets back by itself what nobody touched.
    """
    await cluster.serve()
    bystander = await cluster.client("bystander", holds="bystander")
    await cluster.load(2, pause_s=0.2)
    begin_ns = now_ns()
    holes = {"deaf": (False, True), "mute": (True, False), "deaf_mute": (True, True)}
    goings = {
        "client SIGKILL": killed(cluster),
        "client leave": left(cluster),
        "client cancels its call": hung_up(cluster, tmp_path, "cancelled", lambda stream: stream.cancel()),
        "client half-closes": hung_up(cluster, tmp_path, "half_closed", lambda stream: stream.done_writing()),
        "client SIGSTOP 30 s": frozen_for_long(cluster, bystander),
        **{
            f"black hole, client {name}": cut_off(cluster, name, to_server=to_server, to_client=to_client)
            for name, (to_server, to_client) in holes.items()
        },
    }
    gone, stayed, untouched = await asyncio.gather(
        asyncio.gather(*goings.values()),
        asyncio.gather(frozen(cluster, 5), frozen(cluster, 12)),
        held_up(cluster, 9),
    )
    departures = dict(zip(goings, gone, strict=True))
    await saves(bystander, "bystander", "still mine")
    calms = [
        calm_since(begin_ns, "the loss of other clients", bystander),
        # The transport of one that was frozen for 12 s may miss an answer to its own ping on waking, and hang up.
        calm_of(stayed[:1], begin_ns, "a freeze of 5 s"),
        untouched,
    ]
    report = await cluster.judge("clients lost", departures=list(departures.values()), calms=calms)
    for fault, departure in departures.items():
        ended = [
            cluster.store.ns(it)
            for it in cluster.store.entries
            if it.event == "lock_released" and it.data["session_id"] == departure.session_id
        ]
        times = [(ns - departure.ns) / 1e9 for ns in ended]
        tell(fault, f"free after {departure.cause}", times, BOUND_S[departure.cause])
    report.demand(departures=len(goings), demotions=4)
    assert not report.violations, report.summary()
    lost_ids = {departure.session_id for departure in gone}
    assert cluster.robbed <= {*lost_ids, stayed[1]}
