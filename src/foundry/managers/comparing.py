"""How a field of two versions is compared by what is known without its content."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from foundry.content import Change as DeltaChange
from foundry.content import TextDelta

if TYPE_CHECKING:
    from foundry.domain.draft import NewContent
    from foundry.domain.field import FieldDigest


@dataclass(frozen=True, slots=True)
class FieldDelta:
    """How one field differs between two versions; hashes are empty where it is absent."""

    field: str
    before_sha256: str
    after_sha256: str
    text: TextDelta


def size(digest: FieldDigest | None) -> int:
    """Length of a field in bytes, 0 where it is absent."""
    return digest.size if digest else 0


def delta(name: str, old: FieldDigest | None, new: FieldDigest | None, text: TextDelta | None) -> FieldDelta:
    """A field's delta; without text when there was too much to compare."""
    if text is None:
        change = DeltaChange.MODIFIED if old and new else DeltaChange.ADDED if new else DeltaChange.REMOVED
        text = TextDelta(change, truncated=True)
    return FieldDelta(name, old.sha256 if old else "", new.sha256 if new else "", text)


def same(old: FieldDigest | None, new: FieldDigest | NewContent | None) -> bool:
    """Whether a field is the same on both sides: content, kind and media type."""
    if old is None or new is None:
        return old is new
    return (old.sha256, old.kind, old.media_type) == (new.sha256, new.kind, new.media_type)
