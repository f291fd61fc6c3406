"""Versions: whatever is saved and reverted, numbers have no gaps and hashes are those of what can be read."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from coreason.foundry.v1 import draft_pb2
from tests.properties.world import OWNER, World
from tests.stories.log_replay import verified_replay

if TYPE_CHECKING:
    from foundry.client import Foundry

SCRATCHPAD: Final = "scratchpad"

texts = st.text(max_size=40)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
).map(lambda value: json.dumps(value, ensure_ascii=False))
json_lines = st.lists(json_values, max_size=3).map("\n".join)
#: Content of each field by the kind its name stands for.
CONTENT: Final = {
    "system_prompt": texts,
    "notes/of_today": texts,
    SCRATCHPAD: texts,
    "topology": json_values,
    "few_shot/first": json_lines,
    "logo": st.binary(max_size=40),
}

Content = str | bytes | None


@dataclass(frozen=True)
class Revert:
    """Go back: ``back`` versions, in these fields or in all but the scratchpad."""

    back: int
    fields: tuple[str, ...]


saves = st.fixed_dictionaries({}, optional={name: st.none() | content for name, content in CONTENT.items()})
names = st.lists(st.sampled_from(sorted(CONTENT)), max_size=2, unique=True).map(tuple)
steps = st.lists(st.one_of(saves.filter(bool), st.builds(Revert, st.integers(0, 5), names)), min_size=1, max_size=12)


@settings(
    max_examples=int(os.environ.get("FOUNDRY_EXAMPLES", "60")),
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
@given(steps=steps)
def test_saves_and_reverts_keep_versions_contiguous_and_hashes_right(
    world: World, steps: list[dict[str, Content] | Revert]
) -> None:
    """Each change is one version more, what changes nothing is none; every version stays what it was, byte for byte.

    Its content hash is that of the manifest of its fields without the scratchpad, computed here from what is read.
    """
    world.run(_play(world, steps))


async def _play(world: World, steps: list[dict[str, Content] | Revert]) -> None:
    alice, project_id = world.clients[OWNER], await world.project()
    versions: list[dict[str, Content]] = [{}]
    origins: list[tuple[int, int]] = []
    for step in steps:
        before, head = versions[-1], len(versions) - 1
        if isinstance(step, Revert):
            source = max(1, head - step.back)
            known = {name for version in versions for name in version}
            fields = [name for name in step.fields if name in known]
            if head == 0 or (step.fields and not fields):
                continue
            wanted = fields or [name for name in CONTENT if name != SCRATCHPAD]
            after = before | {name: versions[source].get(name) for name in wanted}
            answer: draft_pb2.CreateDraftResponse | draft_pb2.RevertDraftResponse
            answer = await alice.drafts.revert(project_id, source, base_version=head, fields=fields)
            origin = (draft_pb2.DRAFT_ORIGIN_REVERT, source)
        else:
            after, origin = before | step, (draft_pb2.DRAFT_ORIGIN_SAVE, 0)
            answer = await alice.drafts.save(project_id, _changes(step), base_version=head)
        after = {name: content for name, content in after.items() if content is not None}
        if after == before:
            assert answer.outcome == draft_pb2.SAVE_OUTCOME_NO_CHANGE
        else:
            assert answer.outcome == draft_pb2.SAVE_OUTCOME_COMMITTED
            versions.append(after)
            origins.append(origin)
        assert answer.draft.version_number == len(versions) - 1
    await _are_there(alice, project_id, versions, origins)


async def _are_there(
    alice: Foundry, project_id: str, versions: list[dict[str, Content]], origins: list[tuple[int, int]]
) -> None:
    listed = [draft async for draft in alice.drafts.list(project_id)]
    assert [draft.version_number for draft in listed] == list(range(len(versions) - 1, 0, -1))
    for number, (origin, source) in enumerate(origins, start=1):
        draft = await alice.drafts.get(project_id, number)
        assert (draft.parent_version, draft.origin, draft.source_version) == (number - 1, origin, source)
        shown = {value.name: getattr(value, value.WhichOneof("content") or "text") for value in draft.fields}
        assert shown == versions[number]
        assert draft.content_sha256 == _content_sha256(draft)
        _names_what_changed(draft, versions[number - 1], versions[number])
    replayed = await verified_replay(alice, project_id)
    assert [entry.draft_created.content_sha256 for entry in replayed.drafts] == [
        draft.content_sha256 for draft in reversed(listed)
    ]


def _names_what_changed(draft: draft_pb2.Draft, before: dict[str, Content], after: dict[str, Content]) -> None:
    changed = {change.field: (change.before_sha256, change.after_sha256) for change in draft.changed_fields}
    assert changed == {
        name: (_sha256(before.get(name)), _sha256(after.get(name)))
        for name in before.keys() | after.keys()
        if before.get(name) != after.get(name)
    }


def _content_sha256(draft: draft_pb2.Draft) -> str:
    """As the contract words it, from the content itself and not from the hashes beside it."""
    fields = [
        {
            "kind": draft_pb2.FieldKind.Name(value.kind).removeprefix("FIELD_KIND_"),
            "media_type": value.media_type,
            "name": value.name,
            "sha256": _sha256(getattr(value, value.WhichOneof("content") or "text")),
        }
        for value in sorted(draft.fields, key=lambda value: value.name)
        if value.name != SCRATCHPAD
    ]
    manifest = json.dumps({"fields": fields, "v": 1}, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(manifest.encode()).hexdigest()


def _sha256(content: Content) -> str:
    if content is None:
        return ""
    return hashlib.sha256(content.encode() if isinstance(content, str) else content).hexdigest()


def _changes(step: dict[str, Content]) -> list[draft_pb2.FieldChange]:
    changes = []
    for name, content in step.items():
        if content is None:
            changes.append(draft_pb2.FieldChange(field=name, remove=True))
        elif isinstance(content, bytes):
            changes.append(draft_pb2.FieldChange(field=name, kind=draft_pb2.FIELD_KIND_BINARY, data=content))
        else:
            changes.append(draft_pb2.FieldChange(field=name, text=content))
    return changes


def test_a_revert_brings_back_a_field_whose_name_was_taken_by_another(world: World) -> None:
    """``notes`` gave way to ``notes/today``, which cannot exist beside it: going back exchanges the two in one step."""

    async def work() -> None:
        alice, project_id = world.clients[OWNER], await world.project()
        await alice.drafts.save(project_id, {"notes": "one"}, base_version=0)
        await alice.drafts.save(project_id, {"notes": None}, base_version=1)
        await alice.drafts.save(project_id, {"notes/today": "two"}, base_version=2)
        reverted = await alice.drafts.revert(project_id, 1, base_version=3)
        assert (reverted.draft.version_number, reverted.draft.source_version) == (4, 1)
        draft = await alice.drafts.get(project_id, 4)
        assert {value.name: value.text for value in draft.fields} == {"notes": "one"}

    world.run(work())
