"""Strict JSON: RFC 8259 with the interoperability rules of I-JSON (RFC 7493) that two parsers could differ on.

The C parser of the standard library answers for content that is fine. It may only ever accept: whatever it refuses,
or might have read too generously, is read again by ``json_walk``, which finds the exact place of the first problem.
"""

from __future__ import annotations

import functools
import json
import math
import re
from typing import Any, Final, NoReturn

from foundry.content.json_walk import DEPTH_MAX, INTEGER_MAX, check_json
from foundry.content.text import Refused

# Without a match of these no integer is out of range, no number is infinite and no string holds half a surrogate
# pair, so the parser needs no callback in Python for every number, nor its result a second look.
_LONG_INTEGER: Final = re.compile(r"[0-9]{16}")
_HUGE_NUMBER: Final = re.compile(r"[eE]\+?[0-9]{3}|[0-9]{200}")
_SURROGATE: Final = re.compile(r"\\u[dD][89a-fA-F]")


def parse_json(text: str) -> object:
    """Return the value of strict JSON text.

    Refused, beyond what RFC 8259 refuses: a byte order mark, a repeated member name (compared after its escapes are
    read), NaN and Infinity, integers outside +-(2**53 - 1), numbers that overflow a double, half a surrogate pair,
    and more than ``DEPTH_MAX`` arrays and objects inside each other.

    Raises:
        Refused: At the offending token: the second of two equal names, the number, the character.
    """
    try:
        # RecursionError: only if the caller is deep in its own stack already; the walk does not recurse.
        return _parse_fast(text)
    except (ValueError, RecursionError):
        check_json(text)
    raise Refused("too deeply nested to be read here", text, 0)


def _parse_fast(text: str) -> object:
    value: object = _decoder(bool(_LONG_INTEGER.search(text)), bool(_HUGE_NUMBER.search(text))).decode(text)
    if _is_deep(value):
        raise ValueError
    if _SURROGATE.search(text):
        json.dumps(value, ensure_ascii=False).encode()  # a UnicodeEncodeError is a ValueError
    return value


@functools.cache
def _decoder(check_integers: bool, check_floats: bool) -> json.JSONDecoder:  # noqa: FBT001 - positional for the cache
    return json.JSONDecoder(
        object_pairs_hook=_members,
        parse_constant=_constant,
        parse_int=_integer if check_integers else None,
        parse_float=_float if check_floats else None,
    )


def _members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError
    return members


def _constant(_: str) -> NoReturn:
    raise ValueError


def _integer(digits: str) -> int:
    value = int(digits)
    if abs(value) > INTEGER_MAX:
        raise ValueError
    return value


def _float(digits: str) -> float:
    value = float(digits)
    if math.isinf(value):
        raise ValueError
    return value


def _is_deep(value: object) -> bool:
    """Whether more than ``DEPTH_MAX`` containers are inside each other: peels one layer off all of them at a time."""
    layer = [value] if isinstance(value, dict | list) else []
    for _ in range(DEPTH_MAX):
        if not layer:
            return False
        layer = [
            child
            for container in layer
            for child in (container.values() if type(container) is dict else container)
            if type(child) is dict or type(child) is list
        ]
    return bool(layer)
