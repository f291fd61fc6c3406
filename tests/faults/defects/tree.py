"""A copy of the tree, in which a defect is planted, tests run, and the defect is taken out again."""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import json
import os
import shutil
import signal
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tests.faults.defects.defect import Defect

#: What tests need of the tree.
_COPIED: Final = ("src", "tests", "generated", "examples", "protos", "pyproject.toml")
_LEFT_OUT: Final = shutil.ignore_patterns("__pycache__", "node_modules")
#: How long a run may take to end when all of its tests have failed, seconds.
_FAREWELL_S: Final = 10.0
#: Some tests are red (1), or none (0). Everything else means that they did not run.
_RAN: Final = (0, 1)


class NotRunError(Exception):
    """The tests could not be run, or did not end in time; with what pytest said last."""


@dataclass(slots=True)
class Seen:
    """What became of the tests of a run, by file and name without parameters.

    Attributes:
        ran: Those that ran to their end with some parameters at least.
        red: Those that failed, with some parameters at least; a failing fixture does not count.
        broken: Those whose fixtures failed: the defect kept them from being run.
        skipped: Those that were skipped with some parameters at least.
    """

    ran: set[str] = field(default_factory=set)
    red: set[str] = field(default_factory=set)
    broken: set[str] = field(default_factory=set)
    skipped: set[str] = field(default_factory=set)


class Tree:
    """A private copy.

    Args:
        root: Where it is; one that does not exist yet.
        limit_s: Bound on one run of tests, seconds.
    """

    def __init__(self, root: Path, *, limit_s: float) -> None:
        self._root = root
        self._limit_s = limit_s
        self._runs = 0

    def copy(self, original: Path) -> None:
        """Copy what tests need of the original."""
        self._root.mkdir()
        for name in _COPIED:
            if (original / name).is_dir():
                shutil.copytree(original / name, self._root / name, ignore=_LEFT_OUT)
            else:
                shutil.copy2(original / name, self._root / name)

    @contextlib.contextmanager
    def planted(self, defect: Defect) -> Iterator[None]:
        """The defect is in the code meanwhile.

        Raises:
            NotPlantedError: See ``Edit.planted``.
        """
        planted = defect.planted(self._root)
        sound = {path: path.read_text("utf-8") for path in planted}
        try:
            for path, text in planted.items():
                _write(path, text)
            yield
        finally:
            for path, text in sound.items():
                _write(path, text)

    async def run(self, tests: Sequence[str], backend: str) -> Seen:
        """Run tests, by file and name.

        Raises:
            NotRunError: See there.
        """
        self._runs += 1
        witness = self._root / f"witness-{self._runs}.jsonl"
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "pytest", "-p", "tests.faults.defects.witness", "--witness", witness),
            *("-p", "no:cacheprovider", "-q", "--tb=line", "--no-header", "--backends", backend, *tests),
            cwd=self._root,
            env=self._environment(),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            start_new_session=True,
        )
        saying = asyncio.create_task(process.communicate())
        try:
            await self._end(saying, witness, set(tests))
        finally:
            if process.returncode is None:
                os.killpg(process.pid, signal.SIGKILL)
            said, _ = await saying
        seen = _read(witness)
        if process.returncode not in _RAN and not set(tests) <= seen.red:
            raise NotRunError(said.decode(errors="replace")[-2_000:] or f"no end within {self._limit_s:.0f} s")
        return seen

    async def _end(self, saying: asyncio.Task[tuple[bytes, bytes]], witness: Path, tests: set[str]) -> None:
        """Wait for the end of a run. What failing tests left behind may never end, so nobody waits for that."""
        loop = asyncio.get_running_loop()
        until_s = loop.time() + self._limit_s
        while not saying.done() and loop.time() < until_s:
            await asyncio.wait({saying}, timeout=1.0)
            if tests <= _read(witness).red:
                until_s = min(until_s, loop.time() + _FAREWELL_S)

    def _environment(self) -> dict[str, str]:
        paths = (self._root / "src", self._root / "generated/python", self._root)
        return {
            **os.environ,
            # In front of the editable install.
            "PYTHONPATH": os.pathsep.join(map(str, paths)),
            # A test that is skipped notices nothing.
            "FOUNDRY_TEST_REQUIRE_SERVERS": "1",
        }


def _write(path: Path, text: str) -> None:
    path.write_text(text, "utf-8")
    # Python trusts compiled code by the second and the size of its source.
    if path.suffix == ".py":
        Path(importlib.util.cache_from_source(path)).unlink(missing_ok=True)


def _read(witness: Path) -> Seen:
    seen = Seen()
    for line in witness.read_text().splitlines() if witness.exists() else ():
        report = json.loads(line)
        name = report["test"].partition("[")[0]
        if report["outcome"] == "skipped":
            seen.skipped.add(name)
        elif report["phase"] == "call":
            seen.ran.add(name)
            if report["outcome"] == "failed":
                seen.red.add(name)
        elif report["outcome"] == "failed":
            seen.broken.add(name)
    return seen
