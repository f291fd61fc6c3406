"""How comments, runs and consoles look, on narrow and on wide terminals."""

from __future__ import annotations

from io import StringIO
from typing import Any

import pytest
from rich.cells import cell_len
from rich.console import Console, RenderableType

from coreason.foundry.v1 import audit_pb2, comment_pb2, draft_pb2, run_pb2
from foundry.cli import consoles, events, tables, threads
from foundry.cli.output import Output
from foundry.cli.places import place_of
from foundry.cli.words import instant, line_count, tame
from tests.cli import messages
from tests.cli.messages import BOB, COMMENT_ID, NOW, PROJECT_ID, RUN_ID, before
from tests.cli.rendering import rendered

REPLY_ID = "01994b7e-0000-7000-8000-000000000006"


def anchored(state: comment_pb2.AnchorState.ValueType, now: int, end: int) -> comment_pb2.Comment:
    anchor = comment_pb2.Anchor(version_number=3, field="system_prompt", start_line=3, end_line=5, quote="a\nb\nc\nd")
    resolved = comment_pb2.ResolvedAnchor(version_number=4, state=state, start_line=now, end_line=end)
    return messages.comment(anchor=anchor, resolved_anchor=resolved)


def finished(state: run_pb2.RunState.ValueType) -> run_pb2.Run:
    results = [
        run_pb2.RunResult(name="accuracy", passed=True, value="0.91"),
        run_pb2.RunResult(name="f1\x1b[2J", passed=False),
    ]
    return messages.run(
        state=state, finish_time=before(minutes=1), log_sha256="d" * 64, log_bytes=2048, results=results
    )


REPLY = messages.comment(
    comment_id=REPLY_ID,
    parent_comment_id=COMMENT_ID,
    state=comment_pb2.COMMENT_STATE_UNSPECIFIED,
    author=BOB,
    text="Yes.",
    edit_time=before(minutes=1),
)
CLOSED = messages.comment(state=comment_pb2.COMMENT_STATE_RESOLVED, closer=BOB, closed_at_version=7)
TASKS = [
    messages.comment(kind=comment_pb2.COMMENT_KIND_TASK, text="Check the dosage table", assignee="bob"),
    messages.comment(kind=comment_pb2.COMMENT_KIND_TASK, text="Ask legal", state=comment_pb2.COMMENT_STATE_DONE),
    messages.comment(kind=comment_pb2.COMMENT_KIND_TASK, text="", delete_time=before(minutes=1)),
]


@pytest.mark.parametrize("width", [80, 160])
@pytest.mark.parametrize(
    ("what", "present"),
    [
        (
            threads.threads([anchored(comment_pb2.ANCHOR_STATE_SHIFTED, 4, 6), REPLY], NOW),
            ["Alice A.", "2 h ago", COMMENT_ID, "system_prompt:3-5 at 3, now 4-6", "\u2502 c", "... 1 more", "edited"],
        ),
        (threads.threads([REPLY], NOW), [f"in thread {COMMENT_ID}", "Yes."]),
        (threads.threads([CLOSED], NOW), ["\u2713", "resolved by Bob B. at version 7"]),
        (
            threads.checklist(TASKS),
            ["[ ] Check the dosage table bob", "[x] Ask legal anybody", "deleted", "1 of 3 done"],
        ),
        (consoles.runs([messages.run()], 80, NOW), [RUN_ID, "16", "running", "12,345", "3 min", "Bob B."]),
        (
            consoles.run(messages.run(), NOW),
            ["running for 3 min", "area=oncology, site=Basel", "attempt 2", "12,345 lines", "assay 4.2"],
        ),
        (
            consoles.run(finished(run_pb2.RUN_STATE_FAILED), NOW),
            ["failed", "took 2 min", "2.0 KiB", "d" * 64, "passed accuracy 0.91", "failed f1\\x1b[2J"],
        ),
        (
            tables.project(messages.project(revision_of_project_id=PROJECT_ID, revision_of_fingerprint="f" * 64)),
            [f"goes on from {PROJECT_ID}, release ffffffffffff"],
        ),
    ],
)
def test_everything_fits(what: RenderableType, present: list[str], width: int) -> None:
    text = rendered(what, width)
    assert all(cell_len(line) <= width for line in text.splitlines())
    flowing = " ".join(text.split())
    for words in present:
        assert words in flowing


def test_a_wide_terminal_shows_what_runs_a_run() -> None:
    assert "assay 4.2" not in rendered(consoles.runs([messages.run()], 80, NOW), 80)
    assert "assay 4.2" in rendered(consoles.runs([messages.run()], 160, NOW), 160)


@pytest.mark.parametrize(
    ("state", "now", "words"),
    [
        (comment_pb2.ANCHOR_STATE_EXACT, 3, "system_prompt:3-5 at 3"),
        (comment_pb2.ANCHOR_STATE_SHIFTED, 3, "system_prompt:3-5 at 3"),
        (comment_pb2.ANCHOR_STATE_SHIFTED, 4, "system_prompt:3-5 at 3, now 4-6"),
        (comment_pb2.ANCHOR_STATE_FUZZY, 3, "system_prompt:3-5 at 3, now about 3-5"),
        (comment_pb2.ANCHOR_STATE_OUTDATED, 0, "system_prompt:3-5 at 3, its lines are gone"),
        (comment_pb2.ANCHOR_STATE_ORPHANED, 0, "system_prompt:3-5 at 3, the field is gone"),
    ],
)
def test_a_place_says_where_it_is_now(state: comment_pb2.AnchorState.ValueType, now: int, words: str) -> None:
    assert place_of(anchored(state, now, now + 2)) == words


def test_a_place_may_be_a_whole_field_a_run_or_nothing() -> None:
    anchor = comment_pb2.Anchor(version_number=3, field="topology")
    assert place_of(messages.comment(anchor=anchor, run_id=RUN_ID)) == f"topology at 3, run {RUN_ID}"
    assert place_of(messages.comment(run_id=RUN_ID)) == f"run {RUN_ID}"
    assert place_of(messages.comment()) == ""


# --- lines of consoles ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain\ttext", "plain\ttext"),
        ("\x1b[1;31mred\x1b[0m", "\x1b[1;31mred\x1b[0m"),
        ("\x1b[38:2::1:2:3mtrue colour\x1b[m", "\x1b[38:2::1:2:3mtrue colour\x1b[m"),
        ("\x1b[2J\x1b]0;title\x07", "\\x1b[2J\\x1b]0;title\\x07"),
        ("\x1b[31\x1b[0m", "\\x1b[31\x1b[0m"),
        ("\x9b31m\u202eback", "\\x9b31m\\u202eback"),
        ("10%\r20%\r", "10%\\r20%"),
    ],
)
def test_a_line_may_ask_for_colours_and_for_nothing_else(text: str, shown: str) -> None:
    assert tame(text) == shown


def printed(capsysbinary: pytest.CaptureFixture[bytes], *lines: run_pb2.LogLine, is_terminal: bool = True) -> bytes:
    console = Console(file=StringIO(), force_terminal=is_terminal, highlight=False, markup=False)
    printer = consoles.ConsolePrinter(Output(as_json=False, console=console), timestamps=False)
    for line in lines:
        printer.line(line)
    printer.finish()
    return capsysbinary.readouterr().out


def test_colours_end_with_their_line(capsysbinary: pytest.CaptureFixture[bytes]) -> None:
    lines = [
        run_pb2.LogLine(text="\x1b[31mred for ever"),
        run_pb2.LogLine(text="plain"),
        run_pb2.LogLine(text="oh", stream=run_pb2.LOG_STREAM_STDERR),
        run_pb2.LogLine(text="step", stream=run_pb2.LOG_STREAM_EVENT),
    ]
    out = printed(capsysbinary, *lines)
    assert out == b"\x1b[31mred for ever\x1b[0m\nplain\n\x1b[31moh\x1b[0m\n\x1b[36mstep\x1b[0m\n"


def test_pieces_of_a_line_are_one_line_again(capsysbinary: pytest.CaptureFixture[bytes]) -> None:
    lines = [run_pb2.LogLine(text="a\x00", partial=True), run_pb2.LogLine(text="b"), run_pb2.LogLine(text="\x1b[2J")]
    assert printed(capsysbinary, *lines, is_terminal=False) == b"a\x00b\n\x1b[2J\n"


def test_times_and_counts_read_well() -> None:
    assert instant(before(minutes=0)) == "2026-11-20 12:30:05.000000"
    assert instant(type(before())()) == " " * 26
    assert (line_count(1), line_count(0), line_count(12345)) == ("1 line", "0 lines", "12,345 lines")


# --- entries of the log --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("payload", "words"),
    [
        (
            {
                "comment_created": audit_pb2.CommentCreated(
                    comment_id="c1", kind=comment_pb2.COMMENT_KIND_TASK, assignee="bob", run_id="r1"
                )
            },
            "task for bob on run r1: c1",
        ),
        (
            {
                "comment_created": audit_pb2.CommentCreated(
                    comment_id="c1",
                    kind=comment_pb2.COMMENT_KIND_NOTE,
                    version_number=3,
                    field="topology",
                    start_line=4,
                    end_line=4,
                )
            },
            "note on topology:4 at 3: c1",
        ),
        ({"comment_created": audit_pb2.CommentCreated(comment_id="c2", parent_comment_id="c1")}, "reply to c1: c2"),
        (
            {"comment_updated": audit_pb2.CommentUpdated(comment_id="c1", changed=["assignee"])},
            "c1: assignee, now for nobody",
        ),
        ({"comment_deleted": audit_pb2.CommentDeleted(comment_id="c1", author="bob")}, "c1, was bob's"),
        (
            {
                "comment_state_changed": audit_pb2.CommentStateChanged(
                    comment_id="c1", before=comment_pb2.COMMENT_STATE_OPEN, after=comment_pb2.COMMENT_STATE_DONE
                )
            },
            "c1: open -> done",
        ),
        (
            {"run_started": audit_pb2.RunStarted(run_id="r1", version_number=3, harness="assay", attempt=2)},
            "version 3 with assay, attempt 2: r1",
        ),
        (
            {
                "run_finished": audit_pb2.RunFinished(
                    run_id="r1", state=run_pb2.RUN_STATE_CANCELLED, line_count=1, starter="bob"
                )
            },
            "cancelled, 1 line: r1, was bob's",
        ),
        (
            {"assay_exported": audit_pb2.AssayExported(version_number=3, payload_sha256="a" * 64)},
            "version 3, payload aaaaaaaaaaaa",
        ),
        ({"freeze_requested": audit_pb2.FreezeRequested(version_number=3)}, "version 3"),
        (
            {"project_frozen": audit_pb2.ProjectFrozen(version_number=3, fingerprint="b" * 64)},
            "version 3 for ever, fingerprint bbbbbbbbbbbb",
        ),
        ({"bundle_exported": audit_pb2.BundleExported(manifest_sha256="c" * 64)}, "manifest cccccccccccc"),
        (
            {"revision_started": audit_pb2.RevisionStarted(revision_project_id="p2", version_number=3)},
            "p2, from version 3",
        ),
        (
            {"project_created": audit_pb2.ProjectCreated(name="Two", revision_of_project_id="p1")},
            "Two, goes on from p1",
        ),
    ],
)
def test_entries_tell_what_happened(payload: dict[str, Any], words: str) -> None:
    assert events.particulars(messages.entry(1, **payload)) == words


def test_a_first_version_that_was_carried_over_says_so() -> None:
    text = rendered(tables.drafts([messages.draft(origin=draft_pb2.DRAFT_ORIGIN_IMPORT)]))
    assert "carried over" in text
