"""Saving without a stream: one call, one transaction, one version."""

from __future__ import annotations

import uuid
from typing import Any, Final

import pytest

from coreason.foundry.v1 import audit_pb2, draft_pb2, lock_pb2, project_pb2, session_pb2, types_pb2
from coreason.foundry.v1.draft_pb2 import FieldChange
from tests.service.house import House
from tests.service.refusals import refused
from tests.service.saves import save_of, sha256

pytestmark = pytest.mark.asyncio(loop_scope="module")

COMMITTED, NO_CHANGE = draft_pb2.SAVE_OUTCOME_COMMITTED, draft_pb2.SAVE_OUTCOME_NO_CHANGE


async def _log(house: House, project_id: str, after: int = 0) -> list[Any]:
    request = audit_pb2.ListEntriesRequest(project_id=project_id, after_sequence=after, page_size=1000)
    return list((await house.olga.call(request)).entries)


async def _fields(house: House, project_id: str) -> dict[str, draft_pb2.FieldValue]:
    draft = (await house.olga.call(draft_pb2.GetDraftRequest(project_id=project_id))).draft
    return {field.name: field for field in draft.fields}


async def test_a_save_without_a_session_is_a_session_of_its_own_length(house: House) -> None:
    """It opens, locks, writes, releases and closes, all in one transaction with five entries, and leaves nothing."""
    project_id = await house.project(bob=project_pb2.ROLE_EDITOR)
    before = len(await _log(house, project_id))
    bob = house.caller("bob", name="Bob B.")
    answer = await bob.call(save_of(project_id, {"system_prompt": "v1"}, message="first words", reason="why not"))
    draft, [released] = answer.draft, answer.released_locks
    entries = await _log(house, project_id, before)
    assert [entry.WhichOneof("payload") for entry in entries] == [
        "session_opened",
        "lock_acquired",
        "draft_created",
        "lock_released",
        "session_closed",
    ]
    opened, acquired, created, freed, closed = entries
    assert opened.session_opened.unary
    assert closed.session_closed.close_reason == audit_pb2.SESSION_CLOSE_REASON_UNARY
    assert freed.lock_released.release_reason == lock_pb2.LOCK_RELEASE_REASON_SAVE
    assert acquired.lock_acquired.lock_id == freed.lock_released.lock_id == released.lock_id
    assert created.draft_created.draft_id == draft.draft_id
    assert created.draft_created.message == "first words"
    assert created.reason == "why not"
    assert {entry.session_id for entry in entries} == {draft.session_id}
    assert {entry.actor.subject for entry in entries} == {"bob"}
    assert len({entry.correlation_id for entry in entries}) == 1
    assert len({entry.time.ToNanoseconds() for entry in entries}) == 1
    assert answer.position == closed.position
    assert not (await bob.call(lock_pb2.ListLocksRequest(project_id=project_id))).locks
    assert not (await bob.call(session_pb2.ListSessionsRequest(project_id=project_id))).sessions


async def test_the_answer_tells_the_whole_version(house: House) -> None:
    """Numbers, hashes, author, and the lock that each field was changed under."""
    project_id = await house.project(bob=project_pb2.ROLE_EDITOR)
    await house.olga.save(project_id, b="old", c="same")
    bob = house.caller("bob", name="Bob B.")
    answer = await bob.call(save_of(project_id, {"b": "new", "a": "first"}, 1, message="two fields"))
    draft = answer.draft
    assert answer.outcome == COMMITTED
    assert (draft.project_id, draft.version_number, draft.parent_version) == (project_id, 2, 1)
    assert (draft.origin, draft.source_version) == (draft_pb2.DRAFT_ORIGIN_SAVE, 0)
    assert (draft.author.subject, draft.author.display_name) == ("bob", "Bob B.")
    assert draft.author.kind == types_pb2.PRINCIPAL_KIND_HUMAN
    assert draft.message == "two fields"
    assert not draft.fields
    assert [(change.field, change.before_sha256, change.after_sha256) for change in draft.changed_fields] == [
        ("a", "", sha256("first")),
        ("b", sha256("old"), sha256("new")),
    ]
    locks = {lock.field: (lock.lock_id, lock.fencing_token) for lock in answer.released_locks}
    assert locks == {change.field: (change.lock_id, change.fencing_token) for change in draft.changed_fields}
    assert [token for _, token in locks.values()] == [1, 2]
    project = (await bob.call(project_pb2.GetProjectRequest(project_id=project_id))).project
    assert (project.head_version, project.current_draft_id) == (2, draft.draft_id)
    listed = (await bob.call(draft_pb2.ListDraftsRequest(project_id=project_id))).drafts
    assert listed[0] == draft


#: Field, what it is given as, and kind and media type that come of it.
KINDS: Final = {
    "prompt": (FieldChange(field="system_prompt", text="Be careful.\r\nü"), "TEXT", "text/plain"),
    "empty": (FieldChange(field="notes", text=""), "TEXT", "text/plain"),
    "model_config": (FieldChange(field="model_config", text='{"temperature": 0.5}'), "JSON", "application/json"),
    "topology": (FieldChange(field="topology", text='{"a":1}\n'), "JSON", "application/json"),
    "JSON": (FieldChange(field="x", kind=draft_pb2.FIELD_KIND_JSON, text="[1.0]"), "JSON", "application/json"),
    "YAML": (FieldChange(field="x", kind=draft_pb2.FIELD_KIND_YAML, text="a: 1"), "YAML", "application/yaml"),
    "conversation": (FieldChange(field="few_shot/a", text='{"a":1}\n'), "CONVERSATION_LOG", "application/jsonl"),
    "corpus": (FieldChange(field="test_corpus/a", text="{}\n\n{}"), "TEST_CORPUS", "application/jsonl"),
    "corpus of text": (
        FieldChange(field="test_corpus/a", media_type="text/csv", text="a,b"),
        "TEST_CORPUS",
        "text/csv",
    ),
    "corpus of bytes": (
        FieldChange(field="test_corpus/a", media_type="application/zip", data=b"PK\xff"),
        "TEST_CORPUS",
        "application/zip",
    ),
    "bytes": (
        FieldChange(field="logo", kind=draft_pb2.FIELD_KIND_BINARY, data=b"\0\xff\xfe"),
        "BINARY",
        "application/octet-stream",
    ),
    "named bytes": (
        FieldChange(field="logo", kind=draft_pb2.FIELD_KIND_BINARY, media_type="image/png", data=b"\x89PNG"),
        "BINARY",
        "image/png",
    ),
    "bytes that are text": (
        FieldChange(field="logo", kind=draft_pb2.FIELD_KIND_BINARY, data=b"text"),
        "BINARY",
        "application/octet-stream",
    ),
}


@pytest.mark.parametrize(("change", "kind", "media_type"), KINDS.values(), ids=KINDS)
async def test_a_field_of_every_kind_comes_back_as_it_was_given(
    house: House, change: FieldChange, kind: str, media_type: str
) -> None:
    """Byte for byte, whatever it holds; kind and media type follow the name, or what was said."""
    project_id = await house.project()
    request = save_of(project_id, {})
    request.changes.append(change)
    await house.olga.call(request)
    [field] = (await _fields(house, project_id)).values()
    assert (field.WhichOneof("content"), getattr(field, field.WhichOneof("content") or "")) == (
        change.WhichOneof("content"),
        change.text or change.data or "",
    )
    content = change.text.encode() or change.data
    assert (field.sha256, field.size) == (sha256(content), len(content))
    assert (field.kind, field.media_type) == (draft_pb2.FieldKind.Value(f"FIELD_KIND_{kind}"), media_type)
    assert (field.last_changed_version, field.last_author) == (1, "olga")


async def test_a_field_keeps_its_kind_until_another_is_said(house: House) -> None:
    """A change of kind alone is a change; the media type follows a new kind, and stays with an old one."""
    project_id = await house.project()
    first = save_of(project_id, {"x": "[1]"})
    first.changes[0].kind, first.changes[0].media_type = draft_pb2.FIELD_KIND_JSON, "application/vnd.x+json"
    await house.olga.call(first)
    await house.olga.save(project_id, 1, x="[2]")
    kept = (await _fields(house, project_id))["x"]
    assert (kept.kind, kept.media_type) == (draft_pb2.FIELD_KIND_JSON, "application/vnd.x+json")
    await refused(house.olga.save(project_id, 2, x="no JSON"), "INVALID_CONTENT")
    as_text = save_of(project_id, {"x": "[2]"}, 2)
    as_text.changes[0].kind = draft_pb2.FIELD_KIND_TEXT
    assert (await house.olga.call(as_text)).outcome == COMMITTED
    changed = (await _fields(house, project_id))["x"]
    assert (changed.kind, changed.media_type) == (draft_pb2.FIELD_KIND_TEXT, "text/plain")


async def test_content_that_the_project_has_is_named_by_its_hash(house: House) -> None:
    """Also content of an older version; it is checked again as what the new field is."""
    project_id = await house.project()
    await house.olga.save(project_id, a="[1]")
    await house.olga.save(project_id, 1, a="changed")
    by_hash = save_of(project_id, {}, 2)
    by_hash.changes.add(field="topology", sha256=sha256("[1]"))
    await house.olga.call(by_hash)
    assert (await _fields(house, project_id))["topology"].text == "[1]"
    by_hash.base_version = 3
    by_hash.changes[0].sha256 = sha256("changed")
    await refused(house.olga.call(by_hash), "INVALID_CONTENT", field="topology")


async def test_a_field_is_removed_and_comes_back(house: House) -> None:
    """Removed from the head, readable in the versions before; the lock of the change is recorded like any other."""
    project_id = await house.project()
    await house.olga.save(project_id, a="1", b="1")
    removed = (await house.olga.call(save_of(project_id, {"a": None}, 1))).draft
    [change] = removed.changed_fields
    assert (change.field, change.before_sha256, change.after_sha256) == ("a", sha256("1"), "")
    assert (await _fields(house, project_id)).keys() == {"b"}
    old = await house.olga.call(draft_pb2.GetDraftRequest(project_id=project_id, version_number=1))
    assert [field.name for field in old.draft.fields] == ["a", "b"]
    await house.olga.save(project_id, 2, a="again")
    assert (await _fields(house, project_id))["a"].last_changed_version == 3
    nothing = await house.olga.call(save_of(project_id, {"never": None}, 3))
    assert nothing.outcome == NO_CHANGE


async def test_a_save_that_changes_nothing_makes_no_version_and_no_entry(house: House) -> None:
    """Without a session there is nothing to release either: not a trace."""
    project_id = await house.project()
    empty = await house.olga.call(save_of(project_id, {"a": None}))
    assert (empty.outcome, empty.HasField("draft")) == (NO_CHANGE, False)
    draft = await house.olga.save(project_id, a="1")
    async with house.unchanged(project_id):
        answer = await house.olga.call(save_of(project_id, {"a": "1"}, 1))
    assert (answer.outcome, answer.draft, list(answer.released_locks)) == (NO_CHANGE, draft, [])
    assert answer.position.sequence == (await _log(house, project_id))[-1].position.sequence


async def test_a_save_within_a_session_releases_the_locks_of_its_fields(house: House) -> None:
    """Only theirs, and also those of fields that did not differ; on NO_CHANGE all the same."""
    project_id = await house.project()
    await house.olga.save(project_id, a="1", b="1")
    async with house.olga.session(project_id) as session:
        tokens = {name: (await session.acquire(name)).fencing_token for name in "abc"}
        named = {"session_id": session.session_id, "locks": {"a": tokens["a"], "b": tokens["b"]}}
        saved = await house.olga.call(save_of(project_id, {"a": "2", "b": "1"}, 1, **named))
        assert [change.field for change in saved.draft.changed_fields] == ["a"]
        assert saved.draft.session_id == session.session_id
        assert [lock.field for lock in saved.released_locks] == ["a", "b"]
        held = (await house.olga.call(lock_pb2.ListLocksRequest(project_id=project_id))).locks
        assert [lock.field for lock in held] == ["c"]
        nothing = await house.olga.call(
            save_of(project_id, {"c": None}, 2, session_id=session.session_id, locks={"c": tokens["c"]})
        )
        assert (nothing.outcome, [lock.field for lock in nothing.released_locks]) == (NO_CHANGE, ["c"])
        last = (await _log(house, project_id))[-1]
        assert last.lock_released.release_reason == lock_pb2.LOCK_RELEASE_REASON_SAVE
        assert nothing.position == last.position
        assert not (await house.olga.call(lock_pb2.ListLocksRequest(project_id=project_id))).locks


@pytest.mark.parametrize("text", ["2", "1"], ids=["changed", "not changed"])
async def test_kept_locks_stay_as_they_are(house: House, text: str) -> None:
    """The same grant under the same token, with its idle release put off: or autosave would undo the lock."""
    project_id = await house.project()
    await house.olga.save(project_id, a="1")
    async with house.olga.session(project_id) as session:
        lock = await session.acquire("a")
        request = save_of(
            project_id, {"a": text}, 1, session_id=session.session_id, locks={"a": lock.fencing_token}, keep_locks=True
        )
        answer = await house.olga.call(request)
        assert not answer.released_locks
        held = (await house.olga.call(lock_pb2.GetLockRequest(project_id=project_id, field="a"))).lock
        granted = lock.acquired.lock
        assert (held.lock_id, held.fencing_token) == (granted.lock_id, granted.fencing_token)
        assert held.expire_time.ToNanoseconds() > granted.expire_time.ToNanoseconds()
        again = save_of(
            project_id,
            {"a": "3"},
            answer.draft.version_number,
            session_id=session.session_id,
            locks={"a": lock.fencing_token},
        )
        assert (await house.olga.call(again)).outcome == COMMITTED


@pytest.mark.parametrize("within", [True, False], ids=["within a session", "without a session"])
async def test_a_trial_changes_nothing_and_answers_as_if(house: House, within: bool) -> None:
    """``validate_only``: everything is checked; no version, no lock, no entry, and no request id is used up."""
    project_id = await house.project()
    await house.olga.save(project_id, a="1")
    async with house.olga.session(project_id) as session:
        request = save_of(project_id, {"a": "2"}, 1, validate_only=True, request_id=str(uuid.uuid4()))
        if within:
            request.session_id = session.session_id
            request.locks.add(field="a", fencing_token=(await session.acquire("a")).fencing_token)
        async with house.unchanged(project_id):
            trial = await house.olga.call(request)
            assert (trial.outcome, trial.draft.version_number) == (COMMITTED, 2)
            assert not trial.released_locks
            assert trial.position.sequence == (await _log(house, project_id))[-1].position.sequence
            request.base_version = 0
            await refused(house.olga.call(request), "STALE_VERSION")
        request.base_version, request.validate_only = 1, False
        assert (await house.olga.call(request)).draft.version_number == 2


async def test_the_content_hash_is_of_all_fields_but_the_scratchpad(house: House) -> None:
    """SHA-256 of the canonical manifest as documented, computed here from the answer alone."""
    project_id = await house.project()
    await house.olga.save(project_id, b="1", topology="{}", scratchpad="thoughts")
    draft = (await house.olga.call(draft_pb2.GetDraftRequest(project_id=project_id))).draft
    rows = ",".join(
        f'{{"kind":"{draft_pb2.FieldKind.Name(field.kind).removeprefix("FIELD_KIND_")}",'
        f'"media_type":"{field.media_type}","name":"{field.name}","sha256":"{field.sha256}"}}'
        for field in draft.fields
        if field.name != "scratchpad"
    )
    assert draft.content_sha256 == sha256(f'{{"fields":[{rows}],"v":1}}')
    after = await house.olga.save(project_id, 1, scratchpad="other thoughts")
    assert after.content_sha256 == draft.content_sha256
    assert (await house.olga.save(project_id, 2, b="2")).content_sha256 != draft.content_sha256
