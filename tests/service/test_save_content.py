"""What a save may contain: names, kinds, sizes, and content that is what its kind says."""

from __future__ import annotations

from typing import Final

import pytest

from coreason.foundry.v1 import audit_pb2, draft_pb2, lock_pb2
from coreason.foundry.v1.draft_pb2 import FieldChange
from tests.service.house import House
from tests.service.refusals import blamed, refused
from tests.service.saves import save_of, sha256

pytestmark = pytest.mark.asyncio(loop_scope="module")

MIB = 1024 * 1024

# --- content that is not what its kind demands -------------------------------------------------------------------

#: Field, content, and where the first problem is.
INVALID: Final = {
    "JSON cut off": (FieldChange(field="topology", text='{\n  "a": 1,\n'), "3", "1"),
    "JSON with a key twice": (FieldChange(field="topology", text='{\n  "a": 1,\n  "a": 2\n}'), "3", "3"),
    "JSON with NaN": (FieldChange(field="topology", text="[1,\n NaN]"), "2", "2"),
    "JSON with a large integer": (FieldChange(field="topology", text="[9007199254740993]"), "1", "2"),
    "JSON after umlauts": (FieldChange(field="topology", text='["äöü", x]'), "1", "9"),
    "model_config out of range": (
        FieldChange(field="model_config", text='{"model": "m",\n"temperature": 3}'),
        "2",
        "16",
    ),
    "model_config that is a list": (FieldChange(field="model_config", text="[]"), "1", "1"),
    "YAML with a key twice": (
        FieldChange(field="flow", kind=draft_pb2.FIELD_KIND_YAML, text="a: 1\nb: 2\na: 3\n"),
        "3",
        "1",
    ),
    "JSON lines with a bad one": (FieldChange(field="few_shot/one", text='{"role": "user"}\n{"role"}\n'), "2", "8"),
    "test corpus that is no JSON lines": (FieldChange(field="test_corpus/one", text="hello\n"), "1", "1"),
    "data that is no UTF-8": (FieldChange(field="few_shot/one", data=b'{"a": "\xff"}'), "1", "8"),
}


@pytest.mark.parametrize(("change", "line", "column"), INVALID.values(), ids=INVALID)
async def test_invalid_content_is_refused_with_its_place(
    house: House, change: FieldChange, line: str, column: str
) -> None:
    """INVALID_CONTENT names field, problem, line and column; from 1, columns in code points. Nothing is saved."""
    project_id = await house.project()
    await house.olga.save(project_id, notes="v1")
    request = save_of(project_id, {"a": "fine"}, base_version=1)
    request.changes.append(change)
    async with house.unchanged(project_id):
        refusal = await refused(
            house.olga.call(request), "INVALID_CONTENT", field=change.field, line=line, column=column
        )
        request.validate_only = True
        assert (await refused(house.olga.call(request), "INVALID_CONTENT")).raw == refusal.raw
    assert [field for field, _ in refusal.violations] == [change.field]
    assert refusal.metadata["problem"] in refusal.message


async def test_of_several_invalid_fields_the_first_by_name_is_told(house: House) -> None:
    """The same answer every time, whatever the order of the changes."""
    project_id = await house.project()
    for order in (("topology", "model_config"), ("model_config", "topology")):
        save = save_of(project_id, dict.fromkeys(order, "{"))
        await refused(house.olga.call(save), "INVALID_CONTENT", field="model_config")


# --- names -------------------------------------------------------------------------------------------------------

BAD_NAMES: Final = (
    "",
    "/",
    "/a",
    "a/",
    "a//b",
    "A",
    "ä",
    "a b",
    "a.b",
    "a/..",
    "a/../b",
    "a/.",
    "..",
    "a\0",
    "a\n",
    "a\\b",
    "-a",
    "a" * 201,
)


@pytest.mark.parametrize("name", BAD_NAMES, ids=ascii)
async def test_a_name_that_is_no_path_is_refused(house: House, name: str) -> None:
    """By a save, by an acquire, by whatever names a lock; nothing escapes a folder when a bundle is unpacked."""
    project_id = await house.project()
    async with house.unchanged(project_id):
        await blamed(house.olga.call(save_of(project_id, {name: "x"})), "changes.field")
        await blamed(house.olga.call(lock_pb2.GetLockRequest(project_id=project_id, field=name)), "field")
        acquire = lock_pb2.AcquireLockRequest(project_id=project_id, field=name, session_id="s")
        await blamed(house.olga.call(acquire), "field")


@pytest.mark.parametrize("name", ["a", "_", "0", "a/b.c-d_e/0", "few_shot/.hidden", "a/...", "a" * 200])
async def test_a_name_that_is_a_path_is_taken(house: House, name: str) -> None:
    project_id = await house.project()
    request = save_of(project_id, {})
    request.changes.add(field=name, text="x", kind=draft_pb2.FIELD_KIND_TEXT)
    draft = (await house.olga.call(request)).draft
    assert [changed.field for changed in draft.changed_fields] == [name]


@pytest.mark.parametrize(("live", "name"), [("a/b", "a"), ("a/b", "a/b/c"), ("a", "a/b/c/d"), ("a/b/c", "a/b")])
@pytest.mark.parametrize("held", [False, True], ids=["saved", "held"])
async def test_fields_are_leaves(house: House, live: str, name: str, held: bool) -> None:
    """No name is a prefix path of another, in both directions; a held lock counts like content, at save and acquire."""
    project_id = await house.project()
    async with house.olga.session(project_id) as session, house.olga.session(project_id) as other:
        if held:
            await other.acquire(live)
        else:
            await house.olga.save(project_id, **{live: "x"})
        acquire = lock_pb2.AcquireLockRequest(project_id=project_id, field=name, session_id=session.session_id)
        async with house.unchanged(project_id):
            for call in (house.olga.save(project_id, 1 - held, **{name: "x"}), house.olga.call(acquire)):
                await refused(call, "FIELD_NAME_CONFLICT", field=name, existing_field=live)


async def test_fields_are_leaves_within_one_save(house: House) -> None:
    project_id = await house.project()
    async with house.unchanged(project_id):
        await refused(house.olga.save(project_id, **{"a/b": "1", "a": "2"}), "FIELD_NAME_CONFLICT")


async def test_a_name_that_only_begins_alike_is_another(house: House) -> None:
    """``topology_2`` and ``topo`` are no paths of ``topology``; and a name is free again when its field is removed."""
    project_id = await house.project()
    await house.olga.save(project_id, topology="{}", topology_2="x", topo="x")
    await house.olga.call(save_of(project_id, {"topology": None}, 1))
    draft = await house.olga.save(project_id, 2, **{"topology/graph": "x"})
    assert draft.version_number == 3


# --- sizes and numbers -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "limit", "full", "over"),
    [
        (draft_pb2.FIELD_KIND_TEXT, MIB, "ü" * (MIB // 2), "ü" * (MIB // 2) + "x"),
        (draft_pb2.FIELD_KIND_BINARY, 3 * MIB, bytes(3 * MIB), bytes(3 * MIB + 1)),
    ],
    ids=["text", "data"],
)
async def test_text_has_at_most_1_mib_and_data_at_most_3(
    house: House, kind: draft_pb2.FieldKind.ValueType, limit: int, full: str | bytes, over: str | bytes
) -> None:
    """In bytes, and exactly: at the bound it is saved, a byte over it is refused with both sizes."""
    project_id = await house.project()
    request = save_of(project_id, {"big": over})
    request.changes[0].kind = kind
    async with house.unchanged(project_id):
        sizes = {"size_bytes": str(limit + 1), "limit_bytes": str(limit)}
        await refused(house.olga.call(request), "CONTENT_TOO_LARGE", field="big", **sizes)
    request = save_of(project_id, {"big": full})
    request.changes[0].kind = kind
    saved = await house.olga.call(request)
    assert saved.draft.changed_fields[0].after_sha256 == sha256(full)


async def test_fields_that_do_not_fit_into_one_answer_are_read_by_name(house: House) -> None:
    """Up to 12 MiB an answer; CONTENT_TOO_LARGE says to name fewer, and fewer fit."""
    project_id = await house.project()
    for number in range(5):
        request = save_of(project_id, {f"blob_{number}": bytes([number]) * (3 * MIB)}, base_version=number)
        request.changes[0].kind = draft_pb2.FIELD_KIND_BINARY
        await house.olga.call(request)
    read = draft_pb2.GetDraftRequest(project_id=project_id)
    await refused(house.olga.call(read), "CONTENT_TOO_LARGE", size_bytes=str(15 * MIB), limit_bytes=str(12 * MIB))
    read.fields.extend(f"blob_{number}" for number in range(4))
    fields = (await house.olga.call(read)).draft.fields
    assert [field.data[:1] for field in fields] == [b"\0", b"\1", b"\2", b"\3"]


async def test_a_save_has_1_to_64_changes(house: House) -> None:
    project_id = await house.project()
    async with house.unchanged(project_id):
        for count in (0, 65):
            save = save_of(project_id, {f"field_{number}": "x" for number in range(count)})
            await blamed(house.olga.call(save), "changes")
    saved = await house.olga.call(save_of(project_id, {f"field_{number}": "x" for number in range(64)}))
    assert len(saved.draft.changed_fields) == 64


async def test_a_save_changes_each_field_once(house: House) -> None:
    project_id = await house.project()
    request = save_of(project_id, {"a": "1"})
    request.changes.add(field="a", text="2")
    async with house.unchanged(project_id):
        await blamed(house.olga.call(request), "changes")


BAD_CHANGES: Final = {
    "nothing": (FieldChange(field="a"), "changes"),
    "not removed": (FieldChange(field="a", remove=False), "changes"),
    "short hash": (FieldChange(field="a", sha256="ab"), "changes.sha256"),
    "upper-case hash": (FieldChange(field="a", sha256="A" * 64), "changes.sha256"),
    "data for text": (FieldChange(field="a", data=b"x"), "changes"),
    "text for bytes": (FieldChange(field="a", text="x", kind=draft_pb2.FIELD_KIND_BINARY), "changes"),
}


@pytest.mark.parametrize(("change", "field"), BAD_CHANGES.values(), ids=BAD_CHANGES)
async def test_a_change_says_what_the_field_shall_hold(house: House, change: FieldChange, field: str) -> None:
    """As text, data, hash or nothing at all, and as its kind is given."""
    project_id = await house.project()
    request = save_of(project_id, {})
    request.changes.append(change)
    async with house.unchanged(project_id):
        await blamed(house.olga.call(request), field)


async def test_unknown_content_is_not_found_by_its_hash(house: House) -> None:
    project_id = await house.project()
    request = save_of(project_id, {})
    request.changes.add(field="a", sha256=sha256("nobody wrote this"))
    async with house.unchanged(project_id):
        await refused(house.olga.call(request), "RESOURCE_NOT_FOUND", resource_type="content")


async def test_a_project_has_at_most_2000_fields(house: House) -> None:
    """Counted over its life: the row of a field is permanent, since its fence is."""
    project_id = await house.project()
    names = [f"f{number:04}" for number in range(2_000)]
    for version, start in enumerate(range(0, 2_000, 64)):
        await house.olga.save(project_id, version, **dict.fromkeys(names[start : start + 64], ""))
    head = (await house.olga.call(draft_pb2.GetDraftRequest(project_id=project_id, omit_content=True))).draft
    assert len(head.fields) == 2_000
    await refused(
        house.olga.save(project_id, head.version_number, one_more="x"),
        "LIMIT_EXCEEDED",
        limit_name="fields in a project",
        limit="2000",
    )
    log = audit_pb2.ListEntriesRequest(project_id=project_id, events=["draft_created"], page_size=1000)
    assert len((await house.olga.call(log)).entries) == head.version_number
    await house.olga.save(project_id, head.version_number, f0000="changed")
