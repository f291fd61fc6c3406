"""Drafts: the immutable, numbered versions of a project."""

from __future__ import annotations

import enum
from dataclasses import dataclass

from foundry.domain.field import FieldDigest, FieldKind
from foundry.domain.lock import Lock
from foundry.domain.principal import Principal


class DraftOrigin(enum.StrEnum):
    """How a version came about."""

    SAVE = "SAVE"
    REVERT = "REVERT"
    IMPORT = "IMPORT"


class SaveOutcome(enum.StrEnum):
    """What a save did."""

    COMMITTED = "COMMITTED"
    NO_CHANGE = "NO_CHANGE"


@dataclass(frozen=True, slots=True)
class FieldChange:
    """One field as one version changed it.

    Attributes:
        before_sha256: Hash before, empty when the field was new.
        after_sha256: Hash after, empty when the field was removed.
        lock_id: The grant under which it was changed.
        fencing_token: That grant's fence; with the field it names exactly one holder.
    """

    field: str
    before_sha256: str
    after_sha256: str
    lock_id: str
    fencing_token: int
    kind: FieldKind = FieldKind.TEXT
    media_type: str = ""
    size: int = 0


@dataclass(frozen=True, slots=True)
class Draft:
    """A version of a project without its content.

    Attributes:
        version_number: From 1, without gaps.
        parent_version: The version before, 0 for the first.
        source_version: The version a REVERT restores, else 0.
        author: The one principal who held the locks of the changed fields.
        content_sha256: Hash of the canonical manifest of all fields but ``scratchpad``.
        changed_fields: Sorted by field name.
        sequence: Position of its ``draft_created`` entry in the project's log.
    """

    draft_id: str
    project_id: str
    version_number: int
    parent_version: int
    origin: DraftOrigin
    source_version: int
    author: Principal
    session_id: str
    create_time_us: int
    message: str
    content_sha256: str
    changed_fields: tuple[FieldChange, ...]
    sequence: int = 0


@dataclass(frozen=True, slots=True)
class NewContent:
    """What a field shall hold; ``sha256`` and ``size`` are of ``content``, which is None when it is stored already."""

    kind: FieldKind
    media_type: str
    sha256: str
    size: int
    content: bytes | None = None


@dataclass(frozen=True, slots=True)
class Change:
    """One requested change of a save: new content, or None to remove the field."""

    field: str
    new: NewContent | None


@dataclass(frozen=True, slots=True)
class SaveResult:
    """The answer to a save.

    Attributes:
        draft: The new version; on NO_CHANGE the current one, or None when the project has none.
        released_locks: Locks this save gave back, sorted by field.
        sequence: Log position of the last entry this save caused, or of the head when there was none.
        head_version: The version that stood afterwards, 0 when the project has none.
    """

    draft: Draft | None
    outcome: SaveOutcome
    released_locks: tuple[Lock, ...]
    sequence: int
    head_version: int = 0


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All fields of one version, without content, sorted by name."""

    version_number: int
    fields: tuple[FieldDigest, ...]
