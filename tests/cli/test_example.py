"""The example project is what the demo promises: good content, edits that apply, and one that breaks it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from foundry.cli.demo.example import BENCHMARK, Edit, Example, find_example, json_problem, load_example
from foundry.cli.demo.story_c import BAD, GOOD
from foundry.cli.demo.story_talk import LINE
from foundry.content.check import check_content, default_kind, default_media_type


@pytest.fixture
def example() -> Example:
    return load_example(find_example())


def _versions(example: Example) -> dict[int, dict[str, str]]:
    """Return the text of every field in every version."""
    versions = {1: {field: path.read_text("utf-8") for field, path in example.files.items()}}
    for edit in example.edits:
        before = versions[edit.version - 1]
        versions[edit.version] = {**before, edit.field: edit.apply(before.get(edit.field, ""))}
    return versions


def test_it_has_every_kind_of_field(example: Example) -> None:
    assert set(example.files) == {
        "system_prompt",
        "model_config",
        "topology",
        "few_shot/eligible",
        "few_shot/missing_data",
        "test_corpus/eligibility",
    }
    assert example.name == "Oncology Clinical Protocol Agent"


def test_the_edits_make_versions_2_to_15(example: Example) -> None:
    assert [edit.version for edit in example.edits] == list(range(2, BAD + 1))
    assert {edit.author for edit in example.edits} == {"alice", "bob"}
    assert all(edit.message for edit in example.edits)


def test_the_server_accepts_every_version(example: Example) -> None:
    for fields in _versions(example).values():
        for field, text in fields.items():
            kind = default_kind(field)
            check_content(field, kind, default_media_type(kind), text.encode())


def test_only_version_15_breaks_the_json_example(example: Example) -> None:
    problems = {number: json_problem(fields["system_prompt"]) for number, fields in _versions(example).items()}
    assert [number for number, problem in problems.items() if problem] == [BAD]
    assert "','" in problems[BAD]
    assert problems[GOOD] == ""


def test_an_edit_that_does_not_fit_is_refused() -> None:
    edit = Edit(2, "alice", "topology", "a", "b", "")
    with pytest.raises(ValueError, match="exactly once"):
        edit.apply("a a")


def test_a_prompt_without_example_has_a_problem() -> None:
    assert json_problem("You are an expert oncologist.") == "there is no JSON example"


def test_a_missing_example_is_said_clearly(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="--example"):
        find_example(tmp_path)


def _benchmark(example: Example, *args: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(example.folder / BENCHMARK), *args]
    return subprocess.run(command, input=stdin, capture_output=True, text=True, timeout=60, check=False)


def test_the_benchmark_says_the_same_every_time(example: Example) -> None:
    first, second = _benchmark(example), _benchmark(example, "--ask", stdin="\n" * 6)
    assert (first.returncode, first.stderr) == (0, "")
    assert first.stdout == second.stdout
    lines = first.stdout.splitlines()
    assert 20 <= len(lines) <= 60
    assert lines[-1] == "6 of 6 as expected"
    assert sum(line.startswith("T-0") for line in lines) == 6
    assert sum(line.startswith("  -> ") for line in lines) == 6


def test_the_benchmark_tests_what_was_exported(example: Example, tmp_path: Path) -> None:
    """A prompt that lost a criterion decides otherwise, and the benchmark fails."""
    texts = _versions(example)[GOOD]
    payload = tmp_path / "payload.json"
    payload.write_text(json.dumps({"fields": {name: {"text": text} for name, text in texts.items()}}), "utf-8")
    whole = _benchmark(example, str(payload))
    assert (whole.returncode, whole.stdout.splitlines()[-1]) == (0, "6 of 6 as expected")
    texts["system_prompt"] = texts["system_prompt"].replace("\nE1  ", "\nThe first: ")
    payload.write_text(json.dumps({"fields": {name: {"text": text} for name, text in texts.items()}}), "utf-8")
    lame = _benchmark(example, str(payload))
    assert lame.returncode == 1
    assert "  -> eligible  NOT AS EXPECTED" in lame.stdout.splitlines()


def test_the_comment_of_the_demo_is_on_a_line_that_moves(example: Example) -> None:
    before, after = (_versions(example)[version]["system_prompt"].splitlines() for version in (3, GOOD))
    assert before.count(LINE) == after.count(LINE) == 1
    assert before.index(LINE) < after.index(LINE)
