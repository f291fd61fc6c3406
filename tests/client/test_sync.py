"""The synchronous facade, on grpcio-testing's fake channel: the client runs in a thread, the test plays the server."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

import grpc
import grpc_testing
import pytest
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message import Message
from google.rpc import status_pb2
from grpc_status import rpc_status

from coreason.foundry.v1 import (
    audit_pb2,
    comment_pb2,
    draft_pb2,
    export_pb2,
    lock_pb2,
    project_pb2,
    run_pb2,
    session_pb2,
)
from foundry.client import Foundry, LockHeld, StaleVersion, SyncFoundry, VerifiedLog, connect, connect_sync
from foundry.client.channel import credentials_of
from tests.client.scripted import PATIENCE_S, at, retry_info, status
from tests.client.test_audit import a_log

FILES = (audit_pb2, comment_pb2, draft_pb2, export_pb2, lock_pb2, project_pb2, run_pb2, session_pb2)
METHODS = {
    method.name: method
    for file in FILES
    for service in file.DESCRIPTOR.services_by_name.values()
    for method in service.methods
}

_T = TypeVar("_T")


class Stage:
    """A client in a thread and the server's end of its channel."""

    def __init__(self, pool: ThreadPoolExecutor) -> None:
        services = [service for file in FILES for service in file.DESCRIPTOR.services_by_name.values()]
        self._channel = grpc_testing.channel(services, grpc_testing.strict_real_time())
        self._pool = pool
        self.foundry = SyncFoundry(self._channel, "the-token")

    def run(self, call: Callable[[], _T]) -> Future[_T]:
        """Make a call of the client."""
        return self._pool.submit(call)

    def answer(self, method: str, response: Message) -> Any:
        """Answer the next call of a method; returns its request."""
        metadata, request, rpc = self._take(METHODS[method])
        assert ("authorization", "Bearer the-token") in metadata
        rpc.terminate(response, (), grpc.StatusCode.OK, "")
        return request

    def refuse(self, method: str, refusal: status_pb2.Status) -> Any:
        """Refuse the next call of a method; returns its request."""
        _metadata, request, rpc = self._take(METHODS[method])
        made = rpc_status.to_status(refusal)
        rpc.terminate(None, made.trailing_metadata, made.code, made.details)
        return request

    def _take(self, method: MethodDescriptor) -> tuple[Any, Any, Any]:
        taken: tuple[Any, Any, Any] = self._pool.submit(self._channel.take_unary_unary, method).result(PATIENCE_S)
        return taken


@pytest.fixture
def stage() -> Iterator[Stage]:
    with ThreadPoolExecutor(2) as pool:
        yield Stage(pool)


def test_create_sends_its_arguments_and_a_request_id(stage: Stage) -> None:
    policy = project_pb2.Policy(require_reason=True)
    call = stage.run(
        lambda: stage.foundry.projects.create("Triage", description="sorts", labels={"team": "a"}, policy=policy)
    )
    project = project_pb2.Project(project_id="p1", name="Triage")
    request = stage.answer("CreateProject", project_pb2.CreateProjectResponse(project=project))
    assert call.result(PATIENCE_S) == project
    assert (request.name, request.description, dict(request.labels)) == ("Triage", "sorts", {"team": "a"})
    assert request.policy == policy
    assert len(request.request_id) == 36


def test_a_request_id_of_the_callers_own_is_kept(stage: Stage) -> None:
    call = stage.run(lambda: stage.foundry.projects.archive("p1", request_id="mine", reason="done", etag="3"))
    request = stage.answer("ArchiveProject", project_pb2.ArchiveProjectResponse())
    call.result(PATIENCE_S)
    assert request == project_pb2.ArchiveProjectRequest(project_id="p1", request_id="mine", reason="done", etag="3")


def test_update_names_what_it_changes_and_nothing_else(stage: Stage) -> None:
    call = stage.run(lambda: stage.foundry.projects.update("p1", description="", labels={"a": "b"}))
    request = stage.answer("UpdateProject", project_pb2.UpdateProjectResponse())
    call.result(PATIENCE_S)
    assert list(request.update_mask.paths) == ["description", "labels"]
    assert dict(request.project.labels) == {"a": "b"}


def test_lists_read_all_pages(stage: Stage) -> None:
    call = stage.run(lambda: [lock.field for lock in stage.foundry.locks.list("p1")])
    first = stage.answer("ListLocks", lock_pb2.ListLocksResponse(locks=[lock_pb2.Lock(field="a")], next_page_token="2"))
    second = stage.answer("ListLocks", lock_pb2.ListLocksResponse(locks=[lock_pb2.Lock(field="b")]))
    assert call.result(PATIENCE_S) == ["a", "b"]
    assert (first.page_token, second.page_token) == ("", "2")
    assert second.project_id == "p1"


def test_save_takes_text_bytes_and_removals(stage: Stage) -> None:
    call = stage.run(
        lambda: stage.foundry.drafts.save("p1", {"a": "text", "b": b"\x00", "c": None}, base_version=3, message="m")
    )
    saved = draft_pb2.CreateDraftResponse(outcome=draft_pb2.SAVE_OUTCOME_COMMITTED)
    request = stage.answer("CreateDraft", saved)
    assert call.result(PATIENCE_S) == saved
    assert list(request.changes) == [
        draft_pb2.FieldChange(field="a", text="text"),
        draft_pb2.FieldChange(field="b", data=b"\x00"),
        draft_pb2.FieldChange(field="c", remove=True),
    ]
    assert (request.base_version, request.message, request.session_id) == (3, "m", "")


def test_save_takes_changes_in_full(stage: Stage) -> None:
    change = draft_pb2.FieldChange(field="a", sha256="ab" * 32, kind=draft_pb2.FIELD_KIND_JSON)
    call = stage.run(lambda: stage.foundry.drafts.save("p1", [change], base_version=0))
    request = stage.answer("CreateDraft", draft_pb2.CreateDraftResponse())
    call.result(PATIENCE_S)
    assert list(request.changes) == [change]


@pytest.mark.parametrize(
    ("arguments", "named"),
    [({}, None), ({"version": 4}, "version_number"), ({"draft_id": "d4"}, "draft_id")],
)
def test_a_version_is_named_by_number_by_id_or_as_the_head(
    stage: Stage, arguments: dict[str, Any], named: str | None
) -> None:
    call = stage.run(lambda: stage.foundry.drafts.get("p1", **arguments))
    request = stage.answer("GetDraft", draft_pb2.GetDraftResponse(draft=draft_pb2.Draft(version_number=4)))
    assert call.result(PATIENCE_S).version_number == 4
    assert request.WhichOneof("version") == named


def test_a_version_is_not_named_twice(stage: Stage) -> None:
    with pytest.raises(ValueError, match="not by both"):
        stage.foundry.drafts.get("p1", 4, draft_id="d4")


def test_compare_returns_the_deltas(stage: Stage) -> None:
    call = stage.run(lambda: stage.foundry.drafts.compare("p1", 1, 2, context_lines=0))
    delta = draft_pb2.FieldDelta(field="a", added_lines=1)
    request = stage.answer("CompareDrafts", draft_pb2.CompareDraftsResponse(deltas=[delta]))
    assert call.result(PATIENCE_S) == [delta]
    assert request.HasField("context_lines")


def test_revert_names_the_version_to_restore(stage: Stage) -> None:
    call = stage.run(lambda: stage.foundry.drafts.revert("p1", 2, base_version=5, fields=["a"]))
    request = stage.answer("RevertDraft", draft_pb2.RevertDraftResponse())
    call.result(PATIENCE_S)
    assert (request.version_number, request.base_version, list(request.fields)) == (2, 5, ["a"])


Calls = list[tuple[Callable[[], object], str, Message, dict[str, object], object]]


def check(stage: Stage, calls: Calls) -> None:
    """Each call sends what it is given and returns the part of the answer that matters."""
    for call, method, response, sent, result in calls:
        running = stage.run(call)
        request = stage.answer(method, response)
        assert running.result(PATIENCE_S) == result
        assert {name: getattr(request, name) for name in sent} == sent


def test_the_other_calls_about_projects(stage: Stage) -> None:
    foundry = stage.foundry
    member = project_pb2.Member(subject="bob", role=project_pb2.ROLE_EDITOR)
    calls: Calls = [
        (
            lambda: foundry.projects.membership("p1"),
            "GetProject",
            project_pb2.GetProjectResponse(member=member),
            {"project_id": "p1"},
            member,
        ),
        (
            lambda: foundry.projects.set_member("p1", "bob", project_pb2.ROLE_EDITOR, display_name="Bob"),
            "SetMember",
            project_pb2.SetMemberResponse(member=member),
            {"subject": "bob", "role": project_pb2.ROLE_EDITOR, "display_name": "Bob"},
            member,
        ),
        (
            lambda: foundry.projects.remove_member("p1", "bob", reason="left"),
            "RemoveMember",
            project_pb2.RemoveMemberResponse(),
            {"subject": "bob", "reason": "left"},
            None,
        ),
        (
            lambda: foundry.projects.unarchive("p1"),
            "UnarchiveProject",
            project_pb2.UnarchiveProjectResponse(project=project_pb2.Project(project_id="p1")),
            {"project_id": "p1"},
            project_pb2.Project(project_id="p1"),
        ),
    ]
    check(stage, calls)


def test_the_other_calls_about_locks_and_sessions(stage: Stage) -> None:
    foundry = stage.foundry
    lock = lock_pb2.Lock(field="a", fencing_token=7)
    calls: Calls = [
        (
            lambda: foundry.locks.acquire("p1", "a", "s1", purpose="typo", if_unchanged_since=6),
            "AcquireLock",
            lock_pb2.AcquireLockResponse(acquired=lock_pb2.AcquiredLock(lock=lock)),
            {"field": "a", "session_id": "s1", "purpose": "typo", "if_unchanged_since": 6},
            lock_pb2.AcquiredLock(lock=lock),
        ),
        (
            lambda: foundry.locks.renew("p1", "a", "s1", 7),
            "RenewLock",
            lock_pb2.RenewLockResponse(lock=lock),
            {"field": "a", "session_id": "s1", "fencing_token": 7},
            lock,
        ),
        (
            lambda: foundry.locks.release("p1", "a", "s1", 7),
            "ReleaseLock",
            lock_pb2.ReleaseLockResponse(lock=lock),
            {"field": "a", "session_id": "s1", "fencing_token": 7},
            lock,
        ),
        (lambda: foundry.locks.get("p1", "a"), "GetLock", lock_pb2.GetLockResponse(lock=lock), {"field": "a"}, lock),
        (
            lambda: foundry.locks.break_("p1", "a", 7, "on holiday"),
            "BreakLock",
            lock_pb2.BreakLockResponse(lock=lock),
            {"field": "a", "fencing_token": 7, "reason": "on holiday"},
            lock,
        ),
        (
            lambda: foundry.sessions.end("p1", "s1", reason="forgotten"),
            "EndSession",
            session_pb2.EndSessionResponse(),
            {"session_id": "s1", "reason": "forgotten"},
            None,
        ),
    ]
    check(stage, calls)


def test_the_other_lists_send_what_they_are_given(stage: Stage) -> None:
    foundry = stage.foundry
    listings: list[tuple[Callable[[], Iterator[object]], str, Message, dict[str, object]]] = [
        (
            lambda: foundry.projects.list(name_contains="tri", state=project_pb2.PROJECT_STATE_FROZEN, page_size=9),
            "ListProjects",
            project_pb2.ListProjectsResponse(projects=[project_pb2.Project()]),
            {"name_contains": "tri", "state": project_pb2.PROJECT_STATE_FROZEN, "page_size": 9},
        ),
        (
            lambda: foundry.projects.members("p1"),
            "ListMembers",
            project_pb2.ListMembersResponse(members=[project_pb2.Member()]),
            {"project_id": "p1"},
        ),
        (
            lambda: foundry.drafts.list("p1", author="bob", field="a"),
            "ListDrafts",
            draft_pb2.ListDraftsResponse(drafts=[draft_pb2.Draft()]),
            {"author": "bob", "field": "a"},
        ),
        (
            lambda: foundry.sessions.list("p1"),
            "ListSessions",
            session_pb2.ListSessionsResponse(sessions=[session_pb2.Session()]),
            {"project_id": "p1"},
        ),
        (
            lambda: foundry.audit.entries("p1", after_sequence=8, events=["draft_created"], actor="bob"),
            "ListEntries",
            audit_pb2.ListEntriesResponse(entries=[audit_pb2.LogEntry()]),
            {"after_sequence": 8, "events": ["draft_created"], "actor": "bob"},
        ),
    ]
    for listing, method, page, sent in listings:
        running = stage.run(lambda listing=listing: len(list(listing())))  # type: ignore[misc]
        request = stage.answer(method, page)
        assert running.result(PATIENCE_S) == 1
        assert {name: getattr(request, name) for name in sent} == sent


def test_refusals_are_raised_as_what_they_are(stage: Stage) -> None:
    call = stage.run(lambda: stage.foundry.locks.acquire("p1", "a", "s1"))
    held = status(grpc.StatusCode.FAILED_PRECONDITION, "LOCK_HELD", "held by Bob", field="a", holder="bob")
    stage.refuse("AcquireLock", held)
    with pytest.raises(LockHeld, match="held by Bob") as refused:
        call.result(PATIENCE_S)
    assert refused.value.holder == "bob"
    assert isinstance(refused.value.__cause__, grpc.RpcError)


def test_a_write_is_repeated_under_one_request_id(stage: Stage) -> None:
    call = stage.run(lambda: stage.foundry.drafts.save("p1", {"a": "text"}, base_version=3))
    busy = status(grpc.StatusCode.UNAVAILABLE, "STORE_UNAVAILABLE", "busy", retry_info(0.001))
    first = stage.refuse("CreateDraft", busy)
    second = stage.refuse("CreateDraft", status(grpc.StatusCode.ABORTED, "STALE_VERSION", head_version="4"))
    assert first == second
    with pytest.raises(StaleVersion):
        call.result(PATIENCE_S)


def test_a_whole_log_is_verified(stage: Stage) -> None:
    entries = a_log()
    call = stage.run(lambda: stage.foundry.audit.verify("p1"))
    head = at(len(entries))
    page = audit_pb2.ListEntriesResponse(entries=entries[:2], next_page_token="2", head=head)
    stage.answer("ListEntries", page)
    stage.answer("ListEntries", audit_pb2.ListEntriesResponse(entries=entries[2:], head=head))
    assert call.result(PATIENCE_S) == VerifiedLog(len(entries), entries[-1].leaf.hex())


async def test_connections_with_and_without_tls() -> None:
    """Nothing is sent before the first call, so that no server is needed."""
    for tls in (False, True, grpc.ssl_channel_credentials()):
        with connect_sync("localhost:1", "token", tls=tls) as sync_foundry:
            assert isinstance(sync_foundry, SyncFoundry)
        async with connect("localhost:1", "token", tls=tls) as foundry:
            assert isinstance(foundry, Foundry)
    assert credentials_of(tls=False) is None
