"""Results of a run are checked where they are reported, not where the run would lose its end for them."""

from __future__ import annotations

import re

import pytest

from coreason.foundry.v1 import run_pb2
from foundry.client import Foundry
from foundry.client.console.running import RunningRun
from tests.support import RunningServer, project_with


@pytest.mark.parametrize(
    ("name", "value", "problem"),
    [("", "", "a name"), (" ", "", "a name"), ("é" * 101, "", "200 bytes"), ("x", "é" * 101, "200 bytes")],
)
def test_a_result_keeps_its_bounds(name: str, value: str, problem: str) -> None:
    """In bytes, not in characters."""
    running = RunningRun(run_pb2.Run(), None)  # type: ignore[arg-type]  # no console is written to
    with pytest.raises(ValueError, match=re.escape(problem)):
        running.result(name, passed=True, value=value)
    assert running.results == []


def test_there_are_two_hundred_results_each_once() -> None:
    running = RunningRun(run_pb2.Run(), None)  # type: ignore[arg-type]  # no console is written to
    for number in range(200):
        running.result(f"test {number}", passed=True)
    with pytest.raises(ValueError, match="at most 200"):
        running.result("one more", passed=True)
    del running.results[100:]
    with pytest.raises(ValueError, match="already"):
        running.result("test 7", passed=False)
    assert running.final_state == run_pb2.RUN_STATE_PASSED


async def test_a_block_that_reports_twice_ends_its_run(server: RunningServer) -> None:
    """As ERRORED, with what came before: a run that nobody ends would keep its project from being frozen."""
    async with server.connect("rita") as rita:
        project_id = await project_with(rita)
        await rita.drafts.save(project_id, {"notes": "one"}, base_version=0)
        with pytest.raises(ValueError, match="already"):
            await _report_twice(rita, project_id)
        (run,) = [run async for run in rita.runs.list(project_id)]
        assert (run.state, [result.name for result in run.results]) == (run_pb2.RUN_STATE_ERRORED, ["same"])


async def _report_twice(rita: Foundry, project_id: str) -> None:
    async with rita.runs.running(project_id) as running:
        running.result("same", passed=True)
        running.result("same", passed=True)
