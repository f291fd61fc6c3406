"""The picture of a project: what must be seen is seen, at every size, and nothing is ever too wide or too high."""

from __future__ import annotations

import pytest
from rich.cells import cell_len
from rich.text import Text

from coreason.foundry.v1 import draft_pb2, project_pb2, run_pb2
from foundry.cli.dashboard import WIDE, dashboard
from foundry.cli.picture import KEPT_ENTRIES, Picture
from tests.cli import messages, recorded
from tests.cli.messages import NOW, before
from tests.cli.rendering import rendered

SIZES = ((80, 24), (120, 40), (200, 50))


def drawn(picture: Picture, width: int, height: int, *, ascii_only: bool = False) -> list[str]:
    """Return the lines on a terminal of some size."""
    picture_of_it = dashboard(picture, width=width, height=height, now=NOW, ascii_only=ascii_only)
    return rendered(picture_of_it, width).splitlines()


def panel(lines: list[str], title: str) -> list[str]:
    """Return the lines of one section on a terminal with one column."""
    start = next(index for index, line in enumerate(lines) if line.startswith(title))
    rest = lines[start + 1 :]
    end = next((index for index, line in enumerate(rest) if "\u2500\u2500" in line), len(rest))
    return rest[:end]


@pytest.mark.parametrize(("width", "height"), SIZES)
def test_everything_that_matters_is_seen_at_once(width: int, height: int) -> None:
    lines = drawn(recorded.busy(), width, height)
    text = "\n".join(lines)
    for words in (
        "Oncology Clinical Protocol Agent  active  version 16",
        "2 here",
        "12:30:05",
        "system_prompt, editing",
        "Alice A. inclus",
        "1 lock",
        "assay 0.4 by Alice A. on version 16",
        "running 42 s, 60 lines",
        "reasoning step 60",
        "system_prompt:9-10",
        "Should this not be 16?",
        "topology gone",
        "[ ] Check the dosage table",
        "1 of 2 done",
    ):
        assert words in text, words
    assert len(lines) <= height


@pytest.mark.parametrize("width", [20, 39, 80, WIDE - 1, WIDE, 120, 200, 300])
@pytest.mark.parametrize("height", [1, 3, 8, 24, 60])
def test_the_picture_is_exactly_as_large_as_the_terminal(width: int, height: int) -> None:
    for picture in (Picture(), recorded.busy()):
        lines = dashboard(picture, width=width, height=height, now=NOW).plain.split("\n")
        assert [cell_len(line) for line in lines] == [width] * height


def test_a_wide_terminal_has_people_at_the_left_and_consoles_at_the_right() -> None:
    for width in (120, 200):
        lines = drawn(recorded.busy(), width, 40)
        heading = next(line for line in lines if line.startswith("here 2"))
        gutter = heading.index("\u2502")
        assert "console" in heading[gutter:]
        assert 0.35 < gutter / width < 0.5
        assert all(line[gutter] == "\u2502" for line in lines[2:])
        left, right = ("\n".join(line[side] for line in lines) for side in (slice(gutter), slice(gutter, None)))
        assert "tasks" in left
        assert "lock_denied" in left
        assert "versions" in right
        assert "back to 14: Back." in right
        assert "failed 30 s, 48 lines" in right


@pytest.mark.parametrize("height", [6, 10, 14, 18, 24])
def test_a_low_terminal_keeps_the_console_and_the_people(height: int) -> None:
    """What runs comes first, then who is here and who holds what; the log is the first to go."""
    lines = drawn(recorded.busy(), 80, height)
    text = "\n".join(lines)
    assert lines[0].startswith("Oncology")
    assert ("reasoning step 60" in text) == (height >= 10)
    assert ("here 2" in text) == (height >= 14 or height == 6)
    assert ("versions" in text) == (height > 24)


def test_the_console_grows_with_the_terminal() -> None:
    small, tall = (len(panel(drawn(recorded.busy(), 80, height), "console")) for height in (24, 60))
    assert 7 <= small < tall
    shown = [line for line in drawn(recorded.busy(), 80, 60) if "reasoning" in line]
    assert [line.split()[-1] for line in shown] == [str(number) for number in range(61 - len(shown), 61)]


def test_two_consoles_share_the_room() -> None:
    picture = recorded.busy()
    other = "01994b7e-0000-7000-8000-000000000ffe"
    picture.consoles.see({other: recorded.run(run_id=other, harness="pytest", start_time=before(seconds=9))})
    picture.consoles.take(recorded.log(*(f"test {number} ok" for number in range(1, 61)), run_id=other))
    lines = drawn(picture, 120, 40)
    assert any("2 running" in line for line in lines)
    first, second = (sum(words in line for line in lines) for words in ("reasoning step", "ok"))
    assert abs(first - second) <= 1
    assert first > 5


def test_when_nothing_runs_the_last_run_is_shown_with_its_verdict() -> None:
    picture = recorded.busy()
    results = [run_pb2.RunResult(name="T-01", passed=True), run_pb2.RunResult(name="T-02")]
    end = recorded.finished(line_count=60, results=results, state=run_pb2.RUN_STATE_FAILED)
    picture.consoles.take(run_pb2.RunLog(run_id=recorded.RUN_ID, finished_run=end))
    lines = panel(drawn(picture, 80, 50), "console")
    assert "pytest by Alice A. on version 16" in lines[0]
    assert "\u2717 assay 0.4" in lines[1]
    assert "failed 30 s, 1 of 2 passed, 60 lines" in lines[1]
    assert "reasoning step 60" in lines[-1]


def test_a_frozen_project_says_so_first() -> None:
    frozen = messages.project(state=project_pb2.PROJECT_STATE_FROZEN, name="x" * 300)
    for width, height in SIZES:
        headline = drawn(recorded.busy(project=frozen), width, height)[0]
        assert " FROZEN   version 16, for ever" in headline
        assert headline.endswith("12:30:05")


def test_a_person_with_several_windows_is_one_person() -> None:
    lines = drawn(recorded.busy(), 80, 40)
    assert "3 windows" in next(line for line in lines if line.startswith("here 2"))
    assert len(panel(lines, "here")) == 2
    alone = {"a": messages.presence(reconnecting=True)}
    lines = drawn(recorded.busy(presence=alone), 80, 40)
    assert "only you are here" in lines[0]
    assert "reconnecting" in panel(lines, "here")[0]


def test_locked_fields_are_shown_before_free_ones_when_not_all_have_room() -> None:
    fields = {f"a{number}": draft_pb2.FieldValue(name=f"a{number}") for number in range(50)}
    for height in (24, 40):
        rows = panel(drawn(recorded.busy(fields=fields), 80, height), "fields 51")
        assert len(rows) < 51
        assert any("system_prompt" in row and "Alice A." in row for row in rows)


@pytest.mark.parametrize(("width", "height"), SIZES)
def test_a_console_cannot_drive_the_terminal(width: int, height: int) -> None:
    """Only colours get through, and they end with their line; whatever else a terminal obeys is shown as escapes."""
    hostile = (
        "\x1b[2J\x1b[1;1Hcleared",
        "\x1b]0;title\x07\x1b]8;;http://x\x1b\\link\x1b]8;;\x1b\\",
        "\x1b[31mred \x1b[5;8mhidden, blinking",
        "\x9b2J\x08\x08\x7f\rover",
        "safe\u202eelif.exe",
        "\x1b[" + "1" * 5000 + "m",
        "wide \u6f22\u5b57" * 60,
        "z" + "\u0301" * 500 + "algo \u200d\u2060\ufe0f",
        "tab\tbed \u2028 line",
    )
    picture = recorded.busy()
    picture.consoles.take(recorded.log(*hostile, first=61))
    picture.project = messages.project(name="Evil \x1b[2J\n\n\n")
    whole = dashboard(picture, width=width, height=height, now=NOW)
    lines = whole.plain.split("\n")
    assert [cell_len(line) for line in lines] == [width] * height
    shown = "".join(lines)
    assert all(character.isprintable() for character in shown)
    assert "\u202e" not in shown
    if height > 24:
        assert "\\x1b[2J\\x1b[1;1Hcleared" in shown
        assert "red hidden, blinking" in shown
    assert not any(
        getattr(span.style, attribute, None) for span in whole.spans for attribute in ("blink", "conceal", "link")
    )


def test_colours_of_a_console_end_with_their_line() -> None:
    picture = recorded.busy()
    picture.consoles.take(recorded.log("\x1b[42mgreen for ever", "plain", first=61))
    whole = dashboard(picture, width=80, height=24, now=NOW)
    (green,) = (span for span in whole.spans if not isinstance(span.style, str) and span.style.bgcolor)
    assert whole.plain[green.start : green.end] == "green for ever"


def test_a_newer_end_is_not_forgotten_when_the_entry_comes_first() -> None:
    """Between the log and the consoles there is no order: lines may follow the entry that a run is finished."""
    picture = recorded.busy()
    ended = messages.entry(17, time=before(seconds=2))
    ended.run_finished.run_id, ended.run_finished.state = recorded.RUN_ID, run_pb2.RUN_STATE_PASSED
    ended.run_finished.line_count = 61
    picture.add(ended)
    picture.consoles.see({})
    picture.consoles.take(recorded.log("the last line", first=61))
    text = "\n".join(drawn(picture, 80, 40))
    assert "passed 40 s, 61 lines" in text
    assert "the last line" in text


def test_lines_that_come_before_their_run_are_kept() -> None:
    picture = Picture(project=messages.project())
    picture.consoles.take(recorded.log("early"))
    assert f"run {recorded.RUN_ID[-6:]}" in "\n".join(drawn(picture, 80, 24))
    picture.consoles.see({recorded.RUN_ID: recorded.run()})
    text = "\n".join(drawn(picture, 80, 24))
    assert "assay 0.4 by Alice A." in text
    assert "early" in text
    assert "1 line" in text


def test_where_there_is_only_ascii_the_picture_is_ascii() -> None:
    for width, height in SIZES:
        assert "\n".join(drawn(recorded.busy(), width, height, ascii_only=True)).isascii()


def test_what_was_before_joins_what_has_come_since() -> None:
    picture = Picture()
    for sequence in (101, 102):
        picture.add(messages.entry(sequence))
    picture.remember([messages.entry(sequence) for sequence in range(90, 103)], [messages.draft()])
    assert [entry.position.sequence for entry in picture.entries] == list(range(90, 103))
    assert [draft.version_number for draft in picture.versions] == [15]
    for sequence in range(103, 103 + KEPT_ENTRIES):
        picture.add(messages.entry(sequence))
    picture.remember([messages.entry(1)], [])
    assert picture.entries[0].position.sequence == 103


def test_before_the_server_told_anything_nothing_is_claimed() -> None:
    lines = drawn(Picture(), 80, 24)
    assert lines[0] == "connecting"
    assert "nothing to do" not in "\n".join(lines)
    read = Picture(is_read=True)
    read.remarks.is_read = True
    text = "\n".join(drawn(read, 80, 30))
    for words in ("nobody", "no field is locked", "nothing has run yet", "nothing to do", "nothing saved yet"):
        assert words in text


def test_a_low_terminal_has_no_room_for_what_is_empty() -> None:
    picture = Picture(project=messages.project(), is_read=True)
    picture.remarks.is_read = True
    assert "tasks" not in "\n".join(drawn(picture, 80, 24))
    assert "tasks" in "\n".join(drawn(picture, 80, 40))


def test_a_silent_server_is_told() -> None:
    assert "no word from the server" in drawn(recorded.busy(trouble="no word from the server"), 80, 24)[0]


def test_drawing_makes_nothing_that_wraps() -> None:
    whole = dashboard(recorded.busy(), width=80, height=24, now=NOW)
    assert isinstance(whole, Text)
    assert whole.no_wrap
