"""Saving, by one and by 16 writers of one project, and as the history grows."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any

from benchmarks.loads.streams import StreamSaves
from benchmarks.loads.unary import UnarySaves
from benchmarks.measure import Bench, alternate, ratio, workers
from benchmarks.servers import Server
from benchmarks.worker import Worker
from benchmarks.world import World

CASE = "save 2 kB, {}"
_MANY = 16
#: Ten times what the earlier system saved without failing: 300/s by one client, 28 % of as much by 16 at once.
_BAR_PER_SECOND = 840
#: Saves of a round on a young project: few, so that it stays young.
_YOUNG = 100


def run(bench: Bench) -> None:
    """Measure."""
    for writers in (1, _MANY):
        case = CASE.format("1 writer" if writers == 1 else f"{writers} writers, one project")
        loads = _writing(bench.foundry, writers, "foundry")
        if bench.shared:
            loads |= _writing(bench.shared, writers, "on Postgres")
        with ExitStack() as stack:
            alternate(bench, case, "save", workers(stack, loads))
    many = bench.report.row(CASE.format(f"{_MANY} writers, one project"), "on Postgres, unary (5 entries)")
    goal = f"save a draft on Postgres, {_MANY} writers of one project, none failed"
    rate = many.per_second if many else None
    bench.report.judge(goal, f"at least {_BAR_PER_SECOND}/s", rate, least=_BAR_PER_SECOND, show="{:.0f}/s")
    _history(bench, bench.foundry, "")
    if bench.shared:
        _history(bench, bench.shared, ", on Postgres")


def _writing(server: Server, writers: int, name: str) -> dict[str, tuple[Any, ...]]:
    with World(server) as world:
        unary = world.project(members=writers, fields=writers)
        stream = world.project(members=writers, fields=writers)
    where = (server.pid, server.address)
    return {
        f"{name}, unary (5 entries)": (UnarySaves, *where, [unary.project_id], unary.tokens),
        f"{name}, on the stream (1 entry)": (StreamSaves, *where, [stream.project_id] * writers, stream.tokens),
    }


def _history(bench: Bench, server: Server, where: str) -> None:
    case, versions = f"save as history grows, 1 writer{where}", bench.scale.history
    young, old = "up to version 100", f"from version {versions:,}"
    with World(server) as world, ExitStack() as stack:
        grown = world.project(members=_MANY)
        with Worker(UnarySaves, server.pid, server.address, [grown.project_id], grown.tokens) as writers:
            writers.do("prepare")
            writers.do("round", 60.0, versions)
        fresh = [world.project() for _ in range(bench.scale.rounds + 1)]
        loads = {
            young: (UnarySaves, server.pid, server.address, [p.project_id for p in fresh], fresh[0].tokens),
            old: (UnarySaves, server.pid, server.address, [grown.project_id], grown.tokens[:1]),
        }
        alternate(bench, case, "save", workers(stack, loads), operations_max=_YOUNG)
    slower = ratio(bench.report, case, old, young, "p50_ms")
    goal = f"save p50 at {versions:,} versions, to that of a new project{where}"
    bench.report.judge(goal, "at most 1.2", slower, most=1.2, show="{:.2f}")
