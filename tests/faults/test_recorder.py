"""Recordings: what was called is written before it is done, and read back as it was."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from math import inf
from typing import TYPE_CHECKING

import grpc
import pytest

from foundry.client import DeadlineExceeded, Internal, LockHeld, SessionClosed, Unavailable
from tests.faults.history import merged, read_history
from tests.faults.recorder import Recorder, now_ns
from tests.stories.processes import Child

if TYPE_CHECKING:
    from pathlib import Path

    from foundry.client import FoundryError
    from tests.faults.recorder import Call

_DYING = """
import sys
from pathlib import Path
from tests.faults.recorder import Recorder

recorder = Recorder(Path(sys.argv[1]), "dying")
recorder.call("acquire", session_id="s", field="notes").ok(fence=1)
recorder.call("save", session_id="s", field="notes", fence=1, request_id="r")
print("saving", flush=True)
sys.stdin.read()
"""


async def test_the_recording_of_a_killed_process_ends_with_what_it_was_doing(tmp_path: Path) -> None:
    """SIGKILL between call and return leaves an operation of unknown outcome that stays open for ever."""
    path = tmp_path / "dying.jsonl"
    async with Child("-c", _DYING, str(path), log=tmp_path / "dying.log") as child:
        await child.line(lambda line: line == "saving", "the save")
        await child.kill()
    history = read_history([path])
    acquired, saving = history.operations
    assert (acquired.outcome, acquired.fence, acquired.field) == ("ok", 1, "notes")
    assert (saving.outcome, saving.return_ns, saving.reason) == ("unknown", inf, "LOST")
    assert history.lost == {"dying": saving.call_ns}
    assert history.ended_sessions() == {"s": acquired.call_ns}


async def test_times_of_two_processes_can_be_compared(tmp_path: Path) -> None:
    """What one process did before it told another is earlier in the recordings of both."""
    path = tmp_path / "dying.jsonl"
    before = now_ns()
    async with Child("-c", _DYING, str(path), log=tmp_path / "dying.log") as child:
        await child.line(lambda line: line == "saving", "the save")
        after = now_ns()
    assert all(before < it.call_ns < after for it in read_history([path]).operations)
    assert sys.platform == "linux", "the clock that all processes share is Linux's"


def test_a_line_that_was_cut_off_is_forgiven(tmp_path: Path) -> None:
    """A process may die in the middle of a line; nothing before it is lost."""
    recorder = Recorder(tmp_path / "c", "c")
    recorder.call("open").ok(session_id="s")
    recorder.close()
    with (tmp_path / "c").open("ab") as file:
        file.write(b'{"call": 2, "ki')
    assert [it.kind for it in read_history([tmp_path / "c"]).operations] == ["open"]


def test_what_is_no_recording_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").write_bytes(b"")
    with pytest.raises(ValueError, match="no recording"):
        read_history([tmp_path / "empty"])


def test_two_recordings_of_one_process_are_refused(tmp_path: Path) -> None:
    """Their operations would be mixed up."""
    for name in "ab":
        Recorder(tmp_path / name, "same").end()
    with pytest.raises(ValueError, match="two recordings of same"):
        read_history([tmp_path / "a", tmp_path / "b"])


def test_a_process_that_ended_by_itself_is_not_lost(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path / "c", "c")
    recorder.note("gone", session_id="s")
    recorder.end()
    history = read_history([tmp_path / "c"])
    assert not history.lost
    assert [it.kind for it in history.notes["c"]] == ["gone"]
    assert history.ended_sessions() == {"s": 0.0}


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (LockHeld(reason="LOCK_HELD"), "refused"),
        (SessionClosed(reason="SESSION_CLOSED"), "refused"),
        (Unavailable(reason="STORE_UNAVAILABLE"), "unknown"),
        (Unavailable(grpc.StatusCode.CANCELLED, "SOMETHING"), "unknown"),
        (DeadlineExceeded(message="no answer"), "unknown"),
        (Internal(reason="INTERNAL"), "unknown"),
        (SessionClosed(message="a code without a reason is the transport's"), "unknown"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else value,
)
def test_only_a_definite_refusal_is_one(error: FoundryError, outcome: str, tmp_path: Path) -> None:
    """Whatever may have taken effect all the same is unknown."""
    recorder = Recorder(tmp_path / "c", "c")
    recorder.call("save", session_id="s", field="f").failed(error)
    recorder.end()
    assert [it.outcome for it in read_history([tmp_path / "c"]).operations] == [outcome]


async def test_an_operation_that_is_cancelled_is_unknown(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path / "c", "c")
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(0):
            with recorder.call("save", session_id="s", field="f"):
                await asyncio.Event().wait()
    recorder.end()
    (saved,) = read_history([tmp_path / "c"]).operations
    assert (saved.outcome, saved.reason) == ("unknown", "CancelledError")


def test_an_operation_returns_once(tmp_path: Path) -> None:
    call = Recorder(tmp_path / "c", "c").call("open")
    call.ok()
    with pytest.raises(RuntimeError, match="twice"):
        call.unknown("why")


def test_a_request_that_was_repeated_until_it_was_acknowledged_is_one_operation(tmp_path: Path) -> None:
    """It took effect between its first call and its first acknowledgement; a request without one stays as it is."""
    recorder = Recorder(tmp_path / "c", "c")

    def call(request_id: str) -> Call:
        return recorder.call("save", session_id="s", field="f", fence=1, request_id=request_id)

    call("told").unknown("LOST")
    call("told").ok()
    call("told").ok()
    call("untold").unknown("LOST")
    call("untold").refused("LOCK_LOST")
    recorder.end()
    raw = read_history([tmp_path / "c"]).operations
    told, *untold = merged(raw)
    assert (told.call_ns, told.return_ns, told.outcome) == (raw[0].call_ns, raw[1].return_ns, "ok")
    assert [it.outcome for it in untold] == ["unknown", "refused"]
