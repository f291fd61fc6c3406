"""Identity: who a bearer token speaks for, and the tokens of development."""

from __future__ import annotations

import contextlib
import functools
import os
import secrets
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Literal, Protocol

import jwt
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from foundry.domain.errors import Unauthenticated
from foundry.domain.principal import SYSTEM, Principal, PrincipalKind
from foundry.settings import StartupError

if TYPE_CHECKING:
    from pathlib import Path

    from foundry.clock import Clock

DEV_ISSUER = "foundry-dev"
DEV_AUDIENCE = "foundry"
DEV_TTL_SECONDS_MAX = 24 * 3600
_DEV_KEY_FILE = "dev-signing-key.pem"
_TOKEN_BYTES_MAX = 16 * 1024
#: Verified tokens that are remembered; checking a signature costs more than most calls.
_CACHE_SIZE = 4_096
#: How far the issuer's clock may be ahead of ours.
_SKEW_S = 5
_NAME_BYTES_MAX = 200
#: Algorithm of each NIST curve (RFC 7518, 3.4).
_CURVES = {"secp256r1": "ES256", "secp384r1": "ES384", "secp521r1": "ES512"}


def _at_most_200_bytes(text: str) -> str:
    if len(text.encode()) > _NAME_BYTES_MAX:
        raise ValueError("at most 200 bytes")
    return text


def _not_the_server(text: str) -> str:
    if text == SYSTEM.subject:
        raise ValueError("in the log this subject is the server itself")
    return text


_Subject = Annotated[str, Field(min_length=1), AfterValidator(_at_most_200_bytes), AfterValidator(_not_the_server)]
_Name = Annotated[str, AfterValidator(_at_most_200_bytes)]
PublicKey = Ed25519PublicKey | EllipticCurvePublicKey | RSAPublicKey


class _Actor(BaseModel):
    """RFC 8693 ``act``: who really calls, when that is not the subject itself."""

    sub: _Subject
    kind: Literal["AGENT", "GATEWAY"]
    name: _Name = ""


class _Claims(BaseModel):
    """What must stand in a token."""

    model_config = ConfigDict(strict=True)

    sub: _Subject
    kind: Literal["HUMAN", "AGENT", "SERVICE"]
    name: _Name = ""
    exp: int
    act: _Actor | None = None


@dataclass(frozen=True, slots=True)
class VerifiedToken:
    """A token whose signature, issuer, audience and form are good; its expiry is the caller's to watch."""

    principal: Principal
    expire_time_us: int


class TokenVerifier(Protocol):
    """Turns a bearer token into a principal."""

    def verify(self, token: str) -> VerifiedToken:
        """Check a token.

        Raises:
            Unauthenticated: TOKEN_INVALID or TOKEN_EXPIRED.
        """
        ...


class JwtVerifier:
    """Verifies signed JSON Web Tokens (RFC 7519) of one issuer with one public key.

    Claims: ``sub``, ``kind`` (HUMAN, AGENT or SERVICE), ``exp``, ``iss``, ``aud``; optional ``name`` and ``act``. With
    an ``act`` of kind AGENT the actor is the principal, acting on behalf of the subject; one of kind GATEWAY leaves the
    subject and names the gateway.
    """

    def __init__(self, key: PublicKey, *, issuer: str, audience: str, clock: Clock) -> None:
        self._key = key
        self._issuer = issuer
        self._audience = audience
        self._clock = clock
        self._algorithm = _algorithm(key)
        self._checked = functools.lru_cache(maxsize=_CACHE_SIZE)(self._check)

    def verify(self, token: str) -> VerifiedToken:
        """See ``TokenVerifier.verify``."""
        if len(token) > _TOKEN_BYTES_MAX:
            raise Unauthenticated("TOKEN_INVALID", "the token is too long")
        verified = self._checked(token)
        if verified.expire_time_us <= self._clock.now_us():
            raise Unauthenticated("TOKEN_EXPIRED", "the token has expired")
        return verified

    def _check(self, token: str) -> VerifiedToken:
        try:
            payload = jwt.decode(
                token,
                self._key,
                algorithms=[self._algorithm],
                issuer=self._issuer,
                audience=self._audience,
                leeway=_SKEW_S,
                # Expiry is checked at every use, also of a remembered token.
                options={"require": ["exp", "sub", "iss", "aud"], "verify_exp": False},
            )
            claims = _Claims.model_validate(payload)
        except (jwt.InvalidTokenError, ValidationError, ValueError, UnicodeError) as error:
            raise Unauthenticated("TOKEN_INVALID", "the token is not valid here") from error
        return VerifiedToken(_principal(claims), claims.exp * 1_000_000)


def _principal(claims: _Claims) -> Principal:
    actor = claims.act
    if actor and actor.kind == "AGENT":
        return Principal(actor.sub, PrincipalKind.AGENT, actor.name, on_behalf_of=claims.sub)
    gateway = actor.sub if actor else ""
    return Principal(claims.sub, PrincipalKind(claims.kind), claims.name, client_id=gateway)


def _algorithm(key: PublicKey) -> str:
    """The one algorithm a key is used with: whatever a token's header claims, no other counts (RFC 8725, 3.1)."""
    if isinstance(key, Ed25519PublicKey):
        return "EdDSA"
    if isinstance(key, EllipticCurvePublicKey):
        return _CURVES[key.curve.name]
    return "RS256"


def load_public_key(path: Path) -> PublicKey:
    """Read a PEM public key: Ed25519, a NIST curve, or RSA.

    Raises:
        StartupError: The file cannot be read, or holds no such key.
    """
    try:
        key = serialization.load_pem_public_key(path.read_bytes())
    except (OSError, ValueError, UnsupportedAlgorithm) as error:
        raise StartupError(f"{path} holds no public key in PEM form") from error
    if isinstance(key, Ed25519PublicKey | RSAPublicKey):
        return key
    if isinstance(key, EllipticCurvePublicKey) and key.curve.name in _CURVES:
        return key
    raise StartupError(f"{path} holds a key of a kind that is not supported: use Ed25519, P-256, P-384, P-521 or RSA")


# --- development -------------------------------------------------------------------------------------------------


def make_dev_key(data_dir: Path) -> Ed25519PublicKey:
    """The development key of a data directory, made on first use, readable by its owner only.

    Raises:
        StartupError: There is a key that others can read, or that cannot be read.
    """
    path = data_dir / _DEV_KEY_FILE
    data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    if not path.exists():
        pem = Ed25519PrivateKey.generate().private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        # Written under another name first, so that nobody ever reads half a key; of servers that start at once the
        # first gives it its name.
        draft = path.with_suffix(f".{os.getpid()}")
        try:
            descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "wb") as file:
                file.write(pem)
            with contextlib.suppress(FileExistsError):
                path.hardlink_to(draft)
            draft.unlink()
        except OSError as error:
            raise StartupError(f"{path} cannot be written: {error.strerror}") from error
    return _load_dev_key(data_dir).public_key()


def _load_dev_key(data_dir: Path) -> Ed25519PrivateKey:
    path = data_dir / _DEV_KEY_FILE
    try:
        if path.stat().st_mode & 0o077:
            raise StartupError(f"{path} can be read by others: chmod 600 it, or delete it to make a new one")
        key = serialization.load_pem_private_key(path.read_bytes(), password=None)
    except FileNotFoundError as error:
        raise StartupError(f"no development key in {data_dir}: start `foundry serve --dev` there first") from error
    except (OSError, ValueError) as error:
        raise StartupError(f"{path} cannot be read") from error
    if not isinstance(key, Ed25519PrivateKey):
        raise StartupError(f"{path} is no Ed25519 key")
    return key


def mint_dev_token(
    data_dir: Path,
    *,
    subject: str,
    kind: str = "human",
    on_behalf_of: str = "",
    name: str = "",
    ttl_seconds: int = 3600,
) -> str:
    """Sign a token with the development key.

    Args:
        kind: ``human``, ``agent`` or ``service``.
        on_behalf_of: The person an agent acts for.
        ttl_seconds: From 1 second to 24 hours.

    Raises:
        StartupError: There is no key yet, or an argument is out of its bounds.
    """
    if not 1 <= ttl_seconds <= DEV_TTL_SECONDS_MAX:
        raise StartupError("a development token lives from 1 second to 24 hours")
    if on_behalf_of and kind.upper() != "AGENT":
        raise StartupError("only an agent acts on behalf of somebody")
    now = int(time.time())
    payload: dict[str, object] = {
        "iss": DEV_ISSUER,
        "aud": DEV_AUDIENCE,
        "iat": now,
        "exp": now + ttl_seconds,
        "jti": secrets.token_hex(16),
    }
    if on_behalf_of:
        actor = {"sub": subject, "kind": "AGENT", "name": name}
        payload |= {"sub": on_behalf_of, "kind": "HUMAN", "act": actor}
    else:
        payload |= {"sub": subject, "kind": kind.upper(), "name": name}
    try:
        _Claims.model_validate(payload)
    except ValidationError as error:
        raise StartupError("a subject has 1 to 200 bytes, a name at most 200; kind: human, agent, service") from error
    return jwt.encode(payload, _load_dev_key(data_dir), algorithm="EdDSA")
