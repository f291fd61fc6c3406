"""The FoundryLog as it is read: in order, without gaps, chained, and without content."""

from __future__ import annotations

import asyncio
import hashlib
import json
import uuid
from typing import Any

import pytest
from google.protobuf import json_format

from coreason.foundry.v1 import audit_pb2, lock_pb2, project_pb2
from tests.service.desk import desk
from tests.service.forms import forms
from tests.service.house import CALLS, MUTATING, House
from tests.service.logs import check_chain, entries_of, events_of
from tests.service.refusals import refused
from tests.service.saves import save_of

pytestmark = pytest.mark.asyncio(loop_scope="module")

#: Free text of payloads, which stands beside the chain.
FREE_TEXT = {"name", "message", "text_sha256", "quote_sha256", "harness"}


async def _life(house: House) -> str:
    """A project to which nearly everything happened."""
    project_id = await house.project(bob=project_pb2.ROLE_EDITOR, mia=project_pb2.ROLE_VIEWER)
    bob = house.caller("bob", name="Bob B.")
    await bob.call(save_of(project_id, {"a": "the text itself"}, message="the message", reason="the reason"))
    async with bob.session(project_id) as session:
        lock = await session.acquire("a")
        request = lock_pb2.BreakLockRequest(
            project_id=project_id, field="a", fencing_token=lock.fencing_token, reason="the break"
        )
        await house.olga.call(request)
        await session.acquire("b")
    requests: dict[str, Any] = forms(project_id)
    requests["RevertDraft"].base_version = 1
    requests["UpdateProject"].project.name = "the new name"
    requests["UpdateProject"].update_mask.paths[:] = ["name", "labels", "policy.require_reason"]
    requests["UpdateProject"].project.policy.require_reason = True
    requests["UpdateProject"].project.labels["a"] = "b"
    await bob.save(project_id, 1, a="other")
    requests["RevertDraft"].base_version = 2
    for name in ("RevertDraft", "UpdateProject"):
        await house.olga.call(requests[name])
    for name in ("RemoveMember", "ArchiveProject", "UnarchiveProject"):
        requests[name].reason = "the reason"
        await house.olga.call(requests[name])
    await _talk_test_and_release(house, project_id)
    return project_id


async def _talk_test_and_release(house: House, project_id: str) -> None:
    """Comments and a run, and the exports; version 3 of ``a`` is frozen."""
    call = house.olga.call
    requests: dict[str, Any] = forms(project_id, field="a")
    requests["CreateComment"].text = "the remark"
    comment_id = (await call(requests["CreateComment"])).comment.comment_id
    requests["StartRun"].harness = "the harness"
    run_id = (await call(requests["StartRun"])).run.run_id
    requests |= forms(project_id, comment_id=comment_id, run_id=run_id)
    requests["RequestFreeze"].expected_version = 3
    requests["UpdateComment"].text = "the second thought"
    closing = ("UpdateComment", "ResolveComment", "DeleteComment", "AppendRunLog", "FinishRun")
    for name in (*closing, "RequestFreeze", "ExportForAssay", "StartRevision"):
        if "reason" in requests[name].DESCRIPTOR.fields_by_name:
            requests[name].reason = "the reason"
        await call(requests[name])
    await house.olga.answers(requests["ExportForPublisher"])


async def test_a_whole_log_verifies_from_its_bytes(house: House) -> None:
    """Canonical JSON, contiguous sequence, ``prev`` the leaf before, leaf the RFC 6962 hash, time never backwards."""
    project_id = await _life(house)
    entries = await entries_of(house.olga, project_id)
    check_chain(project_id, entries)
    unseen = {"session_resumed", "lock_denied", "authentication_failed", "migration_applied"}
    arms = {arm.name for arm in audit_pb2.LogEntry.DESCRIPTOR.oneofs_by_name["payload"].fields}
    assert set(events_of(entries)) == arms - unseen


async def test_what_is_shown_is_what_is_chained(house: House) -> None:
    """Every field of every payload stands in the stored entry under its own name; only free text stands beside it."""
    for entry in await entries_of(house.olga, await _life(house)):
        stored = json.loads(entry.entry_bytes)
        arm = entry.WhichOneof("payload")
        assert arm is not None
        shown = json_format.MessageToDict(getattr(entry, arm), preserving_proto_field_name=True)
        told = type(getattr(entry, arm))()
        json_format.ParseDict(stored["data"], told)
        chained = json_format.MessageToDict(told, preserving_proto_field_name=True)
        assert {key: value for key, value in shown.items() if key not in FREE_TEXT} == chained
        assert not FREE_TEXT & chained.keys()


async def test_no_free_text_and_no_content_is_in_the_chain(house: House) -> None:
    """Text goes in by salted hash, so that it can be redacted; content by its hash. Both are shown while they stand."""
    entries = await entries_of(house.olga, await _life(house))
    chained = b"".join(entry.entry_bytes for entry in entries)
    texts = [b"the text itself", b"the message", b"the reason", b"the break", b"the new name", b"Bob B."]
    for text in (*texts, b"the remark", b"the second thought", b"the harness"):
        assert text not in chained
    assert hashlib.sha256(b"the text itself").hexdigest().encode() in chained
    created = next(entry for entry in entries if entry.HasField("draft_created"))
    assert (created.draft_created.message, created.reason) == ("the message", "the reason")
    assert created.actor.display_name == "Bob B."
    assert json.loads(created.entry_bytes)["text"].startswith("sha256:")


async def test_entries_of_one_call_share_its_correlation_id(house: House) -> None:
    """And stand together; no two calls share one. Those with a request id name it."""
    project_id = await house.project()
    request_id = str(uuid.uuid4())
    await house.olga.call(save_of(project_id, {"a": "1"}, request_id=request_id))
    await house.olga.call(save_of(project_id, {"a": "2"}, 1))
    entries = (await entries_of(house.olga, project_id))[-10:]
    first, second = ({entry.correlation_id for entry in part} for part in (entries[:5], entries[5:]))
    assert len(first) == len(second) == 1
    assert first != second
    named = [json.loads(entry.entry_bytes).get("request_id") for entry in entries if entry.HasField("draft_created")]
    assert named == [request_id, None]


async def test_writers_at_the_same_time_leave_no_gap(house: House) -> None:
    """Forty saves at once: positions contiguous, each save's five entries together, versions in log order."""
    project_id = await house.project(bob=project_pb2.ROLE_EDITOR)
    before = len(await entries_of(house.olga, project_id))
    callers = (house.olga, house.caller("bob"))
    answers = await asyncio.gather(
        *(callers[number % 2].call(save_of(project_id, {f"f{number}": "x"})) for number in range(40))
    )
    entries = await entries_of(house.olga, project_id)
    check_chain(project_id, entries)
    saves = entries[before:]
    one = ["session_opened", "lock_acquired", "draft_created", "lock_released", "session_closed"]
    assert events_of(saves) == one * 40
    assert [save.draft_created.version_number for save in saves[2::5]] == list(range(1, 41))
    told = {answer.draft.version_number: answer.position.sequence for answer in answers}
    assert told == {number + 1: save.position.sequence for number, save in enumerate(saves[4::5])}


async def test_entries_are_filtered_by_event_actor_and_position(house: House) -> None:
    """Each filter finds exactly what reading everything finds; together they restrict each other."""
    project_id = await _life(house)
    everything = await entries_of(house.olga, project_id)

    async def check(keep: Any, **filters: Any) -> None:
        found = await entries_of(house.olga, project_id, **filters)
        assert found == [entry for entry in everything if keep(entry)]

    await check(lambda entry: entry.HasField("draft_created"), events=["draft_created"])
    pair = {"member_set", "member_removed"}
    await check(lambda entry: entry.WhichOneof("payload") in pair, events=[*pair, *pair])
    await check(lambda entry: entry.actor.subject == "bob", actor="bob")
    await check(lambda _: False, actor="nobody")
    await check(lambda _: False, events=["authentication_failed"])
    await check(lambda entry: entry.position.sequence > 5, after_sequence=5)
    await check(lambda _: False, after_sequence=len(everything))
    await check(
        lambda entry: entry.position.sequence > 5 and entry.actor.subject == "bob" and entry.HasField("lock_released"),
        after_sequence=5,
        actor="bob",
        events=["lock_released"],
    )


async def test_a_page_tells_the_head_of_the_log(house: House) -> None:
    """Whatever is filtered away: so that a reader knows what is still to come."""
    project_id = await house.project()
    await house.olga.save(project_id, a="1")
    request = audit_pb2.ListEntriesRequest(project_id=project_id, page_size=2, events=["log_genesis"])
    answer = await house.olga.call(request)
    assert [entry.position.sequence for entry in answer.entries] == [1]
    assert (answer.head.epoch, answer.head.sequence) == (1, 8)


async def test_a_log_begins_with_its_rules(house: House) -> None:
    """Format, hash, canonical form and the installation, the same in the log of every project."""
    firsts = [(await entries_of(house.olga, await house.project()))[0] for _ in range(2)]
    for first in firsts:
        genesis = first.log_genesis
        assert (genesis.format, genesis.hash, genesis.canonical) == (1, "sha256", "rfc8785")
        assert first.actor.subject == "system"
    assert firsts[0].log_genesis.instance_id == firsts[1].log_genesis.instance_id != ""


@pytest.mark.parametrize("role", ["VIEWER", "EDITOR", "OWNER", "AUDITOR"])
async def test_every_member_reads_the_same_log(house: House, role: str) -> None:
    """To the byte."""
    project_id = await house.project(reader=project_pb2.Role.Value(f"ROLE_{role}"))
    await house.olga.save(project_id, a="1")
    assert await entries_of(house.caller("reader"), project_id) == await entries_of(house.olga, project_id)


async def test_a_reader_is_not_logged(house: House) -> None:
    """Reading leaves no entry: no RPC without side effects writes one."""
    async with desk(house) as where, house.unchanged(where.project_id):
        for method in CALLS:
            if method not in MUTATING and method.name not in {"GetLock", "GetFreeze"}:
                await house.olga.call(where.requests()[method.name])
    eve = house.caller("eve")
    await refused(eve.call(forms(where.project_id)["ListEntries"]), "PROJECT_ACCESS_DENIED")
