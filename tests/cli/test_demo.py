"""The demo: plays the stories for real, says what it did not see, and leaves nothing behind."""

from __future__ import annotations

import hashlib
import json
import signal
import socket
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console
from rich.text import Text
from typer.testing import CliRunner

from foundry.cli import app
from foundry.cli.demo.actor import NotObservedError
from foundry.cli.demo.cast import ALICE, BOB
from foundry.cli.demo.example import find_example, load_example
from foundry.cli.demo.play import PLAY_S, Step, Story, expect, play
from foundry.cli.demo.stage import Stage
from foundry.cli.demo.story_b import digest_of
from foundry.cli.demo.transcript import Transcript
from foundry.cli.output import Output
from tests.cli.server import child


async def _good(stage: Stage) -> None:
    stage.transcript.does(ALICE, "something")
    stage.transcript.sees(BOB, "it happen")


async def _bad(_: Stage) -> None:
    expect(1 + 1 == 3, "two")


async def _worse(_: Stage) -> None:
    raise KeyError("lock")


async def _apart(_: Stage) -> None:
    raise ExceptionGroup("several", [NotObservedError("one"), TimeoutError()])


def _stage(tmp_path: Path, width: int) -> tuple[Stage, StringIO]:
    shown = StringIO()
    output = Output(as_json=False, console=Console(file=shown, width=width, highlight=False, markup=False))
    return Stage(load_example(find_example()), tmp_path, Transcript(output)), shown


@pytest.mark.parametrize(
    ("act", "why"),
    [(_bad, "two"), (_worse, "KeyError: 'lock'"), (_apart, "one; it took too long")],
)
async def test_the_first_missing_step_ends_the_play_and_all_others_are_missing_too(
    tmp_path: Path, act: object, why: str
) -> None:
    stage, shown = _stage(tmp_path, 80)
    steps = (Step("First.", _good), Step("Second.", act), Step("Third.", _good))  # type: ignore[arg-type]
    missing = await play([Story("A story", steps), Story("Another", (Step("Fourth.", _good),))], stage)
    assert missing == ["Second.", "Third.", "Fourth."]
    assert f"Second. But {why}" in shown.getvalue()
    assert "Another" not in shown.getvalue()


async def test_what_was_observed_is_ticked_off(tmp_path: Path) -> None:
    stage, shown = _stage(tmp_path, 80)
    assert await play([Story("A story", (Step("First.", _good),))], stage) == []
    stage.transcript.summary(1, [])
    text = shown.getvalue()
    assert "A story" in text
    assert "\N{CHECK MARK} First." in text
    assert "All 1 step observed." in text


@pytest.mark.parametrize(("width", "column"), [(80, 0), (160, 80)])
async def test_a_wide_terminal_gives_everybody_a_side(tmp_path: Path, width: int, column: int) -> None:
    stage, shown = _stage(tmp_path, width)
    await _good(stage)
    alice, bob = shown.getvalue().splitlines()
    assert alice.startswith("Alice A.")
    assert abs(bob.index("Bob B.") - column) <= 2
    assert all(len(line) <= width for line in (alice, bob))


@pytest.mark.parametrize(("width", "column"), [(80, 11), (160, 91)])
async def test_what_somebody_sees_is_shown_on_their_side(tmp_path: Path, width: int, column: int) -> None:
    stage, shown = _stage(tmp_path, width)
    stage.transcript.exhibit(Text("a console line", no_wrap=True), BOB)
    (line,) = shown.getvalue().splitlines()
    assert abs(line.index("a console line") - column) <= 2


def test_the_digest_of_a_console_is_computed_as_the_contract_says() -> None:
    line = {"number": 1, "stream": "LOG_STREAM_STDERR", "text": '\u20ac \x1b"', "partial": True}
    later = {"number": 2, "stream": "LOG_STREAM_STDOUT", "text": "", "source_time": "2026-11-20T12:30:05.000123Z"}
    console = (
        '{"n":1,"partial":true,"stream":"STDERR","text":"\u20ac \\u001b\\""}\n'
        '{"n":2,"stream":"STDOUT","text":"","us":1795177805000123}\n'
    )
    assert digest_of([line, later]) == hashlib.sha256(console.encode()).hexdigest()


def test_a_missing_example_is_a_wrong_command_line(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["demo", "--once", "--example", str(tmp_path)])
    assert result.exit_code == 2
    assert "--example" in result.stderr


@pytest.mark.slow
def test_every_step_of_the_stories_is_observed(tmp_path: Path) -> None:
    with child("--json", "demo", "--once", "--data-dir", str(tmp_path), limit_s=PLAY_S) as demo:
        code, out, err = demo.end()
    lines = [json.loads(line) for line in out.splitlines()]
    assert [line for line in lines if line.get("observed") is False] == []
    assert lines[-1] == {"observed": 35, "not_observed": []}
    assert (code, err) == (0, "")


@pytest.mark.slow
def test_without_once_the_server_goes_on_until_ctrl_c(tmp_path: Path) -> None:
    with child("--json", "demo", "--data-dir", str(tmp_path), limit_s=PLAY_S) as demo:
        invitation = demo.until('"target"')
        host, _, port = invitation["target"].rpartition(":")
        socket.create_connection((host, int(port)), timeout=5).close()
        env = {"FOUNDRY_TARGET": invitation["target"], "FOUNDRY_TOKEN": ""}
        token = CliRunner().invoke(app, ["token", "--data-dir", invitation["data_dir"], "--subject", "alice"])
        joined = CliRunner().invoke(
            app,
            ["--json", "project", "get", invitation["project_id"]],
            env={**env, "FOUNDRY_TOKEN": token.stdout.strip()},
        )
        joined_project = json.loads(joined.stdout)
        assert (joined_project["head_version"], joined_project["state"]) == (1, "PROJECT_STATE_ACTIVE")
        code, _, err = demo.end(signal.SIGINT)
    assert (code, err) == (0, "")
    with pytest.raises(OSError, match="refused"):
        socket.create_connection((host, int(port)), timeout=5).close()


@pytest.mark.slow
def test_interrupted_it_stops_what_it_started(tmp_path: Path) -> None:
    with child("--json", "demo", "--once", "--data-dir", str(tmp_path), limit_s=PLAY_S) as demo:
        demo.until("Alice and Bob open the project")
        code, _, _ = demo.end(signal.SIGTERM)
    assert code == 1
    with child("serve", "--dev", "--data-dir", str(tmp_path), "--listen", "127.0.0.1:0") as server:
        ready = server.line()  # nobody else has the data directory
        assert ready.startswith("foundry ready on "), server.end()[2]
