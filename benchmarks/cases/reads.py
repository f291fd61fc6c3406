"""Reading a draft, beside a handler that does nothing."""

from __future__ import annotations

from contextlib import ExitStack

from benchmarks.floor import NOTHING
from benchmarks.loads.unary import GET_DRAFT, SameCall
from benchmarks.measure import Bench, alternate, ratio, workers
from benchmarks.world import World
from coreason.foundry.v1 import draft_pb2

CASE = "read a draft, 32 at once"
_AT_ONCE = 32


def run(bench: Bench) -> None:
    """Measure."""
    with World(bench.foundry) as world:
        project = world.project(fields=4)
        size = world.draft_size(project)
    request = draft_pb2.GetDraftRequest(project_id=project.project_id).SerializeToString()
    nothing = (SameCall, bench.floor.pid, _AT_ONCE, bench.floor.address, (NOTHING, ""))
    method = (GET_DRAFT, project.tokens[0])
    read = (SameCall, bench.foundry.pid, _AT_ONCE, bench.foundry.address, method, request)
    loads = {
        "floor, empty": (*nothing, b"0"),
        "floor, as long an answer": (*nothing, str(size).encode()),
        "foundry, 4 fields of 2 kB": read,
    }
    with ExitStack() as stack:
        alternate(bench, CASE, "call", workers(stack, loads))
    report, foundry = bench.report, "foundry, 4 fields of 2 kB"
    rate = ratio(report, CASE, foundry, "floor, empty", "per_second")
    report.judge("read a draft (unary), rate", "at least 0.6 of the do-nothing handler", rate, least=0.6, show="{:.2f}")
    cpu = ratio(report, CASE, "floor, empty", foundry, "cpu_us")
    report.judge("the same, calls per CPU second", "at least 0.6 of it", cpu, least=0.6, show="{:.2f}")
