"""Honest histories, of every kind of version there is: the auditor's query finds nothing in them."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from foundry.clock import SystemClock
from foundry.domain.draft import DraftOrigin
from foundry.managers.drafts import RequestedChange, SaveRequest
from foundry.settings import Postgres
from foundry.store.attribution import attribution_of_directory, attribution_of_url
from foundry.store.postgres.database import PostgresDatabase
from tests.managers.workspace import ALICE, BOB, Workspace, opened
from tests.servers.postgres import PostgresServer, execute


async def live(workspace: Workspace) -> int:
    """Saves, several fields at once, a removal, a revert, a release and what goes on from it; how many changes."""
    project_id = await workspace.project(ALICE, BOB)
    await workspace.save_unary(project_id, 0, {"notes": "a", "system_prompt": "b", "topology": "{}"})
    session = await workspace.session(project_id, BOB)
    locks = [await workspace.lock(session, name, BOB) for name in ("notes", "topology")]
    odd = replace(BOB, principal=replace(BOB.principal, display_name="B\0b"))
    for version in (1, 2):  # under the same lock
        await workspace.save(locks[0], f"text {version}", version, odd, keep=True)
    tokens = {lock.field: lock.fencing_token for lock in locks}
    both = [RequestedChange("notes", content=b"\xc3\xbc"), RequestedChange("topology", remove=True)]
    await workspace.drafts.create_draft(BOB, SaveRequest(project_id, 3, tokens, session.session_id), both)
    reverted = await workspace.drafts.revert(ALICE, SaveRequest(project_id, 4, {}), 1, [])
    assert reverted.draft is not None
    assert len(reverted.draft.changed_fields) == 2
    await workspace.exports.freeze(ALICE, project_id, 5, reason="done")
    revision = await workspace.exports.start_revision(ALICE, project_id)
    imported = await workspace.store.drafts.get(revision.project_id, 1)
    assert imported is not None
    assert imported.origin is DraftOrigin.IMPORT
    await workspace.save_unary(revision.project_id, 1, {"notes": "more"})
    return 3 + 1 + 1 + 2 + 2 + 3 + 1


async def test_in_a_directory(tmp_path: Path) -> None:
    """Also while it is served, and when all free text of the log was redacted."""
    async with opened(tmp_path) as workspace:
        changes = await live(workspace)
        found = await asyncio.to_thread(attribution_of_directory, tmp_path)
        assert (found.changes, found.unattributed) == (changes, ())
        workspace.database.connection.sql("DELETE FROM log_text")
    assert attribution_of_directory(tmp_path) == found


async def test_in_a_shared_database(postgres: PostgresServer, url: str, tmp_path: Path) -> None:
    """The same there."""
    database = await PostgresDatabase.open(url, Postgres(), SystemClock())
    async with opened(tmp_path, shared=database) as workspace:
        changes = await live(workspace)
        found = await asyncio.to_thread(attribution_of_url, url)
        assert (found.changes, found.unattributed) == (changes, ())
    await execute(postgres.owner_url(url.rpartition("/")[2]), "DELETE FROM log_text")
    assert await asyncio.to_thread(attribution_of_url, url) == found


@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
async def test_where_nothing_was_saved_nothing_is_found(kind: str, url: str, tmp_path: Path) -> None:
    """Nothing is said of it but that."""
    if kind == "postgres":
        found = await asyncio.to_thread(attribution_of_url, url)
    else:
        async with opened(tmp_path):
            found = attribution_of_directory(tmp_path)
    assert (found.changes, found.unattributed) == (0, ())
