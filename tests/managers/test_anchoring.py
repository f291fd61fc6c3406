"""Anchors are placed alike however much is remembered, and work is done once."""

from __future__ import annotations

from pathlib import Path

import pytest
from cachetools import LRUCache

from foundry.domain.comment import Anchor, AnchorState, Place
from foundry.managers.anchoring import Anchoring, WantedAnchor
from foundry.managers.workers import Workers
from foundry.store.drafts import DraftRepository
from tests.managers.workspace import Workspace, opened

_LINES = [f"line {number}: {number * number}" for number in range(12)]
_BEFORE, _AFTER = "\n".join(_LINES), "\n".join(["new", *_LINES])


async def _anchors(workspace: Workspace, anchoring: Anchoring) -> tuple[str, list[Anchor | None]]:
    """A project at version 2, and an anchor on every line of version 1."""
    project_id = await workspace.project()
    for version, text in enumerate((_BEFORE, _AFTER)):
        await workspace.save_unary(project_id, version, {"notes": text})
    wanted = [WantedAnchor(1, "", "notes", number, number, "") for number in range(1, len(_LINES) + 1)]
    return project_id, [await anchoring.anchor(project_id, each) for each in wanted]


_EXPECTED = [Place(2, AnchorState.SHIFTED, number + 1, number + 1) for number in range(1, len(_LINES) + 1)]


async def test_a_memory_that_is_full_forgets_no_place_of_the_answer(tmp_path: Path) -> None:
    """What was known when an answer was begun may be forgotten before it is done: others are placed meanwhile."""
    async with opened(tmp_path) as workspace:
        anchoring = Anchoring(DraftRepository(workspace.database), Workers())
        anchoring._places = LRUCache(2)
        project_id, anchors = await _anchors(workspace, anchoring)
        assert await anchoring.places(project_id, anchors, 2) == _EXPECTED
        assert await anchoring.places(project_id, [*anchors[-2:], *anchors], 2) == [*_EXPECTED[-2:], *_EXPECTED]


async def test_a_place_is_found_once(tmp_path: Path) -> None:
    """Contents never change, so neither do places: asked again, no content is read."""
    async with opened(tmp_path) as workspace:
        anchoring = Anchoring(DraftRepository(workspace.database), Workers())
        project_id, anchors = await _anchors(workspace, anchoring)
        assert await anchoring.places(project_id, [None, *anchors], 2) == [None, *_EXPECTED]
        anchoring._drafts.saved = _unread  # type: ignore[method-assign]  # it must not be called
        assert await anchoring.places(project_id, [*anchors, None], 2) == [*_EXPECTED, None]
        assert await anchoring.places(project_id, [], 2) == []


async def test_work_ends_with_what_it_may_cost_and_goes_on_with_the_next_call(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One place at least comes of each call, and no more is looked for than is answered; of however many versions."""
    async with opened(tmp_path) as workspace:
        anchoring = Anchoring(DraftRepository(workspace.database), Workers())
        project_id, anchors = await _anchors(workspace, anchoring)
        await workspace.save_unary(project_id, 2, {"notes": f"newer\n{_AFTER}"})
        anchors = [anchors[0], await anchoring.anchor(project_id, WantedAnchor(2, "", "notes", 3, 3, "")), anchors[1]]
        monkeypatch.setattr("foundry.managers.anchoring._PLACED_WORK_MAX", 0)
        places: list[Place | None] = []
        while len(places) < len(anchors):
            found = await anchoring.places(project_id, anchors[len(places) :], 3)
            assert len(found) == 1
            places += found
            assert len(anchoring._places) == len(places)
        assert places == [Place(3, AnchorState.SHIFTED, line, line) for line in (3, 4, 4)]


async def _unread(project_id: str, sha256: str) -> bytes:
    raise AssertionError(f"{sha256} of {project_id} was read again")
