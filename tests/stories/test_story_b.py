"""Story B, the live observation: one program tests, two watch it scroll, and a third that comes late misses nothing."""

from __future__ import annotations

import asyncio
import hashlib
import json
from typing import TYPE_CHECKING

from coreason.foundry.v1 import run_pb2
from tests.stories.log_replay import verified_replay
from tests.stories.processes import Player
from tests.support import project_with

if TYPE_CHECKING:
    from tests.stories.processes import ServerProcess

#: What a console says, and what must come through as it is: colours, progress bars, other scripts, nothing at all.
WORDS = [
    "case {n}: 68-year-old woman, stage IIIB, ECOG 1",
    "  \x1b[2mreasoning\x1b[0m: the protocol excludes prior immunotherapy (5.2.3), she had none → eligible",
    "  73%|███████▎  | {n}/1000 [00:12<00:04]\r  74%|███████▍  | {n}/1000",
    "  Bewertung: „geeignet“, 信頼度 0.{n}",
    "",
    '  {{"verdict": "eligible", "missing": []}}',
]
LINES = [WORDS[n % len(WORDS)].format(n=n) for n in range(1_000)]


def texts(lines: list[run_pb2.LogLine]) -> list[str]:
    """What lines say; they must be numbered from 1 without gaps."""
    assert [line.number for line in lines] == list(range(1, len(lines) + 1))
    return [line.text for line in lines]


def digest(lines: list[run_pb2.LogLine]) -> str:
    """The digest of a console, made as the contract describes it."""
    hashed = hashlib.sha256()
    for line in lines:
        record = {"n": line.number, "stream": run_pb2.LogStream.Name(line.stream).removeprefix("LOG_STREAM_")}
        at_us = line.source_time.seconds * 1_000_000 + line.source_time.nanos // 1_000
        record |= {"text": line.text, "us": at_us}
        hashed.update(json.dumps(record, ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode() + b"\n")
    return hashed.hexdigest()


async def test_a_test_run_scrolls_on_every_screen(served: ServerProcess, elsewhere: ServerProcess) -> None:
    """1,000 lines from one process reach two others in order, and a third that joins in the middle from the first on.

    Byte-identical on all three, and sealed: everybody can recompute the digest that the log holds.
    """
    tokens = await asyncio.gather(*(served.token(who) for who in ("assay", "alice", "bob", "carol")))
    async with await served.connect("alice") as owner:
        project_id = await project_with(owner, "assay", "bob", "carol")
        await owner.drafts.save(project_id, {"system_prompt": "You are an expert oncologist.\n"}, base_version=0)
        async with (
            Player(served, tokens[0], project_id) as assay,
            Player(served, tokens[1], project_id, follow_runs=True) as alice,
            Player(elsewhere, tokens[2], project_id, follow_runs=True) as bob,
        ):
            run = await assay.start_run("assay 0.4")
            started = await bob.sees_entry("run_started", run_id=run.run_id)
            assert (started.actor.subject, started.run_started.harness) == ("assay", "assay 0.4")
            await assay.write(LINES[:400])
            await bob.sees(lambda event: bool(event.run_log.lines), "the first lines")
            writing = asyncio.create_task(assay.write(LINES[400:]))
            async with Player(elsewhere, tokens[3], project_id, follow_runs=True) as carol:
                await writing
                finished = await assay.finish_run()
                seen = [await watcher.console(run.run_id) for watcher in (alice, bob, carol)]

        for lines, end in seen:
            assert texts(lines) == LINES
            assert end == finished
            assert digest(lines) == finished.log_sha256
        assert (finished.line_count, finished.state) == (len(LINES), run_pb2.RUN_STATE_PASSED)
        (sealed,) = (await verified_replay(owner, project_id)).sealed
        assert (sealed.run_id, sealed.log_sha256, sealed.line_count) == (run.run_id, finished.log_sha256, len(LINES))
        read = [line async for line in owner.runs.read_log(project_id, run.run_id)]
        assert digest(read) == finished.log_sha256
