"""Defects of runs and their consoles."""

from __future__ import annotations

from typing import Final

from tests.faults.defects.defect import Defect, Edit

_SEALING: Final = "tests/managers/test_sealing.py::test_a_run_that_becomes_longer_whenever_it_is_read_is_sealed"

DEFECTS: Final = (
    Defect(
        "flood-outruns-its-end",
        "A test gone wild cannot be cancelled while it writes.",
        (Edit("managers/runs.py", "replace(needs, console=(run_id, hashed_lines))", "needs"),),
        (_SEALING,),
    ),
    Defect(
        "sealed-without-the-last-lines",
        "A digest leaves out what came in while it was made.",
        (Edit("managers/runs.py", "                digest.update(data)\n", ""),),
        (_SEALING,),
    ),
    Defect(
        "sealed-without-lines-of-the-same-transaction",
        "A run is sealed with fewer lines than were stored before its end.",
        (
            Edit(
                "store/shelf.py",
                "            raise NotCoveredError  # it has become longer\n",
                "            pass\n",
            ),
            Edit(
                "managers/runs.py",
                "            if run.line_count != line_count:\n",
                "            if run.line_count < line_count:\n",
            ),
        ),
        (_SEALING,),
    ),
)
