"""Acquire and release on session streams, beside the ping-pong floor and other lock services."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any

from benchmarks.loads.peers import EtcdPairs, RedisPairs
from benchmarks.loads.streams import LockPairs, PingPong
from benchmarks.measure import Bench, absent, alternate, ratio, workers
from benchmarks.servers import Server
from benchmarks.world import World

CASE = "lock and unlock, {}"
_MANY = 16


def run(bench: Bench) -> None:
    """Measure."""
    one, many = CASE.format("1 client"), CASE.format(f"{_MANY} clients")
    _run(bench, one, 1)
    _run(bench, many, _MANY)
    report = bench.report
    slower = ratio(report, one, "foundry", "etcd", "p50_ms")
    report.judge("acquire + release, 1 client, p50", "no slower than etcd", slower, most=1.0, show="{:.2f} of etcd's")
    for contender in ("foundry, one project", "foundry, a project each"):
        rate = ratio(report, many, contender, "etcd", "per_second")
        what = f"acquire + release, {_MANY} clients ({contender.removeprefix('foundry, ')}), pairs/s"
        report.judge(what, "at least etcd's", rate, least=1.0, show="{:.2f} of etcd's")
        on_postgres = ratio(report, many, contender.replace("foundry", "on Postgres"), "etcd", "per_second")
        what += ", on Postgres"
        report.judge(what, "at least 0.7 of etcd's", on_postgres, least=0.7, show="{:.2f} of etcd's")


def _shared(server: Server, clients: int) -> dict[str, tuple[Any, ...]]:
    with World(server) as world:
        project = world.project(members=clients, fields=clients)
        name = "on Postgres, one project" if clients > 1 else "on Postgres"
        loads: dict[str, tuple[Any, ...]] = {
            name: (LockPairs, server.pid, server.address, [project.project_id] * clients, project.tokens)
        }
        if clients > 1:
            apart = [world.project(fields=clients) for _ in range(clients)]
            ids, tokens = [project.project_id for project in apart], [project.tokens[0] for project in apart]
            loads["on Postgres, a project each"] = (LockPairs, server.pid, server.address, ids, tokens)
    return loads


def _run(bench: Bench, case: str, clients: int) -> None:
    foundry, floor = bench.foundry, bench.floor
    loads: dict[str, tuple[Any, ...]] = {"floor, two echoes": (PingPong, floor.pid, clients, floor.address)}
    with World(foundry) as world:
        shared = world.project(members=clients, fields=clients)
        name = "foundry, one project" if clients > 1 else "foundry"
        loads[name] = (LockPairs, foundry.pid, foundry.address, [shared.project_id] * clients, shared.tokens)
        if clients > 1:
            apart = [world.project(fields=clients) for _ in range(clients)]
            ids, tokens = [project.project_id for project in apart], [project.tokens[0] for project in apart]
            loads["foundry, a project each"] = (LockPairs, foundry.pid, foundry.address, ids, tokens)
    if bench.shared:
        loads |= _shared(bench.shared, clients)
    if bench.etcd:
        loads["etcd"] = (EtcdPairs, bench.etcd.pid, clients, bench.etcd.address)
    if bench.redis:
        loads["Redis, in memory, no log"] = (RedisPairs, bench.redis.pid, clients, bench.redis.address)
    with ExitStack() as stack:
        alternate(bench, case, "pair", workers(stack, loads))
    if not bench.etcd:
        absent(bench, case, "etcd", "pair")
    if not bench.redis:
        absent(bench, case, "Redis, in memory, no log", "pair")
