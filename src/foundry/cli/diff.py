"""Colours for unified diffs and for the content of fields."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Final

from rich.console import RenderableType
from rich.syntax import Syntax
from rich.text import Text

from foundry.cli.words import enum_word, plain, short_hash

if TYPE_CHECKING:
    from coreason.foundry.v1.draft_pb2 import FieldDelta, FieldValue

_LINE_STYLES: Final = {"+++": "bold", "---": "bold", "@@": "cyan", "+": "green", "-": "red", "\\": "dim"}
_LEXERS: Final = {"json": "json", "yaml": "yaml", "conversation_log": "json", "test_corpus": "json"}


def deltas(rows: Iterable[FieldDelta]) -> Iterator[Text]:
    """Yield the lines that show what differs between two versions, field by field. They are not to be wrapped."""
    for row in rows:
        yield _heading(row)
        yield from _lines(row)
        yield Text()


def _heading(delta: FieldDelta) -> Text:
    kind = enum_word(delta, "kind")
    heading = Text.assemble((plain(delta.field), "bold"), f"  {kind}")
    if not delta.binary:
        heading.append(f"  +{delta.added_lines}", "green").append(f" -{delta.removed_lines}", "red")
    return heading


def _lines(delta: FieldDelta) -> Iterator[Text]:
    if delta.binary:
        before, after = short_hash(delta.before_sha256) or "nothing", short_hash(delta.after_sha256) or "nothing"
        yield Text(f"not text: {before} -> {after}", "dim")
    yield from delta_lines(delta.unified)
    if delta.truncated:
        yield Text("the diff is longer; this is its beginning", "yellow")


def delta_lines(unified: str) -> Iterator[Text]:
    """Yield the lines of a unified diff in its colours."""
    for line in unified.removesuffix("\n").split("\n") if unified else ():
        style = next((style for start, style in _LINE_STYLES.items() if line.startswith(start)), "")
        yield Text(plain(line), style)


def content(field: FieldValue) -> RenderableType:
    """Return the content of a field, coloured by its kind."""
    if field.WhichOneof("content") == "data":
        return Text(f"{field.name} is not text; --raw writes its {field.size} bytes", "dim")
    lexer = _LEXERS.get(enum_word(field, "kind"), "text")
    return Syntax(plain(field.text), lexer, theme="ansi_dark", background_color="default", word_wrap=True)
