"""The commands of the deployment, run for real: the roles, the migration, two servers and their end."""

from __future__ import annotations

import asyncio
import contextlib
import time
import urllib.request
from typing import TYPE_CHECKING

import asyncpg
import pytest

from tests.deploy.files import compose, development, seconds
from tests.servers.ports import reserved_port

if TYPE_CHECKING:
    from tests.deploy.installation import Installation
    from tests.stories.processes import Finished


def test_several_migrate_at_once_and_one_does_it(migrations: list[Finished]) -> None:
    """Two hosts may run the same deployment at the same moment; both succeed."""
    said = sorted(done.out for done in migrations)
    assert [done.exit_code for done in migrations] == [0, 0]
    assert "already; rights of foundry_server granted anew" in said[0]
    assert "the schema went from nothing to" in said[1]


def test_the_roles_have_no_power_of_their_own(installation: Installation) -> None:
    """Neither is a superuser, makes roles or databases, or may act as the other."""
    powers = "rolsuper, rolcreaterole, rolcreatedb, rolbypassrls, rolreplication"
    roles = installation.rows(f"SELECT rolname, {powers} FROM pg_roles WHERE rolname LIKE 'foundry%r' ORDER BY 1")  # noqa: S608
    assert roles == [(name, False, False, False, False, False) for name in ("foundry_owner", "foundry_server")]
    assert installation.rows("SELECT pg_has_role('foundry_server', 'foundry_owner', 'MEMBER')") == [(False,)]


def test_the_database_is_ordered_by_code_points(installation: Installation) -> None:
    """Whatever the machine's own language is."""
    found = "SELECT pg_encoding_to_char(encoding), datcollate FROM pg_database WHERE datname = 'foundry'"
    assert installation.rows(found) == [("UTF8", "C")]


async def test_each_role_has_the_password_of_the_environment(installation: Installation) -> None:
    """And no other opens the door."""
    port = installation.postgres.port
    for role, variable in (("foundry_owner", "OWNER_PASSWORD"), ("foundry_server", "SERVER_PASSWORD")):
        right = await asyncpg.connect(f"postgresql://{role}:{development()[variable]}@127.0.0.1:{port}/foundry")
        await right.close()
        with pytest.raises(asyncpg.InvalidPasswordError):
            await asyncpg.connect(f"postgresql://{role}:wrong@127.0.0.1:{port}/foundry")


async def test_a_server_with_the_owners_role_does_not_start(installation: Installation) -> None:
    """It could switch the guards off."""
    url = installation.environment("migrate")["FOUNDRY_OWNER_DATABASE_URL"]
    refused = await installation.command("foundry-1", "serve", FOUNDRY_DATABASE_URL=url)
    assert refused.exit_code == 1
    assert "the server's role may do too much" in refused.err
    assert development()["OWNER_PASSWORD"] not in refused.err


async def test_what_one_server_saves_the_other_reads(installation: Installation) -> None:
    """Two servers, asked whether they are well, used, measured and stopped as Compose does it."""
    assert not await installation.healthy("foundry-1")
    async with installation.serving("foundry-1") as one, installation.serving("foundry-2") as other:
        assert await installation.healthy("foundry-1")
        assert await installation.healthy("foundry-2")
        here, there = installation.connect(one.address, "alice"), installation.connect(other.address, "alice")
        async with here as alice, there as again:
            project = await alice.projects.create("Oncology")
            saved = await alice.drafts.save(project.project_id, {"system_prompt": "Be exact.\n"}, base_version=0)
            read = await again.drafts.get(project.project_id, saved.draft.version_number)
            assert read == await alice.drafts.get(project.project_id, saved.draft.version_number)
        for server in (one, other):
            metrics = await asyncio.to_thread(_metrics, server.metrics)
            assert "foundry_redis_up 1.0" in metrics
            assert "foundry_replica_renewed_seconds" in metrics
        assert [await one.process.terminate(), await other.process.terminate()] == [0, 0]
    assert not await installation.healthy("foundry-1")


async def test_one_server_after_the_other_is_replaced_under_a_lock(installation: Installation) -> None:
    """A rolling upgrade: each leaves in the time that Compose gives it, and nobody loses the pen."""
    grace_s = seconds(compose()["services"]["foundry-1"]["stop_grace_period"])
    listen = f"127.0.0.1:{reserved_port()}"
    async with contextlib.AsyncExitStack() as servers:
        one = await servers.enter_async_context(installation.serving("foundry-1", FOUNDRY_LISTEN=listen))
        other = await servers.enter_async_context(installation.serving("foundry-2"))
        async with (
            installation.connect(f"{one.address},{other.address}", "alice") as alice,
            alice.session((await alice.projects.create("Oncology")).project_id) as session,
            session.lock("system_prompt") as lock,
        ):
            token = lock.fencing_token
            for version, leaving in enumerate((one, other), start=1):
                since_s = time.monotonic()
                assert await leaving.process.terminate() == 0
                assert time.monotonic() - since_s < grace_s
                if leaving is one:
                    await servers.enter_async_context(installation.serving("foundry-1", FOUNDRY_LISTEN=listen))
                saved = await lock.save(f"Version {version}.\n", keep=True)
                assert saved.draft.version_number == version
                assert lock.fencing_token == token


def _metrics(listen: str) -> str:
    with urllib.request.urlopen(f"http://{listen}/metrics", timeout=10) as answer:
        text: str = answer.read().decode()
        return text
