"""Bytes that are no message: refused in our own words, and the connection goes on."""

from __future__ import annotations

from typing import Any

import grpc
import pytest
from google.protobuf.descriptor import FieldDescriptor, MethodDescriptor

from coreason.foundry.v1 import draft_pb2, project_pb2
from tests.service.house import CALLS, UNARY, House, names, path
from tests.service.refusals import refused
from tests.support import PATIENCE_S

pytestmark = pytest.mark.asyncio(loop_scope="module")

MIB = 1024 * 1024
CREATE_DRAFT = next(method for method in UNARY if method.name == "CreateDraft")

NO_PROTOBUF = {
    "cut tag": b"\xff",
    "unknown wire type": b"\x0f",
    "length beyond the end": b"\x0a\x05ab",
    "endless varint": b"\x08" + b"\xff" * 11,
    "end of a group that never began": b"\x0c",
}


@pytest.mark.parametrize("method", CALLS, ids=names(CALLS))
async def test_bytes_that_are_no_protobuf_are_malformed(house: House, method: MethodDescriptor) -> None:
    """Named after the message that was expected; the same channel serves the next call."""
    caller = house.caller("alice")
    for data in NO_PROTOBUF.values():
        await refused(caller.knock(method, data), "MALFORMED_MESSAGE", message_type=method.input_type.full_name)
    await caller.call(project_pb2.ListProjectsRequest())


STRINGS = [method for method in CALLS if any(f.type == FieldDescriptor.TYPE_STRING for f in method.input_type.fields)]


@pytest.mark.parametrize("method", STRINGS, ids=names(STRINGS))
async def test_text_that_is_no_utf8_is_malformed(house: House, method: MethodDescriptor) -> None:
    """In whichever string: a stray byte, half a character, a surrogate, an overlong NUL."""
    for field in method.input_type.fields:
        for text in (b"\xff", b"\xc3", b"\xed\xa0\x80", b"\xc0\x80") * (field.type == FieldDescriptor.TYPE_STRING):
            data = bytes([field.number << 3 | 2, len(text)]) + text
            await refused(house.caller("alice").knock(method, data), "MALFORMED_MESSAGE")


async def test_a_message_over_4_mib_is_refused_with_details(house: House) -> None:
    """It names both sizes, writes nothing, and the channel stays usable."""
    project_id = await house.project()
    request = draft_pb2.CreateDraftRequest(
        project_id=project_id, changes=[draft_pb2.FieldChange(field="blob", data=bytes(5 * MIB))]
    )
    size = str(request.ByteSize())
    async with house.unchanged(project_id):
        await refused(house.olga.call(request), "MESSAGE_TOO_LARGE", size_bytes=size, limit_bytes=str(4 * MIB))
    await house.olga.save(project_id, notes="still here")


async def test_a_message_of_4_mib_is_read(house: House) -> None:
    """The bound is on what is over it: at 4 MiB it is the content's own limit that speaks."""
    project_id = await house.project()
    request = draft_pb2.CreateDraftRequest(project_id=project_id, changes=[draft_pb2.FieldChange(field="blob")])
    request.changes[0].data = bytes(4 * MIB - 1_000)
    request.message = "x" * (4 * MIB - request.ByteSize() - 3)
    assert request.ByteSize() == 4 * MIB
    await refused(house.olga.call(request), "CONTENT_TOO_LARGE")
    request.message += "x"
    await refused(house.olga.call(request), "MESSAGE_TOO_LARGE", size_bytes=str(4 * MIB + 1))


async def test_beyond_16_mib_the_transport_ends_the_call_and_no_other(house: House) -> None:
    """Documented: without details. The connection goes on."""
    caller = house.caller("alice")
    rpc: Any = caller.channel.unary_unary(path(CREATE_DRAFT))
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await rpc(bytes(16 * MIB + 1), metadata=caller.metadata, timeout=PATIENCE_S)
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    await caller.call(project_pb2.ListProjectsRequest())


async def test_fields_of_a_newer_contract_are_ignored(house: House) -> None:
    """An older server serves a newer client: unknown fields are no malformed message."""
    request = project_pb2.ListProjectsRequest().SerializeToString() + b"\xba\x3e\x03abc"
    await house.caller("alice").send("/coreason.foundry.v1.ProjectService/ListProjects", request)
