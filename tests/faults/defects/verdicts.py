"""Whether each defect was noticed: planting all of them, some at a time, in copies of the tree."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import defaultdict
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from tests.faults.defects.defect import NotPlantedError
from tests.faults.defects.tree import NotRunError, Tree

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
    from pathlib import Path

    from tests.faults.defects.defect import Defect
    from tests.faults.defects.tree import Seen


class Outcome(StrEnum):
    """What became of a named test while a defect was planted. Only the first is well."""

    RED = "red"
    NOT_NOTICED = "NOT NOTICED"
    BROKEN = "BROKEN"
    NOT_RUN = "NOT RUN"
    NOT_PLANTED = "NOT PLANTED"


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a test noticed a defect.

    Attributes:
        seconds: For how long the defect was planted, with all its tests.
        says: What went wrong, if the test was not red.
    """

    defect: Defect
    test: str
    outcome: Outcome
    seconds: float
    says: str = ""


class Trees:
    """Copies of the tree, as many as runs may go on at a time.

    Args:
        original: Root of the tree.
        folder: Where the copies are made.
        count: How many.
        limit_s: Bound on one run of tests, seconds.
    """

    def __init__(self, original: Path, folder: Path, count: int, *, limit_s: float) -> None:
        self._count = count
        self._free: asyncio.Queue[Tree] = asyncio.Queue()
        for number in range(count):
            tree = Tree(folder / f"tree-{number}", limit_s=limit_s)
            tree.copy(original)
            self._free.put_nowait(tree)

    @contextlib.asynccontextmanager
    async def one(self) -> AsyncIterator[Tree]:
        """A copy that is nobody else's meanwhile."""
        tree = await self._free.get()
        try:
            yield tree
        finally:
            self._free.put_nowait(tree)

    # --- without a defect ---

    async def not_green(self, defects: Sequence[Defect]) -> dict[str, str]:
        """Run all named tests without any defect; gives those that are not green, and why."""
        tests: defaultdict[str, dict[str, None]] = defaultdict(dict)
        for defect in defects:
            tests[defect.backend].update(dict.fromkeys(defect.noticed_by))
        parts = [
            (backend, part)
            for backend, names in tests.items()
            for at in range(self._count)
            if (part := list(names)[at :: self._count])
        ]
        found = await asyncio.gather(*(self._not_green(backend, part) for backend, part in parts))
        return {name: why for one in found for name, why in one.items()}

    async def _not_green(self, backend: str, names: list[str]) -> dict[str, str]:
        async with self.one() as tree:
            try:
                seen = await tree.run(names, backend)
            except NotRunError as error:
                return {f"the tests over {backend}": str(error)}
        return {name: why for name in names if (why := _why_not_green(seen, name))}

    # --- with each ---

    async def plant(self, defects: Sequence[Defect], tell: Callable[[list[Verdict]], None]) -> list[Verdict]:
        """Plant each defect and run its tests; ``tell`` is called with the verdicts of each as they are known."""

        async def one(defect: Defect) -> list[Verdict]:
            verdicts = await self._verdicts(defect)
            tell(verdicts)
            return verdicts

        running: list[Awaitable[list[Verdict]]] = [one(defect) for defect in defects]
        return [verdict for verdicts in await asyncio.gather(*running) for verdict in verdicts]

    async def _verdicts(self, defect: Defect) -> list[Verdict]:
        async with self.one() as tree:
            since_s = time.monotonic()

            def all_of(outcome: Outcome, says: str) -> list[Verdict]:
                spent_s = time.monotonic() - since_s
                return [Verdict(defect, test, outcome, spent_s, says) for test in defect.noticed_by]

            try:
                with tree.planted(defect):
                    seen = await tree.run(defect.noticed_by, defect.backend)
            except NotPlantedError as error:
                return all_of(Outcome.NOT_PLANTED, str(error))
            except NotRunError as error:
                return all_of(Outcome.NOT_RUN, str(error))
            spent_s = time.monotonic() - since_s
            return [Verdict(defect, test, _outcome(seen, test), spent_s) for test in defect.noticed_by]


def _why_not_green(seen: Seen, name: str) -> str:
    if name in seen.red | seen.broken:
        return "fails without any defect"
    if name in seen.ran:
        return ""
    return "is skipped" if name in seen.skipped else "did not run"


def _outcome(seen: Seen, test: str) -> Outcome:
    if test in seen.red:
        return Outcome.RED
    if test in seen.broken:
        return Outcome.BROKEN
    return Outcome.NOT_NOTICED if test in seen.ran else Outcome.NOT_RUN
