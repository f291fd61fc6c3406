"""Lines of a run's console: stored, seen while two people edit, and seen by many; what they cost, and how late."""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.loads.console import ConsoleWatchers, Edited, Editors, FloorProducer, Producer, Received, Sent
from benchmarks.loads.console import SessionProducer as Commands
from benchmarks.loads.watch import FloorWatchers, Seen
from benchmarks.measure import Bench, Report, Row, percentile
from benchmarks.worker import Worker, cpu_s
from benchmarks.world import Project, World

#: Lines a second into one run, and how many of them are in a message: one each 20 ms.
_RATE = 10_000
_PER_MESSAGE = 200
#: People who edit meanwhile, and how often each saves in a second.
_PEOPLE = 2
_SAVES = 20
_WATCHERS = 50
#: Bound on the wait for watchers that read what was sent, seconds.
_PATIENCE_S = 60.0
#: A tenth of what a line in a message of its own costs on a WebSocket: 12.6 us, where the floor's costs 20 us.
_LINE_US = 1.26
_FLOOR_SHARE = 0.063

_PRODUCERS = {"AppendRunLog": Producer, "commands": Commands}


def run(bench: Bench) -> None:
    """Measure."""
    _stored(bench)
    _beside_editors(bench)
    _fan_out(bench)


@dataclass(frozen=True, slots=True)
class _Flood:
    """One run with a console, from its start to its end everywhere.

    Attributes:
        seconds: From the first line to when the last watcher had read the end.
        cpu_seconds: Of the server meanwhile, the sealing of the run included.
        wrong: Lines that a watcher did not get, summed up, and one for each watcher that got others than were sent.
    """

    sent: Sent
    seen: list[Received]
    seconds: float
    cpu_seconds: float
    wrong: int

    @property
    def lags(self) -> list[float]:
        """Of all watchers."""
        return [lag for received in self.seen for lag in received.lags]

    @property
    def delivered(self) -> int:
        """Lines that watchers got."""
        return sum(received.lines for received in self.seen)


def _flood(
    bench: Bench,
    producer: Worker,
    watchers: Worker | None,
    flood: tuple[float, float, int],
    late: Worker | None = None,
) -> _Flood:
    """One run.

    Args:
        flood: Seconds, lines a second, lines a message.
        late: Watchers that come in the middle.
    """
    run_id = producer.do("start")
    cpu, began = cpu_s(bench.foundry.pid), time.time()
    producer.ask("flood", *flood)
    if late:
        time.sleep(flood[0] / 2)  # it is to come in the middle
        late.do("prepare")
    sent: Sent = producer.answer()
    digest = producer.do("finish")
    seen: list[Received] = [received for each in (watchers, late) if each for received in each.do("received", run_id)]
    used = cpu_s(bench.foundry.pid) - cpu
    wrong = sum(abs(sent.lines - received.lines) or received.digest != digest for received in seen)
    end = max((received.end for received in seen), default=began + sent.seconds)
    return _Flood(sent, seen, end - began, used, wrong)


def _stored(bench: Bench) -> None:
    """Lines that nobody watches, as fast as they are stored."""
    case, foundry, rounds = "console that nobody watches, flood", bench.foundry, bench.scale.rounds
    with World(foundry) as world:
        project = world.project(members=2)
    for name, how, per_message in (
        (f"{_PER_MESSAGE} lines a message", "AppendRunLog", _PER_MESSAGE),
        (f"{_PER_MESSAGE} lines a command", "commands", _PER_MESSAGE),
        ("naive: each line a message", "AppendRunLog", 1),
    ):
        arguments = (_PRODUCERS[how], foundry.pid, foundry.address, project.project_id, project.tokens[1])
        with Worker(*arguments) as producer:
            producer.do("prepare")
            _flood(bench, producer, None, (min(1.0, bench.scale.seconds), 0, per_message))
            floods = [_flood(bench, producer, None, (bench.scale.seconds, 0, per_message)) for _ in range(rounds)]
        bench.report.rows.append(
            Row(
                case=case,
                contender=name,
                unit="line stored",
                per_second=statistics.median(flood.sent.lines / flood.sent.seconds for flood in floods),
                cpu_us=min(flood.cpu_seconds / flood.sent.lines for flood in floods) * 1e6,
                busy=max(flood.cpu_seconds / flood.seconds for flood in floods),
            )
        )


def _beside_editors(bench: Bench) -> None:
    """A long run with watchers, one of whom comes late, while people edit."""
    foundry, seconds, report = bench.foundry, bench.scale.console, bench.report
    with World(foundry) as world:
        project = world.project(members=4 + _PEOPLE)
    editors_are = (Editors, foundry.pid, foundry.address, [project.project_id] * _PEOPLE, project.tokens[-_PEOPLE:])
    lines, saves = [], []
    with Worker(*editors_are) as editors:
        editors.do("prepare")
        editors.do("edit", 1.0, _SAVES)
        alone_s = seconds / 2
        cpu = cpu_s(foundry.pid)
        alone: Edited = editors.do("edit", alone_s, _SAVES)
        editing = (cpu_s(foundry.pid) - cpu) / alone.seconds
        saves.append(_edits("no console", alone))
        for name in _PRODUCERS:
            flood, edited = _long(bench, project, editors, name)
            lines += _lines(name, flood, editing)
            saves.append(_edits(f"beside {name}", edited))
            _judge(report, name, flood)
    report.rows += lines
    report.rows += saves


def _long(bench: Bench, project: Project, editors: Worker, name: str) -> tuple[_Flood, Edited]:
    foundry, seconds = bench.foundry, bench.scale.console
    _, producing, watching, coming, *_ = project.tokens
    watch = (foundry.pid, foundry.address, project.project_id)
    with (
        Worker(_PRODUCERS[name], *watch, producing) as producer,
        Worker(ConsoleWatchers, foundry.pid, 2, foundry.address, project.project_id, [watching]) as watchers,
        Worker(ConsoleWatchers, foundry.pid, 1, foundry.address, project.project_id, [coming]) as late,
    ):
        producer.do("prepare")
        watchers.do("prepare")
        editors.ask("edit", seconds, _SAVES)
        flood = _flood(bench, producer, watchers, (seconds, _RATE, _PER_MESSAGE), late)
        return flood, editors.answer()


def _lines(name: str, flood: _Flood, editing: float) -> list[Row]:
    """Rows of a long run.

    Args:
        editing: Share of a core that the editors take without a console.
    """
    sent, late = flood.sent, flood.seen[-1]
    watched = [lag for received in flood.seen[:-1] for lag in received.lags]
    case = f"{_RATE:,} console lines a second for {sent.seconds:.0f} s, {_PEOPLE} people edit, 2 + 1 watch"
    cpu = flood.cpu_seconds / sent.lines * 1e6
    without = (flood.cpu_seconds - editing * flood.seconds) / sent.lines * 1e6
    return [
        Row(
            case=case,
            contender=f"{name}: seen by watchers",
            unit="line",
            per_second=sent.lines / sent.seconds,
            p50_ms=percentile(watched, 50) * 1000,
            p99_ms=percentile(watched, 99) * 1000,
            cpu_us=cpu,
            busy=flood.cpu_seconds / flood.seconds,
            note=f"{without:.1f} us without the editing; sent at most {sent.late_s * 1000:.0f} ms late",
        ),
        Row(
            case=case,
            contender=f"{name}: acknowledged",
            unit="message",
            p50_ms=percentile(sent.acknowledgements, 50) * 1000,
            p99_ms=percentile(sent.acknowledgements, 99) * 1000,
        ),
        Row(
            case=case,
            contender=f"{name}: one who comes late",
            unit="session",
            p50_ms=late.current_s * 1000,
            note=f"from connecting to line {late.behind:,}",
        ),
    ]


def _edits(name: str, edited: Edited) -> Row:
    acquires = percentile(edited.acquires, 50) * 1000, percentile(edited.acquires, 99) * 1000
    return Row(
        case=f"save 2 kB after taking the field, {_PEOPLE} people, {_SAVES} a second each",
        contender=name,
        unit="save",
        per_second=len(edited.saves) / edited.seconds,
        p50_ms=percentile(edited.saves, 50) * 1000,
        p99_ms=percentile(edited.saves, 99) * 1000,
        note=f"taking it: p50 {acquires[0]:.2f}, p99 {acquires[1]:.2f} ms; {len(edited.saves)} saves",
    )


def _judge(report: Report, name: str, flood: _Flood) -> None:
    sent = flood.sent
    rate = sent.lines / sent.seconds / _RATE
    report.judge(f"{_RATE:,} console lines/s in ({name})", "at least 0.99 of them", rate, least=0.99, show="{:.2f}")
    wrong = f"of them lost, changed or out of order, {len(flood.seen)} watchers"
    report.judge(wrong, "none", flood.wrong, most=0, show="{:.0f}")


def _fan_out(bench: Bench) -> None:
    """Lines to many watchers, next to a message for each line."""
    case, foundry, rounds = f"console to {_WATCHERS} watchers", bench.foundry, bench.scale.rounds
    seconds = bench.scale.seconds
    with World(foundry) as world:
        project = world.project(members=11)
    with (
        Worker(FloorWatchers, bench.floor.pid, _WATCHERS, bench.floor.address) as floor_watchers,
        Worker(FloorProducer, bench.floor.pid, bench.floor.address) as floor_producer,
    ):
        floor_watchers.do("prepare")
        floor_producer.do("prepare")
        seen: list[Seen] = []
        for _ in range(rounds):
            floor_watchers.do("start")
            made = floor_producer.do("flood", seconds)
            until = time.monotonic() + _PATIENCE_S
            while floor_watchers.do("read_so_far") < made * _WATCHERS:
                if time.monotonic() > until:
                    raise RuntimeError("the watchers of the floor did not read everything")
                time.sleep(0.01)  # polled: a worker answers only when it is asked
            seen.append(floor_watchers.do("stop"))
    floor_us = min(each.cpu_seconds / each.events for each in seen) * 1e6
    bench.report.rows.append(
        Row(
            case=case,
            contender="floor, each line a message",
            unit="line delivered",
            per_second=statistics.median(each.events / each.seconds for each in seen),
            p50_ms=statistics.median(percentile(each.lags, 50) for each in seen) * 1000,
            p99_ms=statistics.median(percentile(each.lags, 99) for each in seen) * 1000,
            cpu_us=floor_us,
            busy=max(each.cpu_seconds / each.seconds for each in seen),
        )
    )
    watching = (ConsoleWatchers, foundry.pid, _WATCHERS, foundry.address, project.project_id, project.tokens[2:])
    producing = (Producer, foundry.pid, foundry.address, project.project_id, project.tokens[1])
    with Worker(*watching) as watchers, Worker(*producing) as producer:
        watchers.do("prepare")
        producer.do("prepare")
        _flood(bench, producer, watchers, (min(1.0, seconds), _RATE, _PER_MESSAGE))
        # More seconds where the lag is judged: a 99th percentile of few messages is one of them.
        paced = [_flood(bench, producer, watchers, (2 * seconds, _RATE, _PER_MESSAGE)) for _ in range(rounds)]
        burst = [_flood(bench, producer, watchers, (seconds, 0, _PER_MESSAGE)) for _ in range(rounds)]
    bench.report.rows.append(_fanned(case, f"{_RATE:,} lines a second", paced))
    bench.report.rows.append(_fanned(case, "flood", burst))
    lag = statistics.median(percentile(flood.lags, 99) for flood in paced) * 1000
    cost = _delivery_us(burst)
    judge = bench.report.judge
    judge(
        f"{_RATE:,} console lines/s to {_WATCHERS} watchers, lag (p99)", "under 100 ms", lag, most=100, show="{:.0f} ms"
    )
    wrong = sum(flood.wrong for flood in (*paced, *burst))
    judge("of them lost, changed or out of order", "none", wrong, most=0, show="{:.0f}")
    judge("CPU of a line delivered to them", f"at most {_LINE_US} us", cost, most=_LINE_US, show="{:.2f} us")
    share = cost / floor_us
    judge(
        "the same, to a line in a message of its own",
        f"at most {_FLOOR_SHARE}",
        share,
        most=_FLOOR_SHARE,
        show="{:.3f}",
    )


def _delivery_us(floods: Sequence[_Flood]) -> float:
    return min(flood.cpu_seconds / flood.delivered for flood in floods) * 1e6


def _fanned(case: str, name: str, floods: Sequence[_Flood]) -> Row:
    frames = [received.lines / received.frames for flood in floods for received in flood.seen]
    rate = statistics.median(flood.sent.lines / flood.sent.seconds for flood in floods)
    return Row(
        case=case,
        contender=name,
        unit="line delivered",
        per_second=statistics.median(flood.delivered / flood.seconds for flood in floods),
        p50_ms=statistics.median(percentile(flood.lags, 50) for flood in floods) * 1000,
        p99_ms=statistics.median(percentile(flood.lags, 99) for flood in floods) * 1000,
        cpu_us=_delivery_us(floods),
        busy=max(flood.cpu_seconds / flood.seconds for flood in floods),
        note=f"{rate:,.0f} lines/s in, {statistics.median(frames):.0f} lines a message",
    )
