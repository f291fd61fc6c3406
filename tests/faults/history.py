"""A history: the recordings of all clients of a run, read back."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from itertools import groupby
from math import inf
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

#: Refusals that are decided only after the session was found attached.
_SAID_OF_OPEN_SESSIONS = {"LOCK_LOST", "LOCK_INTERVENED", "STALE_VERSION", "INVALID_CONTENT"}
_OPERATION_KEYS = ("call", "kind", "ns", "session_id")


@dataclass(frozen=True, slots=True)
class Operation:
    """One operation of one process.

    Attributes:
        kind: ``open``, ``acquire``, ``touch``, ``save``, ``release``, ``break`` or ``leave``.
        session_id: The session that made it, empty for an operation of its own.
        call_ns: Not before this it took effect.
        return_ns: Not after this it took effect, if it did; infinite for an unknown outcome.
        outcome: ``ok``, ``refused`` or ``unknown``.
        reason: The reason of a refusal, or why the outcome is not known.
    """

    process: str
    number: int
    kind: str
    session_id: str
    call_ns: float
    return_ns: float
    outcome: str
    args: Mapping[str, Any]
    result: Mapping[str, Any] = field(default_factory=dict)
    reason: str = ""

    @property
    def ok(self) -> bool:
        """Whether it certainly took effect."""
        return self.outcome == "ok"

    @property
    def field(self) -> str:
        """The field it is about, or empty."""
        return str(self.args.get("field", ""))

    @property
    def fence(self) -> int:
        """The fencing token it was granted or showed; 0 when there is none."""
        return int(self.result.get("fence") or self.args.get("fence") or 0)

    @property
    def holder(self) -> str:
        """The session in which it took effect, where that may be another than the one it began in."""
        return str(self.result.get("session_id") or self.session_id)

    @property
    def frees(self) -> bool:
        """Whether the field is free once it took effect."""
        return self.kind in {"release", "break"} or (self.kind == "save" and not self.args.get("keep"))

    @property
    def request_id(self) -> str:
        """Its idempotency key, or empty."""
        return str(self.args.get("request_id", ""))


@dataclass(frozen=True, slots=True)
class Note:
    """Something that happened to a process: an event it received, or what it thinks of a lock."""

    process: str
    kind: str
    session_id: str
    ns: float
    data: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class History:
    """What all processes of a run recorded.

    Attributes:
        operations: By the time of their call.
        notes: By process, in the order in which they were written.
        lost: Processes that did not end by themselves, with the time of their last line.
        wall_offset_ns: What to add to the clock of the recordings to get the wall clock, as far as it was not stepped.
    """

    operations: list[Operation]
    notes: dict[str, list[Note]]
    lost: dict[str, float]
    wall_offset_ns: int = 0

    def by_field(self) -> dict[str, list[Operation]]:
        """The operations of each field, by the time of their call; repetitions of a request are one operation."""
        named = sorted((it for it in merged(self.operations) if it.field), key=lambda it: (it.field, it.call_ns))
        return {name: list(group) for name, group in groupby(named, key=lambda it: it.field)}

    def ended_sessions(self) -> dict[str, float]:
        """Sessions that may have ended, with the time from which on: the last call that the server answered in it.

        These are the sessions that were left, those that their client knows to be over, and those of lost processes.
        """
        alive: dict[str, float] = {}
        over: set[str] = set()
        for it in merged(self.operations):
            if it.holder and (it.ok or it.reason in _SAID_OF_OPEN_SESSIONS) and it.kind != "leave":
                alive[it.holder] = max(alive.get(it.holder, 0.0), it.call_ns)
            if it.kind == "leave" or it.process in self.lost:
                over |= {it.session_id, it.holder}
        for notes in self.notes.values():
            over |= {it.session_id for it in notes if it.kind == "gone" or it.process in self.lost}
        return {session_id: alive.get(session_id, 0.0) for session_id in over if session_id}


def merged(operations: Iterable[Operation]) -> list[Operation]:
    """The operations, with each request that was repeated and in the end acknowledged as one.

    It took effect between its first call and its first acknowledgement, so that is what remains.
    """
    repeated: dict[tuple[str, str, str], list[Operation]] = {}
    single: list[Operation] = []
    for it in operations:
        if it.request_id:
            repeated.setdefault((it.kind, it.field, it.request_id), []).append(it)
        else:
            single.append(it)
    for attempts in repeated.values():
        done = [it for it in attempts if it.ok]
        if not done or len(attempts) == 1:
            single += attempts
            continue
        first = min(attempts, key=lambda it: it.call_ns)
        told = min(done, key=lambda it: it.return_ns)
        single.append(
            Operation(
                process=first.process,
                number=first.number,
                kind=first.kind,
                session_id=first.session_id,
                call_ns=first.call_ns,
                return_ns=told.return_ns,
                outcome="ok",
                args=first.args,
                result=told.result,
            )
        )
    return sorted(single, key=lambda it: it.call_ns)


def read_history(paths: Iterable[Path]) -> History:
    """Read recordings.

    Raises:
        ValueError: Two of them bear the same name, or one is no recording. A last line that is cut off is forgiven: its
            process was killed while it wrote.
    """
    history = History([], {}, {})
    offsets = []
    for path in paths:
        head, *lines = _lines(path)
        process = head["process"]
        if process in history.notes:
            raise ValueError(f"two recordings of {process}")
        offsets.append(head["wall_ns"] - head["ns"])
        history.operations.extend(_operations(process, lines))
        history.notes[process] = [
            Note(process, line["note"], line["session_id"], line["ns"], line) for line in lines if "note" in line
        ]
        if not any("end" in line for line in lines):
            history.lost[process] = float(max([head["ns"], *(line["ns"] for line in lines)]))
    history.operations.sort(key=lambda it: it.call_ns)
    return History(history.operations, history.notes, history.lost, min(offsets, default=0))


def _lines(path: Path) -> list[dict[str, Any]]:
    *whole, last = path.read_bytes().split(b"\n")
    lines: list[dict[str, Any]] = [json.loads(line) for line in whole]
    if not lines or "process" not in lines[0]:
        raise ValueError(f"{path.name} is no recording: it ends with {last[:80]!r}")
    return lines


def _operations(process: str, lines: list[dict[str, Any]]) -> list[Operation]:
    returns = {line["return"]: line for line in lines if "return" in line}
    operations = []
    for line in lines:
        if "call" not in line:
            continue
        back = returns.get(line["call"], {"outcome": "unknown", "reason": "LOST"})
        operations.append(
            Operation(
                process=process,
                number=line["call"],
                kind=line["kind"],
                session_id=line["session_id"],
                call_ns=line["ns"],
                return_ns=inf if back["outcome"] == "unknown" else back["ns"],
                outcome=back["outcome"],
                args={key: value for key, value in line.items() if key not in _OPERATION_KEYS},
                result={key: value for key, value in back.items() if key not in {"return", "ns", "outcome", "reason"}},
                reason=back.get("reason", ""),
            )
        )
    return operations
