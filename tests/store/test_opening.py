"""Opening the store: what it refuses to run on, and whom it lets near its files."""
# ruff: noqa: S608 - the attacks are SQL, put together

from __future__ import annotations

import os
import sqlite3
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from foundry.store.errors import StoreError
from foundry.store.sqlite.database import SqliteDatabase
from foundry.store.sqlite.guards import SQLITE_GUARDS
from tests.store.manual_clock import ManualClock

HASH = b"\x01" * 32


def open_files(directory: Path) -> list[str]:
    """Files in a directory that this process has open."""
    names = [str(number.readlink()) for number in Path("/proc/self/fd").iterdir() if number.is_symlink()]
    return [name for name in names if name.startswith(str(directory))]


@pytest.fixture
def usual_umask() -> Iterator[None]:
    """The umask of most systems, which lets everybody read."""
    before = os.umask(0o022)
    yield
    os.umask(before)


def modes(directory: Path) -> dict[str, int]:
    """The mode of each file in a directory."""
    return {path.name: stat.S_IMODE(path.stat().st_mode) for path in directory.iterdir()}


def open_directory(parent: Path) -> Path:
    """A directory that everybody may look into."""
    directory = parent / "open"
    directory.mkdir(mode=0o755)
    return directory


async def test_only_the_owner_can_read(tmp_path: Path, usual_umask: None) -> None:
    """The directory is made 0700 and every file in it 0600, whatever the umask."""
    database = SqliteDatabase(tmp_path / "made", ManualClock())
    found = modes(tmp_path / "made")
    await database.close()
    assert found == dict.fromkeys(found, 0o600)
    assert {"foundry.sqlite3", "foundry.sqlite3-wal", "foundry.lock"} <= found.keys()
    assert modes(tmp_path) == {"made": 0o700}


async def test_files_are_private_in_an_open_directory_too(tmp_path: Path, usual_umask: None) -> None:
    """A directory that was there before keeps its mode; the files do not depend on it."""
    directory = open_directory(tmp_path)
    database = SqliteDatabase(directory, ManualClock())
    found = modes(directory)
    await database.close()
    assert found == dict.fromkeys(found, 0o600)
    assert modes(tmp_path) == {"open": 0o755}


async def test_one_server_at_a_time(data_dir: Path) -> None:
    """A second opening is refused in a sentence and harms nobody; after the first has closed, it works."""
    database = SqliteDatabase(data_dir, ManualClock())
    with pytest.raises(StoreError, match=f"another server uses the data directory {data_dir}"):
        SqliteDatabase(data_dir, ManualClock())
    assert database.connection.rows_sql("SELECT count(*) FROM instance") == [(5,)]
    await database.close()
    await SqliteDatabase(data_dir, ManualClock()).close()
    assert open_files(data_dir) == []


async def test_every_commit_is_synced_and_foreign_keys_are_on(data_dir: Path) -> None:
    """An acknowledged save survives a power cut, and no row points to nothing."""
    database = SqliteDatabase(data_dir, ManualClock())
    writer = database.connection
    pragmas = [writer.rows_sql(f"PRAGMA {name}")[0][0] for name in ("foreign_keys", "journal_mode", "synchronous")]
    assert pragmas == [1, "wal", 2]
    assert writer.rows_sql("PRAGMA recursive_triggers") == [(1,)]
    with pytest.raises(sqlite3.IntegrityError, match="FOREIGN KEY"):
        writer.sql("INSERT INTO member VALUES ('no such project', 'mallory', 'OWNER', '', 0)")
    with pytest.raises(sqlite3.OperationalError, match="readonly"):
        database.reader.sql("DELETE FROM member")
    await database.close()


@pytest.mark.parametrize("guard", sorted(SQLITE_GUARDS))
@pytest.mark.parametrize("altered", [False, True])
async def test_a_missing_or_altered_guard_is_named(
    data_dir: Path, plain: sqlite3.Connection, guard: str, *, altered: bool
) -> None:
    """The server does not run without its guards, and lets go of everything; put back, it runs."""
    plain.execute(f"DROP TRIGGER {guard}")
    if altered:
        plain.execute(SQLITE_GUARDS[guard].replace("BEGIN SELECT", "BEGIN SELECT 1 WHERE 0; SELECT"))
    with pytest.raises(StoreError, match=f"guards {guard} of .* are missing or altered"):
        SqliteDatabase(data_dir, ManualClock())
    if altered:
        plain.execute(f"DROP TRIGGER {guard}")
    plain.execute(SQLITE_GUARDS[guard])
    assert not [name for name in open_files(data_dir) if name.endswith(".lock")]
    await SqliteDatabase(data_dir, ManualClock()).close()


def without_guards(plain: sqlite3.Connection, *attack: tuple[str, tuple[object, ...]]) -> None:
    """What an administrator of the machine can do: take the guards away, do it, put them back."""
    for name in SQLITE_GUARDS:
        plain.execute(f"DROP TRIGGER {name}")
    for sql, values in attack:
        plain.execute(sql, values)
    for sql in SQLITE_GUARDS.values():
        plain.execute(sql)


_LAST = "WHERE log = 'instance' AND sequence = (SELECT max(sequence) FROM log_entry WHERE log = 'instance')"
TAMPERED = {
    "the last entry is cut off": (f"DELETE FROM log_entry {_LAST}", ()),
    "all entries are cut off": ("DELETE FROM log_entry WHERE log = 'instance'", ()),
    "the last entry says something else": (
        f"UPDATE log_entry SET entry = CAST(replace(CAST(entry AS TEXT), 'denied', 'ok') AS BLOB) {_LAST}",
        (),
    ),
    "the last leaf is another": (f"UPDATE log_entry SET leaf = ? {_LAST}", (HASH,)),
    "an entry was put behind the head": (
        "INSERT INTO log_entry SELECT log, sequence + 1, event, actor_subject, leaf, ?, entry FROM log_entry " + _LAST,
        (HASH,),
    ),
    "the head was moved back": ("UPDATE head SET last_sequence = last_sequence - 1 WHERE log = 'instance'", ()),
    "the head's tail is another": ("UPDATE head SET tail = ? WHERE log = 'instance'", (HASH,)),
    "the head is gone": ("DELETE FROM head WHERE log = 'instance'", ()),
}


@pytest.mark.parametrize("attack", TAMPERED.values(), ids=TAMPERED)
@pytest.mark.parametrize("log", ["instance", "project"])
def test_a_cut_or_altered_tail_is_refused(
    data_dir: Path, plain: sqlite3.Connection, attack: tuple[str, tuple[object, ...]], log: str
) -> None:
    """A log must end where its head says, with the entry that the head's hash names."""
    sql, values = attack
    if log == "project":
        name = plain.execute("SELECT project_id FROM project").fetchone()[0]
        sql = sql.replace("'instance'", f"'{name}'")
    without_guards(plain, (sql, values))
    with pytest.raises(StoreError, match="does not end where its head says; it was altered or cut"):
        SqliteDatabase(data_dir, ManualClock())
    assert not [name for name in open_files(data_dir) if name.endswith(".lock")]


@pytest.mark.parametrize("spoil", ["header", "pages"])
def test_a_file_that_is_no_database_is_a_sentence(data_dir: Path, spoil: str) -> None:
    """A spoilt file is refused with its name, not with a traceback."""
    path = data_dir / "foundry.sqlite3"
    data = bytearray(path.read_bytes())
    start = 0 if spoil == "header" else 4096
    data[start:] = b"\xa5" * (len(data) - start)
    path.write_bytes(data)
    with pytest.raises(StoreError, match=r"foundry\.sqlite3 cannot be opened as a database"):
        SqliteDatabase(data_dir, ManualClock())
    assert not [name for name in open_files(data_dir) if name.endswith(".lock")]
