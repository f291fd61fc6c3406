"""Servers over one Postgres and one Redis, recorded clients of one project at work, and the judgement in the end."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections import Counter
from typing import TYPE_CHECKING, Any, Final, Self
from urllib.parse import urlsplit, urlunsplit

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from coreason.foundry.v1 import project_pb2
from foundry.client import connect
from foundry.identity import mint_dev_token
from foundry.store.attribution import attribution_of_url
from tests.faults.bounds import BOUND_S, Calm, Departure
from tests.faults.checker import Circumstances, check
from tests.faults.entries import parse_entry
from tests.faults.figures import SLACK_S, count, tell
from tests.faults.history import read_history
from tests.faults.programs import RecordedClient
from tests.faults.recorder import now_ns
from tests.faults.store import Onlooker
from tests.faults.tables import read_tables
from tests.stories.log_replay import read_log
from tests.stories.processes import ServerProcess
from tests.support import project_with

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path

    from tests.faults.entries import Entry
    from tests.faults.history import History
    from tests.faults.mirror import Sample
    from tests.faults.report import Report
    from tests.servers.postgres import PrivateServer
    from tests.servers.redis import RedisServer

OWNER: Final = "ann"
#: How much is shown of what is wrong: the first violation tells most.
_SHOWN_MAX: Final = 6_000
#: Fields that the background works on.
SHARED: Final = ("shared/1", "shared/2", "shared/3")
#: Endings that nobody asked for.
INVOLUNTARY: Final = {"STREAM_GONE", "HEARTBEAT", "REPLICA_DEAD", "SERVER_RESTART", "DB_FAILOVER"}


class Cluster:
    """Used with ``async with``, which ends every process that is left.

    Attributes:
        servers: Those that run, in the order of their start; whoever ends one takes it out.
        clients: Every recorded client there was.
        records: Recordings beside theirs.
        done: What the clients that were there in the end had done, by kind and outcome; once it is judged.
        robbed: Sessions that lost a lock although nobody gave it back and their clients did not try to leave; likewise.
        left: Sessions that their clients tried to leave; likewise.
        store: An onlooker of the project.
    """

    def __init__(self, folder: Path, postgres: PrivateServer, redis: RedisServer) -> None:
        self._folder = folder
        self._stack = contextlib.AsyncExitStack()
        self._database = postgres.create_database()
        self.postgres = postgres
        self.redis = redis
        self.env = {"FOUNDRY_DATABASE_URL": postgres.server_url(self._database), "FOUNDRY_REDIS_URL": redis.url}
        self.url = postgres.owner_url(self._database)
        self.servers: list[ServerProcess] = []
        self.clients: list[RecordedClient] = []
        self.records: list[Path] = []
        self.done: Counter[str] = Counter()
        self.robbed: set[str] = set()
        self.left: set[str] = set()
        self.store = Onlooker(self.url)

    @property
    def database(self) -> str:
        """Name of the database."""
        return self._database

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.store.close()
        await self._stack.aclose()

    def use(self, *servers: PrivateServer) -> None:
        """Keep everything in whichever of these database servers takes writes. Before anything is started."""
        hosts = ",".join(f"127.0.0.1:{server.port}" for server in servers)
        self.env["FOUNDRY_DATABASE_URL"] = behind(self.env["FOUNDRY_DATABASE_URL"], hosts)
        self.url = behind(self.url, hosts)
        self.store = Onlooker(self.url)

    # --- servers ---

    async def serve(self, number: int = 2, *, program: type[ServerProcess] = ServerProcess, **env: str) -> None:
        """Start servers on the same stores, at the same time; the first ones make the project too."""
        begun = [program(self._folder / "data", env={**self.env, **env}) for _ in range(number)]
        # One makes the development key that the others read.
        self.servers.append(await self._stack.enter_async_context(begun[0]))
        await asyncio.gather(*(self._stack.enter_async_context(server) for server in begun[1:]))
        self.servers += begun[1:]
        if not self.store.project_id:
            async with connect(self.address, self.token(OWNER)) as owner:
                self.store.project_id = await project_with(owner)

    async def again(self, server: ServerProcess, **env: str) -> ServerProcess:
        """Start a server at the address of one that is gone."""
        new = await self._stack.enter_async_context(server.again(**env))
        self.servers.append(new)
        return new

    @property
    def address(self) -> str:
        """Of all servers that run."""
        return ",".join(server.address for server in self.servers)

    def token(self, subject: str) -> str:
        """A token for whoever it is."""
        return mint_dev_token(self._folder / "data", subject=subject)

    def other(self, server: ServerProcess) -> ServerProcess:
        """Another server than this one."""
        return next(it for it in self.servers if it is not server)

    # --- clients ---

    async def client(self, name: str, *servers: ServerProcess, holds: str = "", **setting: object) -> RecordedClient:
        """Start a client; on several servers it is first on the one that is named first.

        Args:
            name: Its own, and its subject's.
            servers: Where it may go; all of them when none is named.
            holds: A field whose lock it takes.
            setting: As of ``client.Setting``.
        """
        if name != OWNER:
            async with connect(self.address, self.token(OWNER)) as owner:
                await owner.projects.set_member(self.store.project_id, name, project_pb2.ROLE_EDITOR)
        chosen = servers or tuple(self.servers)
        setting = {"target": ",".join(it.address for it in chosen), "seconds": 600.0, **setting}
        record = self._folder / f"{name}.jsonl"
        client = RecordedClient(record, token=self.token(name), project_id=self.store.project_id, **setting)
        self.clients.append(await self._stack.enter_async_context(client))
        if servers:
            await self._place(client, str(setting["target"]).partition(",")[0])
        if holds:
            done = await client.do("acquire", field=holds)
            assert done["outcome"] == "ok", done
        return client

    async def load(self, number: int = 2, **setting: object) -> None:
        """Start clients that follow plans in the background, and wait until they are at work."""
        shared: dict[str, Any] = {"fields": SHARED, "pause_s": 0.25, **setting}
        names = [f"load{place}" for place in range(len(self.clients), len(self.clients) + number)]
        await asyncio.gather(*(self.client(name, seed=seed, **shared) for seed, name in enumerate(names)))
        await self.store.grows(10 * number)

    async def quiet(self) -> None:
        """Have those that follow plans leave."""
        await asyncio.gather(*(client.stop() for client in self.clients if client.record.stem.startswith("load")))

    async def _place(self, client: RecordedClient, address: str) -> None:
        """Its sessions go to the servers in turn: open new ones until it is where it is wanted."""
        for _ in range(60):  # its connection to a server that has just begun may come later than the others
            if await self.store.server_of(session_of(client)) == address:
                return
            await client.do("leave")
            await client.do("break", field="nobody_holds_this")  # one call more, or it would be the same one's turn
            await client.do("open")
        raise AssertionError(f"no session of {client.record.stem} came to {address}")

    # --- the end ---

    async def judge(
        self,
        fault: str,
        *,
        departures: Sequence[Departure] = (),
        calms: Sequence[Calm] = (),
        outages: Sequence[tuple[float, float]] = (),
        samples: Sequence[Sample] = (),
        without: Callable[[History], History] = lambda history: history,
        **least: int,
    ) -> Report:
        """Let the clients leave, then check all they recorded against the log, the tables and the auditor's query.

        Args:
            departures: Sessions that went otherwise than by leaving; how soon their locks were free is told.
            calms: Sessions that had no part in it.
            outages: When the database was away.
            samples: Of the mirror.
            without: What to leave out of the history.
            least: How much must have been seen, by what.
        """
        running = [client for client in self.clients if client.process.returncode is None]
        for done in await asyncio.gather(*(client.stop() for client in running)):
            self.done.update(done)
        await self.store.calm()
        # One that was given up has ended itself, perhaps just now.
        serving = next(it for it in self.servers if it.process.returncode is None)
        async with connect(serving.address, self.token(OWNER)) as fresh:
            entries = [parse_entry(it.entry_bytes) for it in await read_log(fresh, self.store.project_id)]
        known = Circumstances(
            tables=await read_tables(self.store.query, self.store.project_id),
            samples=samples,
            live_sessions=(),
            departures=departures,
            calms=calms,
            outages=outages,
            slack_s=SLACK_S,
        )
        history = without(read_history([*(client.record for client in self.clients), *self.records]))
        self.left = {it.session_id for it in history.operations if it.kind == "leave"}
        self.robbed = {
            it.data["session_id"]
            for it in involuntary(entries)
            if it.event == "lock_released" and it.data["session_id"] not in self.left
        }
        report = await asyncio.to_thread(check, history, entries, known)
        report.demand(**{"operations": 30, "grants": 5, "versions": 3, "events": 50, **least})
        assert not report.violations, f"{fault}\n{report.summary()[:_SHOWN_MAX]}"
        attribution = await asyncio.to_thread(attribution_of_url, self.url)
        assert attribution.changes >= report.counts["versions"] > 0
        assert not attribution.unattributed, attribution.unattributed
        for cause, bound_s in BOUND_S.items():
            if (times := report.figures.get(f"free after {cause}")) and any(it.cause == cause for it in departures):
                tell(fault, f"fields free after {cause}", times, bound_s)
        looked = ", ".join(f"{report.counts[what]} {what}" for what in ("operations", "entries", "events", "grants"))
        count(fault, f"no violation in {looked}")
        return report


async def saves(client: RecordedClient, field: str, text: str, way: str = "stream") -> None:
    """Have it save a field that it holds and keep the lock, asking again while the outcome is not known."""
    done = await client.do("save", field=field, text=text, way=way, keep=True)
    asked_again = done["outcome"] == "unknown"
    while done["outcome"] == "unknown":
        done = await client.do("repeat")
    assert done["outcome"] == "ok", f"{client.record.stem}: {done}"
    if asked_again:  # what it knew of its lock is old: the grant itself is the same
        assert (await client.do("acquire", field=field, way=way))["outcome"] == "ok"


async def trusts(client: RecordedClient, field: str) -> None:
    """Wait until a client has learnt from the server that it holds a field, whatever it took it for before."""
    for _ in range(100):
        if (await client.do("touch", field=field))["outcome"] == "ok":
            return
        await asyncio.sleep(0.2)
    raise AssertionError(f"{client.record.stem} does not trust its lock of {field} again")


async def turns(address: str, *, serving: bool, within_s: float) -> float:
    """Wait until a server says of its health that it serves, or that it does not; returns when, nanoseconds."""
    async with grpc.aio.insecure_channel(address) as channel:
        stub: Any = health_pb2_grpc.HealthStub(channel)
        watching = stub.Watch(health_pb2.HealthCheckRequest(), timeout=within_s)
        async for answer in watching:
            if (answer.status == health_pb2.HealthCheckResponse.SERVING) is serving:
                watching.cancel()
                return float(now_ns())
    raise AssertionError("the health of a server is watched to the end of the call")


def behind(url: str, address: str) -> str:
    """The URL of a database, at another address."""
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=f"{parts.netloc.rpartition('@')[0]}@{address}"))


def session_of(client: RecordedClient) -> str:
    """The newest session of a client, by its recording."""
    opened = [line for line in notes_of(client) if line["note"] == "opened"]
    return str(opened[-1]["session_id"]) if opened else ""


def notes_of(client: RecordedClient) -> list[dict[str, Any]]:
    """All notes of a recording so far."""
    whole = client.record.read_bytes().split(b"\n")[:-1]
    return [found for line in whole if "note" in (found := json.loads(line))]


def involuntary(entries: Sequence[Entry]) -> list[Entry]:
    """The ends of locks and sessions that nobody asked for."""
    found = []
    for entry in entries:
        name = {"lock_released": "release_reason", "session_closed": "close_reason"}.get(entry.event)
        if name and str(entry.data[name]).split("_REASON_")[-1] in INVOLUNTARY:
            found.append(entry)
    return found


def calm_since(begin_ns: float, fault: str, *clients: RecordedClient) -> Calm:
    """Clients that had no part in a fault from a time until now."""
    return calm_of((session_of(client) for client in clients), begin_ns, fault)


def calm_of(session_ids: Iterable[str], begin_ns: float, fault: str) -> Calm:
    """The same, by their sessions."""
    return Calm(frozenset(session_ids), begin_ns, float(now_ns()), fault)
