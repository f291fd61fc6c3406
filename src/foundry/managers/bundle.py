"""The final bundle of a frozen project: which files it has, and the archive they make.

Everything in it was fixed by the freeze: the released version, the log up to the entry of the freeze, and comments and
runs, which take no writes any more. Nothing in it comes from the export: no clock, no host, no caller. So the same
project gives the same bytes every time, after a restart and on any machine.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from foundry.content import agent_payload, archive, canonical_json, canonical_manifest, sha256_hex
from foundry.domain.access import Action
from foundry.domain.comment import CommentFilter
from foundry.domain.entry import Event
from foundry.domain.field import SCRATCHPAD
from foundry.managers import bundle_records as records
from foundry.managers.access import authorize, readable
from foundry.managers.bundle_format import FORMAT
from foundry.managers.entries import entry
from foundry.managers.exports import release_of, release_statement
from foundry.store.needs import Needs

if TYPE_CHECKING:
    from collections.abc import Sequence

    from foundry.domain.draft import Draft
    from foundry.domain.entry import Value
    from foundry.domain.field import FieldDigest
    from foundry.domain.principal import Caller
    from foundry.domain.project import Project
    from foundry.domain.release import Freeze
    from foundry.domain.run import Run
    from foundry.managers.workers import Workers
    from foundry.store.entries import StoredEntry
    from foundry.store.lane import WriteLane
    from foundry.store.repositories import Repositories
    from foundry.store.unit_of_work import UnitOfWork

#: Bundles that are made at once; more wait.
_AT_ONCE: Final = 2
#: Rows read in one go: a few milliseconds.
_ROWS: Final = 200
_PIECE_BYTES: Final = 256 * 1024
#: Content up to this comes as a payload too. No setting: one release is the same bundle on any server.
_PAYLOAD_CONTENT_BYTES_MAX: Final = 8 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class File:
    """A file of a bundle; ``pieces`` gives its content, the same each time."""

    path: str
    size: int
    sha256: str
    pieces: Callable[[], AsyncGenerator[bytes, None]]


@dataclass(frozen=True, slots=True)
class Bundle:
    """What is handed over, and how.

    Attributes:
        name: Of the directory that all files lie below.
        size: Of the archive, bytes.
        sequence: Log position of the export.
    """

    freeze: Freeze
    name: str
    size: int
    manifest_sha256: str
    files: tuple[File, ...]
    sequence: int


class Bundler:
    """Makes bundles."""

    def __init__(self, lane: WriteLane, store: Repositories, workers: Workers) -> None:
        self._lane = lane
        self._store = store
        self._workers = workers
        self._turns = asyncio.Semaphore(_AT_ONCE)

    async def export(self, caller: Caller, project_id: str) -> AsyncGenerator[Bundle | bytes, None]:
        """The bundle, then its archive in pieces of at most ``_PIECE_BYTES``. Recorded before anything is handed over.

        Raises:
            NotFrozen: There is no release.
            ProjectAccessDenied: The caller may not, or no longer, read the project.
        """
        project, _ = await readable(self._store.projects, caller, project_id)
        freeze = await release_of(self._store, project)
        async with self._turns:  # not while it is handed over: whoever does not read it would hold up everybody
            bundle = await self._bundle(caller, project, freeze)
        yield bundle
        async with contextlib.aclosing(_gathered(self._archive(caller, bundle))) as pieces:
            async for piece in pieces:
                yield piece

    async def _archive(self, caller: Caller, bundle: Bundle) -> AsyncGenerator[bytes, None]:
        time_s = bundle.freeze.create_time_us // 1_000_000
        for file in bundle.files:
            await readable(self._store.projects, caller, bundle.freeze.project_id)
            yield archive.header(f"{bundle.name}/{file.path}", file.size, time_s)
            size = 0
            async for piece in file.pieces():
                size += len(piece)
                yield piece
            if size != file.size:  # an archive that is not what its manifest says must not look whole
                raise LookupError(f"{file.path} has {size} bytes instead of {file.size}")
            yield archive.padding(size)
        yield archive.END

    async def _bundle(self, caller: Caller, project: Project, freeze: Freeze) -> Bundle:
        files = sorted(await self._files(freeze), key=lambda file: file.path)
        listed = [{"path": file.path, "sha256": file.sha256, "size": file.size} for file in files]
        manifest = canonical_json(
            {
                "files": listed,
                "freeze": records.freeze_record(freeze),
                "project": {"name": project.name, "project_id": project.project_id},
                "schema": "foundry.bundle/v1",
            }
        )
        manifest_sha256 = sha256_hex(manifest)
        sums = "".join(f"{file.sha256}  {file.path}\n" for file in [_of("MANIFEST.json", manifest), *files])
        files = [_of("MANIFEST.json", manifest), _of("SHA256SUMS", sums.encode()), *files]
        name = f"{freeze.project_id}-v{freeze.version_number}"
        size = len(archive.END)
        for number, file in enumerate(files):
            size += len(archive.header(f"{name}/{file.path}", file.size, 0))
            size += file.size + len(archive.padding(file.size))
            if number % _ROWS == 0:
                await asyncio.sleep(0)

        def decide(unit: UnitOfWork) -> int:
            authorize(unit, caller, Action.READ)
            data: dict[str, Value] = {
                "freeze_id": freeze.freeze_id,
                "fingerprint": freeze.fingerprint,
                "manifest_sha256": manifest_sha256,
            }
            return unit.record(entry(Event.BUNDLE_EXPORTED, caller, data))

        sequence = await self._lane.submit(Needs(freeze.project_id, caller.principal.subject), decide)
        return Bundle(freeze, name, size, manifest_sha256, tuple(files), sequence)

    # --- its files ---

    async def _files(self, freeze: Freeze) -> list[File]:
        draft = await self._store.drafts.get(freeze.project_id, freeze.version_number)
        if draft is None:
            raise LookupError(f"version {freeze.version_number} of {freeze.project_id} is missing")
        digests = await self._store.drafts.fields_at(freeze.project_id, freeze.version_number)
        released = [digest for digest in digests if digest.name != SCRATCHPAD]
        files = [
            _of("FORMAT.md", FORMAT),
            _of("release.json", release_statement(freeze)),
            _of("content.json", canonical_manifest(digests)),
            await _derived("history/versions.jsonl", lambda: self._versions(freeze)),
            await _derived("audit/log.jsonl", lambda: self._log(freeze)),
            await _derived("audit/texts.jsonl", lambda: self._texts(freeze)),
        ]
        files += [self._field(freeze.project_id, digest) for digest in released]
        size = sum(digest.size for digest in released)
        if size <= _PAYLOAD_CONTENT_BYTES_MAX:
            files.append(await _derived("payload/agent.json", lambda: self._payload(draft, released)))
        files.append(await _derived("comments.jsonl", lambda: self._comments(freeze.project_id)))
        async for run_id in self._store.runs.ids(freeze.project_id):
            files += await self._run(freeze.project_id, run_id)
        return files

    async def _payload(self, draft: Draft, digests: Sequence[FieldDigest]) -> AsyncGenerator[bytes, None]:
        values = [await self._store.drafts.value(draft.project_id, digest) for digest in digests]
        yield await self._workers.run(sum(digest.size for digest in digests), agent_payload, draft, values)

    def _field(self, project_id: str, digest: FieldDigest) -> File:
        async def pieces() -> AsyncGenerator[bytes, None]:
            yield await self._store.drafts.saved(project_id, digest.sha256)

        return File(f"content/{digest.name}", digest.size, digest.sha256, pieces)

    async def _versions(self, freeze: Freeze) -> AsyncGenerator[bytes, None]:
        for number in range(1, freeze.version_number + 1):
            draft = await self._store.drafts.get(freeze.project_id, number)
            if draft is None:
                raise LookupError(f"version {number} of {freeze.project_id} is missing")
            yield records.version_line(draft)

    async def _stored(self, freeze: Freeze) -> AsyncGenerator[StoredEntry, None]:
        after = 0
        while rows := await self._store.entries.stored(freeze.project_id, after, freeze.sequence, _ROWS):
            for row in rows:
                yield row
            after = rows[-1][0]

    async def _log(self, freeze: Freeze) -> AsyncGenerator[bytes, None]:
        async for _, entry_bytes, _, _ in self._stored(freeze):
            yield entry_bytes + b"\n"

    async def _texts(self, freeze: Freeze) -> AsyncGenerator[bytes, None]:
        async for sequence, _, salt, text in self._stored(freeze):
            if salt is not None and text is not None:
                yield records.text_line(sequence, salt, text)

    async def _run(self, project_id: str, run_id: str) -> list[File]:
        async def record() -> AsyncGenerator[bytes, None]:
            yield records.run_record(await self._known_run(project_id, run_id))

        async def console() -> AsyncGenerator[bytes, None]:
            async for _, _, data in self._store.runs.chunks(project_id, run_id):
                yield data

        run = await self._known_run(project_id, run_id)
        return [
            await _derived(f"runs/{run_id}.json", record),
            File(f"runs/{run_id}.log.jsonl", run.log_bytes, run.log_sha256, console),
        ]

    async def _known_run(self, project_id: str, run_id: str) -> Run:
        run = await self._store.runs.get(project_id, run_id)
        if run is None:
            raise LookupError(f"run {run_id} of {project_id} is missing")
        return run

    async def _comments(self, project_id: str) -> AsyncGenerator[bytes, None]:
        after = ""
        while page := await self._store.comments.page(project_id, CommentFilter(), after, _ROWS):
            for comment in page:
                yield records.comment_line(comment)
            after = page[-1].comment_id


def _of(path: str, content: bytes) -> File:
    async def pieces() -> AsyncGenerator[bytes, None]:
        yield content

    return File(path, len(content), sha256_hex(content), pieces)


async def _derived(path: str, pieces: Callable[[], AsyncGenerator[bytes, None]]) -> File:
    """A file whose size and hash are found by making it once."""
    hashed, size = hashlib.sha256(), 0
    async for piece in _gathered(pieces()):
        hashed.update(piece)
        size += len(piece)
    return File(path, size, hashed.hexdigest(), pieces)


async def _gathered(pieces: AsyncGenerator[bytes, None]) -> AsyncGenerator[bytes, None]:
    """Small pieces joined and large ones cut; others get their turn in between."""
    waiting: list[bytes] = []
    size = 0
    async with contextlib.aclosing(pieces):
        async for piece in pieces:
            waiting.append(piece)
            size += len(piece)
            if size < _PIECE_BYTES:
                continue
            joined = b"".join(waiting)
            for start in range(0, size - size % _PIECE_BYTES, _PIECE_BYTES):
                yield joined[start : start + _PIECE_BYTES]
                await asyncio.sleep(0)
            waiting = [joined[size - size % _PIECE_BYTES :]]
            size = len(waiting[0])
    if size:
        yield b"".join(waiting)
    await asyncio.sleep(0)
