"""Defects of who may still read."""

from __future__ import annotations

from typing import Final

from tests.faults.defects.defect import Defect, Edit

_FILE: Final = "tests/managers/test_rights.py"

DEFECTS: Final = (
    Defect(
        "lines-overtake-a-removal",
        "Whoever was removed on another server sees lines that were appended later.",
        (
            Edit(
                "managers/console.py",
                "found if found and await self._feed.told(project_id, found.position) else None",
                "found",
            ),
        ),
        (
            f"{_FILE}::test_lines_that_are_appended_on_the_same_server",
            f"{_FILE}::test_lines_that_are_read_from_the_store",
            f"{_FILE}::test_the_end_of_a_run",
        ),
    ),
    Defect(
        "lines-go-out-behind-the-end",
        "A stream that ended while lines were read for it still sends them.",
        (Edit("managers/live.py", "if data and not self.ended.is_set():", "if data:"),),
        (f"{_FILE}::test_lines_that_are_read_from_the_store",),
    ),
    Defect(
        "state-overtakes-a-removal",
        "Whoever was removed while a stream began, or read slowly, is sent what was stored later.",
        (Edit("managers/hub.py", "        return self._live.get(live.session_id) is live", "        return True"),),
        (
            f"{_FILE}::test_what_a_slow_reader_reads_on_from_the_log",
            f"{_FILE}::test_what_a_stream_begins_with",
        ),
    ),
    Defect(
        "right-looked-at-before-the-console",
        "A console is read by somebody who lost the right in between.",
        (
            Edit(
                "managers/run_log.py",
                "        run = await self._known(project_id, run_id)\n"
                "        await self._check_right(caller, project_id)\n",
                "        await self._check_right(caller, project_id)\n"
                "        run = await self._known(project_id, run_id)\n",
            ),
        ),
        (f"{_FILE}::test_a_console_that_is_read_by_a_call",),
    ),
)
