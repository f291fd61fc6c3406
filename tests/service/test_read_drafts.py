"""Reading versions: one with its fields, or many without."""

from __future__ import annotations

from typing import Any

import pytest

from coreason.foundry.v1 import draft_pb2, project_pb2
from coreason.foundry.v1.draft_pb2 import FieldChange, GetDraftRequest, ListDraftsRequest
from tests.service.house import House
from tests.service.refusals import refused
from tests.service.saves import save_of, sha256

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def _get(house: House, project_id: str, **which: Any) -> draft_pb2.Draft:
    answer: draft_pb2.GetDraftResponse = await house.olga.call(GetDraftRequest(project_id=project_id, **which))
    return answer.draft


async def _history(house: House) -> tuple[str, list[draft_pb2.Draft]]:
    """Versions 1 to 4 of three fields by two authors."""
    project_id = await house.project(bob=project_pb2.ROLE_EDITOR)
    bob = house.caller("bob")
    drafts = [
        await house.olga.save(project_id, a="a1", b="b1"),
        await bob.save(project_id, 1, b="b2"),
        await house.olga.save(project_id, 2, c="c3"),
        await bob.save(project_id, 3, a="a4"),
    ]
    return project_id, drafts


async def test_a_version_is_read_by_number_by_id_or_as_the_head(house: House) -> None:
    project_id, drafts = await _history(house)
    for draft in drafts:
        by_number = await _get(house, project_id, version_number=draft.version_number)
        assert by_number == await _get(house, project_id, draft_id=draft.draft_id)
        del by_number.fields[:]
        assert by_number == draft
    assert await _get(house, project_id) == await _get(house, project_id, version_number=4)


async def test_a_version_stays_what_it_was(house: House) -> None:
    """Each field as it stood then, with the version and the author that put it there; by name."""
    project_id, _ = await _history(house)

    async def fields(version: int) -> list[tuple[str, str, int, str]]:
        draft = await _get(house, project_id, version_number=version)
        return [(field.name, field.text, field.last_changed_version, field.last_author) for field in draft.fields]

    assert await fields(1) == [("a", "a1", 1, "olga"), ("b", "b1", 1, "olga")]
    assert await fields(2) == [("a", "a1", 1, "olga"), ("b", "b2", 2, "bob")]
    assert await fields(3) == [("a", "a1", 1, "olga"), ("b", "b2", 2, "bob"), ("c", "c3", 3, "olga")]
    assert await fields(4) == [("a", "a4", 4, "bob"), ("b", "b2", 2, "bob"), ("c", "c3", 3, "olga")]


async def test_only_the_named_fields_are_read(house: House) -> None:
    """Each once, by name; one that the version does not have is not found."""
    project_id, _ = await _history(house)
    draft = await _get(house, project_id, version_number=1, fields=["b", "a", "b"])
    assert [field.name for field in draft.fields] == ["a", "b"]
    assert [field.name for field in (await _get(house, project_id, fields=["c"])).fields] == ["c"]
    missing = GetDraftRequest(project_id=project_id, version_number=1, fields=["a", "c"])
    await refused(house.olga.call(missing), "RESOURCE_NOT_FOUND", resource_type="field", resource_id="c")


async def test_content_is_left_out_on_request(house: House) -> None:
    """Everything else is there: hashes and sizes tell what changed."""
    project_id, _ = await _history(house)
    draft = await _get(house, project_id, fields=["b"], omit_content=True)
    [field] = draft.fields
    assert field.WhichOneof("content") is None
    assert (field.sha256, field.size, field.last_author) == (sha256("b2"), 2, "bob")


async def test_a_version_that_does_not_exist_is_not_found(house: House) -> None:
    """ResourceInfo names what was asked for (``Refused`` compares it with the metadata)."""
    empty = await house.project()
    request = GetDraftRequest(project_id=empty)
    await refused(house.olga.call(request), "RESOURCE_NOT_FOUND", resource_type="draft", resource_id="head")
    project_id, drafts = await _history(house)
    for number in (5, 2**63 - 1):
        request = GetDraftRequest(project_id=project_id, version_number=number)
        await refused(house.olga.call(request), "RESOURCE_NOT_FOUND", resource_type="draft", resource_id=str(number))
    for draft_id in ("x", "", drafts[0].draft_id.upper() + "0"):
        request = GetDraftRequest(project_id=project_id, draft_id=draft_id)
        await refused(house.olga.call(request), "RESOURCE_NOT_FOUND", resource_type="draft", resource_id=draft_id)


async def test_text_that_is_no_utf8_is_read_as_data(house: House) -> None:
    """A corpus of any media type may hold anything; what is text comes as text."""
    project_id = await house.project()
    request = save_of(project_id, {})
    request.changes.append(FieldChange(field="test_corpus/a", media_type="application/x", data=b"\xff"))
    request.changes.append(FieldChange(field="test_corpus/b", media_type="application/x", data=b"text"))
    await house.olga.call(request)
    fields = (await _get(house, project_id)).fields
    assert [(field.data, field.text) for field in fields] == [(b"\xff", ""), (b"", "text")]


async def test_versions_are_listed_newest_first_without_fields(house: House) -> None:
    """Exactly what each save answered."""
    project_id, drafts = await _history(house)
    listed = (await house.olga.call(ListDraftsRequest(project_id=project_id))).drafts
    assert list(listed) == drafts[::-1]


@pytest.mark.parametrize(
    ("author", "field", "versions"),
    [
        ("bob", "", [4, 2]),
        ("olga", "", [3, 1]),
        ("", "a", [4, 1]),
        ("", "b", [2, 1]),
        ("bob", "b", [2]),
        ("nobody", "", []),
        ("", "never", []),
        ("OLGA", "", []),
        ("o%", "", []),
    ],
)
async def test_versions_are_listed_by_author_and_field(
    house: House, author: str, field: str, versions: list[int]
) -> None:
    """Both exactly, and both at once; through pages as in one."""
    project_id, _ = await _history(house)
    request = ListDraftsRequest(project_id=project_id, author=author, field=field, page_size=1)
    found = []
    while True:
        answer = await house.olga.call(request)
        found += [draft.version_number for draft in answer.drafts]
        request.page_token = answer.next_page_token
        if not request.page_token:
            break
    assert found == versions


async def test_a_removal_is_a_change_of_the_field(house: House) -> None:
    project_id = await house.project()
    await house.olga.save(project_id, a="1", b="1")
    await house.olga.call(save_of(project_id, {"a": None}, 1))
    listed = (await house.olga.call(ListDraftsRequest(project_id=project_id, field="a"))).drafts
    assert [draft.version_number for draft in listed] == [2, 1]
