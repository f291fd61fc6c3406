"""Client of the ExportService: payloads for harnesses, the freeze, and the final bundle."""

# ruff: noqa: ASYNC109 - of the whole transfer, as gRPC has it

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Final

from coreason.foundry.v1 import export_pb2 as pb
from coreason.foundry.v1 import project_pb2
from foundry.client.bundle import AsyncBundle, SavedBundle, SyncBundle, bundle_in, incoming
from foundry.client.calls import TIMEOUT_S, Answers, AsyncService, SyncService, Unary, request_id_or_new, unary

#: Seconds that the transfer of a bundle may take.
BUNDLE_TIMEOUT_S: Final = 600.0

#: Told after each piece of a bundle: how many bytes there are, and how many there will be.
Progress = Callable[[int, int], None]


class Exports:
    """Exports: a version for the test harness, the freeze of a project, and its final bundle."""

    @unary
    def for_assay(
        self,
        project_id: str,
        version: int | None = None,
        *,
        draft_id: str = "",
        include_scratchpad: bool = False,
        timeout: float = TIMEOUT_S,
    ) -> Unary[pb.ExportForAssayResponse, pb.AssayExport]:
        """Serialise a version into the payload that a harness tests: the same bytes every time. Recorded in the log.

        Args:
            project_id: The project.
            version: Its number, from 1; None for the newest.
            draft_id: Its id, instead of a number.
            include_scratchpad: Put the field ``scratchpad`` into the payload too; it never counts in hash and manifest.
            timeout: Seconds the call may take.

        Raises:
            NotFound: There is no such version.
            InvalidRequest: With the reason CONTENT_TOO_LARGE when the content is over 8 MiB.
            ValueError: Both a number and an id were given.
        """
        if version is not None and draft_id:
            raise ValueError("name a version by its number or by its id, not by both")
        request = pb.ExportForAssayRequest(project_id=project_id, include_scratchpad=include_scratchpad)
        if version is not None:
            request.version_number = version
        elif draft_id:
            request.draft_id = draft_id
        return Unary(request, pb.ExportForAssayResponse, lambda answer: answer.export, timeout)

    @unary
    def freeze(
        self,
        project_id: str,
        expected_version: int,
        *,
        reason: str = "",
        request_id: str | None = None,
        timeout: float = TIMEOUT_S,
    ) -> Unary[pb.RequestFreezeResponse, pb.RequestFreezeResponse]:
        """Freeze a project at its newest version, for ever. For people with the role OWNER.

        Args:
            project_id: The project.
            expected_version: The version the caller decided on, from 1; it must be the newest.
            reason: Why, at most 4 KiB.
            request_id: UUID that makes the call safe to repeat for 24 hours; None for a new one.
            timeout: Seconds the call may take.

        Returns:
            The freeze, the project, and the locks that were released.

        Raises:
            VersionMismatch: There is a newer version.
            FreezeBlocked: Something stands in the way, such as a run that runs; it lists all.
            ProjectFrozen: It is frozen.
        """
        request = pb.RequestFreezeRequest(
            project_id=project_id,
            expected_version=expected_version,
            reason=reason,
            request_id=request_id_or_new(request_id),
        )
        return Unary(request, pb.RequestFreezeResponse, lambda answer: answer, timeout)

    @unary
    def get_freeze(self, project_id: str, *, timeout: float = TIMEOUT_S) -> Unary[pb.GetFreezeResponse, pb.Freeze]:
        """Read the freeze of a project.

        Raises:
            NotFound: It is not frozen.
        """
        request = pb.GetFreezeRequest(project_id=project_id)
        return Unary(request, pb.GetFreezeResponse, lambda answer: answer.freeze, timeout)

    @unary
    def start_revision(
        self,
        project_id: str,
        *,
        name: str = "",
        reason: str = "",
        request_id: str | None = None,
        timeout: float = TIMEOUT_S,
    ) -> Unary[pb.StartRevisionResponse, project_pb2.Project]:
        """Make a new project whose version 1 is what was released; the caller becomes its first OWNER.

        Args:
            project_id: The frozen project.
            name: Name of the new one, at most 200 bytes; empty for the same.
            reason: Why, at most 4 KiB.
            request_id: UUID that makes the call safe to repeat for 24 hours; None for a new one.
            timeout: Seconds the call may take.

        Raises:
            NotFrozen: The project is not frozen.
        """
        request = pb.StartRevisionRequest(
            project_id=project_id, name=name, reason=reason, request_id=request_id_or_new(request_id)
        )
        return Unary(request, pb.StartRevisionResponse, lambda answer: answer.project, timeout)


class ExportClient(Exports, AsyncService):
    """The ExportService for asyncio."""

    @contextlib.asynccontextmanager
    async def for_publisher(self, project_id: str, *, timeout: float = BUNDLE_TIMEOUT_S) -> AsyncIterator[AsyncBundle]:
        """Hand over the final bundle of a frozen project, for the length of a block. Recorded in the log.

        Args:
            project_id: The project.
            timeout: Seconds the whole transfer may take.

        Yields:
            What the bundle is, and its bytes.

        Raises:
            NotFrozen: The project is not frozen.
        """
        call = Answers(pb.ExportForPublisherRequest(project_id=project_id), pb.ExportForPublisherResponse, timeout)
        async with contextlib.aclosing(self._answers(call)) as answers:
            yield AsyncBundle(bundle_in(await anext(answers, None)), answers)

    async def save_bundle(
        self,
        project_id: str,
        path: Path | str,
        *,
        progress: Progress | None = None,
        timeout: float = BUNDLE_TIMEOUT_S,
    ) -> SavedBundle:
        """Write the final bundle of a frozen project to a file that is there when it is whole, and not before.

        Args:
            project_id: The project.
            path: The file, or a directory to write it to under its own name.
            progress: Told after each piece how many bytes there are, and how many there will be.
            timeout: Seconds the whole transfer may take.

        Raises:
            NotFrozen: The project is not frozen.
            Internal: The server sent another number of bytes than it said.
            OSError: The file cannot be written.
        """
        async with self.for_publisher(project_id, timeout=timeout) as handed:
            with incoming(handed.bundle, path, progress) as file:
                async for data in handed:
                    file.add(data)
        return SavedBundle(file.target, handed.bundle)


class SyncExportClient(Exports, SyncService):
    """The ExportService for threads."""

    @contextlib.contextmanager
    def for_publisher(self, project_id: str, *, timeout: float = BUNDLE_TIMEOUT_S) -> Iterator[SyncBundle]:
        """Hand over the final bundle of a frozen project; as ``ExportClient.for_publisher``."""
        call = Answers(pb.ExportForPublisherRequest(project_id=project_id), pb.ExportForPublisherResponse, timeout)
        with contextlib.closing(self._answers(call)) as answers:
            yield SyncBundle(bundle_in(next(answers, None)), answers)

    def save_bundle(
        self,
        project_id: str,
        path: Path | str,
        *,
        progress: Progress | None = None,
        timeout: float = BUNDLE_TIMEOUT_S,
    ) -> SavedBundle:
        """Write the final bundle of a frozen project to a file; as ``ExportClient.save_bundle``."""
        with (
            self.for_publisher(project_id, timeout=timeout) as handed,
            incoming(handed.bundle, path, progress) as file,
        ):
            for data in handed:
                file.add(data)
        return SavedBundle(file.target, handed.bundle)
