"""C4, C6 and I13 on logs, rows and samples made by hand: how long locks live on, and what other stores say of them."""

from __future__ import annotations

import pytest

from tests.faults.bounds import Calm, Departure, check_calm, check_departures, check_quiet
from tests.faults.forged import Log, heard, held_until, history_of, log_of_one_save, note, operation
from tests.faults.mirror import Sample, check_mirror
from tests.faults.replay import replay
from tests.faults.report import Report
from tests.faults.tables import Tables, check_tables

S = 1e9

# --- C4: I7, I8, I14 ---


@pytest.mark.parametrize(
    ("broken", "log", "departure", "outages"),
    [
        (False, held_until(900_000), Departure("a", "stream end", 0.1 * S), ()),
        (True, held_until(None), Departure("a", "stream end", 0.1 * S), ()),
        (False, held_until(None, resumed_us=200_000), Departure("a", "replica dead", 0.1 * S), ()),
        (True, held_until(None, resumed_us=50_000), Departure("a", "replica dead", 0.1 * S), ()),
        (True, held_until(900_000), Departure("a", "stream end", -0.2 * S), ()),
        (False, held_until(900_000), Departure("a", "stream end", -0.2 * S, grace_s=1.0), ()),
        (False, held_until(900_000), Departure("a", "stream end", -0.2 * S), ((0.0, 0.2 * S),)),
        (True, held_until(900_000), Departure("a", "stream end", -0.2 * S), ((5 * S, 9 * S),)),
        (False, held_until(50_000), Departure("a", "stream end", 0.1 * S), ()),
        (False, held_until(900_000), Departure("b", "stream end", -9 * S), ()),
    ],
)
def test_no_lock_outlives_its_session_for_longer_than_its_bound(
    broken: bool, log: Log, departure: Departure, outages: tuple[tuple[float, float], ...]
) -> None:
    """I8: by cause, with the grace and the time that the database was away on top; resumed sessions live on."""
    report = Report()
    state = replay(log.entries, Report())
    check_departures(history_of(), log.entries, state, report, departures=[departure], outages=outages)
    assert report.broken == ({"I8"} if broken else set()), report.summary()


def test_the_time_to_a_free_field_is_measured_where_it_is_seen() -> None:
    """I8: from the leave that a client recorded to when anybody is told, if the wall clock says anything at all."""
    log = held_until(300_000)
    notes = [note("entry", 0.5 * S, "b", epoch=1, sequence=3, leaf=log.entries[2].leaf)]
    report = Report()
    history = history_of(operation("leave", 0.2 * S, 0.3 * S, "a"), *notes)
    check_departures(history, log.entries, replay(log.entries, Report()), report, steady=False)
    assert not report.violations
    assert report.figures == {"free after leave": [pytest.approx(0.3)]}
    assert "free after leave: 1 times, median 0.300 s, longest 0.300 s" in report.summary()


@pytest.mark.parametrize(
    ("broken", "reason", "left_s"),
    [(True, "LEAVE", -2.0), (False, "REPLICA_DEAD", -2.0), (True, "REPLICA_DEAD", -13.0)],
)
def test_whom_a_server_that_stands_still_did_not_hear_leave_is_let_go_with_it(
    broken: bool, reason: str, left_s: float
) -> None:
    """I8: within the bound of a dead server, though its client said that it leaves."""
    log = held_until(300_000)
    log.closed("a", reason, us=300_000)
    report = Report()
    left = operation("leave", left_s * S, (left_s + 2.0) * S, "a")
    check_departures(history_of(left), log.entries, replay(log.entries, Report()), report)
    assert report.broken == ({"I8"} if broken else set()), report.summary()


def test_when_all_is_quiet_locks_belong_to_live_sessions() -> None:
    """I7: by the log, and by the rows of the database."""
    state = replay(held_until(None).entries, Report())
    report = Report()
    check_quiet(state, report, live_sessions={"a"}, rows=[{"name": "f", "fence": 1, "session_id": "a"}])
    assert not report.violations
    check_quiet(state, report, live_sessions={"b"})
    assert report.broken == {"I7"}
    report = Report()
    check_quiet(replay([], Report()), report, live_sessions=(), rows=[{"name": "f", "fence": 1, "session_id": "a"}])
    assert report.broken == {"I7"}


@pytest.mark.parametrize(
    ("broken", "calm"),
    [
        (True, Calm(frozenset({"a"}), 0.0, 1 * S, "the end of Redis")),
        (False, Calm(frozenset({"b"}), 0.0, 1 * S, "the end of Redis")),
        (False, Calm(frozenset({"a"}), 0.6 * S, 1 * S, "the end of Redis")),
    ],
)
def test_nobody_loses_a_lock_by_a_fault_of_others(broken: bool, calm: Calm) -> None:
    """I14: of the sessions that were live and reachable, during that fault."""
    log = held_until(500_000)
    report = Report()
    check_calm(history_of(), log.entries, report, calms=[calm])
    assert report.broken == ({"I14"} if broken else set())


def test_a_session_is_not_told_on_its_own_stream_that_its_stream_is_gone() -> None:
    """I14: then it is an older stream whose end was taken for that of the session. Of others one may be told so."""
    log = held_until(500_000)
    report = Report()
    check_calm(history_of(*heard(log, session_id="a")), log.entries, report)
    assert report.broken == {"I14"}
    report = Report()
    check_calm(history_of(*heard(log, session_id="b")), log.entries, report)
    assert not report.violations


# --- I13 ---


def sample(
    s: float, fence: int, before: tuple[int, str], after: tuple[int, str] | None = None, ttl_ms: int = 9_000
) -> Sample:
    return Sample(s * S, "f", "a", fence, ttl_ms, before, after or before)


@pytest.mark.parametrize(
    ("broken", "samples"),
    [
        (False, [sample(0, 1, (1, "a")), sample(60, 1, (1, "a"))]),
        (False, [sample(0, 0, (7, "b"))]),
        (False, [sample(0, 2, (1, ""), (2, "a"))]),
        (True, [sample(0, 2, (1, "a"))]),
        (False, [sample(0, 1, (2, "b")), sample(14, 1, (2, "b"))]),
        (True, [sample(0, 1, (2, "b")), sample(16, 1, (3, ""))]),
        (True, [sample(0, 1, (1, "")), sample(16, 1, (1, ""))]),
        (True, [sample(0, 1, (1, "a"), ttl_ms=-1)]),
        (True, [sample(0, 1, (1, "a"), ttl_ms=16_000)]),
    ],
)
def test_the_mirror_is_never_ahead_and_never_wrong_for_long(broken: bool, samples: list[Sample]) -> None:
    """I13: a key shows no fence that its row has not reached, and a wrong one is gone within its life."""
    report = Report()
    check_mirror(samples, report)
    assert report.broken == ({"I13"} if broken else set())
    assert report.counts["keys sampled"] == len(samples)


# --- C6 ---

FIELD = {"name": "f", "fence": 1, "session_id": None}
GRANT = {"field": "f", "fence": 1, "lock_id": "f/1", "session_id": "a", "subject": "ann", "sequence": 2}
CHANGE = {
    "field": "f",
    "version_number": 1,
    "fence": 1,
    "lock_id": "f/1",
    "session_id": "a",
    "subject": "ann",
    "sequence": 3,
    "grant_sequence": 2,
    "grant_lock_id": "f/1",
    "grant_session_id": "a",
    "grant_subject": "ann",
}


@pytest.mark.parametrize(
    ("broken", "field", "grant", "change"),
    [
        (None, {}, {}, {}),
        ("I2", {"session_id": "a"}, {}, {}),
        ("I2", {"fence": 2}, {}, {}),
        ("I3", {}, {"fence": 2}, {}),
        ("I3", {}, {"session_id": "b"}, {}),
        ("I3", {}, {"sequence": 1}, {}),
        ("I5", {}, {}, {"grant_sequence": None}),
        ("I5", {}, {}, {"subject": "ben"}),
        ("I5", {}, {}, {"sequence": 1}),
        ("I5", {}, {}, {"sequence": 5}),
    ],
)
def test_the_tables_tell_what_the_log_tells(
    broken: str | None, field: dict[str, object], grant: dict[str, object], change: dict[str, object]
) -> None:
    """C6: rows and log show the same holders, and every change lies inside the grant that it names."""
    report = Report()
    tables = Tables([FIELD | field], [GRANT | grant], [CHANGE | change])
    check_tables(tables, replay(log_of_one_save().entries, Report()), report)
    assert report.broken == ({broken} if broken else set()), report.summary()
