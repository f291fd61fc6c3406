"""The hash of a whole version: what two versions with equal content have in common, whoever made them and when."""

from __future__ import annotations

from typing import TYPE_CHECKING

from foundry.content.canonical import canonical_json, sha256_hex
from foundry.domain.field import SCRATCHPAD

if TYPE_CHECKING:
    from collections.abc import Iterable

    from foundry.domain.field import FieldDigest


def canonical_manifest(fields: Iterable[FieldDigest]) -> bytes:
    """The canonical manifest of a version's fields, as it is exported.

    It is the RFC 8785 JSON of ``{"fields": [{"kind", "media_type", "name", "sha256"}, ...], "v": 1}`` with the fields
    sorted by name. Anybody can rebuild it from an export, so its form is part of the contract. The ``scratchpad`` is no
    released content and left out.

    Args:
        fields: All fields of the version, in any order; only name, kind, media type and hash count.

    Raises:
        ValueError: Two fields of one name.
    """
    by_name: dict[str, dict[str, str]] = {}
    for field in fields:
        if field.name in by_name:
            raise ValueError(f"two fields named {field.name!r}")
        if field.name != SCRATCHPAD:
            by_name[field.name] = {
                "kind": field.kind.value,
                "media_type": field.media_type,
                "name": field.name,
                "sha256": field.sha256,
            }
    return canonical_json({"fields": [by_name[name] for name in sorted(by_name)], "v": 1})


def content_sha256(fields: Iterable[FieldDigest]) -> str:
    """The SHA-256 (hex) of the ``canonical_manifest`` of a version's fields.

    Raises:
        ValueError: Two fields of one name.
    """
    return sha256_hex(canonical_manifest(fields))
