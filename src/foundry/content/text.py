"""Text and places in it: the one notion of line and column that every refusal uses."""

from __future__ import annotations


class Refused(Exception):  # noqa: N818 - a verdict on content, turned into InvalidContent by foundry.content.check
    r"""Content that breaks a rule, and where.

    Attributes:
        problem: Short sentence of our own; never the text of a library's exception.
        line: 1-based; only ``\n`` ends a line, as in an editor and in a diff.
        column: 1-based, in Unicode code points.
    """

    def __init__(self, problem: str, text: str, offset: int) -> None:
        """Args: offset is where in text the offending token starts, in code points; the end of the text is allowed."""
        super().__init__(problem)
        self.problem = problem
        self.line = text.count("\n", 0, offset) + 1
        self.column = offset - text.rfind("\n", 0, offset)


def decode_utf8(data: bytes) -> str:
    """Return the text of UTF-8 bytes; every code point, NUL included, is allowed (RFC 3629).

    Raises:
        Refused: Not UTF-8, at the first byte that cannot be decoded.
    """
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        before = data[: error.start].decode()
        raise Refused("not valid UTF-8", before, len(before)) from None
