"""Defects of batches: operations of one transaction that do not see each other, or are written in the wrong order."""

from __future__ import annotations

from typing import Final

from tests.faults.defects.defect import Defect, Edit

_MISSING: Final = "tests/faults/defects/test_missing.py"
_SHELF: Final = "tests/store/test_shelf.py"

DEFECTS: Final = (
    Defect(
        "release-written-before-its-change",
        "The database finds no lock under a change, and an honest save fails.",
        (
            Edit("store/drafts.py", "(row, field, grant)))", "(row, grant)))"),
            Edit(
                "store/flush.py",
                "            if key in rested:\n                level = max(level, rested[key] + 1)\n",
                "",
            ),
        ),
        (f"{_MISSING}::test_a_lock_is_released_behind_the_change_that_was_made_under_it",),
    ),
    Defect(
        "writes-in-no-order",
        "Rows are written before those that they rest on.",
        (Edit("store/flush.py", "        groups[level, write.statement]", "        groups[0, write.statement]"),),
        ("tests/service/test_save.py::test_a_save_within_a_session_releases_the_locks_of_its_fields",),
    ),
    Defect(
        "shelf-forgets-heads",
        "The second operation of a batch takes the numbers of the first.",
        (Edit("store/shelf.py", "        self._heads |= rows.heads\n", ""),),
        ("tests/store/test_lane.py::test_an_operation_sees_what_those_before_it_wrote",),
    ),
    Defect(
        "shelf-forgets-fields",
        "Of two who acquire a field in one batch both are told yes.",
        (
            Edit(
                "store/shelf.py",
                "            self._fields[project_id][name] = rows.fields[name]\n",
                "            pass\n",
            ),
        ),
        (f"{_SHELF}::test_a_field_has_one_holder_within_a_batch",),
    ),
    Defect(
        "shelf-forgets-sessions",
        "A session that a batch has resumed is closed by a late teardown in the same batch.",
        (Edit("store/shelf.py", "        self._sessions |= rows.sessions\n", ""),),
        (f"{_SHELF}::test_a_session_that_was_resumed_before_it_is_not_closed_by_a_late_teardown",),
    ),
    Defect(
        "shelf-forgets-answers",
        "A request that is repeated while the first is on its way is done twice.",
        (
            Edit(
                "store/shelf.py",
                "            self._answers[_request(needs.request)] = rows.answer\n",
                "            pass\n",
            ),
        ),
        (f"{_SHELF}::test_a_request_that_comes_twice_in_one_batch_is_done_once",),
    ),
    Defect(
        "refusal-is-kept",
        "What a refused operation has staged is written with the others.",
        (
            Edit(
                "store/lane.py",
                "                outcomes.append(_Outcome(error=error))\n                continue\n",
                "                outcomes.append(_Outcome(error=error))\n                result = None\n",
            ),
        ),
        ("tests/store/test_lane.py::test_a_failure_is_its_own_operations_alone",),
    ),
)
