"""Defects of the feed: what a server tells its clients of commits here and elsewhere."""

from __future__ import annotations

from typing import Final

from tests.faults.defects.defect import Defect, Edit

_MISSING: Final = "tests/faults/defects/test_missing.py"
_FEED: Final = "tests/managers/test_feed.py"

DEFECTS: Final = (
    Defect(
        "own-entries-at-once",
        "Clients are told of an entry before those in front of it, and take the gap for a loss.",
        (
            Edit(
                "managers/feed.py",
                "        elif not tail.reading and entry.sequence == tail.last + 1:\n",
                "        elif tail.last is not None:\n",
            ),
        ),
        (f"{_MISSING}::test_what_a_server_commits_is_told_behind_what_others_committed_before",),
    ),
    Defect(
        "own-entries-while-reading-on",
        "An entry is told twice, or in front of those that are being read.",
        (Edit("managers/feed.py", "elif not tail.reading and entry.sequence == ", "elif entry.sequence >= "),),
        (f"{_MISSING}::test_what_a_server_commits_is_told_behind_what_others_committed_before",),
    ),
    Defect(
        "lost-ring-stays-lost",
        "A client hears nothing of what others commit until somebody commits here.",
        (
            Edit(
                "managers/feed.py",
                "            self._heard(log, sequence)\n        for",
                "            pass\n        for",
            ),
        ),
        (f"{_FEED}::test_a_lost_ring_is_made_up_for_by_a_look",),
    ),
    Defect(
        "gap-in-the-ring-unnoticed",
        "A client misses an entry for good.",
        (
            Edit(
                "managers/feed.py",
                "        elif not tail.reading and entry.sequence == tail.last + 1:\n",
                "        elif not tail.reading:\n",
            ),
        ),
        ("tests/session/test_busy_and_broken.py::test_what_the_bus_loses_is_read_from_the_log",),
    ),
    Defect(
        "nobody-is-rung",
        "Clients of the other servers hear of everything a second late.",
        (
            Edit(
                "managers/feed.py", "            self._bus.ring([_ring(item) for item in news])\n", "            pass\n"
            ),
        ),
        (f"{_FEED}::test_what_another_server_committed_is_what_it_told_itself",),
    ),
    Defect(
        "failing-receiver-starves-others",
        "One broken stream silences a project.",
        (
            Edit(
                "coordination/memory.py",
                "            except Exception:  # noqa: BLE001 - one receiver must not starve the others\n"
                '                _log.exception("receiver_failed", kind=type(ring).__name__)\n',
                "            except ZeroDivisionError:\n                return\n",
            ),
        ),
        ("tests/coordination/test_event_bus.py::test_a_failing_receiver_starves_nobody",),
    ),
    Defect(
        "commit-of-a-beginning-watch-untold",
        "Somebody whose session ended as another came is shown for ever, on a slow disk.",
        (Edit("managers/feed.py", "        elif entry.sequence <= tail.begun:", "        elif False:"),),
        ("tests/managers/test_ghosts.py::test_an_end_that_was_committed_as_somebody_came_is_told",),
    ),
)
