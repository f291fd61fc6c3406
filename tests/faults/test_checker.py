"""The other checks, on histories made by hand: of each invariant one that keeps it and some that break it."""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING

import pytest

from tests.faults.answers import (
    check_acknowledgements,
    check_demotions,
    check_orders,
    check_saves,
    check_token_order,
)
from tests.faults.bounds import Departure
from tests.faults.broadcast import check_broadcast
from tests.faults.checker import Circumstances, check
from tests.faults.forged import Log, heard, held_until, history_of, log_of_one_save, note, operation
from tests.faults.mirror import Sample
from tests.faults.replay import replay
from tests.faults.report import Report
from tests.faults.tables import Tables

if TYPE_CHECKING:
    from tests.faults.history import Note, Operation


def acquired(begin: float, end: float | None, session_id: str, fence: int, **more: object) -> Operation:
    return operation("acquire", begin, end, session_id, field="f", granted=fence, **more)  # type: ignore[arg-type]


def saved(begin: float, end: float | None, session_id: str, fence: int, **more: object) -> Operation:
    return operation("save", begin, end, session_id, field="f", fence=fence, **more)  # type: ignore[arg-type]


def released(begin: float, end: float | None, session_id: str, fence: int, **more: object) -> Operation:
    return operation("release", begin, end, session_id, field="f", fence=fence, **more)  # type: ignore[arg-type]


HANDED_OVER = (acquired(0, 1, "a", 1), released(2, 4, "a", 1), acquired(3, 5, "b", 2))


# --- C2: I10 and I11 ---


@pytest.mark.parametrize(
    ("broken", "parts"),
    [
        (False, (*HANDED_OVER, saved(1, 9, "a", 1))),
        (False, (*HANDED_OVER, saved(3.5, None, "a", 1))),
        (False, (*HANDED_OVER, saved(6, 7, "a", 1, reason="LOCK_LOST"))),
        (True, (*HANDED_OVER, saved(6, 7, "a", 1))),
        (True, (acquired(0, 1, "a", 1), released(2, 3, "a", 1), saved(4, 5, "a", 1))),
        (True, (acquired(0, 1, "a", 1), saved(2, 3, "a", 1), saved(4, 5, "a", 1))),
        (False, (acquired(0, 1, "a", 1), saved(2, 3, "a", 1, keep=True), saved(4, 5, "a", 1))),
        (True, (acquired(0, 1, "a", 1), operation("leave", 2, 3, "a"), saved(4, 5, "a", 1))),
        (True, (acquired(0, 1, "a", 1), operation("break", 2, 3, field="f", fence=1), saved(4, 5, "a", 1))),
        (True, (acquired(0, 1, "a", 1), acquired(2, 3, "b", 1))),
        (False, (acquired(0, 1, "a", 1), acquired(2, 3, "a", 1))),
        (True, (acquired(0, 1, "a", 2), acquired(2, 3, "b", 1))),
        (False, (acquired(0, 3, "a", 2), acquired(2, 4, "b", 1))),
    ],
)
def test_a_token_that_is_known_to_be_over_saves_nothing(broken: bool, parts: tuple[Operation, ...]) -> None:
    """I10, by what clients were told alone: of a newer grant, a release, a leave; and no token is given twice."""
    report = Report()
    check_token_order(history_of(*parts), report)
    assert report.broken == ({"I10"} if broken else set()), report.summary()


def test_a_repeated_save_was_called_when_it_was_first_called() -> None:
    """I10: an acknowledgement that comes by a repetition, long after the lock is over, is no stale save."""
    first = saved(1, None, "a", 1, request_id="r")
    again = saved(8, 9, "a", 1, request_id="r")
    report = Report()
    check_token_order(history_of(*HANDED_OVER, first, again), report)
    assert not report.violations, report.summary()


@pytest.mark.parametrize(
    ("broken", "save", "regained"),
    [
        (False, saved(1, 5, "a", 1), None),
        (True, saved(3, 5, "a", 1), None),
        (False, saved(3, 5, "a", 1, reason="LOCK_LOST"), None),
        (False, saved(3, 5, "a", 1, deliberate=True), None),
        (False, saved(5, 6, "a", 1), 4),
        (True, saved(3, 6, "a", 1), 4),
        (False, saved(3, 5, "a", 2), None),
    ],
)
def test_who_takes_a_lock_for_lost_does_not_save_under_it(
    broken: bool, save: Operation, regained: float | None
) -> None:
    """I11: unless it was called before, or the server confirmed the lock since, or it was done on purpose."""
    notes = [note("demoted", 2, "a", field="f", fence=1)]
    if regained is not None:
        notes.append(note("regained", regained, "a", field="f", fence=1))
    report = Report()
    check_demotions(history_of(save, *notes), report)
    assert report.broken == ({"I11"} if broken else set())
    assert report.counts["demotions"] == 1


def test_asking_again_for_a_save_called_before_is_no_save_under_a_lost_lock() -> None:
    """I11: the outcome was not known, and the repetition under the same request id is that same save."""
    first, again = saved(1, None, "a", 1, request_id="r"), saved(3, 4, "a", 1, request_id="r")
    report = Report()
    check_demotions(history_of(first, again, note("demoted", 2, "a", field="f", fence=1)), report)
    assert not report.broken


# --- C3 ---


@pytest.mark.parametrize(
    ("broken", "parts"),
    [
        (False, HANDED_OVER),
        (True, (acquired(0, 1, "a", 1), acquired(2, 3, "b", 2))),
        (False, (acquired(0, 1, "a", 1), operation("leave", 1, 9, "a"), acquired(2, 3, "b", 2))),
        (False, (acquired(0, 1, "a", 1), note("gone", 9, "a"), acquired(2, 3, "b", 2))),
        (True, (acquired(0, 1, "a", 1), note("gone", 9, "a"), acquired(2, 3, "b", 2), saved(4, 5, "a", 1))),
        (False, (acquired(0, 1, "a", 1), released(1, None, "a", 1), acquired(2, 3, "b", 2))),
        (False, (acquired(0, None, "a", 0), acquired(2, 3, "b", 2), note("gone", 9, "a"))),
        (False, (acquired(0, None, "a", 0), acquired(2, 3, "b", 2))),
        (True, (acquired(0, 1, "a", 1), released(2, 3, "a", 1), acquired(4, 5, "b", 2, reason="LOCK_HELD"))),
        (False, (operation("save", 0, 1, field="f", granted=1, held_by="u"), acquired(2, 3, "b", 2))),
        (True, (acquired(0, 1, "b", 1), operation("save", 2, 3, field="f", granted=2, held_by="u"))),
    ],
)
def test_one_order_explains_all_answers(broken: bool, parts: tuple[Operation | Note, ...]) -> None:
    """C3: a lock that changes hands needs somebody who may have let go of it, in time."""
    report = Report()
    check_orders(history_of(*parts), report)
    assert report.broken == ({"C3"} if broken else set()), report.summary()
    assert report.counts["fields"] == 1


def test_the_end_of_a_lost_process_frees_its_locks() -> None:
    """C3: nobody knows when its session ended; it was after its last answer."""
    parts = (acquired(0, 1, "a", 1, process="dead"), acquired(2, 3, "b", 2))
    report = Report()
    check_orders(history_of(*parts, lost={"dead": 1.0}), report)
    assert not report.violations
    check_orders(history_of(*parts), report)
    assert report.broken == {"C3"}


def test_a_release_by_the_server_alone_is_taken_from_the_log() -> None:
    """C3: of idle locks no client says that they are over."""
    log = Log()
    log.opened("a")
    log.acquired("f", 1, "a")
    log.released("f", 1, "a", "IDLE")
    report = Report()
    history = history_of(acquired(0, 1, "a", 1), acquired(2, 3, "b", 2))
    check_orders(history, report, replay(log.entries, Report()))
    assert not report.violations, report.summary()


# --- I9 and B8 ---


@pytest.mark.parametrize(
    ("broken", "save", "request_id"),
    [
        (False, saved(0, 1, "a", 1, request_id="r", version=1), "r"),
        (False, saved(0, None, "a", 1, request_id="r"), "r"),
        (False, saved(0, None, "a", 1, request_id="r"), "other"),
        (False, saved(0, 1, "a", 1, request_id="r", reason="LOCK_LOST"), "other"),
        (False, saved(0, 1, "a", 1, request_id="r", version=0), "other"),
        (True, saved(0, 1, "a", 1, request_id="r", version=1), "other"),
        (True, saved(0, 1, "a", 1, request_id="r", version=2), "r"),
        (True, saved(0, 1, "a", 2, request_id="r", version=1), "r"),
        (True, saved(0, 1, "b", 1, request_id="r", version=1), "r"),
        (True, saved(0, 1, "a", 1, request_id="r", version=0), "r"),
        (True, saved(0, 1, "a", 1, request_id="r", reason="LOCK_LOST"), "r"),
    ],
)
def test_a_save_is_in_the_log_as_it_was_answered(broken: bool, save: Operation, request_id: str) -> None:
    """I9: acknowledged, once and as acknowledged; refused, not at all; unknown, either way."""
    report = Report()
    check_saves(history_of(save), log_of_one_save(request_id).entries, report)
    assert report.broken == ({"I9"} if broken else set())


def test_a_request_makes_one_version() -> None:
    """I9: a request id that stands in the log twice was executed twice."""
    log = log_of_one_save()
    log.saved(2, "f", 1, "a", request_id="r")
    report = Report()
    check_saves(history_of(), log.entries, report)
    assert report.broken == {"I9"}


@pytest.mark.parametrize(
    ("broken", "told"),
    [
        (False, acquired(0, 1, "a", 1)),
        (False, saved(0, 1, "a", 1)),
        (False, saved(0, 1, "a", 1, keep=True)),
        (True, acquired(0, 1, "b", 1)),
        (True, acquired(0, 1, "a", 2)),
        (True, released(0, 1, "a", 1)),
    ],
)
def test_answer_and_log_agree(broken: bool, told: Operation) -> None:
    """B8: a grant that was acknowledged is in the log, and so is its end, by what the client did."""
    report = Report()
    check_acknowledgements(history_of(told), replay(log_of_one_save().entries, Report()), report)
    assert report.broken == ({"B8"} if broken else set())


# --- I12 ---


def test_a_client_that_heard_the_log_breaks_nothing() -> None:
    """I12: from a snapshot, with repeats, over a resume, and to the end where that is demanded."""
    log = log_of_one_save()
    notes = heard(log)
    again = [
        note("opened", 9, "s1", attachment="ATTACHMENT_RESUMED"),
        *notes[-2:],
        note("caught_up", 9, "s1", epoch=1, sequence=4),
    ]
    report = Report()
    check_broadcast(history_of(*notes, *again), log.entries, report, complete=["c"])
    assert not report.violations, report.summary()
    assert report.counts["events"] == 6


def test_a_client_that_came_later_is_shown_the_locks_of_that_time() -> None:
    """B9: the snapshot is the state at its position."""
    log = log_of_one_save()
    notes = heard(log, since=2)
    report = Report()
    check_broadcast(history_of(*notes), log.entries, report)
    assert report.broken == {"B9"}
    notes[1] = note("snapshot", 0, "s1", locks={"f": ["a", 1]})
    report = Report()
    check_broadcast(history_of(*notes), log.entries, report)
    assert not report.violations, report.summary()


@pytest.mark.parametrize(
    "defect", ["gap", "other entry", "beyond", "no snapshot", "before", "silent gap", "epoch", "tail"]
)
def test_what_a_client_heard_that_is_not_the_log_is_reported(defect: str) -> None:
    """I12: gaps, entries that are not the log's, entries of nowhere, and a state that is none."""
    log = log_of_one_save()
    notes = heard(log)
    complete = []
    match defect:
        case "gap":
            del notes[4]
        case "other entry":
            notes[4] = note("entry", 4, "s1", epoch=1, sequence=2, leaf="ff" * 32)
        case "beyond":
            notes.append(note("entry", 9, "s1", epoch=1, sequence=5, leaf="ff" * 32))
        case "no snapshot":
            del notes[1]
        case "before":
            notes.insert(1, notes.pop(3))
        case "silent gap":
            notes[4:] = [note("caught_up", 9, "s1", epoch=1, sequence=4)]
        case "epoch":
            notes[4] = note("entry", 4, "s1", epoch=2, sequence=2, leaf=log.entries[1].leaf)
        case _:
            notes.pop()
            complete = ["c"]
    report = Report()
    check_broadcast(history_of(*notes), log.entries, report, complete=complete)
    assert report.broken == {"I12"}, report.summary()


# --- all of it ---


def test_a_check_that_saw_nothing_is_no_success() -> None:
    """A run whose recordings are empty, or of another project, is reported and not passed."""
    report = check(history_of(), [])
    assert report.broken == {"seen"}
    assert "0 operations were checked" in report.summary()


def test_all_checks_are_made() -> None:
    """Each part of a run that is wrong in its own way is found by the one call."""
    log = held_until(500_000)
    history = history_of(*heard(log, session_id="a")[:-1], acquired(0, 1, "a", 1), acquired(2, 3, "b", 2))
    known = Circumstances(
        tables=Tables([{"name": "f", "fence": 1, "session_id": None}], [], []),
        samples=[Sample(0.0, "f", "a", 2, 9_000, (1, "a"), (1, "a"))],
        live_sessions=(),
        complete=["c"],
        departures=[Departure("a", "stream end", -inf)],
    )
    report = check(history, log.entries, known)
    assert report.broken == {"B8", "C3", "I3", "I8", "I12", "I13", "I14"}, report.summary()
