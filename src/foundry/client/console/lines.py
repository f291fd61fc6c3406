"""Text becomes lines of the size the contract allows."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

#: Largest line, bytes; what is longer goes on in the next.
LINE_BYTES: Final = 64 * 1024

#: The two high bits of a byte of UTF-8, and their value when the byte goes on with a code point.
_HIGH_BITS: Final = 0xC0
_GOES_ON: Final = 0x80


@dataclass(frozen=True, slots=True)
class Piece:
    """A line, or a part of one.

    Attributes:
        text: What it says, without line feed.
        size: Bytes of that in UTF-8, at most 64 Ki.
        partial: Whether the line goes on in the next piece.
    """

    text: str
    size: int
    partial: bool


def lines_of(text: str | bytes) -> Iterator[list[Piece]]:
    """Yield the lines of a text, each as its pieces: one, unless it is longer than 64 KiB.

    A line feed at the end ends the last line and begins none. Only line feeds end lines. What is no UTF-8, and what
    UTF-8 cannot tell, reads as backslash escapes.
    """
    if isinstance(text, bytes):
        text = text.decode("utf-8", "backslashreplace")
    for line in text.removesuffix("\n").split("\n"):
        yield _pieces(line.encode("utf-8", "backslashreplace"))


def _pieces(line: bytes) -> list[Piece]:
    """The pieces of a line, cut between code points."""
    pieces: list[Piece] = []
    start = 0
    while len(line) - start > LINE_BYTES:
        end = start + LINE_BYTES
        while line[end] & _HIGH_BITS == _GOES_ON:
            end -= 1
        pieces.append(Piece(line[start:end].decode(), end - start, partial=True))
        start = end
    pieces.append(Piece(line[start:].decode(), len(line) - start, partial=False))
    return pieces
