"""Identity: which tokens count, whom they speak for, and the development key."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.ed448 import Ed448PrivateKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from foundry.domain.errors import Unauthenticated
from foundry.domain.principal import Principal, PrincipalKind
from foundry.identity import (
    DEV_AUDIENCE,
    DEV_ISSUER,
    DEV_TTL_SECONDS_MAX,
    JwtVerifier,
    PublicKey,
    load_public_key,
    make_dev_key,
    mint_dev_token,
)
from foundry.settings import StartupError
from tests.store.manual_clock import ManualClock

PrivateKey = Ed25519PrivateKey | Ed448PrivateKey | ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey
KEY = Ed25519PrivateKey.generate()
ISSUER, AUDIENCE = "https://issuer.example", "foundry"
NOW_S = 1_800_000_000


def pem(key: PrivateKey) -> bytes:
    """A public key as it is configured."""
    data: bytes = key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return data


def claims(**changed: object) -> dict[str, Any]:
    """Good claims of a person, with changes; None takes one away."""
    good = {"iss": ISSUER, "aud": AUDIENCE, "sub": "alice", "kind": "HUMAN", "name": "Alice", "exp": NOW_S + 60}
    return {key: value for key, value in (good | changed).items() if value is not None}


def token(key: PrivateKey = KEY, algorithm: str = "EdDSA", **changed: object) -> str:
    """A signed token."""
    return jwt.encode(claims(**changed), key, algorithm=algorithm)


def by_hand(header: dict[str, Any], payload: object, secret: bytes = b"") -> str:
    """A token that no library would make, with an HMAC if there is a secret."""
    parts = [base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=") for part in (header, payload)]
    signature = hmac.new(secret, b".".join(parts), hashlib.sha256).digest() if secret else b""
    return b".".join([*parts, base64.urlsafe_b64encode(signature).rstrip(b"=")]).decode()


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(NOW_S * 1_000_000)


@pytest.fixture
def verifier(clock: ManualClock) -> JwtVerifier:
    return JwtVerifier(KEY.public_key(), issuer=ISSUER, audience=AUDIENCE, clock=clock)


def refused(verifier: JwtVerifier, offered: str) -> str:
    """The reason of the refusal; its text never tells why."""
    with pytest.raises(Unauthenticated) as caught:
        verifier.verify(offered)
    assert caught.value.details == {}
    assert caught.value.message in {"the token is not valid here", "the token has expired", "the token is too long"}
    return caught.value.reason


# --- whom a token speaks for ---

AGENT_ACT = {"sub": "planner", "kind": "AGENT", "name": "Planner"}
GATEWAY_ACT = {"sub": "gw-1", "kind": "GATEWAY"}
PRINCIPALS: dict[str, tuple[dict[str, Any], Principal]] = {
    "a person": ({}, Principal("alice", PrincipalKind.HUMAN, "Alice")),
    "without a name": ({"name": None}, Principal("alice", PrincipalKind.HUMAN)),
    "a service": ({"sub": "ci", "kind": "SERVICE"}, Principal("ci", PrincipalKind.SERVICE, "Alice")),
    "an agent of its own": ({"sub": "bot", "kind": "AGENT"}, Principal("bot", PrincipalKind.AGENT, "Alice")),
    "an agent for a person": (
        {"act": AGENT_ACT},
        Principal("planner", PrincipalKind.AGENT, "Planner", on_behalf_of="alice"),
    ),
    "a person through a gateway": (
        {"act": GATEWAY_ACT},
        Principal("alice", PrincipalKind.HUMAN, "Alice", client_id="gw-1"),
    ),
    "several audiences": ({"aud": ["other", AUDIENCE]}, Principal("alice", PrincipalKind.HUMAN, "Alice")),
    "with claims of others": ({"scope": "admin", "kind2": "x"}, Principal("alice", PrincipalKind.HUMAN, "Alice")),
}


@pytest.mark.parametrize(("changed", "principal"), PRINCIPALS.values(), ids=PRINCIPALS)
def test_whom_a_token_speaks_for(verifier: JwtVerifier, changed: dict[str, Any], principal: Principal) -> None:
    """Subject and kind; an acting agent is the principal itself, a gateway only relays."""
    verified = verifier.verify(token(**changed))
    assert (verified.principal, verified.expire_time_us) == (principal, (NOW_S + 60) * 1_000_000)


# --- which tokens count ---


def _public_key_as_secret() -> str:
    return by_hand({"alg": "HS256", "typ": "JWT"}, claims(), pem(KEY))


FORGED: dict[str, str] = {
    "no algorithm": by_hand({"alg": "none"}, claims()),
    "no algorithm, in other letters": by_hand({"alg": "NoNe"}, claims()),
    "HMAC with the public key": _public_key_as_secret(),
    "HMAC with nothing": by_hand({"alg": "HS256"}, claims(), b"\0"),
    "another key": token(Ed25519PrivateKey.generate()),
    "another kind of key": token(ec.generate_private_key(ec.SECP256R1()), "ES256"),
    "a key of its own in the header": jwt.encode(
        claims(), (own := Ed25519PrivateKey.generate()), "EdDSA", headers={"jwk": {"kty": "OKP", "crv": "Ed25519"}}
    ),
    "its signature cut off": token().rpartition(".")[0] + ".",
    "its payload exchanged": ".".join([token().split(".")[0], token(sub="bob").split(".")[1], token().split(".")[2]]),
    "an unknown critical header": jwt.encode(claims(), KEY, "EdDSA", headers={"crit": ["x"], "x": 1}),
    "empty": "",
    "one word": "x",
    "dots": "..",
    "no ASCII": "é.é.é",
    "half a surrogate": "\ud800.a.b",
    "a payload that is no object": by_hand({"alg": "EdDSA"}, []),
}
INVALID: dict[str, dict[str, Any]] = {
    "another issuer": {"iss": "https://evil.example"},
    "no issuer": {"iss": None},
    "another audience": {"aud": "billing"},
    "no audience": {"aud": None},
    "no expiry": {"exp": None},
    "an expiry in words": {"exp": "never"},
    "an expiry that is true": {"exp": True},
    "no subject": {"sub": None},
    "an empty subject": {"sub": ""},
    "a subject that is a number": {"sub": 7},
    "a subject that is too long": {"sub": "s" * 201},
    "a subject of too many bytes": {"sub": "é" * 101},
    "a subject that is no text": {"sub": "\ud800"},
    "a name of too many bytes": {"name": "é" * 101},
    "no kind": {"kind": None},
    "an unknown kind": {"kind": "ROBOT"},
    "a kind in small letters": {"kind": "human"},
    "an actor without a kind": {"act": {"sub": "x"}},
    "an actor of an unknown kind": {"act": {"sub": "x", "kind": "HUMAN"}},
    "an actor without a subject": {"act": {"kind": "AGENT"}},
    "an actor that is a word": {"act": "planner"},
    "not valid yet": {"nbf": int(time.time()) + 3600},
    "issued in the future": {"iat": int(time.time()) + 3600},
}


@pytest.mark.parametrize("forged", FORGED.values(), ids=FORGED)
def test_a_forged_token_is_invalid(verifier: JwtVerifier, forged: str) -> None:
    """One key, one algorithm (RFC 8725, 3.1): whatever else a header claims does not count."""
    assert refused(verifier, forged) == "TOKEN_INVALID"


@pytest.mark.parametrize("changed", INVALID.values(), ids=INVALID)
def test_a_token_with_other_claims_is_invalid(verifier: JwtVerifier, changed: dict[str, Any]) -> None:
    """Well signed, but not for here, not from there, or not saying who it is for."""
    assert refused(verifier, token(**changed)) == "TOKEN_INVALID"


def test_a_huge_token_is_not_even_looked_at(verifier: JwtVerifier) -> None:
    """Over 16 KiB nothing is parsed or hashed, however well it is signed."""
    assert refused(verifier, token(padding="x" * 16_384)) == "TOKEN_INVALID"
    assert refused(verifier, "x" * 50_000_000) == "TOKEN_INVALID"
    assert verifier.verify(token(padding="x" * 8_000)).principal.subject == "alice"


KEYS: dict[str, tuple[PrivateKey, str]] = {
    "Ed25519": (KEY, "EdDSA"),
    "P-256": (ec.generate_private_key(ec.SECP256R1()), "ES256"),
    "P-384": (ec.generate_private_key(ec.SECP384R1()), "ES384"),
    "P-521": (ec.generate_private_key(ec.SECP521R1()), "ES512"),
    "RSA": (rsa.generate_private_key(65537, 2048), "RS256"),
}


@pytest.mark.parametrize(("key", "algorithm"), KEYS.values(), ids=KEYS)
def test_keys_of_every_supported_kind(tmp_path: Path, clock: ManualClock, key: PrivateKey, algorithm: str) -> None:
    """Read from a file, each verifies its own algorithm and no other of its kind."""
    (tmp_path / "key.pem").write_bytes(pem(key))
    public: PublicKey = load_public_key(tmp_path / "key.pem")
    verifier = JwtVerifier(public, issuer=ISSUER, audience=AUDIENCE, clock=clock)
    assert verifier.verify(token(key, algorithm)).principal.subject == "alice"
    if algorithm == "RS256":
        for other in ("RS512", "PS256"):
            assert refused(verifier, token(key, other)) == "TOKEN_INVALID"


UNUSABLE: dict[str, bytes] = {
    "no key": b"hello",
    "a private key": KEY.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ),
    "a kind that is not supported": pem(Ed448PrivateKey.generate()),
    "a curve that is not supported": pem(ec.generate_private_key(ec.SECP224R1())),
    "a curve that only looks supported": pem(ec.generate_private_key(ec.SECP256K1())),
}


@pytest.mark.parametrize("data", UNUSABLE.values(), ids=UNUSABLE)
def test_a_key_that_cannot_be_used_is_a_sentence(tmp_path: Path, data: bytes) -> None:
    """Refused at start with the file's name, not at the first token."""
    path = tmp_path / "key.pem"
    path.write_bytes(data)
    with pytest.raises(StartupError, match=f"{path} holds"):
        load_public_key(path)
    with pytest.raises(StartupError, match="holds no public key"):
        load_public_key(tmp_path / "missing.pem")


# --- expiry ---


def test_a_token_expires_by_the_clock(verifier: JwtVerifier, clock: ManualClock) -> None:
    """To the microsecond, at every use: also a token that was verified, and remembered, before."""
    offered = token()
    for _ in range(2):
        verifier.verify(offered)
    clock.advance(59.999999)
    verifier.verify(offered)
    clock.advance(0.000001)
    assert refused(verifier, offered) == "TOKEN_EXPIRED"
    assert refused(verifier, token(exp=NOW_S)) == "TOKEN_EXPIRED"


def test_a_forged_token_that_expired_is_invalid(verifier: JwtVerifier) -> None:
    """Nobody learns by the reason when a token of others would have expired."""
    assert refused(verifier, token(Ed25519PrivateKey.generate(), exp=1)) == "TOKEN_INVALID"


def test_a_token_that_was_refused_is_refused_again(verifier: JwtVerifier) -> None:
    """What is remembered are good tokens."""
    forged = token(Ed25519PrivateKey.generate())
    assert [refused(verifier, forged) for _ in range(3)] == ["TOKEN_INVALID"] * 3


# --- the development key ---


def dev_verifier(key: Ed25519PublicKey) -> JwtVerifier:
    """What `serve --dev` verifies with; minted tokens live by the real clock."""
    return JwtVerifier(key, issuer=DEV_ISSUER, audience=DEV_AUDIENCE, clock=ManualClock(int(time.time()) * 1_000_000))


def test_the_development_key_is_its_owners(tmp_path: Path) -> None:
    """Made once, readable by nobody else, in a directory of the owner's; nothing else is left there."""
    directory = tmp_path / "data"
    first = make_dev_key(directory)
    assert make_dev_key(directory).public_bytes_raw() == first.public_bytes_raw()
    (key,) = directory.iterdir()
    assert (key.stat().st_mode & 0o777, directory.stat().st_mode & 0o777) == (0o600, 0o700)


def test_servers_that_start_at_once_have_one_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever gets in while another makes one: tokens of one are good at both."""
    generate, others = Ed25519PrivateKey.generate, []

    def slowly() -> Ed25519PrivateKey:
        monkeypatch.setattr(Ed25519PrivateKey, "generate", generate)
        others.append(make_dev_key(tmp_path))
        return generate()

    monkeypatch.setattr(Ed25519PrivateKey, "generate", slowly)
    assert [make_dev_key(tmp_path).public_bytes_raw()] == [other.public_bytes_raw() for other in others]
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o644, 0o660])
def test_a_development_key_that_others_can_read_is_refused(tmp_path: Path, mode: int) -> None:
    """By the server and by `foundry token`, with what to do about it."""
    make_dev_key(tmp_path)
    (key,) = tmp_path.iterdir()
    key.chmod(mode)
    for use in (lambda: make_dev_key(tmp_path), lambda: mint_dev_token(tmp_path, subject="alice")):
        with pytest.raises(StartupError, match=f"{key} can be read by others: chmod 600 it"):
            use()
    key.chmod(0o600)
    make_dev_key(tmp_path)


@pytest.mark.parametrize("data", [b"", b"junk", pem(KEY)])
def test_a_spoilt_development_key_is_a_sentence(tmp_path: Path, data: bytes) -> None:
    """It is not quietly replaced: tokens out there would stop working."""
    make_dev_key(tmp_path)
    (key,) = tmp_path.iterdir()
    key.write_bytes(data)
    with pytest.raises(StartupError, match=f"{key} cannot be read"):
        make_dev_key(tmp_path)


def test_no_development_key_no_development_token(tmp_path: Path) -> None:
    """Minting makes no key: it would be one that no server knows."""
    with pytest.raises(StartupError, match="start `foundry serve --dev` there first"):
        mint_dev_token(tmp_path, subject="alice")
    assert list(tmp_path.iterdir()) == []


def test_development_tokens_speak_for_whom_they_say(tmp_path: Path) -> None:
    """People, agents of people, services; and each token is another."""
    verifier = dev_verifier(make_dev_key(tmp_path))

    def minted(subject: str, **options: Any) -> Principal:
        return verifier.verify(mint_dev_token(tmp_path, subject=subject, **options)).principal

    assert minted("alice", name="Alice") == Principal("alice", PrincipalKind.HUMAN, "Alice")
    assert minted("ci", kind="service") == Principal("ci", PrincipalKind.SERVICE)
    agent = minted("planner", kind="agent", on_behalf_of="alice", name="Planner")
    assert agent == Principal("planner", PrincipalKind.AGENT, "Planner", on_behalf_of="alice")
    assert mint_dev_token(tmp_path, subject="a") != mint_dev_token(tmp_path, subject="a")


@pytest.mark.parametrize(
    "options",
    [
        {"ttl_seconds": 0},
        {"ttl_seconds": DEV_TTL_SECONDS_MAX + 1},
        {"on_behalf_of": "bob"},
        {"kind": "robot"},
        {"subject": ""},
        {"subject": "é" * 101},
        {"name": "n" * 201},
    ],
    ids=str,
)
def test_what_no_token_may_say_is_not_minted(tmp_path: Path, options: dict[str, Any]) -> None:
    """Refused in a sentence when it is made, instead of as an invalid token later."""
    make_dev_key(tmp_path)
    with pytest.raises(StartupError):
        mint_dev_token(tmp_path, **({"subject": "alice"} | options))


def test_development_tokens_are_for_one_data_directory(tmp_path: Path) -> None:
    """Each has a key of its own."""
    verifier = dev_verifier(make_dev_key(tmp_path / "a"))
    make_dev_key(tmp_path / "b")
    assert refused(verifier, mint_dev_token(tmp_path / "b", subject="alice")) == "TOKEN_INVALID"
