"""The decision of a save: one function for saves and reverts, on the stream and by RPC.

Refusals in this order: permission, project state, lock, stale base, invalid content; then the question whether
anything changes at all; then the version, in one go with its log entries and the release of its locks.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from foundry.content import content_sha256
from foundry.domain.access import Action, check_content_open, check_reason
from foundry.domain.draft import Change, Draft, DraftOrigin, FieldChange, SaveOutcome, SaveResult
from foundry.domain.entry import Event
from foundry.domain.errors import InvalidArgument, InvalidContent, LockLost, LockRequired, StaleVersion
from foundry.domain.field import SCRATCHPAD, FieldDigest, FieldKind, FieldState
from foundry.domain.lock import Lock, ReleaseReason
from foundry.domain.session import CloseReason, Session, SessionState
from foundry.ids import new_id
from foundry.managers.access import authorize
from foundry.managers.entries import entry
from foundry.managers.holding import attached_session, check_free, close, grant, release

if TYPE_CHECKING:
    from collections.abc import Sequence

    from foundry.domain.entry import NewEntry
    from foundry.domain.principal import Caller
    from foundry.store.unit_of_work import UnitOfWork


@dataclass(frozen=True, slots=True)
class SaveCommand:
    """A checked save.

    Attributes:
        changes: Each field once, sorted by name.
        base_version: Version the caller decided on.
        tokens: Fencing token by field; empty without a session.
        session_id: The caller's session; empty for a session of the call's own length.
        covers: Fields that must not have changed since ``base_version``; None for all but ``scratchpad``.
        invalid: What is wrong with the content, found before the transaction and reported in its turn.
    """

    project_id: str
    changes: tuple[Change, ...]
    base_version: int
    tokens: dict[str, int]
    session_id: str
    keep_locks: bool
    message: str
    reason: str
    request_id: str
    validate_only: bool
    covers: frozenset[str] | None
    origin: DraftOrigin = DraftOrigin.SAVE
    source_version: int = 0
    invalid: InvalidContent | None = None


def decide_save(unit: UnitOfWork, caller: Caller, command: SaveCommand, *, idle_limit_us: int) -> SaveResult:
    """Decide and stage a save.

    Raises:
        FoundryError: See ``DraftService.CreateDraft``; nothing is staged then.
    """
    project, _ = authorize(unit, caller, Action.EDIT)
    if (done := unit.replay(SaveResult)) is not None:
        return done
    check_content_open(project)
    check_reason(project, command.reason)
    names = [change.field for change in command.changes]
    if command.session_id:
        attached_session(unit, caller, command.session_id)
        for name in names:
            _check_token(unit, command, name)
    else:
        leaving = frozenset(change.field for change in command.changes if change.new is None)
        check_free(unit, caller, names, leaving)
    _check_base(unit, command, project.head_version)
    if command.invalid:
        raise command.invalid
    effective = [change for change in command.changes if _differs(unit.field(change.field), change)]
    if not effective and not command.session_id:
        return unit.remember(SaveResult(None, SaveOutcome.NO_CHANGE, (), unit.last_sequence(), project.head_version))
    result = write_version(unit, caller, command, effective, idle_limit_us=idle_limit_us)
    if command.validate_only:
        unit.discard()
        return replace(result, released_locks=(), sequence=unit.last_sequence())
    return unit.remember(result)


def _check_token(unit: UnitOfWork, command: SaveCommand, name: str) -> None:
    token, state = command.tokens.get(name), unit.field(name)
    if token is None:
        raise LockRequired(name)
    lock = state.lock
    if lock is None or lock.session_id != command.session_id or lock.fencing_token != token:
        raise LockLost(name, token, lock, state.fence)


def _check_base(unit: UnitOfWork, command: SaveCommand, head_version: int) -> None:
    if command.base_version > head_version:
        raise InvalidArgument("base_version", f"the project is at version {head_version}")
    covers = command.covers
    stale = {
        state.name: (state.last_changed_version, state.last_author)
        for state in unit.fields
        if state.last_changed_version > command.base_version
        and (state.name != SCRATCHPAD if covers is None else state.name in covers)
    }
    if stale:
        raise StaleVersion(command.base_version, head_version, stale)


def _differs(state: FieldState, change: Change) -> bool:
    if change.new is None or state.content is None:
        return (change.new is None) != (state.content is None)
    old, new = state.content, change.new
    return (old.sha256, old.kind, old.media_type) != (new.sha256, new.kind, new.media_type)


def write_version(
    unit: UnitOfWork, caller: Caller, command: SaveCommand, effective: Sequence[Change], *, idle_limit_us: int
) -> SaveResult:
    """Stage a version with its entries, under its locks, and release them. Everything was checked before.

    Args:
        effective: Those of the command's changes that change something.
    """
    session, locks = _holding(unit, caller, command, idle_limit_us=idle_limit_us)
    draft = _add_draft(unit, caller, command, session, locks, effective=effective) if effective else None
    released: list[Lock] = []
    if command.keep_locks:
        for name in sorted(locks):
            state = unit.field(name)
            unit.put_field(replace(state, lock=replace(locks[name], expire_time_us=unit.now_us + idle_limit_us)))
    else:
        for name in sorted(locks):
            release(unit, caller, locks[name], ReleaseReason.SAVE)
            released.append(locks[name])
    if not command.session_id:
        close(unit, caller, session, CloseReason.UNARY)
    outcome = SaveOutcome.COMMITTED if draft else SaveOutcome.NO_CHANGE
    head_version = draft.version_number if draft else unit.project.head_version
    return SaveResult(draft, outcome, tuple(released), unit.last_sequence(), head_version)


def _holding(
    unit: UnitOfWork, caller: Caller, command: SaveCommand, *, idle_limit_us: int
) -> tuple[Session, dict[str, Lock]]:
    """The session that writes and the locks it writes under; a session of the call's own length takes them now."""
    names = [change.field for change in command.changes]
    if command.session_id:
        session = attached_session(unit, caller, command.session_id)
        return session, {name: lock for name in names if (lock := unit.field(name).lock)}
    session = Session(
        session_id=new_id(),
        project_id=command.project_id,
        principal=caller.principal,
        state=SessionState.ATTACHED,
        stream_epoch=1,
        resume_hash=b"",
        server_boot_id="",
        tab_id="",
        client_name=caller.client_name,
        client_version=caller.client_version,
        grace_ms=0,
        open_time_us=unit.now_us,
        epoch=unit.epoch,
    )
    unit.put_session(session)
    opened: dict[str, Any] = {
        "session_id": session.session_id,
        "client": {"name": caller.client_name, "version": caller.client_version},
        "peer": caller.peer,
        "unary": True,
    }
    unit.record(entry(Event.SESSION_OPENED, caller, opened, session_id=session.session_id))
    locks = {
        name: grant(unit, caller, session, unit.field(name), idle_limit_us=idle_limit_us) for name in sorted(names)
    }
    return session, locks


def _add_draft(
    unit: UnitOfWork,
    caller: Caller,
    command: SaveCommand,
    session: Session,
    locks: dict[str, Lock],
    *,
    effective: Sequence[Change],
) -> Draft:
    project = unit.project
    version = project.head_version + 1
    changed, contents = [], {}
    for change in effective:
        state = unit.field(change.field)
        new, lock = change.new, locks[change.field]
        digest = (
            FieldDigest(change.field, new.kind, new.media_type, new.sha256, new.size, version, caller.principal.subject)
            if new
            else None
        )
        unit.put_field(
            replace(state, content=digest, last_changed_version=version, last_author=caller.principal.subject)
        )
        if new and new.content is not None:
            contents[new.sha256] = new.content
        shown = new or state.content
        changed.append(
            FieldChange(
                field=change.field,
                before_sha256=state.content.sha256 if state.content else "",
                after_sha256=new.sha256 if new else "",
                lock_id=lock.lock_id,
                fencing_token=lock.fencing_token,
                kind=shown.kind if shown else FieldKind.TEXT,
                media_type=shown.media_type if shown else "",
                size=new.size if new else 0,
            )
        )
    draft = Draft(
        draft_id=new_id(),
        project_id=project.project_id,
        version_number=version,
        parent_version=project.head_version,
        origin=command.origin,
        source_version=command.source_version,
        author=caller.principal,
        session_id=session.session_id,
        create_time_us=unit.now_us,
        message=command.message,
        content_sha256=content_sha256(state.content for state in unit.fields if state.content),
        changed_fields=tuple(changed),
        sequence=unit.last_sequence() + 1,
    )
    unit.record(_draft_entry(caller, command, draft))
    unit.add_draft(draft, contents)
    return draft


def _draft_entry(caller: Caller, command: SaveCommand, draft: Draft) -> NewEntry:
    data: dict[str, Any] = {
        "draft_id": draft.draft_id,
        "version_number": draft.version_number,
        "origin": f"DRAFT_ORIGIN_{draft.origin.value}",
        "source_version": draft.source_version,
        "content_sha256": draft.content_sha256,
        "changed_fields": [
            {
                "field": change.field,
                "before_sha256": change.before_sha256,
                "after_sha256": change.after_sha256,
                "lock_id": change.lock_id,
                "fencing_token": change.fencing_token,
            }
            for change in draft.changed_fields
        ],
    }
    return entry(
        Event.DRAFT_CREATED,
        caller,
        data,
        session_id=draft.session_id,
        request_id=command.request_id,
        reason=command.reason,
        message=draft.message,
    )
