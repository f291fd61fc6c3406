"""The payload that a test harness gets: a version as one document, the same bytes whenever it is exported."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any, Final

from foundry.content.canonical import canonical_json
from foundry.domain.field import FieldKind

if TYPE_CHECKING:
    from collections.abc import Sequence

    from foundry.domain.draft import Draft
    from foundry.domain.field import FieldValue

SCHEMA: Final = "foundry.agent/v1"


def agent_payload(draft: Draft, values: Sequence[FieldValue]) -> bytes:
    """RFC 8785 JSON of a version with its content.

    ``{"content_sha256", "draft_id", "fields": {name: {"kind", "media_type", "sha256", "text" | "data_base64"}},
    "project_id", "schema", "version_number"}``. Content of every kind but BINARY that is UTF-8 stands as ``text``.
    """
    return canonical_json(
        {
            "content_sha256": draft.content_sha256,
            "draft_id": draft.draft_id,
            "fields": {value.digest.name: _field(value) for value in values},
            "project_id": draft.project_id,
            "schema": SCHEMA,
            "version_number": draft.version_number,
        }
    )


def _field(value: FieldValue) -> dict[str, Any]:
    digest = value.digest
    field: dict[str, Any] = {
        "kind": digest.kind.value,
        "media_type": digest.media_type,
        "sha256": digest.sha256,
    }
    if digest.kind is not FieldKind.BINARY:
        try:
            return {**field, "text": value.content.decode()}
        except UnicodeDecodeError:
            pass
    return {**field, "data_base64": base64.b64encode(value.content).decode("ascii")}
