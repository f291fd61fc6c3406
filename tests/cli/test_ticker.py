"""Watching without a terminal that can be redrawn: a line for each event, and for each line of a console."""

from __future__ import annotations

import json
from io import StringIO

import pytest
from rich.console import Console

from coreason.foundry.v1 import comment_pb2, project_pb2, run_pb2, session_pb2
from foundry.cli.output import Output
from foundry.cli.ticker import tell, tell_remark, tell_state
from foundry.client import Workspace
from tests.cli import messages, recorded


def _output(*, as_json: bool) -> tuple[Output, StringIO]:
    shown = StringIO()
    return Output(as_json=as_json, console=Console(file=shown, width=80, highlight=False, markup=False)), shown


def test_watching_without_a_terminal_tells_a_line_an_event() -> None:
    output, shown = _output(as_json=False)
    there, gone = session_pb2.ServerEvent(), session_pb2.ServerEvent()
    there.presence.joined_subjects.append("alice")
    there.presence.sessions.append(messages.presence())
    gone.presence.left_subjects.append("alice")
    tick = session_pb2.ServerEvent()
    tick.tick.position.sequence = 3
    for event in (there, session_pb2.ServerEvent(entry=messages.entry(13)), tick, gone):
        tell(output, event)
    lines = shown.getvalue().splitlines()
    assert len(lines) == 4
    assert "alice  joined" in lines[0]
    assert "Alice A.  at system_prompt" in lines[1]
    assert "13" in lines[2]
    assert "alice  left" in lines[3]


def test_watching_for_scripts_leaves_out_the_stream_itself(capsys: pytest.CaptureFixture[str]) -> None:
    """Above all the secret that would bring the session back."""
    output, _ = _output(as_json=True)
    tick, opened = session_pb2.ServerEvent(), session_pb2.ServerEvent()
    tick.tick.position.sequence = 3
    opened.opened.resume_secret = "secret"
    for event in (tick, opened, session_pb2.ServerEvent(entry=messages.entry(13))):
        tell(output, event)
    (line,) = capsys.readouterr().out.splitlines()
    assert json.loads(line)["entry"]["position"]["sequence"] == 13


def test_watching_begins_with_what_there_is(capsys: pytest.CaptureFixture[str]) -> None:
    state = Workspace(
        project=messages.project(),
        head_version=16,
        presence={messages.SESSION_ID: messages.presence()},
        locks={"system_prompt": messages.lock()},
    )
    tell_state(_output(as_json=True)[0], state)
    there = json.loads(capsys.readouterr().out)["state"]
    assert there["project"]["project_id"] == messages.PROJECT_ID
    assert [lock["fencing_token"] for lock in there["locks"]] == [7]
    assert [it["focus_field"] for it in there["presence"]] == ["system_prompt"]
    output, shown = _output(as_json=False)
    tell_state(output, state)
    assert shown.getvalue().splitlines() == [
        "Oncology Clinical Protocol Agent, version 16",
        "Alice A. is here",
        "Alice A. holds system_prompt",
    ]


def test_what_there_is_includes_what_runs_and_that_it_is_frozen(capsys: pytest.CaptureFixture[str]) -> None:
    frozen = messages.project(state=project_pb2.PROJECT_STATE_FROZEN)
    state = Workspace(project=frozen, head_version=16, runs={recorded.RUN_ID: recorded.run()})
    output, shown = _output(as_json=False)
    tell_state(output, state)
    assert shown.getvalue().splitlines() == [
        "Oncology Clinical Protocol Agent, version 16, FROZEN",
        "run 0a11ce: assay 0.4 on version 16 by Alice A. is running",
    ]
    tell_state(_output(as_json=True)[0], state)
    assert [run["run_id"] for run in json.loads(capsys.readouterr().out)["state"]["runs"]] == [recorded.RUN_ID]


def test_lines_of_a_console_stand_behind_the_name_of_their_run() -> None:
    output, shown = _output(as_json=False)
    tell(output, session_pb2.ServerEvent(run_log=recorded.log("one", "x" * 200)))
    oops = run_pb2.RunLog(run_id=recorded.RUN_ID, lines=recorded.lines("oops", stream=recorded.STDERR))
    tell(output, session_pb2.ServerEvent(run_log=oops))
    end = run_pb2.RunLog(run_id=recorded.RUN_ID, finished_run=recorded.finished())
    tell(output, session_pb2.ServerEvent(run_log=end))
    assert shown.getvalue().splitlines() == [
        "run 0a11ce | one",
        "run 0a11ce | " + "x" * 200,
        "run 0a11ce ! oops",
        "run 0a11ce passed after 30 s, 48 lines",
    ]


def test_a_console_cannot_forge_lines_or_drive_the_terminal() -> None:
    output, shown = _output(as_json=False)
    hostile = recorded.log(
        "\x1b[2J\x1b[31mred\x1b[0m\x07", "\nrun 0a11ce passed after 1 s, 2 lines", "over\rwritten", "done\r"
    )
    tell(output, session_pb2.ServerEvent(run_log=hostile))
    assert shown.getvalue().splitlines() == [
        "run 0a11ce | \\x1b[2Jred\\x07",
        "run 0a11ce | \\nrun 0a11ce passed after 1 s, 2 lines",
        "run 0a11ce | over\\rwritten",
        "run 0a11ce | done",
    ]


def test_for_scripts_console_lines_are_events_like_all_others(capsys: pytest.CaptureFixture[str]) -> None:
    tell(_output(as_json=True)[0], session_pb2.ServerEvent(run_log=recorded.log("\x1b[2J", "two")))
    (line,) = capsys.readouterr().out.splitlines()
    assert [it["text"] for it in json.loads(line)["run_log"]["lines"]] == ["\x1b[2J", "two"]


def test_that_something_was_missed_is_said() -> None:
    output, shown = _output(as_json=False)
    event = session_pb2.ServerEvent()
    event.resync.SetInParent()
    tell(output, event)
    assert "missed" in shown.getvalue()


@pytest.mark.parametrize(
    ("said", "line"),
    [
        (
            recorded.comment(**recorded.at("system_prompt", 9, 10)),
            "       [comment] Bob B. on system_prompt:9-10: Should this not be 16?",
        ),
        (recorded.comment(parent_comment_id="x"), "       [reply] Bob B.: Should this not be 16?"),
        (recorded.task(1, "Ask legal", assignee="bob"), "       [ ] Bob B. for bob: Ask legal"),
        (recorded.task(1, "Ask legal", state=comment_pb2.COMMENT_STATE_DONE), "       [x] Bob B.: Ask legal"),
        (
            recorded.comment(state=comment_pb2.COMMENT_STATE_RESOLVED),
            "       [resolved] Bob B.: Should this not be 16?",
        ),
        (recorded.comment(text="evil \x1b[2J"), "       [comment] Bob B.: evil \\x1b[2J"),
    ],
)
def test_what_people_say_is_one_line(said: comment_pb2.Comment, line: str) -> None:
    output, shown = _output(as_json=False)
    tell_remark(output, said)
    assert shown.getvalue() == f"{line}\n"


def test_what_is_deleted_is_not_told() -> None:
    output, shown = _output(as_json=False)
    tell_remark(output, recorded.comment(delete_time=messages.before(minutes=1)))
    assert shown.getvalue() == ""
