"""Checks a run: what clients recorded, what they received, the log, the tables and the mirror, against the invariants.

    report = check(read_history(paths), [parse_entry(it.entry_bytes) for it in await read_log(foundry, project_id)])
    assert not report.violations, report.summary()

The invariants and the checks bear the names of the design (I1 to I14, C1 to C6, B1 to B10).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.faults.answers import (
    check_acknowledgements,
    check_demotions,
    check_orders,
    check_saves,
    check_token_order,
)
from tests.faults.bounds import check_calm, check_departures, check_quiet
from tests.faults.broadcast import check_broadcast
from tests.faults.mirror import check_mirror
from tests.faults.replay import replay
from tests.faults.report import Report
from tests.faults.tables import check_tables

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from tests.faults.bounds import Calm, Departure
    from tests.faults.entries import Entry
    from tests.faults.history import History
    from tests.faults.mirror import Sample
    from tests.faults.tables import Tables


@dataclass(frozen=True, slots=True, kw_only=True)
class Circumstances:
    """What only whoever ran it knows of a run; whatever is left out is not checked.

    Attributes:
        tables: Rows of the project, read when all was quiet.
        samples: Lock keys beside their rows.
        live_sessions: The sessions whose streams are live at the end, when all is quiet.
        complete: Processes that were live and caught up at the end, by name.
        departures: Sessions that went otherwise than by leaving.
        calms: Sessions that were not party to a fault.
        outages: When the database was away, from and to, nanoseconds by the clock of the recordings.
        steady: Whether no wall clock was stepped; entries tell when they were committed by that of the database.
        slack_s: What the machine may add to every bound, seconds.
    """

    tables: Tables | None = None
    samples: Sequence[Sample] = ()
    live_sessions: Collection[str] | None = None
    complete: Collection[str] = ()
    departures: Sequence[Departure] = ()
    calms: Sequence[Calm] = ()
    outages: Sequence[tuple[float, float]] = ()
    steady: bool = True
    slack_s: float = 0.0


def check(history: History, entries: Sequence[Entry], known: Circumstances | None = None) -> Report:
    """Check a run of one project.

    Args:
        history: The recordings of all clients that worked in the project; one that is missing looks like a defect.
        entries: The project's whole log, in order.
        known: What else is known of the run.
    """
    known = known or Circumstances()
    report = Report()
    state = replay(entries, report)
    check_token_order(history, report)
    check_demotions(history, report)
    check_orders(history, report, state)
    check_saves(history, entries, report)
    check_acknowledgements(history, state, report)
    check_broadcast(history, entries, report, complete=known.complete)
    check_departures(
        history,
        entries,
        state,
        report,
        departures=known.departures,
        outages=known.outages,
        steady=known.steady,
        slack_s=known.slack_s,
    )
    check_calm(history, entries, report, calms=known.calms, steady=known.steady)
    if known.live_sessions is not None:
        rows = known.tables.fields if known.tables else ()
        check_quiet(state, report, live_sessions=known.live_sessions, rows=rows)
    if known.tables:
        check_tables(known.tables, state, report)
    check_mirror(known.samples, report)
    report.demand(entries=1, operations=1, grants=1)
    return report
