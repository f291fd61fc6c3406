"""The example project that the demo plays with: ``examples/oncology``."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_HERE: Final = Path(__file__).resolve().parent
# In an installed wheel the files lie beside this module, in a working tree where people look for them.
_PLACES: Final = (_HERE / "oncology", _HERE.parents[3] / "examples" / "oncology")

#: The test harness of the example, a script beside its files.
BENCHMARK: Final = "benchmark.py"

_JSON_EXAMPLE: Final = re.compile(r"^```json\n(.*?)^```", re.DOTALL | re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Edit:
    """One change of the team: ``find`` (once in the field, or empty for its end) becomes ``replace``."""

    version: int
    author: str
    field: str
    find: str
    replace: str
    message: str

    def apply(self, text: str) -> str:
        """Return the text after the change.

        Raises:
            ValueError: The text to find is not there exactly once.
        """
        if not self.find:
            return text + self.replace
        if text.count(self.find) != 1:
            raise ValueError(f"{self.find!r} is not in {self.field} exactly once")
        return text.replace(self.find, self.replace)


@dataclass(frozen=True, slots=True)
class Example:
    """A project to be: its folder, name and rules, the files of version 1, and the edits that follow."""

    folder: Path
    name: str
    description: str
    labels: Mapping[str, str]
    rules: Mapping[str, str]
    files: Mapping[str, Path]
    edits: tuple[Edit, ...]

    def edit(self, version: int) -> Edit:
        """Return the change that makes a version."""
        return next(edit for edit in self.edits if edit.version == version)


def find_example(folder: Path | None = None) -> Path:
    """Return the folder of the example.

    Raises:
        FileNotFoundError: It is nowhere; the message says where it was looked for.
    """
    places = (folder,) if folder else _PLACES
    for place in places:
        if (place / "project.json").is_file():
            return place
    looked = " or ".join(str(place) for place in places)
    raise FileNotFoundError(f"the example project is not in {looked}; give its folder with --example")


def load_example(folder: Path) -> Example:
    """Return the example in a folder."""
    about = json.loads((folder / "project.json").read_text("utf-8"))
    lines = (folder / "edits.jsonl").read_text("utf-8").splitlines()
    return Example(
        folder=folder,
        name=about["name"],
        description=about["description"],
        labels=about["labels"],
        rules=about["rules"],
        files={
            "system_prompt": folder / "system_prompt.txt",
            "model_config": folder / "model_config.json",
            "topology": folder / "topology.json",
            **{
                f"{kind}/{path.stem}": path
                for kind in ("few_shot", "test_corpus")
                for path in sorted((folder / kind).glob("*.jsonl"))
            },
        },
        edits=tuple(Edit(**json.loads(line)) for line in lines),
    )


def json_problem(prompt: str) -> str:
    """Return what is wrong with the JSON example inside a prompt, or nothing."""
    match = _JSON_EXAMPLE.search(prompt)
    if match is None:
        return "there is no JSON example"
    try:
        json.loads(match[1])
    except ValueError as error:
        return str(error)
    return ""
