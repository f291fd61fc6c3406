"""Defects of who may still read."""

from __future__ import annotations

from typing import Final

from tests.faults.defects.defect import Defect, Edit

_FILE: Final = "tests/managers/test_rights.py"

DEFECTS: Final = (
    Defect(
        "lines-overtake-a-removal",
        "Whoever was removed on another server sees lines that were appended later.",
        (Edit("managers/console.py", "return self._feed.told(project_id, position)", "return True"),),
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
        (f"{_FILE}::test_lines_that_are_read_as_he_is_told",),
    ),
    Defect(
        "state-overtakes-a-removal",
        "Whoever was removed while a stream began, or read slowly, is sent what was stored later.",
        (Edit("managers/briefing.py", "return news if self._is_live(live) else None", "return news"),),
        (
            f"{_FILE}::test_what_a_slow_reader_reads_on_from_the_log",
            f"{_FILE}::test_what_a_stream_begins_with",
        ),
    ),
    Defect(
        "own-commits-need-not-be-told",
        "On a slow disk a stream reads what was stored after it had to end.",
        (
            Edit(
                "managers/feed.py",
                "        tail = self._tail(project_id) or _Tail(self._history.epoch)\n",
                "        if not self._shared:\n            return\n"
                "        tail = self._tail(project_id) or _Tail(self._history.epoch)\n",
            ),
        ),
        (f"{_FILE}::test_what_one_server_committed_in_a_thread",),
    ),
    Defect(
        "who-is-here-told-behind-the-end",
        "Whoever was removed while it was looked up is told who is here.",
        (
            Edit(
                "managers/briefing.py",
                "        if not self._is_live(live):  # it ended meanwhile\n            return\n",
                "",
            ),
        ),
        (f"{_FILE}::test_who_is_here_when_a_slow_reader_catches_up",),
    ),
    Defect(
        "refusal-names-a-holder-of-later",
        "Whoever was removed is told who holds a field since.",
        (
            Edit(
                "managers/locks.py",
                "        state = await self._fields.get(project_id, field)\n        # Behind it:",
                "        # Behind it:",
            ),
            Edit(
                "managers/locks.py",
                "        check_content_open(project)\n        if state and",
                "        check_content_open(project)\n"
                "        state = await self._fields.get(project_id, field)\n        if state and",
            ),
        ),
        (f"{_FILE}::test_who_holds_a_field",),
    ),
    Defect(
        "lines-keep-replies-waiting",
        "While the database is away a client hears nothing at all, and leaves.",
        (
            Edit(
                "managers/console.py",
                "            if not self._console.told(self.project_id, piece.position):\n",
                "            await self._console._feed.until_told(self.project_id, piece.position)\n"
                "            if not self._console.told(self.project_id, piece.position):\n",
            ),
        ),
        (f"{_FILE}::test_replies_do_not_wait_for_what_others_committed",),
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
