"""Defects of sessions: when a stream is taken for gone, and what its end may do."""

from __future__ import annotations

from typing import Final

from tests.faults.defects.defect import Defect, Edit

_MISSING: Final = "tests/faults/defects/test_missing.py"

DEFECTS: Final = (
    Defect(
        "close-without-epoch",
        "The late end of an old stream closes the session that its client has resumed, here or on another server.",
        (
            Edit(
                "managers/sessions.py",
                " or current.stream_epoch != session.stream_epoch:\n                return False\n            close(",
                ":\n                return False\n            close(",
            ),
        ),
        (
            f"{_MISSING}::test_a_late_teardown_here_leaves_a_session_alone_that_went_on_there",
            "tests/session/test_ends.py::test_the_timer_of_a_grace_that_was_used_does_nothing",
        ),
    ),
    Defect(
        "detach-without-epoch",
        "The late end of an old stream detaches the session on its new server: its client can save no more.",
        (
            Edit(
                "managers/sessions.py",
                " or current.stream_epoch != session.stream_epoch:\n                return False\n            if ",
                ":\n                return False\n            if ",
            ),
        ),
        (f"{_MISSING}::test_a_late_teardown_here_leaves_a_session_alone_that_went_on_there",),
    ),
    Defect(
        "resume-leaves-the-older-stream",
        "Two windows show one session as their own, and the older one hears nothing of it.",
        (
            Edit(
                "managers/hub.py",
                "        if former := self._live.get(session_id):\n            self._detached(former)\n",
                "        if former := None:\n            self._detached(former)\n",
            ),
        ),
        ("tests/session/test_resume.py::test_the_superseded_stream_is_told_and_its_late_teardown_does_nothing",),
        "postgres+redis*2",
    ),
    Defect(
        "grant-to-a-stream-of-before",
        "A field is held by a session that does not know of it.",
        (Edit("managers/holding.py", "if stream_epoch not in {0, session.stream_epoch} and", "if False and"),),
        ("tests/faults/defects/test_missing.py::test_of_a_stream_whose_session_goes_on_elsewhere_nothing_is_taken",),
    ),
    Defect(
        "resume-keeps-the-secret",
        "Whoever once read a secret can take the session over for as long as it lives.",
        (
            Edit(
                "managers/sessions.py",
                "            stream_epoch=old.stream_epoch + 1,\n            resume_hash=secret_hash,\n",
                "            stream_epoch=old.stream_epoch + 1,\n",
            ),
        ),
        ("tests/session/test_resume.py::test_a_secret_works_once",),
    ),
    Defect(
        "no-heartbeat-deadline",
        "A client that hangs holds its fields for ever: its kernel answers for it.",
        (
            Edit(
                "managers/live.py",
                "        elif now_s - self.heard_s > limits.silence_limit_s:\n"
                "            why = CloseReason.HEARTBEAT\n",
                "",
            ),
        ),
        ("tests/session/test_liveness.py::test_a_silent_client_is_closed_and_one_with_heartbeats_is_not",),
    ),
    Defect(
        "silence-by-the-wall-clock",
        "A step of the clock closes every session at once.",
        (
            Edit(
                "managers/hub.py",
                "            now_s = self._clock.monotonic_s()\n            # If",
                "            now_s = self._clock.now_us() / 1e6\n            # If",
            ),
            Edit(
                "managers/hub.py",
                "        live.heard_s = self._clock.monotonic_s()\n",
                "        live.heard_s = self._clock.now_us() / 1e6\n",
            ),
            Edit(
                "managers/hub.py",
                "channel, self._clock.monotonic_s(), self._briefing.catch_up)",
                "channel, self._clock.now_us() / 1e6, self._briefing.catch_up)",
            ),
            Edit(
                "managers/hub.py",
                "            expected_s = self._clock.monotonic_s() + _SWEEP_S\n",
                "            expected_s = now_s + 1e9\n",
            ),
        ),
        ("tests/session/test_liveness.py::test_a_session_ends_with_its_token",),
    ),
    Defect(
        "own-stall-is-their-silence",
        "A server that stood still for a while closes everybody on waking, whose messages it had not read.",
        (Edit("managers/hub.py", "if stalled_s > _STALL_S:", "if not stalled_s:"),),
        (f"{_MISSING}::test_a_server_that_stood_still_holds_it_against_no_client",),
    ),
    Defect(
        "end-of-a-stream-is-hidden",
        "A client whose write failed as its stream ended is not told why.",
        (Edit("client/live/reader.py", "        call.add_done_callback(self._note)\n", ""),),
        ("tests/client/test_reader.py::test_every_message_and_the_status_come_through_while_this_side_writes",),
    ),
    Defect(
        "pings-with-grpc-s-own-timeout",
        "A half-open link is noticed after 70 s and not after 20.",
        (Edit("rpc/server.py", '        ("grpc.http2.ping_timeout_ms", 10_000),\n', ""),),
        (f"{_MISSING}::test_a_half_open_link_is_noticed_by_its_pings",),
    ),
    Defect(
        "close-in-the-cancelled-task",
        "The end of a killed client's stream is cancelled half-way, and its locks stay.",
        (
            Edit(
                "rpc/stream.py",
                "        task = asyncio.create_task(work)\n"
                "        self._running.add(task)\n"
                "        task.add_done_callback(self._running.discard)\n"
                "        await asyncio.shield(task)\n",
                "        await work\n",
            ),
        ),
        (f"{_MISSING}::test_the_end_of_a_stream_is_stored_also_when_its_call_is_cancelled",),
    ),
    Defect(
        "grace-without-end",
        "A session that is never resumed holds its locks for ever.",
        (
            Edit(
                "managers/hub.py",
                "                self._spawn(self._end_of_grace(live))\n",
                "",
            ),
        ),
        ("tests/session/test_ends.py::test_when_the_grace_is_over_the_locks_are_released_and_the_session_is_closed",),
    ),
    Defect(
        "drain-closes-sessions",
        "Every restart of a server takes everybody's locks away.",
        (
            Edit(
                "managers/hub.py",
                "        live.end(GoingAway(self._liveness.drain_s), keeps_session=True)\n",
                "        live.end(GoingAway(self._liveness.drain_s))\n",
            ),
        ),
        ("tests/session/test_restart.py::test_a_session_is_resumed_with_its_lock_after_a_restart",),
    ),
    Defect(
        "former-stream-forgotten",
        "A stream that another one took the place of goes on without a session.",
        (Edit("managers/hub.py", "        self._supersede(session.session_id)\n", ""),),
        (
            "tests/managers/test_ghosts.py::test_a_stream_is_ended_when_another_takes_its_place_though_the_feed_is_behind",
        ),
    ),
)
