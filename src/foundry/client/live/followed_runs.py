"""How far a session has seen the consoles of the runs it follows."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice
from typing import Final

from coreason.foundry.v1 import run_pb2, session_command_pb2

#: Most places in consoles that ``open`` may name.
_NAMED: Final = 100


class FollowedRuns:
    """The last line seen of each run whose end was not. Only the session uses it."""

    def __init__(self, seen: Iterable[session_command_pb2.RunPosition] = (), epoch: int = 0) -> None:
        """Args: seen is what an earlier session has seen, in the history ``epoch`` of the log, 0 if not known."""
        self._last_line = {run.run_id: run.line for run in seen}
        self._epoch = epoch

    def begin(self, epoch: int) -> None:
        """Begin a stream in this history of the log; of another one than before every line is new."""
        if self._epoch not in {0, epoch}:
            self._last_line = dict.fromkeys(self._last_line, 0)
        self._epoch = epoch

    def started(self, run_id: str) -> None:
        """Remember a run from its start on: its lines may come after a break only."""
        self._last_line.setdefault(run_id, 0)

    def take(self, log: run_pb2.RunLog) -> bool:
        """Take lines in, and take those that were seen before out of them; returns whether anything is left."""
        last = self._last_line.get(log.run_id, 0)
        old = sum(line.number <= last for line in log.lines)
        if old:
            del log.lines[:old]
        if log.HasField("finished_run"):
            self._last_line.pop(log.run_id, None)
            return True
        if log.lines:
            self._last_line[log.run_id] = log.lines[-1].number
        return bool(log.lines)

    def seen(self) -> list[session_command_pb2.RunPosition]:
        """Return what to name to the server to go on there: the last lines, of the newest runs if there are too many.

        Of runs that are not named it sends every line once more, which ``take`` takes out again.
        """
        newest = islice(reversed(self._last_line.items()), _NAMED)
        epoch = self._epoch
        return [session_command_pb2.RunPosition(run_id=run_id, line=line, epoch=epoch) for run_id, line in newest]

    def as_dict(self) -> dict[str, int]:
        """Return the last line seen by run."""
        return dict(self._last_line)
