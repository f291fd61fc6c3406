"""``foundry watch`` as a process of its own, against a real server, with real runs."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from coreason.foundry.v1 import audit_pb2, project_pb2
from foundry.cli.live import beside
from foundry.cli.remarks import RemarkReader, Remarks
from tests.cli.server import Child, Server, child, terminal
from tests.support import PATIENCE_S, RunningServer, project_with, running_server

PROMPT = "You are an oncologist.\nExclude minors.\nBe brief.\n"
HARNESS = (
    "import sys\n"
    "print('case 1: eligible', flush=True)\n"
    "print('no ECG', file=sys.stderr, flush=True)\n"
    "sys.stdin.readline()\n"
)


@pytest.fixture
def saved(server: Server, project: str) -> str:
    """A project with a version to watch."""
    server.ask("alice", "draft", "save", project, f"system_prompt={PROMPT}")
    return project


def heard(watcher: Child, wanted: str) -> list[str]:
    """Return the next lines of a watcher, up to the first that contains a text."""
    lines = []
    while line := watcher.line():
        lines.append(line)
        if wanted in line:
            return lines
    raise AssertionError(f"it ended without {wanted}: {lines}")


def test_where_nothing_can_be_redrawn_everything_is_a_line(server: Server, saved: str) -> None:
    add = ("comment", "add", saved, "Why not 16?", "--field", "system_prompt", "--lines", "2")
    before = server.ask("bob", *add)
    env = {**server.env("carol"), "TERM": "dumb"}
    with child("watch", saved, env=env) as watcher:
        assert heard(watcher, "[comment]")[-1].endswith("Bob X. on system_prompt:2: Why not 16?")
        server.ask("alice", "task", "add", saved, "Ask legal", "--assign", "bob")
        assert heard(watcher, "[ ]")[-1].endswith("Alice X. for bob: Ask legal")
        server.ask("alice", "comment", "add", saved, "Because.", "--reply-to", before["comment_id"])
        assert heard(watcher, "[reply]")[-1].endswith("Alice X.: Because.")
        server.ask("alice", "comment", "resolve", saved, before["comment_id"])
        assert "Bob X. on system_prompt:2" in heard(watcher, "[resolved]")[-1]
        code, rest, err = watcher.end(signal.SIGINT)
    assert (code, err) == (0, "")
    assert "\x1b" not in rest


def test_a_run_scrolls_by_and_who_comes_late_has_every_line(server: Server, saved: str) -> None:
    """On a watcher from before, on one that joins in the middle, and for scripts."""
    exec_ = ("run", "exec", saved, "--harness", "assay", "--", sys.executable, "-c", HARNESS)
    with child("watch", saved, env=server.env("carol")) as early:
        heard(early, "version 1")
        with child(*exec_, env=server.env("alice")) as running:
            # Its standard input is at its end at once: it prints two lines and ends.
            code, out, _ = running.end()
        assert (code, out) == (0, "case 1: eligible\n")
        seen = heard(early, " passed after ")
    (run,) = server.lines("carol", "run", "list", saved)
    name = run["run_id"][-6:]
    assert {line for line in seen if line.startswith(f"run {name}")} == {
        f"run {name} | case 1: eligible",
        f"run {name} ! no ECG",
        seen[-1],
    }
    assert seen[-1].endswith(", 2 lines")

    run_id = server.ask("alice", "run", "start", saved, "--harness", "assay")["run_id"]
    lines = "".join(f"step {number}\n" for number in range(1, 501))
    feed = ("run", "log", saved, run_id)
    assert server.run("alice", *feed, stdin=lines).exit_code == 0
    with (
        child("watch", saved, env=server.env("carol")) as late,
        child("--json", "watch", saved, env=server.env("bob")) as script,
    ):
        assert heard(late, "is running")[-1] == f"run {run_id[-6:]}: assay on version 1 by Alice X. is running"
        assert [it["run_id"] for it in script.object()["state"]["runs"]] == [run_id]
        texts = [
            line.rpartition("| ")[2] for line in heard(late, "step 500") if line.startswith(f"run {run_id[-6:]} |")
        ]
        assert texts == lines.splitlines()
        assert server.run("alice", *feed, stdin="step 501\n").exit_code == 0
        heard(late, "step 501")
        server.ask("alice", "run", "finish", saved, run_id, "--failed")
        assert heard(late, "failed after")[-1].endswith(", 501 lines")
        numbers: list[int] = []
        while True:
            log = script.until('"run_log"')["run_log"]
            numbers += [line["number"] for line in log["lines"]]
            if "finished_run" in log:
                break
    assert numbers == list(range(1, 502))
    assert log["finished_run"]["state"] == "RUN_STATE_FAILED"


@pytest.mark.parametrize(("columns", "lines"), [("80", "24"), ("120", "40"), ("200", "50")])
def test_on_a_terminal_the_picture_follows(server: Server, saved: str, columns: str, lines: str) -> None:
    run_id = server.ask("alice", "run", "start", saved, "--harness", "assay 0.4")["run_id"]
    server.ask("bob", "task", "add", saved, "Ask legal")
    env = {**server.env("carol"), "TERM": "xterm", "COLUMNS": columns, "LINES": lines, "NO_COLOR": "1"}
    with terminal("watch", saved, env=env) as screen:
        screen.until("assay 0.4")
        server.run("alice", "run", "log", saved, run_id, stdin="\x1b]0;evil\x07reasoning\n")
        screen.until("\\x1b]0;evil\\x07reasoning")
        screen.until("[ ] Ask legal")
        server.ask("bob", "comment", "add", saved, "Why not 16?", "--field", "system_prompt", "--lines", "2")
        screen.until("Why not 16?")
        server.ask("alice", "run", "finish", saved, run_id, "--passed")
        screen.until("passed")
        server.ask("alice", "freeze", saved, "--version", "1")
        screen.until(" FROZEN ")
        assert screen.end(signal.SIGINT) == 0


def test_what_was_before_is_on_the_screen(server: Server, saved: str) -> None:
    run_id = server.ask("alice", "run", "start", saved)["run_id"]
    server.run("alice", "run", "log", saved, run_id, stdin="an old line\n")
    server.ask("alice", "run", "finish", saved, run_id, "--failed")
    env = {**server.env("carol"), "TERM": "xterm", "COLUMNS": "120", "LINES": "40"}
    with terminal("watch", saved, env=env) as screen:
        screen.until("an old line")
        assert screen.end(signal.SIGTERM) == 0


def test_a_terminal_is_left_as_it_was(server: Server, saved: str) -> None:
    """The alternate screen, the cursor and the wrapping of lines come back."""
    env = {**server.env("carol"), "TERM": "xterm", "COLUMNS": "80", "LINES": "24"}
    with terminal("watch", saved, env=env) as screen:
        screen.until("\x1b[?7l")
        screen.until("only you are here")
        screen.process.send_signal(signal.SIGINT)
        screen.until("\x1b[?7h")
        assert screen.end() == 0


# --- reading what people say -----------------------------------------------------------------------------------------


@pytest.fixture
async def here(tmp_path: Path) -> AsyncIterator[RunningServer]:
    """A server in this process."""
    async with running_server(tmp_path / "data") as running:
        yield running


async def test_what_cannot_be_read_now_is_read_later(here: RunningServer) -> None:
    """A refused read ends nothing: as soon as it is possible everything is there."""
    async with here.connect("alice") as alice, here.connect("carol") as carol:
        project_id = await project_with(alice)
        said = await alice.comments.create(project_id, "Can you read this?")
        remarks, changed = Remarks(), asyncio.Event()
        reader = RemarkReader(carol, project_id, remarks, changed=changed.set, again_s=0.01)
        async with asyncio.timeout(PATIENCE_S), beside(reader.run()):
            entry = audit_pb2.LogEntry(comment_created=audit_pb2.CommentCreated(comment_id=said.comment_id))
            reader.hear(entry)
            await alice.projects.set_member(project_id, "carol", project_pb2.ROLE_VIEWER)
            await changed.wait()
    assert [it.comment_id for it in remarks.notes()] == [said.comment_id]


async def test_comments_follow_the_log(here: RunningServer) -> None:
    """What is new is fetched, what is gone is forgotten, and after a save each stands where its lines are."""
    async with here.connect("alice") as alice:
        project_id = await project_with(alice)
        await alice.drafts.save(project_id, {"system_prompt": PROMPT}, base_version=0)
        place = await alice.comments.create(project_id, "16?", field="system_prompt", version=1, start_line=2)
        remarks, changed = Remarks(), asyncio.Event()
        reader = RemarkReader(alice, project_id, remarks, changed=changed.set)
        session = alice.session(project_id)
        news = session.events()

        async def until(event: str) -> None:
            async for it in news:
                reader.hear(it.entry)
                if it.entry.WhichOneof("payload") == event:
                    break
            changed.clear()
            await changed.wait()

        async with session, asyncio.timeout(PATIENCE_S), beside(reader.run()):
            await changed.wait()
            assert [it.resolved_anchor.start_line for it in remarks.notes()] == [2]
            task = await alice.comments.create(project_id, "Ask legal", task=True)
            await until("comment_created")
            assert [it.text for it in remarks.tasks()] == ["Ask legal"]
            await alice.drafts.save(project_id, {"system_prompt": f"Hello.\n{PROMPT}"}, base_version=1)
            await until("draft_created")
            assert [it.resolved_anchor.start_line for it in remarks.notes()] == [3]
            await alice.comments.resolve(project_id, place.comment_id)
            await until("comment_state_changed")
            assert remarks.notes() == []
            await alice.comments.delete(project_id, task.comment_id)
            await until("comment_deleted")
            assert remarks.tasks() == []


async def test_what_runs_beside_a_block_ends_with_it_and_ends_it_when_it_fails() -> None:
    ended = asyncio.Event()

    async def for_ever() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    async with beside(for_ever()):
        await asyncio.sleep(0)
    assert ended.is_set()

    async def fails() -> None:
        raise KeyError("why")

    with pytest.raises(KeyError, match="why"):
        async with asyncio.timeout(PATIENCE_S), beside(fails(), for_ever()):
            await asyncio.Event().wait()


def test_the_json_of_a_watch_has_no_secret(server: Server, saved: str) -> None:
    with child("--json", "watch", saved, env=server.env("carol")) as watcher:
        watcher.until('"state"')
        server.ask("alice", "draft", "save", saved, "system_prompt=x")
        created = watcher.until('"draft_created"')
        assert created["entry"]["actor"]["subject"] == "alice"
        code, out, _ = watcher.end(signal.SIGINT)
    assert code == 0
    assert not any({"opened", "tick", "caught_up"} & json.loads(line).keys() for line in out.splitlines())
