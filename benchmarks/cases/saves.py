"""Saving, by one and by 16 writers of one project, and as the history grows."""

from __future__ import annotations

from contextlib import ExitStack

from benchmarks.loads.streams import StreamSaves
from benchmarks.loads.unary import UnarySaves
from benchmarks.measure import Bench, alternate, ratio, workers
from benchmarks.worker import Worker
from benchmarks.world import World

CASE = "save 2 kB, {}"
_MANY = 16
#: Saves of a round on a young project: few, so that it stays young.
_YOUNG = 100


def run(bench: Bench) -> None:
    """Measure."""
    for writers in (1, _MANY):
        case = CASE.format("1 writer" if writers == 1 else f"{writers} writers, one project")
        foundry = bench.foundry
        with World(foundry) as world, ExitStack() as stack:
            unary = world.project(members=writers, fields=writers)
            stream = world.project(members=writers, fields=writers)
            loads = {
                "foundry, unary (5 entries)": (
                    UnarySaves,
                    foundry.pid,
                    foundry.address,
                    [unary.project_id],
                    unary.tokens,
                ),
                "foundry, on the stream (1 entry)": (
                    StreamSaves,
                    foundry.pid,
                    foundry.address,
                    [stream.project_id] * writers,
                    stream.tokens,
                ),
            }
            alternate(bench, case, "save", workers(stack, loads))
    _history(bench)


def _history(bench: Bench) -> None:
    case, versions, foundry = "save as history grows, 1 writer", bench.scale.history, bench.foundry
    young, old = "up to version 100", f"from version {versions:,}"
    with World(foundry) as world, ExitStack() as stack:
        grown = world.project(members=_MANY)
        with Worker(UnarySaves, foundry.pid, foundry.address, [grown.project_id], grown.tokens) as writers:
            writers.do("prepare")
            writers.do("round", 60.0, versions)
        fresh = [world.project() for _ in range(bench.scale.rounds + 1)]
        loads = {
            young: (UnarySaves, foundry.pid, foundry.address, [p.project_id for p in fresh], fresh[0].tokens),
            old: (UnarySaves, foundry.pid, foundry.address, [grown.project_id], grown.tokens[:1]),
        }
        alternate(bench, case, "save", workers(stack, loads), operations_max=_YOUNG)
    slower = ratio(bench.report, case, old, young, "p50_ms")
    goal = f"save p50 at {versions:,} versions, to that of a new project"
    bench.report.judge(goal, "at most 1.2", slower, most=1.2, show="{:.2f}")
