"""A walk over strict JSON text, token by token, that knows where it is.

Ten times slower than the C parser and therefore only used to explain a refusal: it says what the first problem is and
at which character, and where the value of a path is. It does not recurse.
"""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NoReturn

from foundry.content.text import Refused

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

DEPTH_MAX: Final = 200
INTEGER_MAX: Final = 2**53 - 1  # RFC 7493, section 2.2

# Possessive quantifiers: a token is read once, whatever follows it.
_SPACE: Final = re.compile(r"[ \t\n\r]*+")
_STRING_BODY: Final = re.compile(
    r"""(?:[^"\\\x00-\x1f]++
        |  \\["\\/bfnrt]
        |  \\u(?![dD][89a-fA-F])[0-9a-fA-F]{4}
        |  \\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}  # a surrogate pair
        )*+""",
    re.VERBOSE,
)
_HALF_PAIR: Final = re.compile(r"\\u[dD][89a-fA-F][0-9a-fA-F]{2}")
_NUMBER: Final = re.compile(r"-?(?:0|[1-9][0-9]*+)(\.[0-9]++)?+([eE][+-]?[0-9]++)?+")
_LITERAL: Final = re.compile(r"true|false|null")
_NOT_A_NUMBER: Final = re.compile(r"-?(?:NaN|Infinity)")
_INTEGER_DIGITS_MAX: Final = len(str(INTEGER_MAX)) + 1  # with the sign


@dataclass(slots=True)
class _Container:
    """An open array or object: what closes it, the names seen in it, and the index or name of the current value."""

    close: str
    names: set[str]
    step: str | int


class _Walk:
    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0
        self.open: list[_Container] = []

    def values(self) -> Iterator[int]:
        """Yield the offset of each value; the steps of ``open`` are then its path."""
        if self.text.startswith("\ufeff"):
            self.refuse("a byte order mark is not allowed in JSON")
        self.skip_space()
        while True:
            yield self.at
            if not self.next_value(opened=self.read_value()):
                break
        self.skip_space()
        if self.at < len(self.text):
            self.refuse("text after the end of the JSON value")

    def refuse(self, problem: str, at: int | None = None) -> NoReturn:
        raise Refused(problem, self.text, self.at if at is None else at)

    def refuse_unless_ended(self, expected: str) -> NoReturn:
        self.refuse(f"expected {expected}" if self.at < len(self.text) else f"the text ends where {expected} should be")

    def skip_space(self) -> None:
        found = _SPACE.match(self.text, self.at)
        assert found  # noqa: S101 - the pattern matches the empty string
        self.at = found.end()

    def peek(self) -> str:
        return self.text[self.at : self.at + 1]

    def read_value(self) -> bool:
        """Read a scalar, or the bracket that opens a container; whether it was a bracket."""
        char = self.peek()
        if char in ("[", "{"):
            if len(self.open) == DEPTH_MAX:
                self.refuse(f"arrays and objects are nested more than {DEPTH_MAX} deep")
            self.open.append(_Container("]", set(), -1) if char == "[" else _Container("}", set(), ""))
            self.at += 1
            return True
        if char == '"':
            self.read_string()
        elif literal := _LITERAL.match(self.text, self.at):
            self.at = literal.end()
        elif _NOT_A_NUMBER.match(self.text, self.at):
            self.refuse("NaN and Infinity are not allowed in JSON")
        else:
            self.read_number()
        return False

    def next_value(self, *, opened: bool) -> bool:
        """Go on to the next value, over closing brackets, a comma and a name; False if there is none."""
        while self.open:
            container = self.open[-1]
            self.skip_space()
            if self.peek() == container.close:
                self.open.pop()
                self.at += 1
                opened = False
                continue
            if not opened:
                if self.peek() != ",":
                    self.refuse_unless_ended(f"',' or '{container.close}'")
                self.at += 1
                self.skip_space()
            if isinstance(container.step, int):
                container.step += 1
            else:
                container.step = self.read_name(container.names)
            return True
        return False

    def read_name(self, taken: set[str]) -> str:
        start = self.at
        if self.peek() != '"':
            self.refuse_unless_ended("a member name in double quotes")
        name = self.read_string()
        if name in taken:
            self.refuse("a member of this name is already in the object", start)
        taken.add(name)
        self.skip_space()
        if self.peek() != ":":
            self.refuse_unless_ended("':'")
        self.at += 1
        self.skip_space()
        return name

    def read_string(self) -> str:
        start = self.at
        body = _STRING_BODY.match(self.text, start + 1)
        assert body  # noqa: S101 - the pattern matches the empty string
        self.at = body.end()
        match self.peek():
            case '"':
                self.at += 1
            case "":
                self.refuse("this string has no closing quote", start)
            case "\\" if _HALF_PAIR.match(self.text, self.at):
                self.refuse("half a surrogate pair is no character")
            case "\\":
                self.refuse("this escape is not one of JSON")
            case control:
                self.refuse(f"the control character U+{ord(control):04X} must be escaped in a string")
        value: str = json.loads(self.text[start : self.at])
        return value

    def read_number(self) -> None:
        number = _NUMBER.match(self.text, self.at)
        if not number:
            self.refuse_unless_ended("a value")
        if number[1] or number[2]:
            if math.isinf(float(number[0])):
                self.refuse("the number is too large for a double")
        elif len(number[0]) > _INTEGER_DIGITS_MAX or abs(int(number[0])) > INTEGER_MAX:
            self.refuse("the integer is outside +-(2**53 - 1); write it as a string")
        self.at = number.end()


def check_json(text: str) -> None:
    """Check text against the rules of ``strict_json.parse_json``, in time linear in its length.

    Raises:
        Refused: At the first problem.
    """
    for _ in _Walk(text).values():
        pass


def find_path(text: str, path: Sequence[str | int]) -> int:
    """Return the offset (in code points) of a value in strict JSON text.

    Args:
        text: Text that ``check_json`` accepts.
        path: The names and indexes that lead to the value; empty for the whole. If it does not exist, the nearest
            ancestor that does is found.
    """
    found = 0
    walk = _Walk(text)
    for offset in walk.values():
        if all(container.step == step for container, step in zip(walk.open, path, strict=False)):
            found = offset
            if len(walk.open) == len(path):
                break
    return found
