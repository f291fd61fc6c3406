"""A client in another language, made from the plain proto files: the Node example plays Story A."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import subprocess
from asyncio.subprocess import PIPE
from importlib.metadata import distribution
from pathlib import Path
from typing import Any, Final

import pytest

from tests.stories.log_replay import verified_replay
from tests.stories.processes import PATIENCE_S, Finished, ServerProcess

_REPOSITORY: Final = Path(__file__).parents[2]
_INSTALL_S: Final = 180.0

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not (shutil.which("node") and shutil.which("npm")), reason="node and npm are not installed on this machine"
    ),
]


@pytest.fixture(scope="module")
def example(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the example with its dependencies. Not in the tree, where another worker may be doing the same."""
    folder = tmp_path_factory.mktemp("node") / "example"
    shutil.copytree(_REPOSITORY / "examples/node", folder, ignore=shutil.ignore_patterns("node_modules"))
    npm = ["npm", "install", "--prefer-offline", "--no-audit", "--no-fund", "--no-progress"]
    installed = subprocess.run(npm, cwd=folder, capture_output=True, text=True, timeout=_INSTALL_S, check=False)
    assert installed.returncode == 0, installed.stderr
    return folder


async def test_a_client_in_another_language_plays_the_story(served: ServerProcess, example: Path) -> None:
    """All it has is the proto files, and it sees what our own clients see: who holds the pen, and every entry.

    It reads frames of many entries, comes back to its session after a lost connection, and verifies the log by itself.
    """
    tokens = await asyncio.gather(served.token("alice", "Alice A."), served.token("bob", "Bob B."))
    played = await _play(example, served.address, *tokens)
    assert played.exit_code == 0, played.err
    seen: list[dict[str, Any]] = [json.loads(line) for line in played.out.splitlines()]

    assert [(step["by"], step["step"]) for step in seen] == [
        ("alice", "project_created"),
        ("alice", "session_opened"),
        ("bob", "session_opened"),
        ("alice", "lock_granted"),
        ("bob", "lock_seen"),
        ("bob", "lock_refused"),
        ("alice", "saved"),
        ("bob", "draft_seen"),
        ("bob", "unlock_seen"),
        ("bob", "lock_granted"),
        ("bob", "draft_read"),
        ("bob", "connection_lost"),
        ("alice", "saved"),
        ("bob", "session_resumed"),
        ("alice", "caught_up"),
        ("bob", "caught_up"),
        ("bob", "saved"),
        ("alice", "left"),
        ("bob", "left"),
        ("alice", "log_verified"),
    ]
    facts = {(step["by"], step["step"]): step for step in seen}
    assert facts["bob", "lock_seen"]["holder"] == "Alice A."
    assert facts["bob", "lock_refused"]["reason"] == "LOCK_HELD"
    assert facts["bob", "lock_refused"]["metadata"]["holder_name"] == "Alice A."
    for who in ("alice", "bob"):
        caught_up = facts[who, "caught_up"]
        assert caught_up["entries"] == int(caught_up["to"]) - int(caught_up["from"]) + 1
        assert caught_up["most_in_a_frame"] > 1

    async with await served.connect("alice") as owner:
        replayed = await verified_replay(owner, facts["alice", "project_created"]["project_id"])
    assert [entry.actor.subject for entry in replayed.drafts] == ["alice", "alice", "bob"]
    assert replayed.resumed == [facts["bob", "session_resumed"]["session_id"]]
    assert not replayed.held
    assert not replayed.sessions


async def test_a_client_in_another_language_says_why_it_failed(served: ServerProcess, example: Path) -> None:
    """In one line of its own, with the reason of the contract where there is one, and within its deadline."""
    token = await served.token("alice")
    refused = await _play(example, served.address, "not.a.token", token)
    await served.terminate()
    alone = await _play(example, served.address, token, token)

    for failed, reason in ((refused, "TOKEN_INVALID: "), (alone, "UNAVAILABLE: ")):
        assert (failed.exit_code, failed.out) == (1, "")
        assert failed.err.startswith(reason)
        assert len(failed.err.splitlines()) == 1


async def _play(example: Path, target: str, token_a: str, token_b: str) -> Finished:
    """Run the example's story to its end. None of this process's own settings of foundry is passed on."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("FOUNDRY_")}
    setting = {
        "FOUNDRY_TARGET": target,
        "FOUNDRY_TOKEN_A": token_a,
        "FOUNDRY_TOKEN_B": token_b,
        "FOUNDRY_PROTOS": str(_REPOSITORY / "protos"),
        # From where `make proto-deps` copies them.
        "FOUNDRY_GOOGLEAPIS": str(distribution("googleapis-common-protos").locate_file("")),
    }
    process = await asyncio.create_subprocess_exec(
        "node", "story_a.mjs", "--json", cwd=example, env={**inherited, **setting}, stdout=PIPE, stderr=PIPE
    )
    try:
        async with asyncio.timeout(PATIENCE_S):
            out, err = await process.communicate()
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()
    assert process.returncode is not None
    return Finished(process.returncode, out.decode(), err.decode())
