"""Defects of starting, of leaving, and of outliving a database that is away."""

from __future__ import annotations

from typing import Final

from tests.faults.defects.defect import Defect, Edit

_DATABASE: Final = "store/postgres/database.py"
_DRIVER: Final = "store/postgres/connection.py"
_DOORS: Final = "tests/managers/test_doors.py"
_HEALTH: Final = "tests/test_health.py"
_BOUND: Final = "tests/store/postgres/test_database.py::test_nothing_can_be_waited_for_without_end"
_SILENT: Final = "tests/client/test_silent_server.py"
_STARTING: Final = "tests/store/postgres/test_starting.py"
_WRITER: Final = "tests/store/postgres/test_writer.py"

DEFECTS: Final = (
    Defect(
        "openings-without-bound",
        "A gateway that restarts brings all its sessions at once, and the server down.",
        (Edit("managers/hub.py", "asyncio.Semaphore(liveness.openings_max)", "asyncio.Semaphore(10_000)"),),
        ("tests/managers/test_storms.py::test_who_must_wait_for_too_long_is_told_when_to_come_back",),
    ),
    Defect(
        "refused-keeps-its-place-at-the-door",
        "After some refusals nobody can open a session any more.",
        (
            Edit(
                "managers/hub.py",
                "        try:\n            return await self._open(caller, wanted, after, seen_lines)\n"
                "        finally:\n            self._doors.release()\n",
                "        live = await self._open(caller, wanted, after, seen_lines)\n"
                "        self._doors.release()\n        return live\n",
            ),
        ),
        (f"{_DOORS}::test_who_is_refused_keeps_no_place_at_the_door",),
    ),
    Defect(
        "leaving-server-lets-people-in",
        "Sessions are opened on a server that ends in a moment, and cut off without a word.",
        (
            Edit(
                "managers/hub.py",
                "        if self.leaving.is_set():\n            raise GoingAway(self._liveness.drain_s)\n",
                "",
            ),
        ),
        (f"{_DOORS}::test_a_server_that_leaves_lets_nobody_in",),
    ),
    Defect(
        "goodbye-to-those-who-are-in-only",
        "Who comes in as the server begins to leave is cut off without a word.",
        (
            Edit(
                "managers/hub.py",
                "        if self.leaving.is_set():  # it began while the streams were being counted out\n"
                "            self._say_goodbye(live)\n",
                "",
            ),
        ),
        (f"{_DOORS}::test_who_was_let_in_while_the_server_began_to_leave_is_sent_away_too",),
    ),
    Defect(
        "goodbye-without-a-time",
        "All clients of a leaving server come to the others in the same moment.",
        (Edit("managers/hub.py", "ServerGoing(int(self._liveness.drain_s * 1000))", "ServerGoing(0)"),),
        ("tests/session/test_restart.py::test_a_leaving_server_tells_its_clients_when_to_come_back",),
    ),
    Defect(
        "client-stays-with-a-leaving-server",
        "A client waits for the end that it was told of, and comes back later than its locks last.",
        (
            Edit(
                "client/live/link.py",
                '        loop.call_at(self._return_time, stream.cut, "the server is going away")  '
                "# should it still be there\n",
                "",
            ),
        ),
        ("tests/client/test_session_reconnect.py::test_going_away_brings_it_back_even_if_the_server_stays",),
    ),
    Defect(
        "client-ends-a-session-that-may-go-on",
        "A network that swallows everything for a while costs the locks that it could have kept.",
        (Edit("client/live/link.py", "            if stream is not self._former:\n", "            if True:\n"),),
        (f"{_SILENT}::test_a_silent_server_is_left_only_when_the_session_goes_on_elsewhere",),
    ),
    Defect(
        "client-waits-at-a-server-that-stands-still",
        "It is given up before they leave it, and their locks go to others.",
        (Edit("client/live/pulse.py", "    silence_s: float = 8.0\n", "    silence_s: float = 15.0\n"),),
        ("tests/client/test_pulse.py::test_a_silent_server_is_left_before_others_give_it_up",),
    ),
    Defect(
        "client-keeps-a-grant-that-nobody-waits-for",
        "A field stays locked by somebody who gave up waiting for it.",
        (Edit("client/live/commands.py", "self.unwanted[command.command_id] = command.acquire_lock.field", "pass"),),
        (f"{_SILENT}::test_a_grant_that_nobody_waits_for_is_given_back_also_when_its_reply_is_lost",),
    ),
    Defect(
        "client-gives-back-what-a-program-holds",
        "A program that asks by calls loses a lock because its session once asked for that field in vain.",
        (
            Edit(
                "client/live/link.py", "            self._commands.unwanted.clear()  # what", "            pass  # what"
            ),
        ),
        (f"{_SILENT}::test_of_a_field_once_asked_for_in_vain_a_later_grant_is_kept",),
    ),
    Defect(
        "client-gives-back-what-it-asks-for-again",
        "Whoever tries once more holds a lock that is gone.",
        (Edit("client/live/link.py", "if self._commands.wants(lock.field):", "if False:"),),
        (f"{_SILENT}::test_a_grant_that_came_too_late_is_kept_for_who_asks_again",),
    ),
    Defect(
        "client-gives-back-once-and-forgets",
        "A field stays locked by somebody who gave it back while the stream broke.",
        (Edit("client/live/link.py", "self._commands.unwanted[command.command_id] = lock.field  #", "pass  #"),),
        ("tests/client/test_late_grants.py::test_what_is_given_back_in_vain_is_given_back_again",),
    ),
    Defect(
        "client-takes-its-own-stall-for-silence",
        "A laptop that was shut for a moment leaves a server that is well.",
        (Edit("client/live/pulse.py", "                awake_time = loop.time()\n", "                pass\n"),),
        (f"{_SILENT}::test_a_program_that_stood_still_itself_does_not_take_that_for_silence",),
    ),
    Defect(
        "client-comes-back-sooner-than-asked",
        "A server that is overloaded is asked again and again.",
        (
            Edit(
                "client/live/reconnect.py",
                "return (error.retry_after_s or 0.0) + window * self._jitter()",
                "return window * self._jitter()",
            ),
        ),
        ("tests/client/test_reconnect.py::test_a_retry_info_is_waited_for",),
    ),
    Defect(
        "failed-task-is-only-logged",
        "A server that was given up goes on half-alive.",
        (Edit("app.py", "        signal.raise_signal(signal.SIGTERM)\n", ""),),
        ("tests/test_app.py::test_the_exit_code_tells_how_it_ended",),
    ),
    Defect(
        "outage-ends-the-server",
        "Every restart of the database ends all servers.",
        (Edit("managers/replicas.py", "            except Unavailable:\n", "            except ZeroDivisionError:\n"),),
        ("tests/managers/test_replicas.py::test_nobody_is_given_up_for_an_outage_of_the_store",),
    ),
    Defect(
        "health-knows-nothing-of-the-database",
        "A proxy goes on sending calls to a server that can answer none.",
        (Edit("managers/replicas.py", "                self._on_health(healthy)\n", ""),),
        ("tests/managers/test_replicas.py::test_nobody_is_given_up_for_an_outage_of_the_store",),
    ),
    Defect(
        "health-is-asked-of-nobody",
        "A server knows that its database is away, and says that it serves.",
        (Edit("app.py", "            managers.replicas.report(health.change)\n", "            pass\n"),),
        (f"{_HEALTH}::test_while_its_database_is_away_a_server_says_so_and_lives",),
    ),
    Defect(
        "outage-ends-the-feed",
        "A moment without the database ends the server with everybody's streams.",
        (
            Edit(
                "managers/feed.py",
                "with contextlib.suppress(Unavailable):",
                "with contextlib.suppress(ZeroDivisionError):",
            ),
        ),
        (f"{_HEALTH}::test_while_its_database_is_away_a_server_says_so_and_lives",),
    ),
    Defect(
        "server-leaves-in-silence",
        "A proxy sends calls to a server that refuses them.",
        (Edit("app.py", "            health.leave()\n", ""),),
        (f"{_HEALTH}::test_a_server_that_leaves_says_so",),
    ),
    Defect(
        "refusal-without-a-time",
        "Clients do not know when to ask again while the database is away.",
        (Edit("rpc/errors.py", "    if retry_after_s is not None:\n", "    if False:\n"),),
        ("tests/rpc/test_errors.py::test_a_refusal_is_its_sentence_and_its_details",),
    ),
    Defect(
        "statement-without-end",
        "A query that hangs takes a connection of the pool for good.",
        (Edit(_DRIVER, '            "statement_timeout": milliseconds(limits.statement_limit_s),\n', ""),),
        (_BOUND,),
    ),
    Defect(
        "suspended-server-holds-a-project",
        "A server that stands still within a transaction keeps everybody from writing.",
        (
            Edit(
                _DRIVER,
                '            "idle_in_transaction_session_timeout": '
                "milliseconds(limits.idle_in_transaction_limit_s),\n",
                "",
            ),
        ),
        (_BOUND,),
    ),
    Defect(
        "half-done-transaction-is-continued",
        "What was refused for want of time is committed with what is written next.",
        (
            Edit(
                _DRIVER,
                "            self._drop()\n            self.outage.failed(error)",
                "            self.outage.failed(error)",
            ),
        ),
        (f"{_WRITER}::test_a_transaction_that_takes_too_long_ends_and_is_not_continued",),
    ),
    Defect(
        "rollback-is-taken-for-a-commit",
        "A save is acknowledged that the database has thrown away.",
        (Edit(_DRIVER, 'if await driver.execute("COMMIT") != "COMMIT":', 'if not await driver.execute("COMMIT"):'),),
        (f"{_WRITER}::test_a_commit_that_was_a_rollback_is_none",),
    ),
    Defect(
        "unknown-commit-is-run-again",
        "What nobody knows to be committed is done twice.",
        (Edit("store/lane.py", "except Unavailable as away:", "except ZeroDivisionError as away:"),),
        (f"{_WRITER}::test_a_batch_whose_commit_got_lost_is_not_run_again",),
    ),
    Defect(
        "newer-schema-is-used-blindly",
        "An old server writes rows that the new schema has no meaning for.",
        (Edit("store/postgres/schema.py", "(serves_from is None or serves_from > REVISION)", "serves_from is None"),),
        (f"{_STARTING}::test_a_schema_that_is_too_new_wants_a_newer_server",),
    ),
    Defect(
        "guards-are-not-looked-for-at-the-start",
        "A server serves from a database in which everything is allowed.",
        (
            Edit(
                _DATABASE,
                "            if missing:\n",
                "            if not missing:\n                pass\n            elif False:\n",
            ),
        ),
        (f"{_STARTING}::test_a_missing_guard_is_named",),
    ),
    Defect(
        "first-start-of-several-at-once",
        "Some of the servers that start together on a new database fail, or it has two identities.",
        (
            Edit(
                _DATABASE,
                '                await driver.execute("SELECT pg_advisory_xact_lock($1)", _START_LOCK)\n',
                "",
            ),
        ),
        (f"{_STARTING}::test_servers_that_start_together_are_one_installation",),
    ),
    Defect(
        "migrations-at-once",
        "Some of the servers that are rolled out together find a migration that failed.",
        (
            Edit(
                "store/postgres/migrate.py",
                '(*_WAIT_FOR_ANOTHER, f"SELECT pg_advisory_xact_lock({_ADVISORY_LOCK})", _WAIT_FOR_TABLES)',
                "(*_WAIT_FOR_ANOTHER, _WAIT_FOR_TABLES)",
            ),
        ),
        ("tests/store/postgres/test_migrate.py::test_several_migrate_at_once",),
    ),
    Defect(
        "resume-without-a-secret",
        "Whoever knows the id of a session of theirs in another tab takes it over.",
        (
            Edit(
                "managers/sessions.py",
                "            or not hmac.compare_digest(session.resume_hash, _hash(wanted.resume_secret))\n",
                "",
            ),
        ),
        ("tests/session/test_resume.py::test_a_wrong_secret_is_refused",),
    ),
)
