"""Arguments and options that several commands share."""

from __future__ import annotations

from typing import Annotated, TypeAlias

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


def parse_pairs(pairs: list[str] | None, option: str) -> dict[str, str]:
    """Return ``KEY=VALUE`` arguments as a dictionary; a value may itself contain ``=``."""
    labels: dict[str, str] = {}
    for pair in pairs or ():
        key, equals, value = pair.partition("=")
        if not key or not equals:
            raise typer.BadParameter(f"{pair!r} is not KEY=VALUE", param_hint=option)
        labels[key] = value
    return labels
