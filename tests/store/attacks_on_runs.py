"""Attacks on the guards of runs and their consoles."""

from __future__ import annotations

from typing import Final

from tests.store.attacks_on_releases import FRESH_RUN, copy_of

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


def run(where: str, **values: str) -> str:
    told = ", ".join(f"{column} = {value}" for column, value in values.items())
    return f"UPDATE run SET {told} WHERE {where}"  # noqa: S608 - constants of this file


def chunk(where: str, first_line: str, verb: str = "INSERT", *, rowid: str = "NULL", run_id: str = "run_id") -> str:
    return (
        f"{verb} INTO run_log_chunk (rowid, project_id, run_id, first_line, line_count, data)"  # noqa: S608 - see above
        f" SELECT {rowid}, project_id, {run_id}, {first_line}, 1, x'7b7d0a' FROM run WHERE {where}"
    )


NEXT: Final = "line_count + 1"

#: Every guard with attacks that it alone refuses.
ATTACKS_ON_RUNS: Final[dict[str, list[str]]] = {
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
        *(run("@running", **{column: value}) for column, value in KEPT.items()),
        *(run(_DONE, **{column: value}) for column, value in (KEPT | SEALED).items()),
        # A verdict before the end.
        run("@running", log_sha256="zeroblob(32)"),
        run("@running", results="""'[{"name":"x","passed":true,"value":""}]'"""),
        # Once more to the end, and back.
        run(_DONE, state="'RUNNING'"),
        run(_DONE, line_count="line_count"),
        # Lines that are not there, and lines that are, left out; alone and with the seal.
        run("@running", line_count="line_count - 1"),
        run("@running", line_count="line_count + 1"),
        run("@running", line_count="0"),
        run("@running", line_count="0", state="'PASSED'"),
        # A seal that leaves out the line that was stored last.
        chunk("@running", NEXT) + ";" + run("@running", state="'PASSED'"),
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
        chunk("@running", "1", "INSERT OR REPLACE"),
        chunk("@running", "line_count", "INSERT OR REPLACE"),
        chunk("@running", NEXT, "INSERT OR REPLACE", rowid="(SELECT min(rowid) FROM run_log_chunk)"),
        chunk("@running", NEXT, "INSERT OR REPLACE", rowid="(SELECT max(rowid) FROM run_log_chunk)"),
        # After a gap, over lines that are there, before the first.
        chunk("@running", "line_count + 2"),
        chunk("@running", "2"),
        chunk("@running", "0"),
        chunk("@running", "-1"),
        # Behind the seal, and into a run that nobody started.
        chunk(_DONE, NEXT),
        chunk("@running", "1", run_id="'x'"),
        # A console that does not begin at its beginning.
        copy_of("run", "@running", run_id="'x'", **FRESH_RUN) + ";" + chunk("run_id = 'x'", "2"),
    ],
}
