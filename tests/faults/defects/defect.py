"""What a defect is: some text of the code replaced by another, and the tests that must turn red by it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from tests.backends import SQLITE

if TYPE_CHECKING:
    from pathlib import Path

#: Where the code is, below the root of the tree.
CODE: Final = "src/foundry"


class NotPlantedError(Exception):
    """The text to replace is not there, or not only once: the code has changed, and the defect must follow it."""


@dataclass(frozen=True, slots=True)
class Edit:
    """A replacement.

    Attributes:
        path: File, below ``CODE``.
        old: Text that occurs exactly once in it.
        new: What stands there instead.
    """

    path: str
    old: str
    new: str

    def planted(self, text: str) -> str:
        """The text of the file with the replacement made.

        Raises:
            NotPlantedError: ``old`` does not occur exactly once.
        """
        found = text.count(self.old)
        if found != 1:
            raise NotPlantedError(f"{self.path}: occurs {found} times, not once: {self.old!r}")
        return text.replace(self.old, self.new)


@dataclass(frozen=True, slots=True)
class Defect:
    """A mistake that somebody could make, or has made.

    Attributes:
        name: Short, unique, in words joined by hyphens.
        why: One sentence: what goes wrong for people.
        edits: How it is made.
        noticed_by: Tests, by file and name without parameters; each of them must fail, with some parameters at least.
        backend: What the servers of these tests stand on, as ``pytest --backends`` takes it.
    """

    name: str
    why: str
    edits: tuple[Edit, ...]
    noticed_by: tuple[str, ...]
    backend: str = SQLITE

    @property
    def places(self) -> str:
        """The files it is planted in."""
        return ", ".join(dict.fromkeys(edit.path for edit in self.edits))

    def planted(self, root: Path) -> dict[Path, str]:
        """By file, what it holds with the defect in it.

        Args:
            root: Of the tree; nothing is written.

        Raises:
            NotPlantedError: See ``Edit.planted``.
        """
        files: dict[Path, str] = {}
        for edit in self.edits:
            path = root / CODE / edit.path
            files[path] = edit.planted(files.get(path) or path.read_text("utf-8"))
        return files
