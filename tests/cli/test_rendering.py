"""What people see, on a narrow and on a wide terminal: nothing they must copy is cut, no line is too long."""

from __future__ import annotations

import pytest
from rich.cells import cell_len
from rich.console import RenderableType

from coreason.foundry.v1 import audit_pb2, draft_pb2, lock_pb2, project_pb2
from foundry.cli import diff, events, tables
from tests.cli import messages
from tests.cli.messages import BOB, PROJECT_ID, ROBOT, SESSION_ID
from tests.cli.rendering import rendered

WIDTHS = (80, 160)

_EVENTS = [field.name for field in audit_pb2.LogEntry.DESCRIPTOR.oneofs_by_name["payload"].fields]

_LONG = "few_shot/a_rather_long_name_for_a_field/that_goes_on_and_on/until_it_does_not_fit.jsonl"
_CHANGED = [draft_pb2.ChangedField(field=f"test_corpus/case_{number}", after_sha256="a" * 64) for number in range(5)]
_FIELD = draft_pb2.FieldValue(
    name=_LONG,
    kind=draft_pb2.FIELD_KIND_CONVERSATION_LOG,
    size=1229,
    sha256="ab" * 32,
    last_changed_version=3,
    last_author="bob",
)
_DELTA = draft_pb2.FieldDelta(
    field="system_prompt",
    kind=draft_pb2.DELTA_KIND_MODIFIED,
    added_lines=1,
    removed_lines=1,
    unified="--- a\n+++ b\n@@ -1 +1 @@\n-" + "x" * 200 + "\n+y\n\\ No newline at end of file\n",
)


def _entries() -> list[audit_pb2.LogEntry]:
    return [
        messages.entry(12, lock_acquired=audit_pb2.LockAcquired(field="system_prompt", fencing_token=7)),
        messages.entry(13, lock_denied=audit_pb2.LockDenied(field="system_prompt", count=3, subject="bob")),
        messages.entry(
            14,
            actor=BOB,
            reason="she is on holiday",
            lock_released=audit_pb2.LockReleased(
                field="system_prompt",
                fencing_token=7,
                release_reason=lock_pb2.LOCK_RELEASE_REASON_FORCED,
                holder="alice",
            ),
        ),
        messages.entry(15, draft_created=audit_pb2.DraftCreated(version_number=16, source_version=14, message="Back.")),
        messages.entry(16),
    ]


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize(
    ("what", "present"),
    [
        (tables.projects([messages.project(), messages.project(name="x" * 150)]), [PROJECT_ID, "active", "16"]),
        (
            tables.project(messages.project(description="word " * 60), project_pb2.Member(role=project_pb2.ROLE_OWNER)),
            [PROJECT_ID, "area=oncology, protocol=ONC-2041", "agents suggest only, reasons required", "owner"],
        ),
        (tables.members([project_pb2.Member(subject="bob", role=project_pb2.ROLE_EDITOR)]), ["bob", "editor"]),
        (
            tables.locks([messages.lock(), messages.lock(field="topology", holder=ROBOT)]),
            ["system_prompt", "Alice A.", "7", "inclusion criteria", "Tuner for alice"],
        ),
        (tables.sessions([messages.session(), messages.session(detached=True)]), [SESSION_ID, "coreason-ide 4.2"]),
        (
            tables.drafts([messages.draft(source_version=14, changed_fields=_CHANGED)]),
            ["15", "2026-11-20 12:21:05", "Bob B.", "back to 14", "2 more"],
        ),
        (
            tables.draft(messages.draft(fields=[_FIELD])),
            ["version 15", "c" * 64, "conversation log", "1.2 KiB", "abab"],
        ),
        (events.entries(_entries(), 80), ["12", "system_prompt, token 7", "lock_denied", "not for you to see"]),
    ],
)
def test_everything_fits(what: RenderableType, present: list[str], width: int) -> None:
    text = rendered(what, width)
    assert all(cell_len(line) <= width for line in text.splitlines())
    flowing = " ".join(text.split())
    for words in present:
        assert words in flowing


@pytest.mark.parametrize("width", WIDTHS)
def test_names_to_copy_are_never_cut(width: int) -> None:
    text = rendered(tables.fields([_FIELD]), width)
    assert _LONG in "".join(line.split(" ")[0] for line in text.splitlines())


def test_a_wide_terminal_has_events_and_particulars_side_by_side() -> None:
    assert "lock_acquired" in rendered(events.entries(_entries(), 160), 160).splitlines()[2]
    assert "system_prompt, token 7" in rendered(events.entries(_entries(), 160), 160).splitlines()[2]


def test_who_breaks_a_lock_is_told_apart_from_who_held_it() -> None:
    assert events.particulars(_entries()[2]) == (
        'system_prompt, token 7: forced, was alice\'s because "she is on holiday"'
    )


@pytest.mark.parametrize(
    "event", [field.name for field in audit_pb2.LogEntry.DESCRIPTOR.oneofs_by_name["payload"].fields]
)
def test_every_event_of_the_log_can_be_shown(event: str) -> None:
    entry = messages.entry(1)
    getattr(entry, event).SetInParent()
    assert events.event_of(entry) == event
    assert event in events.line(entry).plain
    assert event in rendered(events.entries([entry], 80))


def test_a_diff_keeps_its_lines_whole_and_coloured() -> None:
    heading, *lines, last = diff.deltas([_DELTA])
    assert heading.plain == "system_prompt  modified  +1 -1"
    assert [(line.plain, str(line.style)) for line in lines] == [
        ("--- a", "bold"),
        ("+++ b", "bold"),
        ("@@ -1 +1 @@", "cyan"),
        ("-" + "x" * 200, "red"),
        ("+y", "green"),
        ("\\ No newline at end of file", "dim"),
    ]
    assert last.plain == ""


def test_what_is_not_text_shows_its_hashes() -> None:
    delta = draft_pb2.FieldDelta(
        field="logo", kind=draft_pb2.DELTA_KIND_ADDED, binary=True, after_sha256="f" * 64, truncated=True
    )
    heading, hashes, cut, _ = (line.plain for line in diff.deltas([delta]))
    assert heading == "logo  added"
    assert hashes == "not text: nothing -> ffffffffffff"
    assert "beginning" in cut


def test_content_of_a_field_is_shown_as_it_is() -> None:
    field = draft_pb2.FieldValue(name="model_config", kind=draft_pb2.FIELD_KIND_JSON, text='{"a": [1]}')
    assert rendered(diff.content(field)).strip() == '{"a": [1]}'
    assert "2 bytes" in rendered(diff.content(draft_pb2.FieldValue(name="logo", size=2, data=b"\xff\xfe")))
    assert "\\x1b[2J" in rendered(diff.content(draft_pb2.FieldValue(name="prompt", text="\x1b[2J")))
