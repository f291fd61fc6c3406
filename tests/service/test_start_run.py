"""Starting a run: of which version, by whom, how many at once, and what the log says of it."""

from __future__ import annotations

import hashlib
import uuid
from typing import Any

import pytest

from coreason.foundry.v1 import audit_pb2, draft_pb2, project_pb2, session_pb2
from coreason.foundry.v1 import run_pb2 as pb
from tests.service.house import House
from tests.service.logs import entries_of
from tests.service.refusals import blamed, refused
from tests.service.runs import cancel, finish, get, start, tested

pytestmark = pytest.mark.asyncio(loop_scope="module")

NOBODYS_HASH = "a" * 64


async def _versions(house: House, project_id: str) -> dict[int, draft_pb2.Draft]:
    drafts = (await house.olga.call(draft_pb2.ListDraftsRequest(project_id=project_id))).drafts
    return {draft.version_number: draft for draft in drafts}


async def _started(house: House, project_id: str) -> list[audit_pb2.LogEntry]:
    return await entries_of(house.olga, project_id, events=["run_started"])


async def test_a_run_is_all_that_was_said_of_it(house: House) -> None:
    """The answer names what runs and what is tested, by number and by hash; nothing of its end."""
    project_id = await tested(house)
    draft = (await _versions(house, project_id))[1]
    bob = house.caller("bob", name="Bob B.")
    labels = {"suite": "safety", "commit": ""}
    request = pb.StartRunRequest(project_id=project_id, harness="pytest 9", labels=labels, attempt=3)
    answer = await bob.call(request)
    run = answer.run
    [entry] = await _started(house, project_id)
    assert (run.project_id, run.version_number, run.content_sha256) == (project_id, 1, draft.content_sha256)
    assert (run.harness, dict(run.labels), run.attempt) == ("pytest 9", labels, 3)
    assert (run.state, run.starter) == (pb.RUN_STATE_RUNNING, entry.actor)
    assert run.start_time == entry.time
    assert uuid.UUID(run.run_id).version == 7
    assert (run.line_count, run.log_bytes, run.log_sha256, list(run.results)) == (0, 0, "", [])
    assert not run.HasField("finish_time")
    assert answer.position == entry.position
    assert await get(house.olga, run) == run


async def test_the_log_says_who_began_to_test_what(house: House) -> None:
    """One entry; what runs it is free text beside the chain."""
    project_id = await tested(house)
    labels = {"model": "gpt-4", "Seed": "7"}
    run = await start(house.caller("bob", name="Bob B."), project_id, harness="pytest 9", attempt=2, labels=labels)
    [entry] = await _started(house, project_id)
    assert entry.run_started == audit_pb2.RunStarted(
        run_id=run.run_id,
        version_number=1,
        content_sha256=run.content_sha256,
        attempt=2,
        harness="pytest 9",
        labels_sha256=hashlib.sha256(b'{"Seed":"7","model":"gpt-4"}').hexdigest(),
    )
    assert (entry.actor.subject, entry.actor.display_name, entry.session_id) == ("bob", "Bob B.", "")
    assert b"pytest" not in entry.entry_bytes


async def test_what_is_not_said_is_the_head_and_the_first_attempt(house: House) -> None:
    project_id = await tested(house)
    await house.olga.save(project_id, 1, notes="v2")
    run = await start(house.olga, project_id)
    assert (run.version_number, run.attempt, run.harness) == (2, 1, "")
    older = await start(house.olga, project_id, version_number=1)
    assert (older.version_number, older.content_sha256) == (1, (await _versions(house, project_id))[1].content_sha256)
    assert older.content_sha256 != run.content_sha256


async def test_a_hash_that_is_given_must_be_the_versions(house: House) -> None:
    """Of the version that is tested, be it named or the head; a refusal tells which it is and starts nothing."""
    project_id = await tested(house)
    await house.olga.save(project_id, 1, notes="v2")
    first, second = (draft.content_sha256 for _, draft in sorted((await _versions(house, project_id)).items()))
    async with house.unchanged(project_id):
        for version, wrong in ((0, first), (1, second), (2, NOBODYS_HASH)):
            request = pb.StartRunRequest(project_id=project_id, version_number=version, content_sha256=wrong)
            number, right = (1, first) if version == 1 else (2, second)
            await refused(
                house.olga.call(request), "CONTENT_MISMATCH", version_number=str(number), content_sha256=right
            )
    assert (await start(house.olga, project_id, content_sha256=second)).version_number == 2
    assert (await start(house.olga, project_id, version_number=1, content_sha256=first)).version_number == 1


async def test_a_version_that_is_not_there_is_not_tested(house: House) -> None:
    project_id = await tested(house)
    empty = await house.project()
    for version in (2, 2**63 - 1):
        request = pb.StartRunRequest(project_id=project_id, version_number=version)
        await refused(house.olga.call(request), "RESOURCE_NOT_FOUND", resource_type="draft", resource_id=f"{version}")
    request = pb.StartRunRequest(project_id=empty)
    await refused(house.olga.call(request), "RESOURCE_NOT_FOUND", resource_type="draft", resource_id="head")


@pytest.mark.parametrize(
    ("field", "values"),
    [
        ("version_number", [-1, -(2**63)]),
        ("content_sha256", ["x", "A" * 64, "a" * 63, "a" * 65, "a" * 64 + "\n"]),
        ("harness", ["x" * 201, "é" * 101]),
        ("labels", [{f"{number}": "" for number in range(65)}, {"": "x"}, {"é" * 51: ""}, {"a": "x" * 101}]),
        ("attempt", [-1, 1_000_001]),
        ("session_id", ["x" * 101]),
        ("request_id", ["x", "4f2c1d0e-0000-4000-8000-00000000000"]),
    ],
)
async def test_what_is_out_of_bounds_is_blamed(house: House, field: str, values: list[Any]) -> None:
    project_id = await tested(house)
    async with house.unchanged(project_id):
        for value in values:
            await blamed(house.olga.call(pb.StartRunRequest(project_id=project_id, **{field: value})), field)


async def test_what_is_within_bounds_is_kept_as_it_is(house: House) -> None:
    """At the bounds, in bytes, and whatever the characters are."""
    labels = {f"{number:02}" + "x" * 98: "é" * 50 for number in range(63)} | {"\0": "\u2028"}
    harness = "\x1b[31m" + "é" * 97
    project_id = await tested(house)
    run = await start(house.olga, project_id, harness=harness, labels=labels, attempt=1_000_000)
    assert (run.harness, dict(run.labels), run.attempt) == (harness, labels, 1_000_000)
    assert await get(house.olga, run) == run


async def test_a_run_belongs_to_the_session_it_was_started_in(house: House) -> None:
    """A live one of the caller's own in this project; the entry names it."""
    project_id, elsewhere = await tested(house), await tested(house)
    bob = house.caller("bob")
    async with bob.session(project_id) as his, house.olga.session(project_id) as hers, bob.session(elsewhere) as other:
        await start(bob, project_id, session_id=his.session_id)
        [entry] = await _started(house, project_id)
        assert entry.session_id == his.session_id
        left = his.session_id
        async with house.unchanged(project_id):
            for session_id in (hers.session_id, other.session_id, "nobody's"):
                request = pb.StartRunRequest(project_id=project_id, session_id=session_id)
                await refused(bob.call(request), "SESSION_CLOSED", session_id=session_id)
        await bob.call(session_pb2.EndSessionRequest(project_id=project_id, session_id=left))
        request = pb.StartRunRequest(project_id=project_id, session_id=left)
        await refused(bob.call(request), "SESSION_CLOSED", session_id=left)


async def test_a_hundred_runs_run_at_once_and_no_more(house: House) -> None:
    """An end, whichever, makes room for one; a run of another project takes none."""
    project_id = await tested(house)
    runs = [await start(house.olga, project_id) for _ in range(100)]
    request = pb.StartRunRequest(project_id=project_id)
    for end in (finish, cancel):
        async with house.unchanged(project_id):
            await refused(
                house.olga.call(request), "LIMIT_EXCEEDED", limit_name="runs of a project at once", limit="100"
            )
        await end(house.olga, runs.pop())
        await house.olga.call(request)
    await start(house.olga, await tested(house))


# --- once and again --------------------------------------------------------------------------------------------------


async def test_a_repeated_start_starts_nothing_more(house: House) -> None:
    """The same answer, whatever became of the run; the same id for another start is refused."""
    project_id = await tested(house)
    request = pb.StartRunRequest(
        project_id=project_id, harness="h", labels={"b": "2", "a": "1"}, request_id=str(uuid.uuid4())
    )
    first = await house.olga.call(request)
    await finish(house.olga, first.run)
    assert await house.olga.call(request) == first
    assert len(await _started(house, project_id)) == 1
    request.harness = "another"
    await refused(house.olga.call(request), "REQUEST_ID_REUSED", request_id=request.request_id)


@pytest.mark.parametrize("given", ["the head", "a version"])
async def test_a_start_is_repeated_though_the_head_has_moved(house: House, given: str) -> None:
    """What was right when it was done stays right: the hash was that of the version that was tested."""
    project_id = await tested(house)
    content = (await _versions(house, project_id))[1].content_sha256
    version = 1 if given == "a version" else 0
    request = pb.StartRunRequest(
        project_id=project_id, version_number=version, content_sha256=content, request_id=str(uuid.uuid4())
    )
    first = await house.olga.call(request)
    await house.olga.save(project_id, 1, notes="v2")
    assert await house.olga.call(request) == first


@pytest.mark.parametrize("closed", ["archived", "frozen"])
async def test_a_start_is_repeated_though_the_project_is_closed(house: House, closed: str) -> None:
    """A client that lost the answer gets it; a new start is refused."""
    project_id = await tested(house)
    request = pb.StartRunRequest(project_id=project_id, request_id=str(uuid.uuid4()))
    first = await house.olga.call(request)
    await finish(house.olga, first.run)
    if closed == "archived":
        await house.olga.call(project_pb2.ArchiveProjectRequest(project_id=project_id))
    else:
        await house.freeze(project_id)
    assert await house.olga.call(request) == first
    reason = f"PROJECT_{closed.upper()}"
    for request_id in ("", str(uuid.uuid4())):
        request.request_id = request_id
        async with house.unchanged(project_id):
            await refused(house.olga.call(request), reason, project_id=project_id)


async def test_runs_go_on_under_review(house: House) -> None:
    """What was asked to be frozen may still be tested: content is closed, runs are not."""
    project_id = await tested(house)
    house.put_in_review(project_id)
    run = await start(house.olga, project_id)
    assert (await finish(house.olga, run)).run.state == pb.RUN_STATE_PASSED
