"""Story C, the rollback: a version breaks the agent, and the one before comes back without losing anything."""

from __future__ import annotations

import difflib
import hashlib
import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from coreason.foundry.v1 import draft_pb2
from tests.stories.log_replay import verified_replay
from tests.support import project_with

if TYPE_CHECKING:
    from foundry.client import Foundry, Session
    from tests.stories.processes import ServerProcess

EXAMPLE = Path(__file__).parents[2] / "examples" / "oncology"
PROMPT = "system_prompt"


def first_files() -> dict[str, str]:
    """The fields of version 1."""
    paths = [EXAMPLE / f"{PROMPT}.txt", EXAMPLE / "model_config.json", EXAMPLE / "topology.json"]
    paths += EXAMPLE.glob("*/*.jsonl")
    return {str(path.relative_to(EXAMPLE).with_suffix("")): path.read_text("utf-8") for path in paths}


def edits() -> list[dict[str, Any]]:
    """The team's changes in versions 2 to 15; the last one breaks the JSON example inside the prompt."""
    return [json.loads(line) for line in (EXAMPLE / "edits.jsonl").read_text("utf-8").splitlines()]


def example_is_json(prompt: str) -> bool:
    """Whether the JSON example inside a prompt parses."""
    found = re.search(r"^```json\n(.*?)^```", prompt, re.DOTALL | re.MULTILINE)
    assert found
    try:
        json.loads(found[1])
    except ValueError:
        return False
    return True


def edited(text: str, edit: dict[str, Any]) -> str:
    """The text after an edit; one that looks for nothing adds at the end."""
    if not edit["find"]:
        return text + str(edit["replace"])
    assert text.count(edit["find"]) == 1
    return text.replace(edit["find"], edit["replace"])


def texts(draft: draft_pb2.Draft) -> dict[str, str]:
    """The content of a version, each field's hash recomputed on the way."""
    for value in draft.fields:
        assert value.sha256 == hashlib.sha256(value.text.encode()).hexdigest()
    return {value.name: value.text for value in draft.fields}


async def _work(sessions: dict[str, Session], fields: dict[str, str]) -> dict[int, dict[str, str]]:
    """Alice and Bob make versions 2 to 15, each under a lock; returns the fields of every version."""
    history = {1: fields}
    for edit in edits():
        field, fields = edit["field"], dict(fields)
        fields[field] = edited(fields.get(field, ""), edit)
        async with sessions[edit["author"]].lock(field) as lock:
            saved = await lock.save(fields[field], message=edit["message"])
        assert saved.draft.version_number == edit["version"]
        history[edit["version"]] = fields
    return history


async def test_a_bad_version_is_found_and_undone_and_still_there(served: ServerProcess) -> None:
    """Fifteen versions, the last one bad: compare shows exactly what went wrong, revert brings 14 back as 16.

    16 has the content hash of 14, and 15 can still be read byte for byte, as every other version can.
    """
    async with await served.connect("alice") as alice, await served.connect("bob") as bob:
        project_id = await project_with(alice, "bob")
        await alice.drafts.save(project_id, first_files(), base_version=0, message="First version.")
        async with alice.session(project_id) as hers, bob.session(project_id) as his:
            history = await _work({"alice": hers, "bob": his}, first_files())
        good, bad = history[14][PROMPT], history[15][PROMPT]
        assert example_is_json(good)
        assert not example_is_json(bad)
        await _compare_shows_it(bob, project_id, good, bad)

        reverted = await alice.drafts.revert(project_id, 14, base_version=15, reason="15 broke the JSON example")
        assert reverted.outcome == draft_pb2.SAVE_OUTCOME_COMMITTED
        assert reverted.draft.version_number == 16
        assert reverted.draft.origin == draft_pb2.DRAFT_ORIGIN_REVERT
        assert (reverted.draft.parent_version, reverted.draft.source_version) == (15, 14)
        assert [change.field for change in reverted.draft.changed_fields] == [PROMPT]

        history[16] = history[14]
        kept = {version: await bob.drafts.get(project_id, version) for version in history}
        assert {version: texts(draft) for version, draft in kept.items()} == history
        assert kept[16].content_sha256 == kept[14].content_sha256 == reverted.draft.content_sha256
        assert kept[15].content_sha256 != kept[14].content_sha256
        listed = [draft async for draft in bob.drafts.list(project_id)]
        assert [draft.version_number for draft in listed] == list(range(16, 0, -1))
        assert (await verified_replay(bob, project_id)).head_version == 16


async def _compare_shows_it(bob: Foundry, project_id: str, good: str, bad: str) -> None:
    """One field differs, by exactly the lines of the edit, in a unified diff as the standard library writes it."""
    (delta,) = await bob.drafts.compare(project_id, 14, 15)
    assert (delta.field, delta.kind) == (PROMPT, draft_pb2.DELTA_KIND_MODIFIED)
    wanted = list(difflib.unified_diff(good.splitlines(), bad.splitlines(), lineterm="", n=3))[2:]
    assert delta.unified.splitlines()[2:] == wanted
    changed = [line for line in wanted if not line.startswith((" ", "@"))]
    assert changed == [
        '-  "missing_data": ["absolute neutrophil count"],',
        '+  "missing_data": ["absolute neutrophil count"]',
        '+  "questions": ["Is a blood count planned before consent?"],',
    ]
    assert (delta.removed_lines, delta.added_lines) == (1, 2)
    assert not delta.truncated
