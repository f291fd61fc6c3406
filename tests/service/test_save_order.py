"""Of several things that are wrong with a save, the first of the documented order is told.

Permission, frozen, lock, stale base, invalid content, no change: each request below is wrong in every way that is left.
Content is closed by a review here, because a freeze is for ever; both are told as PROJECT_FROZEN.
"""

from __future__ import annotations

import pytest

from coreason.foundry.v1 import draft_pb2, project_pb2
from tests.service.house import Caller, House
from tests.service.refusals import refused
from tests.service.saves import save_of

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def _desk(house: House) -> str:
    """A project at version 2: ``topology`` changed since version 1, ``notes`` did not."""
    project_id = await house.project(bob=project_pb2.ROLE_EDITOR, vera=project_pb2.ROLE_VIEWER)
    await house.olga.save(project_id, notes="v1", topology="{}")
    await house.olga.save(project_id, 1, topology="[]")
    return project_id


async def _close(house: House, project_id: str, *, archive: bool) -> None:
    if archive:
        await house.olga.call(project_pb2.ArchiveProjectRequest(project_id=project_id))
    else:
        house.put_in_review(project_id)


async def _reopen(house: House, project_id: str) -> None:
    house.put_in_review(project_id, back=True)
    await house.olga.call(project_pb2.UnarchiveProjectRequest(project_id=project_id))


async def test_the_order_of_refusals_without_a_session(house: House) -> None:
    project_id, bob = await _desk(house), house.caller("bob")
    wrong = save_of(project_id, {"notes": "v1", "topology": "{"}, base_version=1)
    async with house.olga.session(project_id) as session:
        lock = await session.acquire("notes")
        house.put_in_review(project_id)
        await refused(house.caller("vera").call(wrong), "ROLE_TOO_LOW")
        await refused(bob.call(wrong), "PROJECT_FROZEN")
        house.put_in_review(project_id, back=True)
        await refused(bob.call(wrong), "LOCK_HELD", field="notes")
        await lock.release()
    await _from_stale_on(house, bob, wrong)


async def test_the_order_of_refusals_within_a_session(house: House) -> None:
    """Archived stands in the place of frozen; a frozen project is told as frozen even when it is archived."""
    project_id, bob = await _desk(house), house.caller("bob")
    wrong = save_of(project_id, {"notes": "v1", "topology": "{"}, base_version=1)
    async with bob.session(project_id) as session:
        wrong.session_id = session.session_id
        await _close(house, project_id, archive=True)
        await refused(house.caller("vera").call(wrong), "ROLE_TOO_LOW")
        await refused(bob.call(wrong), "PROJECT_ARCHIVED")
        await _close(house, project_id, archive=False)
        await refused(bob.call(wrong), "PROJECT_FROZEN")
        await _reopen(house, project_id)
        await refused(bob.call(wrong), "LOCK_REQUIRED", field="notes")
        wrong.locks.add(field="notes", fencing_token=99)
        await refused(bob.call(wrong), "LOCK_LOST", field="notes")
        wrong.locks[0].fencing_token = (await session.acquire("notes")).fencing_token
        await refused(bob.call(wrong), "LOCK_REQUIRED", field="topology")
        wrong.locks.add(field="topology", fencing_token=(await session.acquire("topology")).fencing_token)
        await _from_stale_on(house, bob, wrong)


async def _from_stale_on(house: House, bob: Caller, wrong: draft_pb2.CreateDraftRequest) -> None:
    project_id = wrong.project_id
    async with house.unchanged(project_id):
        await refused(bob.call(wrong), "STALE_VERSION")
        wrong.base_version = 2
        await refused(bob.call(wrong), "INVALID_CONTENT", field="topology")
    wrong.changes[1].text = "[]"
    answer = await bob.call(wrong)
    assert answer.outcome == draft_pb2.SAVE_OUTCOME_NO_CHANGE
    assert answer.draft.version_number == 2


async def test_a_session_that_is_over_comes_before_its_locks(house: House) -> None:
    project_id = await _desk(house)
    wrong = save_of(project_id, {"topology": "{"}, base_version=1, session_id="01994b7e-0000-7000-8000-000000000002")
    async with house.unchanged(project_id):
        await refused(house.olga.call(wrong), "SESSION_CLOSED")
        house.put_in_review(project_id)
        await refused(house.olga.call(wrong), "PROJECT_FROZEN")
        house.put_in_review(project_id, back=True)


async def test_a_revert_is_refused_in_the_same_order(house: House) -> None:
    project_id, bob = await _desk(house), house.caller("bob")
    wrong = draft_pb2.RevertDraftRequest(project_id=project_id, version_number=1, base_version=1)
    async with house.olga.session(project_id) as session:
        lock = await session.acquire("topology")
        house.put_in_review(project_id)
        await refused(house.caller("vera").call(wrong), "ROLE_TOO_LOW")
        await refused(bob.call(wrong), "PROJECT_FROZEN")
        house.put_in_review(project_id, back=True)
        await refused(bob.call(wrong), "LOCK_HELD", field="topology")
        await lock.release()
    await refused(bob.call(wrong), "STALE_VERSION")
