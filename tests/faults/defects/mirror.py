"""Defects of the mirror in Redis: who holds what, shown to those who would know at once."""

from __future__ import annotations

from typing import Final

from tests.faults.defects.defect import Defect, Edit

_FAULTS: Final = "tests/coordination/test_redis_faults.py"
_REGISTRY: Final = "tests/coordination/test_lock_registry.py"

DEFECTS: Final = (
    Defect(
        "renewal-without-fence",
        "A late renewal shows somebody as the holder of a field that another one has.",
        (
            Edit(
                "coordination/lua/lock_put.lua",
                "if current and current.fence > fence then return {0, 0} end\n",
                "",
            ),
        ),
        (
            f"{_FAULTS}::test_a_late_renewal_of_an_older_fence_does_nothing_after_a_flush",
            f"{_REGISTRY}::test_a_late_renewal_of_an_older_holder_does_nothing",
        ),
    ),
    Defect(
        "delete-without-fence",
        "A late release takes a newer grant of the same session off the mirror.",
        (Edit("coordination/lua/lock_del.lua", " or current.fence > tonumber(ARGV[2]) then", " then"),),
        (f"{_REGISTRY}::test_a_late_release_of_an_older_grant_does_nothing",),
    ),
    Defect(
        "renewal-after-its-delete",
        "A field looks held for 15 s by somebody who has released it.",
        (
            Edit(
                "coordination/redis/locks.py",
                "        return fence <= self._ended.get((key, session_id), (0, 0.0))[0]\n",
                "        return False\n",
            ),
        ),
        (f"{_FAULTS}::test_a_renewal_of_a_row_read_before_its_release_does_nothing",),
    ),
    Defect(
        "claim-of-a-held-field",
        "The mirror refuses nobody, and every contender costs the database a transaction.",
        (
            Edit(
                "coordination/lua/lock_try.lua",
                "if current and current.session_id ~= ARGV[2] then return {0, 0} end\n",
                "",
            ),
        ),
        (f"{_REGISTRY}::test_of_many_callers_one_wins",),
    ),
    Defect(
        "redis-away-is-a-no",
        "Without Redis nobody can lock anything.",
        (
            Edit(
                "coordination/redis/locks.py",
                "        return answer is None or answer\n",
                "        return bool(answer)\n",
            ),
        ),
        (f"{_FAULTS}::test_a_redis_that_is_away_refuses_nobody",),
    ),
    Defect(
        "nonsense-is-a-holder",
        "A key that somebody edited by hand locks a field until somebody deletes it.",
        (
            Edit(
                "coordination/lua/lock_shown.lua",
                "  if redis.call('PTTL', key) < 0 then return nil, 1 end\n",
                "",
            ),
        ),
        (f"{_FAULTS}::test_a_key_that_would_never_expire_counts_as_nothing",),
    ),
    Defect(
        "claims-by-the-wall-clock",
        "A step of the clock makes every claim void, or good for days.",
        (
            Edit(
                "coordination/memory.py",
                "        key, now = (project_id, field), self._clock.monotonic_s()\n",
                "        key, now = (project_id, field), self._clock.now_us() / 1e6\n",
            ),
        ),
        (f"{_REGISTRY}::test_a_step_of_the_wall_clock_expires_nothing",),
    ),
)
