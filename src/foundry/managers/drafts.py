"""The DraftManager: immutable versions, compared and restored."""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from foundry.content import Pair, check_content, compare_all, default_kind, default_media_type
from foundry.domain.access import Action, check_access, check_content_open
from foundry.domain.draft import Change, DraftOrigin, NewContent, SaveResult
from foundry.domain.errors import ContentTooLarge, InvalidArgument, InvalidContent, LockHeld, NotFound
from foundry.domain.field import SCRATCHPAD, FieldKind, FieldValue, check_field_name
from foundry.managers.access import readable
from foundry.managers.comparing import FieldDelta, delta, same, size
from foundry.managers.saving import SaveCommand, decide_save
from foundry.managers.versions import named_version
from foundry.store.needs import Needs
from foundry.store.requests import request_key

if TYPE_CHECKING:
    from collections.abc import Sequence

    from foundry.domain.draft import Draft
    from foundry.domain.field import FieldDigest
    from foundry.domain.principal import Caller
    from foundry.managers.denials import Denials
    from foundry.managers.workers import Workers
    from foundry.settings import Limits
    from foundry.store.drafts import DraftRepository
    from foundry.store.fields import FieldRepository
    from foundry.store.lane import WriteLane
    from foundry.store.projects import SqlAlchemyProjectRepository
    from foundry.store.requests import RequestKey

#: Content of one comparison, both sides; fields beyond are only marked truncated.
_COMPARED_BYTES_MAX = 24 * 1024 * 1024
#: A byte to compare costs so much more than a byte to parse.
_DIFF_WEIGHT = 8


@dataclass(frozen=True, slots=True)
class RequestedChange:
    """A change as it was asked for: exactly one of ``content``, ``sha256`` and ``remove`` is given.

    Attributes:
        kind: None keeps the field's kind, or follows its name.
        media_type: Empty keeps the field's, or follows the kind.
        is_text: Whether ``content`` came as text.
    """

    field: str
    kind: FieldKind | None = None
    media_type: str = ""
    content: bytes | None = None
    is_text: bool = True
    sha256: str = ""
    remove: bool = False


@dataclass(frozen=True, slots=True)
class SaveRequest:
    """What a save or a revert has in common; see the contract for each member."""

    project_id: str
    base_version: int
    tokens: dict[str, int]
    session_id: str = ""
    keep_locks: bool = False
    message: str = ""
    reason: str = ""
    request_id: str = ""
    validate_only: bool = False


@dataclass(frozen=True, slots=True)
class FullDraft:
    """A version with its fields. ``values`` carry content unless that was left out."""

    draft: Draft
    digests: tuple[FieldDigest, ...]
    values: tuple[FieldValue, ...] | None


class DraftManager:
    """Saves, reads, compares and reverts.

    Args:
        idle_limit_us: See ``LockManager``; a save that keeps its locks puts off their idle release.
    """

    def __init__(
        self,
        lane: WriteLane,
        projects: SqlAlchemyProjectRepository,
        fields: FieldRepository,
        drafts: DraftRepository,
        workers: Workers,
        *,
        denials: Denials,
        limits: Limits,
        idle_limit_us: int,
    ) -> None:
        self._lane = lane
        self._projects = projects
        self._fields = fields
        self._drafts = drafts
        self._workers = workers
        self._denials = denials
        self._limits = limits
        self._idle_limit_us = idle_limit_us

    # --- write ---

    async def create_draft(
        self, caller: Caller, request: SaveRequest, changes: Sequence[RequestedChange]
    ) -> SaveResult:
        """Save changes as the next version.

        Content is parsed here, before the transaction, and reported inside it in its turn.

        Raises:
            FoundryError: See ``DraftService.CreateDraft``.
        """
        project, member = await readable(self._projects, caller, request.project_id)
        # Decided once more in the transaction; here so that nobody makes the server parse who may not save.
        check_access(Action.EDIT, caller.principal, member, project)
        if not request.request_id:  # or it may be the repetition of a save that was done before the project was closed
            check_content_open(project)
        known = {state.name: state.content for state in await self._fields.all(request.project_id)}
        parsed: list[Change] = []
        invalid: InvalidContent | None = None
        for change in sorted(changes, key=lambda change: change.field):
            new, problem = await self._new_content(request.project_id, change, known.get(change.field))
            parsed.append(Change(change.field, new))
            invalid = invalid or problem
        key = self._key(caller, request, "CreateDraft", [_asked(change) for change in changes])
        covers = frozenset(change.field for change in parsed)
        return await self._save(caller, request, parsed, key, covers, invalid=invalid)

    async def revert(
        self, caller: Caller, request: SaveRequest, version_number: int, names: Sequence[str]
    ) -> SaveResult:
        """Make a new version whose fields are those of an older one; ``scratchpad`` stays unless named.

        Args:
            names: Only these fields; empty for all but ``scratchpad``.

        Raises:
            NotFound: No such version, or a named field is in neither version.
            FoundryError: See ``DraftService.CreateDraft``.
        """
        await readable(self._projects, caller, request.project_id)
        if await self._drafts.get(request.project_id, version_number) is None:
            raise NotFound("draft", str(version_number))
        source = {digest.name: digest for digest in await self._drafts.fields_at(request.project_id, version_number)}
        states = {state.name: state for state in await self._fields.all(request.project_id)}
        for name in names:
            check_field_name(name, "fields")
            if name not in states:
                raise NotFound("field", name)
        wanted = sorted(names) if names else [name for name in sorted(states) if name != SCRATCHPAD]
        changes = []
        for name in wanted:
            old, new = states[name].content, source.get(name)
            if same(old, new) and name not in request.tokens:
                continue
            content = NewContent(new.kind, new.media_type, new.sha256, new.size) if new else None
            changes.append(Change(name, content))
        key = self._key(caller, request, "RevertDraft", [version_number, sorted(names)])
        covers = frozenset(names) if names else None
        return await self._save(
            caller, request, changes, key, covers, origin=DraftOrigin.REVERT, source_version=version_number
        )

    async def _save(
        self,
        caller: Caller,
        request: SaveRequest,
        changes: list[Change],
        key: RequestKey | None,
        covers: frozenset[str] | None,
        *,
        origin: DraftOrigin = DraftOrigin.SAVE,
        source_version: int = 0,
        invalid: InvalidContent | None = None,
    ) -> SaveResult:
        if request.keep_locks and not request.session_id:
            raise InvalidArgument("keep_locks", "needs a session_id: without one nobody is left to keep them")
        if request.tokens and not request.session_id:
            raise InvalidArgument("locks", "needs the session_id that holds them")
        command = SaveCommand(
            project_id=request.project_id,
            changes=tuple(changes),
            base_version=request.base_version,
            tokens=request.tokens,
            session_id=request.session_id,
            keep_locks=request.keep_locks,
            message=request.message,
            reason=request.reason,
            request_id=request.request_id,
            validate_only=request.validate_only,
            covers=covers,
            origin=origin,
            source_version=source_version,
            invalid=invalid,
        )
        needs = Needs(
            request.project_id,
            caller.principal.subject,
            sessions=(request.session_id,) if request.session_id else (),
            all_fields=True,
            request=key,
        )
        try:
            result = await self._lane.submit(
                needs, lambda unit: decide_save(unit, caller, command, idle_limit_us=self._idle_limit_us)
            )
        except LockHeld as held:
            for lock in () if request.validate_only else held.locks:
                self._denials.lock_denied(request.project_id, lock.field, caller.principal.subject)
            raise
        if result.draft is None:  # nothing changed: the answer shows the version that stood
            return replace(result, draft=await self._drafts.get(request.project_id, result.head_version))
        return result

    @staticmethod
    def _key(caller: Caller, request: SaveRequest, rpc: str, asked: list[Any]) -> RequestKey | None:
        if request.validate_only or not request.request_id:  # nothing happens, or nothing could repeat it
            return None
        command = {**asdict(request), "asked": asked}
        return request_key(caller.principal, rpc, request.request_id, command)

    async def _new_content(
        self, project_id: str, change: RequestedChange, old: FieldDigest | None
    ) -> tuple[NewContent | None, InvalidContent | None]:
        check_field_name(change.field, "changes.field")
        if change.remove:
            return None, None
        kind = change.kind or (old.kind if old else default_kind(change.field))
        keeps_kind = old is not None and old.kind is kind
        media_type = change.media_type or (old.media_type if old and keeps_kind else default_media_type(kind))
        content = change.content
        if content is None:
            content = await self._drafts.content(project_id, change.sha256)
            if content is None:
                raise NotFound("content", change.sha256)
            sha256 = change.sha256
        else:
            self._check_size(change, content)
            if change.is_text is (kind is FieldKind.BINARY):
                wanted = "data" if kind is FieldKind.BINARY else "text"
                if kind not in {FieldKind.TEST_CORPUS, FieldKind.CONVERSATION_LOG}:
                    raise InvalidArgument("changes", f"{change.field} is {kind.value}: give its content as {wanted}")
            sha256 = hashlib.sha256(content).hexdigest()
        stored = None if change.content is None else content
        new = NewContent(kind, media_type, sha256, len(content), stored)
        if old and same(old, new):  # it was checked when it came in
            return new, None
        problem = await self._workers.run(len(content), _check, change.field, kind, media_type, content)
        return new, InvalidContent(*problem) if problem else None

    def _check_size(self, change: RequestedChange, content: bytes) -> None:
        limit = self._limits.text_bytes_max if change.is_text else self._limits.data_bytes_max
        if len(content) > limit:
            raise ContentTooLarge(change.field, len(content), limit)

    # --- read ---

    async def head_version(self, caller: Caller, project_id: str) -> int:
        """Number of the newest version, 0 before the first, to whoever may read it."""
        project, _ = await readable(self._projects, caller, project_id)
        return project.head_version

    async def get(
        self,
        caller: Caller,
        project_id: str,
        *,
        version_number: int | None = None,
        draft_id: str | None = None,
        names: Sequence[str] = (),
        omit_content: bool = False,
    ) -> FullDraft:
        """A version with its fields; the head when neither number nor id is given.

        Raises:
            NotFound: No such version in this project, or it has no field of a given name.
            ContentTooLarge: The fields do not fit into one answer.
        """
        project, _ = await readable(self._projects, caller, project_id)
        draft = await named_version(self._drafts, project, version_number=version_number, draft_id=draft_id)
        digests = await self._drafts.fields_at(project_id, draft.version_number)
        if names:
            by_name = {digest.name: digest for digest in digests}
            for name in names:
                if name not in by_name:
                    raise NotFound("field", name)
            digests = tuple(by_name[name] for name in sorted(set(names)))
        if omit_content:
            return FullDraft(draft, digests, None)
        total = sum(digest.size for digest in digests)
        if total > self._limits.answer_bytes_max:
            raise ContentTooLarge("fields", total, self._limits.answer_bytes_max)
        return FullDraft(draft, digests, tuple([await self._drafts.value(project_id, digest) for digest in digests]))

    async def list_drafts(
        self, caller: Caller, project_id: str, *, author: str, field: str, before: int, limit: int
    ) -> Sequence[Draft]:
        """Versions below ``before``, newest first; at most ``limit``."""
        await readable(self._projects, caller, project_id)
        return await self._drafts.page(project_id, author, field, before, limit)

    async def compare_versions(
        self,
        caller: Caller,
        project_id: str,
        base_version: int,
        target_version: int,
        *,
        names: Sequence[str] = (),
        context_lines: int = 3,
    ) -> list[FieldDelta]:
        """Text deltas of the fields that differ between two versions; version 0 is empty.

        Raises:
            NotFound: No such version.
        """
        await readable(self._projects, caller, project_id)
        sides = []
        for version in (base_version, target_version):
            if version and await self._drafts.get(project_id, version) is None:
                raise NotFound("draft", str(version))
            digests = await self._drafts.fields_at(project_id, version)
            sides.append({digest.name: digest for digest in digests})
        before, after = sides
        wanted = set(names) or before.keys() | after.keys()
        differing = sorted(name for name in wanted if not same(before.get(name), after.get(name)))
        pairs, left = [], _COMPARED_BYTES_MAX
        for name in differing:
            size_bytes = size(before.get(name)) + size(after.get(name))
            if size_bytes <= left:
                left -= size_bytes
                pairs.append(await self._pair(project_id, name, before.get(name), after.get(name)))
        weight = (_COMPARED_BYTES_MAX - left) * _DIFF_WEIGHT
        compared = await self._workers.run(weight, compare_all, pairs, context_lines=context_lines)
        texts = {pair.name: text for pair, text in zip(pairs, compared, strict=True)}
        return [delta(name, before.get(name), after.get(name), texts.get(name)) for name in differing]

    async def _pair(self, project_id: str, name: str, old: FieldDigest | None, new: FieldDigest | None) -> Pair:
        before = await self._drafts.saved(project_id, old.sha256) if old else None
        after = await self._drafts.saved(project_id, new.sha256) if new else None
        return Pair(name, before, after)


def _check(field: str, kind: FieldKind, media_type: str, content: bytes) -> tuple[str, str, int, int] | None:
    """What is wrong with content, as the arguments of ``InvalidContent``; None when nothing is. Picklable."""
    try:
        check_content(field, kind, media_type, content)
    except InvalidContent as invalid:
        return invalid.field, invalid.problem, invalid.line, invalid.column
    return None


def _asked(change: RequestedChange) -> list[Any]:
    """A requested change as plain values; content by its hash."""
    content = None if change.content is None else hashlib.sha256(change.content).hexdigest()
    kind = change.kind.value if change.kind else ""
    return [change.field, kind, change.media_type, content, change.is_text, change.sha256, change.remove]
