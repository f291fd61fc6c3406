"""The sections of the picture of a project: people, fields, tasks, comments, versions and the log."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Final

from rich.text import Text

from foundry.cli import events
from foundry.cli.cells import calm, fit, grid
from foundry.cli.layout import Section
from foundry.cli.places import span_of
from foundry.cli.tables import changed_fields, origin
from foundry.cli.threads import mark
from foundry.cli.words import clock, colour_of, enum_word, name_of, plural, since

if TYPE_CHECKING:
    from coreason.foundry.v1.audit_pb2 import LogEntry
    from coreason.foundry.v1.comment_pb2 import Comment
    from coreason.foundry.v1.session_event_pb2 import SessionPresence
    from coreason.foundry.v1.types_pb2 import Principal
    from foundry.cli.picture import Picture

_READING: Final = "\u2026"
_NAME: Final = 16  # most cells of a person's name
_BESIDE_FIELDS: Final = 30  # cells for what stands beside the name of a field
_ROOMY: Final = 72  # cells from which an entry of the log is shown with its number and in columns


def who(principal: Principal, limit: int = _NAME) -> Text:
    """Return somebody's name in their colour, on one line."""
    name = Text(calm(name_of(principal)), colour_of(principal.subject))
    name.truncate(limit, overflow="ellipsis")
    return name


def title(words: str, count: int | str = "") -> Text:
    """Return the title of a section."""
    return Text.assemble((words, "bold"), (f" {count}" if count != "" else "", "bright_black"))


def listed(lines: Sequence[Text], rows: int, empty: str) -> list[Text]:
    """Return as many lines as there is room for, or what to say when there are none."""
    return list(lines[:rows]) if lines else [Text(empty, "dim")]


def here(picture: Picture, now: datetime) -> Section:
    """Return who is here, and what they do: a line for each person, however many windows they have open."""
    people: dict[str, list[SessionPresence]] = {}
    for it in sorted(picture.presence.values(), key=lambda presence: presence.open_time.ToNanoseconds()):
        people.setdefault(it.principal.subject, []).append(it)

    def rows(width: int, count: int) -> list[Text]:
        cells = []
        for windows in people.values():
            first, gone = windows[0], all(it.reconnecting for it in windows)
            disc = Text("\u25cb" if gone else "\u25cf", colour_of(first.principal.subject))
            doing = Text("reconnecting", "yellow") if gone else _doing(windows)
            cells.append(
                [Text.assemble(disc, " ", who(first.principal)), doing, Text(since(first.open_time, now), "dim")]
            )
        return listed(grid(cells, width, (_NAME + 2, None, 8)), count, "nobody")

    windows = sum(map(len, people.values()))
    note = Text(plural(windows, "window"), "bright_black") if windows > len(people) else Text()
    wanted = max(1, len(people))
    return Section(title("here", len(people) or ""), rows, wanted, rank=2, least=min(3, wanted), note=note)


def _doing(windows: Sequence[SessionPresence]) -> Text:
    """Return what somebody does, in the window in which they do the most; the last one, if that says nothing."""
    busy = [it for it in windows if it.focus_field or it.activity]
    it = (busy or windows)[-1]
    at = ", ".join(calm(part) for part in (it.focus_field, it.activity) if part)
    return Text(at) if at else Text(calm(it.client_name), "dim")


def fields(picture: Picture, now: datetime) -> Section:
    """Return the fields, and who holds their locks; the held ones first when not all have room."""
    names = sorted(picture.fields.keys() | picture.locks.keys())

    def rows(width: int, count: int) -> list[Text]:
        order = names if count >= len(names) else sorted(names, key=lambda name: (name not in picture.locks, name))
        cells = []
        for name in order[:count]:
            lock, value = picture.locks.get(name), picture.fields.get(name)
            version = Text(f"v{value.last_changed_version}" if value else "new", "bright_black")
            if lock is None:
                author = Text(calm(value.last_author) if value else "", "bright_black")
                cells.append([Text(f"\u00b7 {calm(name)}"), version, author, Text()])
                continue
            colour = colour_of(lock.holder.subject)
            held = Text.assemble(("\u25a0 ", colour), (calm(name), "bold"))
            purpose = Text.assemble(" ", (calm(lock.purpose), "dim")) if lock.purpose else Text()
            holder = Text.assemble(who(lock.holder), purpose)
            cells.append([held, version, holder, Text(since(lock.acquire_time, now), colour)])
        return listed(grid(cells, width, (max(16, width - _BESIDE_FIELDS), 6, None, 8)), count, "no field yet")

    held = plural(len(picture.locks), "lock") if picture.locks else "no field is locked"
    note = Text(held, "yellow" if picture.locks else "bright_black")
    least = min(3, max(1, len(picture.locks)))
    return Section(
        title("fields", len(names) or ""), rows, max(1, len(names)), rank=3, least=least, weight=2, note=note
    )


def place_now(comment: Comment) -> Text:
    """Return which lines of the newest version a comment is about."""
    if not comment.HasField("anchor"):
        return Text(f"run {comment.run_id[-6:]}", "cyan") if comment.run_id else Text()
    anchor, now = comment.anchor, comment.resolved_anchor
    if not comment.HasField("resolved_anchor"):
        return Text(calm(span_of(anchor.field, anchor.start_line, anchor.end_line)), "cyan")
    state = enum_word(now, "state")
    if state in {"outdated", "orphaned"}:
        return Text.assemble((calm(anchor.field), "cyan"), (" gone", "bright_black"))
    about = "~" if state == "fuzzy" else ""
    return Text(calm(about + span_of(anchor.field, now.start_line, now.end_line)), "cyan")


def words_of(comment: Comment, style: str = "") -> Text:
    """Return the first words of a comment, on one line."""
    return Text(calm(" ".join(comment.text.split())), style)


def comments(picture: Picture, now: datetime) -> Section:
    """Return the open threads, newest first: two lines each when there is room."""
    notes = picture.remarks.notes()
    empty = "nobody has asked anything" if picture.remarks.is_read else _READING

    def rows(width: int, count: int) -> list[Text]:
        if count < 2 * len(notes):
            cells = [[who(it.author), place_now(it), words_of(it)] for it in notes[:count]]
            return listed(grid(cells, width, (_NAME, max(12, width // 3), None)), count, empty)
        lines: list[Text] = []
        for it in notes:
            replies = picture.remarks.replies(it.comment_id)
            answers = Text(plural(replies, "reply").replace("replys", "replies") if replies else "", "bright_black")
            cells = [[who(it.author), place_now(it), answers, Text(since(it.create_time, now), "dim")]]
            lines += grid(cells, width, (_NAME, None, 12, 8)) or []
            lines.append(fit(Text.assemble("  ", words_of(it)), width))
        return listed(lines, count, empty)

    return Section(
        title("comments", len(notes) or ""),
        rows,
        max(1, 2 * len(notes)),
        rank=4,
        least=min(2, max(1, len(notes))),
        weight=2,
    )


def tasks(picture: Picture) -> Section:
    """Return the checklist: what is to be done first."""
    items = picture.remarks.tasks()
    empty = "nothing to do" if picture.remarks.is_read else _READING
    done = sum(enum_word(it, "state") == "done" for it in items)

    def rows(width: int, count: int) -> list[Text]:
        cells = []
        for it in items[:count]:
            ticked = enum_word(it, "state") == "done"
            what = Text.assemble(mark(it), " ", words_of(it, "dim" if ticked else ""))
            whose = Text(calm(it.assignee), "dim" if ticked else colour_of(it.assignee)) if it.assignee else Text()
            cells.append([what, place_now(it) if width >= _ROOMY else Text(), whose])
        return listed(grid(cells, width, (None, width // 3, _NAME)), count, empty)

    note = Text(f"{done} of {len(items)} done", "green" if done == len(items) else "bright_black") if items else Text()
    return Section(
        title("tasks"),
        rows,
        max(1, len(items)),
        rank=5,
        least=min(2, max(1, len(items))),
        weight=2,
        has_news=bool(items),
        note=note,
    )


def versions(picture: Picture, now: datetime) -> Section:
    """Return the newest versions, the newest first."""
    newest = list(reversed(picture.versions))
    empty = "nothing saved yet" if picture.is_read else _READING

    def rows(width: int, count: int) -> list[Text]:
        cells = []
        for it in newest[:count]:
            what = ": ".join(part for part in (origin(it), it.message or changed_fields(it.changed_fields)) if part)
            number = Text(f"{it.version_number:>3}", "bold" if it is newest[0] else "")
            saved = Text(since(it.create_time, now), "dim")
            cells.append([number, who(it.author), Text(calm(" ".join(what.split()))), saved])
        return listed(grid(cells, width, (6, _NAME, None, 8)), count, empty)

    return Section(title("versions"), rows, max(1, len(newest)), rank=7, least=3)


def log(picture: Picture) -> Section:
    """Return the end of the log, the newest entry last."""
    entries = list(picture.entries)
    empty = "nothing" if picture.is_read else _READING

    def rows(width: int, count: int) -> list[Text]:
        newest = entries[-count:]
        if width >= _ROOMY:
            return listed([_whole(entry, width) for entry in newest], count, empty)
        cells = [
            [
                Text(clock(entry.time), "bright_black"),
                who(entry.actor, 10),
                Text.assemble(events.event_text(entry), "  ", (calm(events.particulars(entry)), "dim")),
            ]
            for entry in newest
        ]
        return listed(grid(cells, width, (8, 10, None)), count, empty)

    return Section(title("log"), rows, max(1, len(entries)), rank=6)


def _whole(entry: LogEntry, width: int) -> Text:
    line = events.line(entry)
    line.plain = line.plain.replace("\n", " ").replace("\t", " ")
    return fit(line, width)
