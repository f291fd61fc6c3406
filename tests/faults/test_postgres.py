"""Postgres fails under two servers at work: nothing that was acknowledged is lost, and nobody loses a lock by it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Literal

import asyncpg
import pytest

from foundry.client import connect
from tests.faults.cluster import behind, calm_since, saves, turns
from tests.faults.commit_proxy import CommitProxy
from tests.faults.figures import SLACK_S, tell
from tests.faults.recorder import now_ns
from tests.faults.store import Onlooker

if TYPE_CHECKING:
    from tests.faults.cluster import Cluster
    from tests.faults.commit_proxy import When
    from tests.servers.postgres import PrivateServer

pytestmark = pytest.mark.fault

#: Without a renewal for this long a server says that it does not serve, seconds: the interval of renewals,
#: three, and a look.
UNHEALTHY_S = 7.0
#: After an outage this soon a server serves again, seconds: its next look, and its answer.
HEALTHY_S = 2.0
#: A project that somebody else holds is waited for this long, seconds, by each of the batches of a moment.
LOCK_S = 3.0
#: Backends that are ended in the middle of a transaction.
TERMINATIONS = 25
_TERMINATE = """
SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
WHERE datname = $1 AND application_name = 'foundry' AND backend_xid IS NOT NULL
"""

Stop = Literal["fast", "immediate", "killed"]


async def stopped(postgres: PrivateServer, how: Stop) -> None:
    """End the database in one of its ways."""
    await asyncio.to_thread(postgres.kill if how == "killed" else lambda: postgres.stop(how))


@pytest.mark.parametrize("how", ["fast", "immediate", "killed"])
async def test_after_a_restart_of_postgres_everybody_keeps_what_they_held(
    cluster: Cluster, own_postgres: PrivateServer, how: Stop
) -> None:
    """While it is away servers say that they do not serve; afterwards they do, and no lock was released because of it.

    Of what clients asked for meanwhile nothing happened twice, and nothing that was acknowledged is missing.
    """
    await cluster.serve()
    one, two = cluster.servers
    here = await cluster.client("here", one, holds="here")
    there = await cluster.client("there", two, holds="there")
    await cluster.load(2, pause_s=0.1)
    begin_ns = now_ns()
    await stopped(own_postgres, how)
    try:
        said = await asyncio.gather(
            *(turns(it.address, serving=False, within_s=UNHEALTHY_S + SLACK_S) for it in cluster.servers)
        )
    finally:
        back_ns = now_ns()
        await asyncio.to_thread(own_postgres.start)
    up_ns = now_ns()
    healthy = await asyncio.gather(*(turns(it.address, serving=True, within_s=20.0) for it in cluster.servers))
    tell(f"postgres {how}", "not serving after", [(ns - begin_ns) / 1e9 for ns in said], UNHEALTHY_S)
    tell(f"postgres {how}", "serving again after", [(ns - up_ns) / 1e9 for ns in healthy], HEALTHY_S)
    await cluster.store.grows(30)
    await saves(here, "here", "still mine")
    await saves(there, "there", "still mine too")
    calm = calm_since(begin_ns, f"postgres {how}", here, there)
    outage = (float(begin_ns), float(up_ns))
    assert back_ns > begin_ns
    await cluster.judge(f"postgres {how}", calms=[calm], outages=[outage], grants=10)
    assert not cluster.robbed


async def test_a_lane_whose_backend_is_ended_again_and_again_saves_everything_once(
    cluster: Cluster, own_postgres: PrivateServer
) -> None:
    """``pg_terminate_backend`` of whoever has just written and not committed: the server makes a new connection."""
    await cluster.serve()
    one, two = cluster.servers
    here = await cluster.client("here", one, holds="here")
    there = await cluster.client("there", two, holds="there")
    await cluster.load(3, pause_s=0.1)
    begin_ns = now_ns()
    admin = Onlooker(own_postgres.admin_url())
    ended = 0
    async with asyncio.timeout(45.0):
        while ended < TERMINATIONS:
            ended += (await admin.query(_TERMINATE, cluster.database))[0]["count"]
    await admin.close()
    await cluster.store.grows(20)
    await saves(here, "here", "still mine")
    await saves(there, "there", "still mine too")
    calm = calm_since(begin_ns, "ended backends", here, there)
    tell("pg_terminate_backend", f"{ended} backends ended, and work goes on", (now_ns() - begin_ns) / 1e9)
    await cluster.judge("pg_terminate_backend", calms=[calm])
    assert not cluster.robbed


@pytest.mark.parametrize("when", ["before", "after"])
async def test_a_save_whose_commit_got_lost_happens_exactly_once(
    cluster: Cluster, own_postgres: PrivateServer, when: When
) -> None:
    """The connection is lost before the COMMIT went out, or before its answer came in; nobody can tell which.

    Whoever asks again under the same request id learns of the one version there is.
    """
    async with CommitProxy(f"127.0.0.1:{own_postgres.port}") as proxy:
        await cluster.serve(1, FOUNDRY_DATABASE_URL=behind(cluster.env["FOUNDRY_DATABASE_URL"], proxy.address))
        await cluster.serve(1)
        client = await cluster.client("saver", cluster.servers[0], holds="by_stream")
        assert (await client.do("acquire", field="by_call", way="call"))["outcome"] == "ok"
        begin_ns = now_ns()
        texts = []
        for number in range(8):
            way = "call" if number % 2 else "stream"
            texts.append(f"{when} {number}")
            proxy.arm(when)
            saving = asyncio.create_task(saves(client, f"by_{way}", texts[-1], way))
            async with asyncio.timeout(10.0):
                await proxy.has_cut(number + 1)
            await saving
        tell(f"connection lost {when} COMMIT", f"{len(texts)} saves, each once", (now_ns() - begin_ns) / 1e9)
        calm = calm_since(begin_ns, f"lost {when} COMMIT", client)
        report = await cluster.judge(f"connection lost {when} COMMIT", calms=[calm], operations=8, grants=2, events=10)
        assert report.counts["versions"] == len(texts)
        assert not cluster.robbed


async def test_whoever_holds_a_project_in_the_database_delays_that_project_and_nothing_more(cluster: Cluster) -> None:
    """Another program keeps the head row of a project locked: its saves are told to come back, and do get through."""
    await cluster.serve()
    here = await cluster.client("here", cluster.servers[0], holds="here")
    await cluster.load(2, pause_s=0.1)
    begin_ns = now_ns()
    locking = await asyncpg.connect(cluster.url)
    async with locking.transaction():
        await locking.execute("SELECT FROM head WHERE log = $1 FOR UPDATE", cluster.store.project_id)
        held_ns = now_ns()
        done = await here.do("save", field="here", text="in between", keep=True)
        waited_s = (now_ns() - held_ns) / 1e9
        assert done["outcome"] == "unknown", done
        tell("head row locked by others", "a save is told to come back after", waited_s, LOCK_S)
        saving = asyncio.create_task(elsewhere(cluster))
        tell("head row locked by others", "another project is opened after", await saving, LOCK_S)
    await locking.close()
    free_ns = now_ns()
    while done["outcome"] == "unknown":
        done = await here.do("repeat")
    assert done["outcome"] == "ok", done
    tell("head row locked by others", "saved once it is free after", (now_ns() - free_ns) / 1e9, LOCK_S)
    await cluster.store.grows(20)
    calm = calm_since(begin_ns, "a locked head row", here)
    await cluster.judge("head row locked by others", calms=[calm])
    assert not cluster.robbed


async def elsewhere(cluster: Cluster) -> float:
    """Make a project through the same servers; returns how long it took, seconds."""
    begin_ns = now_ns()
    async with connect(cluster.servers[0].address, cluster.token("zoe")) as foundry:
        await foundry.projects.create("Elsewhere")
    return (now_ns() - begin_ns) / 1e9
