"""The three stories one after the other in one project, from an empty one to its release: real processes only."""

from __future__ import annotations

import asyncio
import hashlib
import json
import subprocess
import tarfile
from typing import TYPE_CHECKING

from coreason.foundry.v1 import comment_pb2
from tests.stories.log_replay import verified_replay
from tests.stories.processes import PATIENCE_S, Player, ServerProcess, run
from tests.stories.test_story_b import LINES, digest, texts
from tests.stories.test_story_c import example_is_json
from tests.support import project_with

if TYPE_CHECKING:
    from pathlib import Path

PROMPT = "system_prompt"
GOOD = 'Answer in this form.\n\n```json\n{\n  "verdict": "eligible",\n  "missing": []\n}\n```\n'
BROKEN = GOOD.replace('"eligible",', '"eligible"')


async def _locked_edit(alice: Player, bob: Player) -> None:
    """Story A: Alice has the pen, Bob is told so by name, and gets it when she has saved."""
    await alice.acquire(PROMPT)
    seen = await bob.sees_entry("lock_acquired", field=PROMPT, fencing_token=1)
    assert seen.actor.display_name == "Alice A."
    denied = await bob.do("acquire", field=PROMPT)
    assert (denied["reason"], denied["metadata"]["holder_name"]) == ("LOCK_HELD", "Alice A.")
    assert (await alice.save(PROMPT, "Draft.\n")).draft.version_number == 1
    await bob.sees_entry("lock_released", field=PROMPT, fencing_token=1)
    await bob.acquire(PROMPT)
    assert (await bob.save(PROMPT, GOOD)).draft.version_number == 2


async def _live_observation(alice: Player, bob: Player) -> str:
    """Story B: Alice's test scrolls on Bob's screen; returns the digest of its console."""
    started = await alice.start_run("assay")
    await bob.sees_entry("run_started", run_id=started.run_id)
    await alice.write(LINES)
    finished = await alice.finish_run()
    lines, end = await bob.console(started.run_id)
    assert texts(lines) == LINES
    assert end == finished
    assert digest(lines) == finished.log_sha256
    return finished.log_sha256


async def _rollback(server: ServerProcess, sre: str, project_id: str, alice: Player) -> None:
    """Story C: Alice's save breaks the example, the SRE sees how in the diff, and reverts; the mistake stays."""
    await alice.acquire(PROMPT)
    assert (await alice.save(PROMPT, BROKEN)).draft.version_number == 3
    where = ("--target", server.address, "--token", sre)
    diff = await run(*where, "draft", "diff", project_id, "2", "3")
    assert '-  "verdict": "eligible",\n+  "verdict": "eligible"\n' in diff.out
    reverted = await run(*where, "draft", "revert", project_id, "2", "--reason", "3 broke the example")
    assert reverted.exit_code == 0, reverted.err
    await alice.sees_entry("draft_created", version_number=4, source_version=2)


async def test_a_project_from_its_first_word_to_its_release(served: ServerProcess, tmp_path: Path) -> None:
    """A, B and C by programs of their own; then it is discussed, frozen, handed over, and nobody writes any more."""
    names = {"alice": "Alice A.", "bob": "Bob B.", "carol": "Carol C."}
    tokens = dict(zip(names, await asyncio.gather(*(served.token(*who) for who in names.items())), strict=True))
    async with await served.connect("alice", "Alice A.") as owner:
        project_id = await project_with(owner, "bob", "carol")
        async with (
            Player(served, tokens["alice"], project_id) as alice,
            Player(served, tokens["bob"], project_id, follow_runs=True) as bob,
        ):
            await _locked_edit(alice, bob)
            console_sha256 = await _live_observation(alice, bob)
            await _rollback(served, tokens["carol"], project_id, alice)

            comment = await owner.comments.create(project_id, "Is this all?", version=4, field=PROMPT, start_line=4)
            await bob.sees_entry("comment_created", comment_id=comment.comment_id)
            await owner.comments.resolve(project_id, comment.comment_id)

            await bob.acquire(PROMPT)
            frozen = await owner.exports.freeze(project_id, 4, reason="Release 1")
            await bob.sees_entry("project_frozen", fingerprint=frozen.freeze.fingerprint)
            assert (await bob.do("save", field=PROMPT, text="Too late.\n"))["reason"] in {"PROJECT_FROZEN", "LOCK_LOST"}
            assert (await alice.do("start_run", harness="late"))["reason"] == "PROJECT_FROZEN"

        bundle = tmp_path / "bundle.tar"
        await owner.exports.save_bundle(project_id, bundle)
        files = await asyncio.to_thread(_unpacked, bundle, tmp_path / "bundle")
        assert (files / "content" / PROMPT).read_text("utf-8") == GOOD
        assert example_is_json(GOOD)
        assert hashlib.sha256((files / "release.json").read_bytes()).hexdigest() == frozen.freeze.fingerprint
        consoles = [hashlib.sha256(path.read_bytes()).hexdigest() for path in files.glob("runs/*.log.jsonl")]
        assert consoles == [console_sha256]

        replayed = await verified_replay(owner, project_id)
        assert (replayed.head_version, replayed.frozen is not None) == (4, True)
        assert replayed.comments == {comment.comment_id: comment_pb2.COMMENT_STATE_RESOLVED}
        assert json.loads((files / "release.json").read_bytes())["version_number"] == 4


def _unpacked(bundle: Path, directory: Path) -> Path:
    """The one directory of a bundle; `sha256sum -c` finds all of it, and all of it good."""
    with tarfile.open(bundle) as archive:
        archive.extractall(directory, filter="data")
    (files,) = directory.iterdir()
    command = ("sha256sum", "--check", "--strict", "SHA256SUMS")
    check = subprocess.run(command, cwd=files, capture_output=True, text=True, timeout=PATIENCE_S, check=False)
    assert check.returncode == 0, check.stderr
    listed = {line.removesuffix(": OK") for line in check.stdout.splitlines()}
    assert listed == {str(path.relative_to(files)) for path in files.rglob("*") if path.is_file()} - {"SHA256SUMS"}
    return files
