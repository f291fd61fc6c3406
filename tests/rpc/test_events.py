"""What a stream carries: each event has its arm, and encoded events join into one message."""

from __future__ import annotations

import random
from typing import get_args

import pytest

from coreason.foundry.v1 import lock_pb2, project_pb2, run_pb2, session_event_pb2, session_pb2, types_pb2
from foundry.domain.entry import Event, NewEntry
from foundry.domain.events import (
    CaughtUp,
    EntryEvent,
    IdleWarning,
    Opened,
    PresenceEvent,
    Resync,
    ResyncReason,
    RunLogEvent,
    ServerGoing,
    SessionEvent,
    SnapshotPage,
    Tick,
)
from foundry.domain.field import FieldDigest, FieldKind
from foundry.domain.lock import Lock
from foundry.domain.principal import Principal, PrincipalKind
from foundry.domain.project import Policy, Project
from foundry.domain.run import LogLine, LogStream, Run, RunResult, RunState
from foundry.domain.session import Activity, Attachment, Position, Presence
from foundry.rpc.encoding import EventEncoder, duration
from foundry.settings import Limits, Liveness
from foundry.store.log import NO_LEAF, chain

EPOCH = 3
AT = Position(EPOCH, 17)
ALICE = Principal("alice", PrincipalKind.AGENT, "Alice A.", "carol", "gateway")
LOCK = Lock("l", "p", "topology", ALICE, "s", 7, 1_000_001, 2_000_000, "to mend it")
PROJECT = Project("p", "P", "d", {"a": "b"}, Policy(), ALICE, 1, 2, head_version=4, current_draft_id="d4")
ENTRY = chain("p", NewEntry(Event.PROJECT_ARCHIVED, ALICE, {}, {"reason": "rest"}), 17, NO_LEAF, 5)[0]
HERE = Presence("s", ALICE, 1_500_000, Activity("topology", "1:2", "typing"), "web", reconnecting=True)
DIGEST = FieldDigest("topology", FieldKind.JSON, "application/json", "ab" * 32, 2, 4, "alice")
RESULTS = (RunResult("accuracy", passed=True, value="0.97"), RunResult("tone", passed=False))
RUN = Run(
    "r", "p", 4, "cd" * 32, "assay", {"a": "b"}, 2, RunState.FAILED, ALICE, 7, 9_000_001, 2, 50, "ef" * 32, RESULTS
)
LINES = (LogLine(1, "\x1b[1mred\r", LogStream.STDERR, 1_500_007), LogLine(2, "", partial=True))

SAMPLES: dict[str, SessionEvent] = {
    "entry": EntryEvent(ENTRY),
    "presence": PresenceEvent(5, snapshot=False, sessions=(HERE,), gone=("t",), joined=("alice",), left=("bob",)),
    "opened": Opened("s", "secret", Attachment.SNAPSHOT, AT, ResyncReason.TOO_MANY, "EDITOR"),
    "snapshot": SnapshotPage(PROJECT, (LOCK,), (DIGEST,), last=True, runs=(RUN,)),
    "caught_up": CaughtUp(AT),
    "tick": Tick(AT),
    "idle_warning": IdleWarning(LOCK),
    "resync": Resync(ResyncReason.SLOW_READER),
    "going_away": ServerGoing(2_500),
    "run_log": RunLogEvent("r", LINES, RUN),
}


@pytest.fixture
def encode() -> EventEncoder:
    return EventEncoder(history=Position(EPOCH, 0), limits=Limits(), liveness=Liveness())


def read(data: bytes) -> list[session_pb2.ServerEvent]:
    """The events of a frame."""
    return list(session_pb2.ProjectSessionResponse.FromString(data).events)


def test_every_event_has_its_arm() -> None:
    """The samples are all the events there are, and all the arms but ``reply``, which belongs to one stream."""
    assert {type(event) for event in SAMPLES.values()} == set(get_args(SessionEvent))
    arms = {field.name for field in session_pb2.ServerEvent.DESCRIPTOR.oneofs_by_name["event"].fields}
    assert SAMPLES.keys() | {"reply"} == arms


@pytest.mark.parametrize("arm", SAMPLES)
def test_an_event_is_a_message_of_its_own(encode: EventEncoder, arm: str) -> None:
    """Each goes into its own arm, and nowhere else."""
    (event,) = read(encode(SAMPLES[arm]))
    assert event.WhichOneof("event") == arm


def test_joined_frames_are_one_message(encode: EventEncoder) -> None:
    """In any order and number: the bytes one after the other are the events one after the other."""
    generator = random.Random(7)
    for size in (0, 1, 2, 50):
        chosen = generator.choices(sorted(SAMPLES), k=size)
        joined = read(b"".join(encode(SAMPLES[arm]) for arm in chosen))
        assert joined == [read(encode(SAMPLES[arm]))[0] for arm in chosen]


def test_what_opened_says(encode: EventEncoder) -> None:
    """Identity, position, and every bound the server enforces on the client."""
    (event,) = read(encode(SAMPLES["opened"]))
    opened = event.opened
    assert (opened.session_id, opened.resume_secret, opened.role) == ("s", "secret", project_pb2.ROLE_EDITOR)
    assert opened.attachment == session_event_pb2.ATTACHMENT_SNAPSHOT
    assert opened.reason == session_event_pb2.RESYNC_REASON_TOO_MANY
    assert opened.position == types_pb2.Position(epoch=EPOCH, sequence=17)
    assert opened.heartbeat_interval.ToMilliseconds() == 3_000
    limits = opened.limits
    assert (limits.message_bytes, limits.text_bytes, limits.changes_per_save) == (4 * 1024**2, 1024**2, 64)
    assert (limits.silence_limit.ToSeconds(), limits.idle_limit.ToSeconds()) == (15, 900)


def test_a_resumed_session_has_no_reason_for_a_snapshot(encode: EventEncoder) -> None:
    """The reason stands only where a snapshot follows."""
    (event,) = read(encode(Opened("s", "x", Attachment.RESUMED, AT, None, "OWNER")))
    assert event.opened.reason == session_event_pb2.RESYNC_REASON_UNSPECIFIED


def test_what_presence_says(encode: EventEncoder) -> None:
    """Who changed, who went, who joined and who left, with all that a session shows of itself."""
    (event,) = read(encode(SAMPLES["presence"]))
    told = event.presence
    assert (told.version, told.snapshot) == (5, False)
    assert (list(told.gone_session_ids), list(told.joined_subjects), list(told.left_subjects)) == (
        ["t"],
        ["alice"],
        ["bob"],
    )
    (here,) = told.sessions
    assert (here.session_id, here.principal.subject, here.client_name) == ("s", "alice", "web")
    assert (here.focus_field, here.cursor, here.activity, here.reconnecting) == ("topology", "1:2", "typing", True)
    assert here.open_time.ToMicroseconds() == 1_500_000


def test_what_a_snapshot_says(encode: EventEncoder) -> None:
    """Project, locks and fields without content."""
    (event,) = read(encode(SAMPLES["snapshot"]))
    page = event.snapshot
    assert (page.project.name, page.project.head_version, page.project.labels["a"], page.last) == ("P", 4, "b", True)
    assert page.project.creator.on_behalf_of == "carol"
    assert not page.project.HasField("archive_time")
    (lock,), (field,) = page.locks, page.fields
    assert lock == lock_pb2.Lock(
        lock_id="l",
        project_id="p",
        field="topology",
        holder=page.project.creator,
        session_id="s",
        fencing_token=7,
        acquire_time=lock.acquire_time,
        expire_time=lock.expire_time,
        purpose="to mend it",
    )
    assert (lock.acquire_time.ToMicroseconds(), lock.expire_time.ToMicroseconds()) == (1_000_001, 2_000_000)
    assert (field.name, field.sha256, field.size, field.last_changed_version) == ("topology", "ab" * 32, 2, 4)
    assert field.WhichOneof("content") is None
    (later,) = read(encode(SnapshotPage(None, (), (DIGEST,), last=False)))
    assert (later.snapshot.HasField("project"), later.snapshot.last) == (False, False)


def test_what_a_run_log_says(encode: EventEncoder) -> None:
    """Lines as they came, control characters and all; times to the microsecond; and in the last event the run."""
    (event,) = read(encode(SAMPLES["run_log"]))
    first, second = event.run_log.lines
    assert (event.run_log.run_id, first.number, first.text) == ("r", 1, "\x1b[1mred\r")
    assert (first.stream, first.source_time.ToMicroseconds(), first.partial) == (
        run_pb2.LOG_STREAM_STDERR,
        1_500_007,
        False,
    )
    assert (second.number, second.text, second.stream, second.partial) == (2, "", run_pb2.LOG_STREAM_STDOUT, True)
    assert not second.HasField("source_time")
    (live,) = read(encode(RunLogEvent("r", LINES)))
    assert not live.run_log.HasField("finished_run")


def test_what_a_run_says(encode: EventEncoder) -> None:
    """The same in a snapshot and at the end of its console."""
    (snapshot,), (ended,) = read(encode(SAMPLES["snapshot"])), read(encode(SAMPLES["run_log"]))
    (run,) = snapshot.snapshot.runs
    assert run == ended.run_log.finished_run
    assert run == run_pb2.Run(
        run_id="r",
        project_id="p",
        version_number=4,
        content_sha256="cd" * 32,
        harness="assay",
        labels={"a": "b"},
        attempt=2,
        state=run_pb2.RUN_STATE_FAILED,
        starter=run.starter,
        start_time=run.start_time,
        finish_time=run.finish_time,
        line_count=2,
        log_sha256="ef" * 32,
        results=[run_pb2.RunResult(name="accuracy", passed=True, value="0.97"), run_pb2.RunResult(name="tone")],
        log_bytes=50,
    )
    assert (run.starter.subject, run.starter.on_behalf_of) == ("alice", "carol")
    assert (run.start_time.ToMicroseconds(), run.finish_time.ToMicroseconds()) == (7, 9_000_001)


def test_an_entry_on_a_stream_leaves_its_bytes_out(encode: EventEncoder) -> None:
    """They can be fetched; the leaf is there to compare with."""
    (event,) = read(encode(SAMPLES["entry"]))
    assert (event.entry.entry_bytes, event.entry.leaf, event.entry.reason) == (b"", ENTRY.leaf, "rest")
    assert event.entry.position == types_pb2.Position(epoch=EPOCH, sequence=17)


def test_spans_and_positions(encode: EventEncoder) -> None:
    """What is left: positions as they are, spans to the millisecond."""
    events = {arm: read(encode(SAMPLES[arm]))[0] for arm in SAMPLES}
    assert events["caught_up"].caught_up.position.sequence == events["tick"].tick.position.sequence == 17
    assert events["idle_warning"].idle_warning.lock.fencing_token == 7
    assert events["resync"].resync.reason == session_event_pb2.RESYNC_REASON_SLOW_READER
    assert events["going_away"].going_away.retry_after.ToMilliseconds() == 2_500
    assert [duration(seconds).ToMilliseconds() for seconds in (0.0, 0.25, 3.0, 86_400.0)] == [0, 250, 3_000, 86_400_000]
