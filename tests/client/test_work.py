"""The client against a real server: comments, runs and releases from end to end."""

from __future__ import annotations

import asyncio
import hashlib
import io
import tarfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from coreason.foundry.v1 import comment_pb2, project_pb2, run_pb2
from foundry.client import (
    AnchorOutOfRange,
    CommentDeleted,
    ContentMismatch,
    Foundry,
    FreezeBlocked,
    LineNumberMismatch,
    NotFound,
    NotFrozen,
    NotYours,
    ProjectFrozen,
    RunFinished,
    SyncFoundry,
    VersionMismatch,
    connect_sync,
)
from tests.support import PATIENCE_S, RunningServer, project_with, running_server

PROMPT = "You are an oncologist.\nExclude minors.\nBe brief.\n"


@pytest.fixture
async def alice(server: RunningServer) -> AsyncIterator[Foundry]:
    async with server.connect("alice") as foundry:
        yield foundry


@pytest.fixture
async def bob(server: RunningServer) -> AsyncIterator[Foundry]:
    async with server.connect("bob") as foundry:
        yield foundry


@pytest.fixture
async def project_id(alice: Foundry) -> str:
    """A project of alice, in which bob edits, at version 1."""
    made = await project_with(alice, "bob")
    await alice.drafts.save(made, {"system_prompt": PROMPT}, base_version=0)
    return made


# --- comments ------------------------------------------------------------------------------------------------------


async def test_a_comment_keeps_to_its_lines(alice: Foundry, bob: Foundry, project_id: str) -> None:
    said = await alice.comments.create(project_id, "16?", field="system_prompt", version=1, start_line=2)
    assert (said.anchor.start_line, said.anchor.end_line, said.anchor.quote) == (2, 2, "Exclude minors.")
    reply = await bob.comments.create(project_id, "Yes.", reply_to=said.comment_id)
    await alice.drafts.save(project_id, {"system_prompt": f"Hello.\n{PROMPT}"}, base_version=1)
    now = await bob.comments.get(project_id, said.comment_id)
    assert (now.resolved_anchor.version_number, now.resolved_anchor.start_line) == (2, 3)
    then = await bob.comments.get(project_id, said.comment_id, at_version=1)
    assert then.resolved_anchor.state == comment_pb2.ANCHOR_STATE_EXACT
    thread = [row.comment_id async for row in bob.comments.list(project_id, thread_id=said.comment_id, page_size=1)]
    assert thread == [said.comment_id, reply.comment_id]
    closed = await bob.comments.resolve(project_id, said.comment_id)
    assert (closed.state, closed.closer.subject) == (comment_pb2.COMMENT_STATE_RESOLVED, "bob")
    assert (await bob.comments.reopen(project_id, said.comment_id)).state == comment_pb2.COMMENT_STATE_OPEN


async def test_a_task_is_given_from_one_to_the_next(alice: Foundry, bob: Foundry, project_id: str) -> None:
    task = await alice.comments.create(project_id, "Check it", assignee="bob", field="system_prompt", version=1)
    assert task.kind == comment_pb2.COMMENT_KIND_TASK
    theirs = bob.comments.list(project_id, assignee="bob", state=comment_pb2.COMMENT_STATE_OPEN)
    assert [row.comment_id async for row in theirs] == [task.comment_id]
    assert (await bob.comments.update(project_id, task.comment_id, assignee="")).assignee == ""
    with pytest.raises(NotYours) as refused:
        await bob.comments.update(project_id, task.comment_id, text="Mine")
    assert (refused.value.resource_type, refused.value.owner) == ("comment", "alice")
    assert (await bob.comments.resolve(project_id, task.comment_id)).state == comment_pb2.COMMENT_STATE_DONE
    gone = await alice.comments.delete(project_id, task.comment_id)
    assert (gone.text, gone.HasField("delete_time")) == ("", True)
    with pytest.raises(CommentDeleted):
        await alice.comments.create(project_id, "But", reply_to=task.comment_id)


async def test_places_that_are_not_there_are_refused(alice: Foundry, project_id: str) -> None:
    with pytest.raises(AnchorOutOfRange) as refused:
        await alice.comments.create(project_id, "?", field="system_prompt", version=1, start_line=9, end_line=10)
    assert refused.value.line_count == 3
    with pytest.raises(NotFound):
        await alice.comments.create(project_id, "?", field="nothing", version=1)
    for place in ({"field": "system_prompt"}, {"version": 1}):
        with pytest.raises(ValueError, match="name both"):
            await alice.comments.create(project_id, "?", **place)


# --- runs ----------------------------------------------------------------------------------------------------------


async def followed(foundry: Foundry, project_id: str, run_id: str) -> list[str]:
    return [line.text async for line in foundry.runs.read_log(project_id, run_id, follow=True)]


async def test_a_run_is_watched_while_it_runs(alice: Foundry, bob: Foundry, project_id: str) -> None:
    lines = [f"line {number}" for number in range(3_000)]
    async with bob.session(project_id, follow_runs=True) as session:
        events = session.events()
        async with alice.runs.running(project_id, 1, harness="assay", labels={"a": "b"}) as run:
            reading = asyncio.create_task(followed(bob, project_id, run.run_id))
            for line in lines:
                await run.write(line)
            await run.write("x" * 100_000, stream=run_pb2.LOG_STREAM_EVENT)
            run.result("accuracy", passed=True, value="0.91")
        assert (run.run.state, run.run.line_count) == (run_pb2.RUN_STATE_PASSED, 3_002)
        seen: list[run_pb2.LogLine] = []
        async with asyncio.timeout(PATIENCE_S):
            read = await reading
            while not (event := await anext(events)).run_log.HasField("finished_run"):
                seen += event.run_log.lines
            seen += event.run_log.lines
            while session.state.runs:
                await anext(events)
    assert read[:3_000] == [there.text for there in seen[:3_000]] == lines
    assert [there.partial for there in seen[3_000:]] == [True, False]
    assert event.run_log.finished_run == run.run
    digest = hashlib.sha256()
    async for stored in bob.runs.read_log(project_id, run.run_id):
        digest.update(canonical(stored))
    assert digest.hexdigest() == run.run.log_sha256
    (listed,) = [row async for row in bob.runs.list(project_id, content_sha256=run.run.content_sha256)]
    assert listed == run.run


def canonical(line: run_pb2.LogLine) -> bytes:
    """A line as it is hashed, by the comment of ``Run.log_sha256``; its texts here need no escapes."""
    partial = '"partial":true,' if line.partial else ""
    stream = run_pb2.LogStream.Name(line.stream).removeprefix("LOG_STREAM_")
    us = line.source_time.ToMicroseconds()
    return f'{{"n":{line.number},{partial}"stream":"{stream}","text":"{line.text}","us":{us}}}\n'.encode()


async def test_a_console_outlives_a_restart_of_the_server(tmp_path: Path) -> None:
    """Its writer and its readers come back by themselves, and no line is missing or there twice."""
    async with running_server(tmp_path / "data") as server:
        address = server.address
        foundry = await server.connect("alice").__aenter__()
        project_id = await project_with(foundry)
        await foundry.drafts.save(project_id, {"system_prompt": PROMPT}, base_version=0)
        run = await foundry.runs.start(project_id)
        log = await foundry.runs.append_log(project_id, run.run_id).__aenter__()
        reading = asyncio.create_task(followed(foundry, project_id, run.run_id))
        await log.write("before")
        await log.flush()
    await log.write("meanwhile")
    async with running_server(tmp_path / "data", listen=address):
        await log.write("after")
        await log.close()
        await foundry.runs.finish(project_id, run.run_id, run_pb2.RUN_STATE_PASSED, expected_line_count=3)
        async with asyncio.timeout(PATIENCE_S):
            assert await reading == ["before", "meanwhile", "after"]
        await foundry.close()


async def test_a_run_belongs_to_its_starter(alice: Foundry, bob: Foundry, project_id: str) -> None:
    with pytest.raises(ContentMismatch):
        await bob.runs.start(project_id, 1, content_sha256="0" * 64)
    run = await bob.runs.start(project_id, 1)
    with pytest.raises(NotYours):
        await alice.runs.append_log(project_id, run.run_id).__aenter__()
    with pytest.raises(LineNumberMismatch) as refused:
        await bob.runs.finish(project_id, run.run_id, run_pb2.RUN_STATE_PASSED, expected_line_count=5)
    assert refused.value.expected_line == 1
    cancelled = await alice.runs.cancel(project_id, run.run_id, reason="wrong version")
    assert cancelled.state == run_pb2.RUN_STATE_CANCELLED
    with pytest.raises(RunFinished) as over:
        await bob.runs.append_log(project_id, run.run_id).__aenter__()
    assert over.value.state == "CANCELLED"


async def test_a_session_runs_tests_itself(alice: Foundry, project_id: str) -> None:
    async with alice.session(project_id) as session:
        run = await session.start_run(harness="by hand")
        assert run.version_number == 1
        lines = [run_pb2.LogLine(number=number, text=f"line {number}") for number in (1, 2)]
        assert await session.append_run_log(run.run_id, lines) == 3
        assert await session.append_run_log(run.run_id, []) == 3
        finished = await session.finish_run(run.run_id, run_pb2.RUN_STATE_FAILED, expected_line_count=2)
        assert (finished.state, finished.line_count) == (run_pb2.RUN_STATE_FAILED, 2)


# --- releases ------------------------------------------------------------------------------------------------------


async def test_a_release_from_payload_to_revision(
    alice: Foundry, bob: Foundry, project_id: str, tmp_path: Path
) -> None:
    exported = await bob.exports.for_assay(project_id, 1)
    assert hashlib.sha256(exported.payload).hexdigest() == exported.payload_sha256
    assert hashlib.sha256(exported.manifest.encode()).hexdigest() == exported.content_sha256
    with pytest.raises(NotFound):
        await bob.exports.get_freeze(project_id)
    with pytest.raises(NotFrozen):
        await bob.exports.save_bundle(project_id, tmp_path)
    run = await alice.runs.start(project_id, 1, content_sha256=exported.content_sha256)
    with pytest.raises(VersionMismatch) as moved:
        await alice.exports.freeze(project_id, 2)
    assert moved.value.head == 1
    with pytest.raises(FreezeBlocked) as blocked:
        await alice.exports.freeze(project_id, 1)
    assert [blocker.subject for blocker in blocked.value.blockers] == [f"runs/{run.run_id}"]
    await alice.runs.finish(project_id, run.run_id, run_pb2.RUN_STATE_PASSED)

    frozen = await alice.exports.freeze(project_id, 1, reason="Release 1.0")
    assert frozen.project.state == project_pb2.PROJECT_STATE_FROZEN
    assert await bob.exports.get_freeze(project_id) == frozen.freeze
    told: list[tuple[int, int]] = []
    saved = await bob.exports.save_bundle(project_id, tmp_path, progress=lambda *there: told.append(there))
    assert saved.path == tmp_path / f"{project_id}-v1.tar"
    assert told[-1] == (saved.bundle.size, saved.bundle.size)
    async with bob.exports.for_publisher(project_id) as handed:
        assert handed.bundle.manifest_sha256 == saved.bundle.manifest_sha256
        archive = b"".join([data async for data in handed])
    assert archive == saved.path.read_bytes()
    with tarfile.open(fileobj=io.BytesIO(archive)) as files:
        manifest = files.extractfile(f"{files.getnames()[0].partition('/')[0]}/MANIFEST.json")
        assert manifest is not None
        assert hashlib.sha256(manifest.read()).hexdigest() == saved.bundle.manifest_sha256

    revision = await bob.exports.start_revision(project_id, name="Second edition")
    assert revision.revision_of_fingerprint == frozen.freeze.fingerprint
    assert (await bob.drafts.get(revision.project_id)).fields[0].text == PROMPT


async def test_a_held_lock_is_let_go_of_quietly_when_somebody_freezes(
    alice: Foundry, bob: Foundry, project_id: str
) -> None:
    async with bob.session(project_id) as session:
        events = session.events()
        async with session.lock("system_prompt") as lock:
            frozen = await alice.exports.freeze(project_id, 1)
            assert [released.field for released in frozen.released_locks] == ["system_prompt"]
            async with asyncio.timeout(PATIENCE_S):
                while not (await anext(events)).entry.HasField("project_frozen"):
                    pass
            assert lock.lost.is_set()
            with pytest.raises(ProjectFrozen):
                await lock.save("too late")
        assert not lock.held
        assert session.state.project.state == project_pb2.PROJECT_STATE_FROZEN
        assert session.state.locks == {}


async def test_threads_do_it_without_await(server: RunningServer, project_id: str, tmp_path: Path) -> None:
    def work(foundry: SyncFoundry) -> dict[str, Any]:
        task = foundry.comments.create(project_id, "Check it", task=True)
        foundry.comments.resolve(project_id, task.comment_id)
        run = foundry.runs.start(project_id)
        foundry.runs.finish(project_id, run.run_id, run_pb2.RUN_STATE_PASSED)
        foundry.exports.freeze(project_id, 1)
        saved = foundry.exports.save_bundle(project_id, tmp_path / "bundle.tar")
        with foundry.exports.for_publisher(project_id) as handed:
            size = sum(map(len, handed))
        return {
            "tasks": [row.state for row in foundry.comments.list(project_id, kind=comment_pb2.COMMENT_KIND_TASK)],
            "lines": list(foundry.runs.read_log(project_id, run.run_id, follow=True)),
            "size": size - saved.path.stat().st_size,
        }

    def connected() -> dict[str, Any]:
        with connect_sync(server.address, server.token("alice")) as foundry:
            return work(foundry)

    done = await asyncio.to_thread(connected)
    assert done == {"tasks": [comment_pb2.COMMENT_STATE_DONE], "lines": [], "size": 0}
