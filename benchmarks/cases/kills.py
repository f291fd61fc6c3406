"""A client that holds a lock is killed: how soon another session sees the field free, and has it."""

from __future__ import annotations

from contextlib import ExitStack

from benchmarks.loads.watch import Heir, Victim
from benchmarks.measure import Bench, Row, percentile
from benchmarks.servers import Server
from benchmarks.worker import Worker
from benchmarks.world import World

CASE = "SIGKILL of a lock holder"
#: Victims that wait for their turn at once; each is a process.
_AT_ONCE = 6


def run(bench: Bench) -> None:
    """Measure."""
    _kill(bench, bench.foundry, "")
    if bench.shared:
        _kill(bench, bench.shared, ", on Postgres")


def _kill(bench: Bench, foundry: Server, where: str) -> None:
    with World(foundry) as world:
        project = world.project(members=2)
    heir_is = (Heir, foundry.pid, foundry.address, [project.project_id], project.tokens[1:])
    victim_is = (Victim, foundry.pid, foundry.address, [project.project_id], project.tokens[:1])
    seen: list[float] = []
    taken: list[float] = []
    with Worker(*heir_is) as heir:
        heir.do("prepare")
        while len(seen) < bench.scale.kills:
            with ExitStack() as stack:
                victims = [stack.enter_context(Worker(*victim_is)) for _ in range(_AT_ONCE)]
                for victim in victims[: bench.scale.kills - len(seen)]:
                    victim.do("prepare")
                    heir.ask("inherit", "field_0")
                    killed = victim.kill()
                    at_seen, at_taken = heir.answer()
                    seen.append(at_seen - killed)
                    taken.append(at_taken - killed)
    note = f"{len(seen)} kills"
    for contender, times in (("release seen by another session", seen), ("field taken by it", taken)):
        p50, p99 = percentile(times, 50) * 1000, percentile(times, 99) * 1000
        bench.report.rows.append(Row(CASE, contender + where, "kill", p50_ms=p50, p99_ms=p99, note=note))
    p99 = percentile(seen, 99) * 1000
    goal = f"lock free after a kill, seen by another session (p99){where}"
    bench.report.judge(goal, "under 100 ms", p99, most=100, show="{:.0f} ms")
