"""A tar archive of the same bytes whenever it is made of the same files: POSIX pax, fixed times, modes and owners."""

from __future__ import annotations

import tarfile
from typing import Final

_BLOCK: Final = 512
#: Two blocks of zeros end an archive.
END: Final = bytes(2 * _BLOCK)


def header(path: str, size_bytes: int, time_s: int) -> bytes:
    """What stands before the content of a file.

    Args:
        path: Name with ``/`` between its parts; any length.
        time_s: Time of the file, seconds since the Unix epoch.
    """
    info = tarfile.TarInfo(path)
    info.size, info.mtime, info.mode = size_bytes, time_s, 0o644
    return info.tobuf(tarfile.PAX_FORMAT)


def padding(size_bytes: int) -> bytes:
    """What stands behind the content of a file."""
    return bytes(-size_bytes % _BLOCK)
