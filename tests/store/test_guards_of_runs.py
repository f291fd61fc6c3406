"""The guards of runs and their consoles: each is attacked, and each attack is shown to succeed without its guard."""

from __future__ import annotations

import sqlite3
from typing import Final

import pytest

from foundry.store.guards import SQLITE_GUARDS
from foundry.store.tables import metadata
from tests.store.attacks_on_releases import FRESH_RUN, copy_of, spelt_out
from tests.store.test_guards import everything, prepared

_DONE: Final = "project_id = @open AND state = 'PASSED'"
#: What never changes in a run, with something else to put there.
KEPT: Final = {
    "project_id": "'elsewhere'",
    "run_id": "'x'",
    "version_number": "1",
    "content_sha256": "zeroblob(32)",
    "harness": "'another'",
    "labels": """'{"a":"b"}'""",
    "attempt": "2",
    "starter": "replace(starter, 'bob', 'mallory')",
    "start_time_us": "0",
}
#: What a finished run keeps as well.
SEALED: Final = {
    "state": "'FAILED'",
    "finish_time_us": "0",
    "log_bytes": "0",
    "log_sha256": "zeroblob(32)",
    "results": "'[]'",
}


def _run(where: str, **values: str) -> str:
    told = ", ".join(f"{column} = {value}" for column, value in values.items())
    return f"UPDATE run SET {told} WHERE {where}"  # noqa: S608 - constants of this file


def _chunk(where: str, first_line: str, verb: str = "INSERT", *, rowid: str = "NULL", run_id: str = "run_id") -> str:
    return (
        f"{verb} INTO run_log_chunk (rowid, project_id, run_id, first_line, line_count, data)"  # noqa: S608 - see above
        f" SELECT {rowid}, project_id, {run_id}, {first_line}, 1, x'7b7d0a' FROM run WHERE {where}"
    )


_NEXT: Final = "line_count + 1"

#: Every guard with attacks that it alone refuses.
ATTACKS: dict[str, list[str]] = {
    "run_no_delete": [
        "DELETE FROM run WHERE @running",
        f"DELETE FROM run WHERE {_DONE}",  # noqa: S608 - a constant of this file
        "DELETE FROM run",
    ],
    "run_begins": [
        # A run that passed without having run, or that has lines nobody wrote.
        copy_of("run", _DONE, run_id="'x'"),
        *(copy_of("run", _DONE, run_id="'x'", **(FRESH_RUN | {column: column})) for column in FRESH_RUN),
    ],
    "run_no_replace": [
        # A sealed run runs again, one that runs begins anew, or is another's.
        copy_of("run", _DONE, "INSERT OR REPLACE", **FRESH_RUN),
        copy_of("run", "@running", "INSERT OR REPLACE", **FRESH_RUN),
        copy_of("run", "@running", "INSERT OR REPLACE", starter="replace(starter, 'bob', 'mallory')", **FRESH_RUN),
    ],
    "run_keeps": [
        *(_run("@running", **{column: value}) for column, value in KEPT.items()),
        *(_run(_DONE, **{column: value}) for column, value in (KEPT | SEALED).items()),
        # A verdict before the end.
        _run("@running", log_sha256="zeroblob(32)"),
        _run("@running", results="""'[{"name":"x","passed":true,"value":""}]'"""),
        # Once more to the end, and back.
        _run(_DONE, state="'RUNNING'"),
        _run(_DONE, line_count="line_count"),
        # Lines that are not there, and lines that are, left out; alone and with the seal.
        _run("@running", line_count="line_count - 1"),
        _run("@running", line_count="line_count + 1"),
        _run("@running", line_count="0"),
        _run("@running", line_count="0", state="'PASSED'"),
        # A seal that leaves out the line that was stored last.
        _chunk("@running", _NEXT) + ";" + _run("@running", state="'PASSED'"),
        # One run in the place of another.
        f"UPDATE OR REPLACE run SET run_id = (SELECT run_id FROM run WHERE {_DONE}) WHERE @running",  # noqa: S608
    ],
    "run_log_chunk_no_update": [
        "UPDATE run_log_chunk SET data = x'7b7d0a' WHERE first_line = 1",
        "UPDATE run_log_chunk SET line_count = line_count + 1",
        "UPDATE run_log_chunk SET run_id = 'x' WHERE first_line = 1 AND project_id = @frozen",
        "UPDATE run_log_chunk SET rowid = rowid + 1000",
    ],
    "run_log_chunk_no_delete": [
        "DELETE FROM run_log_chunk WHERE first_line = 1",
        "DELETE FROM run_log_chunk WHERE first_line > 1",
        "DELETE FROM run_log_chunk",
    ],
    "run_log_chunk_contiguous": [
        # In the place of the first lines and of the last ones, by the key and by way of the hidden row number.
        _chunk("@running", "1", "INSERT OR REPLACE"),
        _chunk("@running", "line_count", "INSERT OR REPLACE"),
        _chunk("@running", _NEXT, "INSERT OR REPLACE", rowid="(SELECT min(rowid) FROM run_log_chunk)"),
        _chunk("@running", _NEXT, "INSERT OR REPLACE", rowid="(SELECT max(rowid) FROM run_log_chunk)"),
        # After a gap, over lines that are there, before the first.
        _chunk("@running", "line_count + 2"),
        _chunk("@running", "2"),
        _chunk("@running", "0"),
        _chunk("@running", "-1"),
        # Behind the seal, and into a run that nobody started.
        _chunk(_DONE, _NEXT),
        _chunk("@running", "1", run_id="'x'"),
        # A console that does not begin at its beginning.
        copy_of("run", "@running", run_id="'x'", **FRESH_RUN) + ";" + _chunk("run_id = 'x'", "2"),
    ],
}
PAIRS = [
    pytest.param(guard, sql, id=f"{guard}-{number}") for guard in ATTACKS for number, sql in enumerate(ATTACKS[guard])
]


@pytest.mark.parametrize(("guard", "sql"), PAIRS)
def test_an_attack_is_refused(plain: sqlite3.Connection, guard: str, sql: str) -> None:
    """The statement fails with the sentence of its guard, and no row is another."""
    attack = prepared(plain, sql)
    before = everything(plain)
    sentence = SQLITE_GUARDS[guard].split("ABORT, '")[1].split("'")[0]
    with pytest.raises(sqlite3.IntegrityError, match=sentence):
        plain.execute(attack)
    assert everything(plain) == before


@pytest.mark.parametrize(("guard", "sql"), PAIRS)
def test_without_its_guard_it_succeeds(plain: sqlite3.Connection, guard: str, sql: str) -> None:
    """Nothing else would have stopped it: each guard is needed, and each attack is a real one."""
    plain.execute(f"DROP TRIGGER {guard}")
    assert plain.execute(prepared(plain, sql)).rowcount > 0


def test_every_column_of_a_run_is_kept_or_sealed() -> None:
    """A column that is new is one of both, or it is forgotten here and could be changed."""
    columns = {column.name for column in metadata.tables["run"].columns}
    assert columns == KEPT.keys() | SEALED.keys() | {"line_count"}


def test_the_guards_let_runs_run(plain: sqlite3.Connection) -> None:
    """The next lines and their count, once more, and the seal; a new run, and its first line."""
    for sql in (
        _chunk("@running", _NEXT),
        _run("@running", line_count=_NEXT, log_bytes="log_bytes + 3"),
        _chunk("@running", _NEXT),
        _run("@running", line_count=_NEXT, log_bytes="log_bytes + 3"),
        copy_of("run", "@running", run_id="'x'", line_count="0", log_bytes="0"),
        _chunk("run_id = 'x'", "1"),
        _run("run_id = 'x'", line_count="1"),
        _run("run_id = 'x'", state="'CANCELLED'", finish_time_us="9", log_sha256="zeroblob(32)"),
    ):
        assert plain.execute(spelt_out(sql)).rowcount == 1
