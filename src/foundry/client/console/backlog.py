"""The lines of a console that the server has not stored yet."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from typing import Final

from google.protobuf.timestamp_pb2 import Timestamp

from coreason.foundry.v1 import run_pb2
from foundry.client.console.lines import Piece
from foundry.client.errors import LineNumberMismatch

#: What a message holds at most.
BATCH_LINES: Final = 1_000
BATCH_BYTES: Final = 256 * 1024

#: What is kept at most before writers have to wait.
KEPT_LINES: Final = 20_000
KEPT_BYTES: Final = 8 * 1024 * 1024

#: A line waits for others no longer than this, seconds, and not at all while nothing is on its way.
LINGER_S: Final = 0.02

#: What a line takes beside its text, at most: number, stream, time, and the lengths of it all.
_FRAME_BYTES: Final = 40


class Backlog:
    """Numbers lines, hands them out in batches, and keeps them until they are stored.

    Attributes:
        next_line: Number of the next line, from 1.
    """

    def __init__(self) -> None:
        self.next_line = 1
        self._sent: deque[tuple[run_pb2.LogLine, int]] = deque()
        self._waiting: deque[tuple[run_pb2.LogLine, int]] = deque()
        self._bytes = 0
        self._waiting_bytes = 0
        self._waiting_since = 0.0

    def __len__(self) -> int:
        return len(self._sent) + len(self._waiting)

    @property
    def stored(self) -> int:
        """How many lines of the console are stored for certain."""
        return self.next_line - 1 - len(self)

    @property
    def is_full(self) -> bool:
        """Whether writers have to wait."""
        return len(self) >= KEPT_LINES or self._bytes >= KEPT_BYTES

    @property
    def has_batch(self) -> bool:
        """Whether more would not fit into one message."""
        return len(self._waiting) >= BATCH_LINES or self._waiting_bytes >= BATCH_BYTES

    def add(
        self, line: Iterable[Piece], stream: run_pb2.LogStream.ValueType, time: Timestamp | None, now_s: float
    ) -> None:
        """Add a line: all its pieces, so that no other line comes between them. Args: now_s is the loop's time."""
        if not self._waiting:
            self._waiting_since = now_s
        for piece in line:
            size = piece.size + _FRAME_BYTES
            made = run_pb2.LogLine(
                number=self.next_line, stream=stream, source_time=time, text=piece.text, partial=piece.partial
            )
            self._waiting.append((made, size))
            self._waiting_bytes += size
            self._bytes += size
            self.next_line += 1

    def due_s(self, now_s: float) -> float | None:
        """Return in how many seconds to send what waits, 0 for at once; None when nothing waits."""
        if not self._waiting:
            return None
        if not self._sent or self.has_batch:
            return 0.0
        return max(0.0, self._waiting_since + LINGER_S - now_s)

    def batches(self) -> Iterator[list[run_pb2.LogLine]]:
        """Hand out everything that waits, message by message."""
        while self._waiting:
            batch: list[run_pb2.LogLine] = []
            size = 0
            while self._waiting and len(batch) < BATCH_LINES and size + self._waiting[0][1] <= BATCH_BYTES:
                line, line_bytes = self._waiting.popleft()
                self._sent.append((line, line_bytes))
                batch.append(line)
                size += line_bytes
            self._waiting_bytes -= size
            yield batch

    def begin(self, next_line: int) -> None:
        """A stream begins: every line from ``next_line`` on is to be sent, those before it are stored.

        Raises:
            LineNumberMismatch: The console does not end where this producer left it.
        """
        if self.next_line == 1 and not self:
            self.next_line = next_line  # an earlier producer has written; go on there
            return
        self.drop_before(next_line)
        self._waiting.extendleft(reversed(self._sent))
        self._waiting_bytes = self._bytes
        self._sent.clear()

    def drop_before(self, next_line: int) -> None:
        """Every line before ``next_line`` is stored.

        Raises:
            LineNumberMismatch: It names a line that was not written, or one that was stored before.
        """
        if not self.stored < next_line <= self.next_line:
            raise LineNumberMismatch(
                reason="LINE_NUMBER_MISMATCH",
                message=f"the console goes on at line {next_line}, not where it was left: somebody else writes to it",
                metadata={"expected_line": str(next_line), "line": str(self.stored + 1)},
            )
        for _ in range(next_line - 1 - self.stored):
            lines = self._sent or self._waiting  # stored, though its stream broke before it was known to be sent
            self._bytes -= lines.popleft()[1]
