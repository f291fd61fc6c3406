"""The command line against a real server process: what people see, what scripts get, and the exit codes."""

from __future__ import annotations

import json
import signal
from pathlib import Path

from typer.testing import CliRunner

from foundry.cli import app
from tests.cli.server import Server, child, terminal


def test_health_needs_no_token(server: Server) -> None:
    result = CliRunner().invoke(app, ["--target", server.target, "--json", "health"])
    assert json.loads(result.stdout) == {"target": server.target, "status": "SERVING"}


def test_a_project_from_birth_to_archive_and_back(server: Server) -> None:
    name = "From birth to archive"
    born = server.ask("alice", "project", "create", name, "--label", "area=oncology", "--rule", "agent_access=edit")
    assert born["labels"] == {"area": "oncology"}
    assert born["policy"]["agent_access"] == "AGENT_ACCESS_EDIT"
    assert born["head_version"] == 0

    update = ("project", "update", name)
    changed = server.ask("alice", *update, "--description", "About.", "--label", "a=b", "--rule", "require_reason=yes")
    assert changed["labels"] == {"area": "oncology", "a": "b"}
    assert changed["policy"]["agent_access"] == "AGENT_ACCESS_EDIT"
    assert server.run("alice", *update, "--description", "No reason.").exit_code == 1
    assert server.run("alice", *update, "--name", "New", "--etag", born["etag"], "--reason", "r").exit_code == 4

    assert server.run("alice", "project", "archive", name, "--reason", "done").exit_code == 0
    refused = server.run("alice", "draft", "save", name, "system_prompt=x", "--reason", "r")
    assert refused.exit_code == 5
    assert refused.stderr == "foundry: the project is archived\n"
    listed = [project["name"] for project in server.lines("alice", "project", "list", "--name", "birth to arch")]
    assert listed == []
    assert server.ask("alice", "project", "list", "--archived", "--name", "birth to arch")["name"] == name
    assert "archive_time" not in server.ask("alice", "project", "unarchive", name, "--reason", "again")


def test_names_stand_for_ids_only_when_they_are_clear(server: Server) -> None:
    for _ in range(2):
        server.ask("alice", "project", "create", "Twin")
    twice = server.run("alice", "--json", "project", "get", "twin")
    assert twice.exit_code == 1
    assert json.loads(twice.stderr)["reason"] == "PROJECT_NAME_AMBIGUOUS"
    none = server.run("alice", "project", "get", "Twins")
    assert none.exit_code == 1
    assert none.stderr == "foundry: of your projects none has the name 'Twins': `foundry project list` shows them\n"


def test_members(server: Server, project: str) -> None:
    members = {it["subject"]: it["role"] for it in server.lines("alice", "project", "member", "list", project)}
    assert members == {"alice": "ROLE_OWNER", "bob": "ROLE_EDITOR", "carol": "ROLE_VIEWER"}
    assert server.run("alice", "project", "member", "set", project, "carol", "auditor").stdout == (
        "carol is now an auditor\n"
    )
    assert server.run("alice", "project", "member", "remove", project, "carol").exit_code == 0
    assert server.run("carol", "project", "get", project).exit_code == 6
    assert "your role  editor" in server.run("bob", "project", "get", project).stdout


def test_who_may_not_is_told_so(server: Server, project: str) -> None:
    refused = server.run("carol", "--json", "draft", "save", project, "system_prompt=x")
    assert refused.exit_code == 6
    assert refused.stdout == ""
    error = json.loads(refused.stderr)
    assert error["reason"] == "ROLE_TOO_LOW"
    assert error["metadata"]["required_role"] == "EDITOR"
    assert server.run("mallory", "project", "get", project).exit_code == 6
    nobody = CliRunner().invoke(app, ["--target", server.target, "--token", "x", "project", "list"])
    assert nobody.exit_code == 6
    assert server.run("bob", "log", "instance").exit_code == 6


def test_no_server_no_answer(server: Server) -> None:
    result = server.run("alice", "--target", "127.0.0.1:1", "project", "list")
    assert result.exit_code == 7
    assert result.stderr.startswith("foundry: no server answers at 127.0.0.1:1: ")
    assert len(result.stderr.splitlines()) == 1


def test_content_comes_back_byte_for_byte(server: Server, project: str, tmp_path: Path) -> None:
    prompt, picture = tmp_path / "prompt.txt", tmp_path / "picture.png"
    prompt.write_bytes("Dose: 5 \u00b5g\r\nno newline at the end".encode())
    picture.write_bytes(b"\x89PNG\x00\xff")
    args = ("draft", "save", project, f"system_prompt=@{prompt}", "notes=@-", "--message", "First.")
    assert server.run("alice", *args, stdin="from\nstdin\n").exit_code == 0
    assert server.run("alice", "draft", "save", project, f"logo=@{picture}", "--kind", "binary").exit_code == 0
    for name, data in (
        ("system_prompt", prompt.read_bytes()),
        ("notes", b"from\nstdin\n"),
        ("logo", picture.read_bytes()),
    ):
        assert server.run("bob", "draft", "show", project, "--field", name, "--raw").stdout_bytes == data


def test_versions_are_saved_compared_and_reverted(server: Server, project: str) -> None:
    save = ("draft", "save", project)
    one = server.ask("alice", *save, "system_prompt=one\ntwo\n", 'model_config={"temperature": 0.2}', "-m", "First.")
    assert one["outcome"] == "SAVE_OUTCOME_COMMITTED"
    assert one["draft"]["version_number"] == 1
    assert server.run("bob", *save, "system_prompt=one\nTWO\n").stdout == "version 2 saved: system_prompt\n"
    assert server.run("bob", *save, "system_prompt=one\nTWO\n").stdout == (
        "nothing to save: version 2 says this already\n"
    )
    stale = server.run("alice", "--json", *save, "system_prompt=three", "--base", "1")
    assert stale.exit_code == 4
    assert json.loads(stale.stderr)["metadata"]["changed:system_prompt:author"] == "bob"
    broken = server.run("alice", *save, 'model_config={"temperature": 0.2,}')
    assert broken.exit_code == 1
    assert broken.stderr.startswith("foundry: model_config at line 1, column ")

    shown = server.run("carol", "draft", "diff", project, "1", "2").stdout
    assert "-two\n+TWO\n" in shown
    (delta,) = server.lines("carol", "draft", "diff", project, "1", "2")
    assert (delta["field"], delta["added_lines"], delta["removed_lines"]) == ("system_prompt", 1, 1)
    assert server.run("carol", "draft", "diff", project, "2", "2").stdout == "versions 2 and 2 are the same\n"

    back = server.run("bob", "draft", "revert", project, "1", "-m", "Lower case again.")
    assert back.stdout == "version 3 saved: system_prompt, back to 1\n"
    third = server.ask("bob", "draft", "show", project)
    assert third["content_sha256"] == one["draft"]["content_sha256"]
    assert third["source_version"] == 1
    history = server.lines("carol", "draft", "history", project)
    assert [draft["version_number"] for draft in history] == [3, 2, 1]
    assert [it["version_number"] for it in server.lines("carol", "draft", "history", project, "--limit", "1")] == [3]
    assert [
        it["author"]["subject"] for it in server.lines("carol", "draft", "history", project, "--author", "bob")
    ] == [
        "bob",
        "bob",
    ]


def test_validating_changes_nothing(server: Server, project: str) -> None:
    checked = server.run("alice", "draft", "save", project, "system_prompt=x", "--validate-only")
    assert checked.stdout == "this can be saved\n"
    assert server.ask("alice", "project", "get", project)["head_version"] == 0


def test_what_is_not_there_is_said(server: Server, project: str) -> None:
    server.ask("alice", "draft", "save", project, "system_prompt=x")
    assert server.run("alice", "draft", "show", project, "99").exit_code == 1
    missing = server.run("alice", "--json", "draft", "show", project, "--field", "nothing")
    assert missing.exit_code == 1
    assert json.loads(missing.stderr)["reason"] == "RESOURCE_NOT_FOUND"
    free = server.run("alice", "lock", "break", project, "system_prompt", "--reason", "r")
    assert free.exit_code == 1
    assert server.run("alice", "lock", "list", project).stdout == "No field is locked.\n"


def test_a_held_lock_keeps_others_out_until_sigterm(server: Server, project: str) -> None:
    hold = ("--json", "lock", "hold", project, "system_prompt", "--purpose", "inclusion criteria")
    with child(*hold, env=server.env("alice")) as holder:
        acquired = holder.object()
        assert acquired["event"] == "acquired"
        assert acquired["acquired"]["lock"]["purpose"] == "inclusion criteria"

        refused = server.run("bob", "draft", "save", project, "system_prompt=mine")
        assert refused.exit_code == 3
        assert refused.stderr == "foundry: system_prompt is being edited by Alice X.\n"
        held = server.run("bob", "--json", "lock", "hold", project, "system_prompt")
        assert held.exit_code == 3
        assert json.loads(held.stderr)["metadata"]["holder_name"] == "Alice X."
        (lock,) = server.lines("bob", "lock", "list", project)
        assert lock["fencing_token"] == acquired["acquired"]["lock"]["fencing_token"]
        # Bob's own may still be going: his command waits for its end for a moment only.
        assert lock["session_id"] in [one["session_id"] for one in server.lines("bob", "session", "list", project)]

        code, out, err = holder.end(signal.SIGTERM)
        assert code == 0
        assert json.loads(out.splitlines()[-1])["event"] == "released"
        assert err == ""
    assert server.lines("bob", "lock", "list", project) == []


def test_a_broken_lock_ends_its_holder_with_8(server: Server, project: str) -> None:
    with child("--json", "lock", "hold", project, "system_prompt", env=server.env("bob")) as holder:
        assert holder.object()["event"] == "acquired"
        assert server.run("carol", "lock", "break", project, "system_prompt", "--reason", "me").exit_code == 6
        wrong = server.run("alice", "lock", "break", project, "system_prompt", "--reason", "r", "--token", "99")
        assert wrong.exit_code == 8
        broken = server.ask("alice", "lock", "break", project, "system_prompt", "--reason", "on holiday")
        assert broken["holder"]["subject"] == "bob"
        assert holder.until('"lost"')["why"] == 'forced by Alice X., because "on holiday"'
        code, _, err = holder.end()
    assert code == 8
    assert json.loads(err)["reason"] == "LOCK_LOST"


def test_an_ended_session_loses_its_lock(server: Server, project: str) -> None:
    with child("lock", "hold", project, "topology", env=server.env("bob")) as holder:
        assert holder.line().startswith("holding topology (token 1, field at version 0)")
        (session,) = server.lines("alice", "session", "list", project)
        ended = server.run("alice", "session", "end", project, session["session_id"], "--reason", "maintenance")
        assert ended.stdout == f"session {session['session_id']} has ended\n"
        code, _, err = holder.end()
    assert code == 8
    assert err.startswith("foundry: the lock of topology is lost")


def test_an_agent_edits_only_where_policy_lets_it_and_an_editor_takes_its_pen(server: Server, project: str) -> None:
    server.ask("alice", "project", "member", "set", project, "tuner", "editor")
    whose = ["--subject", "tuner", "--kind", "agent", "--on-behalf-of", "alice", "--name", "Tuner"]
    minted = CliRunner().invoke(app, ["token", "--data-dir", str(server.data_dir), *whose])
    server.tokens["tuner"] = minted.stdout.strip()
    denied = server.run("tuner", "--json", "draft", "save", project, "system_prompt=x")
    assert denied.exit_code == 6
    assert json.loads(denied.stderr)["reason"] == "AGENT_ACCESS_DENIED"

    server.ask("alice", "project", "update", project, "--rule", "agent_access=edit")
    with child("lock", "hold", project, "system_prompt", env=server.env("tuner")) as holder:
        assert holder.line().startswith("holding system_prompt")
        assert "Tuner for alice" in server.run("bob", "lock", "list", project).stdout
        broken = server.run("bob", "lock", "break", project, "system_prompt", "--reason", "my turn")
        assert broken.stdout == "system_prompt is free; it was held by Tuner for alice\n"
        assert holder.end()[0] == 8


def test_watching_tells_what_happens_as_it_happens(server: Server, project: str) -> None:
    with child("--json", "watch", project, env=server.env("carol")) as watcher:
        assert watcher.object()["state"]["project"]["project_id"] == project
        server.ask("bob", "draft", "save", project, "system_prompt=x", "-m", "Live.")
        created = watcher.until('"draft_created"')["entry"]
        assert created["draft_created"]["message"] == "Live."
        assert created["actor"]["subject"] == "bob"
        code, _, err = watcher.end(signal.SIGINT)
    assert (code, err) == (0, "")


def test_on_a_terminal_there_is_a_picture_that_follows(server: Server, project: str) -> None:
    env = {**server.env("carol"), "TERM": "xterm", "COLUMNS": "120", "LINES": "40"}
    with terminal("watch", project, env=env) as screen:
        screen.until("only you are here")
        server.ask("bob", "draft", "save", project, "system_prompt=x", "-m", "On the screen.")
        screen.until("On the screen.")
        assert screen.end(signal.SIGINT) == 0


def test_a_watcher_whose_access_is_taken_is_told(server: Server, project: str) -> None:
    with child("watch", project, env=server.env("carol")) as watcher:
        assert "version 0" in watcher.line()
        server.ask("alice", "project", "member", "remove", project, "carol")
        code, _, err = watcher.end()
    assert code == 6
    assert err.startswith("foundry: ")


def test_the_log_is_listed_filtered_and_verified(server: Server, project: str) -> None:
    server.ask("alice", "draft", "save", project, "system_prompt=x", "-m", "First.")
    *entries, verified = server.lines("carol", "log", project, "--verify")
    assert [entry["position"]["sequence"] for entry in entries] == list(range(1, len(entries) + 1))
    assert verified["verified"] is True
    assert verified["entries"] == len(entries)
    (created,) = server.lines("carol", "log", project, "--event", "draft_created")
    assert created["draft_created"]["version_number"] == 1
    after = server.lines("carol", "log", project, "--after", str(len(entries) - 1))
    assert [entry["position"]["sequence"] for entry in after] == [len(entries)]
    shown = server.run("carol", "log", project, "--verify").stdout
    assert "version 1 (+system_prompt): First." in " ".join(shown.split())
    assert "unbroken chain" in shown


def test_the_log_can_be_followed(server: Server, project: str) -> None:
    with child("--json", "log", project, "--follow", "--event", "draft_created", env=server.env("carol")) as follower:
        server.ask("alice", "draft", "save", project, "system_prompt=x")
        assert follower.object()["draft_created"]["version_number"] == 1
        server.ask("alice", "draft", "save", project, "system_prompt=y")
        assert follower.object()["draft_created"]["version_number"] == 2
        code, _, err = follower.end(signal.SIGINT)
    assert (code, err) == (0, "")
