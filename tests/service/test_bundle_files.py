"""What lies in a bundle, each file as its ``FORMAT.md`` says, recomputed without the server's code."""

from __future__ import annotations

import hashlib
import json
from typing import Any, Final

import pytest
import pytest_asyncio
import rfc8785

from coreason.foundry.v1 import comment_pb2, draft_pb2, project_pb2, run_pb2
from tests.service import runs
from tests.service.house import House
from tests.service.logs import NOTHING, check_chain, entries_of
from tests.service.releases import (
    CONTENT,
    Unpacked,
    bundle_of,
    content_sha256,
    export_for_assay,
    freeze,
    released,
    sha256,
    start_revision,
)
from tests.service.saves import save_of

pytestmark = pytest.mark.asyncio(loop_scope="module")

#: The files that every bundle has.
ALWAYS: Final = {
    "MANIFEST.json",
    "SHA256SUMS",
    "FORMAT.md",
    "release.json",
    "content.json",
    "payload/agent.json",
    "history/versions.jsonl",
    "audit/log.jsonl",
    "audit/texts.jsonl",
    "comments.jsonl",
}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def got(house: House) -> Unpacked:
    """The bundle of a project with everything in it, some time after its freeze."""
    project_id = await released(house)
    await house.olga.call(
        project_pb2.SetMemberRequest(project_id=project_id, subject="new", role=project_pb2.ROLE_VIEWER)
    )
    return await bundle_of(house.olga, project_id)


def principal(of: Any) -> dict[str, str]:
    """A principal as the bundle writes it."""
    return {
        "client_id": of.client_id,
        "display_name": of.display_name,
        "kind": "HUMAN",
        "on_behalf_of": of.on_behalf_of,
        "subject": of.subject,
    }


def moment(of: Any) -> str:
    """A time as the bundle writes it."""
    return str(of.ToDatetime().strftime("%Y-%m-%dT%H:%M:%S.%fZ"))


def check_log(lines: list[bytes]) -> str:
    """Check the chain as ``FORMAT.md`` tells; returns the last leaf."""
    leaf = NOTHING
    for number, line in enumerate(lines, start=1):
        entry = json.loads(line)
        assert (entry["seq"], entry["prev"]) == (number, leaf)
        leaf = hashlib.sha256(b"\0" + line).hexdigest()
    return leaf


# --- what there is ---


async def test_every_file_is_listed_with_size_and_hash(got: Unpacked) -> None:
    """In the manifest all but itself and the sums, in the sums all but themselves; the archive has no others."""
    manifest = got.json("MANIFEST.json")
    assert manifest["schema"] == "foundry.bundle/v1"
    listed = {file["path"]: (file["size"], file["sha256"]) for file in manifest["files"]}
    assert listed == {
        path: (len(data), sha256(data))
        for path, data in got.files.items()
        if path not in {"MANIFEST.json", "SHA256SUMS"}
    }
    assert [file["path"] for file in manifest["files"]] == sorted(listed)
    assert list(got.files) == ["MANIFEST.json", "SHA256SUMS", *sorted(listed)]
    sums = got.files["SHA256SUMS"].decode().splitlines()
    assert sums == [f"{sha256(got.files[path])}  {path}" for path in ["MANIFEST.json", *sorted(listed)]]


async def test_there_are_these_files_and_no_others(house: House, got: Unpacked) -> None:
    """Those that every bundle has, a file for each field but the scratchpad, and two for each run."""
    answer = await house.olga.call(run_pb2.ListRunsRequest(project_id=got.bundle.freeze.project_id))
    of_runs = {f"runs/{run.run_id}{end}" for run in answer.runs for end in (".json", ".log.jsonl")}
    of_fields = {f"content/{name}" for name in CONTENT if name != "scratchpad"}
    assert set(got.files) == ALWAYS | of_fields | of_runs
    assert len(of_runs) == 4


async def test_the_format_is_described_file_by_file(got: Unpacked) -> None:
    """``FORMAT.md`` has a line for each kind of file, so nobody needs a foundry to read a bundle."""
    told = {line.split("`")[1] for line in got.files["FORMAT.md"].decode().splitlines() if line.startswith("| `")}
    assert told == (ALWAYS - {"FORMAT.md"}) | {"content/", "runs/{run_id}.json", "runs/{run_id}.log.jsonl"}


async def test_the_manifest_names_project_and_freeze(got: Unpacked) -> None:
    """As GetFreeze tells it."""
    manifest, made = got.json("MANIFEST.json"), got.bundle.freeze
    assert manifest["project"] == {"name": "Oncology Protocol Agent", "project_id": made.project_id}
    assert manifest["freeze"] == {
        "content_sha256": made.content_sha256,
        "create_time": moment(made.create_time),
        "draft_id": made.draft_id,
        "fingerprint": made.fingerprint,
        "freeze_id": made.freeze_id,
        "reason": made.reason,
        "requester": principal(made.requester),
        "sequence": made.position.sequence,
        "version_number": made.version_number,
    }
    assert sha256(got.files["release.json"]) == made.fingerprint


# --- content ---


async def test_every_field_is_there_byte_for_byte(got: Unpacked) -> None:
    """Whatever its name and whatever its bytes: empty, binary, with line ends of other systems; but no scratchpad."""
    for name, content in CONTENT.items():
        wanted = content.encode() if isinstance(content, str) else content
        assert got.files.get(f"content/{name}") == (None if name == "scratchpad" else wanted)


async def test_the_content_hash_is_that_of_the_fields(got: Unpacked) -> None:
    """``content.json`` hashes to it, and can be made from the files and what the payload tells of their kinds."""
    fields = got.json("payload/agent.json")["fields"]
    rebuilt = [
        {
            "kind": field["kind"],
            "media_type": field["media_type"],
            "name": name,
            "sha256": sha256(got.files[f"content/{name}"]),
        }
        for name, field in fields.items()
    ]
    assert sha256(got.files["content.json"]) == got.bundle.freeze.content_sha256 == content_sha256(rebuilt)
    assert got.json("content.json")["fields"] == sorted(rebuilt, key=lambda field: field["name"])


async def test_the_payload_is_that_of_an_export(house: House, got: Unpacked) -> None:
    """What was tested is what is handed over, byte for byte."""
    export = await export_for_assay(house.olga, got.bundle.freeze.project_id)
    assert got.files["payload/agent.json"] == export.payload
    assert got.files["content.json"].decode() == export.manifest


# --- history ---


async def test_the_log_is_whole_up_to_the_freeze(house: House, got: Unpacked) -> None:
    """Each line is the bytes that are chained; it ends with ``project_frozen``, and later entries are not in it."""
    made = got.bundle.freeze
    *lines, last = got.files["audit/log.jsonl"].split(b"\n")
    assert last == b""
    leaf = check_log(lines)
    entries = await entries_of(house.olga, made.project_id)
    check_chain(made.project_id, entries)
    assert lines == [entry.entry_bytes for entry in entries][: made.position.sequence]
    assert (len(entries) > len(lines), entries[len(lines) - 1].leaf.hex()) == (True, leaf)
    frozen = json.loads(lines[-1])
    assert (frozen["event"], frozen["data"]["fingerprint"]) == ("project_frozen", made.fingerprint)
    statement = got.json("release.json")
    assert hashlib.sha256(b"\0" + lines[statement["log"]["sequence"] - 1]).hexdigest() == statement["log"]["leaf"]
    assert json.loads(lines[statement["log"]["sequence"]])["event"] == "freeze_requested"


async def test_free_text_fits_its_commitments(got: Unpacked) -> None:
    """Every commitment in the log has its text and salt beside it, and nothing else is there."""
    texts = {record["seq"]: record for record in got.records("audit/texts.jsonl")}
    entries = [json.loads(line) for line in got.files["audit/log.jsonl"].splitlines()]
    committed = {entry["seq"]: entry["text"] for entry in entries if "text" in entry}
    assert committed == {
        number: "sha256:" + sha256(b"\2" + bytes.fromhex(record["salt"]) + rfc8785.dumps(record["text"]))
        for number, record in texts.items()
    }
    assert texts[entries[-1]["seq"]]["text"] == {"actor_name": "Olga O.", "reason": "It is \N{SNOWMAN} time."}


async def test_versions_are_contiguous_and_as_they_were_saved(house: House, got: Unpacked) -> None:
    """Number by number, each with the hashes before and after, and at the place in the log that it names."""
    versions = got.records("history/versions.jsonl")
    assert [(it["version_number"], it["parent_version"]) for it in versions] == [(1, 0), (2, 1), (3, 2)]
    lines = got.files["audit/log.jsonl"].splitlines()
    state: dict[str, str] = {}
    for record in versions:
        entry = json.loads(lines[record["sequence"] - 1])
        assert (entry["event"], entry["data"]["draft_id"]) == ("draft_created", record["draft_id"])
        assert entry["data"]["content_sha256"] == record["content_sha256"]
        for change in record["changed_fields"]:
            assert state.get(change["field"], "") == change["before_sha256"]
            state[change["field"]] = change["after_sha256"]
            told = {key: change[key] for key in entry["data"]["changed_fields"][0]}
            assert told in entry["data"]["changed_fields"]
        draft = (await house.olga.call(_get_draft(got, record["version_number"]))).draft
        assert record["author"] == principal(draft.author)
        assert (record["create_time"], record["message"]) == (moment(draft.create_time), draft.message)
        assert record["session_id"] == entry["session_id"] == draft.session_id
    last = versions[-1]
    assert (last["origin"], last["source_version"], last["content_sha256"]) == (
        "REVERT",
        1,
        versions[0]["content_sha256"],
    )
    released_now = {name: value for name, value in state.items() if value and name != "scratchpad"}
    assert released_now == {it["name"]: it["sha256"] for it in got.json("content.json")["fields"]}


def _get_draft(got: Unpacked, version: int) -> draft_pb2.GetDraftRequest:
    return draft_pb2.GetDraftRequest(project_id=got.bundle.freeze.project_id, version_number=version)


# --- what was said and tested ---


async def test_comments_are_as_they_can_be_read(house: House, got: Unpacked) -> None:
    """Threads, replies and tasks by age, with the words they are about; of a deleted one only that it was there."""
    found = {record["comment_id"]: record for record in got.records("comments.jsonl")}
    answer = await house.olga.call(comment_pb2.ListCommentsRequest(project_id=got.bundle.freeze.project_id))
    assert list(found) == [comment.comment_id for comment in answer.comments]
    for comment in answer.comments:
        record = found[comment.comment_id]
        assert (record["text"], record["author"]) == (comment.text, principal(comment.author))
        assert (record["assignee"], record["run_id"]) == (comment.assignee, comment.run_id)
        assert record["create_time"] == moment(comment.create_time)
        assert (record["delete_time"] is not None) is comment.HasField("delete_time")
    thread, reply, deleted = found.values()
    assert thread["anchor"] == {
        "version_number": 1,
        "draft_id": got.records("history/versions.jsonl")[0]["draft_id"],
        "field": "system_prompt",
        "start_line": 2,
        "end_line": 2,
        "quote": thread["anchor"]["quote"],
        "field_sha256": sha256(got.files["content/system_prompt"]),
    }
    assert thread["anchor"]["quote"].encode() in got.files["content/system_prompt"]
    assert (thread["kind"], thread["state"], thread["closer"]["subject"]) == ("TASK", "DONE", "bob")
    assert (thread["closed_at_version"], reply["thread_id"], reply["anchor"]) == (3, thread["comment_id"], None)
    assert (deleted["text"], deleted["thread_id"]) == ("", thread["comment_id"])
    assert b"Never mind." not in got.files["comments.jsonl"]


async def test_every_run_is_there_with_its_console(house: House, got: Unpacked) -> None:
    """State and results as they can be read; the console hashes to what the log sealed, also one without a line."""
    project_id = got.bundle.freeze.project_id
    entries = [json.loads(line) for line in got.files["audit/log.jsonl"].splitlines()]
    sealed = {entry["data"]["run_id"]: entry["data"] for entry in entries if entry["event"] == "run_finished"}
    answer = await house.olga.call(run_pb2.ListRunsRequest(project_id=project_id))
    assert [len(got.files[f"runs/{run.run_id}.log.jsonl"].splitlines()) for run in answer.runs] == [0, 2]
    for run in answer.runs:
        console = got.files[f"runs/{run.run_id}.log.jsonl"]
        record, entry = got.json(f"runs/{run.run_id}.json"), sealed[run.run_id]
        assert sha256(console) == entry["log_sha256"] == record["log_sha256"] == run.log_sha256
        assert console == runs.console_of(await runs.read(house.olga, run))
        state = run_pb2.RunState.Name(run.state)
        assert (f"RUN_STATE_{record['state']}", entry["state"]) == (state, state)
        results = [{"name": it.name, "passed": it.passed, "value": it.value} for it in run.results]
        assert record["results"] == results
        assert record["results_sha256"] == entry["results_sha256"] == sha256(rfc8785.dumps(results))
        assert (record["starter"], record["labels"]) == (principal(run.starter), dict(run.labels))
        assert (record["start_time"], record["finish_time"]) == (moment(run.start_time), moment(run.finish_time))
        told = (record["version_number"], record["content_sha256"], record["attempt"], record["line_count"])
        assert told == (run.version_number, run.content_sha256, run.attempt, run.line_count)


async def test_a_long_history_is_whole(house: House) -> None:
    """More entries and comments than are read in one go: all are there, in their order, once."""
    project_id = await house.project()
    for number in range(60):
        await house.olga.save(project_id, number, system_prompt=f"{number}")
    made = [comment_pb2.CreateCommentRequest(project_id=project_id, text=f"{number}") for number in range(201)]
    for request in made:
        await house.olga.call(request)
    freezing = (await freeze(house.olga, project_id, 60)).freeze
    got = await bundle_of(house.olga, project_id)
    assert freezing.position.sequence > 400
    assert len(got.files["audit/log.jsonl"].splitlines()) == freezing.position.sequence
    check_log(got.files["audit/log.jsonl"].splitlines())
    assert [record["text"] for record in got.records("comments.jsonl")] == [request.text for request in made]
    assert [record["version_number"] for record in got.records("history/versions.jsonl")] == list(range(1, 61))


async def test_the_payload_comes_along_up_to_8_mib(house: House) -> None:
    """The bound is that of an export, so what could be tested can be handed over; one byte more and it is left out."""
    project_id = await house.project()
    for number, size in enumerate([3, 3, 2]):
        changes = save_of(project_id, {f"data/{number}": bytes(size * 2**20)}, number)
        changes.changes[0].kind = draft_pb2.FIELD_KIND_BINARY
        await house.olga.call(changes)
    await freeze(house.olga, project_id, 3)
    export = await export_for_assay(house.olga, project_id)
    assert (await bundle_of(house.olga, project_id)).files["payload/agent.json"] == export.payload
    revision = (await start_revision(house.olga, project_id)).project_id
    await house.olga.save(revision, 1, more="x")
    await freeze(house.olga, revision, 2)
    assert "payload/agent.json" not in (await bundle_of(house.olga, revision)).files


# --- the least there can be ---


async def test_a_release_without_comments_and_runs_is_whole(house: House) -> None:
    """Every file is there, the empty ones too; also where the version has no fields left, or only notes."""
    nothing, notes = await house.project(), await house.project()
    await house.olga.save(nothing, system_prompt="one")
    await house.olga.call(save_of(nothing, {"system_prompt": None}, 1))
    await house.olga.save(notes, scratchpad="only notes")
    for project_id, version in ((nothing, 2), (notes, 1)):
        await freeze(house.olga, project_id, version)
        got = await bundle_of(house.olga, project_id)
        assert set(got.files) == ALWAYS
        assert got.files["comments.jsonl"] == b""
        assert got.files["content.json"] == b'{"fields":[],"v":1}'
        assert got.json("payload/agent.json")["fields"] == {}
        assert sha256(got.files["release.json"]) == got.bundle.freeze.fingerprint


async def test_a_redacted_text_is_left_out(house: House) -> None:
    """What must be forgotten is not handed over, and the log verifies without it."""
    project_id = await house.project()
    await house.olga.save(project_id, system_prompt="one")
    made = (await freeze(house.olga, project_id, 1, reason="Forget this.")).freeze
    house.execute("DELETE FROM log_text WHERE log = ? AND sequence < ?", (project_id, made.position.sequence))
    got = await bundle_of(house.olga, project_id)
    assert [record["seq"] for record in got.records("audit/texts.jsonl")] == [made.position.sequence]
    check_log(got.files["audit/log.jsonl"].splitlines())
