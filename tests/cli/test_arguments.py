"""Command lines are understood, and wrong ones are refused with exit code 2 before anything is called."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from foundry.cli import app, to_front
from foundry.cli.changes import parse_changes
from foundry.cli.invocation import is_project_id, is_this_machine
from foundry.cli.options import parse_pairs
from foundry.cli.policy import parse_rules
from foundry.cli.token import parse_ttl

PROJECT = "01994b7e-0000-7000-8000-000000000001"


@pytest.mark.parametrize(
    ("given", "understood"),
    [
        ("project list --json", "--json project list"),
        ("health --target unix:/s", "--target unix:/s health"),
        ("health --target=unix:/s --json", "--target=unix:/s --json health"),
        ("lock break P f --token 7 --reason x", "lock break P f --token 7 --reason x"),
        ("draft save P -- f=--json --json", "draft save P -- f=--json --json"),
        ("run exec P --json -- tool --json --tls", "--json run exec P -- tool --json --tls"),
        ("--json log P --no-tls", "--json --no-tls log P"),
        ("health --target", "--target health"),
    ],
)
def test_global_options_may_stand_anywhere(given: str, understood: str) -> None:
    assert to_front(given.split()) == understood.split()


@pytest.mark.parametrize(
    "line",
    [
        "no-such-command",
        "project",
        "project create",
        f"project update {PROJECT}",
        f"project update {PROJECT} --label nothing",
        f"project update {PROJECT} --rule agents=yes",
        f"project member set {PROJECT} bob king",
        "project list --state melted",
        f"draft save {PROJECT}",
        f"draft save {PROJECT} system_prompt",
        f"draft save {PROJECT} system_prompt=@no/such/file",
        f"draft save {PROJECT} a=1 a=2",
        f"draft save {PROJECT} a=1 --remove a",
        f"draft show {PROJECT} 0",
        f"draft show {PROJECT} --raw",
        f"draft show {PROJECT} --raw --field a --field b",
        f"draft diff {PROJECT} 1",
        f"draft diff {PROJECT} 1 2 --context 101",
        f"lock break {PROJECT} system_prompt",
        f"log {PROJECT} --after -1",
        f"logs {PROJECT} --from 0",
        f"logs {PROJECT} --from 1 --last 1",
        f"comment add {PROJECT}",
        f"comment add {PROJECT} text --lines 3",
        f"comment add {PROJECT} text --field a --lines 5-3",
        f"comment add {PROJECT} text --field a --reply-to c",
        f"comment list {PROJECT} --at 0",
        f"task list {PROJECT} --mine --assignee bob",
        f"task list {PROJECT} --open --done",
        f"run start {PROJECT} --label nothing",
        f"run log {PROJECT}",
        f"run log {PROJECT} r1 --stream stdin",
        f"run finish {PROJECT} r1",
        f"run finish {PROJECT} r1 --passed --failed",
        f"run finish {PROJECT} r1 --passed --result accuracy=1",
        f"run list {PROJECT} --state melted",
        f"run exec {PROJECT}",
        f"freeze {PROJECT}",
        f"freeze {PROJECT} --version 0",
        "token --data-dir x --subject alice --ttl 25h",
        "token --data-dir x --subject alice --kind ghost",
        "serve --dev",
        "serve --dev --data-dir=",
        "serve --dev --data-dir d --database-url=",
        "serve --dev --data-dir d --redis-url=",
        "serve --dev --data-dir d --listen=",
        "serve --data-dir d --token-issuer x --token-public-key=",
        "migrate --database-url=",
        "audit attribution --data-dir=",
        "audit attribution --database-url=",
    ],
)
def test_wrong_command_lines_end_with_2(line: str) -> None:
    result = CliRunner().invoke(app, line.split())
    assert result.exit_code == 2
    assert result.stdout == "" or "Usage" in result.stdout
    assert "Traceback" not in result.output


@pytest.mark.parametrize(
    "command", ["", "project", "project member", "draft", "lock", "session", "comment", "task", "run"]
)
def test_groups_explain_themselves(command: str) -> None:
    result = CliRunner().invoke(app, [*command.split(), "--help"])
    assert result.exit_code == 0
    assert "Usage" in result.stdout


def test_help_documents_the_exit_codes() -> None:
    text = CliRunner().invoke(app, ["--help"]).stdout
    assert "3  somebody else holds the lock" in text
    assert "8  the lock is lost, or none was shown" in text


@pytest.mark.parametrize(("text", "seconds"), [("90s", 90), ("15m", 900), ("1h", 3600), ("24h", 86400)])
def test_times_to_live(text: str, seconds: int) -> None:
    assert parse_ttl(text) == seconds


@pytest.mark.parametrize("text", ["", "0s", "25h", "1d", "90", "1h30m", "-1s", "\u0661s"])
def test_no_times_to_live(text: str) -> None:
    with pytest.raises(typer.BadParameter):
        parse_ttl(text)


def test_changes_are_taken_byte_for_byte(tmp_path: Path) -> None:
    prompt = tmp_path / "prompt.txt"
    prompt.write_bytes("a\r\nb = \u00e9".encode())
    picture = tmp_path / "picture.png"
    picture.write_bytes(b"\x89PNG\xff")
    text, file, data, at, empty, gone = parse_changes(
        ["greeting=a = b", f"system_prompt=@{prompt}", f"logo=@{picture}", "handle=@@alice", "empty="], ["old"]
    )
    assert (text.field, text.text) == ("greeting", "a = b")
    assert file.text == "a\r\nb = \u00e9"
    assert data.data == b"\x89PNG\xff"
    assert at.text == "@alice"
    assert empty.WhichOneof("content") == "text"
    assert gone.remove
    assert all(change.kind == 0 for change in (text, file, data, at, empty, gone))


def test_a_kind_holds_for_all_assigned_fields() -> None:
    first, second, gone = parse_changes(["a=1", "b=2"], ["c"], "json")
    assert first.kind == second.kind == 2
    assert gone.kind == 0


def test_rules_change_only_what_they_name() -> None:
    base = parse_rules(["require_reason=true", "min_approvals=2"])
    changed = parse_rules(["agent_access=EDIT", "require_reason=off"], base)
    assert base.require_reason
    assert changed.agent_access == 3
    assert not changed.require_reason
    assert changed.min_approvals == 2


@pytest.mark.parametrize("rule", ["agents=deny", "agent_access=maybe", "require_reason=2", "min_approvals=-1", "x"])
def test_no_rules(rule: str) -> None:
    with pytest.raises(typer.BadParameter, match=r"rule|is one of|is a number"):
        parse_rules([rule])


def test_pairs() -> None:
    assert parse_pairs(["a=b=c", "d="], "--label") == {"a": "b=c", "d": ""}
    with pytest.raises(typer.BadParameter):
        parse_pairs(["=b"], "--label")


@pytest.mark.parametrize(
    ("target", "here"),
    [
        ("127.0.0.1:50051", True),
        ("localhost:1", True),
        ("[::1]:50051", True),
        ("unix:/run/foundry.sock", True),
        ("ipv4:127.0.0.1:1", True),
        ("dns:///localhost:1", True),
        ("10.0.0.1:50051", False),
        ("foundry.example.com:443", False),
        ("localhost.example.com:443", False),
        ("dns:///foundry.example.com:443", False),
        ("", False),
    ],
)
def test_plain_text_is_for_this_machine_only(target: str, here: bool) -> None:
    assert is_this_machine(target) is here


def test_ids_and_names_are_told_apart() -> None:
    assert is_project_id(PROJECT)
    assert is_project_id(PROJECT.upper())
    assert not is_project_id("Oncology Clinical Protocol Agent")
    assert not is_project_id(PROJECT.replace("-", ""))


def test_without_a_token_nothing_is_called(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FOUNDRY_TOKEN", raising=False)
    monkeypatch.delenv("FOUNDRY_TOKEN_FILE", raising=False)
    result = CliRunner().invoke(app, ["project", "list"])
    assert result.exit_code == 6
    assert result.stderr.startswith("foundry: there is no token")
    assert result.stdout == ""


def test_a_server_takes_from_the_environment_what_the_command_line_leaves_open(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("FOUNDRY_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("FOUNDRY_LISTEN", "192.0.2.1:1")
    refused = CliRunner().invoke(app, ["serve", "--dev"])
    assert refused.exit_code == 1
    assert refused.stderr.startswith("foundry: --dev ")
    overruled = CliRunner().invoke(app, ["serve", "--dev", "--listen", "127.0.0.1:0", "--tls-cert", "cert.pem"])
    assert overruled.exit_code == 1
    assert "TLS" in overruled.stderr


@pytest.mark.parametrize(
    ("args", "option"), [(["--dev"], "--data-dir"), (["--data-dir", "d", "--log-level", "loud"], "--log-level")]
)
def test_wrong_settings_are_a_wrong_command_line(monkeypatch: pytest.MonkeyPatch, args: list[str], option: str) -> None:
    monkeypatch.delenv("FOUNDRY_DATA_DIR", raising=False)
    result = CliRunner().invoke(app, ["serve", *args])
    assert result.exit_code == 2
    assert result.stderr.startswith(f"foundry: {option}: ")


@pytest.mark.parametrize(
    ("args", "sentence"),
    [
        (["--data-dir", "{file}"], "the data directory {file} cannot be used: there is a file in its place"),
        (["--data-dir", "{file}/data"], "the data directory {file}/data cannot be used: there is a file in its place"),
        (
            ["--data-dir", "{file}", "--database-url", "postgresql://127.0.0.1:1/x"],
            "the data directory {file} cannot be used: there is a file in its place",
        ),
        (["--metrics-listen", "127.0.0.1:99999"], "--metrics-listen: 127.0.0.1:99999 is no address; give HOST:PORT"),
        (["--metrics-listen", "foo:bar"], "--metrics-listen: foo:bar is no address; give HOST:PORT"),
        (["--metrics-listen", "8.8.8.8:9"], "metrics cannot be served on 8.8.8.8:9: this machine has no such address"),
        (["--metrics-listen", "{taken}"], "metrics cannot be served on {taken}: something else is there"),
    ],
)
def test_what_a_server_cannot_begin_with_is_a_sentence(args: list[str], sentence: str, tmp_path: Path) -> None:
    """One line, without a trace of the program."""
    (tmp_path / "file").touch()
    with socket.create_server(("127.0.0.1", 0)) as other:
        known = {"file": tmp_path / "file", "taken": f"127.0.0.1:{other.getsockname()[1]}"}
        line = ["serve", "--dev", "--data-dir", str(tmp_path / "data"), "--listen", "127.0.0.1:0", *args]
        result = CliRunner().invoke(app, [part.format(**known) for part in line])
    assert result.exit_code == 1
    assert result.stderr == f"foundry: {sentence.format(**known)}\n"


@pytest.mark.parametrize("command", ["serve", "migrate", "audit attribution"])
def test_the_help_warns_of_passwords_on_the_command_line(command: str) -> None:
    """Everybody on a machine sees the command lines of all."""
    told = CliRunner().invoke(app, [*command.split(), "--help"], env={"COLUMNS": "400"}).stdout
    assert "other users of this machine can see its password" in told
    assert "FOUNDRY_OWNER_DATABASE_URL" in told if command == "migrate" else "FOUNDRY_DATABASE_URL" in told


def test_tokens_need_a_development_server(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["token", "--data-dir", str(tmp_path), "--subject", "alice"])
    assert result.exit_code == 1
    assert result.stderr.startswith("foundry: ")
    assert "foundry serve --dev" in result.stderr


def test_several_servers_are_named_by_addresses_of_one_family() -> None:
    """Said before anything is sent, also by the commands that need no token."""
    for command in (["health"], ["--token", "t", "project", "list"]):
        result = CliRunner().invoke(app, ["--target", "127.0.0.1:1,[::1]:2", *command])
        assert (result.exit_code, "one family" in result.stderr) == (2, True), result.output
