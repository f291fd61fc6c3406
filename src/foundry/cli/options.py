"""Arguments and options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final, TypeAlias

import typer

ProjectArgument: TypeAlias = Annotated[
    str, typer.Argument(metavar="PROJECT", help="Id of the project, or its whole name.", show_default=False)
]
FieldArgument: TypeAlias = Annotated[
    str, typer.Argument(metavar="FIELD", help="Name of the field, for example system_prompt.", show_default=False)
]
ReasonOption: TypeAlias = Annotated[
    str, typer.Option("--reason", metavar="TEXT", help="Why; it goes into the log. Some projects require it.")
]
EtagOption: TypeAlias = Annotated[
    str, typer.Option("--etag", metavar="TAG", help="Only if the project still has this etag.")
]

#: Of options that take a URL with a password.
SEEN_BY_OTHERS: Final = "On the command line other users of this machine can see its password."


def given(text: str) -> str:
    """Return what an option was given, which must be something: an empty one is a variable that is not set."""
    if not text:
        raise typer.BadParameter("it is empty; give a value, or leave it out")
    return text


def given_path(text: str) -> Path:
    """Return the path that an option was given; an empty one would be the directory that one is in."""
    return Path(given(text))


def parse_pairs(pairs: list[str] | None, option: str) -> dict[str, str]:
    """Return ``KEY=VALUE`` arguments as a dictionary; a value may itself contain ``=``."""
    labels: dict[str, str] = {}
    for pair in pairs or ():
        key, equals, value = pair.partition("=")
        if not key or not equals:
            raise typer.BadParameter(f"{pair!r} is not KEY=VALUE", param_hint=option)
        labels[key] = value
    return labels
