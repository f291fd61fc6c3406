"""The check every content passes before it is stored, by the kind of its field."""

from __future__ import annotations

from typing import Final

from foundry.content.model_config import check_model_config
from foundry.content.strict_json import parse_json
from foundry.content.strict_yaml import check_yaml
from foundry.content.text import Refused, decode_utf8
from foundry.domain.errors import InvalidContent
from foundry.domain.field import FieldKind

MODEL_CONFIG: Final = "model_config"

_JSON_LINES: Final = frozenset({"application/jsonl", "application/x-ndjson"})

_MEDIA_TYPES: Final = {
    FieldKind.TEXT: "text/plain",
    FieldKind.JSON: "application/json",
    FieldKind.YAML: "application/yaml",  # RFC 9512
    FieldKind.CONVERSATION_LOG: "application/jsonl",
    FieldKind.TEST_CORPUS: "application/jsonl",
    FieldKind.BINARY: "application/octet-stream",
}


def default_kind(field: str) -> FieldKind:
    """Return the kind of a new field whose author named none: by its well-known name, otherwise TEXT."""
    match field.partition("/"):
        case ("model_config" | "topology", "", _):
            return FieldKind.JSON
        case ("few_shot", "/", _):
            return FieldKind.CONVERSATION_LOG
        case ("test_corpus", "/", _):
            return FieldKind.TEST_CORPUS
    return FieldKind.TEXT


def default_media_type(kind: FieldKind) -> str:
    """Return the media type of a new field whose author named none."""
    return _MEDIA_TYPES[kind]


def check_content(field: str, kind: FieldKind, media_type: str, data: bytes) -> None:
    """Refuse content that is not what its kind demands; accepted bytes are stored exactly as they are.

    * TEXT is UTF-8.
    * JSON is strict, see ``strict_json``; the field ``model_config`` also fits ``ModelConfig``.
    * YAML is strict, see ``strict_yaml``.
    * CONVERSATION_LOG and TEST_CORPUS: of ``application/jsonl`` or ``application/x-ndjson`` each line that is not
      blank is strict JSON; of ``text/*`` it is UTF-8; of any other media type it is anything.
    * BINARY is anything.

    Args:
        field: Field name, for the error and for ``model_config``.
        kind: What the field holds.
        media_type: Media type as the author gave it; parameters and case do not matter.
        data: The content. Time is linear in its length: for 1 MiB about 10 ms as JSON (at worst 100 ms, or a second
            to explain a refusal) and 100 ms as YAML (at worst 2 s).

    Raises:
        InvalidContent: With the first problem, its line and its column.
    """
    try:
        _check(field, kind, media_type.partition(";")[0].strip().lower(), data)
    except Refused as refused:
        raise InvalidContent(field, refused.problem, refused.line, refused.column) from None


def _check(field: str, kind: FieldKind, media_type: str, data: bytes) -> None:
    match kind:
        case FieldKind.BINARY:
            pass
        case FieldKind.TEXT:
            decode_utf8(data)
        case FieldKind.JSON:
            text = decode_utf8(data)
            value = parse_json(text)
            if field == MODEL_CONFIG:
                check_model_config(text, value)
        case FieldKind.YAML:
            check_yaml(decode_utf8(data))
        case FieldKind.CONVERSATION_LOG | FieldKind.TEST_CORPUS:
            if media_type in _JSON_LINES:
                _check_json_lines(decode_utf8(data))
            elif media_type.startswith("text/"):
                decode_utf8(data)


def _check_json_lines(text: str) -> None:
    # Only "\n" ends a line (a "\r" before it is JSON white space), so U+2028 inside a string does not cut it in two.
    for lines_before, line in enumerate(text.split("\n")):
        if line.strip(" \t\r"):
            try:
                parse_json(line)
            except Refused as refused:
                refused.line += lines_before
                raise
