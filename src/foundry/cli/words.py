"""How single values read on a terminal. Everything other people wrote passes ``plain`` first."""

from __future__ import annotations

import re
import zlib
from datetime import UTC, datetime
from itertools import cycle
from typing import TYPE_CHECKING, Any, Final

from rich.text import Text

if TYPE_CHECKING:
    from google.protobuf.message import Message
    from google.protobuf.timestamp_pb2 import Timestamp

    from coreason.foundry.v1.types_pb2 import Principal

# Control characters could drive the reader's terminal, and bidirectional ones show text in another order than it has.
_UNSEEN: Final = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")
# The one thing that the lines of other people's tools may do to a terminal: ask for colours and weight.
_SGR: Final = re.compile("(\x1b\\[[0-9;:]*m)")
_COLOURS: Final = ("cyan", "magenta", "green", "yellow", "blue", "bright_red", "bright_cyan", "bright_magenta")
_KIB: Final = 1024
_MINUTE_S: Final = 60
_HOUR_S: Final = 3600
_DAY_S: Final = 86400


def plain(text: str) -> str:
    """Return text with every character that a terminal would obey instead of show written as its escape."""
    return _UNSEEN.sub(lambda match: match[0].encode("unicode_escape").decode(), text)


def tame(text: str) -> str:
    """Return a line of somebody's tool in its colours, with everything else that a terminal would obey as escapes.

    A carriage return at its end is no more than the other half of a line end.
    """
    parts = _SGR.split(text.removesuffix("\r"))
    return "".join(part if odd else plain(part) for part, odd in zip(parts, cycle((False, True)), strict=False))


def shown(text: str, style: str = "") -> Text:
    """Return other people's text for rich: never read as markup, and harmless."""
    return Text(plain(text), style)


def enum_word(message: Message, field: str) -> str:
    """Return the value of an enum field in lower case and without its prefix: ``ROLE_OWNER`` reads ``owner``.

    Unspecified values read as an empty string, values unknown to this program as their number.
    """
    enum: Any = message.DESCRIPTOR.fields_by_name[field].enum_type  # an enum field has one
    value = enum.values_by_number.get(getattr(message, field))
    if value is None:
        return str(getattr(message, field))
    prefix = enum.values_by_number[0].name.removesuffix("UNSPECIFIED")
    word: str = value.name.removeprefix(prefix).lower()
    return word if value.number else ""


def moment(timestamp: Timestamp) -> str:
    """Return a time as ``2026-11-20 12:30:05``, UTC; empty when there is none."""
    return f"{timestamp.ToDatetime():%Y-%m-%d %H:%M:%S}" if timestamp.seconds else ""


def instant(timestamp: Timestamp) -> str:
    """Return a time as ``2026-11-20 12:30:05.123456``, UTC; blanks when there is none."""
    return f"{timestamp.ToDatetime():%Y-%m-%d %H:%M:%S.%f}" if timestamp.seconds else " " * 26


def clock(timestamp: Timestamp) -> str:
    """Return the time of day as ``12:30:05``, UTC."""
    return f"{timestamp.ToDatetime():%H:%M:%S}"


def span(seconds: float) -> str:
    """Return a length of time in its largest unit: ``42 s``, ``7 min``, ``3 h``, ``12 d``."""
    whole = max(0, int(seconds))
    for limit, size, unit in ((_MINUTE_S, 1, "s"), (_HOUR_S, _MINUTE_S, "min"), (_DAY_S, _HOUR_S, "h")):
        if whole < limit:
            return f"{whole // size} {unit}"
    return f"{whole // _DAY_S} d"


def since(timestamp: Timestamp, now: datetime | None = None) -> str:
    """Return how long ago something was, by the local clock."""
    return span(((now or datetime.now(UTC)) - timestamp.ToDatetime(UTC)).total_seconds())


def size(count: int) -> str:
    """Return a number of bytes: ``812 B``, ``1.2 KiB``, ``3.0 MiB``."""
    if count < _KIB:
        return f"{count} B"
    return f"{count / _KIB:.1f} KiB" if count < _KIB**2 else f"{count / _KIB**2:.1f} MiB"


def name_of(principal: Principal) -> str:
    """Return how a person, agent or service is called: the name if it has one, and for whom it acts."""
    name = principal.display_name or principal.subject
    return plain(f"{name} for {principal.on_behalf_of}" if principal.on_behalf_of else name)


def colour_of(subject: str) -> str:
    """Return a colour for a subject, the same every time."""
    return _COLOURS[zlib.crc32(subject.encode()) % len(_COLOURS)]


def person(principal: Principal) -> Text:
    """Return somebody's name in their colour."""
    return Text(name_of(principal), colour_of(principal.subject))


def short_hash(sha256: str) -> str:
    """Return the beginning of a hash, enough for people to tell two apart."""
    return sha256[:12]


def plural(count: int, noun: str) -> str:
    """Return ``1 field`` or ``2 fields``."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def line_count(count: int) -> str:
    """Return a number of lines: ``1 line``, ``12,345 lines``."""
    return "1 line" if count == 1 else f"{count:,} lines"
