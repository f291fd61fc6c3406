"""Domain values as messages of the contract, and back."""

from __future__ import annotations

from typing import TYPE_CHECKING

from google.protobuf.timestamp_pb2 import Timestamp

from coreason.foundry.v1 import (
    audit_pb2,
    comment_pb2,
    draft_pb2,
    export_pb2,
    lock_pb2,
    project_pb2,
    run_pb2,
    session_pb2,
    types_pb2,
)
from foundry.content import Change as DeltaChange
from foundry.domain.comment import AnchorState, CommentKind, CommentState
from foundry.domain.draft import DraftOrigin, SaveOutcome
from foundry.domain.field import FieldKind
from foundry.domain.principal import PrincipalKind
from foundry.domain.project import AgentAccess, ProjectState, Role
from foundry.domain.run import LogStream, RunState
from foundry.domain.session import SessionState

if TYPE_CHECKING:
    from collections.abc import Iterable

    from foundry.domain.comment import Anchor, Comment, Place
    from foundry.domain.draft import Draft, SaveResult
    from foundry.domain.entry import Entry
    from foundry.domain.field import FieldDigest, FieldValue
    from foundry.domain.lock import AcquireResult, Lock
    from foundry.domain.principal import Principal
    from foundry.domain.project import Member, Policy, Project
    from foundry.domain.release import Freeze
    from foundry.domain.run import LogLine, Run
    from foundry.domain.session import Position, Session
    from foundry.managers.comparing import FieldDelta
    from foundry.managers.drafts import FullDraft

KIND = {kind: types_pb2.PrincipalKind.Value(f"PRINCIPAL_KIND_{kind.value}") for kind in PrincipalKind}
STATE = {state: project_pb2.ProjectState.Value(f"PROJECT_STATE_{state.value}") for state in ProjectState}
ROLE = {role: project_pb2.Role.Value(f"ROLE_{role.value}") for role in Role}
AGENT_ACCESS = {access: project_pb2.AgentAccess.Value(f"AGENT_ACCESS_{access.value}") for access in AgentAccess}
FIELD_KIND = {kind: draft_pb2.FieldKind.Value(f"FIELD_KIND_{kind.value}") for kind in FieldKind}
ORIGIN = {origin: draft_pb2.DraftOrigin.Value(f"DRAFT_ORIGIN_{origin.value}") for origin in DraftOrigin}
OUTCOME = {outcome: draft_pb2.SaveOutcome.Value(f"SAVE_OUTCOME_{outcome.value}") for outcome in SaveOutcome}
COMMENT_KIND = {kind: comment_pb2.CommentKind.Value(f"COMMENT_KIND_{kind.value}") for kind in CommentKind}
COMMENT_STATE = {state: comment_pb2.CommentState.Value(f"COMMENT_STATE_{state.value}") for state in CommentState}
ANCHOR_STATE = {state: comment_pb2.AnchorState.Value(f"ANCHOR_STATE_{state.value}") for state in AnchorState}
RUN_STATE = {state: run_pb2.RunState.Value(f"RUN_STATE_{state.value}") for state in RunState}
LOG_STREAM = {stream: run_pb2.LogStream.Value(f"LOG_STREAM_{stream.value}") for stream in LogStream}
DELTA = {
    DeltaChange.ADDED: draft_pb2.DELTA_KIND_ADDED,
    DeltaChange.REMOVED: draft_pb2.DELTA_KIND_REMOVED,
    DeltaChange.MODIFIED: draft_pb2.DELTA_KIND_MODIFIED,
    # Equal bytes of another kind or media type: the field was changed, its text was not.
    DeltaChange.UNCHANGED: draft_pb2.DELTA_KIND_MODIFIED,
}


def time(time_us: int) -> Timestamp | None:
    """A timestamp; None for 0, which means never."""
    if not time_us:
        return None
    return Timestamp(seconds=time_us // 1_000_000, nanos=time_us % 1_000_000 * 1_000)


def position(at: Position) -> types_pb2.Position:
    """A place in a log."""
    return types_pb2.Position(epoch=at.epoch, sequence=at.sequence)


def principal(who: Principal) -> types_pb2.Principal:
    """An actor."""
    return types_pb2.Principal(
        subject=who.subject,
        kind=KIND[who.kind],
        display_name=who.display_name,
        on_behalf_of=who.on_behalf_of,
        client_id=who.client_id,
    )


def policy(rules: Policy) -> project_pb2.Policy:
    """A policy."""
    return project_pb2.Policy(
        agent_access=AGENT_ACCESS[rules.agent_access],
        require_reason=rules.require_reason,
        require_evidence=rules.require_evidence,
        min_approvals=rules.min_approvals,
        viewers_may_comment=rules.viewers_may_comment,
        log_retention_days=rules.log_retention_days,
    )


def project(of: Project) -> project_pb2.Project:
    """A project."""
    return project_pb2.Project(
        project_id=of.project_id,
        name=of.name,
        description=of.description,
        labels=of.labels,
        state=STATE[of.state],
        current_draft_id=of.current_draft_id,
        head_version=of.head_version,
        policy=policy(of.policy),
        creator=principal(of.creator),
        create_time=time(of.create_time_us),
        update_time=time(of.update_time_us),
        archive_time=time(of.archive_time_us),
        etag=of.etag,
        revision_of_project_id=of.revision_of_project_id,
        revision_of_fingerprint=of.revision_of_fingerprint,
    )


def member(of: Member) -> project_pb2.Member:
    """A member."""
    return project_pb2.Member(
        subject=of.subject, role=ROLE[of.role], display_name=of.display_name, add_time=time(of.add_time_us)
    )


def lock(of: Lock) -> lock_pb2.Lock:
    """A lock."""
    return lock_pb2.Lock(
        lock_id=of.lock_id,
        project_id=of.project_id,
        field=of.field,
        holder=principal(of.holder),
        session_id=of.session_id,
        fencing_token=of.fencing_token,
        acquire_time=time(of.acquire_time_us),
        expire_time=time(of.expire_time_us),
        purpose=of.purpose,
    )


def acquired(of: AcquireResult, epoch: int) -> lock_pb2.AcquiredLock:
    """A grant."""
    return lock_pb2.AcquiredLock(
        lock=lock(of.lock),
        field_version=of.field_version,
        field_sha256=of.field_sha256,
        head_version=of.head_version,
        position=types_pb2.Position(epoch=epoch, sequence=of.sequence),
    )


def draft(of: Draft) -> draft_pb2.Draft:
    """A version without fields."""
    return draft_pb2.Draft(
        draft_id=of.draft_id,
        project_id=of.project_id,
        version_number=of.version_number,
        parent_version=of.parent_version,
        origin=ORIGIN[of.origin],
        source_version=of.source_version,
        author=principal(of.author),
        create_time=time(of.create_time_us),
        message=of.message,
        changed_fields=[
            draft_pb2.ChangedField(
                field=change.field,
                before_sha256=change.before_sha256,
                after_sha256=change.after_sha256,
                lock_id=change.lock_id,
                fencing_token=change.fencing_token,
            )
            for change in of.changed_fields
        ],
        content_sha256=of.content_sha256,
        session_id=of.session_id,
    )


def full_draft(of: FullDraft) -> draft_pb2.Draft:
    """A version with its fields."""
    message = draft(of.draft)
    if of.values is None:
        message.fields.extend(field_digest(digest) for digest in of.digests)
    else:
        message.fields.extend(field_value(value) for value in of.values)
    return message


def field_digest(of: FieldDigest) -> draft_pb2.FieldValue:
    """A field without content."""
    return draft_pb2.FieldValue(
        name=of.name,
        kind=FIELD_KIND[of.kind],
        media_type=of.media_type,
        sha256=of.sha256,
        size=of.size,
        last_changed_version=of.last_changed_version,
        last_author=of.last_author,
    )


def field_value(of: FieldValue) -> draft_pb2.FieldValue:
    """A field with content: as text when it is UTF-8 and not BINARY."""
    message = field_digest(of.digest)
    if of.digest.kind is not FieldKind.BINARY:
        try:
            message.text = of.content.decode()
        except UnicodeDecodeError:
            message.data = of.content
    else:
        message.data = of.content
    return message


def saved(of: SaveResult, epoch: int) -> draft_pb2.CreateDraftResponse:
    """The answer to a save."""
    return draft_pb2.CreateDraftResponse(
        draft=draft(of.draft) if of.draft else None,
        outcome=OUTCOME[of.outcome],
        released_locks=[lock(released) for released in of.released_locks],
        position=types_pb2.Position(epoch=epoch, sequence=of.sequence),
    )


def delta(of: FieldDelta) -> draft_pb2.FieldDelta:
    """How a field differs."""
    return draft_pb2.FieldDelta(
        field=of.field,
        kind=DELTA[of.text.change],
        unified=of.text.unified,
        added_lines=of.text.added_lines,
        removed_lines=of.text.removed_lines,
        truncated=of.text.truncated,
        binary=of.text.binary,
        before_sha256=of.before_sha256,
        after_sha256=of.after_sha256,
    )


def session(of: Session) -> session_pb2.Session:
    """An open session."""
    return session_pb2.Session(
        session_id=of.session_id,
        principal=principal(of.principal),
        open_time=time(of.open_time_us),
        client=types_pb2.ClientInfo(name=of.client_name, version=of.client_version),
        detached=of.state is SessionState.DETACHED,
    )


def comment(of: Comment, place: Place | None) -> comment_pb2.Comment:
    """A comment, with its place in the version asked about."""
    return comment_pb2.Comment(
        comment_id=of.comment_id,
        project_id=of.project_id,
        parent_comment_id=of.thread_id if of.is_reply else "",
        kind=COMMENT_KIND[of.kind],
        state=COMMENT_STATE[of.state] if of.state else comment_pb2.COMMENT_STATE_UNSPECIFIED,
        anchor=anchor(of.anchor) if of.anchor else None,
        text=of.text,
        author=principal(of.author),
        assignee=of.assignee,
        run_id=of.run_id,
        create_time=time(of.create_time_us),
        update_time=time(of.update_time_us),
        etag=of.etag,
        delete_time=time(of.delete_time_us),
        resolved_anchor=resolved_anchor(place) if place else None,
        edit_time=time(of.edit_time_us),
        closer=principal(of.closer) if of.closer else None,
        closed_at_version=of.closed_at_version,
    )


def anchor(of: Anchor) -> comment_pb2.Anchor:
    """Where a comment was put."""
    return comment_pb2.Anchor(
        version_number=of.version_number,
        field=of.field,
        start_line=of.start_line,
        end_line=of.end_line,
        quote=of.quote,
        draft_id=of.draft_id,
        field_sha256=of.field_sha256,
    )


def resolved_anchor(of: Place) -> comment_pb2.ResolvedAnchor:
    """Where a comment is in another version."""
    return comment_pb2.ResolvedAnchor(
        version_number=of.version_number,
        state=ANCHOR_STATE[of.state],
        start_line=of.start_line,
        end_line=of.end_line,
    )


def run(of: Run) -> run_pb2.Run:
    """A run without its console."""
    return run_pb2.Run(
        run_id=of.run_id,
        project_id=of.project_id,
        version_number=of.version_number,
        content_sha256=of.content_sha256,
        harness=of.harness,
        labels=of.labels,
        attempt=of.attempt,
        state=RUN_STATE[of.state],
        starter=principal(of.starter),
        start_time=time(of.start_time_us),
        finish_time=time(of.finish_time_us),
        line_count=of.line_count,
        log_sha256=of.log_sha256,
        results=[run_pb2.RunResult(name=r.name, passed=r.passed, value=r.value) for r in of.results],
        log_bytes=of.log_bytes,
    )


def add_lines(to: run_pb2.RunLog | run_pb2.ReadRunLogResponse, lines: Iterable[LogLine]) -> None:
    """Lines of a console into a message.

    They are made where they stay: a message that is put into another one is copied.
    """
    add = to.lines.add
    for number, text, stream, time_us, partial in lines:
        line = add()
        line.number, line.stream, line.text = number, LOG_STREAM[stream], text
        if partial:
            line.partial = True
        if time_us is not None:
            at = line.source_time
            at.SetInParent()  # at the epoch itself nothing else is set
            at.seconds, at.nanos = time_us // 1_000_000, time_us % 1_000_000 * 1_000


def freeze(of: Freeze, epoch: int) -> export_pb2.Freeze:
    """The freeze of a project."""
    return export_pb2.Freeze(
        freeze_id=of.freeze_id,
        project_id=of.project_id,
        version_number=of.version_number,
        draft_id=of.draft_id,
        content_sha256=of.content_sha256,
        fingerprint=of.fingerprint,
        requester=principal(of.requester),
        create_time=time(of.create_time_us),
        reason=of.reason,
        position=types_pb2.Position(epoch=epoch, sequence=of.sequence),
    )


def entry(of: Entry, epoch: int, *, with_bytes: bool = False) -> audit_pb2.LogEntry:
    """A log entry. The arm's fields stand in the stored entry under their names, free text beside it."""
    new = of.new
    text = {key: value for key, value in new.text.items() if value and key != "reason"}
    return audit_pb2.LogEntry(
        position=types_pb2.Position(epoch=epoch, sequence=of.sequence),
        time=time(of.time_us),
        actor=principal(new.actor),
        session_id=new.session_id,
        correlation_id=new.correlation_id,
        reason=new.text.get("reason", ""),
        entry_bytes=of.entry_bytes if with_bytes else b"",
        leaf=of.leaf,
        **{new.event.value: {**new.data, **text}},  # type: ignore[arg-type]  # names checked by a test over the table
    )
