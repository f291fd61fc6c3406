"""Defects of replicas: which server is taken for dead, and what then becomes of its sessions."""

from __future__ import annotations

from typing import Final

from tests.faults.defects.defect import Defect, Edit

_MISSING: Final = "tests/faults/defects/test_missing.py"
_REPLICAS: Final = "tests/managers/test_replicas.py"

DEFECTS: Final = (
    Defect(
        "silence-of-servers-by-the-wall-clock",
        "A step of the clock gives every other server up, with all their sessions.",
        (
            Edit(
                "managers/replicas.py",
                "        now_s = self._clock.monotonic_s()\n        others",
                "        now_s = self._clock.now_us() / 1e6\n        others",
            ),
        ),
        (f"{_MISSING}::test_a_step_of_the_wall_clock_gives_no_server_up",),
    ),
    Defect(
        "fence-without-comparing",
        "A server is given up that has renewed since somebody looked.",
        (Edit("store/replicas.py", ' t.replica.c.renew_count == bindparam("seen"),', ""),),
        (f"{_REPLICAS}::test_a_process_is_given_up_by_compare_and_set",),
    ),
    Defect(
        "own-silence-counts-against-others",
        "After an outage of the database the first server to return gives all the others up.",
        (Edit("managers/replicas.py", "            self._seen.clear()\n", "            pass\n"),),
        (f"{_MISSING}::test_after_the_store_was_away_nobody_was_silent",),
    ),
    Defect(
        "fenced-server-opens-sessions",
        "A server that was given up opens sessions that nobody will ever close.",
        (Edit("managers/sessions.py", "            unit.check_replica()\n", ""),),
        (f"{_REPLICAS}::test_a_process_opens_no_session_unless_it_is_live",),
    ),
    Defect(
        "reaper-ignores-detached-sessions",
        "A session in its grace whose server died holds its locks for ever.",
        (
            Edit(
                "store/sessions.py",
                "_SESSION.where(_OPEN, t.session.c.server_boot_id.not_in(others))",
                '_SESSION.where(t.session.c.state == "ATTACHED", t.session.c.server_boot_id.not_in(others))',
            ),
        ),
        (f"{_MISSING}::test_what_a_dead_server_left_is_closed_also_in_its_grace",),
    ),
    Defect(
        "nobody-is-given-up",
        "The locks of a dead server stay held for ever.",
        (Edit("managers/replicas.py", "now_s - since_s >= limit_s and ", "False and "),),
        (f"{_MISSING}::test_what_a_dead_server_left_is_closed_also_in_its_grace",),
    ),
    Defect(
        "given-up-and-goes-on",
        "A server that the others gave up goes on serving streams of sessions that are closed.",
        (
            Edit(
                "managers/replicas.py",
                '            raise FencedError("the other servers gave this one up")\n',
                "            return\n",
            ),
        ),
        (f"{_MISSING}::test_a_server_that_finds_itself_given_up_stops",),
    ),
)
