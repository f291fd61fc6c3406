"""Canonical JSON (RFC 8785, "JCS") and the hash everything is named by."""

from __future__ import annotations

import hashlib
import json
from typing import Final

import rfc8785

from foundry.content.json_walk import INTEGER_MAX

# For the values that is_plain lets through, this writes what RFC 8785 demands, three times faster than rfc8785:
# the standard library escapes the same characters the same way, and ASCII names sort alike in code points and UTF-16.
_ENCODER: Final = json.JSONEncoder(ensure_ascii=False, sort_keys=True, separators=(",", ":"), check_circular=False)


def canonical_json(value: object) -> bytes:
    """Return the one UTF-8 JSON text of a value that RFC 8785 allows.

    Args:
        value: None, bool, int within +-(2**53 - 1), finite float, str, and lists, tuples and dicts (with str keys) of
            these; not circular. Cheapest without floats, tuples and names outside ASCII.

    Raises:
        ValueError: Anything else: other types, larger integers, NaN, Infinity, half a surrogate pair in a string,
            nesting beyond the interpreter's stack.
    """
    try:
        if is_plain(value):
            return _ENCODER.encode(value).encode()
        return rfc8785.dumps(value)  # type: ignore[arg-type]  # it checks the type of every part itself
    except RecursionError:
        raise ValueError("nested too deeply for canonical JSON") from None


def canonical_record(value: object) -> bytes:
    """``canonical_json`` of a value whose form the caller knows: ASCII names, integers within +-(2**53 - 1), no floats.

    It leaves out the look at every part, which for a log entry costs as much as writing it.

    Raises:
        ValueError: Half a surrogate pair in a string.
    """
    return _ENCODER.encode(value).encode()


def sha256_hex(data: bytes) -> str:
    """Return the SHA-256 of bytes, 64 lower-case hex digits."""
    return hashlib.sha256(data).hexdigest()


def is_plain(value: object) -> bool:
    """Whether a value has the form that ``canonical_record`` asks for."""
    if value is None or isinstance(value, str | bool):
        return True
    if isinstance(value, int):
        return -INTEGER_MAX <= value <= INTEGER_MAX
    if type(value) is dict:
        for key, member in value.items():  # noqa: SIM110 - every log entry passes here; a generator takes twice as long
            if not (isinstance(key, str) and key.isascii() and is_plain(member)):
                return False
        return True
    return type(value) is list and all(map(is_plain, value))
