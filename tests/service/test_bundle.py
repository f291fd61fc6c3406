"""The final bundle as it is handed over: whole, the same bytes for everybody, and by whomever it may be had."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import hashlib
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest
import pytest_asyncio

from coreason.foundry.v1 import audit_pb2, draft_pb2, export_pb2, project_pb2
from tests.service.house import METHODS, Caller, House, path
from tests.service.logs import entries_of
from tests.service.refusals import Refused, refused
from tests.service.releases import Unpacked, bundle_of, freeze, released, start_revision
from tests.support import PATIENCE_S, soon

pytestmark = pytest.mark.asyncio(loop_scope="module")

_MIB = 1024 * 1024
_PIECE_BYTES_MAX = 256 * 1024
_METHOD = path(next(method for method in METHODS if method.name == "ExportForPublisher"))


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def project_id(house: House) -> str:
    """A project with everything in it, frozen; nothing here changes more of it than who is a member."""
    return await released(house)


class Handing:
    """One stream of a bundle, read when a test says so."""

    def __init__(self, caller: Caller, project_id: str) -> None:
        rpc: Any = caller.channel.unary_stream(_METHOD)
        request = export_pb2.ExportForPublisherRequest(project_id=project_id)
        self._call = rpc(request.SerializeToString(), metadata=caller.metadata)

    async def next(self) -> export_pb2.ExportForPublisherResponse | None:
        """The next part, None at a good end; raises ``Refused``."""
        try:
            data = await soon(self._call.read())
        except grpc.aio.AioRpcError as error:
            raise Refused(error) from None
        return None if data is grpc.aio.EOF else export_pb2.ExportForPublisherResponse.FromString(data)

    async def rest(self) -> bytes:
        """What is still to come of the archive; raises ``Refused``."""
        pieces = []
        while part := await self.next():
            pieces.append(part.data)
        return b"".join(pieces)

    async def cancel(self) -> None:
        """Go away, and wait until that is so."""
        self._call.cancel()
        with contextlib.suppress(asyncio.CancelledError, grpc.aio.AioRpcError):
            await self._call.code()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def large(house: House) -> str:
    """A frozen project of more than fits into the buffers of a stream, with ``bob`` in it."""
    project_id = await house.project(bob=project_pb2.ROLE_EDITOR)
    for number in range(5):
        data = hashlib.shake_128(bytes([number])).digest(3 * _MIB)
        change = draft_pb2.FieldChange(field=f"data/{number}", data=data, kind=draft_pb2.FIELD_KIND_BINARY)
        await house.olga.call(
            draft_pb2.CreateDraftRequest(project_id=project_id, changes=[change], base_version=number)
        )
    await house.freeze(project_id, 5)
    return project_id


# --- what is handed over ---


async def test_the_bundle_comes_first_and_says_what_follows(house: House, project_id: str) -> None:
    """Freeze, file name, size, and the hash of the manifest; then as many bytes, in pieces of at most 256 KiB."""
    got = await bundle_of(house.olga, project_id)
    made = (await house.olga.call(export_pb2.GetFreezeRequest(project_id=project_id))).freeze
    assert got.bundle.freeze == made
    assert got.bundle.file_name == f"{project_id}-v3.tar"
    assert got.bundle.size == len(got.archive) == sum(got.sizes)
    assert got.bundle.manifest_sha256 == hashlib.sha256(got.files["MANIFEST.json"]).hexdigest()
    assert max(got.sizes) <= _PIECE_BYTES_MAX
    assert got.bundle.size % 512 == 0


async def test_a_large_bundle_comes_in_pieces(house: House, large: str) -> None:
    """No piece over 256 KiB, whatever the size of a field, and most of them whole; every byte in its place."""
    got = await bundle_of(house.olga, large)
    assert max(got.sizes) == _PIECE_BYTES_MAX
    assert len(got.sizes) < 2 * got.bundle.size / _PIECE_BYTES_MAX
    for number in range(5):
        assert got.files[f"content/data/{number}"] == hashlib.shake_128(bytes([number])).digest(3 * _MIB)
    assert "payload/agent.json" not in got.files  # over the limit of a payload


async def test_the_system_s_own_tools_take_it(house: House, project_id: str, tmp_path: Path) -> None:
    """``tar`` unpacks it and ``sha256sum -c`` finds every file as it should be; one that is altered is found out."""
    got = await bundle_of(house.olga, project_id)
    await asyncio.to_thread(_unpack_and_check, got, tmp_path)


def _unpack_and_check(got: Unpacked, directory: Path) -> None:
    run = functools.partial(subprocess.run, capture_output=True, check=False, timeout=PATIENCE_S)
    assert run(["tar", "-x", "-C", directory], input=got.archive).returncode == 0
    [root] = directory.iterdir()
    assert root.name == got.bundle.file_name.removesuffix(".tar")
    found = {file.relative_to(root).as_posix(): file.read_bytes() for file in root.rglob("*") if file.is_file()}
    assert found == got.files
    check = functools.partial(run, ["sha256sum", "--check", "--strict", "SHA256SUMS"], cwd=root)
    checked = check()
    assert (checked.returncode, len(checked.stdout.splitlines())) == (0, len(found) - 1), checked.stderr
    (root / "release.json").write_bytes(got.files["release.json"] + b" ")
    assert check().returncode != 0


# --- the same bytes ---


async def test_it_is_the_same_for_everybody_at_any_time(house: House, project_id: str) -> None:
    """Whoever asks, however often, by several at once; and whatever was added to the log since the freeze."""
    first = await bundle_of(house.olga, project_id)
    vera, robot = house.caller("vera"), house.caller("bob", kind="SERVICE")
    several = await asyncio.gather(*(bundle_of(who, project_id) for who in (vera, robot, house.olga, vera)))
    async with vera.session(project_id):
        pass
    olga = house.olga
    await olga.call(project_pb2.SetMemberRequest(project_id=project_id, subject="new", role=project_pb2.ROLE_VIEWER))
    await olga.call(project_pb2.RemoveMemberRequest(project_id=project_id, subject="new"))
    await olga.call(export_pb2.ExportForAssayRequest(project_id=project_id))
    await start_revision(olga, project_id)
    await olga.call(project_pb2.ArchiveProjectRequest(project_id=project_id, reason="Put away."))
    archived = await bundle_of(vera, project_id)
    await olga.call(project_pb2.UnarchiveProjectRequest(project_id=project_id))
    assert {got.archive for got in (*several, archived)} == {first.archive}
    assert {got.bundle.manifest_sha256 for got in (*several, archived)} == {first.bundle.manifest_sha256}


async def test_each_export_is_told_in_the_log(house: House, project_id: str) -> None:
    """Who got it, and by the hash of the manifest what; before the first byte is handed over."""
    handing = Handing(house.caller("vera"), project_id)
    first = await handing.next()
    assert first is not None
    entry = (await entries_of(house.olga, project_id, events=["bundle_exported"]))[-1]
    assert (entry.position, entry.actor.subject) == (first.bundle.position, "vera")
    assert entry.bundle_exported == audit_pb2.BundleExported(
        freeze_id=first.bundle.freeze.freeze_id,
        fingerprint=first.bundle.freeze.fingerprint,
        manifest_sha256=first.bundle.manifest_sha256,
    )
    await handing.cancel()


# --- who may have it, and when ---


async def test_what_is_not_frozen_is_not_handed_over(house: House) -> None:
    """However much there is to release: under review, archived, or just worked on."""
    project_id = await house.project()
    request = export_pb2.ExportForPublisherRequest(project_id=project_id)
    async with house.unchanged(project_id):
        await refused(house.olga.answers(request), "NOT_FROZEN", project_id=project_id, state="ACTIVE")
    await house.olga.save(project_id, system_prompt="one")
    house.put_in_review(project_id)
    async with house.unchanged(project_id):
        await refused(house.olga.answers(request), "NOT_FROZEN", state="IN_REVIEW")
    house.put_in_review(project_id, back=True)
    await freeze(house.olga, project_id, 1)
    assert len((await bundle_of(house.olga, project_id)).files) > 5


async def test_only_members_get_it(house: House, project_id: str) -> None:
    """Nobody learns of another's release, not even whether it is one; administrators have no content rights."""
    missing = "01994b7e-0000-7000-8000-000000000001"
    for subject, asked in (("stranger", project_id), ("root", project_id), ("olga", missing), ("olga", "")):
        request = export_pb2.ExportForPublisherRequest(project_id=asked)
        before = await entries_of(house.olga, project_id)
        await refused(house.caller(subject).answers(request), "PROJECT_ACCESS_DENIED", project_id=asked)
        assert await entries_of(house.olga, project_id) == before


async def test_agents_get_it_as_policy_says(house: House) -> None:
    """It needs no more than reading; agents that are kept out do not even do that."""
    for access, may in ((project_pb2.AGENT_ACCESS_SUGGEST_ONLY, True), (project_pb2.AGENT_ACCESS_DENY, False)):
        project_id = await house.project(project_pb2.Policy(agent_access=access), agent=project_pb2.ROLE_VIEWER)
        await house.olga.save(project_id, system_prompt="one")
        await house.freeze(project_id)
        agent = house.caller("agent", kind="AGENT")
        if may:
            await bundle_of(agent, project_id)
        else:
            request = export_pb2.ExportForPublisherRequest(project_id=project_id)
            await refused(agent.answers(request), "AGENT_ACCESS_DENIED")


async def test_a_member_removed_midway_gets_no_more(house: House, large: str) -> None:
    """What is on its way still comes, then the refusal instead of the rest: no whole archive."""
    olga, subject = house.olga, "leaver"
    await olga.call(project_pb2.SetMemberRequest(project_id=large, subject=subject, role=project_pb2.ROLE_VIEWER))
    handing = Handing(house.caller(subject), large)
    first = await handing.next()
    assert first is not None
    assert first.bundle.size > 15 * _MIB
    await olga.call(project_pb2.RemoveMemberRequest(project_id=large, subject=subject))
    await refused(handing.rest(), "PROJECT_ACCESS_DENIED", project_id=large)
    await bundle_of(house.caller("bob"), large)


# --- several at once ---


@contextlib.asynccontextmanager
async def _begun(house: House, project_id: str, count: int) -> AsyncIterator[list[Handing]]:
    """Streams that were begun, of which nothing more is read."""
    handings = [Handing(house.olga, project_id) for _ in range(count)]
    try:
        yield handings
    finally:
        for handing in handings:
            await handing.cancel()


async def test_who_goes_away_in_the_middle_lets_others_go_on(house: House, large: str) -> None:
    """More than are served at once break off, before the first byte and after it; then whoever asks is served."""
    async with _begun(house, large, 6) as handings:
        for handing in handings[:2]:
            await handing.next()
            await handing.next()
    assert (await bundle_of(house.caller("bob"), large)).bundle.size > 15 * _MIB


async def test_readers_that_stall_hold_nobody_up(house: House, large: str) -> None:
    """Who opens streams and takes nothing from them waits alone: whoever reads is served meanwhile."""
    async with _begun(house, large, 4) as handings:
        for handing in handings:
            await handing.next()
        assert (await bundle_of(house.caller("bob"), large)).bundle.size > 15 * _MIB


async def test_many_at_once_are_all_served(house: House, large: str) -> None:
    """Those who wait for their turn get the same as the first."""
    got = await asyncio.gather(*(bundle_of(who, large) for who in [house.olga, house.caller("bob")] * 3))
    assert len({hashlib.sha256(one.archive).digest() for one in got}) == 1
