"""How entries of the FoundryLog read: who, what happened, and the particulars in a few words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from rich.console import RenderableType
from rich.table import Column
from rich.text import Text

from foundry.cli.places import span_of
from foundry.cli.tables import changed_fields, number, policy, table
from foundry.cli.words import clock, enum_word, line_count, moment, person, plain, plural, short_hash

if TYPE_CHECKING:
    from coreason.foundry.v1.audit_pb2 import LogEntry

WIDE: Final = 110  # columns from which event and particulars stand beside each other

_WHO_COLUMNS: Final = 8
_EVENT_COLUMNS: Final = 15

_STYLES: Final = {
    "lock": "yellow",
    "draft": "green",
    "session": "dim",
    "member": "magenta",
    "policy": "magenta",
    "comment": "blue",
    "run": "bright_cyan",
    "freeze": "bold cyan",
    "project_frozen": "bold cyan",
    "bundle": "cyan",
    "assay": "cyan",
    "revision": "cyan",
}
_HIDDEN: Final = "not for you to see"


def event_of(entry: LogEntry) -> str:
    """Return the name of what happened, as the log has it."""
    return entry.WhichOneof("payload") or ""


def event_text(entry: LogEntry) -> Text:
    """Return the name of what happened in the colour of its group."""
    event = event_of(entry)
    return Text(event or _HIDDEN, _STYLES.get(event) or _STYLES.get(event.partition("_")[0], ""))


def particulars(entry: LogEntry) -> str:
    """Return what an entry tells beside its event, in a few words."""
    words = _of_project(entry)
    if words is None:
        words = _of_talk(entry)
    if words is None:
        words = _of_tests_and_releases(entry)
    if words is None:
        words = _of_work(entry)
    return plain(words + (f' because "{entry.reason}"' if entry.reason else "")).strip()


def _of_project(entry: LogEntry) -> str | None:
    """Return the particulars of what concerns the project and the installation; None for everything else."""
    words: str | None = None
    match entry.WhichOneof("payload"):
        case "project_created":
            created = entry.project_created
            words = created.name
            if created.revision_of_project_id:
                words += f", goes on from {created.revision_of_project_id}"
        case "project_updated":
            words = " ".join([", ".join(entry.project_updated.changed), entry.project_updated.name])
        case "member_set":
            before = enum_word(entry.member_set, "before") or "nobody"
            words = f"{entry.member_set.subject}: {before} -> {enum_word(entry.member_set, 'after')}"
        case "member_removed":
            words = f"{entry.member_removed.subject}, was {enum_word(entry.member_removed, 'before')}"
        case "policy_changed":
            words = policy(entry.policy_changed.after).plain
        case "log_genesis":
            words = f"format {entry.log_genesis.format}, {entry.log_genesis.hash}, {entry.log_genesis.canonical}"
        case "authentication_failed":
            words = f"{entry.authentication_failed.cause}, {plural(entry.authentication_failed.count, 'time')}"
        case "migration_applied":
            words = f"revision {entry.migration_applied.revision} by {entry.migration_applied.build}"
    return words


def _of_talk(entry: LogEntry) -> str | None:
    """Return the particulars of comments; None for everything else."""
    words: str | None = None
    match entry.WhichOneof("payload"):
        case "comment_created":
            words = _comment(entry)
        case "comment_updated":
            updated = entry.comment_updated
            words = f"{updated.comment_id}: {', '.join(updated.changed)}"
            if "assignee" in updated.changed:
                words += f", now for {updated.assignee or 'nobody'}"
        case "comment_deleted":
            words = entry.comment_deleted.comment_id
            author = entry.comment_deleted.author
            words += f", was {author}'s" if author not in {"", entry.actor.subject} else ""
        case "comment_state_changed":
            changed = entry.comment_state_changed
            words = f"{changed.comment_id}: {enum_word(changed, 'before')} -> {enum_word(changed, 'after')}"
    return words


def _comment(entry: LogEntry) -> str:
    created = entry.comment_created
    what = "reply" if created.parent_comment_id else enum_word(created, "kind")
    where = ""
    if created.field:
        where = f" on {span_of(created.field, created.start_line, created.end_line)} at {created.version_number}"
    about = f" on run {created.run_id}" if created.run_id else ""
    whose = f" for {created.assignee}" if created.assignee else ""
    to = f" to {created.parent_comment_id}" if created.parent_comment_id else ""
    return f"{what}{whose}{where}{about}{to}: {created.comment_id}"


def _of_tests_and_releases(entry: LogEntry) -> str | None:
    """Return the particulars of runs, exports and the freeze; None for everything else."""
    words: str | None = None
    match entry.WhichOneof("payload"):
        case "run_started":
            started = entry.run_started
            tool = f" with {started.harness}" if started.harness else ""
            again = f", attempt {started.attempt}" if started.attempt > 1 else ""
            words = f"version {started.version_number}{tool}{again}: {started.run_id}"
        case "run_finished":
            finished = entry.run_finished
            words = f"{enum_word(finished, 'state')}, {line_count(finished.line_count)}: {finished.run_id}"
            words += f", was {finished.starter}'s" if finished.starter not in {"", entry.actor.subject} else ""
        case "assay_exported":
            words = (
                f"version {entry.assay_exported.version_number}, payload {_hash(entry.assay_exported.payload_sha256)}"
            )
        case "freeze_requested":
            words = f"version {entry.freeze_requested.version_number}"
        case "project_frozen":
            frozen = entry.project_frozen
            words = f"version {frozen.version_number} for ever, fingerprint {_hash(frozen.fingerprint)}"
        case "bundle_exported":
            words = f"manifest {_hash(entry.bundle_exported.manifest_sha256)}"
        case "revision_started":
            words = (
                f"{entry.revision_started.revision_project_id}, from version {entry.revision_started.version_number}"
            )
    return words


def _hash(sha256: str) -> str:
    return short_hash(sha256) or "unknown"


def _of_work(entry: LogEntry) -> str:
    """Return the particulars of sessions, locks and drafts."""
    words = ""
    match entry.WhichOneof("payload"):
        case "session_opened":
            client = entry.session_opened.client.name
            words = "a single call" if entry.session_opened.unary else client
        case "session_resumed":
            words = f"stream {entry.session_resumed.stream_epoch}"
        case "session_closed":
            closed = entry.session_closed
            words = _reason(enum_word(closed, "close_reason"))
            words += f", was {closed.subject}'s" if closed.subject not in {"", entry.actor.subject} else ""
        case "lock_acquired":
            words = f"{entry.lock_acquired.field}, token {entry.lock_acquired.fencing_token}"
        case "lock_released":
            released = entry.lock_released
            words = f"{released.field}, token {released.fencing_token}: "
            words += _reason(enum_word(released, "release_reason"))
            words += f", was {released.holder}'s" if released.holder not in {"", entry.actor.subject} else ""
        case "lock_denied":
            denied = entry.lock_denied
            words = f"{denied.field} to {denied.subject}, {plural(denied.count, 'time')}"
        case "draft_created":
            words = _draft(entry)
    return words


def _draft(entry: LogEntry) -> str:
    created = entry.draft_created
    back = f" back to {created.source_version}" if created.source_version else ""
    message = f": {created.message}" if created.message else ""
    fields = changed_fields(created.changed_fields)
    return f"version {created.version_number}{back} ({fields}){message}"


def _reason(word: str) -> str:
    return word.replace("_", " ")


def line(entry: LogEntry) -> Text:
    """Return an entry as one line for people who watch or follow."""
    who, event = person(entry.actor), event_text(entry)
    who.pad_right(_WHO_COLUMNS - who.cell_len)
    event.pad_right(_EVENT_COLUMNS - event.cell_len)
    at = Text(f"{entry.position.sequence:>5}  {clock(entry.time)}", "dim")
    return Text("  ").join([at, who, event, Text(particulars(entry))])


def entries(rows: Sequence[LogEntry], width: int) -> RenderableType:
    """Return a table of entries that fits the terminal.

    Args:
        rows: The entries.
        width: Columns of the terminal; a narrow one has event and particulars below each other.
    """
    start = [number("#"), Column("time (UTC)", no_wrap=True), Column("who", no_wrap=True)]
    grid = table(*start, *([Column("event", no_wrap=True), "particulars"] if width >= WIDE else ["event"]))
    for row in rows:
        what = [event_text(row), Text(particulars(row))]
        if width < WIDE:
            what = [Text("\n").join(part for part in what if part.plain)]
        grid.add_row(str(row.position.sequence), Text(moment(row.time), "dim"), person(row.actor), *what)
    return grid


def verified(count: int, head: str) -> Text:
    """Return that a log is whole."""
    return Text.assemble(
        ("verified", "bold green"), f"  {plural(count, 'entry').replace('entrys', 'entries')}, unbroken chain, head "
    ).append(short_hash(head), "bold")
