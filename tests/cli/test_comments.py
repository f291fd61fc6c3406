"""``foundry comment`` and ``foundry task`` against a real server: what people say to each other, and do."""

from __future__ import annotations

import json

import pytest
import typer

from foundry.cli.places import parse_place
from tests.cli.server import Server

PROMPT = "You are an oncologist.\nExclude minors.\nBe brief.\n"


@pytest.fixture
def saved(server: Server, project: str) -> str:
    """A project with a version to talk about."""
    server.ask("alice", "draft", "save", project, f"system_prompt={PROMPT}")
    return project


def test_a_thread_from_its_first_word_to_its_end(server: Server, saved: str) -> None:
    add = ("comment", "add", saved)
    first = server.ask("alice", *add, "Should this not be 16?", "--field", "system_prompt", "--lines", "2")
    assert first["anchor"]["quote"] == "Exclude minors."
    assert first["anchor"]["version_number"] == 1
    reply = server.ask("bob", *add, "Yes.", "--reply-to", first["comment_id"])
    assert reply["parent_comment_id"] == first["comment_id"]
    server.ask("alice", "draft", "save", saved, f"system_prompt=Hello.\n{PROMPT}")

    shown = server.run("carol", "comment", "show", saved, first["comment_id"]).stdout
    assert "system_prompt:2 at 1, now 3" in shown
    assert "\u2502 Exclude minors." in shown
    assert shown.index("Should this") < shown.index("Yes.")
    assert "now 3" not in server.run("carol", "comment", "show", saved, first["comment_id"], "--at", "1").stdout
    assert server.ask("carol", "comment", "show", saved, first["comment_id"])["text"] == "Should this not be 16?"

    listed = server.lines("carol", "comment", "list", saved)
    assert [comment["text"] for comment in listed] == ["Should this not be 16?", "Yes."]
    thread = server.lines("carol", "comment", "list", saved, "--thread", first["comment_id"])
    assert len(thread) == 2
    assert [it["text"] for it in server.lines("carol", "comment", "list", saved, "--author", "bob")] == ["Yes."]
    alone = server.run("carol", "comment", "list", saved, "--author", "bob").stdout
    assert f"in thread {first['comment_id']}" in alone

    closed = server.run("bob", "comment", "resolve", saved, first["comment_id"]).stdout
    assert "resolved by Bob X. at version 2" in closed
    assert server.lines("carol", "comment", "list", saved, "--open") == []
    back = server.ask("alice", "comment", "reopen", saved, first["comment_id"])
    assert back["state"] == "COMMENT_STATE_OPEN"
    assert len(server.lines("carol", "comment", "list", saved, "--open", "--field", "system_prompt")) == 1


def test_comments_are_edited_and_deleted_by_whose_they_are(server: Server, saved: str) -> None:
    said = server.ask("bob", "comment", "add", saved, "First thoughts.")
    theirs = server.run("alice", "--json", "comment", "edit", saved, said["comment_id"], "Mine now.")
    assert theirs.exit_code == 6
    assert json.loads(theirs.stderr)["reason"] == "NOT_YOURS"
    stdin = server.run("bob", "--json", "comment", "edit", saved, said["comment_id"], "-", stdin="Second\nthoughts.\n")
    changed = json.loads(stdin.stdout)
    assert changed["text"] == "Second\nthoughts.\n"
    etag = ("--etag", said["etag"])
    assert server.run("bob", "comment", "edit", saved, said["comment_id"], "Third.", *etag).exit_code == 4
    assert "edited" in server.run("carol", "comment", "list", saved).stdout
    gone = server.run("bob", "comment", "delete", saved, said["comment_id"])
    assert gone.stdout == f"comment {said['comment_id']} is deleted\n"
    assert "deleted" in server.run("carol", "comment", "list", saved).stdout
    late = server.run("alice", "--json", "comment", "add", saved, "Why?", "--reply-to", said["comment_id"])
    assert late.exit_code == 1
    assert json.loads(late.stderr)["reason"] == "COMMENT_DELETED"


def test_lines_that_are_not_there_are_refused(server: Server, saved: str) -> None:
    beyond = ("comment", "add", saved, "Here?", "--field", "system_prompt", "--lines", "10-12")
    refused = server.run("alice", "--json", *beyond)
    assert refused.exit_code == 1
    error = json.loads(refused.stderr)
    assert error["reason"] == "ANCHOR_OUT_OF_RANGE"
    assert error["metadata"]["line_count"] == "3"
    assert server.run("carol", "comment", "add", saved, "May I?").exit_code == 6
    assert server.run("alice", "comment", "list", saved).stdout == "Nobody has said anything here.\n"


def test_a_checklist_is_ticked_off(server: Server, saved: str) -> None:
    add = ("task", "add", saved)
    dosage = server.ask("alice", *add, "Check the dosage table", "--assign", "bob", "--field", "system_prompt")
    server.ask("alice", *add, "Ask legal")
    assert dosage["kind"] == "COMMENT_KIND_TASK"
    assert [task["text"] for task in server.lines("bob", "task", "list", saved, "--mine")] == ["Check the dosage table"]
    ticked = server.ask("bob", "task", "done", saved, dosage["comment_id"])
    assert ticked["state"] == "COMMENT_STATE_DONE"
    shown = server.run("carol", "task", "list", saved).stdout
    assert "[x]  Check the dosage table" in shown
    assert "[ ]  Ask legal" in shown
    assert "1 of 2 done" in shown
    assert [task["text"] for task in server.lines("carol", "task", "list", saved, "--open")] == ["Ask legal"]
    assert len(server.lines("carol", "task", "list", saved, "--done", "--assignee", "bob")) == 1
    server.ask("bob", "task", "reopen", saved, dosage["comment_id"])
    given = server.ask("bob", "task", "assign", saved, dosage["comment_id"], "alice")
    assert given["assignee"] == "alice"
    assert server.ask("bob", "task", "assign", saved, dosage["comment_id"])["assignee"] == ""
    assert server.run("alice", *add, "Nobody's", "--assign", "mallory").exit_code == 1
    assert server.run("bob", "task", "list", saved, "--mine").stdout == "There is nothing to do.\n"


def test_the_log_tells_who_said_what_about_what(server: Server, saved: str) -> None:
    task = server.ask(
        "alice", "task", "add", saved, "Do it", "--assign", "bob", "--field", "system_prompt", "--lines", "1-2"
    )
    server.ask("bob", "task", "done", saved, task["comment_id"])
    log = " ".join(server.run("carol", "log", saved).stdout.split())
    assert f"comment_created task for bob on system_prompt:1-2 at 1: {task['comment_id']}" in log
    assert f"comment_state_changed {task['comment_id']}: open -> done" in log


@pytest.mark.parametrize(("lines", "span"), [("", (0, 0)), ("3", (3, 3)), ("3-5", (3, 5))])
def test_lines_are_one_or_a_range(lines: str, span: tuple[int, int]) -> None:
    place = parse_place("topology", lines, None, "")
    assert (place.start_line, place.end_line) == span


@pytest.mark.parametrize("lines", ["0", "5-3", "0-2", "3-", "-3", "a", "3:5", "\u0663"])
def test_other_lines_are_none(lines: str) -> None:
    with pytest.raises(typer.BadParameter, match="not lines"):
        parse_place("topology", lines, None, "")


@pytest.mark.parametrize(("lines", "at", "quote"), [("1", None, ""), ("", 1, ""), ("", None, "words")])
def test_a_place_needs_a_field(lines: str, at: int | None, quote: str) -> None:
    with pytest.raises(typer.BadParameter, match="--field"):
        parse_place("", lines, at, quote)
