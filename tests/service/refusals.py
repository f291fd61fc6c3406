"""Refusals as they come over the wire, held against their documentation whenever one is seen."""

from __future__ import annotations

import re
from collections.abc import Awaitable
from typing import Any, TypeVar

import grpc
import pytest
from google.protobuf.message import Message
from google.rpc import error_details_pb2 as rpc_details
from google.rpc import status_pb2

from tests.service.samples import samples

_M = TypeVar("_M", bound=Message)

#: What no sentence for people may hold: Python's, SQL's or a library's words.
_OUR_INSIDES = re.compile(
    r"Traceback|Error\b|Exception|object at 0x|<class|\bNone\b|\bdict|Dictionary|Value error|pydantic|sqlite|"
    r"\bSELECT\b|\bINSERT\b|\bUPDATE\b|\bNULL\b|constraint|site-packages|\.py\b|google\.protobuf"
)
#: What may stand in the way of a freeze, as its violations are typed.
_BLOCKERS = {"NO_VERSION", "RUN_RUNNING", "EVIDENCE_MISSING", "APPROVALS_MISSING"}


class Refused(Exception):  # noqa: N818 - it is what happened, not what is wrong
    """A call was refused, as documented: code, domain, metadata keys and details are those of the reason.

    Attributes:
        raw: The ``google.rpc.Status`` as it was sent.
        violations: Field and description of the BadRequest, or subject and description of the PreconditionFailure.
        types: Of the violations of the PreconditionFailure, in their order.
    """

    def __init__(self, error: grpc.aio.AioRpcError) -> None:
        self.code = error.code()
        trailers: Any = error.trailing_metadata()
        self.raw = bytes(dict(trailers or ()).get("grpc-status-details-bin", b""))
        status = status_pb2.Status.FromString(self.raw)
        self.message = error.details() or ""
        super().__init__(f"{self.code.name}: {self.message}")
        assert self.raw, f"no details: {self}"
        assert (status.code, status.message) == (self.code.value[0], self.message)
        info = detail(status, rpc_details.ErrorInfo)
        self.reason, self.metadata = info.reason, dict(info.metadata)
        bad, state = detail(status, rpc_details.BadRequest), detail(status, rpc_details.PreconditionFailure)
        self.violations = [
            *((violation.field, violation.description) for violation in bad.field_violations),
            *((violation.subject, violation.description) for violation in state.violations),
        ]
        self.resource = detail(status, rpc_details.ResourceInfo)
        self.types = [violation.type for violation in state.violations]
        self._check(status, info.domain, set(self.types))

    def _check(self, status: status_pb2.Status, domain: str, types: set[str]) -> None:
        sample = samples()[self.reason]
        assert (self.code, domain) == (sample.code, sample.domain)
        assert sample.allows(frozenset(self.metadata)), f"{self.reason} with the keys {sorted(self.metadata)}"
        names = [entry.type_url.rpartition(".")[2] for entry in status.details]
        assert sorted(names) == sorted(["ErrorInfo", *sample.details]), f"{self.reason} with {names}"
        assert types <= (_BLOCKERS if self.reason == "FREEZE_BLOCKED" else {self.reason})
        if "ResourceInfo" in names:
            named = (self.metadata["resource_type"], self.metadata["resource_id"])
            assert (self.resource.resource_type, self.resource.resource_name) == named
        assert ("BadRequest" in names or "PreconditionFailure" in names) is bool(self.violations)
        texts = [self.message, *self.metadata.values(), *(text for pair in self.violations for text in pair)]
        for text in texts:
            assert not _OUR_INSIDES.search(text), f"{self.reason}: {text}"


def detail(status: status_pb2.Status, kind: type[_M]) -> _M:
    """The detail of a type, or an empty one."""
    found = kind()
    for entry in status.details:
        if entry.Unpack(found):
            break
    return found


async def refused(call: Awaitable[Any], reason: str, **metadata: str) -> Refused:
    """Await a call that must be refused for a reason, with these metadata among others."""
    with pytest.raises(Refused) as caught:
        await call
    refusal = caught.value
    assert refusal.reason == reason, f"{refusal.reason}: {refusal.message}"
    assert {key: refusal.metadata.get(key) for key in metadata} == metadata
    return refusal


async def blamed(call: Awaitable[Any], *fields: str) -> Refused:
    """Await a call that must be refused as INVALID_ARGUMENT, blaming these request fields."""
    refusal = await refused(call, "INVALID_ARGUMENT", field=fields[0])
    assert [field for field, _ in refusal.violations] == list(fields)
    return refusal
