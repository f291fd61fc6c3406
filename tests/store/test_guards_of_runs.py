"""What the guards of runs keep, and what they let through."""

from __future__ import annotations

import sqlite3

from foundry.store.tables import metadata
from tests.store.attacks_on_releases import copy_of, spelt_out
from tests.store.attacks_on_runs import KEPT, NEXT, SEALED, chunk, run


def test_every_column_of_a_run_is_kept_or_sealed() -> None:
    """A column that is new is one of both, or it is forgotten here and could be changed."""
    columns = {column.name for column in metadata.tables["run"].columns}
    assert columns == KEPT.keys() | SEALED.keys() | {"line_count"}


def test_the_guards_let_runs_run(plain: sqlite3.Connection) -> None:
    """The next lines and their count, once more, and the seal; a new run, and its first line."""
    for sql in (
        chunk("@running", NEXT),
        run("@running", line_count=NEXT, log_bytes="log_bytes + 3"),
        chunk("@running", NEXT),
        run("@running", line_count=NEXT, log_bytes="log_bytes + 3"),
        copy_of("run", "@running", run_id="'x'", line_count="0", log_bytes="0"),
        chunk("run_id = 'x'", "1"),
        run("run_id = 'x'", line_count="1"),
        run("run_id = 'x'", state="'CANCELLED'", finish_time_us="9", log_sha256="zeroblob(32)"),
    ):
        assert plain.execute(spelt_out(sql)).rowcount == 1
