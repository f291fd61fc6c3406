"""Lists come in pages: bounded, and gone on with only by the token of the same list."""

from __future__ import annotations

import base64
import contextlib
from collections.abc import AsyncIterator
from typing import Any, Final

import pytest
import pytest_asyncio
from google.protobuf.message import Message

from coreason.foundry.v1 import (
    audit_pb2,
    comment_pb2,
    draft_pb2,
    lock_pb2,
    project_pb2,
    run_pb2,
    session_pb2,
)
from tests.service.house import UNARY, Caller, House
from tests.service.refusals import blamed, refused

pytestmark = pytest.mark.asyncio(loop_scope="module")

#: Lists by RPC, and where their items are.
LISTS: Final[dict[str, tuple[type[Any], str]]] = {
    "ListProjects": (project_pb2.ListProjectsRequest, "projects"),
    "ListMembers": (project_pb2.ListMembersRequest, "members"),
    "ListDrafts": (draft_pb2.ListDraftsRequest, "drafts"),
    "ListLocks": (lock_pb2.ListLocksRequest, "locks"),
    "ListSessions": (session_pb2.ListSessionsRequest, "sessions"),
    "ListEntries": (audit_pb2.ListEntriesRequest, "entries"),
    "ListComments": (comment_pb2.ListCommentsRequest, "comments"),
    "ListRuns": (run_pb2.ListRunsRequest, "runs"),
}
#: Filters of each list: other values ask for another list.
FILTERS: Final[list[tuple[str, dict[str, Any]]]] = [
    ("ListProjects", {"name_contains": "Oncology"}),
    ("ListProjects", {"labels": {"a": "b"}}),
    ("ListProjects", {"state": project_pb2.PROJECT_STATE_ACTIVE}),
    ("ListProjects", {"show_archived": True}),
    ("ListDrafts", {"author": "olga"}),
    ("ListDrafts", {"field": "a"}),
    ("ListEntries", {"after_sequence": 1}),
    ("ListEntries", {"events": ["draft_created"]}),
    ("ListEntries", {"actor": "olga"}),
    ("ListComments", {"at_version": 1}),
    ("ListComments", {"thread_id": "01994b7e-0000-7000-8000-000000000005"}),
    ("ListComments", {"kind": comment_pb2.COMMENT_KIND_TASK}),
    ("ListComments", {"state": comment_pb2.COMMENT_STATE_OPEN}),
    ("ListComments", {"field": "a"}),
    ("ListComments", {"author": "olga"}),
    ("ListComments", {"assignee": "olga"}),
    ("ListComments", {"run_id": "01994b7e-0000-7000-8000-000000000006"}),
    ("ListRuns", {"version_number": 1}),
    ("ListRuns", {"state": run_pb2.RUN_STATE_RUNNING}),
    ("ListRuns", {"content_sha256": "0" * 64}),
]


def _request(name: str, project_id: str, **arguments: Any) -> Any:
    of_project = {} if name == "ListProjects" else {"project_id": project_id}
    return LISTS[name][0](**of_project, **arguments)


async def _pages(caller: Caller, name: str, request: Any) -> list[list[Message]]:
    pages = []
    while True:
        answer = await caller.call(request)
        pages.append(list(getattr(answer, LISTS[name][1])))
        if not answer.next_page_token:
            return pages
        request.page_token = answer.next_page_token


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def busy(house: House) -> AsyncIterator[str]:
    """A project with five of everything, and four more projects of the same person."""
    members = dict.fromkeys(("ann", "bob", "carol", "dora"), project_pb2.ROLE_VIEWER)
    project_id = [await house.project(**members) for _ in range(5)][-1]
    for version in range(5):
        await house.olga.save(project_id, version, a=f"{version}")
        await house.olga.call(run_pb2.StartRunRequest(project_id=project_id))
        task: dict[str, Any] = {"kind": comment_pb2.COMMENT_KIND_TASK, "assignee": "olga"}
        anchor = comment_pb2.Anchor(version_number=1, field="a")
        said = comment_pb2.CreateCommentRequest(project_id=project_id, text=f"{version}", anchor=anchor, **task)
        await house.olga.call(said)
    async with contextlib.AsyncExitStack() as stack:
        sessions = [await stack.enter_async_context(house.olga.session(project_id)) for _ in range(5)]
        for session, field in zip(sessions, "edcba", strict=True):
            await session.acquire(field)
        yield project_id


async def test_every_list_is_here() -> None:
    """By their requests: whatever has a page size."""
    paged = {method.name for method in UNARY if "page_size" in method.input_type.fields_by_name}
    assert paged == LISTS.keys()


async def test_every_filter_is_here() -> None:
    """What a list takes beside its project and its page."""
    of_each = {
        (name, field.name)
        for name, (request, _) in LISTS.items()
        for field in request.DESCRIPTOR.fields
        if field.name not in {"project_id", "page_size", "page_token"}
    }
    assert of_each == {(name, filtered) for name, filters in FILTERS for filtered in filters}


@pytest.mark.parametrize("name", LISTS)
async def test_a_page_size_out_of_bounds_is_refused(house: House, busy: str, name: str) -> None:
    for size in (-1, -(2**31), 1001, 2**31 - 1):
        await blamed(house.olga.call(_request(name, busy, page_size=size)), "page_size")


@pytest.mark.parametrize("name", LISTS)
@pytest.mark.parametrize("size", [1, 2, 5, 1000])
async def test_pages_joined_are_the_list(house: House, busy: str, name: str, size: int) -> None:
    """Full pages, each item once and in order, and no empty page at the end."""
    [whole] = await _pages(house.olga, name, _request(name, busy, page_size=1000))
    pages = await _pages(house.olga, name, _request(name, busy, page_size=size))
    assert len(whole) >= 5
    assert [item for page in pages for item in page] == whole
    assert [len(page) for page in pages[:-1]] == [size] * (len(pages) - 1)
    assert 1 <= len(pages[-1]) <= size


ORDERS: Final = {
    "ListProjects": lambda project: project.create_time.ToNanoseconds(),
    "ListMembers": lambda member: member.subject,
    "ListDrafts": lambda draft: -draft.version_number,
    "ListLocks": lambda lock: lock.field,
    "ListSessions": lambda session: session.open_time.ToNanoseconds(),
    "ListEntries": lambda entry: entry.position.sequence,
    "ListComments": lambda comment: comment.create_time.ToNanoseconds(),
    "ListRuns": lambda run: -run.start_time.ToNanoseconds(),
}


@pytest.mark.parametrize("name", LISTS)
async def test_lists_come_in_their_documented_order(house: House, busy: str, name: str) -> None:
    """Oldest first, by name, or newest first: as the comment of the RPC says."""
    [whole] = await _pages(house.olga, name, _request(name, busy, page_size=1000))
    assert whole == sorted(whole, key=ORDERS[name])


async def test_a_page_has_50_items_by_default(house: House) -> None:
    project_id = await house.project()
    for version in range(12):
        await house.olga.save(project_id, version, a=f"{version}")
    pages = await _pages(house.olga, "ListEntries", _request("ListEntries", project_id))
    assert [len(page) for page in pages] == [50, 12 * 5 + 3 - 50]


async def _token(house: House, name: str, project_id: str) -> str:
    answer = await house.olga.call(_request(name, project_id, page_size=1))
    token: str = answer.next_page_token
    assert token
    return token


@pytest.mark.parametrize("name", LISTS)
async def test_a_page_token_is_for_its_own_list(house: House, busy: str, name: str) -> None:
    """Not for another list, and not for the same one of another project. The size of the page may change."""
    token = await _token(house, name, busy)
    await house.olga.call(_request(name, busy, page_token=token, page_size=3))
    for other in LISTS.keys() - {name}:
        await refused(house.olga.call(_request(other, busy, page_token=token)), "PAGE_TOKEN_INVALID")
    if name != "ListProjects":
        other_project = await house.project()
        await refused(house.olga.call(_request(name, other_project, page_token=token)), "PAGE_TOKEN_INVALID")


@pytest.mark.parametrize(("name", "filters"), FILTERS, ids=str)
async def test_a_page_token_is_bound_to_the_filters(
    house: House, busy: str, name: str, filters: dict[str, Any]
) -> None:
    """In both directions: it neither gains nor loses one."""
    token = await _token(house, name, busy)
    await refused(house.olga.call(_request(name, busy, page_token=token, **filters)), "PAGE_TOKEN_INVALID")
    filtered = (await house.olga.call(_request(name, busy, page_size=1, **filters))).next_page_token
    if filtered:
        await house.olga.call(_request(name, busy, page_token=filtered, **filters))
        await refused(house.olga.call(_request(name, busy, page_token=filtered)), "PAGE_TOKEN_INVALID")


async def test_a_page_token_gives_no_access(house: House, busy: str) -> None:
    """Neither to the list of somebody else's projects nor to a project one is no member of."""
    eve = house.caller("eve")
    for name in LISTS:
        token = await _token(house, name, busy)
        reason = "PAGE_TOKEN_INVALID" if name == "ListProjects" else "PROJECT_ACCESS_DENIED"
        await refused(eve.call(_request(name, busy, page_token=token)), reason)


@pytest.mark.parametrize("name", LISTS)
async def test_a_forged_page_token_is_refused(house: House, busy: str, name: str) -> None:
    """Every bit of it counts, and what is no token at all gets the same answer."""
    token = await _token(house, name, busy)
    raw = base64.urlsafe_b64decode(token + "=" * (-len(token) % 4))
    altered = [raw[:at] + bytes([raw[at] ^ 1]) + raw[at + 1 :] for at in (0, 15, 16, len(raw) - 1)]
    forged = [base64.urlsafe_b64encode(data).decode() for data in (*altered, raw[:16], raw[16:], raw + b" ", b"")]
    for token_ in ("x", "!", "ä", "a b", "1", "x" * 10_000, *filter(None, forged)):
        await refused(house.olga.call(_request(name, busy, page_token=token_)), "PAGE_TOKEN_INVALID")


async def test_what_comes_in_between_moves_no_page(house: House) -> None:
    """Keyset paging: a version saved between two pages neither repeats an item nor hides one."""
    project_id = await house.project()
    for version in range(4):
        await house.olga.save(project_id, version, a=f"{version}")
    request = _request("ListDrafts", project_id, page_size=2)
    answer = await house.olga.call(request)
    await house.olga.save(project_id, 4, a="4")
    request.page_token = answer.next_page_token
    rest = await house.olga.call(request)
    assert [draft.version_number for draft in [*answer.drafts, *rest.drafts]] == [4, 3, 2, 1]
