"""Reads ``FIELD=TEXT``, ``FIELD=@FILE`` and ``FIELD=@-`` as changes of fields."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from coreason.foundry.v1.draft_pb2 import FieldChange


def parse_changes(assignments: Sequence[str], removed: Sequence[str], kind: str = "") -> list[FieldChange]:
    """Return the changes that the arguments of ``draft save`` describe.

    Args:
        assignments: ``FIELD=TEXT``, ``FIELD=@FILE`` or ``FIELD=@-`` for standard input; ``@@`` begins a text with @.
        removed: Fields to remove.
        kind: Name of the ``FieldKind`` of all assigned fields, or empty to let the server decide.

    Raises:
        typer.BadParameter: An argument has none of these forms, a field is named twice, or a file cannot be read.
    """
    from coreason.foundry.v1.draft_pb2 import FieldChange, FieldKind

    changes: list[FieldChange] = []
    for assignment in assignments:
        field, equals, value = assignment.partition("=")
        if not field or not equals:
            raise typer.BadParameter(f"{assignment!r} is not FIELD=TEXT or FIELD=@FILE")
        change = FieldChange(field=field, kind=FieldKind.Value(f"FIELD_KIND_{kind or 'unspecified'}".upper()))
        content = _content(value)
        if isinstance(content, str):
            change.text = content
        else:
            change.data = content
        changes.append(change)
    changes += [FieldChange(field=field, remove=True) for field in removed]
    _check_distinct([change.field for change in changes])
    if not changes:
        raise typer.BadParameter("name at least one field to change, or one to --remove")
    return changes


def _content(value: str) -> str | bytes:
    """Return what a field shall hold: text if it is UTF-8, bytes otherwise, always exactly as given."""
    if value.startswith("@@") or not value.startswith("@"):
        return value.removeprefix("@") if value.startswith("@") else value
    data = _read(value[1:])
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return data


def _read(name: str) -> bytes:
    if name == "-":
        return sys.stdin.buffer.read()
    try:
        with open(name, "rb") as file:  # noqa: PTH123 - a Path would make "." of an empty name
            return file.read()
    except OSError as error:
        raise typer.BadParameter(f"{name!r} cannot be read: {error.strerror}") from None


def _check_distinct(fields: Sequence[str]) -> None:
    twice = sorted({field for field in fields if fields.count(field) > 1})
    if twice:
        raise typer.BadParameter(f"{', '.join(twice)} is named twice")
