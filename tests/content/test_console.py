"""Lines of a console as they are stored and hashed: one canonical form, read back as they were, whatever they hold."""

from __future__ import annotations

import json

import pytest
import rfc8785
from hypothesis import example, given
from hypothesis import strategies as st

from foundry.content import dump_line, load_lines
from foundry.domain.run import LogLine, LogStream

#: Every text that UTF-8 can carry; a line feed is no part of a line on the wire, and does no harm here.
TEXTS = st.text() | st.text('\x00\x01\b\t\n\x0b\f\r\x1b\x7f\x85"\\/,{}[]:\u2028\u2029\ufeffé\U0001f9ea')
LINES = st.builds(
    LogLine,
    st.integers(1, 2**53 - 1),
    TEXTS,
    st.sampled_from(LogStream),
    st.none() | st.integers(0, 7_258_118_400 * 10**6),
    st.booleans(),
)


@given(st.lists(LINES, min_size=1, max_size=20))
@example([LogLine(1, "")])
@example([LogLine(1, "a"), LogLine(2, "")])
@example([LogLine(1, "\n"), LogLine(2, '"},\n{"n":3'), LogLine(3, ",")])
@example([LogLine(1, "", time_us=0)])
def test_lines_are_read_back_as_they_were(lines: list[LogLine]) -> None:
    """A piece of any lines, joined: the same lines, in the same order, equal in every member and of the same types."""
    loaded = load_lines(b"".join(map(dump_line, lines)))
    assert loaded == tuple(lines)
    assert [(type(line.stream), type(line.partial)) for line in loaded] == [(LogStream, bool)] * len(lines)


@given(LINES)
def test_a_line_is_canonical_json_and_a_line_feed(line: LogLine) -> None:
    """RFC 8785 by another's code; the one byte 10 of a line is its last, so consoles split at line feeds."""
    data = dump_line(line)
    record = json.loads(data)
    assert data == rfc8785.dumps(record) + b"\n"
    assert data.index(b"\n") == len(data) - 1
    wanted = {"n": line.number, "stream": line.stream.value, "text": line.text}
    wanted |= {"partial": True} if line.partial else {}
    wanted |= {} if line.time_us is None else {"us": line.time_us}
    assert record == wanted


@given(st.lists(LINES, min_size=1, max_size=8))
def test_a_console_splits_into_its_lines(lines: list[LogLine]) -> None:
    """Whoever checks a digest with other tools finds one line of JSON for each line."""
    dumped = list(map(dump_line, lines))
    assert b"".join(dumped).split(b"\n") == [data[:-1] for data in dumped] + [b""]


@pytest.mark.parametrize(
    ("line", "data"),
    [
        (LogLine(1, ""), b'{"n":1,"stream":"STDOUT","text":""}\n'),
        (LogLine(12, "\x1b[0m\r\x7f", LogStream.STDERR), b'{"n":12,"stream":"STDERR","text":"\\u001b[0m\\r\x7f"}\n'),
        (
            LogLine(3, "é\u2028", LogStream.EVENT, 0, partial=True),
            b'{"n":3,"partial":true,"stream":"EVENT","text":"\xc3\xa9\xe2\x80\xa8","us":0}\n',
        ),
    ],
    ids=["empty", "escaped", "everything"],
)
def test_the_form_is_the_documented_one(line: LogLine, data: bytes) -> None:
    """As `Run.log_sha256` says; it stands sealed in logs and may never change."""
    assert dump_line(line) == data
