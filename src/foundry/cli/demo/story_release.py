"""The release: a version frozen for ever, a bundle that anybody can check, and a new project to go on in."""

from __future__ import annotations

import asyncio
import hashlib
import tarfile
from pathlib import Path
from typing import Final

from foundry.cli.demo.cast import ALICE, BOB
from foundry.cli.demo.play import Story, expect, step
from foundry.cli.demo.stage import Stage
from foundry.cli.demo.story_a import PROMPT
from foundry.cli.demo.story_c import BACK
from foundry.cli.words import size

_SUMS: Final = "SHA256SUMS"


@step("Alice publishes version 16: the project is frozen for ever, and everybody is told.")
async def _publish(stage: Stage) -> None:
    stage.transcript.does(ALICE, f"foundry publish PROJECT --version {BACK} --reason 'Release 1.0'")
    out = _folder(stage)
    out.mkdir(exist_ok=True)
    version = ("--version", str(BACK), "--reason", "Release 1.0", "-o", str(out))
    published = (await stage.run(ALICE, "publish", stage.project_id, *version)).result
    frozen = (await stage.actor(BOB).sees("project_frozen", version_number=BACK))["project_frozen"]
    expect(frozen["fingerprint"] == published["bundle"]["freeze"]["fingerprint"], "the fingerprints differ")
    stage.transcript.sees(ALICE, f"{Path(published['file']).name}, {size(published['bundle']['size'])}")
    stage.transcript.sees(BOB, f"FROZEN at version {BACK}, fingerprint {frozen['fingerprint'][:12]}")


@step("Nobody can save any more: PROJECT_FROZEN.")
async def _refused(stage: Stage) -> None:
    stage.transcript.does(BOB, "saves one more line")
    reply = await stage.actor(BOB).do("save", field=PROMPT, text="One more thing.")
    expect(reply.reason == "PROJECT_FROZEN", f"the answer is {reply.reason or 'a new version'}")
    stage.transcript.sees(BOB, f"PROJECT_FROZEN: {reply.message}")


@step("The bundle checks out file by file, and holds version 16 to the byte, with the console of the run.")
async def _check(stage: Stage) -> None:
    (bundle,) = _folder(stage).glob("*.tar")
    with tarfile.open(bundle) as archive:
        archive.extractall(_folder(stage), filter="data")
        top = archive.getnames()[0].partition("/")[0]
    folder = _folder(stage) / top
    stage.transcript.does(BOB, f"tar xf {bundle.name} && sha256sum -c {_SUMS}")
    ok = await _check_sums(folder)
    files = [path for path in folder.rglob("*") if path.is_file() and path.name != _SUMS]
    expect(ok == len(files), f"{ok} of {len(files)} files check out")
    good = await stage.read(PROMPT, BACK)
    texts = [path.read_bytes() for path in (folder / "content").rglob("*") if path.is_file()]
    expect(good["text"].encode() in texts, "the prompt of version 16 is not in it")
    consoles = [path for path in (folder / "runs").rglob("*") if path.is_file() and stage.run_id in str(path)]
    expect(consoles, "the run of story B is not in it")
    stage.transcript.sees(BOB, f"{ok} files: OK")


@step("Work goes on in a revision, whose version 1 is what was released.")
async def _revise(stage: Stage) -> None:
    stage.transcript.does(ALICE, "foundry revise PROJECT --reason 'Amendment 2'")
    name = f"{stage.example.name}, amendment 2"
    revision = (await stage.run(ALICE, "revise", stage.project_id, "--name", name, "--reason", "Amendment 2")).result
    expect(revision["head_version"] == 1, f"it has version {revision['head_version']}")
    expect(revision["revision_of_project_id"] == stage.project_id, "it goes on from something else")
    stage.revision_id = revision["project_id"]
    stage.transcript.sees(ALICE, f"{revision['name']}, version 1, from release {BACK}")


def _folder(stage: Stage) -> Path:
    return stage.data_dir / "release"


async def _check_sums(folder: Path) -> int:
    """Return how many files ``sha256sum -c`` finds to be what they were; where there is no such program, do it here."""
    try:
        process = await asyncio.create_subprocess_exec(
            "sha256sum", "-c", _SUMS, cwd=folder, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
        )
    except FileNotFoundError:
        sums = [line.split(maxsplit=1) for line in (folder / _SUMS).read_text("utf-8").splitlines()]
        return sum(hashlib.sha256((folder / name).read_bytes()).hexdigest() == digest for digest, name in sums)
    out, _ = await process.communicate()
    expect(process.returncode == 0, f"sha256sum says {out.decode(errors='replace').splitlines()[-1:]}")
    return sum(line.endswith(b": OK") for line in out.splitlines())


STORY_RELEASE = Story("The release", (_publish, _refused, _check, _revise))
