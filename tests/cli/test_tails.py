"""Of each console the end is kept, in bounds, however much comes; comments are kept by what the log says of them."""

from __future__ import annotations

from coreason.foundry.v1 import comment_pb2, run_pb2
from foundry.cli.cells import LINE_CHARACTERS
from foundry.cli.remarks import Remarks
from foundry.cli.tails import KEPT_LINES, KEPT_RUNS, Consoles
from tests.cli import recorded
from tests.cli.messages import before


def test_only_the_end_of_a_console_is_kept() -> None:
    consoles = Consoles()
    consoles.see({recorded.RUN_ID: recorded.run()})
    for chunk in range(20):
        texts = (f"line {chunk * 1000 + number}" for number in range(1, 1001))
        consoles.take(recorded.log(*texts, first=chunk * 1000 + 1))
    (tail,) = consoles.running()
    assert tail.run.line_count == 20_000
    assert [line.number for line in tail.lines] == list(range(20_001 - KEPT_LINES, 20_001))


def test_a_long_line_is_kept_only_as_far_as_it_can_be_shown() -> None:
    consoles = Consoles()
    parts = recorded.log("x" * 60_000, "y" * 60_000, "short")
    parts.lines[0].partial = True
    consoles.take(parts)
    (tail,) = consoles.running()
    assert [len(line.text) for line in tail.lines] == [LINE_CHARACTERS, len("short")]
    joined = recorded.log("be", "gun", first=4)
    joined.lines[0].partial = True
    consoles.take(joined)
    assert tail.lines[-1].text == "begun"


def test_only_the_last_finished_runs_are_kept() -> None:
    consoles = Consoles()
    for number in range(20):
        consoles.know(recorded.finished(run_id=f"run-{number}", finish_time=before(minutes=20 - number)))
    assert [tail.run.run_id for tail in consoles.finished()] == [
        f"run-{number}" for number in range(20 - KEPT_RUNS, 20)
    ]
    assert consoles.running() == []


def test_the_state_of_the_session_is_only_read() -> None:
    consoles, run = Consoles(), recorded.run()
    consoles.see({recorded.RUN_ID: run})
    consoles.take(recorded.log("one", finished_run=recorded.finished()))
    assert run == recorded.run()
    assert consoles.finished()[0].run.state == run_pb2.RUN_STATE_PASSED


def test_a_run_whose_end_was_missed_is_known() -> None:
    consoles = Consoles()
    consoles.see({recorded.RUN_ID: recorded.run()})
    assert consoles.unaccounted({recorded.RUN_ID: recorded.run()}) == []
    assert consoles.unaccounted({}) == [recorded.RUN_ID]


def test_open_threads_are_newest_first_and_tasks_open_ones_first() -> None:
    remarks = Remarks()
    done = {"state": comment_pb2.COMMENT_STATE_DONE}
    for it in (
        recorded.comment(1),
        recorded.comment(2, state=comment_pb2.COMMENT_STATE_RESOLVED),
        recorded.comment(3),
        recorded.comment(4, parent_comment_id=recorded.comment(1).comment_id),
        recorded.task(5, "done first", **done, update_time=before(minutes=2)),
        recorded.task(6, "to do"),
        recorded.task(7, "done last", **done, update_time=before(minutes=1)),
    ):
        remarks.take(it)
    assert [it.comment_id for it in remarks.notes()] == [recorded.comment(3).comment_id, recorded.comment(1).comment_id]
    assert [it.text for it in remarks.tasks()] == ["to do", "done last", "done first"]
    assert remarks.replies(recorded.comment(1).comment_id) == 1
    remarks.take(recorded.comment(3, delete_time=before(minutes=1), text=""))
    assert len(remarks.notes()) == 1
    remarks.take(recorded.comment(8, text="x" * 60_000))
    assert len(remarks.notes()[0].text) < 1000
    remarks.keep({recorded.comment(1).comment_id})
    assert [it.comment_id for it in remarks.notes()] == [recorded.comment(1).comment_id]
    assert remarks.tasks() == []
