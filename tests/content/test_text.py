"""Places in text, and which content of each kind is accepted."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from foundry.content import check_content, default_kind, default_media_type
from foundry.content.text import Refused
from foundry.domain.errors import InvalidContent
from foundry.domain.field import FieldKind


@given(st.text(alphabet="ab\n\r\u2028\u0085é😀"), st.data())
def test_a_place_counts_code_points_and_only_newlines_end_lines(text: str, data: st.DataObject) -> None:
    """Line and column lead back to the offset, if the text is split at newlines and nothing else."""
    offset = data.draw(st.integers(0, len(text)))
    refused = Refused("bad", text, offset)
    lines = text.split("\n")
    assert len("\n".join([*lines[: refused.line - 1], lines[refused.line - 1][: refused.column - 1]])) == offset


@given(st.text())
def test_every_utf8_text_is_accepted(text: str) -> None:
    """TEXT allows every code point, NUL and control characters included: nothing is sanitised."""
    check_content("system_prompt", FieldKind.TEXT, "text/plain", text.encode())


@pytest.mark.parametrize("kind", [FieldKind.TEXT, FieldKind.JSON, FieldKind.YAML])
@pytest.mark.parametrize("bad", [b"\xff", b"\xc3", b"\xed\xa0\x80", b"\xc0\x80"])
def test_bytes_that_are_no_utf8_are_refused_where_they_are(kind: FieldKind, bad: bytes) -> None:
    """Every textual kind is UTF-8, without overlong forms and encoded surrogates; the first bad byte is named."""
    with pytest.raises(InvalidContent) as caught:
        check_content("f", kind, default_media_type(kind), "é\nab😀".encode() + bad)
    assert (caught.value.problem, caught.value.line, caught.value.column) == ("not valid UTF-8", 2, 4)


@pytest.mark.parametrize("media_type", ["application/octet-stream", "text/plain", "application/json"])
def test_binary_is_anything(media_type: str) -> None:
    """BINARY is not looked at, whatever its media type says."""
    check_content("f", FieldKind.BINARY, media_type, b"\xff\x00{")


@pytest.mark.parametrize("kind", [FieldKind.CONVERSATION_LOG, FieldKind.TEST_CORPUS])
@pytest.mark.parametrize(
    "media_type", ["application/jsonl", "application/x-ndjson", "Application/JSONL; charset=utf-8"]
)
def test_json_lines_are_strict_json_line_by_line(kind: FieldKind, media_type: str) -> None:
    """Blank lines and CRLF are fine; a refusal names the line of the file."""
    good = '{"a":1}\r\n\n  \n[1, "\u2028"]\n"x"'.encode()
    check_content("few_shot/a", kind, media_type, good)
    with pytest.raises(InvalidContent) as caught:
        check_content("few_shot/a", kind, media_type, good + b'\n\n {"a":1,"a":2}\n')
    assert (caught.value.line, caught.value.column) == (7, 9)


def test_a_value_over_two_lines_is_no_json_line() -> None:
    """A line stands alone: a value that goes on in the next line is refused at the end of the first."""
    with pytest.raises(InvalidContent) as caught:
        check_content("f", FieldKind.TEST_CORPUS, "application/jsonl", b'{"a":\n1}')
    assert (caught.value.line, caught.value.column) == (1, 6)


def test_corpora_of_other_media_types_are_text_or_opaque() -> None:
    """``text/*`` must be UTF-8 and nothing more; other media types are not looked at."""
    check_content("test_corpus/a", FieldKind.TEST_CORPUS, "text/csv", b"a,b\n{")
    check_content("test_corpus/a", FieldKind.TEST_CORPUS, "application/zip", b"\xff")
    with pytest.raises(InvalidContent):
        check_content("test_corpus/a", FieldKind.TEST_CORPUS, "text/csv", b"\xff")


@pytest.mark.parametrize(
    ("field", "kind", "media_type"),
    [
        ("model_config", "JSON", "application/json"),
        ("topology", "JSON", "application/json"),
        ("few_shot/greeting", "CONVERSATION_LOG", "application/jsonl"),
        ("test_corpus/edge/cases", "TEST_CORPUS", "application/jsonl"),
        ("system_prompt", "TEXT", "text/plain"),
        ("scratchpad", "TEXT", "text/plain"),
        ("few_shot", "TEXT", "text/plain"),
        ("topology/graph", "TEXT", "text/plain"),
        ("test_corpus_2/a", "TEXT", "text/plain"),
    ],
)
def test_well_known_names_have_a_default_kind(field: str, kind: str, media_type: str) -> None:
    """An author who names neither kind nor media type gets those of the well-known name, else plain text."""
    assert (default_kind(field), default_media_type(default_kind(field))) == (kind, media_type)


def test_every_kind_has_a_media_type() -> None:
    """The table of media types is complete."""
    assert all("/" in default_media_type(kind) for kind in FieldKind)
