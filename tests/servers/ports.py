"""TCP ports of 127.0.0.1 for servers that are started later, or again."""

from __future__ import annotations

import socket
from typing import Final

_RESERVED: Final[list[socket.socket]] = []


def reserved_port() -> int:
    """A port that nobody who asks for any port is given while this process lives.

    It stays bound here, and nobody listens on it until a server does that is told this number: servers share a bound
    port (``SO_REUSEADDR``).
    """
    kept = socket.socket()
    kept.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    kept.bind(("127.0.0.1", 0))
    _RESERVED.append(kept)
    port: int = kept.getsockname()[1]
    return port
