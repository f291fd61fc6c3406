"""A server starts on a database that is what it should be, or says in one sentence why not."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import asyncpg
import pytest

from foundry.clock import SystemClock
from foundry.domain.entry import INSTANCE_LOG
from foundry.settings import Postgres
from foundry.store.entries import EntryRepository
from foundry.store.errors import StoreError
from foundry.store.postgres.database import PostgresDatabase
from foundry.store.postgres.guards import POSTGRES_GUARDS
from foundry.store.postgres.schema import REVISION
from tests.servers.holding import waiting
from tests.servers.ports import reserved_port
from tests.servers.postgres import PostgresServer, execute

LIMITS = Postgres(pool_max=2, connect_limit_s=2.0, lock_limit_s=20.0, statement_limit_s=20.0)


async def started(url: str) -> PostgresDatabase:
    """An open database, as a server of its own has it."""
    return await PostgresDatabase.open(url, LIMITS, SystemClock())


async def refused(url: str) -> str:
    """The sentence with which a start is refused."""
    with pytest.raises(StoreError) as caught:
        await started(url)
    sentence = str(caught.value)
    assert "\n" not in sentence
    return sentence


@pytest.fixture
def name(postgres: PostgresServer) -> Iterator[str]:
    """Name of a migrated database that no server has seen."""
    made = postgres.create_database()
    yield made
    postgres.drop_database(made)


# --- the first start -------------------------------------------------------------------------------------------------


async def test_servers_that_start_together_are_one_installation(postgres: PostgresServer, name: str) -> None:
    """One makes its identity and begins its log; all agree on it, though none may write before all have come."""
    owner = await asyncpg.connect(postgres.owner_url(name))
    async with owner.transaction():
        await owner.execute("LOCK TABLE instance IN EXCLUSIVE MODE")  # which lets readers pass
        starts = [asyncio.create_task(started(postgres.server_url(name))) for _ in range(6)]
        await waiting(owner, 6)
    await owner.close()
    opened = await asyncio.gather(*starts)
    assert len({database.instance_id for database in opened}) == 1
    assert len({database.page_token_key for database in opened}) == 1
    assert {database.epoch for database in opened} == {1}
    entries = await EntryRepository(opened[0]).after(INSTANCE_LOG, 0, 10)
    assert [entry.new.event.value for entry in entries] == ["log_genesis", "migration_applied"]
    await asyncio.gather(*(database.close() for database in opened))


async def test_a_restart_finds_the_same_installation(postgres: PostgresServer, name: str) -> None:
    """Same identity, same keys, the same history, and not one entry more."""
    seen = []
    for _ in range(3):
        database = await started(postgres.server_url(name))
        count = len(await EntryRepository(database).after(INSTANCE_LOG, 0, 10))
        seen.append((database.instance_id, database.page_token_key, database.epoch, count))
        await database.close()
    assert len(set(seen)) == 1


# --- too little ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("table", ["alembic_version", "head", "log_entry"])
async def test_a_role_that_may_do_too_little_is_told_what_to_run(
    postgres: PostgresServer, name: str, table: str
) -> None:
    """Its rights come with the migration; a database that was migrated for another role has none for this one."""
    role = postgres.server_url(name).partition("://")[2].partition(":")[0].partition("@")[0]
    await execute(postgres.owner_url(name), f"REVOKE ALL ON {table} FROM {role}")
    sentence = await refused(postgres.server_url(name))
    assert f"permission denied for table {table}" in sentence
    assert "foundry migrate --server-role" in sentence


async def test_an_option_that_is_none_is_refused(postgres: PostgresServer, name: str) -> None:
    """As Postgres says it."""
    assert "no_such_option" in await refused(f"{postgres.server_url(name)}?no_such_option=5")


# --- no database -----------------------------------------------------------------------------------------------------


async def test_a_database_that_cannot_be_reached_is_a_sentence_without_its_password(
    postgres: PostgresServer, name: str
) -> None:
    """Nobody listens, no such role, no such database, or no URL at all: whatever was in it is not repeated."""
    good = postgres.server_url(name)
    host = good.rpartition("@")[2].partition("/")[0]
    for url in (
        f"postgresql://foundry_server:s3cr3t@127.0.0.1:{reserved_port()}/{name}",
        f"postgresql://nobody_at_all:s3cr3t@{host}/{name}",
        f"postgresql://foundry_server:s3cr3t@{host}/there_is_none",
        f"postgresql://foundry_server:s3cr3t@{host}:notaport/{name}",
        f"mysql://foundry_server:s3cr3t@{host}/{name}",
        f"foundry_server:s3cr3t@{host}/{name}",
        f"postgresql://foundry_server:s3cr3t@{host}/{name}?sslmode=nonsense",
    ):
        sentence = await refused(url)
        assert sentence.startswith("the database at --database-url cannot be used")
        assert "s3cr3t" not in sentence


# --- schemas ---------------------------------------------------------------------------------------------------------


async def test_a_database_without_a_schema_is_to_be_migrated(postgres: PostgresServer, empty: str) -> None:
    sentence = await refused(postgres.server_url(empty))
    assert "has no schema of foundry" in sentence
    assert "foundry migrate" in sentence


async def test_a_schema_that_is_too_old_is_to_be_migrated(postgres: PostgresServer, name: str) -> None:
    await execute(postgres.owner_url(name), "UPDATE alembic_version SET version_num = '0002'")
    sentence = await refused(postgres.server_url(name))
    assert f"is 0002, and this version needs {REVISION}" in sentence
    assert "foundry migrate" in sentence


@pytest.mark.parametrize("marked", [True, False])
async def test_a_schema_that_is_too_new_wants_a_newer_server(postgres: PostgresServer, name: str, marked: bool) -> None:
    """It says from which version on servers can use it; if it does not, this one cannot."""
    serves = "UPDATE instance SET value = '9998'" if marked else "DELETE FROM instance"
    newer = "UPDATE alembic_version SET version_num = '9999'"
    await execute(postgres.owner_url(name), newer, f"{serves} WHERE name = 'schema_serves_from'")
    sentence = await refused(postgres.server_url(name))
    assert "run a newer version of foundry" in sentence


async def test_a_newer_schema_that_serves_this_version_is_used(postgres: PostgresServer, name: str) -> None:
    """Expanded for the next version, with a column and a guard more: servers of both run side by side."""
    await execute(
        postgres.owner_url(name),
        "UPDATE alembic_version SET version_num = '9999'",
        "ALTER TABLE comment ADD COLUMN colour text NOT NULL DEFAULT 'none'",
        "CREATE TRIGGER one_more BEFORE UPDATE ON comment FOR EACH ROW WHEN (false) EXECUTE FUNCTION guard_refuse('')",
    )
    database = await started(postgres.server_url(name))
    assert database.instance_id
    await database.close()


async def test_a_newer_schema_without_a_guard_is_refused_all_the_same(postgres: PostgresServer, name: str) -> None:
    await execute(
        postgres.owner_url(name),
        "UPDATE alembic_version SET version_num = '9999'",
        "ALTER TABLE head DISABLE TRIGGER head_stays_frozen",
    )
    assert "head_stays_frozen" in await refused(postgres.server_url(name))


# --- what a server rests on ------------------------------------------------------------------------------------------


async def test_a_missing_guard_is_named(postgres: PostgresServer, name: str) -> None:
    await execute(postgres.owner_url(name), "DROP TRIGGER field_fence_rises ON field")
    sentence = await refused(postgres.server_url(name))
    assert sentence == (
        "the guards field_fence_rises of the database are missing or altered; the server does not run without them"
    )


async def test_a_role_that_may_do_too_much_does_not_serve(postgres: PostgresServer, name: str) -> None:
    """Neither the owner, nor a server that was given a right which none needs."""
    assert "the server's role may do too much: " in await refused(postgres.owner_url(name))
    await execute(postgres.owner_url(name), f"GRANT UPDATE ON log_entry TO {postgres.server}")
    assert await refused(postgres.server_url(name)) == "the server's role may do too much: it may UPDATE log_entry"


@pytest.mark.parametrize(
    "spoil",
    [
        "DELETE FROM log_entry WHERE log = 'instance' AND sequence = 2",
        "UPDATE log_entry SET entry = entry || ' '::bytea WHERE log = 'instance' AND sequence = 2",
        "UPDATE log_entry SET leaf = sha256('another') WHERE log = 'instance' AND sequence = 2",
        "UPDATE head SET tail = sha256('another') WHERE log = 'instance'",
        "UPDATE head SET last_sequence = 1 WHERE log = 'instance'",
        "DELETE FROM head WHERE log = 'instance'",
        "INSERT INTO head SELECT 'more', state, 0, '', last_sequence, tail, last_time_us FROM head",
    ],
)
async def test_a_log_that_was_cut_or_altered_is_found_at_the_start(
    postgres: PostgresServer, name: str, spoil: str
) -> None:
    """By somebody with a superuser's rights, who switched the guards off and on again."""
    await (await started(postgres.server_url(name))).close()
    tables = ("log_entry", "log_text", "head")
    off = [f"ALTER TABLE {table} DISABLE TRIGGER ALL" for table in tables]
    on = [f"ALTER TABLE {table} ENABLE TRIGGER ALL" for table in tables]
    on += [
        f"ALTER TABLE {guard.table} ENABLE ALWAYS TRIGGER {name_of_it}"
        for name_of_it, guard in POSTGRES_GUARDS.items()
        if guard.table in tables
    ]
    await execute(postgres.admin_url(name), *off, spoil, *on)
    log = "more" if "'more'" in spoil else "instance"
    assert await refused(postgres.server_url(name)) == (
        f"the log {log} does not end where its head says; it was altered or cut"
    )
