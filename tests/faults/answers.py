"""What the clients were told, against each other (C2: I10, I11, C3) and against the log (I9, B8).

C2 and C3 trust nothing that the server stored, so they also catch a server whose log lies consistently.
"""

from __future__ import annotations

from bisect import bisect_left
from math import inf
from typing import TYPE_CHECKING, Final

from tests.faults.history import merged
from tests.faults.linear import events_of, explain

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from tests.faults.entries import Entry
    from tests.faults.history import History, Operation
    from tests.faults.replay import Replay
    from tests.faults.report import Report

#: Releases by the server alone, which no operation of a client explains.
_BY_THE_SERVER: Final = {"IDLE", "FREEZE", "ACCESS_LOST", "TRANSFERRED"}

#: As what the log knows an operation that gives a lock back.
_REASONS: Final = {"save": "SAVE", "release": "CANCEL", "break": "FORCED"}


def check_token_order(history: History, report: Report) -> None:
    """C2 for I10: tokens rise in real time, and nothing is saved under a token that is known to be over."""
    leaves = {it.session_id: it.return_ns for it in history.operations if it.kind == "leave" and it.ok}
    for name, operations in history.by_field().items():
        over = _Over(_grants(name, operations, report), operations)
        for it in operations:
            report.counts["operations"] += 1
            if it.kind not in {"save", "touch"} or not it.ok or not it.session_id:
                continue
            report.counts["saves"] += it.kind == "save"
            until, by = over.since(it.fence)
            if it.call_ns > min(until, leaves.get(it.session_id, inf)):
                text = f"{name}: a {it.kind} under token {it.fence} was called after that token was known to be over"
                report.add("I10", text, it, by)


class _Over:
    """When each token of a field was known to be over: a newer one was given, or it was given back itself."""

    def __init__(self, grants: Iterable[Operation], operations: Iterable[Operation]) -> None:
        ends = [(it.fence - 1, it) for it in grants]
        ends += [(it.fence, it) for it in operations if it.ok and it.frees and it.result.get("certain", True)]
        ends.sort(key=lambda end: end[0])
        self._fences = [fence for fence, _ in ends]
        self._first: list[Operation] = []
        for _, it in reversed(ends):
            self._first.append(min([it, *self._first[-1:]], key=lambda it: it.return_ns))
        self._first.reverse()

    def since(self, fence: int) -> tuple[float, Operation | None]:
        """The time, infinite for never, and the operation that says so."""
        place = bisect_left(self._fences, fence)
        return (self._first[place].return_ns, self._first[place]) if place < len(self._first) else (inf, None)


def _grants(name: str, operations: Sequence[Operation], report: Report) -> list[Operation]:
    """By token, the first acknowledgement of each token; reports tokens that were given twice or fall in real time."""
    grants: dict[int, Operation] = {}
    for it in operations:
        if not it.ok or it.kind not in {"acquire", "save"} or (it.kind == "save" and it.session_id) or not it.fence:
            continue
        earlier = grants.get(it.fence)
        if earlier and (earlier.holder != it.holder or "save" in {earlier.kind, it.kind}):
            report.add("I10", f"{name}: token {it.fence} was given to two holders", earlier, it)
        if earlier is None or it.return_ns < earlier.return_ns:
            grants[it.fence] = it
    ordered = [grants[fence] for fence in sorted(grants)]
    newest: Operation | None = None
    for it in ordered:
        if newest and it.return_ns < newest.call_ns:
            report.add(
                "I10", f"{name}: token {newest.fence} was asked for after token {it.fence} was given", newest, it
            )
        if newest is None or it.call_ns > newest.call_ns:
            newest = it
    return ordered


def check_demotions(history: History, report: Report) -> None:
    """I11: who has taken a lock for lost does not save under it, unless the server confirmed it since.

    A save that was called before and is asked for again, since its outcome is not known, is that same save.
    """
    operations = merged(history.operations)
    for process, notes in history.notes.items():
        doubts: dict[tuple[str, int], list[list[float]]] = {}
        for note in notes:
            if note.kind not in {"demoted", "regained"}:
                continue
            report.counts["demotions"] += note.kind == "demoted"
            spans = doubts.setdefault((note.data["field"], note.data["fence"]), [])
            if note.kind == "demoted":
                spans.append([note.ns, inf])
            elif spans:
                spans[-1][1] = note.ns
        for it in operations:
            if it.process != process or it.kind != "save" or not it.ok or it.args.get("deliberate"):
                continue
            for begin, end in doubts.get((it.field, it.fence), []):
                if begin < it.call_ns < end:
                    report.add("I11", f"{process} saved {it.field} under token {it.fence}, which it took for lost", it)


def check_orders(history: History, report: Report, state: Replay | None = None) -> None:
    """C3: one order of the operations on each field explains all their answers."""
    ended = history.ended_sessions()
    for name, operations in history.by_field().items():
        report.counts["fields"] += 1
        broken = {it.fence for it in operations if it.kind == "break"}
        revoked = [
            (grant.session_id, grant.fence)
            for grant in (state.grants.values() if state else ())
            if grant.field == name
            and (
                grant.release_reason in _BY_THE_SERVER
                or (grant.release_reason == "FORCED" and grant.fence not in broken)
            )
        ]
        verdict = explain(events_of(operations, ended, revoked))
        if verdict.explained is None:
            report.add("C3", f"{name}: the search for an order was given up", len(operations))
        elif not verdict.explained:
            shown = [it.of or it for it in [*verdict.longest[-3:], *verdict.stuck[:6]]]
            report.add("C3", f"{name}: no order explains these answers", *shown)


def check_saves(history: History, entries: Iterable[Entry], report: Report) -> None:
    """I9: an acknowledged save is in the log once and as it was acknowledged, a refused one is not."""
    logged: dict[str, list[Entry]] = {}
    for entry in entries:
        if entry.event == "draft_created" and entry.request_id:
            logged.setdefault(entry.request_id, []).append(entry)
    for request_id, found in logged.items():
        if len(found) > 1:
            report.add("I9", f"request {request_id} made {len(found)} versions", *found)
    undecided = {it.request_id for it in history.operations if it.kind == "save" and it.outcome == "unknown"}
    for it in merged(history.operations):
        if it.kind == "save" and it.ok and it.request_id:
            report.counts["acknowledged saves"] += 1
            _check_acknowledged(it, logged.get(it.request_id, []), report)
        elif it.kind == "save" and it.outcome == "refused" and it.request_id not in undecided:
            for entry in logged.get(it.request_id, []):
                report.add("I9", f"a save of {it.field} that was refused with {it.reason} is in the log", it, entry)


def _check_acknowledged(it: Operation, found: Sequence[Entry], report: Report) -> None:
    told = int(it.result.get("version") or 0)  # 0 when it changed nothing
    if bool(found) != bool(told):
        report.add("I9", f"a save of {it.field} was acknowledged as version {told}; the log differs", it, *found)
    elif found and (_shown(found[0], it.field) != (told, it.fence) or found[0].session_id != it.holder):
        report.add("I9", f"a save of {it.field} is in the log otherwise than acknowledged", it, found[0])


def _shown(entry: Entry, name: str) -> tuple[int, int]:
    """Version and token under which an entry changed a field."""
    fences = {change["field"]: change["fencing_token"] for change in entry.data["changed_fields"]}
    return entry.data["version_number"], fences.get(name, 0)


def check_acknowledgements(history: History, state: Replay, report: Report) -> None:
    """B8: what a client was told of a grant and of its end is what the log tells."""
    for it in history.operations:
        if not it.ok or not it.field or not it.fence or not it.result.get("certain", True):
            continue
        grant = state.grants.get((it.field, it.fence))
        if grant is None or (it.kind != "break" and it.holder != grant.session_id):
            report.add("B8", f"the log knows nothing of token {it.fence} of {it.field} for its holder", it, grant)
        elif it.frees and grant.release_reason != _REASONS[it.kind]:
            why = f"ended as {grant.release_reason}" if grant.end else "still held"
            report.add(
                "B8", f"{it.field} was given back by {it.kind} under token {it.fence}; the log: {why}", it, grant
            )
