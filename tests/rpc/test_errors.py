"""Refusals become statuses: the documented code, details that fit, and nothing that was not meant for clients."""

from __future__ import annotations

import sqlite3
from typing import Any

import grpc
import pytest
from google.protobuf.message import Message
from google.rpc import code_pb2, error_details_pb2, status_pb2
from grpc_status import rpc_status
from hypothesis import given
from hypothesis import strategies as st

from foundry.domain.errors import (
    FoundryError,
    InvalidArgument,
    InvalidContent,
    LockHeld,
    NotFound,
    SessionEnded,
    StaleVersion,
    Violation,
)
from foundry.domain.lock import Lock
from foundry.domain.principal import Principal
from foundry.rpc.errors import CODES, DOMAIN, to_status
from tests.domain.reasons import documented
from tests.domain.test_errors import SAMPLES

#: Peers may refuse more in HTTP/2 trailers; by default gRPC does so the more often the more it is.
TRAILERS_BYTES_MAX = 8 * 1024


def details(status: status_pb2.Status) -> dict[str, Message]:
    """The details by name of their type; each type at most once."""
    found: dict[str, Message] = {}
    for packed in status.details:
        name = packed.TypeName().rpartition(".")[2]
        assert name not in found
        message: Message = getattr(error_details_pb2, name)()
        assert packed.Unpack(message)
        found[name] = message
    return found


def info(status: status_pb2.Status) -> error_details_pb2.ErrorInfo:
    """The ErrorInfo that every error carries."""
    found = details(status)["ErrorInfo"]
    assert isinstance(found, error_details_pb2.ErrorInfo)
    return found


def holders(count: int, subject: str, name: str, length: int) -> LockHeld:
    """So many fields held, with names that are repeated so often."""
    who = Principal(subject * length, display_name=name * length)
    bytes_ = len((subject * length).encode())
    return LockHeld([Lock("l", "p", f"{n:03}".ljust(bytes_, "f"), who, "s", n, 1, 2) for n in range(count)])


def test_the_codes_are_the_documented_ones() -> None:
    """Each reason of the contract has the gRPC code that its comment names, and there are no others."""
    assert {reason: code.name for reason, code in CODES.items()} == {
        reason: said.code for reason, said in documented().items()
    }


@pytest.mark.parametrize("error", SAMPLES, ids=lambda error: error.reason)
def test_a_refusal_is_its_sentence_and_its_details(error: FoundryError) -> None:
    """Code, message, reason, domain and metadata, and a RetryInfo exactly where a retry may help."""
    status = to_status(error)
    assert (status.code, status.message) == (CODES[error.reason].value[0], error.message)
    assert (info(status).reason, info(status).domain, dict(info(status).metadata)) == (
        error.reason,
        DOMAIN,
        error.details,
    )
    may_retry = error.retry_after_s is not None or error.reason == "SLOW_CONSUMER"
    assert ("RetryInfo" in details(status)) == may_retry


def test_more_details_where_they_help() -> None:
    """Every violation, every holder, and the resource that is missing."""
    bad = details(to_status(InvalidArgument("a", "b", more=[Violation("c", "d")])))["BadRequest"]
    assert isinstance(bad, error_details_pb2.BadRequest)
    assert [(one.field, one.description) for one in bad.field_violations] == [("a", "b"), ("c", "d")]
    held = details(to_status(holders(3, "s", "d", 10)))["PreconditionFailure"]
    assert isinstance(held, error_details_pb2.PreconditionFailure)
    assert {one.type for one in held.violations} == {"LOCK_HELD"}
    assert [one.subject for one in held.violations] == [f"fields/{n:03}fffffff" for n in range(3)]
    assert all("dddddddddd" in one.description for one in held.violations)
    missing = details(to_status(NotFound("draft", "17")))["ResourceInfo"]
    assert isinstance(missing, error_details_pb2.ResourceInfo)
    assert (missing.resource_type, missing.resource_name) == ("draft", "17")


# --- nothing leaks ---

SECRET = "hunter2 /var/lib/foundry SELECT"


class UnlistedError(FoundryError):
    """A refusal that nobody documented."""

    reason = "UNLISTED"


@pytest.mark.parametrize(
    "error",
    [
        ValueError(SECRET),
        KeyError(SECRET),
        sqlite3.OperationalError(SECRET),
        grpc.aio.UsageError(SECRET),
        ExceptionGroup(SECRET, [ValueError(SECRET)]),
        UnlistedError(SECRET, secret=SECRET),
        FoundryError(SECRET, secret=SECRET),
        SessionEnded("INTERNAL", SECRET, SECRET),
        KeyboardInterrupt(SECRET),
    ],
    ids=repr,
)
def test_what_was_not_meant_for_clients_is_not_told(error: BaseException) -> None:
    """Anything unforeseen is INTERNAL with an id for the operators and nothing else, neither text nor type."""
    status = to_status(error)
    assert status.code == code_pb2.INTERNAL
    assert (info(status).reason, [*info(status).metadata]) == ("INTERNAL", ["error_id"])
    sent = status.SerializeToString()
    for word in (*SECRET.split(), type(error).__name__):
        assert word.encode() not in sent
    assert info(status).metadata["error_id"] in status.message


def test_every_failure_has_an_id_of_its_own() -> None:
    """So that what a user reports is found in the log."""
    ids = {info(to_status(ValueError())).metadata["error_id"] for _ in range(20)}
    assert len(ids) == 20


# --- everything fits ---


def trailers_bytes(status: status_pb2.Status) -> int:
    """What a peer's limit counts: the message, percent-encoded, and the details, which hold it once more."""
    message = sum(1 if 0x20 <= byte <= 0x7E and byte != ord("%") else 3 for byte in status.message.encode())
    return message + status.ByteSize() + 2 * 32


LARGE: dict[str, FoundryError] = {
    "64 holders": holders(64, "s", "d", 20),
    "64 holders with long names": holders(64, "s", "d", 200),
    "64 holders with long names in another script": holders(64, "é", "é", 100),
    "64 stale fields": StaleVersion(1, 65, {f"{n:03}".ljust(200, "f"): (n, "b" * 200) for n in range(64)}),
    "64 stale fields in another script": StaleVersion(
        1, 65, {f"{n:03}".ljust(200, "f"): (n, "\N{GRINNING FACE}" * 50) for n in range(64)}
    ),
    "a thousand violations": InvalidArgument("f" * 200, "x" * 900, more=[Violation("f" * 900, "d" * 900)] * 999),
    "a long id": NotFound("draft", "é" * 100_000),
    "a long sentence": InvalidArgument("fields", "\N{GRINNING FACE}" * 50_000),
}


@pytest.mark.parametrize("error", LARGE.values(), ids=LARGE)
def test_details_fit_into_the_trailers(error: FoundryError) -> None:
    """Whatever the refusal lists, the client gets it: a status that the transport drops tells nothing at all."""
    status = to_status(error)
    assert trailers_bytes(status) <= TRAILERS_BYTES_MAX
    assert info(status).reason == error.reason


async def test_every_large_refusal_arrives() -> None:
    """Over real gRPC with the limits it has by default, each time."""

    async def refuse(request: bytes, context: grpc.aio.ServicerContext[bytes, bytes]) -> bytes:
        await context.abort_with_status(rpc_status.to_status(to_status(LARGE[request.decode()])))
        return b""

    server = grpc.aio.server()
    handler: Any = grpc.unary_unary_rpc_method_handler(refuse)
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("test.Test", {"Refuse": handler}),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            call: Any = channel.unary_unary("/test.Test/Refuse")
            for name, error in [*LARGE.items()] * 5:
                with pytest.raises(grpc.aio.AioRpcError) as caught:
                    await call(name.encode(), timeout=10)
                assert caught.value.code() is CODES[error.reason]
    finally:
        await server.stop(None)


def test_what_fits_is_not_cut() -> None:
    """All holders of a save of 64 fields are named, where their names leave room for it."""
    held = details(to_status(holders(64, "s", "d", 10)))["PreconditionFailure"]
    assert isinstance(held, error_details_pb2.PreconditionFailure)
    assert len(held.violations) == 64


@given(st.text(max_size=8))
def test_long_values_are_cut_at_a_character(text: str) -> None:
    """Each value is the whole or a beginning of it, marked with an ellipsis, and valid UTF-8."""
    words = text * 200
    status = to_status(InvalidContent("model_config", words))
    for value, whole in ((info(status).metadata["problem"], words), (status.message, f"model_config: {words}")):
        assert len(value.encode()) <= 512
        assert value == whole or (value.endswith("...") and whole.startswith(value[:-3]) and len(whole) > 100)
