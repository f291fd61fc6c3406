"""Messages are parsed by a deserializer that never raises and never lets a library word its refusal."""

from __future__ import annotations

import pytest
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from hypothesis import given, settings
from hypothesis import strategies as st

from coreason.foundry.v1 import draft_pb2, lock_pb2
from foundry.domain.errors import FoundryError, MalformedMessage, MessageTooLarge
from foundry.rpc.calls import Reader, Unreadable, readable
from foundry.rpc.server import SERVICES

REQUESTS: list[type[Message]] = [
    GetMessageClass(method.input_type) for service in SERVICES for method in service.methods
]
LIMIT = 4 * 1024 * 1024


def reader(kind: type[Message], limit: int = LIMIT) -> Reader[Message]:
    """A reader as the server registers it."""
    return Reader(kind, limit)


@settings(max_examples=300)
@given(st.sampled_from(REQUESTS), st.binary(max_size=64))
def test_whatever_comes_is_a_message_or_a_refusal(kind: type[Message], data: bytes) -> None:
    """Arbitrary bytes for any request: no exception, and a refusal says no more than the expected type."""
    read = reader(kind)(data)
    if isinstance(read, Unreadable):
        assert isinstance(read.error, MalformedMessage)
        assert read.error.details == {"message_type": kind.DESCRIPTOR.full_name}
        with pytest.raises(MalformedMessage):
            readable(read)
    else:
        assert isinstance(read, kind)
        assert readable(read) is read


@settings(max_examples=200)
@given(st.binary(max_size=20), st.integers(0, 200), st.integers(0, 255))
def test_a_message_that_was_tampered_with(junk: bytes, at: int, byte: int) -> None:
    """Real messages with bytes changed, cut and added, which pass deeper into the parser than random ones."""
    change = draft_pb2.FieldChange(field="system_prompt", text="é" * 20)
    good = draft_pb2.CreateDraftRequest(project_id="p", changes=[change], locks=[lock_pb2.LockToken(field="f")])
    data = bytearray(good.SerializeToString())
    data[at % len(data)] = byte
    for spoilt in (bytes(data), bytes(data) + junk, bytes(data[: at % len(data)]), junk + bytes(data)):
        read = reader(draft_pb2.CreateDraftRequest)(spoilt)
        assert isinstance(read, draft_pb2.CreateDraftRequest | Unreadable)


@pytest.mark.parametrize("text", [b"\xff", b"\xc0\x80", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"a\x80"])
def test_text_that_is_no_utf8_is_malformed(text: bytes) -> None:
    """Also overlong forms, encoded surrogates and code points beyond Unicode."""
    read = reader(lock_pb2.GetLockRequest)(b"\x0a" + bytes([len(text)]) + text)
    assert isinstance(read, Unreadable)
    assert isinstance(read.error, MalformedMessage)


@pytest.mark.parametrize("kind", REQUESTS, ids=lambda kind: kind.DESCRIPTOR.name)
def test_nesting_without_end_is_malformed(kind: type[Message]) -> None:
    """Groups in groups, which any message may hold as unknown fields: refused before they exhaust a stack."""
    assert isinstance(reader(kind)(b"\x0b" * 1_000_000), Unreadable)


@pytest.mark.parametrize(("size", "refused"), [(99, False), (100, False), (101, True)])
def test_the_limit_is_on_the_whole_message(size: int, refused: bool) -> None:
    """At the limit it is read, over it it is not even parsed; size and limit are named."""
    padding = size - 2
    read = reader(lock_pb2.GetLockRequest, 100)(b"\x0a" + bytes([padding]) + b"a" * padding)
    assert isinstance(read, Unreadable) == refused
    if isinstance(read, Unreadable):
        assert isinstance(read.error, MessageTooLarge)
        assert read.error.details == {"size_bytes": "101", "limit_bytes": "100"}


def test_junk_over_the_limit_is_too_large() -> None:
    """The cheap check comes first: nobody parses 5 MiB to say that it is no message."""
    read = reader(lock_pb2.GetLockRequest, 100)(b"\xff" * 5_000_000)
    assert isinstance(read, Unreadable)
    refusal: FoundryError = read.error
    assert isinstance(refusal, MessageTooLarge)


def test_unknown_fields_are_let_through() -> None:
    """A newer client may say more than this server knows."""
    read = reader(lock_pb2.GetLockRequest)(lock_pb2.GetLockRequest(field="f").SerializeToString() + b"\xf8\x07\x01")
    assert isinstance(read, lock_pb2.GetLockRequest)
    assert read.field == "f"
