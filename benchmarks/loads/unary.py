"""Unary calls: the same bytes over and over, and saves."""

from __future__ import annotations

from typing import Any

import grpc

from benchmarks.worker import Load
from coreason.foundry.v1 import draft_pb2

#: Text of a field, about 2 kB.
TEXT = "Answer from the protocol only, and cite the section. " * 39

CREATE_DRAFT = "/coreason.foundry.v1.DraftService/CreateDraft"
GET_DRAFT = "/coreason.foundry.v1.DraftService/GetDraft"

Metadata = tuple[tuple[str, str], ...]


def channel(address: str) -> grpc.aio.Channel:
    """A channel with a connection of its own."""
    return grpc.aio.insecure_channel(address, options=[("grpc.use_local_subchannel_pool", 1)])


def bearer(token: str) -> Metadata:
    """Call metadata with a token."""
    return (("authorization", f"Bearer {token}"),)


class SameCall(Load):
    """One unary call, the same bytes each time, over one connection; answers are not parsed.

    Args:
        method: Full name of the method, and the token it needs, or none.
    """

    def __init__(self, pid: int, clients: int, address: str, method: tuple[str, str], request: bytes) -> None:
        super().__init__(pid, clients)
        self._address, self._request = address, request
        self._method, token = method
        self._metadata = bearer(token) if token else None
        self._call: Any = None

    async def prepare(self) -> None:
        self._channel = channel(self._address)
        self._call = self._channel.unary_unary(self._method)

    async def operate(self, client: int) -> None:
        del client
        await self._call(self._request, metadata=self._metadata)


class UnarySaves(Load):
    """``CreateDraft`` without a session, each client on a field and a connection of its own, new text each time.

    Args:
        project_id: Where; each client needs the role EDITOR there.
        tokens: Of the clients.
    """

    def __init__(self, pid: int, address: str, project_ids: list[str], tokens: list[str]) -> None:
        super().__init__(pid, len(tokens))
        self._address, self._metadata = address, [bearer(token) for token in tokens]
        self._projects = iter(project_ids)
        self._project_id = ""
        self._saved = 0
        self._base: list[int] = []

    async def prepare(self) -> None:
        self._channels = [channel(self._address) for _ in self._metadata]
        self._calls: list[Any] = [
            made.unary_unary(CREATE_DRAFT, response_deserializer=draft_pb2.CreateDraftResponse.FromString)
            for made in self._channels
        ]

    async def begin(self) -> None:
        """Move to the next project, if there is one."""
        self._project_id = next(self._projects, self._project_id)
        reads = self._channels[0].unary_unary(
            GET_DRAFT,
            request_serializer=draft_pb2.GetDraftRequest.SerializeToString,
            response_deserializer=draft_pb2.GetDraftResponse.FromString,
        )
        request = draft_pb2.GetDraftRequest(project_id=self._project_id, omit_content=True)
        head = await reads(request, metadata=self._metadata[0])
        self._base = [head.draft.version_number] * self.clients

    async def operate(self, client: int) -> None:
        self._saved += 1
        change = draft_pb2.FieldChange(field=f"field_{client}", text=f"{self._saved} {TEXT}")
        request = draft_pb2.CreateDraftRequest(
            project_id=self._project_id, changes=[change], base_version=self._base[client]
        )
        answer = await self._calls[client](request.SerializeToString(), metadata=self._metadata[client])
        self._base[client] = answer.draft.version_number
