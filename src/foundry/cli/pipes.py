"""Reads what other programs write, as it comes, and cuts it into lines."""

from __future__ import annotations

import asyncio
import os
import sys
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from typing import Final

#: Bytes read at a time.
CHUNK_BYTES: Final = 64 * 1024

#: A line without end is cut here, bytes, so that it costs no more memory than that.
LINE_BYTES: Final = 1024 * 1024

#: Chunks that may wait before reading stops.
_AHEAD: Final = 16


class LineCutter:
    """Cuts bytes into lines, without their line feeds; a line longer than 1 MiB becomes several."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> list[bytes]:
        """Take in the next bytes; returns the lines that they end."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        while len(self._rest) > LINE_BYTES:
            lines.append(self._rest[:LINE_BYTES])
            self._rest = self._rest[LINE_BYTES:]
        return lines

    def end(self) -> list[bytes]:
        """Return the last line, if it has no end of its own."""
        rest, self._rest = self._rest, b""
        return [rest] if rest else []


async def stdin_chunks() -> AsyncIterator[bytes]:
    """Yield what comes from standard input, as it comes, to its end.

    It is read in a thread, since a file cannot be waited for; the thread does not keep the program from ending.
    """
    loop = asyncio.get_running_loop()
    chunks: asyncio.Queue[bytes] = asyncio.Queue()
    room = threading.Semaphore(_AHEAD)
    read = _reader()

    def pump() -> None:
        data = b"more"
        with suppress(RuntimeError):  # the loop is closed: nobody wants to know any more
            while data:
                room.acquire()
                data = read()
                loop.call_soon_threadsafe(chunks.put_nowait, data)

    threading.Thread(target=pump, daemon=True).start()
    while data := await chunks.get():
        room.release()
        yield data


def _reader() -> Callable[[], bytes]:
    """What reads standard input: without Python's buffer, whose lock would be held while the program ends."""
    try:
        number = sys.stdin.fileno()
    except OSError:  # something else took its place
        return lambda: sys.stdin.buffer.read(CHUNK_BYTES)
    return lambda: os.read(number, CHUNK_BYTES)
