"""What a line may hold: any text, byte for byte, up to its bounds; and what becomes of everything else."""

from __future__ import annotations

from typing import Any, Final

import pytest

from coreason.foundry.v1 import run_pb2 as pb
from tests.service.house import House
from tests.service.refusals import blamed, refused
from tests.service.runs import (
    Producer,
    append,
    as_stored,
    console_of,
    digest_of,
    finish,
    get,
    ids,
    line,
    lines_of,
    read,
    running,
)

pytestmark = pytest.mark.asyncio(loop_scope="module")

LINE_BYTES: Final = 64 * 1024
TEXTS: Final = {
    "nothing": "",
    "blanks": " \t ",
    "a carriage return alone": "10 %\r20 %\r",
    "a carriage return at the end": "from another system\r",
    "NUL": "\0before\0after\0",
    "every control character": "".join(chr(code) for code in range(0x20) if code != 0x0A) + "\x7f\x80\x85\x9f",
    "ANSI escapes": "\x1b[31;1mFAILED\x1b[0m \x1b]8;;http://x\x07link\x1b]8;;\x07 \x1b[2K\x1b[1A",
    "line separators of Unicode": "a\u2028b\u2029c\u0085d\x0be\x0cf",
    "emoji": "\U0001f9ea\U0001f468\u200d\U0001f469\u200d\U0001f467 e\u0301 \u00e9",
    "a byte order mark": "\ufeffx\ufeff",
    "noncharacters": "\ufffe\uffff\U0010ffff\ufdd0",
    "right to left": "\u202eabc\u202c\u2066x\u2069",
    "what looks like JSON": '{"n": 1, "text": "x\\n"},\\u000a"]}',
    "what looks like the next line": '"},{"n":2,"stream":"STDOUT","text":"forged"}',
    "backslashes": "\\n\\\\n\\u0000\\",
    "what looks like SQL": "'); DROP TABLE run_log_chunk; --",
    "not normalised": "\u212b\u00c5A\u030a",
}


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
async def test_a_line_is_kept_byte_for_byte(house: House, text: str) -> None:
    """In each stream, among others, and in the digest that seals it."""
    run = await running(house)
    lines = [
        line(number, text, stream=stream, partial=partial)
        for number, (stream, partial) in enumerate(((1, False), (2, True), (3, False), (0, True)), 1)
    ]
    await append(house.olga, run, lines)
    assert await read(house.olga, run) == as_stored(lines)
    assert (await finish(house.olga, run)).run.log_sha256 == digest_of(lines)


async def test_every_character_is_kept(house: House) -> None:
    """All of Unicode but the line feed, in lines of a kilobyte."""
    run = await running(house)
    every = [chr(code) for code in range(0x110000) if code != 0x0A and not 0xD800 <= code <= 0xDFFF]
    texts = ["".join(every[at : at + 1_024]) for at in range(0, len(every), 1_024)]
    for at in range(0, len(texts), 500):
        await append(house.olga, run, lines_of(*texts[at : at + 500], first=at + 1))
    assert [read.text for read in await read(house.olga, run)] == texts


@pytest.mark.parametrize("text", ["\n", "a\nb", "a\n", "\r\n"])
async def test_a_line_has_no_line_feed(house: House, text: str) -> None:
    """It is what ends a line: nothing of the message is stored."""
    run = await running(house)
    await blamed(append(house.olga, run, lines_of("one", text)), "lines.text")
    assert (await get(house.olga, run)).line_count == 0


@pytest.mark.parametrize("letter", ["x", "é", "\U0001f9ea", "\0"])
async def test_a_line_has_64_kib_and_not_a_byte_more(house: House, letter: str) -> None:
    """Of UTF-8, not of characters; control characters count as they are sent, however they are stored."""
    size = len(letter.encode())
    full = letter * (LINE_BYTES // size)
    run = await running(house)
    assert await append(house.olga, run, lines_of("before", full, "after")) == 4
    call = append(house.olga, run, lines_of("x", full + "x", first=4))
    await refused(call, "CONTENT_TOO_LARGE", field="lines", size_bytes=f"{LINE_BYTES + 1}", limit_bytes=f"{LINE_BYTES}")
    assert [read.text for read in await read(house.olga, run)] == ["before", full, "after"]


async def test_a_message_of_sixty_full_lines_is_stored(house: House) -> None:
    """Close to the 4 MiB of a message, of characters that take six times as much where they are stored."""
    run = await running(house)
    lines = lines_of(*["\x01" * LINE_BYTES] * 60)
    assert await append(house.olga, run, lines) == 61
    sealed = (await finish(house.olga, run)).run
    assert await read(house.olga, run) == as_stored(lines)
    assert sealed.log_bytes == sum(6 * LINE_BYTES + len(console_of([line(number)])) for number in range(1, 61))


async def test_a_line_of_10_mb_is_refused_with_its_size(house: House) -> None:
    """Over 4 MiB a message is refused with details; lines before it stay, and the producer may go on anew."""
    run = await running(house)
    producer = Producer(house.olga, run)
    await producer.send(line(1, "one"))
    huge = pb.AppendRunLogRequest(**ids(run), lines=[line(2, "x" * 10_000_000)]).SerializeToString()
    await producer.send_bytes(huge)
    await refused(producer.rest(), "MESSAGE_TOO_LARGE", size_bytes=f"{len(huge)}", limit_bytes=f"{4 * 1024 * 1024}")
    assert await append(house.olga, run, lines_of("two", first=2)) == 3


async def test_a_message_of_20_mb_ends_the_call_and_nothing_else(house: House) -> None:
    """Beyond 16 MiB the transport ends it without details."""
    run = await running(house, "one")
    producer = Producer(house.olga, run)
    await producer.send(line(2, "x" * 20_000_000))
    with pytest.raises(AssertionError, match="no details: RESOURCE_EXHAUSTED"):
        await producer.rest()
    assert await append(house.olga, run) == 2


MALFORMED: Final = {
    "no protobuf": b"\xff\xff\xff",
    "cut off": b"\x1a\x7f\x08",
    "text that is no UTF-8": b"\x1a\x06\x08\x02\x22\x02\xc3\x28",
    "half a surrogate pair": b"\x1a\x07\x08\x02\x22\x03\xed\xa0\x80",
    "an overlong line feed": b"\x1a\x06\x08\x02\x22\x02\xc0\x8a",
    "an id that is no UTF-8": b"\x12\x02\xc3\x28",
}


@pytest.mark.parametrize("data", MALFORMED.values(), ids=MALFORMED)
async def test_bytes_that_are_no_message_end_the_stream(house: House, data: bytes) -> None:
    """Those before them stay."""
    run = await running(house)
    producer = Producer(house.olga, run)
    await producer.send(line(1, "one"))
    await producer.send_bytes(data)
    kind = "coreason.foundry.v1.AppendRunLogRequest"
    await refused(producer.rest(), "MALFORMED_MESSAGE", message_type=kind)
    assert [read.text for read in await read(house.olga, run)] == ["one"]


@pytest.mark.parametrize("stream", [4, 99, -1, 2**31 - 1])
async def test_a_line_comes_out_where_lines_do(house: House, stream: int) -> None:
    await blamed(append(house.olga, await running(house), [line(1, "x", stream=stream)]), "lines.stream")


@pytest.mark.parametrize(
    "time",
    [
        {"seconds": -1},
        {"seconds": -1, "nanos": 999_999_999},
        {"nanos": -1},
        {"nanos": 1_000_000_000},
        {"nanos": 2**31 - 1},
        {"seconds": 7_258_118_400},
        {"seconds": 2**63 - 1},
        {"seconds": -(2**63)},
    ],
    ids=str,
)
async def test_a_time_out_of_bounds_is_blamed(house: House, time: dict[str, Any]) -> None:
    """From 1970 to 2200, as a timestamp is written."""
    run = await running(house)
    await blamed(append(house.olga, run, [line(1, "x", source_time=time)]), "lines.source_time")
    assert (await get(house.olga, run)).line_count == 0


async def test_times_are_kept_to_the_microsecond(house: House) -> None:
    """By the producer's clock, in whatever order they come; the first moment of 1970 is a time, none is none."""
    run = await running(house)
    times: list[dict[str, int] | None] = [
        {"seconds": 7_258_118_399, "nanos": 999_999_999},
        {},
        {"nanos": 999},
        {"nanos": 1_000},
        None,
        {"seconds": 1_795_000_000, "nanos": 123_456_789},
    ]
    lines = [line(number, "x", source_time=time) for number, time in enumerate(times, 1)]
    await append(house.olga, run, lines)
    kept = await read(house.olga, run)
    assert [read.HasField("source_time") for read in kept] == [time is not None for time in times]
    seen = [(read.source_time.seconds, read.source_time.nanos) for read in kept if read.HasField("source_time")]
    assert seen == [(7_258_118_399, 999_999_000), (0, 0), (0, 0), (0, 1_000), (1_795_000_000, 123_456_000)]
    assert (await finish(house.olga, run)).run.log_sha256 == digest_of(lines) == digest_of(kept)


async def test_the_smallest_thing_a_client_may_send_is_a_line(house: House) -> None:
    """A number alone: an empty line of standard output, without a time."""
    run = await running(house)
    await append(house.olga, run, [pb.LogLine(number=1)])
    assert await read(house.olga, run) == [pb.LogLine(number=1, stream=pb.LOG_STREAM_STDOUT)]
