"""Events to many sessions of one project: how many, at what cost, how late."""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from typing import Any

import psutil

from benchmarks.loads.watch import Doer, FloorDoer, FloorWatchers, Seen, Watchers
from benchmarks.measure import Bench, Row, percentile
from benchmarks.worker import Worker
from benchmarks.world import World

_WATCHERS = 50
#: Doings a second when the lag is measured below saturation, each two entries.
_PACED = 200

CASE = "fan-out to {} sessions"


def run(bench: Bench) -> None:
    """Measure."""
    case, foundry = CASE.format(_WATCHERS), bench.foundry
    with World(foundry) as world:
        project = world.project(members=10)
    with (
        Worker(FloorWatchers, bench.floor.pid, _WATCHERS, bench.floor.address) as watchers,
        Worker(FloorDoer, bench.floor.pid, bench.floor.address) as doer,
    ):
        watchers.do("prepare")
        doer.do("prepare")
        rounds = [_round(bench, watchers, doer) for _ in range(bench.scale.rounds)]
        bench.report.rows.append(_row(case, "floor, each event a message", rounds))
    watching = (Watchers, foundry.pid, _WATCHERS, foundry.address, project.project_id, project.tokens[1:])
    doing = (Doer, foundry.pid, foundry.address, [project.project_id], project.tokens[:1])
    with Worker(*watching) as watchers, Worker(*doing) as doer:
        watchers.do("prepare")
        doer.do("prepare")
        for name, what, rate in (
            ("log entries, flood", "lock", 0),
            ("presence, flood", "presence", 0),
            (f"log entries, {2 * _PACED} a second", "lock", _PACED),
        ):
            rounds = [_round(bench, watchers, doer, rate, what) for _ in range(bench.scale.rounds)]
            bench.report.rows.append(_row(case, name, rounds))
    _crowd(bench)


def _round(bench: Bench, watchers: Worker, doer: Worker, *what: object) -> Seen:
    watchers.do("start")
    doer.do("flood", bench.scale.seconds, *what)
    seen: Seen = watchers.do("stop")
    time.sleep(0.3)  # let the stragglers arrive before the next round counts
    return seen


def _row(case: str, name: str, rounds: Sequence[Seen]) -> Row:
    return Row(
        case=case,
        contender=name,
        unit="event delivered",
        per_second=statistics.median(seen.events / seen.seconds for seen in rounds),
        p50_ms=statistics.median(percentile(seen.lags, 50) for seen in rounds) * 1000,
        p99_ms=statistics.median(percentile(seen.lags, 99) for seen in rounds) * 1000,
        cpu_us=min(seen.cpu_seconds / seen.events for seen in rounds) * 1e6,
        busy=max(seen.cpu_seconds / seen.seconds for seen in rounds),
        note=f"{statistics.median(seen.events / seen.frames for seen in rounds):.1f} events a message",
    )


def _crowd(bench: Bench) -> None:
    """One event at a quiet moment: when does the last of many sessions have it; and what does such a session weigh."""
    foundry, size = bench.foundry, bench.scale.crowd
    with World(foundry) as world:
        project = world.project(members=10)
    watching: tuple[Any, ...] = (Watchers, foundry.pid, size, foundry.address, project.project_id, project.tokens[1:])
    doing = (Doer, foundry.pid, foundry.address, [project.project_id], project.tokens[:1])
    before = psutil.Process(foundry.pid).memory_info().rss
    with Worker(*watching) as watchers, Worker(*doing) as doer:
        began = time.monotonic()
        watchers.do("prepare")
        opened_s = time.monotonic() - began
        time.sleep(1.0)  # what opening left to do is no weight of a session
        weight = (psutil.Process(foundry.pid).memory_info().rss - before) / size
        doer.do("prepare")
        shots: list[tuple[int, float]] = [doer.do("shoot") for _ in range(bench.scale.shots)]
        arrivals = watchers.do("arrivals")
    last = []
    for fence, began in shots:
        arrived = arrivals[fence]
        assert len(arrived) == size, f"{len(arrived)} of {size} sessions saw the event"
        last.append(max(arrived) - began)
    p50, p99 = percentile(last, 50) * 1000, percentile(last, 99) * 1000
    case = f"one event to {size} sessions"
    opened = f"{opened_s / size * 1000:.1f} ms to open a session, one after the other"
    bench.report.rows.append(Row(case, "last receiver", "event", p50_ms=p50, p99_ms=p99, note=opened))
    judge = bench.report.judge
    judge(f"one event to {size} sessions, last receiver (p50)", "under 100 ms", p50, most=100, show="{:.0f} ms")
    worst = f"the same, worst of {len(last)}"
    judge(worst, "under 100 ms", max(last) * 1000, most=100, show="{:.0f} ms")
    judge("idle session, server memory", "under 64 kB", weight / 1000, most=64, show="{:.0f} kB")
