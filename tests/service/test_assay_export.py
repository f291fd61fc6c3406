"""A version as a test harness gets it: the whole content, the same bytes every time, and the proof of what it is."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
import rfc8785

from coreason.foundry.v1 import audit_pb2, draft_pb2, export_pb2, project_pb2
from tests.service.house import Caller, House
from tests.service.logs import entries_of
from tests.service.refusals import blamed, refused
from tests.service.releases import CONTENT, content_sha256, export_for_assay, save_all, sha256
from tests.service.saves import save_of

pytestmark = pytest.mark.asyncio(loop_scope="module")

_MIB = 1024 * 1024


async def _filled(house: House, **roles: project_pb2.Role.ValueType) -> str:
    project_id = await house.project(**roles)
    await save_all(house.olga, project_id)
    return project_id


async def _draft(caller: Caller, project_id: str, version: int) -> draft_pb2.Draft:
    answer = await caller.call(draft_pb2.GetDraftRequest(project_id=project_id, version_number=version))
    draft: draft_pb2.Draft = answer.draft
    return draft


def _refused_request(project_id: str, **wanted: Any) -> export_pb2.ExportForAssayRequest:
    return export_pb2.ExportForAssayRequest(project_id=project_id, **wanted)


# --- what it is ---


async def test_the_payload_is_the_version_field_by_field(house: House) -> None:
    """Everything that GetDraft shows, text as text and all else in base64; nothing more, and canonical."""
    project_id = await _filled(house)
    export = await export_for_assay(house.olga, project_id, include_scratchpad=True)
    draft = await _draft(house.olga, project_id, 1)
    payload = json.loads(export.payload)
    fields = payload.pop("fields")
    assert payload == {
        "content_sha256": draft.content_sha256,
        "draft_id": draft.draft_id,
        "project_id": project_id,
        "schema": "foundry.agent/v1",
        "version_number": 1,
    }
    assert fields.keys() == CONTENT.keys()
    for shown in draft.fields:
        field = fields[shown.name]
        content = shown.text.encode() if shown.WhichOneof("content") == "text" else shown.data
        told = field.pop("text").encode() if "text" in field else base64.b64decode(field.pop("data_base64"))
        assert (told, sha256(told)) == (content, field["sha256"])
        kind = draft_pb2.FieldKind.Name(shown.kind).removeprefix("FIELD_KIND_")
        assert field == {"kind": kind, "media_type": shown.media_type, "sha256": shown.sha256}
    assert rfc8785.dumps(json.loads(export.payload)) == export.payload
    assert export.payload_sha256 == sha256(export.payload)


async def test_binary_content_is_never_taken_for_text(house: House) -> None:
    """BINARY is base64 even where its bytes would be text; content of other kinds only where they would not."""
    project_id = await house.project()
    changes = save_of(project_id, {"logo": b"plain", "test_corpus/scan": b"\xff", "test_corpus/plain": b"text"})
    for change in changes.changes:
        change.media_type = "image/png"
    changes.changes[0].kind = draft_pb2.FIELD_KIND_BINARY
    await house.olga.call(changes)
    fields = json.loads((await export_for_assay(house.olga, project_id)).payload)["fields"]
    assert {name: sorted(field.keys() & {"text", "data_base64"}) for name, field in fields.items()} == {
        "logo": ["data_base64"],
        "test_corpus/scan": ["data_base64"],
        "test_corpus/plain": ["text"],
    }


async def test_the_manifest_gives_the_content_hash(house: House) -> None:
    """A harness that trusts nobody hashes each field, builds the manifest as the contract words it, and hashes that."""
    project_id = await _filled(house)
    export = await export_for_assay(house.olga, project_id)
    fields = json.loads(export.payload)["fields"]
    rebuilt = []
    for name, field in fields.items():
        content = field["text"].encode() if "text" in field else base64.b64decode(field["data_base64"])
        rebuilt.append(
            {"kind": field["kind"], "media_type": field["media_type"], "name": name, "sha256": sha256(content)}
        )
    draft = await _draft(house.olga, project_id, 1)
    assert sha256(export.manifest.encode()) == export.content_sha256 == draft.content_sha256
    assert content_sha256(rebuilt) == export.content_sha256
    assert json.loads(export.manifest)["fields"] == sorted(rebuilt, key=lambda field: field["name"])
    assert (export.project_id, export.version_number, export.draft_id) == (project_id, 1, draft.draft_id)


async def test_the_scratchpad_comes_only_when_asked_for(house: House) -> None:
    """And neither manifest nor content hash ever know of it."""
    project_id = await _filled(house)
    without = await export_for_assay(house.olga, project_id)
    with_it = await export_for_assay(house.olga, project_id, include_scratchpad=True)
    assert json.loads(without.payload)["fields"].keys() == CONTENT.keys() - {"scratchpad"}
    assert json.loads(with_it.payload)["fields"]["scratchpad"]["text"] == CONTENT["scratchpad"]
    assert "scratchpad" not in with_it.manifest
    assert (without.manifest, without.content_sha256) == (with_it.manifest, with_it.content_sha256)


# --- which version ---


async def test_number_id_and_head_name_the_same_version(house: House) -> None:
    """The same bytes, by whomever, however often, and whatever was saved since."""
    project_id = await _filled(house, vera=project_pb2.ROLE_VIEWER)
    olga, vera = house.olga, house.caller("vera")
    head = await export_for_assay(olga, project_id)
    await olga.save(project_id, 1, system_prompt="Something else.\n")
    by_number = await export_for_assay(vera, project_id, version_number=1)
    by_id = await export_for_assay(olga, project_id, draft_id=head.draft_id)
    assert head == by_number == by_id
    assert (await export_for_assay(vera, project_id)).version_number == 2


async def test_a_removed_field_is_no_part_of_the_payload(house: House) -> None:
    """A version with nothing in it is a version too."""
    project_id = await house.project()
    await house.olga.save(project_id, system_prompt="one")
    await house.olga.call(save_of(project_id, {"system_prompt": None}, 1))
    export = await export_for_assay(house.olga, project_id)
    assert json.loads(export.payload)["fields"] == {}
    assert (export.manifest, export.version_number) == ('{"fields":[],"v":1}', 2)


async def test_what_there_is_not_cannot_be_exported(house: House) -> None:
    """No version yet, a number to come, an id of nothing, and a version of another project."""
    project_id, other = await house.project(), await _filled(house)
    theirs = (await export_for_assay(house.olga, other)).draft_id
    await refused(
        house.olga.call(_refused_request(project_id)), "RESOURCE_NOT_FOUND", resource_type="draft", resource_id="head"
    )
    await house.olga.save(project_id, system_prompt="one")
    for wanted, name in (
        ({"version_number": 2}, "2"),
        ({"version_number": 2**63 - 1}, str(2**63 - 1)),
        ({"draft_id": theirs}, theirs),
        ({"draft_id": "nonsense"}, "nonsense"),
        ({"draft_id": ""}, ""),
    ):
        request = _refused_request(project_id, **wanted)
        async with house.unchanged(project_id):
            await refused(house.olga.call(request), "RESOURCE_NOT_FOUND", resource_type="draft", resource_id=name)


@pytest.mark.parametrize("version", [0, -1, -(2**63)])
async def test_versions_count_from_1(house: House, version: int) -> None:
    """0 is not the head: that is asked for by naming none."""
    project_id = await _filled(house)
    await blamed(house.olga.call(_refused_request(project_id, version_number=version)), "version_number")


# --- how much ---


async def _fill_up(house: House, sizes: list[int]) -> str:
    project_id = await house.project()
    for number, size in enumerate(sizes):
        change = draft_pb2.FieldChange(field=f"data_{number}", data=bytes(size), kind=draft_pb2.FIELD_KIND_BINARY)
        await house.olga.call(
            draft_pb2.CreateDraftRequest(project_id=project_id, changes=[change], base_version=number)
        )
    return project_id


async def test_8_mib_of_content_can_be_exported_and_not_a_byte_more(house: House) -> None:
    """The refusal says how much there is. The scratchpad counts only where it comes along."""
    project_id = await _fill_up(house, [3 * _MIB, 3 * _MIB, 2 * _MIB])
    await house.olga.save(project_id, 3, scratchpad="x")
    export = await export_for_assay(house.olga, project_id)
    sizes = [len(base64.b64decode(it["data_base64"])) for it in json.loads(export.payload)["fields"].values()]
    assert sorted(sizes) == [2 * _MIB, 3 * _MIB, 3 * _MIB]
    request = _refused_request(project_id, include_scratchpad=True)
    async with house.unchanged(project_id):
        size, limit = str(8 * _MIB + 1), str(8 * _MIB)
        await refused(house.olga.call(request), "CONTENT_TOO_LARGE", field="fields", size_bytes=size, limit_bytes=limit)


async def test_content_that_grows_too_large_in_json_is_refused(house: House) -> None:
    """Control characters take six bytes each in JSON, and an answer must fit into a message."""
    project_id = await house.project()
    for number in range(3):
        await house.olga.save(project_id, number, **{f"text_{number}": "\x01" * _MIB})
    async with house.unchanged(project_id):
        await refused(house.olga.call(_refused_request(project_id)), "CONTENT_TOO_LARGE", field="payload")


# --- who, and what is told of it ---


async def test_each_export_is_told_in_the_log(house: House) -> None:
    """Who got which version, by the hash of exactly the bytes they got; a refused one is not told."""
    project_id = await _filled(house, vera=project_pb2.ROLE_VIEWER)
    answer = await house.caller("vera").call(_refused_request(project_id, include_scratchpad=True))
    entry = (await entries_of(house.olga, project_id))[-1]
    export = answer.export
    assert entry.position == answer.position
    assert entry.actor.subject == "vera"
    assert entry.assay_exported == audit_pb2.AssayExported(
        version_number=1,
        content_sha256=export.content_sha256,
        payload_sha256=sha256(export.payload),
        include_scratchpad=True,
    )


@pytest.mark.parametrize("role", [project_pb2.ROLE_VIEWER, project_pb2.ROLE_EDITOR, project_pb2.ROLE_AUDITOR])
async def test_whoever_may_read_may_export(house: House, role: project_pb2.Role.ValueType) -> None:
    """Also a service, and an agent that is let in to suggest; nobody else."""
    policy = project_pb2.Policy(agent_access=project_pb2.AGENT_ACCESS_SUGGEST_ONLY)
    project_id = await house.project(policy, reader=role)
    await house.olga.save(project_id, system_prompt="one")
    for kind in ("HUMAN", "SERVICE", "AGENT"):
        await export_for_assay(house.caller("reader", kind=kind), project_id)
    stranger = house.caller("stranger").call(_refused_request(project_id))
    await refused(stranger, "PROJECT_ACCESS_DENIED", project_id=project_id)


async def test_agents_that_are_kept_out_get_nothing(house: House) -> None:
    """Not by way of an export either, whatever their role."""
    policy = project_pb2.Policy(agent_access=project_pb2.AGENT_ACCESS_DENY)
    project_id = await house.project(policy, agent=project_pb2.ROLE_EDITOR)
    await house.olga.save(project_id, system_prompt="one")
    async with house.unchanged(project_id):
        exporting = house.caller("agent", kind="AGENT").call(_refused_request(project_id))
        await refused(exporting, "AGENT_ACCESS_DENIED", agent_access="DENY")


async def test_an_archived_project_can_be_exported(house: House) -> None:
    """A harness may have to repeat a test of what was put away; what it gets is the same."""
    project_id = await _filled(house)
    before = await export_for_assay(house.olga, project_id)
    await house.olga.call(project_pb2.ArchiveProjectRequest(project_id=project_id))
    assert await export_for_assay(house.olga, project_id) == before
