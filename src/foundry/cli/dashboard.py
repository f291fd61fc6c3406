"""The live picture of a project: who is here, who holds what, what was saved, what happened."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Final

from rich import box
from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Column, Table
from rich.text import Text

from foundry.cli import events
from foundry.cli.tables import changed_fields, origin, state_of
from foundry.cli.words import name_of, person, plain, shown, since

if TYPE_CHECKING:
    from coreason.foundry.v1.audit_pb2 import LogEntry
    from coreason.foundry.v1.draft_pb2 import Draft
    from coreason.foundry.v1.lock_pb2 import Lock
    from coreason.foundry.v1.project_pb2 import Project
    from coreason.foundry.v1.session_event_pb2 import SessionPresence

WIDE: Final = 110  # columns from which there are two of everything
_KEPT_ENTRIES: Final = 200
KEPT_VERSIONS: Final = 5
_HEAD_LINES: Final = 2
_FRAME_LINES: Final = 2


@dataclass(slots=True)
class Picture:
    """What the dashboard shows.

    Attributes:
        project: The project, or None before the server told.
        presence: Who is here, by session.
        locks: Held locks, by field.
        entries: The newest entries of the log, oldest first.
        versions: The newest versions, oldest first.
    """

    project: Project | None = None
    presence: Mapping[str, SessionPresence] = field(default_factory=dict)
    locks: Mapping[str, Lock] = field(default_factory=dict)
    entries: deque[LogEntry] = field(default_factory=lambda: deque(maxlen=_KEPT_ENTRIES))
    versions: deque[Draft] = field(default_factory=lambda: deque(maxlen=KEPT_VERSIONS))

    def add(self, entry: LogEntry) -> None:
        """Take in an entry of the log, unless it is known already."""
        from coreason.foundry.v1.draft_pb2 import Draft

        if self.entries and _place(entry) <= _place(self.entries[-1]):
            return
        self.entries.append(entry)
        created = entry.draft_created
        if created.version_number > (self.versions[-1].version_number if self.versions else 0):
            self.versions.append(
                Draft(
                    version_number=created.version_number,
                    source_version=created.source_version,
                    author=entry.actor,
                    create_time=entry.time,
                    message=created.message,
                    changed_fields=created.changed_fields,
                )
            )


def _place(entry: LogEntry) -> tuple[int, int]:
    return entry.position.epoch, entry.position.sequence


def dashboard(picture: Picture, *, width: int, height: int, now: datetime) -> RenderableType:
    """Return the whole picture, no higher than the terminal.

    Args:
        picture: What to show.
        width: Columns of the terminal.
        height: Lines of the terminal; the log gets what the rest leaves over.
        now: The time, for how long things last.
    """
    here, pens, versions = _here(picture, now), _pens(picture, now), _versions(picture, now)
    heights = [_height(part) for part in (here, pens, versions)]
    used = _HEAD_LINES + (max(sum(heights[:2]), heights[2]) if width >= WIDE else sum(heights)) + _FRAME_LINES
    log = _panel("log", _log(picture, max(3, height - used)), "nothing")
    people = _panel("here", here, "nobody")
    locks = _panel("pens", pens, "no field is locked")
    saved = _panel("versions", versions, "nothing saved yet")
    if width < WIDE:
        return Group(_headline(picture), people, locks, saved, log)
    sides = Table.grid(Column(ratio=1), Column(ratio=1), expand=True)
    sides.add_row(Group(people, locks), saved)
    return Group(_headline(picture), sides, log)


def _headline(picture: Picture) -> RenderableType:
    it = picture.project
    if it is None:
        return Text("connecting", "dim")
    people = len({presence.principal.subject for presence in picture.presence.values()})
    return Text.assemble(
        (plain(it.name), "bold"),
        "  ",
        state_of(it),
        f"  version {it.head_version}",
        (f"  {people} here\n" if people != 1 else "  only you are here\n", "dim"),
    )


def _here(picture: Picture, now: datetime) -> Table:
    grid = _grid(Column(no_wrap=True), Column(ratio=1), Column(justify="right", no_wrap=True))
    for it in sorted(picture.presence.values(), key=lambda presence: presence.open_time.ToNanoseconds()):
        at = [f"at {it.focus_field}" if it.focus_field else "", it.activity]
        doing = Text(plain(", ".join(part for part in at if part)) or plain(it.client_name), "" if any(at) else "dim")
        if it.reconnecting:
            doing = Text("reconnecting", "yellow")
        grid.add_row(person(it.principal), doing, Text(since(it.open_time, now), "dim"))
    return grid


def _pens(picture: Picture, now: datetime) -> Table:
    grid = _grid(Column(no_wrap=True), Column(no_wrap=True), Column(ratio=1), Column(justify="right", no_wrap=True))
    for name in sorted(picture.locks):
        it = picture.locks[name]
        grid.add_row(
            shown(it.field, "bold"), person(it.holder), shown(it.purpose), Text(since(it.acquire_time, now), "dim")
        )
    return grid


def _versions(picture: Picture, now: datetime) -> Table:
    grid = _grid(
        Column(justify="right", no_wrap=True),
        Column(no_wrap=True),
        Column(ratio=1, no_wrap=True, overflow="ellipsis"),
        Column(justify="right", no_wrap=True),
    )
    for it in reversed(picture.versions):
        what = ": ".join(part for part in (origin(it), it.message or changed_fields(it.changed_fields)) if part)
        saved = Text(since(it.create_time, now), "dim")
        grid.add_row(Text(str(it.version_number), "bold"), person(it.author), shown(what), saved)
    return grid


def _log(picture: Picture, lines: int) -> Table:
    grid = Table.grid(Column(no_wrap=True, overflow="ellipsis"))
    for entry in list(picture.entries)[-lines:]:
        grid.add_row(events.line(entry))
    return grid


def _grid(*columns: Column) -> Table:
    return Table.grid(*columns, expand=True, padding=(0, 2, 0, 0))


def _panel(title: str, body: Table, empty: str) -> Panel:
    inside: RenderableType = body if body.row_count else Text(empty, "dim")
    return Panel(inside, title=Text(title, "bold"), title_align="left", box=box.ROUNDED, border_style="dim")


def _height(body: Table) -> int:
    return max(1, body.row_count) + _FRAME_LINES


def presence_lines(
    joined: Iterable[str], left: Iterable[str], changed: Iterable[SessionPresence], now: datetime
) -> list[Text]:
    """Return a line for each who came, who went, and who looks at something else."""
    sentences = [
        *(f"{subject}  joined" for subject in joined),
        *(f"{subject}  left" for subject in left),
        *(f"{name_of(it.principal)}  at {it.focus_field}" for it in changed if it.focus_field),
    ]
    return [Text(f"       {now:%H:%M:%S}  {plain(sentence)}", "dim") for sentence in sentences]
