"""ExportService: translation only."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from coreason.foundry.v1 import export_pb2 as pb
from coreason.foundry.v1 import types_pb2
from foundry.domain.errors import InvalidArgument
from foundry.managers.bundle import Bundle
from foundry.rpc import codec, validation

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from foundry.domain.principal import Caller
    from foundry.domain.session import History
    from foundry.managers.bundle import Bundler
    from foundry.managers.exports import ExportManager


class ExportServicer:
    """See ``export.proto``."""

    def __init__(self, exports: ExportManager, bundler: Bundler, *, history: History) -> None:
        self._exports = exports
        self._bundler = bundler
        self._history = history

    async def ExportForAssay(self, request: pb.ExportForAssayRequest, caller: Caller) -> pb.ExportForAssayResponse:
        """Serialise a version for a harness."""
        version = request.version_number if request.HasField("version_number") else None
        if version is not None and version < 1:
            raise InvalidArgument("version_number", "from 1")
        found = await self._exports.for_assay(
            caller,
            request.project_id,
            version_number=version,
            draft_id=request.draft_id if request.HasField("draft_id") else None,
            include_scratchpad=request.include_scratchpad,
        )
        export = pb.AssayExport(
            project_id=found.draft.project_id,
            version_number=found.draft.version_number,
            draft_id=found.draft.draft_id,
            content_sha256=found.draft.content_sha256,
            manifest=found.manifest.decode(),
            payload=found.payload,
            payload_sha256=found.payload_sha256,
        )
        return pb.ExportForAssayResponse(export=export, position=self._position(found.sequence))

    async def RequestFreeze(self, request: pb.RequestFreezeRequest, caller: Caller) -> pb.RequestFreezeResponse:
        """Freeze."""
        fields = validation.check(validation.Mutation, reason=request.reason, request_id=request.request_id)
        if request.expected_version < 1:
            raise InvalidArgument("expected_version", "from 1")
        frozen = await self._exports.freeze(
            caller,
            request.project_id,
            request.expected_version,
            reason=fields.reason,
            request_id=fields.request_id,
        )
        return pb.RequestFreezeResponse(
            freeze=codec.freeze(frozen.freeze, self._history.epoch),
            project=codec.project(frozen.project),
            released_locks=[codec.lock(lock) for lock in frozen.released_locks],
        )

    async def GetFreeze(self, request: pb.GetFreezeRequest, caller: Caller) -> pb.GetFreezeResponse:
        """Read the freeze."""
        freeze = await self._exports.get_freeze(caller, request.project_id)
        return pb.GetFreezeResponse(freeze=codec.freeze(freeze, self._history.epoch))

    async def ExportForPublisher(
        self, request: pb.ExportForPublisherRequest, caller: Caller
    ) -> AsyncGenerator[pb.ExportForPublisherResponse, None]:
        """Hand over the bundle."""
        async with contextlib.aclosing(self._bundler.export(caller, request.project_id)) as parts:
            async for part in parts:
                if isinstance(part, Bundle):
                    yield pb.ExportForPublisherResponse(bundle=self._bundle(part))
                else:
                    yield pb.ExportForPublisherResponse(data=part)

    def _bundle(self, of: Bundle) -> pb.Bundle:
        return pb.Bundle(
            freeze=codec.freeze(of.freeze, self._history.epoch),
            file_name=f"{of.name}.tar",
            size=of.size,
            manifest_sha256=of.manifest_sha256,
            position=self._position(of.sequence),
        )

    async def StartRevision(self, request: pb.StartRevisionRequest, caller: Caller) -> pb.StartRevisionResponse:
        """Go on in a new project."""
        fields = validation.check(
            validation.RevisionFields, name=request.name, reason=request.reason, request_id=request.request_id
        )
        project = await self._exports.start_revision(
            caller, request.project_id, name=fields.name, reason=fields.reason, request_id=fields.request_id
        )
        return pb.StartRevisionResponse(project=codec.project(project))

    def _position(self, sequence: int) -> types_pb2.Position:
        return types_pb2.Position(epoch=self._history.epoch, sequence=sequence)
