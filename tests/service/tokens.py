"""Tokens with claims of a test's own making."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from foundry.identity import DEV_AUDIENCE, DEV_ISSUER


def claims_with(**changes: object) -> dict[str, Any]:
    """Claims that would be good; None takes one away."""
    now = int(time.time())
    claims = {"iss": DEV_ISSUER, "aud": DEV_AUDIENCE, "iat": now, "exp": now + 600, "sub": "alice", "kind": "HUMAN"}
    return {name: value for name, value in {**claims, **changes}.items() if value is not None}


def signing_key(data_dir: Path) -> Ed25519PrivateKey:
    """The development key, which only the server should have."""
    pem = (data_dir / "dev-signing-key.pem").read_bytes()
    key = serialization.load_pem_private_key(pem, password=None)
    assert isinstance(key, Ed25519PrivateKey)
    return key


def signed_token(data_dir: Path, **changes: object) -> str:
    """A token signed as it should be, with other claims."""
    return jwt.encode(claims_with(**changes), signing_key(data_dir), algorithm="EdDSA")
