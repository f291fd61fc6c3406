"""Releases over the wire: a project with everything in it, its freeze, and its bundle unpacked and recomputed."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from dataclasses import dataclass
from typing import Any, Final

import rfc8785

from coreason.foundry.v1 import comment_pb2, draft_pb2, export_pb2, project_pb2, run_pb2
from tests.service import runs
from tests.service.house import Caller, House
from tests.service.saves import save_of

#: Names that are hard on archives, and content that is hard on text.
CONTENT: Final[dict[str, str | bytes]] = {
    "system_prompt": "You are careful.\nÜber 18.\u2028\x00\x7f\N{SNOWMAN}\r\n",
    "model_config": '{"model": "m-1", "temperature": 0.1}',
    "empty": "",
    "logo": bytes(range(256)) * 3,
    "blank": b"",
    "few_shot/first.jsonl": '{"role": "user"}\n{"role": "assistant"}\n',
    "test_corpus/scan": b"\xff\xfe",
    "deep/" + "/".join("abcdefghijklmnopqrstuvwxyz" * 3): "at the bottom",
    "long/" + "n" * 195: "of 200 bytes",
    "odd/-.x/...": "a name like an option",
    "scratchpad": "not released",
}
_KINDS: Final = {"logo": draft_pb2.FIELD_KIND_BINARY, "blank": draft_pb2.FIELD_KIND_BINARY}


def content_sha256(fields: list[dict[str, str]]) -> str:
    """The content hash of a version as the contract words it: of the hash, kind and media type of its fields."""
    manifest = {"fields": sorted(fields, key=lambda field: field["name"]), "v": 1}
    return hashlib.sha256(rfc8785.dumps(manifest)).hexdigest()  # type: ignore[arg-type]  # plain dictionaries


async def save_all(caller: Caller, project_id: str, content: dict[str, str | bytes] | None = None) -> None:
    """Save everything as version 1."""
    wanted = save_of(project_id, CONTENT if content is None else content)
    for change in wanted.changes:
        change.kind = _KINDS.get(change.field, draft_pb2.FIELD_KIND_UNSPECIFIED)
        if change.field == "test_corpus/scan":
            change.media_type = "image/png"
    await caller.call(wanted)


async def export_for_assay(caller: Caller, project_id: str, **wanted: Any) -> export_pb2.AssayExport:
    """A version as a harness gets it."""
    request = export_pb2.ExportForAssayRequest(project_id=project_id, **wanted)
    answer: export_pb2.ExportForAssayResponse = await caller.call(request)
    return answer.export


async def freeze(caller: Caller, project_id: str, version: int, **more: Any) -> export_pb2.RequestFreezeResponse:
    """Freeze."""
    request = export_pb2.RequestFreezeRequest(project_id=project_id, expected_version=version, **more)
    answer: export_pb2.RequestFreezeResponse = await caller.call(request)
    return answer


async def start_revision(caller: Caller, project_id: str, **more: Any) -> project_pb2.Project:
    """Go on in a new project."""
    answer = await caller.call(export_pb2.StartRevisionRequest(project_id=project_id, **more))
    revision: project_pb2.Project = answer.project
    return revision


async def released(house: House, policy: project_pb2.Policy | None = None, /) -> str:
    """A frozen project of ``olga``'s with ``bob`` and ``vera`` in it: three versions, threads, and two runs."""
    olga, bob = house.olga, house.caller("bob", name="Bob B.")
    project_id = await house.project(policy, bob=project_pb2.ROLE_EDITOR, vera=project_pb2.ROLE_VIEWER)
    await save_all(olga, project_id)
    await bob.save(project_id, 1, system_prompt="You are bold.\n", notes="Soon gone.")
    await bob.call(draft_pb2.RevertDraftRequest(project_id=project_id, version_number=1, base_version=2))
    failed = await _tested(bob, project_id, run_pb2.RUN_STATE_FAILED, "1 of 2", "bad \x1b[31m\N{SNOWMAN}")
    await _tested(bob, project_id, run_pb2.RUN_STATE_PASSED)
    await _discuss(olga, bob, project_id, failed)
    await freeze(olga, project_id, 3, reason="It is \N{SNOWMAN} time.")
    return project_id


async def _tested(caller: Caller, project_id: str, state: run_pb2.RunState.ValueType, *lines: str) -> str:
    run = await runs.start(caller, project_id, harness="pytest", labels={"für": "Ärzte", "a": "b"}, attempt=2)
    if lines:
        await runs.append(caller, run, runs.lines_of(*lines))
    results = [run_pb2.RunResult(name="it", passed=state == run_pb2.RUN_STATE_PASSED, value="0.9 \N{SNOWMAN}")]
    await runs.finish(caller, run, state, results=results)
    return run.run_id


async def _discuss(olga: Caller, bob: Caller, project_id: str, run_id: str) -> None:
    anchor = comment_pb2.Anchor(version_number=1, field="system_prompt", start_line=2, end_line=2)
    task = comment_pb2.CreateCommentRequest(
        project_id=project_id, text="Why 18?\n", anchor=anchor, kind=comment_pb2.COMMENT_KIND_TASK, assignee="bob"
    )
    task.run_id = run_id
    thread = (await olga.call(task)).comment
    replies = []
    for text in ("Because of §3.", "Never mind."):
        reply = comment_pb2.CreateCommentRequest(project_id=project_id, text=text)
        reply.parent_comment_id = thread.comment_id
        replies.append((await bob.call(reply)).comment.comment_id)
    await bob.call(comment_pb2.DeleteCommentRequest(project_id=project_id, comment_id=replies[1]))
    await bob.call(comment_pb2.ResolveCommentRequest(project_id=project_id, comment_id=thread.comment_id))


@dataclass(frozen=True)
class Unpacked:
    """A bundle as it was handed over.

    Attributes:
        sizes: Of the pieces it came in.
        files: Content by path, in the order of the archive; without the directory that they lie below.
    """

    bundle: export_pb2.Bundle
    archive: bytes
    sizes: list[int]
    files: dict[str, bytes]

    def json(self, path: str) -> Any:
        """A file that is one record, and canonical."""
        record = json.loads(self.files[path])
        assert rfc8785.dumps(record) == self.files[path], path
        return record

    def records(self, path: str) -> list[Any]:
        """A file of one canonical record a line."""
        *lines, last = self.files[path].split(b"\n")
        assert last == b""
        found = [json.loads(line) for line in lines]
        assert [rfc8785.dumps(record) for record in found] == lines, path
        return found


async def bundle_of(caller: Caller, project_id: str) -> Unpacked:
    """The bundle of a project."""
    first, *rest = await caller.answers(export_pb2.ExportForPublisherRequest(project_id=project_id))
    assert first.WhichOneof("part") == "bundle"
    assert {part.WhichOneof("part") for part in rest} == {"data"}
    archive = b"".join(part.data for part in rest)
    return Unpacked(first.bundle, archive, [len(part.data) for part in rest], unpacked(archive))


def unpacked(archive: bytes) -> dict[str, bytes]:
    """The files of an archive, which all lie below one directory, by the rest of their path."""
    files: dict[str, bytes] = {}
    roots = set()
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        for member in tar:
            root, _, path = member.name.partition("/")
            roots.add(root)
            content = tar.extractfile(member)
            assert content is not None
            assert path not in files
            files[path] = content.read()
    assert len(roots) == 1
    return files


def sha256(data: bytes) -> str:
    """The hash that everything is named by."""
    return hashlib.sha256(data).hexdigest()
