"""Client of the DraftService."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TypeAlias

from coreason.foundry.v1 import draft_pb2 as pb
from coreason.foundry.v1 import lock_pb2
from foundry.client.calls import TIMEOUT_S, AsyncService, Pages, SyncService, Unary, pages, request_id_or_new, unary

#: What a save changes: new content by field (text, bytes, or None to remove the field), or changes in full.
Changes: TypeAlias = Mapping[str, str | bytes | None] | Sequence[pb.FieldChange]

_Deltas: TypeAlias = list[pb.FieldDelta]


def field_changes(changes: Changes) -> list[pb.FieldChange]:
    """Return changes in full."""
    if not isinstance(changes, Mapping):
        return list(changes)
    return [_field_change(field, content) for field, content in changes.items()]


def _field_change(field: str, content: str | bytes | None) -> pb.FieldChange:
    if content is None:
        return pb.FieldChange(field=field, remove=True)
    if isinstance(content, str):
        return pb.FieldChange(field=field, text=content)
    return pb.FieldChange(field=field, data=content)


class Drafts:
    """Drafts: the immutable, numbered versions of a project."""

    @unary
    def save(
        self,
        project_id: str,
        changes: Changes,
        *,
        base_version: int,
        message: str = "",
        reason: str = "",
        session_id: str = "",
        locks: Iterable[lock_pb2.LockToken] = (),
        keep_locks: bool = False,
        validate_only: bool = False,
        request_id: str | None = None,
        timeout: float = TIMEOUT_S,
    ) -> Unary[pb.CreateDraftResponse, pb.CreateDraftResponse]:
        """Save changes as the next version. Needs the role EDITOR.

        Without a ``session_id`` the call is a session of its own length: it takes the free locks it needs, writes and
        releases them, or is refused naming every holder.

        Args:
            project_id: The project.
            changes: 1 to 64 changes, each field once; text at most 1 MiB, bytes at most 3 MiB.
            base_version: The version the changes were made on, 0 for an empty project. Older than the head is fine as
                long as none of these fields changed since.
            message: What the version is about, at most 4 KiB.
            reason: Why, at most 4 KiB.
            session_id: Live session of the caller that holds the locks.
            locks: With a session, the token of each changed field's lock.
            keep_locks: Keep the locks of the changed fields.
            validate_only: Check everything and change nothing.
            request_id: UUID that makes the call safe to repeat for 24 hours; None for a new one.
            timeout: Seconds the call may take.

        Raises:
            ProjectFrozen: The content can no longer change.
            LockHeld: Somebody else holds a field.
            LockRequired: A changed field is not named in ``locks``.
            LockLost: A named lock is no longer the session's.
            StaleVersion: A field changed since ``base_version``.
            InvalidContent: Content is not what its field's kind demands.
        """
        request = pb.CreateDraftRequest(
            project_id=project_id,
            changes=field_changes(changes),
            base_version=base_version,
            locks=locks,
            session_id=session_id,
            keep_locks=keep_locks,
            message=message,
            reason=reason,
            request_id=request_id_or_new(request_id),
            validate_only=validate_only,
        )
        return Unary(request, pb.CreateDraftResponse, lambda answer: answer, timeout)

    @unary
    def get(
        self,
        project_id: str,
        version: int | None = None,
        *,
        draft_id: str = "",
        fields: Iterable[str] = (),
        omit_content: bool = False,
        timeout: float = TIMEOUT_S,
    ) -> Unary[pb.GetDraftResponse, pb.Draft]:
        """Read a version with its fields.

        Args:
            project_id: The project.
            version: Its number, from 1; None for the newest.
            draft_id: Its id, instead of a number.
            fields: Only these fields, at most 2,000; none for all.
            omit_content: Leave the content out.
            timeout: Seconds the call may take.

        Raises:
            NotFound: There is no such version.
            InvalidRequest: With the reason CONTENT_TOO_LARGE when the fields do not fit into one answer: name fewer.
            ValueError: Both a number and an id were given.
        """
        if version is not None and draft_id:
            raise ValueError("name a version by its number or by its id, not by both")
        request = pb.GetDraftRequest(project_id=project_id, fields=fields, omit_content=omit_content)
        if version is not None:
            request.version_number = version
        elif draft_id:
            request.draft_id = draft_id
        return Unary(request, pb.GetDraftResponse, lambda answer: answer.draft, timeout)

    @pages
    def list(
        self, project_id: str, *, author: str = "", field: str = "", page_size: int = 50, timeout: float = TIMEOUT_S
    ) -> Pages[pb.ListDraftsResponse, pb.Draft]:
        """List versions without content, newest first.

        Args:
            project_id: The project.
            author: Only versions by this author's subject.
            field: Only versions that changed this field.
            page_size: Versions read at a time, 1 to 1,000.
            timeout: Seconds each page may take.
        """
        request = pb.ListDraftsRequest(project_id=project_id, page_size=page_size, author=author, field=field)
        return Pages(request, pb.ListDraftsResponse, lambda page: page.drafts, timeout)

    @unary
    def compare(
        self,
        project_id: str,
        base: int,
        target: int,
        *,
        fields: Iterable[str] = (),
        context_lines: int = 3,
        timeout: float = TIMEOUT_S,
    ) -> Unary[pb.CompareDraftsResponse, _Deltas]:
        """Compare two versions; one delta for each field that differs, by field.

        Args:
            project_id: The project.
            base: The old side, from 0 (nothing).
            target: The new side, from 0; may be older than the base.
            fields: Only these fields, at most 2,000; none for all that differ.
            context_lines: Unchanged lines around each change, 0 to 100.
            timeout: Seconds the call may take.

        Raises:
            NotFound: A version does not exist.
        """
        request = pb.CompareDraftsRequest(
            project_id=project_id, base_version=base, target_version=target, fields=fields, context_lines=context_lines
        )
        return Unary(request, pb.CompareDraftsResponse, lambda answer: list(answer.deltas), timeout)

    @unary
    def revert(
        self,
        project_id: str,
        version: int,
        *,
        base_version: int,
        fields: Iterable[str] = (),
        message: str = "",
        reason: str = "",
        session_id: str = "",
        locks: Iterable[lock_pb2.LockToken] = (),
        keep_locks: bool = False,
        validate_only: bool = False,
        request_id: str | None = None,
        timeout: float = TIMEOUT_S,
    ) -> Unary[pb.RevertDraftResponse, pb.RevertDraftResponse]:
        """Make a new version whose fields are those of an older one. The rest is as in ``save``.

        Args:
            project_id: The project.
            version: The version to restore, from 1.
            base_version: The version the caller decided on.
            fields: Only these fields, at most 2,000; none for all but ``scratchpad``.
            message: What the version is about, at most 4 KiB.
            reason: Why, at most 4 KiB.
            session_id: Live session of the caller that holds the locks.
            locks: With a session, the token of each changing field's lock.
            keep_locks: Keep the locks of the changed fields.
            validate_only: Check everything and change nothing.
            request_id: UUID that makes the call safe to repeat for 24 hours; None for a new one.
            timeout: Seconds the call may take.

        Raises:
            NotFound: The version to restore does not exist.
            FoundryError: As for ``save``.
        """
        request = pb.RevertDraftRequest(
            project_id=project_id,
            version_number=version,
            fields=fields,
            base_version=base_version,
            locks=locks,
            session_id=session_id,
            keep_locks=keep_locks,
            message=message,
            reason=reason,
            request_id=request_id_or_new(request_id),
            validate_only=validate_only,
        )
        return Unary(request, pb.RevertDraftResponse, lambda answer: answer, timeout)


class DraftClient(Drafts, AsyncService):
    """The DraftService for asyncio."""


class SyncDraftClient(Drafts, SyncService):
    """The DraftService for threads."""
