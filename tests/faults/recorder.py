"""What a client does, written down as it does it, so that a checker can judge it afterwards.

A recording is a file of JSON lines: a head, then for each operation a line before it is made and one when it returned,
and between them notes. Every line is one ``write`` to a file that is not buffered, so the recording of a process that
is killed ends with what it was doing: an operation without a return.

    {"process": "c1", "pid": 4711, "ns": 1, "wall_ns": 2}
    {"call": 1, "kind": "acquire", "ns": 10, "session_id": "...", "field": "notes"}
    {"return": 1, "ns": 20, "outcome": "ok", "fence": 3}
    {"note": "entry", "ns": 21, "session_id": "...", "sequence": 7, "leaf": "..."}
    {"end": true, "ns": 30}

``ns`` is ``CLOCK_BOOTTIME``: it is the same in all processes of a machine, and neither clock steps nor suspend stop it.
"""

from __future__ import annotations

import json
import os
import time
from typing import TYPE_CHECKING, Any, Self

import grpc

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType

    from foundry.client import FoundryError

#: Codes that do not tell whether the operation took effect.
_INDEFINITE = {
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.DEADLINE_EXCEEDED,
    grpc.StatusCode.CANCELLED,
    grpc.StatusCode.UNKNOWN,
    grpc.StatusCode.INTERNAL,
}


def now_ns() -> int:
    """Nanoseconds since the machine started, the time it slept included."""
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME)


class Recorder:
    """Writes the recording of one process.

    Args:
        path: A file that does not exist yet.
        process: Name of the process, the only one in a history.
    """

    def __init__(self, path: Path, process: str) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o600)
        self._calls = 0
        self._write(process=process, pid=os.getpid(), ns=now_ns(), wall_ns=time.time_ns())

    def call(self, kind: str, *, session_id: str = "", since_ns: int | None = None, **args: Any) -> Call:
        """Write down that an operation is about to be made.

        Args:
            kind: ``open``, ``acquire``, ``touch``, ``save``, ``release``, ``break`` or ``leave``.
            session_id: The session that makes it, or empty.
            since_ns: When it began, for one that is learnt of afterwards; None for now.
            args: What it asks for: ``field``, ``fence``, ``base_version``, ``request_id`` and the like.
        """
        self._calls += 1
        ns = now_ns() if since_ns is None else since_ns
        self._write(call=self._calls, kind=kind, ns=ns, session_id=session_id, **args)
        return Call(self, self._calls)

    def note(self, kind: str, *, session_id: str = "", **data: Any) -> None:
        """Write down what happened to the process: an event that came, a lock it no longer believes in."""
        self._write(note=kind, ns=now_ns(), session_id=session_id, **data)

    def returned(self, number: int, outcome: str, **result: Any) -> None:
        """Write down how an operation ended; ``Call`` does."""
        self._write(**{"return": number}, ns=now_ns(), outcome=outcome, **result)

    def end(self) -> None:
        """Write down that the process ends by itself. A recording without this is of a lost process."""
        self._write(end=True, ns=now_ns())
        self.close()

    def close(self) -> None:
        """Close the file, and say nothing."""
        os.close(self._file)

    def _write(self, **line: Any) -> None:
        os.write(self._file, json.dumps(line).encode() + b"\n")


class Call:
    """An operation. As a context, it is ``unknown`` when the block ends without having said more.

    Attributes:
        outcome: ``ok``, ``refused`` or ``unknown``; empty while it is under way.
        reason: Why it was refused or is not known.
    """

    def __init__(self, recorder: Recorder, number: int) -> None:
        self._recorder = recorder
        self._number = number
        self.outcome = ""
        self.reason = ""

    def ok(self, **result: Any) -> None:
        """It took effect; the result says as what."""
        self._return("ok", **result)

    def refused(self, reason: str, **result: Any) -> None:
        """It certainly did not take effect, nor will it."""
        self._return("refused", reason=reason, **result)

    def unknown(self, reason: str) -> None:
        """It may have taken effect, or may yet, or never will."""
        self._return("unknown", reason=reason)

    def failed(self, error: FoundryError, *, certain: bool = True, **result: Any) -> None:
        """It raised: a refusal where the error is definite, else unknown.

        Args:
            error: What it raised.
            certain: False where even a refusal may be about the connection and not about the operation.
            result: What else is known of a refusal, such as the ``session_id`` in which it was judged.
        """
        if certain and error.reason and error.code not in _INDEFINITE:
            self.refused(error.reason, metadata=error.metadata, **result)
        else:
            self.unknown(error.reason or error.code.name)

    def _return(self, outcome: str, **result: Any) -> None:
        if self.outcome:
            raise RuntimeError(f"operation {self._number} returned twice")
        self.outcome, self.reason = outcome, result.get("reason", "")
        self._recorder.returned(self._number, outcome, **result)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if not self.outcome:
            self.unknown(kind.__name__ if kind else "not said")
