"""The guards bite on Postgres, whoever attacks: the server's role, the owner, a superuser who switches triggers off.

The superuser sets ``session_replication_role``, so foreign keys are off and only triggers that fire always are left:
what is refused there is refused by the named guard alone, and each attack is also shown to succeed without it.
"""

from __future__ import annotations

import asyncio
from typing import Any, TypeAlias

import asyncpg
import pytest

from foundry.store.guarded import APPEND_ONLY
from foundry.store.postgres.guards import POSTGRES_GUARDS, REFUSED
from foundry.store.tables import metadata
from tests.servers.postgres import PostgresServer
from tests.store.postgres.attacks import (
    ATTACKS,
    CHANGES,
    COMMENT_KEEPS,
    REPLACING,
    RUN_KEEPS,
    RUN_SEALED,
    SAVING,
    change,
    chunk,
    copy_of,
    quoted,
)

Connection: TypeAlias = "asyncpg.Connection[Any]"

#: What is attacked in tests of its own.
ATTACKED_BELOW = {"draft_change_under_lock", *(f"{table}_no_truncate" for table in metadata.tables)}
PAIRS = [
    pytest.param(guard, sql, id=f"{guard}-{number}") for guard in ATTACKS for number, sql in enumerate(ATTACKS[guard])
]
SENTENCES = {
    "log_entry_contiguous": "log_entry does not continue its log",
    "draft_contiguous": "draft does not continue its project",
    "draft_change_under_lock": "draft_change is not made under its lock",
    "run_log_chunk_contiguous": "run_log_chunk does not continue its run",
    "run_counts_its_lines": "this of run never changes",
}
_RIGHT = "42501"


def sentence_of(guard: str) -> str:
    """What a guard says when it refuses."""
    if "not_frozen" in guard:
        return "the project is frozen"
    return SENTENCES.get(guard) or POSTGRES_GUARDS[guard].sql.split("guard_refuse('")[1].split("'")[0]


async def prepared(connection: Connection, sql: str) -> str:
    """Run all statements of an attack but the last, which nothing forbids; returns that one."""
    *before, attack = sql.split(";")
    for statement in before:
        assert rows(await connection.execute(statement)) > 0
    return attack


def rows(status: str) -> int:
    """How many rows a statement touched."""
    return int(status.rsplit(maxsplit=1)[-1])


_EVERYTHING = " UNION ALL ".join(f"SELECT '{table}', t::text FROM {quoted(table)} t" for table in metadata.tables)  # noqa: S608


async def everything(connection: Connection) -> list[tuple[str, str]]:
    """All rows of all tables."""
    return sorted(tuple(row) for row in await connection.fetch(_EVERYTHING))


async def refused(connection: Connection, attack: str) -> asyncpg.PostgresError:
    """The error of an attack, which changed nothing."""
    before = await everything(connection)
    await connection.execute("SAVEPOINT attack")
    with pytest.raises(asyncpg.PostgresError) as caught:
        await connection.execute(attack)
    await connection.execute("ROLLBACK TO attack")
    assert await everything(connection) == before
    error: asyncpg.PostgresError = caught.value
    return error


async def disabled(connection: Connection, *guards: str) -> None:
    """Go on without these guards."""
    for guard in guards:
        await connection.execute(f"ALTER TABLE {quoted(POSTGRES_GUARDS[guard].table)} DISABLE TRIGGER {guard}")


@pytest.fixture
async def bare(admin: Connection) -> Connection:
    """What an attacker has who is a superuser: nothing that could be switched off is on."""
    await admin.execute("SET LOCAL session_replication_role TO replica")
    return admin


def test_every_guard_is_attacked() -> None:
    """A guard without an attack is a guess."""
    assert {*ATTACKS, *ATTACKED_BELOW} == POSTGRES_GUARDS.keys()


def test_every_column_is_kept_or_known_to_change() -> None:
    """A column that is new takes its place here, or it is forgotten and could be changed."""
    changing = {"state", "assignee", "text_revision", "update_time_us", "edit_time_us", "delete_time_us", "closer"}
    columns = {table: {column.name for column in metadata.tables[table].columns} for table in ("comment", "run")}
    assert columns["comment"] == COMMENT_KEEPS.keys() | changing | {"closed_at_version", "revision"}
    assert columns["run"] == RUN_KEEPS.keys() | RUN_SEALED.keys() | {"line_count"}


@pytest.mark.parametrize(("guard", "sql"), PAIRS)
async def test_an_attack_is_refused(bare: Connection, guard: str, sql: str) -> None:
    """The statement fails with the sentence of its guard, also when triggers are switched off for the session."""
    error = await refused(bare, await prepared(bare, sql))
    assert (error.sqlstate, error.args[0]) == (REFUSED, sentence_of(guard))


@pytest.mark.parametrize(("guard", "sql"), PAIRS)
async def test_without_its_guard_it_succeeds(bare: Connection, guard: str, sql: str) -> None:
    """Nothing else would have stopped it: each guard is needed, and each attack is a real one."""
    attack = await prepared(bare, sql)
    await disabled(bare, guard)
    assert rows(await bare.execute(attack)) > 0


@pytest.mark.parametrize(("guard", "sql"), PAIRS)
async def test_the_owner_is_refused(owner: Connection, guard: str, sql: str) -> None:
    """Owning the tables is no way around their guards."""
    *before, attack = sql.split(";")
    for statement in before:
        try:
            await owner.execute(statement)
        except asyncpg.ForeignKeyViolationError:
            return  # stopped on the way
    error = await refused(owner, attack)
    assert (error.sqlstate, error.args[0]) == (REFUSED, sentence_of(guard))


@pytest.mark.parametrize(("guard", "sql"), PAIRS)
async def test_the_server_is_refused(server: Connection, guard: str, sql: str) -> None:
    """The role that serves lacks the right, or meets the guard."""
    *before, attack = sql.split(";")
    for statement in before:
        try:
            await server.execute(statement)
        except asyncpg.ForeignKeyViolationError:
            return  # stopped on the way
    error = await refused(server, attack)
    writes = attack.startswith("INSERT") or not guard.endswith(("_no_update", "_no_delete"))
    assert error.sqlstate == (REFUSED if writes else _RIGHT)


@pytest.mark.parametrize("table", REPLACING)
async def test_an_insert_does_not_replace(bare: Connection, server: Connection, table: str) -> None:
    """INSERT .. ON CONFLICT DO UPDATE meets the guards of inserts, or those of updates; the server lacks the right."""
    assert (await refused(bare, REPLACING[table])).sqlstate == REFUSED
    assert (await refused(server, REPLACING[table])).sqlstate == (_RIGHT if table in APPEND_ONLY else REFUSED)


@pytest.mark.parametrize("table", metadata.tables)
async def test_no_table_is_emptied(bare: Connection, table: str) -> None:
    """TRUNCATE is refused by a guard of each table, not only by those of the tables that it takes along."""
    guard = f"{table}_no_truncate"
    attack = f"TRUNCATE {quoted(table)} CASCADE"
    await disabled(bare, *(f"{other}_no_truncate" for other in metadata.tables if other != table))
    error = await refused(bare, attack)
    assert (error.sqlstate, error.args[0]) == (REFUSED, sentence_of(guard))
    await disabled(bare, guard)
    assert await bare.execute(attack) == "TRUNCATE TABLE"


@pytest.mark.parametrize("table", metadata.tables)
async def test_the_server_empties_no_table(server: Connection, table: str) -> None:
    """The role that serves may not TRUNCATE anything."""
    assert (await refused(server, f"TRUNCATE {quoted(table)} CASCADE")).sqlstate == _RIGHT


@pytest.mark.parametrize("values", CHANGES.values(), ids=CHANGES)
async def test_a_change_is_made_under_its_lock(server: Connection, values: dict[str, str]) -> None:
    """Session, holder, grant and fence of a change must be those that its field row shows at this moment."""
    await server.execute(SAVING)
    error = await refused(server, change(values))
    assert (error.sqlstate, error.args[0]) == (REFUSED, sentence_of("draft_change_under_lock"))


async def test_a_change_cannot_follow_its_release(server: Connection) -> None:
    """A save that comes after the lock is gone finds no lock."""
    await server.execute(SAVING)
    await server.execute("UPDATE field SET session_id = NULL, lock_id = '' WHERE name = 'topology'")
    assert (await refused(server, change({}))).sqlstate == REFUSED
    assert (await refused(server, change({"session_id": "NULL", "lock_id": "''"}))).sqlstate == REFUSED


async def test_nothing_is_added_to_a_version_of_before(bare: Connection) -> None:
    """Not even under a lock that is held, by a field that says it changed then."""
    await bare.execute("UPDATE field SET last_changed_version = 3 WHERE name = 'topology'")
    assert (await refused(bare, change({"version_number": "3"}))).sqlstate == REFUSED
    await disabled(bare, "draft_change_under_lock")
    assert rows(await bare.execute(change({"version_number": "3"}))) == 1


async def test_a_change_is_written_once(server: Connection) -> None:
    """The honest change passes; the same row again does not."""
    await server.execute(SAVING)
    assert rows(await server.execute(change({}))) == 1
    assert isinstance(await refused(server, change({})), asyncpg.UniqueViolationError)


async def test_without_its_guard_a_change_needs_no_lock(bare: Connection) -> None:
    """What keeps changes under locks is this guard."""
    await bare.execute(SAVING)
    await disabled(bare, "draft_change_under_lock")
    assert rows(await bare.execute(change({"fence": "0", "subject": "'mallory'"}))) == 1


async def test_several_rows_of_one_statement_follow_each_other(server: Connection) -> None:
    """Entries, versions and lines that come in one INSERT are checked one after the other; so is COPY."""
    for sql in (
        (
            "INSERT INTO log_entry VALUES ('instance', 4, '', '', sha256('i3'), sha256('i4'), ''),"
            " ('instance', 5, '', '', sha256('i4'), sha256('i5'), '')"
        ),
        "INSERT INTO run_log_chunk VALUES ('open', 'silent', 1, 2, 'x'), ('open', 'silent', 3, 1, 'x')",
    ):
        assert rows(await server.execute(sql)) == 2
    copied = [("open", "silent", 4, 1, b"x"), ("open", "silent", 5, 1, b"x")]
    assert await server.copy_records_to_table("run_log_chunk", records=copied) == "COPY 2"
    with pytest.raises(asyncpg.PostgresError, match="does not continue its run"):
        await server.copy_records_to_table("run_log_chunk", records=copied)


GRANT = "INSERT INTO lock_grant VALUES ('released', 'system_prompt', 2, 'x', 'over', 'alice', 1)"


async def test_a_table_of_the_attacker_deceives_no_guard(server: Connection) -> None:
    """The guards see our tables, whatever the session searches first."""
    await server.execute("CREATE TEMP TABLE head AS SELECT 'released' AS log, 'ACTIVE' AS state")
    await server.execute("SET LOCAL search_path TO pg_temp, public")
    assert await server.fetchval("SELECT state FROM head") == "ACTIVE"
    assert (await refused(server, GRANT)).sqlstate == REFUSED


async def test_an_operator_of_the_attacker_deceives_no_guard(owner: Connection) -> None:
    """The guards compare with Postgres's own operators."""
    await owner.execute(
        "CREATE SCHEMA evil;"
        "CREATE FUNCTION evil.no(text, text) RETURNS boolean LANGUAGE sql IMMUTABLE RETURN false;"
        "CREATE OPERATOR evil.= (FUNCTION = evil.no, LEFTARG = text, RIGHTARG = text);"
        "SET LOCAL search_path TO evil, pg_catalog, public"
    )
    assert await owner.fetchval("SELECT 'a'::text = 'a'::text") is False
    with pytest.raises(asyncpg.PostgresError, match="the project is frozen"):
        await owner.execute(GRANT)


FREEZE = "UPDATE head SET state = 'FROZEN' WHERE log = 'open'"
SEAL = "UPDATE run SET state = 'PASSED' WHERE run_id = 'running'"
RACES = {
    "a grant and a freeze": (FREEZE, copy_of("lock_grant", "fence = 1 AND field = 'topology'", fence="9")),
    "a line and a seal": (SEAL, chunk("running", "4")),
}


@pytest.mark.parametrize(("first", "late"), RACES.values(), ids=RACES)
async def test_who_is_late_waits_and_is_refused(postgres: PostgresServer, own: str, first: str, late: str) -> None:
    """A guard does not pass a write because the end that forbids it is not committed yet."""
    ending = await asyncpg.connect(postgres.server_url(own))
    writing = await asyncpg.connect(postgres.server_url(own))
    async with asyncio.timeout(20):
        await ending.execute("BEGIN")
        await ending.execute(first)
        write = asyncio.create_task(writing.execute(late))
        while not await ending.fetchval("SELECT cardinality(pg_blocking_pids($1))", writing.get_server_pid()):
            assert not write.done()
        await ending.execute("COMMIT")
        with pytest.raises(asyncpg.PostgresError) as caught:
            await write
    assert caught.value.sqlstate == REFUSED
    await ending.close()
    await writing.close()
