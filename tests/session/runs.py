"""Runs on session streams: commands of a producer, and what a follower saw of a console."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from coreason.foundry.v1 import run_pb2 as pb

if TYPE_CHECKING:
    from foundry.client import Foundry
    from tests.session.tab import Tab


def texts_of(*texts: str, first: int = 1) -> list[dict[str, Any]]:
    """Lines one after the other."""
    return [{"number": number, "text": text} for number, text in enumerate(texts, first)]


async def with_version(alice: Foundry, project_id: str) -> None:
    """Give a project something to test."""
    await alice.drafts.save(project_id, {"system_prompt": "You are careful.\n"}, base_version=0)


async def start(tab: Tab, **fields: Any) -> pb.Run:
    """A new run of the tab's session."""
    return (await tab.command(start_run=fields)).run_started.run


async def append(tab: Tab, run: pb.Run, *texts: str, first: int = 1) -> int:
    """Append lines; returns the number of the next."""
    command = {"run_id": run.run_id, "lines": texts_of(*texts, first=first)}
    return (await tab.command(append_run_log=command)).run_appended.next_line


async def finish(tab: Tab, run: pb.Run, **fields: Any) -> pb.Run:
    """Finish a run as passed."""
    command = {"run_id": run.run_id, "state": pb.RUN_STATE_PASSED, **fields}
    return (await tab.command(finish_run=command)).run_finished.run


def logs(tab: Tab) -> list[pb.RunLog]:
    """What came of consoles."""
    return [event.run_log for event in tab.events if event.HasField("run_log")]


def lines(tab: Tab, run: pb.Run) -> list[pb.LogLine]:
    """The lines of a run that came, in the order they came."""
    return [line for log in logs(tab) if log.run_id == run.run_id for line in log.lines]


def numbers(tab: Tab, run: pb.Run) -> list[int]:
    """Their numbers."""
    return [line.number for line in lines(tab, run)]


async def until_line(tab: Tab, run: pb.Run, number: int) -> None:
    """Wait until a line has come."""
    await tab.until(lambda event: event.run_log.run_id == run.run_id and _has(event.run_log.lines, number))


def _has(found: Iterable[pb.LogLine], number: int) -> bool:
    return any(line.number == number for line in found)


async def until_finished(tab: Tab, run: pb.Run) -> pb.Run:
    """Wait for the end of a run; nothing of it came after, and its end came once."""
    ended = await tab.until(lambda event: event.run_log.run_id == run.run_id and event.run_log.HasField("finished_run"))
    await tab.command(heartbeat={})
    of_run = [log for log in logs(tab) if log.run_id == run.run_id]
    assert [log.HasField("finished_run") for log in of_run] == [False] * (len(of_run) - 1) + [True]
    assert not ended.run_log.lines
    return ended.run_log.finished_run
