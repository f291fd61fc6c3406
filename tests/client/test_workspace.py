"""The state of a project as a fold over the events of a session."""

from __future__ import annotations

from coreason.foundry.v1 import audit_pb2, draft_pb2, lock_pb2, project_pb2, session_event_pb2
from coreason.foundry.v1.session_pb2 import ServerEvent
from foundry.client import Workspace
from tests.client.scripted import acquired, entry, lock_of, released, snapshot


def page(*fields: str, last: bool) -> ServerEvent:
    values = [draft_pb2.FieldValue(name=field) for field in fields]
    return ServerEvent(snapshot=session_event_pb2.SnapshotPage(fields=values, last=last))


def workspace(*events: ServerEvent) -> Workspace:
    state = Workspace()
    for event in events:
        state.apply(event)
    return state


def presence(version: int, *here: str, gone: tuple[str, ...] = (), is_snapshot: bool = False) -> ServerEvent:
    sessions = [session_event_pb2.SessionPresence(session_id=session_id) for session_id in here]
    update = session_event_pb2.PresenceUpdate(
        version=version, snapshot=is_snapshot, sessions=sessions, gone_session_ids=gone
    )
    return ServerEvent(presence=update)


def test_a_snapshot_shows_only_when_it_is_whole() -> None:
    state = workspace(snapshot(lock_of("a", "s1", 1), fields=("old",)), page("a", last=False))
    assert set(state.fields) == {"old"}
    state.apply(page("b", last=True))
    assert set(state.fields) == {"a", "b"}
    assert state.locks == {}


def test_pages_of_a_stream_that_broke_are_forgotten() -> None:
    state = workspace(page("a", last=False), ServerEvent(opened=session_event_pb2.Opened()), page("b", last=True))
    assert set(state.fields) == {"b"}


def test_locks_follow_the_log() -> None:
    state = workspace(snapshot(lock_of("a", "s1", 4)), acquired(1, "b", "s2", 9))
    assert state.locks["b"].fencing_token == 9
    assert state.locks["b"].holder.subject == "alice"
    state.apply(released(2, "a", "s1", 4, lock_pb2.LOCK_RELEASE_REASON_SAVE))
    assert set(state.locks) == {"b"}
    state.apply(released(3, "b", "s2", 8, lock_pb2.LOCK_RELEASE_REASON_SAVE))  # an older grant
    assert set(state.locks) == {"b"}


def test_a_draft_moves_the_head_and_its_fields() -> None:
    changes = [
        draft_pb2.ChangedField(field="changed", after_sha256="aa"),
        draft_pb2.ChangedField(field="gone", before_sha256="bb"),
        draft_pb2.ChangedField(field="new", after_sha256="cc"),
    ]
    before = snapshot(head=3, fields=("changed", "gone", "same"))
    before.snapshot.fields[0].kind = draft_pb2.FIELD_KIND_JSON
    created = audit_pb2.DraftCreated(draft_id="d4", version_number=4, changed_fields=changes)
    state = workspace(before, entry(9, actor="bob", draft_created=created))
    assert state.head_version == state.project.head_version == 4
    assert state.project.current_draft_id == "d4"
    assert set(state.fields) == {"changed", "new", "same"}
    changed = state.fields["changed"]
    assert (changed.sha256, changed.last_changed_version, changed.last_author) == ("aa", 4, "bob")
    assert changed.kind == draft_pb2.FIELD_KIND_JSON
    assert changed.size == 0
    assert state.fields["same"].size == 5
    assert before.snapshot.fields[0].size == 5  # the event is also the subscribers'


def test_the_project_follows_the_log() -> None:
    policy = project_pb2.Policy(require_reason=True)
    state = workspace(
        snapshot(),
        entry(1, project_updated=audit_pb2.ProjectUpdated(changed=["name", "labels"], name="Renamed")),
        entry(2, policy_changed=audit_pb2.PolicyChanged(after=policy)),
        entry(3, project_archived=audit_pb2.ProjectArchived()),
    )
    assert state.project.name == "Renamed"
    assert state.project.policy == policy
    assert state.project.HasField("archive_time")
    state.apply(entry(4, project_unarchived=audit_pb2.ProjectUnarchived()))
    assert not state.project.HasField("archive_time")


def test_an_entry_that_may_not_be_seen_changes_nothing() -> None:
    state = workspace(snapshot(lock_of("a", "s1", 1)), entry(1))
    assert set(state.locks) == {"a"}


def test_presence_takes_snapshots_and_the_next_difference_only() -> None:
    state = workspace(presence(5, "s1", "s2", is_snapshot=True), presence(6, "s3", gone=("s1",)))
    assert set(state.presence) == {"s2", "s3"}
    state.apply(presence(8, "s9"))  # 7 is missing: a snapshot will follow
    assert set(state.presence) == {"s2", "s3"}
    state.apply(presence(9, "s4", is_snapshot=True))
    assert set(state.presence) == {"s4"}


def test_an_idle_warning_tells_when_the_lock_expires() -> None:
    lock = lock_of("a", "s1", 1)
    lock.expire_time.FromSeconds(1_700_000_000)
    state = workspace(
        snapshot(lock_of("a", "s1", 1)), ServerEvent(idle_warning=session_event_pb2.IdleWarning(lock=lock))
    )
    assert state.locks["a"].expire_time.seconds == 1_700_000_000
