"""How the contract's messages look on a terminal: one function a kind of list or thing."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Final

from rich import box
from rich.console import Group, RenderableType
from rich.table import Column, Table
from rich.text import Text

from foundry.cli.words import (
    enum_word,
    moment,
    person,
    plain,
    plural,
    short_hash,
    shown,
    since,
    size,
)

if TYPE_CHECKING:
    from coreason.foundry.v1.draft_pb2 import ChangedField, Draft, FieldValue
    from coreason.foundry.v1.lock_pb2 import Lock
    from coreason.foundry.v1.project_pb2 import Member, Policy, Project
    from coreason.foundry.v1.session_pb2 import Session

STATE_STYLES: Final = {"active": "green", "in_review": "yellow", "frozen": "cyan"}


def table(*columns: Column | str, title: str = "") -> Table:
    """Return an empty table in the one style of this program."""
    return Table(
        *columns,
        title=title or None,
        title_justify="left",
        title_style="bold",
        box=box.SIMPLE_HEAD,
        show_edge=False,
        pad_edge=False,
        header_style="dim",
        padding=(0, 1, 0, 0),
    )


def facts(rows: Iterable[tuple[str, RenderableType]]) -> Table:
    """Return names and values below each other; rows without a value are left out."""
    grid = Table.grid(Column(style="dim", no_wrap=True), Column(), padding=(0, 2, 0, 0))
    for name, value in rows:
        if value:
            grid.add_row(name, value)
    return grid


def number(title: str) -> Column:
    """Return a column of numbers."""
    return Column(title, justify="right", no_wrap=True)


def named(title: str) -> Column:
    """Return a column of names that have to be copied: folded if need be, but never cut."""
    return Column(title, overflow="fold")


def state_of(project: Project) -> Text:
    """Return where a project stands: its state, and whether it is archived."""
    state = enum_word(project, "state")
    if project.HasField("archive_time"):
        return Text("archived" if state == "active" else f"{state}, archived", "yellow")
    return Text(state.replace("_", " "), STATE_STYLES.get(state, ""))


def projects(rows: Sequence[Project]) -> RenderableType:
    """Return a table of projects."""
    grid = table(Column("project", no_wrap=True), "name", number("version"), "state")
    for row in rows:
        grid.add_row(row.project_id, shown(row.name, "bold"), str(row.head_version), state_of(row))
    return grid


def project(it: Project, member: Member | None = None) -> RenderableType:
    """Return everything about one project."""
    return Group(
        shown(it.name, "bold"),
        facts(
            [
                ("project", Text(it.project_id)),
                ("state", state_of(it)),
                ("version", Text(str(it.head_version) if it.head_version else "0, nothing saved yet")),
                ("goes on from", revision_of(it)),
                ("about", shown(it.description)),
                ("labels", shown(", ".join(f"{key}={it.labels[key]}" for key in sorted(it.labels)))),
                ("policy", policy(it.policy)),
                ("created", Text.assemble(moment(it.create_time), " by ", person(it.creator))),
                ("changed", Text(moment(it.update_time))),
                ("your role", Text(enum_word(member, "role") if member else "")),
                ("etag", Text(it.etag, "dim")),
            ]
        ),
    )


def revision_of(it: Project) -> Text:
    """Return the release that a project goes on from, or nothing."""
    if not it.revision_of_project_id:
        return Text()
    return Text.assemble(it.revision_of_project_id, (f", release {short_hash(it.revision_of_fingerprint)}", "dim"))


def policy(it: Policy) -> Text:
    """Return the rules of a project in a few words."""
    retention = f"console lines kept {it.log_retention_days} days" if it.log_retention_days else ""
    rules = [
        f"agents {enum_word(it, 'agent_access').replace('_', ' ') or 'suggest only'}",
        "reasons required" if it.require_reason else "",
        "evidence required" if it.require_evidence else "",
        f"{plural(it.min_approvals, 'signature')} to freeze" if it.min_approvals else "",
        "viewers may comment" if it.viewers_may_comment else "",
        retention,
    ]
    return Text(", ".join(rule for rule in rules if rule))


def members(rows: Sequence[Member]) -> RenderableType:
    """Return a table of members."""
    grid = table("member", "role", "name", "since (UTC)")
    for row in rows:
        grid.add_row(
            shown(row.subject), enum_word(row, "role"), shown(row.display_name), Text(moment(row.add_time), "dim")
        )
    return grid


def locks(rows: Sequence[Lock]) -> RenderableType:
    """Return a table of held locks."""
    grid = table(named("field"), "held by", number("for"), number("token"), "purpose")
    for row in rows:
        grid.add_row(
            shown(row.field, "bold"),
            person(row.holder),
            since(row.acquire_time),
            str(row.fencing_token),
            shown(row.purpose, "dim"),
        )
    return grid


def sessions(rows: Sequence[Session]) -> RenderableType:
    """Return a table of open sessions."""
    grid = table(Column("session", no_wrap=True), "who", number("for"), "program")
    for row in rows:
        client = shown(f"{row.client.name} {row.client.version}".strip())
        if row.detached:
            client.append(" reconnecting", "yellow")
        grid.add_row(row.session_id, person(row.principal), since(row.open_time), client)
    return grid


def changed_fields(fields: Sequence[ChangedField], limit: int = 3) -> str:
    """Return what a version changed: ``+new``, ``-removed``, ``changed``; from a limit on only how many more."""
    signs = [
        ("+" if not change.before_sha256 else "-" if not change.after_sha256 else "") + change.field
        for change in fields[:limit]
    ]
    if len(fields) > limit:
        signs.append(f"{len(fields) - limit} more")
    return plain(", ".join(signs))


def origin(it: Draft) -> str:
    """Return how a version came about when that is worth saying: ``back to 14``, ``carried over``."""
    if enum_word(it, "origin") == "import":
        return "carried over"
    return f"back to {it.source_version}" if it.source_version else ""


def drafts(rows: Sequence[Draft]) -> RenderableType:
    """Return the history of a project, as listed."""
    grid = table(
        number("version"), Column("saved (UTC)", no_wrap=True), Column("by", no_wrap=True), "changed", "message"
    )
    for row in rows:
        grid.add_row(
            Text(str(row.version_number), "bold"),
            Text(moment(row.create_time), "dim"),
            person(row.author),
            changed_fields(row.changed_fields),
            Text(": ".join(part for part in (origin(row), plain(row.message)) if part)),
        )
    return grid


def draft(it: Draft) -> RenderableType:
    """Return one version with its fields, without their content."""
    return Group(
        Text.assemble((f"version {it.version_number}", "bold"), "  ", (origin(it), "yellow")),
        facts(
            [
                ("saved", Text.assemble(moment(it.create_time), " by ", person(it.author))),
                ("message", shown(it.message)),
                ("changed", Text(changed_fields(it.changed_fields, limit=64))),
                ("content", Text(it.content_sha256)),
                ("draft", Text(it.draft_id, "dim")),
            ]
        ),
        Text(),
        fields(it.fields),
    )


def fields(rows: Sequence[FieldValue]) -> RenderableType:
    """Return a table of fields without content."""
    grid = table(named("field"), "kind", number("size"), number("since"), "by", named("sha256"))
    for row in rows:
        grid.add_row(
            shown(row.name, "bold"),
            enum_word(row, "kind").replace("_", " "),
            size(row.size),
            str(row.last_changed_version),
            shown(row.last_author),
            Text(short_hash(row.sha256), "dim"),
        )
    return grid
