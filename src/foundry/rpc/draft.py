"""DraftService: translation only."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cachetools import LRUCache

from coreason.foundry.v1 import draft_pb2 as pb
from foundry.domain.errors import InvalidArgument
from foundry.managers.drafts import RequestedChange, SaveRequest
from foundry.rpc import codec, validation

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from coreason.foundry.v1 import lock_pb2
    from foundry.domain.principal import Caller
    from foundry.domain.session import History
    from foundry.managers.drafts import DraftManager
    from foundry.rpc.pages import Pages

#: Encoded answers that are kept, all together, and the largest of them.
_ANSWERS_BYTES_MAX = 32 * 1024 * 1024
_ANSWER_BYTES_MAX = 1024 * 1024
_INT64_MAX = 2**63 - 1
_FIELDS_MAX = 2_000
_CONTEXT_LINES_DEFAULT = 3
_CONTEXT_LINES_MAX = 100
_MEDIA_TYPE_BYTES_MAX = 100


class DraftServicer:
    """See ``draft.proto``."""

    def __init__(self, drafts: DraftManager, pages: Pages, *, history: History, changes_max: int) -> None:
        self._drafts = drafts
        self._pages = pages
        self._history = history
        self._changes_max = changes_max
        self._answers: LRUCache[tuple[object, ...], bytes] = LRUCache(_ANSWERS_BYTES_MAX, getsizeof=len)

    async def CreateDraft(self, request: pb.CreateDraftRequest, caller: Caller) -> pb.CreateDraftResponse:
        """Save."""
        changes = self._changes(request.changes)
        result = await self._drafts.create_draft(caller, _save_request(request), changes)
        return codec.saved(result, self._history.epoch)

    async def GetDraft(self, request: pb.GetDraftRequest, caller: Caller) -> bytes:
        """Read a version: encoded once, since a version never changes; access is checked each time."""
        version = request.version_number if request.HasField("version_number") else None
        if version is not None and version < 1:
            raise InvalidArgument("version_number", "from 1")
        if len(request.fields) > _FIELDS_MAX:
            raise InvalidArgument("fields", f"at most {_FIELDS_MAX}")
        draft_id = request.draft_id if request.HasField("draft_id") else None
        head_version = await self._drafts.head_version(caller, request.project_id)
        key = (request.project_id, draft_id, version or head_version, request.omit_content, *request.fields)
        answer = self._answers.get(key)
        if answer is None:
            found = await self._drafts.get(
                caller,
                request.project_id,
                version_number=version,
                draft_id=draft_id,
                names=request.fields,
                omit_content=request.omit_content,
            )
            answer = pb.GetDraftResponse(draft=codec.full_draft(found)).SerializeToString()
            # Only if the head is still the one of the key.
            if len(answer) <= _ANSWER_BYTES_MAX and found.draft.version_number == (version or head_version):
                self._answers[key] = answer
        return answer

    async def ListDrafts(self, request: pb.ListDraftsRequest, caller: Caller) -> pb.ListDraftsResponse:
        """List versions."""
        size = self._pages.size(request.page_size)
        bound = ("ListDrafts", request.project_id, request.author, request.field)
        before = self._pages.read(request.page_token, _INT64_MAX, *bound)
        found = await self._drafts.list_drafts(
            caller, request.project_id, author=request.author, field=request.field, before=before, limit=size + 1
        )
        drafts = self._pages.fit(found, size, codec.draft)
        more = self._pages.issue(found[len(drafts) - 1].version_number, *bound) if len(found) > len(drafts) else ""
        return pb.ListDraftsResponse(drafts=drafts, next_page_token=more)

    async def CompareDrafts(self, request: pb.CompareDraftsRequest, caller: Caller) -> pb.CompareDraftsResponse:
        """Compare two versions."""
        for name in ("base_version", "target_version"):
            if getattr(request, name) < 0:
                raise InvalidArgument(name, "from 0")
        if len(request.fields) > _FIELDS_MAX:
            raise InvalidArgument("fields", f"at most {_FIELDS_MAX}")
        lines = request.context_lines if request.HasField("context_lines") else _CONTEXT_LINES_DEFAULT
        if not 0 <= lines <= _CONTEXT_LINES_MAX:
            raise InvalidArgument("context_lines", f"from 0 to {_CONTEXT_LINES_MAX}")
        deltas = await self._drafts.compare_versions(
            caller,
            request.project_id,
            request.base_version,
            request.target_version,
            names=request.fields,
            context_lines=lines,
        )
        return pb.CompareDraftsResponse(deltas=[codec.delta(delta) for delta in deltas])

    async def RevertDraft(self, request: pb.RevertDraftRequest, caller: Caller) -> pb.RevertDraftResponse:
        """Restore an older version as a new one."""
        if request.version_number < 1:
            raise InvalidArgument("version_number", "from 1")
        if len(request.fields) > _FIELDS_MAX:
            raise InvalidArgument("fields", f"at most {_FIELDS_MAX}")
        names = sorted(set(request.fields))
        result = await self._drafts.revert(caller, _save_request(request), request.version_number, names)
        saved = codec.saved(result, self._history.epoch)
        return pb.RevertDraftResponse(
            draft=saved.draft if saved.HasField("draft") else None,
            outcome=saved.outcome,
            released_locks=saved.released_locks,
            position=saved.position,
        )

    def _changes(self, changes: Sequence[pb.FieldChange]) -> list[RequestedChange]:
        if not 1 <= len(changes) <= self._changes_max:
            raise InvalidArgument("changes", f"from 1 to {self._changes_max}; got {len(changes)}")
        names = [change.field for change in changes]
        if len(set(names)) < len(names):
            raise InvalidArgument("changes", "each field at most once")
        return [_requested(change) for change in changes]


def _requested(change: pb.FieldChange) -> RequestedChange:
    arm = change.WhichOneof("content")
    if arm is None or (arm == "remove" and not change.remove):
        raise InvalidArgument("changes", f"{change.field}: give text, data, sha256 or remove")
    if len(change.media_type.encode()) > _MEDIA_TYPE_BYTES_MAX:
        raise InvalidArgument("changes.media_type", f"at most {_MEDIA_TYPE_BYTES_MAX} bytes")
    content = None
    if arm == "text":
        content = change.text.encode()
    elif arm == "data":
        content = change.data
    return RequestedChange(
        field=change.field,
        kind=validation.field_kind(change.kind),
        media_type=change.media_type,
        content=content,
        is_text=arm == "text",
        sha256=validation.sha256(change.sha256, "changes.sha256") if arm == "sha256" else "",
        remove=arm == "remove",
    )


def _save_request(request: pb.CreateDraftRequest | pb.RevertDraftRequest) -> SaveRequest:
    fields = validation.check(
        validation.SaveFields,
        project_id=request.project_id,
        base_version=request.base_version,
        session_id=request.session_id,
        keep_locks=request.keep_locks,
        message=request.message,
        reason=request.reason,
        request_id=request.request_id,
        validate_only=request.validate_only,
    )
    return SaveRequest(**fields.model_dump(), tokens=_tokens(request.locks))


def _tokens(locks: Iterable[lock_pb2.LockToken]) -> dict[str, int]:
    tokens: dict[str, int] = {}
    for lock in locks:
        if lock.field in tokens:
            raise InvalidArgument("locks", "each field at most once")
        if lock.fencing_token < 1:
            raise InvalidArgument("locks.fencing_token", "from 1")
        tokens[lock.field] = lock.fencing_token
        if len(tokens) > _FIELDS_MAX:
            raise InvalidArgument("locks", f"at most {_FIELDS_MAX}")
    return tokens
