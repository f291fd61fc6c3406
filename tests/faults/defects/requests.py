"""Defects of repeated requests."""

from __future__ import annotations

from typing import Final

from tests.faults.defects.defect import Defect, Edit

_REPEATED: Final = "tests/service/test_request_ids.py"

DEFECTS: Final = (
    Defect(
        "repetition-is-done-again",
        "A client that heard no answer and asks again saves twice.",
        (
            Edit(
                "store/unit_of_work.py",
                "        if request is None or self._rows.answer is None:\n",
                "        if request is None or self._rows.answer is None or kind:\n",
            ),
        ),
        (f"{_REPEATED}::test_the_same_command_gets_the_first_answer",),
    ),
    Defect(
        "another-command-gets-the-answer",
        "A client that uses an id twice is told that its second command was done.",
        (
            Edit(
                "store/unit_of_work.py",
                "        if command_hash != request.command_hash:\n",
                "        if not command_hash:\n",
            ),
        ),
        (f"{_REPEATED}::test_another_command_under_the_same_id_is_refused",),
    ),
)
