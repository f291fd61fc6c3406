"""A bundle does not depend on who makes it: not on process, place, time zone, locale, hash seed or settings."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
import tarfile
from typing import TYPE_CHECKING

from coreason.foundry.v1 import project_pb2, run_pb2
from tests.stories.processes import PATIENCE_S, ServerProcess

if TYPE_CHECKING:
    from pathlib import Path

    from foundry.client import Foundry

#: A machine on the other side of the world, whose Python takes everything for ASCII, and whose owner is strict.
ELSEWHERE = {
    "TZ": "Pacific/Kiritimati",
    "LC_ALL": "C",
    "LANG": "C",
    "PYTHONUTF8": "0",
    "PYTHONCOERCECLOCALE": "0",
    "PYTHONHASHSEED": "12345",
    "FOUNDRY_LIMITS__ASSAY_BYTES_MAX": "1048576",
    "FOUNDRY_LIMITS__ANSWER_BYTES_MAX": "1048576",
}


async def test_the_bundle_is_the_same_on_any_machine(tmp_path: Path) -> None:
    """Exported, after a restart in another time zone, locale and setting, and from a copy of the data elsewhere.

    Whoever gets it checks it with the tools of their system alone.
    """
    first, second, third = (tmp_path / f"{name}.tar" for name in ("first", "second", "third"))
    async with ServerProcess(tmp_path / "data") as server:
        async with await server.connect("olga", "Olga Ö.") as olga:
            project_id = await _release(olga)
            manifest = (await olga.exports.save_bundle(project_id, first)).bundle.manifest_sha256
        assert await server.terminate() == 0
    async with server.again(**ELSEWHERE) as restarted:
        async with await restarted.connect("olga", "Somebody else") as olga:
            await olga.projects.set_member(project_id, "new", project_pb2.ROLE_VIEWER)
            again = (await olga.exports.save_bundle(project_id, second)).bundle.manifest_sha256
        assert await restarted.terminate() == 0
    copied = shutil.copytree(tmp_path / "data", tmp_path / "ein anderer Ort")
    async with ServerProcess(copied, env={"TZ": "America/St_Johns"}) as moved, await moved.connect("new") as other:
        await other.exports.save_bundle(project_id, third)
    archive = first.read_bytes()
    assert (second.read_bytes() == archive, third.read_bytes() == archive) == (True, True)
    assert again == manifest
    await asyncio.to_thread(_check, first, tmp_path / "unpacked")


async def _release(olga: Foundry) -> str:
    """A project with everything in it, in more than ASCII, frozen."""
    project_id = (await olga.projects.create("Onkologie \N{EM DASH} Übung")).project_id
    fields = {
        "system_prompt": "Sei vorsichtig.\nÜber 18 \N{SNOWMAN}.\n",
        "deep/" + "x/" * 60 + "end": "",
        "scratchpad": "-",
    }
    fields |= {f"long/{number}": "ü\n" * 200_000 for number in range(2)}
    await olga.drafts.save(project_id, fields, base_version=0, message="Größer als \N{SNOWMAN}")
    async with olga.runs.running(project_id, harness="Prüfstand", labels={"ß": "ẞ"}) as run:
        await run.write("1 von 1 \N{CHECK MARK}\n")
        run.result("größe", passed=True, value="0,9 €")
    await olga.comments.create(project_id, "Für wen?", field="system_prompt", version=1, start_line=2)
    frozen = await olga.exports.freeze(project_id, 1, reason="Fällig.")
    assert frozen.freeze.version_number == 1
    runs = [found async for found in olga.runs.list(project_id)]
    assert [(found.state, found.line_count) for found in runs] == [(run_pb2.RUN_STATE_PASSED, 1)]
    return project_id


def _check(archive: Path, directory: Path) -> None:
    directory.mkdir()
    subprocess.run(["tar", "-xf", archive, "-C", directory], check=True, timeout=PATIENCE_S)  # noqa: S607 - any tar
    [root] = directory.iterdir()
    with tarfile.open(archive) as tar:
        assert {member.name for member in tar} == {
            file.relative_to(directory).as_posix() for file in root.rglob("*") if file.is_file()
        }
    command = ["sha256sum", "--check", "--strict", "--quiet", "SHA256SUMS"]
    subprocess.run(command, cwd=root, check=True, timeout=PATIENCE_S)
