"""Defects of failover: what another history of the log means for those who lived in the one before."""

from __future__ import annotations

from typing import Final

from tests.faults.defects.defect import Defect, Edit

_EPOCHS: Final = "tests/managers/test_epochs.py"
_DATABASE: Final = "tests/store/postgres/test_failover.py"
_CLIENT: Final = "tests/client/test_session_epochs.py"
_GOT_BACK: Final = f"{_CLIENT}::test_a_lock_is_got_back_over_a_failover_if_its_field_is_the_same"
_LOST: Final = f"{_CLIENT}::test_a_lock_is_lost_over_a_failover_if_its_field_is_another"

DEFECTS: Final = (
    Defect(
        "session-of-another-history-resumes",
        "A client goes on with locks that the new history may have given to somebody else.",
        (Edit("managers/sessions.py", " and old.epoch == unit.epoch:", ":"),),
        (f"{_EPOCHS}::test_a_session_of_another_history_is_not_resumed",),
    ),
    Defect(
        "session-of-another-history-writes",
        "Until somebody closes it, a holder saves under a grant that may be lost.",
        (Edit("managers/holding.py", "        or session.epoch != unit.epoch\n", ""),),
        (f"{_EPOCHS}::test_a_session_of_another_history_neither_locks_nor_saves",),
    ),
    Defect(
        "sessions-of-another-history-stay-open",
        "Nobody resumes them, and they hold their locks for ever.",
        (Edit("store/sessions.py", "t.session.c.epoch < epoch", "t.session.c.epoch > epoch"),),
        (f"{_EPOCHS}::test_every_session_of_another_history_is_closed_once",),
    ),
    Defect(
        "streams-of-another-history-go-on",
        "Clients show a project as it was before the failover, and hear nothing of what is done since.",
        (Edit("managers/hub.py", "if channel and channel.epoch != self._state.epoch:", "if False:"),),
        (f"{_EPOCHS}::test_streams_of_another_history_end_with_the_next_renewal",),
    ),
    Defect(
        "position-of-another-history-is-good",
        "A client takes entries for seen that it has never seen.",
        (Edit("managers/state.py", "if after.epoch != self._database.epoch:", "if False:"),),
        ("tests/session/test_resume.py::test_an_unusable_position_gets_a_snapshot_and_the_reason",),
    ),
    Defect(
        "feed-counts-on-in-another-history",
        "Clients miss entries whose numbers were given before the failover.",
        (Edit("managers/feed.py", "if tail and tail.epoch != self._history.epoch:", "if False:"),),
        ("tests/managers/test_feed.py::test_after_a_failover_watches_begin_where_the_logs_end",),
    ),
    Defect(
        "pool-keeps-connections-over-a-failover",
        "Reads go to the server that was replaced.",
        (
            Edit(
                "store/postgres/database.py",
                "            while self._idle:\n                self._idle.pop().terminate()\n",
                "",
            ),
        ),
        (f"{_DATABASE}::test_nobody_goes_on_with_a_connection_of_before",),
    ),
    Defect(
        "lane-keeps-its-connection-over-a-failover",
        "Saves are acknowledged by the server that was replaced, and gone.",
        (Edit("store/postgres/database.py", "            self.writer.renew()\n", ""),),
        (f"{_DATABASE}::test_nobody_goes_on_with_a_connection_of_before",),
    ),
    Defect(
        "lane-writes-before-it-looks",
        "The first saves after a failover are made under grants of the history before.",
        (
            Edit(
                "store/postgres/database.py",
                "PostgresWriter(self._checked, limits)",
                "PostgresWriter(lambda: connect(url, limits), limits)",
            ),
        ),
        (f"{_DATABASE}::test_the_lane_looks_before_it_writes",),
    ),
    Defect(
        "each-server-raises-the-epoch",
        "One failover ends everybody's session once for each server.",
        (
            Edit(
                "store/postgres/database.py",
                '                elif facts["wal_timeline"] != timeline or (lost and known == before):\n',
                "                else:\n",
            ),
        ),
        (f"{_DATABASE}::test_servers_that_find_another_history_at_once_raise_the_epoch_once",),
    ),
    Defect(
        "sessions-of-before-hold-fields",
        "After a failover the first to come find fields held by sessions that are over.",
        (
            Edit(
                "managers/sessions.py", "            if unit.epoch > self._settled_epoch:\n", "            if False:\n"
            ),
        ),
        (f"{_EPOCHS}::test_who_comes_in_another_history_finds_nothing_held_by_the_one_before",),
    ),
    Defect(
        "client-asks-back-by-a-number-of-another-history",
        "A lock is got back though its field was changed under the same number by somebody else.",
        (
            Edit(
                "client/live/lock_recovery.py",
                "since = lock.fencing_token if lock.is_of(position) else 0",
                "since = lock.fencing_token",
            ),
        ),
        (_GOT_BACK, _LOST),
    ),
    Defect(
        "client-compares-no-content-over-a-failover",
        "The next save overwrites what its author has never seen.",
        (
            Edit(
                "client/live/lock_recovery.py",
                "if not since and acquired.field_sha256 != lock.known_sha256:",
                "if False:",
            ),
        ),
        (_LOST,),
    ),
    Defect(
        "client-keeps-what-it-takes-for-lost",
        "A field stays locked by a session that does not know of it.",
        (
            Edit(
                "client/live/lock_recovery.py",
                "                await exchange(_Request(release_lock=back))\n                raise",
                "                raise",
            ),
        ),
        (_LOST,),
    ),
    Defect(
        "client-forgets-what-it-saved",
        "After a failover people lose the locks of fields that nobody but they have changed.",
        (
            Edit(
                "client/live/held_lock.py",
                "                self.known_sha256 = change.after_sha256\n",
                "                pass\n",
            ),
        ),
        (f"{_CLIENT}::test_what_a_field_held_is_the_own_newest_save_of_it",),
    ),
    Defect(
        "client-saves-on-a-version-of-another-history",
        "Every save under a lock that was got back is refused, or made on a version that is another one.",
        (
            Edit(
                "client/live/held_lock.py",
                "            self.base_version = acquired.head_version\n        self.acquired",
                "            pass\n        self.acquired",
            ),
        ),
        (_GOT_BACK,),
    ),
    Defect(
        "lines-of-another-history-at-hand",
        "After a failover lines are shown that were lost by it.",
        (Edit("managers/console.py", " and found.position.epoch == self._history.epoch", ""),),
        ("tests/managers/test_epochs.py::test_lines_of_another_history_are_seen_by_nobody_who_comes_in_this_one",),
    ),
    Defect(
        "places-of-another-history-count",
        "After a failover nobody is told the lines that came in place of lost ones they had seen.",
        (Edit("domain/run.py", "return self.number if self.epoch in {0, epoch} else 0", "return self.number"),),
        ("tests/managers/test_epochs.py::test_lines_of_another_history_are_seen_by_nobody_who_comes_in_this_one",),
    ),
    Defect(
        "sdk-keeps-places-of-another-history",
        "After a failover the client drops lines that it takes for those it has seen.",
        (Edit("client/live/followed_runs.py", "dict.fromkeys(self._last_line, 0)", "self._last_line"),),
        ("tests/client/test_session_runs.py::test_places_in_another_history_of_the_log_are_forgotten",),
    ),
    Defect(
        "sdk-forgets-runs-of-another-history",
        "After a failover and a break the client never learns that a run has ended.",
        (Edit("client/live/followed_runs.py", "dict.fromkeys(self._last_line, 0)", "{}"),),
        ("tests/client/test_session_runs.py::test_a_run_stays_known_when_a_snapshot_breaks_off",),
    ),
    Defect(
        "stream-of-another-history-reads-lines-of-this-one",
        "Behind lines that a failover lost others come as if nothing had happened.",
        (Edit("managers/console.py", "if piece is None or piece.position.epoch != self.epoch:", "if piece is None:"),),
        ("tests/managers/test_epochs.py::test_a_stream_of_another_history_is_told_nothing_of_this_one",),
    ),
    Defect(
        "log-of-another-history-begins-too-late",
        "Whoever opens a stream as a failover is noticed misses what others do right then, their removal too.",
        (Edit("managers/hub.py", "            await self._feed.begin(session.project_id)", "            pass"),),
        ("tests/managers/test_epochs.py::test_a_stream_that_opens_as_another_history_begins_misses_nothing",),
    ),
)
