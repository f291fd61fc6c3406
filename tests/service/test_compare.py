"""Comparing two versions: a delta for each field that differs, as ``diff -u`` writes it."""

from __future__ import annotations

from typing import Any

import pytest

from coreason.foundry.v1 import draft_pb2
from coreason.foundry.v1.draft_pb2 import CompareDraftsRequest, FieldChange
from tests.service.house import House
from tests.service.refusals import refused
from tests.service.saves import save_of, sha256

pytestmark = pytest.mark.asyncio(loop_scope="module")

ADDED, REMOVED = draft_pb2.DELTA_KIND_ADDED, draft_pb2.DELTA_KIND_REMOVED
MODIFIED = draft_pb2.DELTA_KIND_MODIFIED


async def _compare(
    house: House,
    project_id: str,
    base: int,
    target: int,
    **more: Any,
) -> list[draft_pb2.FieldDelta]:
    request = CompareDraftsRequest(project_id=project_id, base_version=base, target_version=target, **more)
    answer: draft_pb2.CompareDraftsResponse = await house.olga.call(request)
    return list(answer.deltas)


async def _versions(house: House, *texts: str) -> str:
    """A project whose field ``a`` had these texts."""
    project_id = await house.project()
    for version, text in enumerate(texts):
        await house.olga.save(project_id, version, a=text)
    return project_id


async def test_a_changed_line_is_a_unified_diff(house: House) -> None:
    project_id = await _versions(house, "one\ntwo\nthree\n", "one\n2\nthree\n")
    [delta] = await _compare(house, project_id, 1, 2)
    assert (delta.field, delta.kind) == ("a", MODIFIED)
    assert delta.unified == "--- a/a\n+++ b/a\n@@ -1,3 +1,3 @@\n one\n-two\n+2\n three\n"
    assert (delta.added_lines, delta.removed_lines, delta.truncated, delta.binary) == (1, 1, False, False)
    assert (delta.before_sha256, delta.after_sha256) == (sha256("one\ntwo\nthree\n"), sha256("one\n2\nthree\n"))


async def test_versions_compare_in_both_directions(house: House) -> None:
    """The target may be the older one: then added is removed."""
    project_id = await _versions(house, "one\n", "one\ntwo\n")
    [there], [back] = await _compare(house, project_id, 1, 2), await _compare(house, project_id, 2, 1)
    assert there.unified.endswith("@@ -1 +1,2 @@\n one\n+two\n")
    assert back.unified.endswith("@@ -1,2 +1 @@\n one\n-two\n")
    assert (there.added_lines, there.removed_lines) == (back.removed_lines, back.added_lines) == (1, 0)
    assert (there.before_sha256, there.after_sha256) == (back.after_sha256, back.before_sha256)


async def test_version_0_is_empty(house: House) -> None:
    """So the first version is all added, and on the way back all removed; nothing differs from itself."""
    project_id = await _versions(house, "one\ntwo\n")
    [added], [removed] = await _compare(house, project_id, 0, 1), await _compare(house, project_id, 1, 0)
    assert (added.kind, added.before_sha256, added.added_lines) == (ADDED, "", 2)
    assert added.unified == "--- /dev/null\n+++ b/a\n@@ -0,0 +1,2 @@\n+one\n+two\n"
    assert (removed.kind, removed.after_sha256, removed.removed_lines) == (REMOVED, "", 2)
    assert removed.unified == "--- a/a\n+++ /dev/null\n@@ -1,2 +0,0 @@\n-one\n-two\n"
    for version in (0, 1):
        assert await _compare(house, project_id, version, version) == []


@pytest.mark.parametrize(
    ("before", "after", "lines"),
    [
        ("one\ntwo", "one\n2", [" one", "-two", "\\ No newline at end of file", "+2", "\\ No newline at end of file"]),
        ("one", "one\n", ["-one", "\\ No newline at end of file", "+one"]),
        ("one\n", "one", ["-one", "+one", "\\ No newline at end of file"]),
        ("one\r\n", "one\n", ["-one\r", "+one"]),
        ("", "one", ["+one", "\\ No newline at end of file"]),
        ("one", "", ["-one", "\\ No newline at end of file"]),
    ],
)
async def test_line_ends_are_told_apart(house: House, before: str, after: str, lines: list[str]) -> None:
    """A missing final newline, a carriage return and an empty side each show."""
    project_id = await _versions(house, before, after)
    [delta] = await _compare(house, project_id, 1, 2)
    assert delta.unified.split("\n")[3:-1] == lines


async def test_only_fields_that_differ_are_told_by_name(house: House) -> None:
    """However many versions lie between; what changed and changed back does not differ."""
    project_id = await house.project()
    await house.olga.save(project_id, d="1", c="1", b="1", a="1")
    await house.olga.save(project_id, 1, a="2", b="2")
    await house.olga.call(save_of(project_id, {"a": "1", "c": None, "e": "1"}, 2))
    deltas = await _compare(house, project_id, 1, 3)
    assert [(delta.field, delta.kind) for delta in deltas] == [("b", MODIFIED), ("c", REMOVED), ("e", ADDED)]
    named = await _compare(house, project_id, 1, 3, fields=["c", "d", "never"])
    assert [delta.field for delta in named] == ["c"]


async def test_context_is_3_lines_unless_said_otherwise(house: House) -> None:
    """0 is said, too."""
    numbers = [f"{number}\n" for number in range(300)]
    project_id = await _versions(house, "".join(numbers), "".join([*numbers[:150], "x\n", *numbers[150:]]))
    for lines, expected in ((None, 3), (0, 0), (1, 1), (100, 100)):
        more = {} if lines is None else {"context_lines": lines}
        [delta] = await _compare(house, project_id, 1, 2, **more)
        assert delta.unified.count("\n ") == 2 * expected


async def test_what_is_not_text_is_told_by_its_hashes_only(house: House) -> None:
    project_id = await house.project()
    for version, data in enumerate((b"\xff\0", b"\xfe\0")):
        request = save_of(project_id, {}, version)
        request.changes.append(FieldChange(field="logo", kind=draft_pb2.FIELD_KIND_BINARY, data=data))
        await house.olga.call(request)
    [delta] = await _compare(house, project_id, 1, 2)
    assert (delta.binary, delta.unified, delta.added_lines) == (True, "", 0)
    assert (delta.before_sha256, delta.after_sha256) == (sha256(b"\xff\0"), sha256(b"\xfe\0"))


async def test_a_change_of_kind_alone_differs(house: House) -> None:
    """Equal bytes, other meaning: the hashes are the same and there is nothing to diff."""
    project_id = await _versions(house, "[1]")
    request = save_of(project_id, {"a": "[1]"}, 1)
    request.changes[0].kind = draft_pb2.FIELD_KIND_JSON
    await house.olga.call(request)
    [delta] = await _compare(house, project_id, 1, 2)
    assert (delta.kind, delta.unified) == (MODIFIED, "")
    assert delta.before_sha256 == delta.after_sha256 == sha256("[1]")


async def test_a_long_diff_is_cut_and_says_so(house: House) -> None:
    """256 KiB a field and 2 MiB in all; the counts and hashes are still those of the whole."""
    project_id = await house.project()
    line = "x" * 999 + "\n"
    await house.olga.save(project_id, long=line * 300, **{f"few_{number:02}": line * 250 for number in range(9)})
    deltas = await _compare(house, project_id, 0, 1)
    cut = [delta for delta in deltas if delta.truncated]
    assert [delta.field for delta in cut] == ["few_08", "long"]
    assert sum(len(delta.unified) for delta in deltas) <= 2 * 1024 * 1024
    assert [delta.added_lines for delta in deltas] == [250] * 9 + [300]


async def test_a_version_that_does_not_exist_is_not_found(house: House) -> None:
    project_id = await _versions(house, "one")
    for base, target in ((2, 1), (0, 2), (2, 2), (1, 2**63 - 1)):
        missing = max(base, target)
        await refused(
            _compare(house, project_id, base, target),
            "RESOURCE_NOT_FOUND",
            resource_type="draft",
            resource_id=str(missing),
        )
