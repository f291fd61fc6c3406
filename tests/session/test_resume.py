"""Coming back: with identity and position, with the position alone, or afresh, and with the right secret only."""

from __future__ import annotations

import grpc
import pytest

from coreason.foundry.v1 import project_pb2, session_command_pb2, session_event_pb2
from coreason.foundry.v1.types_pb2 import Position
from foundry.client import Foundry
from tests.session.conftest import with_settings
from tests.session.tab import Refusal, Tab, Tabs, request
from tests.support import project_with

Resume = session_command_pb2.Resume
LONG = {"seconds": 20}


async def _refused(tab: Tab, project: str, ticket: Resume) -> Refusal:
    await tab.send(request(1, open={"project_id": project, "resume": ticket}))
    ending = await tab.ended()
    assert tab.events == []
    return ending


def _missed(tab: Tab) -> list[int]:
    """Sequence numbers of what came between ``opened`` and ``caught_up``."""
    until = tab.kinds.index("caught_up")
    return [event.entry.position.sequence for event in tab.events[:until] if event.HasField("entry")]


def _caught_up(tab: Tab) -> int:
    """Sequence number of the position of the first ``caught_up``."""
    return tab.events[tab.kinds.index("caught_up")].caught_up.position.sequence


@pytest.mark.parametrize("how", ["lost", "still there"])
async def test_a_resumed_session_keeps_locks_and_fences_and_gets_exactly_what_it_missed(
    tabs: Tabs, alice: Foundry, project: str, how: str
) -> None:
    """Resumable: identity by the secret, position by the sequence; whether or not the old stream is gone yet."""
    first = await tabs.open("bob", project, disconnect_grace=LONG)
    got = await first.acquire()
    await first.until_entry("lock_acquired")
    first.pause()
    if how == "lost":
        await first.cancel()
    ticket = first.ticket()
    saves = [await alice.drafts.save(project, {"notes/a": f"v {turn}"}, base_version=turn) for turn in range(5)]

    second = await tabs.open("bob", project, resume=ticket, disconnect_grace=LONG)

    assert second.kinds[0] == "opened"
    assert "snapshot" not in second.kinds
    assert second.opened.attachment == session_event_pb2.ATTACHMENT_RESUMED
    assert second.session_id == first.session_id
    missed = _missed(second)
    assert missed == list(range(ticket.after.sequence + 1, _caught_up(second) + 1))
    assert {saved.position.sequence for saved in saves} < set(missed)
    again = await second.acquire()
    assert (again.lock.lock_id, again.lock.fencing_token) == (got.lock.lock_id, got.lock.fencing_token)
    assert (await second.save(got, "written after the blip")).draft.version_number == 6


async def test_a_resume_is_logged_and_the_session_closes_once(tabs: Tabs, project: str) -> None:
    watcher = await tabs.open("alice", project)
    first = await tabs.open("bob", project, disconnect_grace=LONG)
    second = await tabs.open("bob", project, resume=first.ticket())
    resumed = await watcher.until_entry("session_resumed", session_id=first.session_id)
    assert resumed.session_resumed.stream_epoch == 2
    await second.leave()
    await watcher.until_entry("session_closed", session_id=first.session_id)
    arms = [entry.WhichOneof("payload") for entry in watcher.entries if entry.session_id == first.session_id]
    assert arms == ["session_opened", "session_resumed", "session_closed"]


async def test_the_superseded_stream_is_told_and_its_late_teardown_does_nothing(tabs: Tabs, project: str) -> None:
    """The old stream ends after the new one began; the session, its lock and its presence stay."""
    first = await tabs.open("bob", project)  # without a grace: its own end would close the session at once
    got = await first.acquire()
    second = await tabs.open("bob", project, resume=first.ticket())
    ending = await first.ended()
    assert (ending.code, ending.reason) == (grpc.StatusCode.ABORTED, "SESSION_SUPERSEDED")
    assert ending.details == {"session_id": first.session_id}
    # A round trip of another session later, nothing has happened to it.
    other = await tabs.open("alice", project)
    assert [here.session_id for here in other.events[2].presence.sessions] == [second.session_id, other.session_id]
    assert (await other.acquire_refused()).details["session_id"] == second.session_id
    assert (await second.touch(got.lock)).fencing_token == got.lock.fencing_token
    assert "session_closed" not in [entry.WhichOneof("payload") for entry in second.entries + other.entries]


async def test_a_secret_works_once(tabs: Tabs, project: str) -> None:
    """Each ``opened`` carries a new secret, and the one before is void."""
    first = await tabs.open("bob", project, disconnect_grace=LONG)
    old = first.ticket()
    second = await tabs.open("bob", project, resume=old, disconnect_grace=LONG)
    assert second.opened.resume_secret != old.resume_secret
    ending = await _refused(tabs.raw("bob"), project, old)
    assert (ending.code, ending.reason) == (grpc.StatusCode.PERMISSION_DENIED, "RESUME_REFUSED")
    assert ending.details == {"session_id": first.session_id}
    assert (await second.acquire()).lock.session_id == first.session_id  # and the thief disturbed nobody
    third = await tabs.open("bob", project, resume=second.ticket())
    assert third.opened.attachment == session_event_pb2.ATTACHMENT_RESUMED


@pytest.mark.parametrize("case", ["invented", "none", "another session's", "unknown session"])
async def test_a_wrong_secret_is_refused(tabs: Tabs, project: str, case: str) -> None:
    mine, second_mine = await tabs.open("bob", project), await tabs.open("bob", project)
    ticket = mine.ticket()
    if case == "unknown session":
        ticket.session_id = "01994b7e-0000-7000-8000-000000000002"
    else:
        wrong = {"invented": "x" * 43, "none": "", "another session's": second_mine.opened.resume_secret}
        ticket.resume_secret = wrong[case]
    assert (await _refused(tabs.raw("bob"), project, ticket)).reason == "RESUME_REFUSED"
    assert (await mine.acquire()).lock.session_id == mine.session_id


@pytest.mark.parametrize(
    ("subject", "token"),
    [
        ("carol", {}),
        ("alice", {}),
        ("bob", {"kind": "service"}),
        ("bob", {"kind": "agent", "on_behalf_of": "carol"}),
    ],
    ids=["an editor", "the owner", "a service of the same subject", "an agent of the same subject"],
)
async def test_a_secret_is_worth_nothing_to_another_principal(
    tabs: Tabs, alice: Foundry, project: str, subject: str, token: dict[str, str]
) -> None:
    await alice.projects.update(project, policy=project_pb2.Policy(agent_access=project_pb2.AGENT_ACCESS_EDIT))
    first = await tabs.open("bob", project, disconnect_grace=LONG)
    assert (await _refused(tabs.raw(subject, token=token), project, first.ticket())).reason == "RESUME_REFUSED"
    assert (await first.acquire()).lock.session_id == first.session_id


async def test_a_secret_is_worth_nothing_in_another_project(tabs: Tabs, alice: Foundry, project: str) -> None:
    other = await project_with(alice, "bob", name="Another")
    first = await tabs.open("bob", project)
    assert (await _refused(tabs.raw("bob"), other, first.ticket())).reason == "RESUME_REFUSED"
    assert (await first.acquire()).lock.session_id == first.session_id


@pytest.mark.parametrize("tab_id", ["", "tab-7"])
async def test_after_the_session_closed_the_position_still_counts(
    tabs: Tabs, alice: Foundry, project: str, tab_id: str
) -> None:
    """REPLAYED: a new session without the old one's locks, and what was missed. The old one is not closed again."""
    first = await tabs.open("bob", project, tab_id=tab_id)
    got = await first.acquire()
    await first.until_entry("lock_acquired")
    ticket = first.ticket()
    await first.leave()
    await alice.drafts.save(project, {"notes/a": "v 1"}, base_version=0)
    second = await tabs.open("bob", project, resume=ticket, tab_id=tab_id)
    assert second.opened.attachment == session_event_pb2.ATTACHMENT_REPLAYED
    assert second.opened.reason == session_event_pb2.RESYNC_REASON_UNSPECIFIED
    assert second.session_id != first.session_id
    assert _missed(second) == list(range(ticket.after.sequence + 1, _caught_up(second) + 1))
    assert (await second.acquire()).lock.fencing_token == got.lock.fencing_token + 1
    closed = [entry.session_closed.session_id for entry in second.entries if entry.session_id == first.session_id]
    assert [session_id for session_id in closed if session_id] == [first.session_id]


async def test_a_position_alone_resumes_the_position(tabs: Tabs, project: str) -> None:
    first = await tabs.open("bob", project)
    at = Position(epoch=first.position.epoch, sequence=1)
    second = await tabs.open("bob", project, resume=Resume(after=at))
    assert second.opened.attachment == session_event_pb2.ATTACHMENT_REPLAYED
    assert _missed(second) == list(range(2, _caught_up(second) + 1))
    assert (await first.acquire()).lock.session_id == first.session_id


@pytest.mark.parametrize("keeps_identity", [True, False], ids=["with its secret", "with the position alone"])
@pytest.mark.parametrize(
    ("epoch_and_ahead", "reason"),
    [
        (None, session_event_pb2.RESYNC_REASON_NEW),
        ((7, 0), session_event_pb2.RESYNC_REASON_EPOCH),
        ((1, 1_000), session_event_pb2.RESYNC_REASON_AHEAD),
        ((1, -4), session_event_pb2.RESYNC_REASON_TOO_MANY),
    ],
    ids=["no position", "another epoch", "ahead of the log", "too far behind"],
)
@with_settings(fanout={"replay_entries_max": 3})
async def test_an_unusable_position_gets_a_snapshot_and_the_reason(
    tabs: Tabs,
    project: str,
    keeps_identity: bool,
    epoch_and_ahead: tuple[int, int] | None,
    reason: session_event_pb2.ResyncReason.ValueType,
) -> None:
    """The identity does not depend on the position: a session that is resumed keeps its locks."""
    first = await tabs.open("bob", project, disconnect_grace=LONG)
    got = await first.acquire()
    last = await first.until_entry("lock_acquired")
    ticket = first.ticket() if keeps_identity else Resume()
    ticket.ClearField("after")
    if epoch_and_ahead:
        epoch, ahead = epoch_and_ahead
        ticket.after.CopyFrom(Position(epoch=epoch, sequence=last.position.sequence + ahead))
    second = await tabs.open("bob", project, resume=ticket)
    assert second.opened.attachment == session_event_pb2.ATTACHMENT_SNAPSHOT
    assert second.opened.reason == reason
    assert second.kinds[:4] == ["opened", "snapshot", "presence", "caught_up"]
    assert (second.session_id == first.session_id) is keeps_identity
    assert list(second.events[1].snapshot.locks) == [got.lock]


@with_settings(fanout={"replay_bytes_max": 65_536})
async def test_missed_entries_that_are_few_but_large_are_replaced_by_a_snapshot(
    tabs: Tabs, alice: Foundry, project: str
) -> None:
    ticket = (await tabs.open("bob", project)).ticket()
    for turn in range(4):
        changes = {f"notes/{'n' * 180}{number:02}": f"{turn}" for number in range(64)}
        await alice.drafts.save(project, changes, base_version=turn)
    second = await tabs.open("bob", project, resume=ticket)
    assert second.opened.reason == session_event_pb2.RESYNC_REASON_TOO_MANY
