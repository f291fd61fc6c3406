"""``foundry export``, ``freeze``, ``publish`` and ``revise`` against a real server."""

from __future__ import annotations

import hashlib
import json
import subprocess
import tarfile
from pathlib import Path

import pytest

from tests.cli.server import Server, terminal


@pytest.fixture
def saved(server: Server, project: str) -> str:
    """A project with a version to release."""
    server.ask("alice", "draft", "save", project, "system_prompt=You are an oncologist.\n", "scratchpad=later")
    return project


def test_a_payload_is_the_same_bytes_wherever_it_goes(server: Server, saved: str, tmp_path: Path) -> None:
    export = ("export", saved)
    payload = server.run("carol", *export).stdout_bytes
    about = server.ask("carol", *export)
    assert hashlib.sha256(payload).hexdigest() == about["payload_sha256"]
    assert json.loads(payload)["fields"].keys() == {"system_prompt"}
    file = tmp_path / "payload.json"
    written = server.run("carol", *export, "--version", "1", "-o", str(file))
    assert file.read_bytes() == payload
    assert about["payload_sha256"] in written.stdout
    scripted = server.ask("carol", *export, "-o", str(file), "--scratchpad")
    assert "payload" not in scripted
    assert scripted["size"] == file.stat().st_size > len(payload)
    assert json.loads(file.read_bytes())["fields"].keys() == {"scratchpad", "system_prompt"}
    assert server.run("carol", *export, "-o", str(tmp_path / "no" / "where")).exit_code == 1
    assert server.run("carol", *export, "--version", "9").exit_code == 1


def test_a_freeze_is_for_the_version_that_was_decided_on(server: Server, saved: str) -> None:
    freeze = ("freeze", saved, "--version")
    assert server.run("bob", *freeze, "1").exit_code == 6
    moved = server.run("alice", "--json", *freeze, "2")
    assert moved.exit_code == 4
    assert json.loads(moved.stderr)["reason"] == "VERSION_MISMATCH"
    run_id = server.ask("alice", "run", "start", saved)["run_id"]
    server.ask("alice", "project", "update", saved, "--rule", "require_evidence=true")
    blocked = server.run("alice", *freeze, "1")
    assert blocked.exit_code == 1
    assert blocked.stderr.count("\n- ") + blocked.stderr.startswith("- ") == 2
    assert run_id in blocked.stderr
    server.ask("alice", "run", "finish", saved, run_id, "--passed")
    frozen = server.run("alice", *freeze, "1", "--reason", "Release 1.0")
    assert frozen.stdout.startswith("frozen\n")
    assert "because      Release 1.0" in frozen.stdout
    again = server.run("alice", *freeze, "1")
    assert again.exit_code == 5
    assert server.run("bob", "draft", "save", saved, "system_prompt=x").exit_code == 5
    assert server.run("bob", "comment", "add", saved, "Too late?").exit_code == 5


def test_a_bundle_is_published_and_checks_out(server: Server, saved: str, tmp_path: Path) -> None:
    publish = ("publish", saved, "-o", str(tmp_path))
    unfrozen = server.run("alice", "--json", *publish)
    assert unfrozen.exit_code == 2
    assert json.loads(unfrozen.stderr)["metadata"] == {"head_version": "1"}
    first = server.run("alice", *publish, "--version", "1", "--reason", "Release 1.0")
    assert first.exit_code == 0
    file = tmp_path / f"{saved}-v1.tar"
    assert "tar xf" in first.stdout
    published = server.ask("bob", "publish", saved, "-o", str(tmp_path / "again.tar"))
    assert (tmp_path / "again.tar").read_bytes() == file.read_bytes()
    assert published["bundle"]["size"] == file.stat().st_size
    assert {path.name for path in tmp_path.iterdir()} == {"again.tar", file.name}

    with tarfile.open(file) as archive:
        archive.extractall(tmp_path, filter="data")
    directory = tmp_path / published["directory"]
    manifest = (directory / "MANIFEST.json").read_bytes()
    assert hashlib.sha256(manifest).hexdigest() == published["bundle"]["manifest_sha256"]
    assert published["bundle"]["manifest_sha256"] in first.stdout
    assert published["bundle"]["freeze"]["fingerprint"] in first.stdout
    release = (directory / "release.json").read_bytes()
    assert hashlib.sha256(release).hexdigest() == published["bundle"]["freeze"]["fingerprint"]
    subprocess.run(["sha256sum", "--quiet", "-c", "SHA256SUMS"], cwd=directory, check=True)  # noqa: S607 - the system's

    other = server.run("alice", "--json", *publish, "--version", "7")
    assert other.exit_code == 4
    nowhere = server.run("alice", "publish", saved, "-o", str(tmp_path / "no" / "where.tar"))
    assert nowhere.exit_code == 1
    assert nowhere.stderr.startswith("foundry: ")


def test_a_person_is_asked_which_version_to_freeze(server: Server, saved: str, tmp_path: Path) -> None:
    env = {**server.env("alice"), "TERM": "xterm", "COLUMNS": "120"}
    with terminal("publish", saved, "-o", str(tmp_path), env=env) as screen:
        screen.until("Version to freeze")
        screen.type("1\n")
        screen.until("sha256sum MANIFEST.json")
    assert (tmp_path / f"{saved}-v1.tar").exists()


def test_work_goes_on_in_a_revision(server: Server, saved: str) -> None:
    early = server.run("bob", "--json", "revise", saved)
    assert early.exit_code == 1
    assert json.loads(early.stderr)["reason"] == "NOT_FROZEN"
    frozen = server.ask("alice", "freeze", saved, "--version", "1")
    revision = server.ask("bob", "revise", saved, "--name", "Second edition", "--reason", "Amendment 4")
    assert revision["name"] == "Second edition"
    assert revision["head_version"] == 1
    assert revision["revision_of_fingerprint"] == frozen["freeze"]["fingerprint"]
    shown = server.run("bob", "project", "get", revision["project_id"]).stdout
    assert f"{saved}, release {frozen['freeze']['fingerprint'][:12]}" in " ".join(shown.split())
    history = server.run("bob", "draft", "history", revision["project_id"]).stdout
    assert "carried over" in history
    log = " ".join(server.run("carol", "log", saved).stdout.split())
    assert "project_frozen version 1 for ever, fingerprint" in log
    assert f"revision_started {revision['project_id']}, from version 1" in log
