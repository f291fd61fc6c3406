"""``foundry run`` and ``foundry logs`` against a real server, with real programs at both ends of the pipes."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
import typer

from foundry.cli.pipes import LINE_BYTES, LineCutter
from foundry.cli.run import parse_result
from tests.cli.server import Server, child, terminal

_LIMIT_S = 60.0


@pytest.fixture
def saved(server: Server, project: str) -> str:
    """A project with a version to test."""
    server.ask("alice", "draft", "save", project, "system_prompt=You are an oncologist.\n")
    return project


@contextmanager
def fed(server: Server, who: str, *args: str) -> Iterator[subprocess.Popen[bytes]]:
    """A command whose standard input the test writes."""
    command = [sys.executable, "-m", "foundry", *args]
    pipe = subprocess.PIPE
    process = subprocess.Popen(
        command, stdin=pipe, stdout=pipe, stderr=pipe, env={**os.environ, **server.env(who)}, start_new_session=True
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()


def start(server: Server, project: str, *args: str) -> str:
    run_id: str = server.ask("alice", "run", "start", project, *args)["run_id"]
    return run_id


def test_a_run_is_started_filled_finished_and_shown(server: Server, saved: str) -> None:
    exported = server.ask("alice", "export", saved)
    label = ("--label", "area=oncology", "--attempt", "2")
    started = server.run(
        "alice", "run", "start", saved, "--harness", "pytest", "--sha256", exported["content_sha256"], *label
    )
    run_id = started.stdout.strip()
    assert started.stderr == "a run of version 1 was started\n"
    text = b"one\r\ntwo\n\nbad \xff byte\nno end"
    with fed(server, "alice", "--json", "run", "log", saved, run_id) as process:
        out, _ = process.communicate(text, _LIMIT_S)
    assert json.loads(out) == {"run_id": run_id, "appended": 5, "line_count": 5}
    with fed(server, "alice", "run", "log", saved, run_id, "--stderr") as process:
        out, _ = process.communicate(b"oh\n", _LIMIT_S)
    assert out == b"1 line appended, 6 in all\n"

    assert server.run("carol", "logs", saved).stdout_bytes == b"one\r\ntwo\n\nbad \\xff byte\nno end\noh\n"
    assert server.run("carol", "logs", saved, run_id, "--from", "5").stdout_bytes == b"no end\noh\n"
    assert server.run("carol", "logs", saved, "-n", "1").stdout_bytes == b"oh\n"
    assert server.run("carol", "logs", saved, "-n", "0").stdout_bytes == b""
    (line,) = server.lines("carol", "logs", saved, "-n", "1")
    assert (line["number"], line["stream"], line["text"]) == (6, "LOG_STREAM_STDERR", "oh")
    stamped = server.run("carol", "logs", saved, "-n", "1", "--timestamps").stdout
    assert stamped == line["source_time"].rstrip("Z").replace("T", " ").ljust(26, "0") + " oh\n"

    finish = ("run", "finish", saved, run_id, "--failed", "--lines", "6")
    theirs = server.run("bob", "--json", *finish)
    assert theirs.exit_code == 6
    assert json.loads(theirs.stderr)["reason"] == "NOT_YOURS"
    shorter = server.run("alice", "--json", "run", "finish", saved, run_id, "--passed", "--lines", "7")
    assert json.loads(shorter.stderr)["reason"] == "LINE_NUMBER_MISMATCH"
    finished = server.ask("alice", *finish, "--result", "accuracy=0.91:pass", "--result", "dose:50mg=:fail")
    assert finished["state"] == "RUN_STATE_FAILED"
    assert finished["results"] == [
        {"name": "accuracy", "passed": True, "value": "0.91"},
        {"name": "dose:50mg", "passed": False, "value": ""},
    ]
    shown = server.run("carol", "run", "show", saved, run_id).stdout
    assert "area=oncology" in shown
    assert finished["log_sha256"] in shown
    assert "failed  dose:50mg" in shown
    (listed,) = server.lines("carol", "run", "list", saved, "--state", "failed", "--version", "1")
    assert listed["attempt"] == 2
    assert server.lines("carol", "run", "list", saved, "--state", "running") == []
    log = " ".join(server.run("carol", "log", saved).stdout.split())
    assert f"run_started version 1 with pytest, attempt 2: {run_id}" in log
    assert f"run_finished failed, 6 lines: {run_id}" in log


def test_another_content_is_refused(server: Server, saved: str) -> None:
    refused = server.run("alice", "--json", "run", "start", saved, "--sha256", "0" * 64)
    assert refused.exit_code == 4
    assert json.loads(refused.stderr)["reason"] == "CONTENT_MISMATCH"


def test_lines_are_followed_as_they_come_until_the_run_is_finished(server: Server, saved: str) -> None:
    run_id = start(server, saved)
    with (
        child("logs", saved, "--follow", env=server.env("carol")) as follower,
        fed(server, "alice", "run", "log", saved, run_id) as writer,
    ):
        assert writer.stdin is not None
        for text in ("first", "second"):  # each is seen before the next is written
            writer.stdin.write(f"{text}\n".encode())
            writer.stdin.flush()
            assert follower.line() == text
        writer.communicate(b"last", _LIMIT_S)
        assert follower.line() == "last"
        server.ask("alice", "run", "finish", saved, run_id, "--passed")
        code, rest, err = follower.end()
    assert (code, rest) == (0, "")
    assert err.startswith(f"run {run_id} passed after ")
    assert err.endswith(", 3 lines\n")


def test_following_and_feeding_stop_when_told_to(server: Server, saved: str) -> None:
    """Also while nothing comes: neither waits for a line that may never be written."""
    run_id = start(server, saved)
    with (
        child("logs", saved, "-f", env=server.env("carol")) as follower,
        fed(server, "alice", "run", "log", saved, run_id) as writer,
    ):
        assert writer.stdin is not None
        writer.stdin.write(b"a line\nhalf a")
        writer.stdin.flush()
        assert follower.line() == "a line"
        writer.send_signal(signal.SIGTERM)
        assert writer.wait(_LIMIT_S) == 0
        code, _, err = follower.end(signal.SIGINT)
    assert (code, err) == (0, "")


def test_a_cancelled_run_takes_no_more(server: Server, saved: str) -> None:
    run_id = server.ask("bob", "run", "start", saved)["run_id"]
    cancelled = server.ask("alice", "run", "cancel", saved, run_id, "--reason", "wrong version")
    assert cancelled["state"] == "RUN_STATE_CANCELLED"
    with fed(server, "bob", "--json", "run", "log", saved, run_id) as writer:
        _, err = writer.communicate(b"too late\n", _LIMIT_S)
    assert writer.returncode == 1
    assert json.loads(err)["reason"] == "RUN_FINISHED"
    none = server.run("carol", "--json", "logs", server.ask("carol", "project", "create", "No runs")["project_id"])
    assert none.exit_code == 1
    assert json.loads(none.stderr)["reason"] == "RESOURCE_NOT_FOUND"


# --- commands as runs ----------------------------------------------------------------------------------------------

TALK = "import sys; print('out', flush=True); print('err', file=sys.stderr); sys.exit(int(sys.argv[1]))"


@pytest.mark.parametrize(("code", "state"), [(0, "RUN_STATE_PASSED"), (3, "RUN_STATE_FAILED")])
def test_a_command_is_a_run_and_its_exit_code_the_verdict(server: Server, saved: str, code: int, state: str) -> None:
    with child("run", "exec", saved, "--", sys.executable, "-c", TALK, str(code), env=server.env("alice")) as running:
        ended, out, err = running.end()
    assert ended == code
    assert out == "out\n"
    assert "err\n" in err
    (run,) = server.lines("carol", "run", "list", saved)
    assert (run["state"], run["line_count"], run["harness"]) == (state, 2, Path(sys.executable).name)
    streams = {line["text"]: line["stream"] for line in server.lines("carol", "logs", saved)}
    assert streams == {"out": "LOG_STREAM_STDOUT", "err": "LOG_STREAM_STDERR"}


def test_for_scripts_a_command_is_told_event_by_event(server: Server, saved: str) -> None:
    with child("--json", "run", "exec", saved, "--", "echo", "--json", env=server.env("alice")) as running:
        code, out, err = running.end()
    started, line, finished = (json.loads(text) for text in out.splitlines())
    assert (code, err) == (0, "")
    assert line == {"event": "line", "stream": "STDOUT", "text": "--json"}
    assert (started["event"], finished["event"]) == ("started", "finished")
    assert finished["run"]["run_id"] == started["run"]["run_id"]
    assert finished["run"]["line_count"] == 1


def test_ctrl_c_ends_the_command_and_its_run(server: Server, saved: str) -> None:
    sleeper = "import os, time; print(os.getpid(), flush=True); time.sleep(600)"
    with child("run", "exec", saved, "--", sys.executable, "-c", sleeper, env=server.env("alice")) as running:
        pid = int(running.line())
        code, _, _ = running.end(signal.SIGINT)
    assert code == 130
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    (run,) = server.lines("carol", "run", "list", saved)
    assert (run["state"], run["line_count"]) == ("RUN_STATE_ERRORED", 1)


def test_a_cancelled_run_ends_its_command(server: Server, saved: str) -> None:
    talker = "import sys\nfor line in iter(sys.stdin.readline, ''): print(line, end='', flush=True)"
    with fed(server, "bob", "run", "exec", saved, "--", sys.executable, "-c", talker) as running:
        assert running.stdin is not None
        assert running.stdout is not None
        running.stdin.write(b"hello\n")
        running.stdin.flush()
        assert running.stdout.readline() == b"hello\n"
        (run,) = server.lines("alice", "run", "list", saved, "--state", "running")
        server.ask("alice", "run", "cancel", saved, run["run_id"])
        with suppress(BrokenPipeError):  # it may have ended already
            running.stdin.write(b"is anybody there?\n")
            running.stdin.flush()
        assert running.wait(_LIMIT_S) == 1
        assert running.stderr is not None
        assert b"foundry: " in running.stderr.read()


def test_a_command_that_is_not_there_starts_no_run(server: Server, saved: str) -> None:
    missing = server.run("alice", "run", "exec", saved, "--", "no-such-command")
    assert missing.exit_code == 2
    assert missing.stderr == "foundry: there is no command 'no-such-command'\n"
    assert server.run("alice", "run", "list", saved).stdout == "There is no such run yet.\n"


def test_much_output_comes_through_whole(server: Server, saved: str, tmp_path: Path) -> None:
    """Ten thousand lines, one of them longer than a line of the contract may be."""
    numbers = "".join(f"{number} \u20ac\n" for number in range(10_000))
    much = (numbers + "\u20ac" * 100_000 + "\n" + numbers).encode()
    (tmp_path / "much").write_bytes(much)
    with child("run", "exec", saved, "--", "cat", str(tmp_path / "much"), env=server.env("alice")) as running:
        code, out, _ = running.end()
    assert code == 0
    assert hashlib.sha256(out.encode()).digest() == hashlib.sha256(much).digest()
    assert server.run("carol", "logs", saved).stdout_bytes == much
    (run,) = server.lines("carol", "run", "list", saved)
    assert run["line_count"] == 20_000 + 5


def test_on_a_terminal_a_console_cannot_do_harm(server: Server, saved: str) -> None:
    run_id = start(server, saved)
    with fed(server, "alice", "run", "log", saved, run_id) as writer:
        writer.communicate(b"\x1b[32mgreen\x1b[0m \x1b]0;title\x07 \x1b[2J\rend\r\n", _LIMIT_S)
    env = {**server.env("carol"), "TERM": "xterm"}
    with terminal("logs", saved, env=env) as screen:
        screen.until("\x1b[32mgreen\x1b[0m \\x1b]0;title\\x07 \\x1b[2J\\rend\x1b[0m")


# --- what is read from pipes and arguments -------------------------------------------------------------------------


def test_bytes_are_cut_into_lines_wherever_they_were_torn() -> None:
    cutter = LineCutter()
    lines = [line for data in (b"a", b"b\nc\n", b"\n", b"d") for line in cutter.feed(data)]
    assert [*lines, *cutter.end()] == [b"ab", b"c", b"", b"d"]
    assert cutter.end() == []


def test_a_line_without_end_costs_no_more_than_its_bound() -> None:
    cutter = LineCutter()
    lines = [line for _ in range(40) for line in cutter.feed(b"x" * (LINE_BYTES // 16))]
    assert [len(line) for line in lines] == [LINE_BYTES] * 2
    assert len(cutter.end()[0]) == LINE_BYTES // 2


@pytest.mark.parametrize("text", ["accuracy", "accuracy=1", "accuracy=1:maybe", "=1:pass", ":pass"])
def test_other_results_are_none(text: str) -> None:
    with pytest.raises(typer.BadParameter, match="NAME=VALUE"):
        parse_result(text)
