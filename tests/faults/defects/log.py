"""Defects of the log: its numbers, its one writer, and what the conditional updates keep."""

from __future__ import annotations

from typing import Final

from tests.faults.defects.defect import Defect, Edit

_MISSING: Final = "tests/faults/defects/test_missing.py"
_TWO_WRITERS: Final = f"{_MISSING}::test_two_servers_that_write_to_one_project_fail_no_save"
_UNLOCKED_HEAD: Final = Edit(
    "store/entries.py", "HEAD_TO_WRITE = Statement(_HEAD.with_for_update())", "HEAD_TO_WRITE = Statement(_HEAD)"
)
_ANY_HEAD: Final = Edit(
    "store/entries.py",
    '    .where(t.head.c.log == bindparam("key"), t.head.c.last_sequence == bindparam("old_last_sequence"))\n',
    '    .where(t.head.c.log == bindparam("key"))\n',
)
_ANY_FIELD: Final = Edit(
    "store/fields.py",
    '        t.field.c.fence == bindparam("old_fence"),\n'
    '        t.field.c.lock_id == bindparam("old_lock_id"),\n'
    '        t.field.c.last_changed_version == bindparam("old_version"),\n',
    "",
)
_ANY_SESSION: Final = Edit(
    "store/sessions.py",
    '        t.session.c.stream_epoch == bindparam("old_stream_epoch"),\n'
    '        t.session.c.state == bindparam("old_state"),\n',
    "",
)
_CONDITIONAL: Final = "tests/store/test_unit_of_work.py::test_a_row_that_changed_meanwhile_is_not_overwritten"

DEFECTS: Final = (
    Defect(
        "head-not-locked",
        "Two servers take the same number for two entries: one of two honest saves fails.",
        (_UNLOCKED_HEAD,),
        (_TWO_WRITERS,),
    ),
    Defect(
        "head-not-locked-and-nothing-compared",
        "Two servers decide on the same rows, and what one wrote is overwritten by the other.",
        (_UNLOCKED_HEAD, _ANY_HEAD, _ANY_FIELD, _ANY_SESSION),
        (_TWO_WRITERS,),
    ),
    Defect(
        "fields-written-unconditionally",
        "A lock that changed hands since it was read is overwritten.",
        (_ANY_FIELD,),
        (_CONDITIONAL,),
    ),
    Defect(
        "sessions-written-unconditionally",
        "A session that was resumed since it was read is overwritten.",
        (_ANY_SESSION,),
        (_CONDITIONAL,),
    ),
    Defect(
        "touched-rows-are-not-counted",
        "A conditional update that touches nothing passes for a success.",
        (
            Edit(
                "store/flush.py",
                "        if group[0].expected is not None and not statement.inserts and touched != expected:\n",
                "        if touched < 0 and expected:\n",
            ),
        ),
        (_CONDITIONAL,),
    ),
    Defect(
        "number-taken-by-what-is-not-written",
        "A trial uses up a number: the log has a gap, and nobody can say that nothing was taken out.",
        (Edit("store/unit_of_work.py", "        self._rows.heads = dict(self._loaded_heads)\n", ""),),
        ("tests/store/test_unit_of_work.py::test_what_is_discarded_leaves_nothing",),
    ),
    Defect(
        "numbers-from-a-sequence",
        "Like a serial column: the numbers of the log are not those of its commits, and a refusal leaves a gap.",
        (
            Edit(
                "store/unit_of_work.py",
                "        entry, sealed = chain(log, new, head.last_sequence + 1, head.tail, self.now_us)\n",
                "        numbers = globals().setdefault('_numbers', {})\n"
                "        numbers[log] = max(numbers.get(log, 0), head.last_sequence) + 1\n"
                "        entry, sealed = chain(log, new, numbers[log], head.tail, self.now_us)\n",
            ),
        ),
        ("tests/store/test_lane.py::test_a_failure_is_its_own_operations_alone",),
    ),
    Defect(
        "told-before-the-commit",
        "Everybody is told of a version that a failed commit has never made.",
        (
            Edit(
                "store/lane.py",
                "        await flush(connection, writes, shelf.changed_heads())\n        return outcomes, news\n",
                "        self._publish(news)\n"
                "        await flush(connection, writes, shelf.changed_heads())\n"
                "        return outcomes, []\n",
            ),
        ),
        ("tests/store/test_lane_failures.py::test_a_failed_commit_refuses_the_batch",),
    ),
    Defect(
        "time-runs-backwards",
        "The log tells what came later with an earlier time.",
        (
            Edit(
                "store/unit_of_work.py",
                "        self.now_us = max([clock_us, *(head.last_time_us for head in rows.heads.values())])\n",
                "        self.now_us = clock_us\n",
            ),
        ),
        ("tests/store/test_unit_of_work.py::test_time_never_runs_backwards",),
    ),
    Defect(
        "another-timeline-is-the-same-epoch",
        "After a failover that lost commits, clients go on from positions that mean something else now.",
        (
            Edit(
                "store/postgres/database.py",
                "str(max(known + 1, self._epoch + 1, self.clock.now_us()))",
                "str(known)",
            ),
        ),
        (f"{_MISSING}::test_another_timeline_of_the_database_is_another_epoch",),
    ),
    Defect(
        "commits-that-are-not-durable",
        "An acknowledged save is lost with the power.",
        (
            Edit(
                "store/postgres/connection.py",
                '        await driver.execute("SET synchronous_commit TO on")\n',
                "        pass\n",
            ),
        ),
        ("tests/store/postgres/test_database.py::test_an_acknowledged_write_is_durable_whatever_the_default_is",),
    ),
    Defect(
        "cancelled-read-poisons-its-connection",
        "Somebody closes a window, and somebody else gets the answer to their question.",
        (
            Edit(
                "store/postgres/connection.py",
                "        return await asyncio.shield(task)\n",
                "        return await task\n",
            ),
            Edit(
                "store/postgres/database.py",
                "                driver.terminate()\n                raise\n            self._give_back(driver, epoch)",
                "                self._give_back(driver, epoch)\n                raise\n"
                "            self._give_back(driver, epoch)",
            ),
        ),
        ("tests/store/postgres/test_database.py::test_a_cancelled_caller_poisons_no_connection",),
    ),
)
