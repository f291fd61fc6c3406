"""Defects of runs and their consoles."""

from __future__ import annotations

from typing import Final

from tests.faults.defects.defect import Defect, Edit

_FILE: Final = "tests/managers/test_sealing.py"
_SEALING: Final = f"{_FILE}::test_a_run_that_becomes_longer_whenever_it_is_read_is_sealed"

DEFECTS: Final = (
    Defect(
        "flood-outruns-its-end",
        "A test gone wild cannot be cancelled while it writes.",
        (Edit("managers/runs.py", "replace(needs, console=(run_id, digest.line_count))", "needs"),),
        (_SEALING,),
    ),
    Defect(
        "sealed-without-the-last-lines",
        "A digest leaves out what came in while it was made.",
        (
            Edit(
                "managers/console_digest.py",
                "            whole.add(*chunk)\n",
                "            whole.line_count += chunk[1]\n",
            ),
        ),
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
                "            if whole.line_count != run.line_count:\n",
                "            if whole.line_count > run.line_count:\n",
            ),
        ),
        (_SEALING,),
    ),
    Defect(
        "sealed-with-lines-of-another-history",
        "After a failover a digest holds lines that were lost.",
        (Edit("managers/runs.py", "if digest.epoch != unit.epoch:", "if not digest.epoch:"),),
        (f"{_FILE}::test_lines_that_a_failover_lost_are_not_in_the_digest",),
    ),
    Defect(
        "sealing-stops-the-world",
        "Nobody is served while a long console is hashed.",
        (Edit("store/runs.py", "            await asyncio.sleep(0)\n", ""),),
        (f"{_FILE}::test_others_get_their_turn_while_a_long_console_is_sealed",),
    ),
    Defect(
        "end-of-a-run-between-two-looks",
        "Whoever opens a stream as a run ends sees it running for ever.",
        (
            Edit(
                "managers/hub.py",
                "            if seen_lines is not None:\n",
                "            missed_runs = await self._begin(live, attached, after)\n"
                "            if seen_lines is not None:\n",
            ),
            Edit(
                "managers/hub.py",
                "            missed_runs = await self._begin(live, attached, after)\n            if live.console:\n",
                "            if live.console:\n",
            ),
        ),
        ("tests/managers/test_console.py::test_a_run_that_ends_while_a_stream_begins_is_told_to_its_end",),
    ),
    Defect(
        "ring-begins-a-run-that-is-over",
        "Whoever comes is sent the console of a run that was over before.",
        (
            Edit(
                "managers/console.py",
                "            self._early[news.run_id] = None\n",
                "            self._early[news.run_id] = None\n"
                "        for follower in self._followers[project_id]:\n            follower.begin(news.run_id)\n",
            ),
        ),
        ("tests/managers/test_console.py::test_a_ring_behind_an_end_that_was_never_told_here_begins_nothing",),
    ),
    Defect(
        "start-of-a-run-says-how-far-it-is",
        "Lines that were heard of before the start of their run are not shown until more come.",
        (
            Edit(
                "managers/console.py",
                "            heads.setdefault(run_id, 0)  # how",
                "            heads[run_id] = 1  # how",
            ),
        ),
        ("tests/managers/test_followers.py::test_lines_that_were_heard_of_before_the_start",),
    ),
    Defect(
        "seen-lines-told-again",
        "Whoever comes back as a run is told to have begun gets all of it once more.",
        (Edit("managers/console.py", "self._seen.get(run_id, 0) + 1", "1"),),
        ("tests/managers/test_followers.py::test_what_was_seen_elsewhere_is_not_told_again",),
    ),
)
