"""Reverting: a new version whose fields are those of an older one."""

from __future__ import annotations

from typing import Any

import pytest

from coreason.foundry.v1 import audit_pb2, draft_pb2, lock_pb2, project_pb2
from coreason.foundry.v1.draft_pb2 import GetDraftRequest, RevertDraftRequest
from tests.service.house import Caller, House
from tests.service.refusals import blamed, refused
from tests.service.saves import save_of, sha256

pytestmark = pytest.mark.asyncio(loop_scope="module")

COMMITTED, NO_CHANGE = draft_pb2.SAVE_OUTCOME_COMMITTED, draft_pb2.SAVE_OUTCOME_NO_CHANGE


async def _revert(caller: Caller, project_id: str, version: int, base: int, **more: Any) -> Any:
    """The response to a revert."""
    return await caller.call(
        RevertDraftRequest(project_id=project_id, version_number=version, base_version=base, **more)
    )


async def _texts(house: House, project_id: str, version: int = 0) -> dict[str, str]:
    request = GetDraftRequest(project_id=project_id)
    if version:
        request.version_number = version
    draft = (await house.olga.call(request)).draft
    return {field.name: field.text for field in draft.fields}


async def _history(house: House) -> str:
    """Three versions: a changed, b stayed, c went, d came, and thoughts went on."""
    project_id = await house.project(bob=project_pb2.ROLE_EDITOR)
    await house.olga.save(project_id, a="1", b="1", c="1", scratchpad="1")
    await house.olga.call(save_of(project_id, {"a": "2", "c": None, "scratchpad": "2"}, 1))
    await house.olga.save(project_id, 2, a="3", d="3", scratchpad="3")
    return project_id


async def test_a_revert_restores_every_field_but_the_scratchpad(house: House) -> None:
    """Changed ones, removed ones and added ones; the thoughts of today stay, and the versions between are readable."""
    project_id, bob = await _history(house), house.caller("bob")
    answer = await _revert(bob, project_id, 1, 3, message="back to the start", reason="it was better")
    draft = answer.draft
    assert answer.outcome == COMMITTED
    assert await _texts(house, project_id) == {"a": "1", "b": "1", "c": "1", "scratchpad": "3"}
    assert await _texts(house, project_id, 3) == {"a": "3", "b": "1", "d": "3", "scratchpad": "3"}
    assert (draft.version_number, draft.parent_version, draft.source_version) == (4, 3, 1)
    assert (draft.origin, draft.author.subject) == (draft_pb2.DRAFT_ORIGIN_REVERT, "bob")
    assert [(change.field, change.before_sha256, change.after_sha256) for change in draft.changed_fields] == [
        ("a", sha256("3"), sha256("1")),
        ("c", "", sha256("1")),
        ("d", sha256("3"), ""),
    ]
    first = (await house.olga.call(GetDraftRequest(project_id=project_id, version_number=1))).draft
    assert draft.content_sha256 == first.content_sha256


async def test_a_revert_is_logged_like_a_save(house: House) -> None:
    """A session of its own length with a lock for each changed field, and where it came from."""
    project_id = await _history(house)
    before = (await house.state(project_id)).entries
    answer = await _revert(house.olga, project_id, 1, 3, message="back", reason="because")
    request = audit_pb2.ListEntriesRequest(project_id=project_id, after_sequence=before)
    entries = (await house.olga.call(request)).entries
    assert [entry.WhichOneof("payload") for entry in entries] == [
        "session_opened",
        *["lock_acquired"] * 3,
        "draft_created",
        *["lock_released"] * 3,
        "session_closed",
    ]
    created = entries[4].draft_created
    assert (created.origin, created.source_version) == (draft_pb2.DRAFT_ORIGIN_REVERT, 1)
    assert (created.message, entries[4].reason) == ("back", "because")
    assert list(created.changed_fields) == list(answer.draft.changed_fields)
    assert [lock.field for lock in answer.released_locks] == ["a", "c", "d"]
    assert answer.position == entries[-1].position


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        (["a"], {"a": "1", "b": "1", "d": "3", "scratchpad": "3"}),
        (["c", "d"], {"a": "3", "b": "1", "c": "1", "scratchpad": "3"}),
        (["scratchpad"], {"a": "3", "b": "1", "d": "3", "scratchpad": "1"}),
        (["a", "a", "b"], {"a": "1", "b": "1", "d": "3", "scratchpad": "3"}),
    ],
    ids=str,
)
async def test_only_named_fields_are_restored(house: House, fields: list[str], expected: dict[str, str]) -> None:
    """The scratchpad, too, when it is named."""
    project_id = await _history(house)
    await _revert(house.olga, project_id, 1, 3, fields=fields)
    assert await _texts(house, project_id) == expected


async def test_a_revert_can_be_reverted(house: House) -> None:
    """An ordinary edit: nothing is ever lost."""
    project_id = await _history(house)
    before = await _texts(house, project_id)
    await _revert(house.olga, project_id, 1, 3)
    await _revert(house.olga, project_id, 3, 4)
    assert await _texts(house, project_id) == before


async def test_a_removed_and_added_again_field_is_restored(house: House) -> None:
    """As it was at that version: with its kind and media type, whatever it became meanwhile."""
    project_id = await house.project()
    await house.olga.save(project_id, topology="{}", b="1")
    await house.olga.call(save_of(project_id, {"topology": None}, 1))
    as_text = save_of(project_id, {"topology": "words"}, 2)
    as_text.changes[0].kind = draft_pb2.FIELD_KIND_TEXT
    await house.olga.call(as_text)
    await _revert(house.olga, project_id, 1, 3)
    draft = (await house.olga.call(GetDraftRequest(project_id=project_id, fields=["topology"]))).draft
    [field] = draft.fields
    assert (field.text, field.kind, field.media_type) == ("{}", draft_pb2.FIELD_KIND_JSON, "application/json")
    await _revert(house.olga, project_id, 2, 4)
    assert await _texts(house, project_id) == {"b": "1"}


async def test_a_revert_to_what_is_there_changes_nothing(house: House) -> None:
    project_id = await _history(house)
    async with house.unchanged(project_id):
        for version, fields in ((3, []), (1, ["b"])):
            answer = await _revert(house.olga, project_id, version, 3, fields=fields)
            assert (answer.outcome, answer.draft.version_number) == (NO_CHANGE, 3)


async def test_a_stale_revert_is_refused(house: House) -> None:
    """It undoes what the caller has not seen: any field but the scratchpad counts, or the named ones."""
    project_id, bob = await _history(house), house.caller("bob")
    await bob.save(project_id, 3, e="by bob", scratchpad="by bob")
    async with house.unchanged(project_id):
        refusal = await refused(_revert(house.olga, project_id, 1, 3), "STALE_VERSION", head_version="4")
        assert {key for key in refusal.metadata if key.startswith("changed")} == {
            "changed:e:version",
            "changed:e:author",
        }
        await refused(_revert(house.olga, project_id, 1, 3, fields=["scratchpad"]), "STALE_VERSION")
    await _revert(house.olga, project_id, 1, 3, fields=["a"])
    await bob.save(project_id, 5, scratchpad="again")
    assert (await _revert(house.olga, project_id, 1, 5)).draft.version_number == 7


async def test_a_field_that_changed_and_changed_back_makes_a_revert_stale(house: House) -> None:
    """The whole project was decided on, so any change counts, also of a field that the revert would leave alone."""
    project_id = await _history(house)
    await house.olga.save(project_id, 3, b="2")
    await house.olga.save(project_id, 4, b="1")
    async with house.unchanged(project_id):
        await refused(_revert(house.olga, project_id, 1, 3), "STALE_VERSION", **{"changed:b:version": "5"})


async def test_a_revert_needs_the_locks_of_what_changes(house: House) -> None:
    """And of nothing else; whoever holds one is named."""
    project_id = await _history(house)
    async with house.caller("bob").session(project_id) as session:
        await session.acquire("b")
        await session.acquire("scratchpad")
        held = await session.acquire("d")
        async with house.unchanged(project_id):
            refusal = await refused(_revert(house.olga, project_id, 1, 3), "LOCK_HELD", field="d", holder="bob")
        assert [subject for subject, _ in refusal.violations] == ["fields/d"]
        await held.release()
        assert (await _revert(house.olga, project_id, 1, 3)).outcome == COMMITTED


async def test_a_revert_within_a_session(house: House) -> None:
    """Shows the token of each changing field, as a save does, and gives those locks back unless they are kept."""
    project_id = await _history(house)
    async with house.olga.session(project_id) as session:
        tokens = {name: (await session.acquire(name)).fencing_token for name in "abcd"}
        locks = [lock_pb2.LockToken(field=name, fencing_token=tokens[name]) for name in "acd"]
        within = {"session_id": session.session_id}
        async with house.unchanged(project_id):
            await refused(_revert(house.olga, project_id, 1, 3, **within, locks=locks[:2]), "LOCK_REQUIRED", field="d")
            trial = await _revert(house.olga, project_id, 1, 3, **within, locks=locks, validate_only=True)
            assert (trial.outcome, trial.draft.version_number) == (COMMITTED, 4)
        kept = await _revert(house.olga, project_id, 1, 3, **within, locks=locks, keep_locks=True)
        assert (kept.draft.version_number, list(kept.released_locks)) == (4, [])
        answer = await _revert(house.olga, project_id, 3, 4, **within, locks=locks)
        assert [lock.field for lock in answer.released_locks] == ["a", "c", "d"]
        held = (await house.olga.call(lock_pb2.ListLocksRequest(project_id=project_id))).locks
        assert [lock.field for lock in held] == ["b"]


async def test_what_a_revert_may_name(house: House) -> None:
    """A version and fields that exist, and no lock without a session."""
    project_id = await _history(house)
    async with house.unchanged(project_id):
        missing = _revert(house.olga, project_id, 4, 3)
        await refused(missing, "RESOURCE_NOT_FOUND", resource_type="draft", resource_id="4")
        missing = _revert(house.olga, project_id, 1, 3, fields=["a", "never"])
        await refused(missing, "RESOURCE_NOT_FOUND", resource_type="field", resource_id="never")
        await blamed(_revert(house.olga, project_id, 1, 3, fields=["Not a path"]), "fields")
        await blamed(_revert(house.olga, project_id, 1, 4), "base_version")
        await blamed(_revert(house.olga, project_id, 1, 3, keep_locks=True), "keep_locks")


async def test_a_revert_goes_back_across_a_leaf_that_became_a_path(house: House) -> None:
    """``topology`` became ``topology/graph``: one save removes the one and brings back the other."""
    project_id = await house.project()
    await house.olga.save(project_id, topology="{}")
    await house.olga.call(save_of(project_id, {"topology": None}, 1))
    await house.olga.save(project_id, 2, **{"topology/graph": "x"})
    await _revert(house.olga, project_id, 1, 3)
    assert await _texts(house, project_id) == {"topology": "{}"}
