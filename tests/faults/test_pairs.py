"""Two faults at a time, at random from a seed, for a minute: whatever that does to anybody, no rule is broken."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
import time
from typing import TYPE_CHECKING, Final

import pytest
from redis.asyncio import Redis

from tests.faults.cluster import behind
from tests.faults.figures import count
from tests.faults.proxy import Proxy
from tests.faults.recorder import now_ns
from tests.faults.store import Onlooker

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from tests.faults.cluster import Cluster
    from tests.faults.programs import RecordedClient
    from tests.servers.postgres import PrivateServer
    from tests.servers.redis import RedisServer
    from tests.stories.processes import ServerProcess

pytestmark = pytest.mark.fault

#: How long, seconds, and from which seed; another one may be given to go on looking.
SECONDS: Final = 60.0
SEED: Final = int(os.environ.get("FOUNDRY_FAULTS_SEED", "1"))
#: So often a server is started that ends before it is ready.
_STARTS_MAX: Final = 8
_TERMINATE = """
SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE datname = $1 AND application_name = 'foundry'
"""


class Trouble:
    """Makes faults in a cluster.

    Attributes:
        made: What was done, in its order.
    """

    def __init__(
        self, cluster: Cluster, postgres: PrivateServer, redis: RedisServer, proxy: Proxy, chance: random.Random
    ) -> None:
        self._cluster = cluster
        self._postgres = postgres
        self._redis = redis
        self._proxy = proxy
        self._chance = chance
        self._clients = 0
        self.made: list[str] = []

    async def pair(self) -> None:
        """Make two faults at the same time, of different things; returns when both are over."""
        two = self._chance.sample([self.a_client, self.a_server, self.the_redis, self.the_postgres, self.the_line], 2)
        await asyncio.gather(*(fault() for fault in two))

    async def one_of(self, **faults: Callable[[], Awaitable[object]]) -> None:
        """Make one of these."""
        name = self._chance.choice(sorted(faults))
        self.made.append(name)
        await faults[name]()

    async def client(self) -> RecordedClient:
        """Another client at work."""
        self._clients += 1
        return await self._cluster.client(
            f"random{self._clients}", fields=("one", "two", "three"), seed=self._clients + SEED, pause_s=0.2
        )

    async def a_client(self) -> None:
        """One of the clients is killed or frozen."""
        alive = [it for it in self._cluster.clients if it.process.returncode is None]
        victim = self._chance.choice(alive)
        seconds = self._chance.choice([3.0, 17.0])

        async def killed() -> None:
            await victim.kill()
            await self.client()

        await self.one_of(client_killed=killed, client_frozen=lambda: frozen(victim, seconds))

    async def a_server(self) -> None:
        """One of the servers is killed, asked to leave or frozen; another one comes in its place."""
        victim = self._chance.choice(self._cluster.servers)
        seconds = self._chance.choice([4.0, 13.0])

        async def ended(how: Callable[[], Awaitable[object]]) -> None:
            self._cluster.servers.remove(victim)
            await how()
            await self._begin_again(victim)

        async def stopped() -> None:
            await frozen(victim, seconds)
            if seconds > 10.0:  # it may have been given up, and then ends by itself
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(5.0):
                        await victim.process.wait()
            if victim.process.returncode is not None:
                await ended(victim.kill)

        await self.one_of(
            server_killed=lambda: ended(victim.kill),
            server_leaves=lambda: ended(victim.terminate),
            server_frozen=stopped,
        )

    async def _begin_again(self, server: ServerProcess) -> None:
        """As whoever watches over servers does: one that cannot start, since the store is away, is tried again."""
        for _ in range(_STARTS_MAX - 1):
            with contextlib.suppress(AssertionError):
                await self._cluster.again(server)
                return
        await self._cluster.again(server)

    async def the_redis(self) -> None:
        """Redis is emptied, begun anew or paused."""
        async with Redis.from_url(self._redis.url) as asking:
            await self.one_of(
                redis_flushed=asking.flushall,
                redis_restarted=lambda: asyncio.to_thread(self._redis.restart),
                redis_paused=lambda: asking.client_pause(3_000),
            )

    async def the_postgres(self) -> None:
        """Postgres crashes and recovers, or every connection to it is ended."""

        async def crashes() -> None:
            await asyncio.to_thread(self._postgres.stop, "immediate")
            await asyncio.to_thread(self._postgres.start)

        async def terminates() -> None:
            admin = Onlooker(self._postgres.admin_url())
            await admin.query(_TERMINATE, self._cluster.database)
            await admin.close()

        await self.one_of(postgres_crashed=crashes, backends_ended=terminates)

    async def the_line(self) -> None:
        """One server's way to Postgres swallows everything for a while, or loses its connections."""

        async def swallows() -> None:
            self._proxy.swallow()
            await asyncio.sleep(4.0)
            self._proxy.heal()

        async def cut() -> None:
            self._proxy.cut()

        await self.one_of(line_swallows=swallows, line_cut=cut)


async def frozen(victim: RecordedClient | ServerProcess, seconds: float) -> None:
    """SIGSTOP for a while."""
    with contextlib.suppress(ProcessLookupError):
        victim.process.send_signal(signal.SIGSTOP)
        await asyncio.sleep(seconds)
        victim.process.send_signal(signal.SIGCONT)


async def test_no_pair_of_faults_breaks_a_rule(
    cluster: Cluster, own_postgres: PrivateServer, own_redis: RedisServer
) -> None:
    """Three servers, four clients, two faults at a time; between pairs the clients get on with their work."""
    fault = f"random pairs, seed {SEED}"
    async with Proxy(f"127.0.0.1:{own_postgres.port}") as proxy:
        await cluster.serve(2)
        await cluster.serve(1, FOUNDRY_DATABASE_URL=behind(cluster.env["FOUNDRY_DATABASE_URL"], proxy.address))
        trouble = Trouble(cluster, own_postgres, own_redis, proxy, random.Random(SEED))
        await asyncio.gather(*(trouble.client() for _ in range(4)))
        await cluster.store.grows(40)
        windows: list[tuple[float, float]] = []
        until_s = time.monotonic() + SECONDS
        while time.monotonic() < until_s:
            begin_ns = float(now_ns())
            await trouble.pair()
            await cluster.store.grows(20)
            windows.append((begin_ns, float(now_ns())))
        await cluster.judge(fault, outages=windows, grants=40, versions=20)
    count(fault, f"{len(windows)} pairs: {', '.join(trouble.made)}", pairs=len(windows))
