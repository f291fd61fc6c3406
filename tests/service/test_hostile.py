"""Callers who mean no good, or know no better: they pay for what they ask, not everybody else."""

from __future__ import annotations

import asyncio
import multiprocessing
import random
from pathlib import Path

import pytest

from coreason.foundry.v1 import comment_pb2, draft_pb2, project_pb2
from foundry.domain.draft import SaveOutcome
from foundry.domain.field import FieldKind
from foundry.managers.drafts import RequestedChange, SaveRequest
from tests.managers.workspace import ALICE, opened
from tests.service.comments import anchor, listed, say
from tests.service.house import House
from tests.service.refusals import refused
from tests.service.saves import Changes, save_of, sha256
from tests.service.tokens import signed_token

pytestmark = pytest.mark.asyncio(loop_scope="module")

FieldChange = draft_pb2.FieldChange


# --- comparisons -------------------------------------------------------------------------------------------------

_LINES = 3_900
#: Fields of one comparison; each alone is far from large.
_FIELDS = [f"f{number:03}" for number in range(256)]


def _letters(seed: int) -> str:
    """One-character lines: the most work a byte can make."""
    drawn = random.Random(seed)
    return "\n".join(["xy"[seed], *(drawn.choice("abcd") for _ in range(_LINES - 2)), "xy"[seed]])


async def _set_all(house: House, project_id: str, version: int, text: str) -> int:
    """Let all fields hold a text that the project has, by its hash; returns the new version."""
    named = [FieldChange(field=field, sha256=sha256(text)) for field in _FIELDS]
    for start in range(0, len(named), 64):
        changes = named[start : start + 64]
        request = draft_pb2.CreateDraftRequest(project_id=project_id, base_version=version, changes=changes)
        version = (await house.olga.call(request)).draft.version_number
    return version


def _replaced(delta: draft_pb2.FieldDelta) -> bool:
    return delta.added_lines == delta.removed_lines == _LINES


async def test_a_comparison_of_everything_stops_nobody(house: House) -> None:
    """Content is shared by hash, so a few kilobytes make gigabytes of pairs: others are served meanwhile."""
    project_id = await house.project(vera=project_pb2.ROLE_VIEWER)
    texts = [_letters(seed) for seed in (0, 1)]
    await house.olga.save(project_id, a=texts[0], b=texts[1])
    base = await _set_all(house, project_id, 1, texts[0])
    target = await _set_all(house, project_id, base, texts[1])
    wanted = draft_pb2.CompareDraftsRequest(project_id=project_id, base_version=base, target_version=target)
    comparing = asyncio.create_task(house.caller("vera").call(wanted))
    answered = 0
    while not comparing.done():
        await house.olga.call(project_pb2.GetProjectRequest(project_id=project_id))
        answered += 1
    assert answered > 20
    deltas = (await comparing).deltas
    assert [delta.field for delta in deltas] == _FIELDS
    coarse = [_replaced(delta) for delta in deltas]
    assert coarse == sorted(coarse)
    assert (coarse[0], coarse[-1]) == (False, True)
    # Who asks for one field gets all of it, whatever the others would cost.
    wanted.fields.append(_FIELDS[-1])
    [last] = (await house.caller("vera").call(wanted)).deltas
    assert (last.field, _replaced(last)) == (_FIELDS[-1], False)


# --- comments ----------------------------------------------------------------------------------------------------


async def test_comments_that_are_hard_to_find_again_stop_nobody(house: House) -> None:
    """Each would take seconds to be looked for in what a long text has become; everybody's content waits behind it."""
    project_id = await house.project(vera=project_pb2.ROLE_VIEWER)
    drawn = random.Random(1)
    before, after = ["\n".join("".join(drawn.choices("abcde ", k=60)) for _ in range(n)) for n in (94, 16_000)]
    await house.olga.save(project_id, notes=before)
    said = [await say(house.olga, project_id, anchor=anchor((n, n + 64))) for n in range(1, 31)]
    await house.olga.save(project_id, 1, notes=after)
    listing = asyncio.create_task(listed(house.caller("vera"), project_id))
    parsed = FieldChange(field="y", kind=draft_pb2.FIELD_KIND_YAML)
    parsed.text = "\n".join(f"key_{number}: 1" for number in range(2_000))
    await house.olga.call(draft_pb2.CreateDraftRequest(project_id=project_id, base_version=2, changes=[parsed]))
    found = await listing
    assert [comment.comment_id for comment in found] == [comment.comment_id for comment in said]
    assert {comment.resolved_anchor.state for comment in found} == {comment_pb2.ANCHOR_STATE_OUTDATED}


# --- content that is not looked at -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "change",
    [
        FieldChange(field="a", sha256="0" * 64),
        FieldChange(field="a", kind=draft_pb2.FIELD_KIND_JSON, text="{"),
        FieldChange(field="a", text="x" * (1024 * 1024 + 1)),
    ],
    ids=["unknown content", "bad content", "content that is too large"],
)
async def test_who_may_not_save_is_told_nothing_else(house: House, change: draft_pb2.FieldChange) -> None:
    """A viewer's content is neither looked up nor parsed: the role comes first."""
    project_id = await house.project(vera=project_pb2.ROLE_VIEWER)
    request = draft_pb2.CreateDraftRequest(project_id=project_id, changes=[change])
    async with house.unchanged(project_id):
        await refused(house.caller("vera").call(request), "ROLE_TOO_LOW")


async def test_content_that_a_field_already_holds_is_not_parsed_again(tmp_path: Path) -> None:
    """Naming it by hash is cheap: no worker process is started for it. For another field it is parsed."""
    text = "\n".join(f"key_{number}: [a, b]" for number in range(2_000))
    async with opened(tmp_path) as workspace:
        project_id = await workspace.project()
        changes = [RequestedChange("y", kind=FieldKind.YAML, content=text.encode())]
        await workspace.drafts.create_draft(ALICE, SaveRequest(project_id, 0, {}), changes)
    async with opened(tmp_path) as workspace:
        before = multiprocessing.active_children()
        same, other = [RequestedChange(name, kind=FieldKind.YAML, sha256=sha256(text)) for name in ("y", "z")]
        saved = await workspace.drafts.create_draft(ALICE, SaveRequest(project_id, 1, {}), [same])
        assert saved.outcome is SaveOutcome.NO_CHANGE
        assert multiprocessing.active_children() == before
        await workspace.drafts.create_draft(ALICE, SaveRequest(project_id, 1, {}), [other])
        assert len(multiprocessing.active_children()) == len(before) + 1


# --- names -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "claims",
    [{"sub": "system"}, {"act": {"sub": "system", "kind": "AGENT"}}, {"kind": "SERVICE", "sub": "system"}],
    ids=["a person", "an agent on somebody's behalf", "a service"],
)
async def test_nobody_signs_as_the_server(house: House, claims: dict[str, object]) -> None:
    """In the log ``system`` is the server itself."""
    token = signed_token(house.server.data_dir, **claims)
    somebody = house.bearing(("authorization", f"Bearer {token}"))
    await refused(somebody.call(project_pb2.ListProjectsRequest()), "TOKEN_INVALID")


@pytest.mark.parametrize(("leaving", "coming"), [("topology/graph", "topology"), ("topology", "topology/graph")])
async def test_a_field_makes_room_in_the_save_that_removes_it(house: House, leaving: str, coming: str) -> None:
    """One save turns a leaf into a branch or back; whatever order the names have."""
    project_id = await house.project()
    await house.olga.call(save_of(project_id, {leaving: "{}"}))
    changes: Changes = {leaving: None, coming: "{}"}
    saved = await house.olga.call(save_of(project_id, changes, 1))
    assert saved.draft.version_number == 2
    head = await house.olga.call(draft_pb2.GetDraftRequest(project_id=project_id))
    assert [field.name for field in head.draft.fields] == [coming]


@pytest.mark.parametrize(
    "changes",
    [
        {"a/b": None, "a": "1"},
        {"a/b": None, "a/c": None, "a": "1", "a/d": "1"},
        {"a/b/c": "1"},
    ],
    ids=["another leaf stays", "both are new", "nothing leaves"],
)
async def test_room_is_made_for_no_more_than_leaves(house: House, changes: Changes) -> None:
    project_id = await house.project()
    await house.olga.call(save_of(project_id, {"a/b": "1", "a/c": "1"}))
    async with house.unchanged(project_id):
        await refused(house.olga.call(save_of(project_id, changes, 1)), "FIELD_NAME_CONFLICT")
