"""Scripts get one JSON object a line, the contract's names, and nothing else."""

from __future__ import annotations

import json
from io import StringIO
from typing import Any

import grpc
import pytest
import typer
from google.protobuf import json_format
from rich.console import Console
from rich.text import Text

from coreason.foundry.v1 import audit_pb2, lock_pb2, project_pb2, session_pb2
from foundry.cli import tables
from foundry.cli.exit_codes import ExitCode
from foundry.cli.invocation import failure_of
from foundry.cli.output import Failure, Output, to_json
from foundry.client import DeadlineExceeded, FoundryError, LockHeld, Unavailable
from tests.cli import messages

_HELD = LockHeld(
    grpc.StatusCode.FAILED_PRECONDITION,
    "LOCK_HELD",
    "system_prompt is being edited by Alice A.",
    {"field": "system_prompt", "holder": "alice", "holder_name": "Alice A."},
)


def _output(*, as_json: bool) -> tuple[Output, StringIO, StringIO]:
    shown, errors = StringIO(), StringIO()
    return (
        Output(
            as_json=as_json,
            console=Console(file=shown, width=80, highlight=False, markup=False),
            errors=Console(file=errors, width=80, highlight=False, markup=False),
        ),
        shown,
        errors,
    )


def test_json_has_the_names_of_the_contract_and_every_plain_field() -> None:
    fields = to_json(messages.project(description=""))
    assert fields["project_id"] == messages.PROJECT_ID
    assert fields["state"] == "PROJECT_STATE_ACTIVE"
    assert fields["description"] == ""
    assert fields["labels"] == {"area": "oncology", "protocol": "ONC-2041"}
    assert fields["create_time"] == "2026-11-17T12:30:05Z"
    assert "archive_time" not in fields


def test_numbers_are_numbers_however_deep() -> None:
    """The protobuf mapping would make strings of 64-bit integers, and scripts would compare "9" with "10"."""
    event = session_pb2.ServerEvent(
        entry=messages.entry(
            lock_acquired=audit_pb2.LockAcquired(field="topology", fencing_token=2**40),
        )
    )
    fields: Any = to_json(event)
    assert fields["entry"]["position"] == {"epoch": 1, "sequence": 12}
    assert fields["entry"]["lock_acquired"]["fencing_token"] == 2**40
    page = lock_pb2.ListLocksResponse(locks=[messages.lock(fencing_token=7)])
    listed: Any = to_json(page)
    assert [lock["fencing_token"] for lock in listed["locks"]] == [7]


def test_json_can_be_read_back_as_the_message() -> None:
    for message in (messages.project(), messages.lock(), messages.draft(), messages.session(), messages.entry()):
        again = json_format.ParseDict(to_json(message), type(message)())
        assert again == message


def test_one_line_a_result_and_nothing_for_people(capsys: pytest.CaptureFixture[str]) -> None:
    output, shown, errors = _output(as_json=True)
    output.many(iter([messages.project(), messages.project()]), tables.projects, empty="There is nothing.")
    output.one({"ok": True}, lambda: Text("ok"))
    output.note("by the way")
    lines = capsys.readouterr().out.splitlines()
    assert [json.loads(line)["project_id"] for line in lines[:2]] == [messages.PROJECT_ID] * 2
    assert json.loads(lines[2]) == {"ok": True}
    assert len(lines) == 3
    assert shown.getvalue() == errors.getvalue() == ""


def test_no_result_is_no_line(capsys: pytest.CaptureFixture[str]) -> None:
    none: list[project_pb2.Project] = []
    _output(as_json=True)[0].many(none, tables.projects, empty="There is nothing.")
    assert capsys.readouterr().out == ""
    output, shown, _ = _output(as_json=False)
    output.many(none, tables.projects, empty="There is nothing.")
    assert shown.getvalue() == "There is nothing.\n"


def test_a_refusal_for_people_is_one_sentence_on_stderr() -> None:
    output, shown, errors = _output(as_json=False)
    with pytest.raises(typer.Exit) as ended:
        output.fail(failure_of(_HELD, "127.0.0.1:1"))
    assert ended.value.exit_code == ExitCode.HELD
    assert errors.getvalue() == "foundry: system_prompt is being edited by Alice A.\n"
    assert shown.getvalue() == ""


def test_a_refusal_for_scripts_is_one_object_on_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(typer.Exit):
        _output(as_json=True)[0].fail(failure_of(_HELD, "127.0.0.1:1"))
    out, err = capsys.readouterr()
    assert out == ""
    assert json.loads(err) == {
        "reason": "LOCK_HELD",
        "status": "FAILED_PRECONDITION",
        "message": "system_prompt is being edited by Alice A.",
        "metadata": {"field": "system_prompt", "holder": "alice", "holder_name": "Alice A."},
        "exit_code": 3,
    }


def test_a_server_that_is_not_there_is_named() -> None:
    detail = "failed to connect to all addresses; last error: UNKNOWN: ipv4:127.0.0.1:1: Connection refused"
    failure = failure_of(Unavailable(message=detail), "127.0.0.1:1")
    assert failure.message == "no server answers at 127.0.0.1:1: Connection refused"
    assert failure.exit_code is ExitCode.UNAVAILABLE
    assert failure.metadata == {"target": "127.0.0.1:1", "detail": detail}


def test_a_name_in_a_refusal_cannot_drive_the_terminal() -> None:
    output, _, errors = _output(as_json=False)
    with pytest.raises(typer.Exit):
        output.fail(Failure("held by \x1b[2JMallory [link]"))
    assert errors.getvalue() == "foundry: held by \\x1b[2JMallory [link]\n"


def test_long_lines_stay_lines_in_a_pipe() -> None:
    output, shown, _ = _output(as_json=False)
    output.show(Text("word " * 40))
    assert len(shown.getvalue().splitlines()) == 1


def test_errors_without_a_sentence_still_say_something() -> None:
    assert failure_of(DeadlineExceeded(), "host:1").message == "no server answers at host:1: no answer in time"
    assert failure_of(FoundryError(grpc.StatusCode.DATA_LOSS), "host:1").message == "DATA_LOSS"
    refusal = Unavailable(reason="STORE_UNAVAILABLE", message="the store cannot commit now")
    assert failure_of(refusal, "host:1").message == "the store cannot commit now"
