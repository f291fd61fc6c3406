"""Defects of locks: who may hold a field, and who may save it."""

from __future__ import annotations

from typing import Final

from tests.faults.defects.defect import Defect, Edit

_MISSING: Final = "tests/faults/defects/test_missing.py"
_CHECKS_TOKENS: Final = Edit(
    "managers/saving.py",
    "        for name in names:\n            _check_token(unit, command, name)\n",
    "",
)

DEFECTS: Final = (
    Defect(
        "save-without-token-check",
        "Whoever once held the field overwrites what its holder of now works on.",
        (_CHECKS_TOKENS,),
        (
            "tests/service/test_save_locks.py::test_a_save_with_an_older_fence_is_refused",
            "tests/service/test_save_locks.py::test_a_save_under_a_released_lock_is_refused",
        ),
    ),
    Defect(
        "token-check-before-the-transaction",
        "Between the check and the save the lock can be another's.",
        (
            _CHECKS_TOKENS,
            Edit(
                "managers/drafts.py",
                "        known = {state.name: state.content for state in await self._fields.all(request.project_id)}\n",
                "        states = await self._fields.all(request.project_id)\n"
                "        for state in states:\n"
                "            token = request.tokens.get(state.name)\n"
                "            lock = state.lock\n"
                "            if token and (lock is None or (lock.session_id, lock.fencing_token) != "
                "(request.session_id, token)):\n"
                "                from foundry.domain.errors import LockLost\n\n"
                "                raise LockLost(state.name, token, lock, state.fence)\n"
                "        known = {state.name: state.content for state in states}\n",
            ),
        ),
        (f"{_MISSING}::test_a_save_that_waits_behind_the_release_of_its_lock_is_refused",),
    ),
    Defect(
        "grant-to-a-session-without-a-stream",
        "A lock that is granted to a session in its grace outlives everybody who could give it back.",
        (Edit("managers/holding.py", "        or session.state is not SessionState.ATTACHED\n", ""),),
        (
            "tests/session/test_ends.py::test_a_grace_keeps_the_locks_for_the_session_alone",
            "tests/service/test_save_locks.py::test_a_save_after_the_stream_of_its_session_ended_is_refused",
        ),
    ),
    Defect(
        "close-without-release",
        "A ghost lock: its session is over, and nobody can have the field.",
        (Edit("managers/holding.py", "    for lock in unit.held_by(session.session_id):\n", "    for lock in ():\n"),),
        (
            "tests/service/test_locks.py::test_ending_a_session_releases_its_locks",
            "tests/session/test_ends.py::test_without_a_grace_every_other_end_releases_at_once",
        ),
    ),
    Defect(
        "break-without-fence",
        "Who breaks the lock they saw takes away the one that was granted meanwhile.",
        (
            Edit(
                "managers/locks.py",
                "            if state.lock is None or state.lock.fencing_token != fencing_token:\n",
                "            if state.lock is None:\n",
            ),
        ),
        ("tests/service/test_locks.py::test_a_break_takes_the_lock_that_was_seen",),
    ),
    Defect(
        "acquire-again-is-a-new-claim",
        "A client that repeats itself is refused its own lock.",
        (
            Edit(
                "managers/locks.py",
                "            already = state.lock is not None and state.lock.session_id == session_id\n",
                "            already = False\n",
            ),
        ),
        ("tests/session/test_session_locks.py::test_acquiring_again_gives_the_same_grant",),
    ),
    Defect(
        "conditional-acquire-unconditional",
        "A lock is given back after a blip although somebody else has written meanwhile.",
        (
            Edit(
                "managers/holding.py",
                "    if if_unchanged_since and state.fence != if_unchanged_since:\n",
                "    if False:\n",
            ),
        ),
        ("tests/session/test_session_locks.py::test_a_lock_is_given_back_after_a_blip_only_if_nobody_held_the_field",),
    ),
    Defect(
        "registry-free-is-a-grant",
        "A registry that has forgotten everything gives a held field away.",
        (
            Edit(
                "managers/locks.py",
                "                check_free(unit, caller, [field])\n",
                "                if not claimed:\n                    check_free(unit, caller, [field])\n",
            ),
        ),
        (f"{_MISSING}::test_a_field_that_only_the_registry_calls_free_is_not_granted",),
    ),
    Defect(
        "registry-no-is-believed",
        "A wrong mirror locks a field for ever.",
        (
            Edit(
                "managers/locks.py",
                "        if state and state.lock and state.lock.session_id != session_id:\n"
                "            self._denials.lock_denied(project_id, field, caller.principal.subject)\n"
                "            raise LockHeld([state.lock], same_principal=",
                "        held = [state.lock] if state and state.lock else []\n"
                "        raise LockHeld(held, same_principal=not held or ",
            ),
        ),
        (f"{_MISSING}::test_a_field_that_only_the_registry_calls_held_is_granted",),
    ),
    Defect(
        "idle-release-of-a-touched-lock",
        "Somebody types, and the lock is gone: the look that found it idle was a moment old.",
        (
            Edit(
                "managers/locks.py",
                " or current.expire_time_us > unit.now_us:\n",
                ":\n",
            ),
        ),
        ("tests/managers/test_idle.py::test_a_touch_that_wins_the_race_keeps_the_lock",),
    ),
)
