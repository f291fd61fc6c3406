"""Repeated requests: the answer to a mutation is kept for 24 hours, in the transaction that made the change."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from sqlalchemy import bindparam, delete, insert, select

from foundry.content.canonical import canonical_json
from foundry.store import tables as t
from foundry.store.statement import Statement

if TYPE_CHECKING:
    from foundry.domain.entry import Value
    from foundry.domain.principal import Principal

KEPT_US = 24 * 3600 * 1_000_000


@dataclass(frozen=True, slots=True)
class RequestKey:
    """Names a request: ids of different principals or RPCs never meet.

    Attributes:
        subject: Identity of the principal, delegation included.
        rpc: Name of the RPC.
        request_id: The client's id.
        command_hash: SHA-256 of the validated command; a repetition must have the same.
    """

    subject: str
    rpc: str
    request_id: str
    command_hash: bytes


REQUEST = Statement(
    select(
        t.request_record.c.subject,
        t.request_record.c.rpc,
        t.request_record.c.request_id,
        t.request_record.c.command_hash,
        t.request_record.c.answer,
    ).where(
        t.request_record.c.subject == bindparam("subject"),
        t.request_record.c.rpc == bindparam("rpc"),
        t.request_record.c.request_id == bindparam("request_id"),
    )
)
INSERT_REQUEST = Statement(insert(t.request_record))
DELETE_OLD = Statement(delete(t.request_record).where(t.request_record.c.create_time_us < bindparam("before_us")))


def request_key(principal: Principal, rpc: str, request_id: str, command: Value) -> RequestKey | None:
    """The key of a request, or None when it has no id.

    Args:
        command: The validated command as plain values; whatever makes two commands different must be in it.
    """
    if not request_id:
        return None
    identity = {"subject": principal.subject, "kind": principal.kind.value, "for": principal.on_behalf_of}
    who = canonical_json(identity).decode()
    # Not canonical JSON, which has no integers over 2**53: versions and tokens may be any that the contract can carry.
    said = json.dumps(command, sort_keys=True, separators=(",", ":")).encode()
    return RequestKey(who, rpc, request_id, hashlib.sha256(said).digest())


def key_parameters(key: RequestKey) -> dict[str, object]:
    """Parameters of ``REQUEST``."""
    parameters = asdict(key)
    del parameters["command_hash"]
    return parameters


def request_parameters(key: RequestKey, answer: bytes, now_us: int) -> dict[str, object]:
    """Parameters of ``INSERT_REQUEST``."""
    return {**asdict(key), "answer": answer, "create_time_us": now_us}
