"""The small model of a workspace: who holds what, what is saved, and which refusal comes first."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

SCRATCHPAD = "scratchpad"
NAMES = ("system_prompt", "notes", SCRATCHPAD)


@dataclass(slots=True)
class Field:
    """A field: its fence, the session that holds it, its text, and the version that changed it last."""

    fence: int = 0
    holder: str = ""
    text: str | None = None
    changed: int = 0


@dataclass(slots=True)
class Tab:
    """A session: ``attached`` to a stream, ``detached`` from it for its grace, or closed with a reason."""

    session_id: str
    who: str
    tab_id: str
    grace_s: int
    secrets: list[str]
    state: str = "attached"

    @property
    def open(self) -> bool:
        """Whether it may still hold locks."""
        return self.state in {"attached", "detached"}


@dataclass(frozen=True, slots=True)
class Save:
    """A save as it is asked for. ``session_id`` is empty for a session of the call's own length."""

    who: str
    session_id: str
    changes: Mapping[str, str | None]
    tokens: Mapping[str, int]
    base_version: int
    keep: bool
    request_id: str


@dataclass(slots=True)
class Model:
    """What the server is to show.

    Attributes:
        versions: The fields of each version; 0 is empty.
        tokens: Every fencing token ever issued, as (field, session, token).
    """

    fields: dict[str, Field] = field(default_factory=lambda: {name: Field() for name in NAMES})
    tabs: dict[str, Tab] = field(default_factory=dict)
    versions: list[dict[str, str]] = field(default_factory=lambda: [{}])
    tokens: list[tuple[str, str, int]] = field(default_factory=list)

    @property
    def head(self) -> int:
        """Number of the newest version."""
        return len(self.versions) - 1

    @property
    def held(self) -> dict[str, tuple[str, int]]:
        """Session and token of each held field."""
        return {name: (it.holder, it.fence) for name, it in self.fields.items() if it.holder}

    # --- sessions ---

    def opened(self, tab: Tab) -> list[Tab]:
        """A session came; returns those whose place it took."""
        superseded = [
            other
            for other in self.tabs.values()
            if other.open and tab.tab_id == other.tab_id != "" and other.who == tab.who
        ]
        for other in superseded:
            self.closed(other, "SESSION_SUPERSEDED")
        self.tabs[tab.session_id] = tab
        return superseded

    def closed(self, tab: Tab, why: str) -> None:
        """A session went, and its locks with it."""
        tab.state = why
        for it in self.fields.values():
            if it.holder == tab.session_id:
                it.holder = ""

    @staticmethod
    def resume(tab: Tab, who: str, secret: str) -> str:
        """The refusal of a resume; ``NEW`` when it gives a new session, nothing when it is resumed."""
        if who != tab.who or secret != tab.secrets[-1]:
            return "RESUME_REFUSED"
        if tab.state in {"SESSION_SUPERSEDED", "SESSION_ENDED"}:
            return tab.state
        return "" if tab.open else "NEW"

    # --- locks ---

    def acquire(self, tab: Tab, name: str, if_unchanged_since: int) -> set[str]:
        """The refusals that an acquire may get; nothing when it is granted, by ``granted``."""
        it = self.fields[name]
        if tab.state != "attached":
            # A hint of the registry may come before the look at the session.
            return {"SESSION_CLOSED"} | ({"LOCK_HELD"} if it.holder not in {"", tab.session_id} else set())
        if it.holder == tab.session_id:
            return set()
        if it.holder:
            return {"LOCK_HELD"}
        if if_unchanged_since and it.fence != if_unchanged_since:
            return {"LOCK_INTERVENED"}
        return set()

    def granted(self, tab: Tab, name: str) -> int:
        """An acquire was granted; returns the token it must show."""
        it = self.fields[name]
        if it.holder != tab.session_id:
            it.fence, it.holder = it.fence + 1, tab.session_id
            self.tokens.append((name, tab.session_id, it.fence))
        return it.fence

    def release(self, tab: Tab, name: str, token: int) -> str:
        """The refusal of a release; without one the field is free."""
        if tab.state != "attached":
            return "SESSION_CLOSED"
        it = self.fields[name]
        if (it.holder, it.fence) != (tab.session_id, token):
            return "LOCK_LOST"
        it.holder = ""
        return ""

    def break_lock(self, name: str, token: int, *, owner: bool) -> str:
        """The refusal of a break; without one the field is free."""
        it = self.fields[name]
        if not it.holder or it.fence != token:
            return "LOCK_LOST"
        if not owner:
            return "ROLE_TOO_LOW"
        it.holder = ""
        return ""

    # --- versions ---

    def save(self, save: Save) -> str:
        """The refusal of a save; without one it is done, and says COMMITTED or NO_CHANGE."""
        refusal = self._may_write(save, save.changes) or self._stale(save.base_version, save.changes)
        return refusal or self._write(save, save.changes)

    def revert(self, save: Save, version: int) -> str:
        """As ``save``, of what differs from an older version."""
        if not 1 <= version <= self.head:
            return "RESOURCE_NOT_FOUND"
        source = self.versions[version]
        changes = {
            name: source.get(name)
            for name, it in self.fields.items()
            if name != SCRATCHPAD and (source.get(name) != it.text or name in save.tokens)
        }
        others = [name for name in NAMES if name != SCRATCHPAD]
        refusal = self._may_write(save, changes) or self._stale(save.base_version, others)
        return refusal or self._write(save, changes)

    def _may_write(self, save: Save, names: Iterable[str]) -> str:
        if not save.session_id:
            return "LOCK_HELD" if any(self.fields[name].holder for name in names) else ""
        tab = self.tabs[save.session_id]
        if tab.state != "attached" or tab.who != save.who:
            return "SESSION_CLOSED"
        for name in sorted(names):
            it = self.fields[name]
            if name not in save.tokens:
                return "LOCK_REQUIRED"
            if (it.holder, it.fence) != (save.session_id, save.tokens[name]):
                return "LOCK_LOST"
        return ""

    def _stale(self, base_version: int, names: Iterable[str]) -> str:
        if base_version > self.head:
            return "INVALID_ARGUMENT"
        return "STALE_VERSION" if any(self.fields[name].changed > base_version for name in names) else ""

    def _write(self, save: Save, changes: Mapping[str, str | None]) -> str:
        effective = {name: text for name, text in changes.items() if self.fields[name].text != text}
        if effective or save.session_id:
            for name in changes:
                it = self.fields[name]
                if not save.session_id:
                    it.fence += 1
                elif not save.keep:
                    it.holder = ""
        if not effective:
            return "NO_CHANGE"
        for name, text in effective.items():
            self.fields[name].text, self.fields[name].changed = text, self.head + 1
        self.versions.append({name: it.text for name, it in self.fields.items() if it.text is not None})
        return "COMMITTED"
