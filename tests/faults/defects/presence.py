"""Defects of presence: who is shown as being here."""

from __future__ import annotations

from typing import Final

from tests.faults.defects.defect import Defect, Edit

_REDIS: Final = "tests/coordination/test_redis_presence.py"

DEFECTS: Final = (
    Defect(
        "lease-without-end",
        "People whose server died are shown as here for ever.",
        (
            Edit(
                "coordination/lua/presence_shown.lua",
                "  if type(value.expires_at) ~= 'number' or not (value.expires_at > now) then return nil end\n",
                "",
            ),
        ),
        (f"{_REDIS}::test_the_sessions_of_a_dead_replica_go_when_their_lease_is_over",),
    ),
    Defect(
        "lease-without-renewal",
        "Everybody is gone after 15 s.",
        (
            Edit(
                "coordination/redis/presence.py",
                "            await asyncio.sleep(self._ttl_s / 3)\n            await self.renew()\n",
                "            await asyncio.sleep(self._ttl_s / 3)\n",
            ),
        ),
        (f"{_REDIS}::test_its_upkeep_renews_leases",),
    ),
    Defect(
        "end-that-redis-missed",
        "Somebody who left while Redis was away is shown as here until the lease is over.",
        (
            Edit(
                "coordination/redis/presence.py",
                "if not own and (project_id, session_id) not in self._removed:",
                "if not own:",
            ),
        ),
        (f"{_REDIS}::test_an_end_that_redis_missed_is_an_end",),
    ),
    Defect(
        "former-stream-shows-a-session-late",
        "Somebody who came back at another server is shown as reconnecting.",
        (
            Edit(
                "coordination/lua/presence_put.lua",
                "ahead > 0 or ahead == 0 and ",
                "",
            ),
        ),
        ("tests/coordination/test_redis_presence.py::test_where_a_session_was_before_shows_it_too_late",),
    ),
    Defect(
        "ended-session-shown-late-is-believed",
        "Somebody who left is shown again.",
        (
            Edit(
                "coordination/redis/presence.py",
                "(project_id, session_id) not in self._removed:",
                "(member.replica_id != self._replica_id or (project_id, session_id) not in self._removed):",
            ),
        ),
        ("tests/coordination/test_redis_presence.py::test_who_took_a_session_away_does_not_believe_who_shows_it_late",),
    ),
    Defect(
        "left-elsewhere-and-still-here",
        "Somebody who left at another server is shown as reconnecting for ever.",
        (
            Edit(
                "managers/hub.py",
                "            await self._presence.show_no_more(session)\n",
                "            pass\n",
            ),
        ),
        ("tests/managers/test_ghosts.py::test_who_left_elsewhere_in_its_grace_is_shown_no_more",),
    ),
    Defect(
        "former-place-renews-first",
        "After Redis forgot, somebody is shown as reconnecting who is there.",
        (Edit("coordination/lua/presence_put.lua", "ahead > 0 or ahead == 0 and ARGV[3]", "ARGV[3]"),),
        ("tests/coordination/test_redis_presence.py::test_where_a_session_is_shows_it_though_redis_forgot",),
    ),
)
