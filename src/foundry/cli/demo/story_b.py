"""Story B, the live observation: one person's test run scrolls on everybody's screen, and nobody misses a line."""

from __future__ import annotations

import asyncio
import hashlib
import json
import sys
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any, Final

from rich.text import Text

from foundry.cli.demo.actor import Actor
from foundry.cli.demo.cast import ALICE, BOB, SRE
from foundry.cli.demo.errand import Errand
from foundry.cli.demo.example import BENCHMARK
from foundry.cli.demo.play import Story, expect, step
from foundry.cli.demo.stage import Stage
from foundry.cli.words import line_count, plain

_VERSION: Final = 3
_CASES: Final = 6
_SAM_COMES_AFTER: Final = 3
_HARNESS: Final = "oncology benchmark"


@step("Alice says \u201cwatch this\u201d and starts the benchmark: on exactly the version that everybody sees.")
async def _alice_starts(stage: Stage) -> None:
    back = asyncio.create_task(stage.enter(BOB))  # he starts his program again
    payload = stage.data_dir / "payload.json"
    stage.transcript.does(ALICE, "foundry export PROJECT -o payload.json")
    exported = (await stage.run(ALICE, "export", stage.project_id, "-o", str(payload))).result
    expect(exported["version_number"] == _VERSION, f"it is version {exported['version_number']}")
    stage.transcript.does(ALICE, "foundry run exec PROJECT -- python benchmark.py payload.json")
    harness = (sys.executable, str(stage.example.folder / BENCHMARK), str(payload), "--ask")
    about = ("--harness", _HARNESS, "--sha256", exported["content_sha256"])
    stage.errand = await stage.begin(ALICE, "run", "exec", stage.project_id, *about, "--", *harness)
    started = (await stage.errand.next())["run"]
    expect(started["content_sha256"] == exported["content_sha256"], "it tests something else")
    stage.run_id = started["run_id"]
    await back


@step("Bob sees who runs what, and the first case line by line while the run goes on.")
async def _bob_watches(stage: Stage) -> None:
    bob = stage.actor(BOB)
    entry = await bob.sees("run_started", run_id=stage.run_id)
    run = entry["run_started"]
    expect(entry["actor"]["subject"] == ALICE.subject, f"{entry['actor']['subject']} runs it")
    expect(run["version_number"] == _VERSION, f"it is of version {run['version_number']}")
    who = f"{entry['actor']['display_name']} runs {run['harness']} on version {run['version_number']}"
    stage.transcript.sees(BOB, f"{who}, live")
    shown = await _cases_come(stage, bob, 0, 1)
    expect(shown > 0, "no line came")
    expect(not bob.was_told("run_finished"), "the run was over before he saw it")


@step("The agent's reasoning scrolls on his screen as it happens.")
async def _it_scrolls(stage: Stage) -> None:
    before = len(stage.actor(BOB).lines(stage.run_id))
    after = await _cases_come(stage, stage.actor(BOB), before, _SAM_COMES_AFTER - 1)
    expect(after > before, "no more lines came")


@step("Sam joins in the middle of the run, and has every line from the first one.")
async def _sam_joins(stage: Stage) -> None:
    bobs = stage.actor(BOB).lines(stage.run_id)
    stage.transcript.does(SRE, "opens the project")
    sam = await stage.enter(SRE)
    lines = await sam.sees_lines(stage.run_id, len(bobs))
    expect(lines == bobs, "he has other lines than Bob")
    expect(not sam.was_told("run_finished"), "the run was over when he came")
    stage.transcript.sees(SRE, f"lines 1 to {len(lines)}, and the run goes on")


@step("The run comes to its end: it has passed, and its console is sealed.")
async def _it_passes(stage: Stage) -> None:
    bob = stage.actor(BOB)
    errand = _errand(stage)
    await _cases_come(stage, bob, len(bob.lines(stage.run_id)), _CASES - _SAM_COMES_AFTER)
    code, said = await errand.end()
    run = await bob.sees_end(stage.run_id)
    stage.transcript.exhibit(_console(bob.lines(stage.run_id)[-1:]), BOB)
    expect(code == 0, f"the harness ended with {code}")
    expect(run["state"] == "RUN_STATE_PASSED", f"its state is {run['state']}")
    expect(said[-1]["event"] == "finished", f"the last word is {said[-1]}")
    finished = (await bob.sees("run_finished", run_id=stage.run_id))["run_finished"]
    sealed = (finished["line_count"], finished["log_sha256"])
    expect(sealed == (run["line_count"], run["log_sha256"]), "the log seals another console")
    stage.transcript.sees(BOB, f"PASSED, {line_count(run['line_count'])}, sealed {run['log_sha256'][:12]}")


@step("Bob and Sam have the same lines in the same order, to the byte: their digest is the one in the log.")
async def _the_same_for_all(stage: Stage) -> None:
    bob, sam = stage.actor(BOB), stage.actor(SRE)
    run = await sam.sees_end(stage.run_id)
    for actor in (bob, sam):
        lines = actor.lines(stage.run_id)
        numbers = [line["number"] for line in lines]
        expect(numbers == list(range(1, run["line_count"] + 1)), f"{actor.person.name} has lines {numbers}")
        expect(digest_of(lines) == run["log_sha256"], f"{actor.person.name}'s lines have another digest")
        stage.transcript.sees(actor.person, f"{line_count(len(lines))}, digest {digest_of(lines)[:12]}")
    expect(bob.lines(stage.run_id) == sam.lines(stage.run_id), "they differ")


async def _cases_come(stage: Stage, actor: Actor, shown: int, cases: int) -> int:
    """Let the harness judge some cases, and show their lines as they reach somebody; return how many there are now."""
    errand = _errand(stage)
    for _ in range(cases):
        await errand.type("next")
        while True:
            said = await errand.next()
            lines = await actor.sees_lines(stage.run_id, shown + 1)
            stage.transcript.exhibit(_console(lines[shown : shown + 1]), actor.person)
            expect(lines[shown]["text"] == said["text"], f"line {shown + 1} reads {lines[shown]['text']!r}")
            shown += 1
            if said["text"].startswith("  -> "):
                break
    return shown


def _errand(stage: Stage) -> Errand:
    expect(stage.errand is not None, "nothing runs")
    assert stage.errand is not None  # noqa: S101 - as was just expected
    return stage.errand


def _console(lines: Iterable[dict[str, Any]]) -> Text:
    """Return lines as they look in the window in which somebody watches a run."""
    shown = [Text.assemble((f"{line['number']:>3}  ", "dim"), plain(line["text"])) for line in lines]
    window = Text("\n").join(shown)
    window.no_wrap, window.overflow = True, "ellipsis"
    return window


def digest_of(lines: Iterable[dict[str, Any]]) -> str:
    """Return the digest of a console, computed as ``Run.log_sha256`` says, from lines as they came."""
    digest = hashlib.sha256()
    for line in lines:
        fields: dict[str, Any] = {
            "n": line["number"],
            "stream": line["stream"].removeprefix("LOG_STREAM_"),
            "text": line["text"],
        }
        if line.get("partial"):
            fields["partial"] = True
        if "source_time" in line:
            time = datetime.fromisoformat(line["source_time"]) - datetime(1970, 1, 1, tzinfo=UTC)
            fields["us"] = (time.days * 86400 + time.seconds) * 1_000_000 + time.microseconds
        # RFC 8785, for objects with nothing but small integers, booleans and strings
        encoded = json.dumps(fields, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
        digest.update(encoded.encode() + b"\n")
    return digest.hexdigest()


STORY_B = Story(
    "Story B: the live observation",
    (_alice_starts, _bob_watches, _it_scrolls, _sam_joins, _it_passes, _the_same_for_all),
)
