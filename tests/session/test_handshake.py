"""How a stream begins: what is sent, in which order, and which first messages are refused."""

from __future__ import annotations

import grpc
import pytest

from coreason.foundry.v1 import lock_pb2, project_pb2, session_event_pb2
from coreason.foundry.v1.session_pb2 import ProjectSessionRequest
from foundry.client import Foundry
from tests.session.conftest import with_settings
from tests.session.tab import Tabs, refusal, request


async def test_a_new_session_gets_opened_snapshot_presence_and_caught_up_in_this_order(
    tabs: Tabs, alice: Foundry, project: str
) -> None:
    saved = await alice.drafts.save(project, {"system_prompt": "Be kind."}, base_version=0)
    bob = await tabs.open("bob", project)
    held = (await bob.acquire("topology")).lock

    tab = await tabs.open("alice", project, client={"name": "studio", "version": "2.1"})

    assert tab.kinds[:4] == ["opened", "snapshot", "presence", "caught_up"]
    opened, page, presence, caught_up = tab.events[:4]
    assert opened.opened.attachment == session_event_pb2.ATTACHMENT_SNAPSHOT
    assert opened.opened.reason == session_event_pb2.RESYNC_REASON_NEW
    assert opened.opened.role == project_pb2.ROLE_OWNER
    assert len(opened.opened.resume_secret) >= 40
    assert page.snapshot.last
    assert page.snapshot.project.head_version == saved.draft.version_number
    assert list(page.snapshot.locks) == [held]
    assert [(field.name, field.last_author) for field in page.snapshot.fields] == [("system_prompt", "alice")]
    assert page.snapshot.fields[0].WhichOneof("content") is None
    assert presence.presence.snapshot
    assert {here.session_id for here in presence.presence.sessions} == {bob.session_id, tab.session_id}
    assert caught_up.caught_up.position.sequence >= opened.opened.position.sequence > saved.position.sequence


@with_settings(
    liveness={"heartbeat_interval_s": 1.5, "silence_limit_s": 7.25, "idle_limit_s": 77},
    limits={"message_bytes_max": 1_000_000, "text_bytes_max": 2_048, "changes_per_save_max": 3},
)
async def test_opened_carries_the_bounds_the_server_enforces(tabs: Tabs, project: str) -> None:
    opened = (await tabs.open("alice", project)).opened
    assert opened.heartbeat_interval.ToMilliseconds() == 1_500
    assert opened.limits.message_bytes == 1_000_000
    assert opened.limits.text_bytes == 2_048
    assert opened.limits.changes_per_save == 3
    assert opened.limits.silence_limit.ToMilliseconds() == 7_250
    assert opened.limits.idle_limit.ToMilliseconds() == 77_000


async def test_a_large_snapshot_comes_in_pages_and_the_last_says_so(tabs: Tabs, alice: Foundry, project: str) -> None:
    names = [f"notes/{number:03}" for number in range(510)]
    for start in range(0, len(names), 64):
        await alice.drafts.save(project, dict.fromkeys(names[start : start + 64], "x"), base_version=0)
    tab = await tabs.open("alice", project)
    pages = [event.snapshot for event in tab.events if event.HasField("snapshot")]
    assert [page.last for page in pages] == [False, True]
    assert [page.HasField("project") for page in pages] == [True, False]
    assert [field.name for page in pages for field in page.fields] == names


async def test_what_happens_after_the_snapshot_is_live_and_without_a_seam(
    tabs: Tabs, alice: Foundry, project: str
) -> None:
    tab = await tabs.open("bob", project)
    from_here = tab.position.sequence
    saved = await alice.drafts.save(project, {"system_prompt": "one"}, base_version=0)
    await tab.until_entry("draft_created", version_number=1)
    await tab.until(lambda event: event.entry.position.sequence == saved.position.sequence)
    seen = [sequence for sequence in tab.sequences if sequence > from_here]
    assert seen == list(range(from_here + 1, saved.position.sequence + 1))


def _opening(**fields: object) -> ProjectSessionRequest:
    return request(1, open={"project_id": "p", **fields})


@pytest.mark.parametrize(
    ("first", "reason", "details"),
    [
        (request(1, heartbeat={}), "FIRST_MESSAGE_NOT_OPEN", {"got": "heartbeat"}),
        (request(1, acquire_lock={"field": "topology"}), "FIRST_MESSAGE_NOT_OPEN", {"got": "acquire_lock"}),
        (request(1), "FIRST_MESSAGE_NOT_OPEN", {"got": "an empty command"}),
        (b"", "FIRST_MESSAGE_NOT_OPEN", {"got": "an empty command"}),
        (b"\x0a\xff\xff", "MALFORMED_MESSAGE", {"message_type": "coreason.foundry.v1.ProjectSessionRequest"}),
        (_opening(project_id=""), "INVALID_ARGUMENT", {"field": "project_id"}),
        (_opening(tab_id="t" * 101), "INVALID_ARGUMENT", {"field": "tab_id"}),
        (
            _opening(disconnect_grace={"seconds": 31}),
            "INVALID_ARGUMENT",
            {"field": "open.disconnect_grace"},
        ),
        (
            _opening(disconnect_grace={"nanos": -1_000_000}),
            "INVALID_ARGUMENT",
            {"field": "open.disconnect_grace"},
        ),
        (
            _opening(resume={"after": {"epoch": 1, "sequence": -1}}),
            "INVALID_ARGUMENT",
            {"field": "open.resume.after.sequence"},
        ),
        (request(0, open={"project_id": "p"}), "INVALID_ARGUMENT", {"field": "command_id"}),
        (request(-1, open={"project_id": "p"}), "INVALID_ARGUMENT", {"field": "command_id"}),
    ],
)
async def test_a_stream_that_does_not_begin_with_a_good_open_is_ended(
    tabs: Tabs, first: ProjectSessionRequest | bytes, reason: str, details: dict[str, str]
) -> None:
    tab = tabs.raw()
    await tab.send(first)
    ending = await tab.ended()
    assert (ending.code, ending.reason) == (grpc.StatusCode.INVALID_ARGUMENT, reason)
    assert ending.details == details
    assert tab.events == []


async def test_a_first_message_that_is_too_large_is_refused_with_its_size(tabs: Tabs) -> None:
    tab = tabs.raw()
    await tab.send(_opening(project_id="p" * 5_000_000))
    ending = await tab.ended()
    assert (ending.code, ending.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "MESSAGE_TOO_LARGE")
    assert int(ending.details["size_bytes"]) > 5_000_000


@with_settings(liveness={"open_limit_s": 0.2})
async def test_a_stream_on_which_nothing_comes_is_ended(tabs: Tabs) -> None:
    ending = await tabs.raw().ended()
    assert (ending.code, ending.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "FIRST_MESSAGE_NOT_OPEN")
    assert ending.details == {"got": "nothing"}


async def test_a_stream_that_is_half_closed_before_open_is_ended(tabs: Tabs) -> None:
    tab = tabs.raw()
    await tab.half_close()
    assert (await tab.ended()).reason == "FIRST_MESSAGE_NOT_OPEN"


@pytest.mark.parametrize("whose", ["nobody", "somebody else"])
async def test_an_unknown_project_and_a_foreign_one_are_refused_alike(tabs: Tabs, project: str, whose: str) -> None:
    project_id = project if whose == "somebody else" else "01994b7e-0000-7000-8000-000000000001"
    tab = tabs.raw("mallory")
    await tab.send(_opening(project_id=project_id))
    ending = await tab.ended()
    assert (ending.code, ending.reason) == (grpc.StatusCode.PERMISSION_DENIED, "PROJECT_ACCESS_DENIED")
    assert ending.details == {"project_id": project_id}


async def test_a_second_open_is_refused_and_the_stream_goes_on(tabs: Tabs, project: str) -> None:
    tab = await tabs.open("alice", project)
    refusal = await tab.refused(open={"project_id": project})
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "ALREADY_OPEN")
    assert refusal.details == {"session_id": tab.session_id}
    assert (await tab.acquire()).lock.session_id == tab.session_id


def _with_bad_text() -> bytes:
    good = request(9, update_presence={"activity": "typing"})
    return good.SerializeToString().replace(b"typing", b"\xff\xfeping")


@pytest.mark.parametrize(
    ("message", "command_id", "reason"),
    [
        (request(0, heartbeat={}), 0, "INVALID_ARGUMENT"),
        (request(-3, heartbeat={}), -3, "INVALID_ARGUMENT"),
        (request(2), 2, "INVALID_ARGUMENT"),
        (b"\x0a\xff\xff", 0, "MALFORMED_MESSAGE"),
        (_with_bad_text(), 0, "MALFORMED_MESSAGE"),
        (request(2, refresh_token={"token": "t" * 5_000_000}), 0, "MESSAGE_TOO_LARGE"),
        (request(2, acquire_lock={"field": "No Such Name"}), 2, "INVALID_ARGUMENT"),
        (request(2, update_presence={"cursor": "c" * 201}), 2, "INVALID_ARGUMENT"),
    ],
    ids=["id 0", "id below 0", "no command", "unreadable", "not UTF-8", "5 MB", "bad field", "over a bound"],
)
async def test_a_message_that_cannot_be_used_is_answered_and_the_stream_goes_on(
    tabs: Tabs, project: str, message: ProjectSessionRequest | bytes, command_id: int, reason: str
) -> None:
    tab = await tabs.open("alice", project)
    lock = (await tab.acquire()).lock
    reply = await tab.reply_to(command_id, message)
    assert refusal(reply.error).reason == reason
    assert reply.position.sequence > 0
    released = await tab.release(lock)
    assert isinstance(released, lock_pb2.Lock)
    assert released.lock_id == lock.lock_id


async def test_a_message_beyond_the_transports_bound_ends_the_stream_and_frees_its_locks(
    tabs: Tabs, project: str
) -> None:
    tab, other = await tabs.open("alice", project), await tabs.open("bob", project)
    await tab.acquire()
    await tab.send(request(5, refresh_token={"token": "t" * 17_000_000}))
    ending = await tab.ended()
    assert (ending.code, ending.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "")
    await other.until_entry("lock_released", release_reason=lock_pb2.LOCK_RELEASE_REASON_STREAM_GONE)
