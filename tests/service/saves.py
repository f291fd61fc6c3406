"""Saves as requests, and what tests ask of them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

from coreason.foundry.v1 import draft_pb2, lock_pb2

Changes = Mapping[str, str | bytes | None]


def changes_of(changes: Changes) -> list[draft_pb2.FieldChange]:
    """New content by field: text, bytes, or None to remove the field."""
    found = []
    for field, content in changes.items():
        change = draft_pb2.FieldChange(field=field)
        if content is None:
            change.remove = True
        elif isinstance(content, str):
            change.text = content
        else:
            change.data = content
        found.append(change)
    return found


def save_of(
    project_id: str,
    changes: Changes,
    base_version: int = 0,
    *,
    locks: Mapping[str, int] | None = None,
    **more: Any,
) -> draft_pb2.CreateDraftRequest:
    """A save; ``locks`` maps fields to tokens."""
    tokens = [lock_pb2.LockToken(field=field, fencing_token=token) for field, token in (locks or {}).items()]
    return draft_pb2.CreateDraftRequest(
        project_id=project_id, changes=changes_of(changes), base_version=base_version, locks=tokens, **more
    )


def sha256(content: str | bytes) -> str:
    """The hash content is named by."""
    return hashlib.sha256(content.encode() if isinstance(content, str) else content).hexdigest()
