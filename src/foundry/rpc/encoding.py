"""Session events as bytes: each is a ``ProjectSessionResponse`` with one event, and joined ones are one as well."""

from __future__ import annotations

from typing import TYPE_CHECKING

from google.protobuf.duration_pb2 import Duration

from coreason.foundry.v1 import project_pb2, session_event_pb2, session_pb2
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
from foundry.domain.session import Attachment
from foundry.rpc import codec

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from foundry.domain.session import History, Presence
    from foundry.settings import Limits, Liveness

_ATTACHMENT = {
    attachment: session_event_pb2.Attachment.Value(f"ATTACHMENT_{attachment.value}") for attachment in Attachment
}
_RESYNC = {reason: session_event_pb2.ResyncReason.Value(f"RESYNC_REASON_{reason.value}") for reason in ResyncReason}


def frame(event: session_pb2.ServerEvent) -> bytes:
    """A message with this one event."""
    return session_pb2.ProjectSessionResponse(events=[event]).SerializeToString()


def duration(seconds: float) -> Duration:
    """A span."""
    whole = int(seconds)
    return Duration(seconds=whole, nanos=int((seconds - whole) * 1_000_000_000))


class EventEncoder:
    """Encodes whatever a stream carries. Called once an event, however many sessions it goes to."""

    def __init__(self, *, history: History, limits: Limits, liveness: Liveness) -> None:
        self._history = history
        self._limits = limits
        self._liveness = liveness
        self._arms: dict[type[Any], Callable[[Any], session_pb2.ServerEvent]] = {
            EntryEvent: self._entry,
            PresenceEvent: _presence,
            Opened: self._opened,
            SnapshotPage: _snapshot,
            CaughtUp: _caught_up,
            Tick: _tick,
            IdleWarning: _idle_warning,
            Resync: _resync,
            ServerGoing: _going_away,
            RunLogEvent: _run_log,
        }

    def __call__(self, event: SessionEvent) -> bytes:
        """The event as a message of its own."""
        return frame(self._arms[type(event)](event))

    def _entry(self, event: EntryEvent) -> session_pb2.ServerEvent:
        return session_pb2.ServerEvent(entry=codec.entry(event.entry, self._history.epoch))

    def _opened(self, event: Opened) -> session_pb2.ServerEvent:
        limits, liveness = self._limits, self._liveness
        opened = session_event_pb2.Opened(
            session_id=event.session_id,
            resume_secret=event.resume_secret,
            attachment=_ATTACHMENT[event.attachment],
            position=codec.position(event.position),
            heartbeat_interval=duration(liveness.heartbeat_interval_s),
            limits=session_event_pb2.SessionLimits(
                message_bytes=limits.message_bytes_max,
                text_bytes=limits.text_bytes_max,
                changes_per_save=limits.changes_per_save_max,
                silence_limit=duration(liveness.silence_limit_s),
                idle_limit=duration(liveness.idle_limit_s),
            ),
            reason=_RESYNC[event.resync] if event.resync else session_event_pb2.RESYNC_REASON_UNSPECIFIED,
            role=project_pb2.Role.Value(f"ROLE_{event.role}"),
        )
        return session_pb2.ServerEvent(opened=opened)


def _presence(event: PresenceEvent) -> session_pb2.ServerEvent:
    update = session_event_pb2.PresenceUpdate(
        version=event.version,
        snapshot=event.snapshot,
        sessions=[_session_presence(here) for here in event.sessions],
        gone_session_ids=event.gone,
        joined_subjects=event.joined,
        left_subjects=event.left,
    )
    return session_pb2.ServerEvent(presence=update)


def _session_presence(here: Presence) -> session_event_pb2.SessionPresence:
    return session_event_pb2.SessionPresence(
        session_id=here.session_id,
        principal=codec.principal(here.principal),
        open_time=codec.time(here.since_us),
        focus_field=here.shown.focus_field,
        cursor=here.shown.cursor,
        activity=here.shown.activity,
        client_name=here.client_name,
        reconnecting=here.reconnecting,
    )


def _snapshot(event: SnapshotPage) -> session_pb2.ServerEvent:
    page = session_event_pb2.SnapshotPage(
        project=codec.project(event.project) if event.project else None,
        locks=[codec.lock(lock) for lock in event.locks],
        fields=[codec.field_digest(digest) for digest in event.fields],
        last=event.last,
        runs=[codec.run(run) for run in event.runs],
    )
    return session_pb2.ServerEvent(snapshot=page)


def _caught_up(event: CaughtUp) -> session_pb2.ServerEvent:
    return session_pb2.ServerEvent(caught_up=session_event_pb2.CaughtUp(position=codec.position(event.position)))


def _tick(event: Tick) -> session_pb2.ServerEvent:
    return session_pb2.ServerEvent(tick=session_event_pb2.Tick(position=codec.position(event.position)))


def _idle_warning(event: IdleWarning) -> session_pb2.ServerEvent:
    return session_pb2.ServerEvent(idle_warning=session_event_pb2.IdleWarning(lock=codec.lock(event.lock)))


def _resync(event: Resync) -> session_pb2.ServerEvent:
    return session_pb2.ServerEvent(resync=session_event_pb2.Resync(reason=_RESYNC[event.reason]))


def _run_log(event: RunLogEvent) -> session_pb2.ServerEvent:
    message = session_pb2.ServerEvent()
    log = message.run_log
    log.run_id = event.run_id
    codec.add_lines(log, event.lines)
    if event.finished:
        log.finished_run.CopyFrom(codec.run(event.finished))
    return message


def _going_away(event: ServerGoing) -> session_pb2.ServerEvent:
    away = session_event_pb2.GoingAway(retry_after=duration(event.retry_after_ms / 1000))
    return session_pb2.ServerEvent(going_away=away)
