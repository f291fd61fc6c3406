"""Why a database cannot be used, in words for an operator.

No URL is quoted, nor what a library says of one: where a password is not percent-encoded, part of it is taken for a
port, a host or an option.
"""

from __future__ import annotations

import re
import socket
import ssl
from typing import Final

import asyncpg

_NOT_A_URL: Final = (
    "its URL is not one: postgresql://ROLE:PASSWORD@HOST:PORT/DATABASE, reserved characters in a password "
    "percent-encoded"
)
_NO_HOST: Final = "the host in its URL is not known; a reserved character in a password must be percent-encoded"
#: How asyncio writes down where it could not connect to.
_ADDRESS: Final = re.compile(r"\('(?P<host>[^']+)', (?P<port>[0-9]+)(?:, [0-9]+)*\)")
#: Beginnings of what asyncpg says of a URL without quoting it, and what is said instead.
_OF_A_URL: Final = {
    "invalid DSN: scheme": "its URL does not begin with postgresql://",
    "`sslmode` parameter": "sslmode in its URL is none of disable, allow, prefer, require, verify-ca and verify-full",
}


def reason(error: BaseException) -> str:
    """Why an attempt to use a database failed: a clause without secrets, for after "the database cannot be used"."""
    match error:
        case OSError():  # first: a certificate that is not trusted is a ValueError as well
            return _unreached(error)
        case ValueError():  # also asyncpg's own errors about a URL
            text = str(error)
            return next((said for begin, said in _OF_A_URL.items() if text.startswith(begin)), _NOT_A_URL)
        case OverflowError():
            return "the port in its URL is none; a reserved character in a password must be percent-encoded"
        case asyncpg.LockNotAvailableError() | asyncpg.QueryCanceledError():
            return "others need the same tables for longer than is waited for them"
        case _:
            return str(error) or type(error).__name__


def _unreached(error: OSError) -> str:
    """Why there is no connection."""
    match error:
        case ssl.SSLError():
            return f"TLS failed: {getattr(error, 'verify_message', '') or error.reason or 'no reason is known'}"
        case socket.gaierror():
            return _NO_HOST
        case TimeoutError():
            return "it does not answer in time"
        case FileNotFoundError():
            return "the Unix socket or the file that its URL names is not there"
        case ConnectionRefusedError():
            found = [_place(match["host"], match["port"]) for match in _ADDRESS.finditer(str(error))]
            return f"nothing answers at {' or '.join(found) or 'the host and port of its URL'}"
        case _:
            return error.strerror or str(error) or type(error).__name__


def _place(host: str, port: str) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
