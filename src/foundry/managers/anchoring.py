"""Anchors: from what a client points at to what is stored, and from there to lines of another version."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from cachetools import LRUCache

from foundry.content import Found, Lines, find_all, split_lines
from foundry.domain.comment import QUOTE_BYTES_MAX, Anchor, AnchorState, Place
from foundry.domain.errors import AnchorOutOfRange, InvalidArgument, NotFound
from foundry.domain.field import FieldKind, check_field_name

if TYPE_CHECKING:
    from collections.abc import Sequence

    from foundry.domain.draft import Draft
    from foundry.domain.field import FieldDigest
    from foundry.managers.workers import Workers
    from foundry.store.drafts import DraftRepository

#: Content read to place the comments of one answer; those beyond are left to the next page.
_PLACED_BYTES_MAX = 16 * 1024 * 1024
#: Pairs of characters compared to place the comments of one answer: at most about half a second.
_PLACED_WORK_MAX = 10_000_000_000
#: A byte to align costs so much more than a byte to parse.
_ALIGN_WEIGHT = 8
#: Places that are kept: contents never change, so neither do they.
_PLACES_MAX = 50_000
#: Hash of the content the lines are of, hash of the one to find them in, the lines.
_Key = tuple[str, str, Lines]


@dataclass(frozen=True, slots=True)
class WantedAnchor:
    """Where a client wants to comment; see the contract for each member."""

    version_number: int
    draft_id: str
    field: str
    start_line: int
    end_line: int
    quote: str

    def as_command(self) -> dict[str, Any]:
        """Its members as plain values."""
        return asdict(self)


class Anchoring:
    """Makes anchors and places them."""

    def __init__(self, drafts: DraftRepository, workers: Workers) -> None:
        self._drafts = drafts
        self._workers = workers
        self._places: LRUCache[_Key, Found] = LRUCache(_PLACES_MAX)

    async def anchor(self, project_id: str, wanted: WantedAnchor) -> Anchor:
        """An anchor that can be stored: it names lines that exist, and their words.

        Raises:
            NotFound: No such version in this project, or it has no such field.
            AnchorOutOfRange: The field has no such lines.
            InvalidArgument: The quote does not stand there.
        """
        check_field_name(wanted.field, "anchor.field")
        draft = await self._draft(project_id, wanted)
        digests = await self._drafts.fields_at(project_id, draft.version_number)
        digest = next((digest for digest in digests if digest.name == wanted.field), None)
        if digest is None:
            raise NotFound("field", wanted.field)
        quote = await self._quote(project_id, wanted, digest, draft.version_number)
        return Anchor(
            version_number=draft.version_number,
            draft_id=draft.draft_id,
            field=wanted.field,
            start_line=wanted.start_line,
            end_line=wanted.end_line,
            quote=quote,
            field_sha256=digest.sha256,
        )

    async def _draft(self, project_id: str, wanted: WantedAnchor) -> Draft:
        if wanted.draft_id:
            asked, draft = wanted.draft_id, await self._drafts.get_by_id(project_id, wanted.draft_id)
        else:
            asked, draft = str(wanted.version_number), await self._drafts.get(project_id, wanted.version_number)
        if draft is None:
            raise NotFound("draft", asked)
        if wanted.version_number not in {0, draft.version_number}:
            raise InvalidArgument("anchor.version_number", f"draft_id names version {draft.version_number}")
        return draft

    async def _quote(self, project_id: str, wanted: WantedAnchor, digest: FieldDigest, version: int) -> str:
        start, end = wanted.start_line, wanted.end_line
        whole = not start and not end
        if whole and not wanted.quote:
            return ""
        content = await self._drafts.saved(project_id, digest.sha256)
        lines = split_lines(content) if digest.kind is not FieldKind.BINARY else []
        if not whole and not 1 <= start <= end <= len(lines):
            raise AnchorOutOfRange(digest.name, version, start, end, len(lines))
        words = b"\n".join(lines if whole else lines[start - 1 : end])
        if not wanted.quote:
            return words[:QUOTE_BYTES_MAX].decode(errors="ignore")
        if wanted.quote.encode() not in words:
            raise InvalidArgument("anchor.quote", "does not stand on these lines")
        return wanted.quote

    async def places(self, project_id: str, anchors: Sequence[Anchor | None], version: int) -> list[Place | None]:
        """Where anchors are in a version, None for what has none; fewer, but one at least, where it would cost much."""
        wanted = [anchor for anchor in anchors if anchor]
        digests = await self._drafts.fields_at(project_id, version) if wanted else ()
        targets = {digest.name: digest for digest in digests}
        left = _PLACED_BYTES_MAX
        known: dict[_Key, Found] = {}  # the cache may forget meanwhile
        pairs: defaultdict[tuple[str, str], list[Lines]] = defaultdict(list)
        taken = 0
        for anchor in anchors:
            key = _to_find(anchor, targets)
            found = self._places.get(key) if key else None
            if key and found:
                known[key] = found
            elif key:
                if key[:2] not in pairs:
                    left -= 2 * targets[anchor.field].size if anchor else 0
                    if left < 0 and taken:
                        break
                pairs[key[:2]].append(key[2])
            taken += 1
        await self._find_all(project_id, pairs, known)
        places: list[Place | None] = []
        for anchor in anchors[:taken]:
            key = _to_find(anchor, targets)
            if key and key not in known:
                break
            places.append(_place(anchor, targets, version, known[key] if key else None))
        return places

    async def _find_all(
        self, project_id: str, pairs: dict[tuple[str, str], list[Lines]], known: dict[_Key, Found]
    ) -> None:
        """Find what is not known yet, in order, as far as it does not cost too much, but the first at least."""
        work = _PLACED_WORK_MAX
        for (before, after), lines in pairs.items():
            old, new = await self._drafts.saved(project_id, before), await self._drafts.saved(project_id, after)
            weight = (len(old) + len(new)) * _ALIGN_WEIGHT
            found, work = await self._workers.run(weight, find_all, old, new, lines, work)
            for one, place in zip(lines, found, strict=False):
                known[before, after, one] = self._places[before, after, one] = place
            if work <= 0:
                return


def _to_find(anchor: Anchor | None, targets: dict[str, FieldDigest]) -> _Key | None:
    """What must be looked for in two contents; None when the place is known without."""
    target = targets.get(anchor.field) if anchor else None
    if anchor is None or target is None or target.sha256 == anchor.field_sha256 or not anchor.start_line:
        return None
    if target.kind is FieldKind.BINARY:
        return None
    return anchor.field_sha256, target.sha256, Lines(anchor.start_line, anchor.end_line, anchor.quote)


def _place(anchor: Anchor | None, targets: dict[str, FieldDigest], version: int, found: Found | None) -> Place | None:
    """Where an anchor is in a version; ``found`` if it had to be looked for."""
    if anchor is None:
        return None
    target = targets.get(anchor.field)
    if target is None:
        return Place(version, AnchorState.ORPHANED)
    if target.sha256 == anchor.field_sha256:
        return Place(version, AnchorState.EXACT, anchor.start_line, anchor.end_line)
    if not anchor.start_line:
        return Place(version, AnchorState.SHIFTED)
    # What is binary has no lines.
    return Place(version, *found) if found else Place(version, AnchorState.OUTDATED)
