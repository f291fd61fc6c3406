"""The metrics of contention: every lock that was granted, and every one that was not since somebody held the field."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from prometheus_client import REGISTRY

from foundry.clock import SystemClock
from foundry.domain.draft import SaveOutcome
from foundry.domain.entry import Event
from foundry.domain.errors import LockHeld, StaleVersion, Unavailable
from foundry.managers.drafts import RequestedChange, SaveRequest
from foundry.settings import Postgres
from foundry.store.postgres.database import PostgresDatabase
from tests.faults.cluster import behind
from tests.faults.commit_proxy import CommitProxy
from tests.managers.workspace import ALICE, BOB, Workspace, opened


@dataclass
class Contention:
    """What the metrics have grown by."""

    grants: float = 0
    denials: float = 0

    def since(self) -> tuple[float, float]:
        """Grants and denials since the last time."""
        now = [REGISTRY.get_sample_value(f"foundry_lock_{what}_total") or 0.0 for what in ("grants", "denials")]
        grown = now[0] - self.grants, now[1] - self.denials
        self.grants, self.denials = now
        return grown


@pytest.fixture
def contention() -> Contention:
    made = Contention()
    made.since()
    return made


@pytest.fixture(params=["sqlite", "postgres"])
async def workspace(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Workspace]:
    shared = None
    if request.param == "postgres":
        shared = await PostgresDatabase.open(request.getfixturevalue("url"), Postgres(), SystemClock())
    async with opened(tmp_path, shared=shared) as made:
        yield made


async def test_every_grant_is_counted_once(workspace: Workspace, contention: Contention) -> None:
    """Whether it lasts for a session or for a save; one that was given before is none."""
    project_id = await workspace.project(ALICE, BOB)
    session = await workspace.session(project_id)
    assert contention.since() == (0, 0)
    lock = await workspace.lock(session, "topology")
    await workspace.lock(session, "topology")
    assert contention.since() == (1, 0)
    await workspace.save(lock, "{}", 0)
    assert contention.since() == (0, 0)
    for _ in range(2):
        await workspace.save_unary(project_id, 1, {"notes": "a", "system_prompt": "b"}, request_id="again")
    assert contention.since() == (2, 0)
    with pytest.raises(StaleVersion):
        await workspace.save_unary(project_id, 0, {"notes": "c"})
    assert (await workspace.save_unary(project_id, 2, {"notes": "a"})).outcome is SaveOutcome.NO_CHANGE
    tried = SaveRequest(project_id, 2, {}, validate_only=True)
    await workspace.drafts.create_draft(ALICE, tried, [RequestedChange("notes", content=b"c")])
    assert contention.since() == (0, 0)
    acquired = [entry for entry in await workspace.log(project_id) if entry.new.event is Event.LOCK_ACQUIRED]
    assert len(acquired) == 3


async def test_every_refusal_is_counted_once(workspace: Workspace, contention: Contention) -> None:
    """Each field that somebody held; to try is to ask for none."""
    project_id = await workspace.project(ALICE, BOB)
    mine, his = await workspace.session(project_id), await workspace.session(project_id, BOB)
    for name in ("notes", "topology"):
        await workspace.lock(mine, name)
    assert contention.since() == (2, 0)
    with pytest.raises(LockHeld):
        await workspace.lock(his, "notes", BOB)
    assert contention.since() == (0, 1)
    with pytest.raises(LockHeld):
        await workspace.save_unary(project_id, 0, {"notes": "a", "topology": "{}", "system_prompt": "b"}, BOB)
    assert contention.since() == (0, 2)
    tried = SaveRequest(project_id, 0, {}, validate_only=True)
    with pytest.raises(LockHeld):
        await workspace.drafts.create_draft(BOB, tried, [RequestedChange("notes", content=b"c")])
    assert contention.since() == (0, 0)


async def test_a_grant_that_nobody_knows_to_be_one_is_none(url: str, tmp_path: Path, contention: Contention) -> None:
    """Its COMMIT was lost, and did not arrive: it is counted when the repetition is committed."""
    async with CommitProxy(url.rpartition("@")[2].partition("/")[0]) as proxy:
        database = await PostgresDatabase.open(behind(url, proxy.address), Postgres(), SystemClock())
        async with opened(tmp_path, shared=database) as workspace:
            project_id = await workspace.project()
            proxy.arm("before")
            with pytest.raises(Unavailable):
                await workspace.save_unary(project_id, 0, {"notes": "a"}, request_id="once")
            assert contention.since() == (0, 0)
            await workspace.save_unary(project_id, 0, {"notes": "a"}, request_id="once")
            assert contention.since() == (1, 0)
