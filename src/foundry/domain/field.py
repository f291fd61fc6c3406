"""Fields: the named pieces of a project's content, and their names."""

from __future__ import annotations

import enum
import re
from dataclasses import dataclass, field

from foundry.domain.errors import InvalidArgument
from foundry.domain.lock import Lock

FIELD_NAME_BYTES_MAX = 200
FIELD_NAME = re.compile(r"[a-z0-9_]+(/[a-z0-9_.-]+)*")

#: The shared engineering notes: a field like any other, but no part of the released content.
SCRATCHPAD = "scratchpad"


class FieldKind(enum.StrEnum):
    """What a field holds, which decides how its content is checked and compared."""

    TEXT = "TEXT"
    JSON = "JSON"
    YAML = "YAML"
    CONVERSATION_LOG = "CONVERSATION_LOG"
    TEST_CORPUS = "TEST_CORPUS"
    BINARY = "BINARY"


@dataclass(frozen=True, slots=True)
class FieldDigest:
    """A field of a version without its content.

    Attributes:
        name: Field name, at most 200 bytes.
        kind: What it holds.
        media_type: IANA media type of the content.
        sha256: Lower-case hex SHA-256 of the content bytes.
        size: Content length in bytes.
        last_changed_version: Version that put this content here, from 1.
        last_author: Subject of that version's author.
    """

    name: str
    kind: FieldKind
    media_type: str
    sha256: str
    size: int = 0
    last_changed_version: int = 0
    last_author: str = ""


@dataclass(frozen=True, slots=True)
class FieldValue:
    """A field of a version with its content, byte for byte as it was saved."""

    digest: FieldDigest
    content: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class FieldState:
    """The one permanent row of a field: what it holds in the head, and who holds its lock.

    Attributes:
        content: None when the field has none now (never saved, or removed).
        last_changed_version: Version that last changed or removed it, 0 when none did.
        last_author: Subject of that version's author.
        fence: Fencing token of the newest grant, 0 before the first. Never goes down.
        lock: The held lock, None when the field is free.
    """

    name: str
    content: FieldDigest | None = None
    last_changed_version: int = 0
    last_author: str = ""
    fence: int = 0
    lock: Lock | None = None

    @property
    def live(self) -> bool:
        """Whether the name is taken: the field has content, or somebody is about to give it some."""
        return self.content is not None or self.lock is not None


def check_field_name(name: str, where: str = "field") -> str:
    """Return ``name`` if it is a valid field path.

    Args:
        name: Candidate, for example ``system_prompt`` or ``few_shot/greeting``.
        where: Request field to blame.

    Raises:
        InvalidArgument: Not of the form ``[a-z0-9_]+(/[a-z0-9_.-]+)*``, over 200 bytes, or with a ``.`` or ``..``
            segment (which would escape a directory when a bundle is unpacked).
    """
    if len(name.encode()) > FIELD_NAME_BYTES_MAX:
        raise InvalidArgument(where, f"a field name has at most {FIELD_NAME_BYTES_MAX} bytes")
    if not FIELD_NAME.fullmatch(name) or any(part in {".", ".."} for part in name.split("/")):
        raise InvalidArgument(where, "a field name is a path of the form [a-z0-9_]+(/[a-z0-9_.-]+)*")
    return name


def prefix_conflict(name: str, live: set[str] | frozenset[str]) -> str | None:
    """Return a live field that is a prefix path of ``name`` or has it as one; None if there is none.

    Fields are leaves: if ``topology`` exists, ``topology/graph`` cannot, and the other way round.

    Args:
        name: A valid field name.
        live: Names with content in the head, or with a held lock.
    """
    parts = name.split("/")
    for end in range(1, len(parts)):
        ancestor = "/".join(parts[:end])
        if ancestor in live:
            return ancestor
    below = name + "/"
    return min((other for other in live if other.startswith(below)), default=None)
