"""The digest of a console, made chunk by chunk."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


class ConsoleDigest:
    """The digest of a console as far as it was read.

    Attributes:
        epoch: The history of the log in which the run stood before anything of it was read; 0 for none.
        line_count: Lines that were read.
        reaches: Lines that were there to be read.
    """

    def __init__(self, epoch: int = 0) -> None:
        self.epoch = epoch
        self.sha256 = hashlib.sha256()
        self.line_count = self.reaches = 0

    def add(self, first: int, count: int, data: bytes) -> None:
        """Go on with a chunk. One that does not follow stands in another history, and is left out."""
        if first == self.line_count + 1:
            self.sha256.update(data)
            self.line_count += count

    def followed_by(self, chunks: Iterable[tuple[int, int, bytes]]) -> ConsoleDigest:
        """The digest with these chunks behind what was read. This one stays as it is."""
        whole = ConsoleDigest(self.epoch)
        whole.sha256, whole.line_count = self.sha256.copy(), self.line_count
        for chunk in chunks:
            whole.add(*chunk)
        return whole
