"""C4: how long locks outlive what they belong to (I7, I8), and that nobody loses one without cause (I14)."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from tests.faults.entries import Entry
    from tests.faults.history import History
    from tests.faults.replay import Grant, Replay
    from tests.faults.report import Report

#: Seconds within which the locks of a session are free, its grace not counted, by why it went.
BOUND_S: Final = {"leave": 1.0, "stream end": 1.0, "contact lost": 16.0, "replica dead": 12.0}

#: Endings of a session that its client did not ask for.
_INVOLUNTARY = {"STREAM_GONE", "HEARTBEAT", "REPLICA_DEAD", "SERVER_RESTART", "DB_FAILOVER"}

#: Endings that contradict a stream on which they are told: it was there to tell of them.
_STREAMLESS = {"STREAM_GONE", "REPLICA_DEAD", "SERVER_RESTART"}


@dataclass(frozen=True, slots=True)
class Departure:
    """A session went, or nothing is heard of it any more.

    Attributes:
        cause: A key of ``BOUND_S``.
        ns: When that happened, by the clock of the recordings.
        grace_s: What the session had asked for.
    """

    session_id: str
    cause: str
    ns: float
    grace_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Calm:
    """Sessions that are live and reachable throughout a fault which they are not party to."""

    session_ids: frozenset[str]
    begin_ns: float
    end_ns: float
    fault: str


class Times:
    """When entries were committed, by the clock of the recordings, nanoseconds: not before this, and seldom later.

    An entry says so itself, by the wall clock of the database. Where that was stepped, the first client that received
    the entry has to do, though there may have been nobody to receive it for a while.
    """

    def __init__(self, history: History, *, steady: bool) -> None:
        self._offset_ns = history.wall_offset_ns
        self._steady = steady
        self._received: dict[int, float] = {}
        for notes in history.notes.values():
            for note in notes:
                if note.kind == "entry":
                    sequence = note.data["sequence"]
                    self._received[sequence] = min(note.ns, self._received.get(sequence, note.ns))

    def of(self, entry: Entry) -> float:
        """When an entry was committed."""
        said, received = float(entry.time_us * 1_000 - self._offset_ns), self._received.get(entry.sequence, inf)
        return min(said, received) if self._steady or received == inf else received


def check_departures(
    history: History,
    entries: Sequence[Entry],
    state: Replay,
    report: Report,
    *,
    departures: Iterable[Departure] = (),
    outages: Sequence[tuple[float, float]] = (),
    steady: bool = True,
    slack_s: float = 0.0,
) -> None:
    """I8: no lock outlives its session by more than its bound. Sessions that were resumed in between do not count.

    Args:
        departures: Beside those that the recordings tell of: ``leave``.
        outages: Times at which the database was away, from and to, nanoseconds; they prolong the bounds.
        steady: Whether no wall clock was stepped.
        slack_s: What the machine may add to every bound, seconds.
    """
    times = Times(history, steady=steady)
    # A server that stands still hears of no leave: it is given up, and its sessions with it.
    unheard = {
        entry.data["session_id"]
        for entry in entries
        if entry.event == "session_closed" and entry.data["close_reason"].endswith("_REPLICA_DEAD")
    }
    left = [
        Departure(it.session_id, "replica dead" if it.session_id in unheard else "leave", it.call_ns)
        for it in history.operations
        if it.kind == "leave" and it.ok
    ]
    resumed = [entry for entry in entries if entry.event == "session_resumed"]
    for departure in [*left, *departures]:
        report.counts["departures"] += 1
        back = (entry for entry in resumed if entry.data["session_id"] == departure.session_id)
        if any(times.of(entry) > departure.ns for entry in back):
            continue
        bound_s = BOUND_S[departure.cause] + departure.grace_s + slack_s
        deadline_ns = _prolonged(departure.ns, departure.ns + bound_s * 1e9, outages)
        for grant in state.grants.values():
            if grant.session_id == departure.session_id:
                _check_freed(grant, departure, deadline_ns, times, report)


def _prolonged(begin_ns: float, deadline_ns: float, outages: Sequence[tuple[float, float]]) -> float:
    for begin, end in sorted(outages):
        if begin < deadline_ns and end > begin_ns:
            deadline_ns += end - max(begin, begin_ns)
    return deadline_ns


def _check_freed(grant: Grant, departure: Departure, deadline_ns: float, times: Times, report: Report) -> None:
    freed_ns = times.of(grant.end) if grant.end else None
    if freed_ns is not None and freed_ns < departure.ns:
        return
    what = f"{grant.field} under token {grant.fence} after {departure.cause}"
    if freed_ns is None:
        report.add("I8", f"{what}: still held", departure, grant.begin)
        return
    seconds = (freed_ns - departure.ns) / 1e9
    report.measure(f"free after {departure.cause}", seconds)
    if freed_ns > deadline_ns:
        report.add("I8", f"{what}: free only after {seconds:.3f} s", departure, grant.end)


def check_quiet(
    state: Replay, report: Report, *, live_sessions: Collection[str], rows: Sequence[Mapping[str, Any]] | None = None
) -> None:
    """I7: when all is quiet, no open lock belongs to a session without a live stream.

    Args:
        live_sessions: The sessions whose streams are live.
        rows: The field rows (``name``, ``fence``, ``session_id``) as the database shows them, if it was asked.
    """
    for name, grant in state.held.items():
        report.counts["locks held at the end"] += 1
        if grant.session_id not in live_sessions:
            report.add("I7", f"{name} is held by {grant.session_id}, which has no live stream", grant.begin)
    for row in rows or ():
        if row["session_id"] and row["session_id"] not in live_sessions:
            report.add("I7", f"the row of {row['name']} shows {row['session_id']}, which has no live stream", dict(row))


def check_calm(
    history: History, entries: Iterable[Entry], report: Report, *, calms: Iterable[Calm] = (), steady: bool = True
) -> None:
    """I14: a live, reachable client loses no lock during a fault that it is not party to.

    Where nobody says which clients those are, one thing still gives it away: a session that is told on its own stream
    that its stream is gone.
    """
    times = Times(history, steady=steady)
    lost = [entry for entry in entries if _lost(entry) in _INVOLUNTARY]
    for calm in calms:
        report.counts["calm sessions"] += len(calm.session_ids)
        for entry in lost:
            if entry.data["session_id"] in calm.session_ids and calm.begin_ns <= times.of(entry) <= calm.end_ns:
                report.add("I14", f"{entry.data['session_id']} lost a lock or itself during {calm.fault}", entry, calm)
    streamless = {entry.sequence: entry.data["session_id"] for entry in lost if _lost(entry) in _STREAMLESS}
    for process, notes in history.notes.items():
        current = ""
        for note in notes:
            if note.kind == "opened":
                current = note.session_id
            elif note.kind == "entry" and current and streamless.get(note.data["sequence"]) == current:
                report.add("I14", f"{process} was told on its own stream that its stream is gone", note)


def _lost(entry: Entry) -> str:
    """Why a lock or a session ended, without the prefix of the contract; empty for other entries."""
    name = {"lock_released": "release_reason", "session_closed": "close_reason"}.get(entry.event)
    return str(entry.data[name]).split("_REASON_")[-1] if name else ""
