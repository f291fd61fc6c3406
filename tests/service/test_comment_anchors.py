"""Anchors: a comment names lines of a version that exist, and is found again, or told as lost, in every other."""

from __future__ import annotations

from typing import Any, Final

import pytest

from coreason.foundry.v1 import comment_pb2, draft_pb2
from coreason.foundry.v1.comment_pb2 import (
    ANCHOR_STATE_EXACT,
    ANCHOR_STATE_FUZZY,
    ANCHOR_STATE_ORPHANED,
    ANCHOR_STATE_OUTDATED,
    ANCHOR_STATE_SHIFTED,
)
from tests.service.comments import anchor, delete, listed, read, say
from tests.service.house import House
from tests.service.refusals import blamed, refused
from tests.service.saves import save_of, sha256

pytestmark = pytest.mark.asyncio(loop_scope="module")

_KIB4: Final = 4096


async def _project(house: House, **contents: str) -> str:
    project_id = await house.project()
    await house.olga.call(save_of(project_id, contents))
    return project_id


async def _quoted(house: House, project_id: str, start: int, end: int, **fields: Any) -> str:
    said = await say(house.olga, project_id, anchor=anchor((start, end), **fields))
    return said.anchor.quote


# --- put ---------------------------------------------------------------------------------------------------------

NOTES: Final = "one\ntwo\r\n\nfür four\nfive"


@pytest.mark.parametrize(
    ("lines", "quote"),
    [
        ((1, 1), "one"),
        ((2, 2), "two\r"),
        ((3, 3), ""),
        ((1, 5), NOTES),
        ((4, 5), "für four\nfive"),
        ((5, 5), "five"),
        ((0, 0), ""),
    ],
    ids=str,
)
async def test_without_a_quote_it_is_the_lines_themselves(house: House, lines: tuple[int, int], quote: str) -> None:
    r"""Only ``\n`` ends a line; the last needs none. About the whole field nothing is quoted."""
    project_id = await _project(house, notes=NOTES)
    said = await say(house.olga, project_id, anchor=anchor(lines))
    assert (said.anchor.start_line, said.anchor.end_line, said.anchor.quote) == (*lines, quote)
    place = said.resolved_anchor
    assert (place.state, place.start_line, place.end_line) == (ANCHOR_STATE_EXACT, *lines)


@pytest.mark.parametrize(
    ("lines", "quote"),
    [((1, 5), "two\r\n\nfür"), ((4, 4), "ür"), ((2, 2), "two"), ((0, 0), "five"), ((0, 0), NOTES)],
    ids=str,
)
async def test_a_quote_stands_within_its_lines(house: House, lines: tuple[int, int], quote: str) -> None:
    project_id = await _project(house, notes=NOTES)
    assert await _quoted(house, project_id, *lines, quote=quote) == quote


@pytest.mark.parametrize(
    ("lines", "quote"),
    [((1, 1), "two"), ((1, 1), "one\n"), ((4, 4), "fur"), ((3, 3), "x"), ((0, 0), "six"), ((5, 5), "five\n")],
    ids=str,
)
async def test_a_quote_of_other_words_is_refused(house: House, lines: tuple[int, int], quote: str) -> None:
    """The line feed behind a line is not of the line."""
    project_id = await _project(house, notes=NOTES)
    async with house.unchanged(project_id):
        await blamed(say(house.olga, project_id, anchor=anchor(lines, quote=quote)), "anchor.quote")


@pytest.mark.parametrize("before", range(4))
async def test_a_long_quote_is_cut_between_characters(house: House, before: int) -> None:
    """At 4 KiB, or up to three bytes earlier: never within a character."""
    text = "x" * before + "\N{PILE OF POO}" * 2_000
    project_id = await _project(house, notes=text)
    quote = await _quoted(house, project_id, 1, 1)
    assert text.startswith(quote)
    assert _KIB4 - 4 < len(quote.encode()) <= _KIB4
    assert await _quoted(house, project_id, 1, 1, quote=quote) == quote


@pytest.mark.parametrize("lines", [(1, 6), (6, 6), (2, 1), (5, 4), (0, 1), (1, 0), (1, 2**31 - 1)], ids=str)
async def test_lines_that_are_none_of_it_are_out_of_range(house: House, lines: tuple[int, int]) -> None:
    """The refusal says how many there are."""
    project_id = await _project(house, notes=NOTES)
    async with house.unchanged(project_id):
        await refused(
            say(house.olga, project_id, anchor=anchor(lines)),
            "ANCHOR_OUT_OF_RANGE",
            field="notes",
            version_number="1",
            start_line=str(lines[0]),
            end_line=str(lines[1]),
            line_count="5",
        )


@pytest.mark.parametrize(
    ("content", "count"), [("", 0), ("\n", 1), ("a", 1), ("a\n", 1), ("a\n\n", 2), ("a\rb", 1)], ids=repr
)
async def test_lines_are_counted_as_in_an_editor(house: House, content: str, count: int) -> None:
    """An empty field has none, and is commented on as a whole."""
    project_id = await _project(house, notes=content)
    await say(house.olga, project_id, anchor=anchor())
    if count:
        await say(house.olga, project_id, anchor=anchor((count, count)))
    beyond = anchor((count + 1, count + 1))
    await refused(say(house.olga, project_id, anchor=beyond), "ANCHOR_OUT_OF_RANGE", line_count=str(count))


async def test_what_is_binary_has_no_lines(house: House) -> None:
    """It is commented on as a whole, and never quoted."""
    project_id = await house.project()
    change = draft_pb2.FieldChange(field="image", kind=draft_pb2.FIELD_KIND_BINARY, data=b"\x89PNG\n\xff\n")
    await house.olga.call(draft_pb2.CreateDraftRequest(project_id=project_id, changes=[change]))
    said = await say(house.olga, project_id, anchor=anchor(field="image"))
    assert said.anchor.field_sha256 == sha256(b"\x89PNG\n\xff\n")
    async with house.unchanged(project_id):
        lines = anchor((1, 1), field="image")
        await refused(say(house.olga, project_id, anchor=lines), "ANCHOR_OUT_OF_RANGE", line_count="0")
        await blamed(say(house.olga, project_id, anchor=anchor(field="image", quote="PNG")), "anchor.quote")


async def test_a_version_is_named_by_number_or_by_id(house: House) -> None:
    """Or by both if they are one; whichever way, the answer names both."""
    project_id = await _project(house, notes="one\n")
    second = await house.olga.save(project_id, 1, notes="two\n")
    for fields in ({"version_number": 2}, {"draft_id": second.draft_id}):
        said = await say(house.olga, project_id, anchor=anchor((1, 1), **fields))
        named = (said.anchor.version_number, said.anchor.draft_id, said.anchor.quote)
        assert named == (2, second.draft_id, "two")
    contradiction = anchor((1, 1), draft_id=second.draft_id)
    contradiction.version_number = 1
    async with house.unchanged(project_id):
        await blamed(say(house.olga, project_id, anchor=contradiction), "anchor.version_number")


async def test_what_is_not_there_is_not_commented_on(house: House) -> None:
    """A version that is to come; a field that was not there yet, or is gone."""
    project_id = await _project(house, notes="one\n")
    await house.olga.call(save_of(project_id, {"notes": None, "other": "x\n"}, 1))
    missing: list[tuple[dict[str, Any], str, str]] = [
        ({"version_number": 3}, "draft", "3"),
        ({"version_number": 2}, "field", "notes"),
        ({"field": "other"}, "field", "other"),
        ({"draft_id": "nothing"}, "draft", "nothing"),
    ]
    async with house.unchanged(project_id):
        for fields, kind, name in missing:
            call = say(house.olga, project_id, anchor=anchor(**fields))
            await refused(call, "RESOURCE_NOT_FOUND", resource_type=kind, resource_id=name)


async def test_the_hash_in_a_request_is_not_read(house: House) -> None:
    project_id = await _project(house, notes="one\n")
    said = await say(house.olga, project_id, anchor=anchor((1, 1), field_sha256="nonsense"))
    assert said.anchor.field_sha256 == sha256("one\n")


# --- found again -------------------------------------------------------------------------------------------------

DOSE: Final = "Doses over 5 mg need two signatures."
#: What is saved, and where a comment on the line ``DOSE`` of the first version is then.
LIFE: Final[list[tuple[str | None, int, int]]] = [
    (f"Intro.\n{DOSE}\nEnd.\n", ANCHOR_STATE_EXACT, 2),
    (f"Title\n\nIntro.\n{DOSE}\nEnd.\n", ANCHOR_STATE_SHIFTED, 4),
    ("Title\n\nIntro.\nDoses over 7.5 mg need two signatures!\nEnd.\n", ANCHOR_STATE_FUZZY, 4),
    ("Intro.\nEnd.\n", ANCHOR_STATE_OUTDATED, 0),
    (None, ANCHOR_STATE_ORPHANED, 0),
    (f"{DOSE}\n", ANCHOR_STATE_SHIFTED, 1),
    (f"Intro.\n{DOSE}\nEnd.", ANCHOR_STATE_SHIFTED, 2),
    (f"Intro.\n{DOSE}\r\nEnd.\r\n", ANCHOR_STATE_SHIFTED, 2),
]


async def test_a_comment_is_followed_through_the_versions(house: House) -> None:
    """From the version it was put on straight to each; what was lost in between is found, and after a revert exact."""
    project_id = await house.project()
    for version, (text, _, _) in enumerate(LIFE):
        await house.olga.call(save_of(project_id, {"notes": text}, version))
    said = await say(house.olga, project_id, anchor=anchor((2, 2)))
    for version, (_, state, line) in enumerate(LIFE, start=1):
        there = await read(house.olga, said, version)
        place = there.resolved_anchor
        assert (place.version_number, place.state, place.start_line, place.end_line) == (version, state, line, line)
        assert there.anchor == said.anchor
        [same] = await listed(house.olga, project_id, at_version=version)
        assert same == there
    revert = draft_pb2.RevertDraftRequest(project_id=project_id, version_number=1, base_version=len(LIFE))
    await house.olga.call(revert)
    now = (await read(house.olga, said)).resolved_anchor
    assert (now.version_number, now.state, now.start_line) == (len(LIFE) + 1, ANCHOR_STATE_EXACT, 2)


async def test_a_comment_on_a_later_version_is_found_in_the_earlier_ones(house: House) -> None:
    """Before the field was there it is orphaned."""
    project_id = await _project(house, other="x\n")
    await house.olga.save(project_id, 1, notes=f"{DOSE}\n")
    await house.olga.save(project_id, 2, notes=f"Intro.\n{DOSE}\n")
    said = await say(house.olga, project_id, anchor=anchor((2, 2), version_number=3))
    places = [(await read(house.olga, said, version)).resolved_anchor for version in (1, 2, 3)]
    assert [(place.state, place.start_line) for place in places] == [
        (ANCHOR_STATE_ORPHANED, 0),
        (ANCHOR_STATE_SHIFTED, 1),
        (ANCHOR_STATE_EXACT, 2),
    ]


async def test_a_comment_on_a_whole_field_is_about_whatever_it_holds(house: House) -> None:
    """EXACT while it is the same, SHIFTED when it is not, ORPHANED without it."""
    project_id = await _project(house, notes="one\n")
    said = await say(house.olga, project_id, anchor=anchor())
    states = []
    for version, text in enumerate(["two\n", "", None, "one\n"], start=1):
        await house.olga.call(save_of(project_id, {"notes": text}, version))
        place = (await read(house.olga, said)).resolved_anchor
        assert (place.start_line, place.end_line) == (0, 0)
        states.append(place.state)
    assert states == [ANCHOR_STATE_SHIFTED, ANCHOR_STATE_SHIFTED, ANCHOR_STATE_ORPHANED, ANCHOR_STATE_EXACT]


async def test_lines_are_lost_in_what_has_become_binary(house: House) -> None:
    """It has no lines, whatever bytes it holds."""
    project_id = await _project(house, notes=f"Intro.\n{DOSE}\n")
    said = await say(house.olga, project_id, anchor=anchor((2, 2)))
    change = draft_pb2.FieldChange(field="notes", kind=draft_pb2.FIELD_KIND_BINARY, data=f"\0\n{DOSE}\n".encode())
    await house.olga.call(draft_pb2.CreateDraftRequest(project_id=project_id, base_version=1, changes=[change]))
    place = (await read(house.olga, said)).resolved_anchor
    assert (place.state, place.start_line, place.end_line) == (ANCHOR_STATE_OUTDATED, 0, 0)


async def test_the_answer_to_a_change_has_the_place_in_the_head(house: House) -> None:
    project_id = await _project(house, notes=f"{DOSE}\n")
    await house.olga.save(project_id, 1, notes=f"Intro.\n{DOSE}\n")
    said = await say(house.olga, project_id, anchor=anchor((1, 1)))
    gone = (await house.olga.call(delete(said))).comment
    for place in (said.resolved_anchor, gone.resolved_anchor):
        assert (place.version_number, place.state, place.start_line) == (2, ANCHOR_STATE_SHIFTED, 2)


async def test_a_version_to_come_is_not_asked_about(house: House) -> None:
    project_id = await _project(house, notes="one\n")
    said = await say(house.olga, project_id, anchor=anchor((1, 1)))
    unknown = {"resource_type": "draft", "resource_id": "2"}
    await refused(read(house.olga, said, 2), "RESOURCE_NOT_FOUND", **unknown)
    await refused(listed(house.olga, project_id, at_version=2), "RESOURCE_NOT_FOUND", **unknown)


async def test_places_that_cost_much_come_page_by_page(house: House) -> None:
    """Hundreds of comments on lines that have all changed: fewer to a page, none left out, none told as lost."""
    lines = [sha256(f"{number}") for number in range(400)]
    project_id = await _project(house, notes="\n".join(lines))
    said = [await say(house.olga, project_id, anchor=anchor((n, n + 19))) for n in range(1, 301, 12)]
    await house.olga.save(project_id, 1, notes="".join(f"{line}.\n" for line in lines))
    request = comment_pb2.ListCommentsRequest(project_id=project_id, page_size=1000)
    page = await house.olga.call(request)
    assert 1 <= len(page.comments) < len(said)
    found = await listed(house.olga, project_id, page_size=1000)
    assert [comment.comment_id for comment in found] == [comment.comment_id for comment in said]
    assert {comment.resolved_anchor.state for comment in found} == {ANCHOR_STATE_FUZZY}
    assert [comment.resolved_anchor.start_line for comment in found] == list(range(1, 301, 12))
    assert [await read(house.olga, comment) for comment in said] == found
