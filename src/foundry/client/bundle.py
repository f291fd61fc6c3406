"""The final bundle of a project on its way to a file."""

from __future__ import annotations

import contextlib
import os
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from coreason.foundry.v1 import export_pb2 as pb
from foundry.client.errors import Internal


@dataclass(frozen=True, slots=True)
class SavedBundle:
    """A bundle that was written.

    Attributes:
        path: The file.
        bundle: What it holds.
    """

    path: Path
    bundle: pb.Bundle


class AsyncBundle(AsyncIterator[bytes]):
    """A bundle as it comes: iterate over its bytes, in pieces of at most 256 KiB.

    Attributes:
        bundle: What it is: freeze, file name, size and the hash of its manifest.
    """

    def __init__(self, bundle: pb.Bundle, answers: AsyncIterator[pb.ExportForPublisherResponse]) -> None:
        self.bundle = bundle
        self._answers = answers

    async def __anext__(self) -> bytes:
        return (await anext(self._answers)).data


class SyncBundle(Iterator[bytes]):
    """A bundle as it comes, for threads; as ``AsyncBundle``."""

    def __init__(self, bundle: pb.Bundle, answers: Iterator[pb.ExportForPublisherResponse]) -> None:
        self.bundle = bundle
        self._answers = answers

    def __next__(self) -> bytes:
        return next(self._answers).data


def bundle_in(first: pb.ExportForPublisherResponse | None) -> pb.Bundle:
    """Return what the first answer says of the bundle.

    Raises:
        Internal: It does not.
    """
    if first is None or not first.HasField("bundle"):
        raise Internal(message="the server did not say what bundle it sends")
    return first.bundle


class IncomingFile:
    """A file that is being written.

    Attributes:
        target: Where it will be.
        size: How many bytes there are.
    """

    def __init__(
        self, target: Path, file: BinaryIO, expected: int, progress: Callable[[int, int], None] | None
    ) -> None:
        self.target = target
        self.size = 0
        self._file = file
        self._expected = expected
        self._progress = progress

    def add(self, data: bytes) -> None:
        """Write the next bytes."""
        self._file.write(data)
        self.size += len(data)
        if self._progress is not None:
            self._progress(self.size, self._expected)


@contextlib.contextmanager
def incoming(
    bundle: pb.Bundle, path: Path | str, progress: Callable[[int, int], None] | None = None
) -> Iterator[IncomingFile]:
    """Write a bundle beside its place for the length of a block, and put it there if it is whole.

    Args:
        bundle: What is to come.
        path: The file, or a directory to write it to under its own name.
        progress: Told after each piece how many bytes there are, and how many there will be.

    Raises:
        Internal: It came with another size than announced.
        OSError: It cannot be written.
    """
    target = Path(path)
    if target.is_dir():
        target /= Path(bundle.file_name).name  # its name alone: a server does not choose directories here
    part = target.with_name(f".{target.name}.{uuid.uuid4().hex[:8]}.part")
    try:
        with part.open("xb") as file:
            written = IncomingFile(target, file, bundle.size, progress)
            yield written
            if written.size != bundle.size:
                raise Internal(message=f"the bundle has {bundle.size} bytes, and {written.size} came")
            file.flush()
            os.fsync(file.fileno())
        part.replace(target)
    finally:
        part.unlink(missing_ok=True)
