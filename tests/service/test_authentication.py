"""Every RPC but ``grpc.health.v1`` needs a token, and only a good one counts."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from google.protobuf.descriptor import MethodDescriptor
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from coreason.foundry.v1 import project_pb2
from foundry.rpc.server import SERVICES
from tests.service.clocks import LateClock
from tests.service.house import METHODS, House, housed, names
from tests.service.refusals import Refused, refused
from tests.service.tokens import claims_with, signed_token, signing_key
from tests.support import PATIENCE_S, running_server

pytestmark = pytest.mark.asyncio(loop_scope="module")

LIST = project_pb2.ListProjectsRequest()


# --- none --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", METHODS, ids=names(METHODS))
async def test_no_rpc_answers_without_a_token(house: House, method: MethodDescriptor) -> None:
    """TOKEN_MISSING comes before anything is said about the message, however broken that is."""
    nobody = house.bearing()
    await refused(nobody.knock(method, b""), "TOKEN_MISSING")
    await refused(nobody.knock(method, b"\xff\xff"), "TOKEN_MISSING")


@pytest.mark.parametrize("value", ["", "Bearer", "Basic b2xnYTpvbGdh", "Token abc"])
async def test_another_scheme_is_no_token(house: House, value: str) -> None:
    await refused(house.bearing(("authorization", value)).call(LIST), "TOKEN_MISSING")


async def test_the_scheme_is_read_without_case(house: House) -> None:
    """RFC 9110, 11.1: the name of a scheme is case-insensitive."""
    token = house.server.token("alice")
    await house.bearing(("authorization", f"bearer {token}")).call(LIST)


async def test_health_needs_no_token(house: House) -> None:
    """Probes have none. Each service is reported by its name, and the server as a whole."""
    stub: Any = health_pb2_grpc.HealthStub(house.bearing().channel)
    for service in ("", *(service.full_name for service in SERVICES)):
        answer = await stub.Check(health_pb2.HealthCheckRequest(service=service), timeout=PATIENCE_S)
        assert answer.status == health_pb2.HealthCheckResponse.SERVING
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stub.Check(health_pb2.HealthCheckRequest(service="coreason.foundry.v1.Nothing"), timeout=PATIENCE_S)
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND


async def _reflect(house: House, *metadata: tuple[str, str]) -> list[str]:
    channel: Any = house.bearing().channel
    stub: Any = reflection_pb2_grpc.ServerReflectionStub(channel)
    asked = reflection_pb2.ServerReflectionRequest(list_services="")
    call = stub.ServerReflectionInfo(iter([asked]), metadata=metadata, timeout=PATIENCE_S)
    try:
        return [service.name async for answer in call for service in answer.list_services_response.service]
    except grpc.aio.AioRpcError as error:
        raise Refused(error) from None


async def test_reflection_needs_a_token(house: House) -> None:
    await refused(_reflect(house), "TOKEN_MISSING")
    await refused(_reflect(house, ("authorization", "Bearer nonsense")), "TOKEN_INVALID")
    shown = await _reflect(house, *house.server.metadata("alice"))
    assert {service.full_name for service in SERVICES} <= set(shown)


# --- not ours ----------------------------------------------------------------------------------------------------


async def test_claims_that_are_signed_by_the_right_key_are_good(house: House) -> None:
    """The tests below change one thing of this token each."""
    await _bearer(house, signed_token(house.server.data_dir)).call(LIST)


def _bearer(house: House, token: str) -> Any:
    return house.bearing(("authorization", f"Bearer {token}"))


BAD_CLAIMS: dict[str, dict[str, object]] = {
    "another issuer": {"iss": "somebody"},
    "another audience": {"aud": "billing"},
    "no subject": {"sub": None},
    "empty subject": {"sub": ""},
    "long subject": {"sub": "ü" * 100 + "a"},
    "long name": {"name": "ü" * 100 + "a"},
    "subject of another type": {"sub": 7},
    "subject that is no text": {"sub": "\ud800"},
    "no expiry": {"exp": None},
    "expiry that is no integer": {"exp": "soon"},
    "no kind": {"kind": None},
    "unknown kind": {"kind": "ROOT"},
    "lower-case kind": {"kind": "human"},
    "not yet valid": {"nbf": int(time.time()) + 3600},
    "actor of unknown kind": {"act": {"sub": "x", "kind": "HUMAN"}},
    "actor without subject": {"act": {"kind": "AGENT"}},
}


@pytest.mark.parametrize("changes", BAD_CLAIMS.values(), ids=BAD_CLAIMS)
async def test_a_signed_token_with_bad_claims_is_invalid(house: House, changes: dict[str, object]) -> None:
    """Issuer, audience, subject, kind and expiry are demanded, in their form."""
    token = signed_token(house.server.data_dir, **changes)
    await refused(_bearer(house, token).call(LIST), "TOKEN_INVALID")


async def test_a_token_of_a_foreign_key_is_invalid(house: House) -> None:
    token = jwt.encode(claims_with(), Ed25519PrivateKey.generate(), algorithm="EdDSA")
    await refused(_bearer(house, token).call(LIST), "TOKEN_INVALID")


async def test_a_token_that_names_its_own_algorithm_is_invalid(house: House) -> None:
    """RFC 8725, 3.1: not `none`, and not an HMAC keyed with what everybody may know, the public key."""
    public = signing_key(house.server.data_dir).public_key().public_bytes_raw()
    for token in (
        jwt.encode(claims_with(), "", algorithm="none"),
        jwt.encode(claims_with(), public, algorithm="HS256"),
    ):
        await refused(_bearer(house, token).call(LIST), "TOKEN_INVALID")


async def test_an_altered_token_is_invalid(house: House) -> None:
    """A signature covers every byte of header and claims."""
    head, body, signature = house.server.token("alice").split(".")
    other_body = jwt.encode(claims_with(sub="olga"), Ed25519PrivateKey.generate(), algorithm="EdDSA").split(".")[1]
    for token in (f"{head}.{other_body}.{signature}", f"{head}.{body}.", f"{head}.{body}", "..", "a" * 4_000):
        await refused(_bearer(house, token).call(LIST), "TOKEN_INVALID")


# --- expired -----------------------------------------------------------------------------------------------------


@pytest.fixture
async def clock() -> LateClock:
    return LateClock()


@pytest.fixture
async def timed(tmp_path: Path, clock: LateClock) -> AsyncIterator[House]:
    """A house whose clock the test moves."""
    async with running_server(tmp_path / "data", clock=clock) as server, housed(server) as house:
        yield house


@pytest.mark.asyncio(loop_scope="function")
async def test_a_token_ends_when_it_says(timed: House, clock: LateClock) -> None:
    """Also one that was good a moment ago, on the same connection: expiry is looked at with every call."""
    alice = timed.caller("alice", ttl_seconds=60)
    await alice.call(LIST)
    clock.ahead_s = 61
    await refused(alice.call(LIST), "TOKEN_EXPIRED")
    for method in METHODS:
        await refused(alice.knock(method, b"\xff\xff"), "TOKEN_EXPIRED")
