"""Plant known defects and see that a named test notices each.

    python -m tests.faults.defects [--only WORD]... [--list] [--jobs N] [--json FILE]

Exit code 0: every named test was green without a defect, and red with its own. 1: one was not. 2: wrong arguments.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from tests.faults.defects.all_defects import DEFECTS
from tests.faults.defects.verdicts import Outcome, Trees, Verdict

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.faults.defects.defect import Defect

_ROOT: Final = Path(__file__).resolve().parents[3]
#: Bound on the tests of one defect, and of all tests without one, seconds.
_LIMIT_S: Final = 240.0
#: Into a file: wide enough for the names of tests.
_console = Console(highlight=False, width=None if sys.stdout.isatty() else 170)


def main(arguments: Sequence[str] | None = None) -> int:
    """Do what the command line says; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults.defects", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--only", action="append", default=[], metavar="WORD", help="defects with this in their name")
    parser.add_argument("--list", action="store_true", help="list the defects and why each matters")
    parser.add_argument("--jobs", type=int, default=2, metavar="N", help="how many at a time (2)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the verdicts there too")
    chosen = parser.parse_args(arguments)
    defects = [one for one in DEFECTS if not chosen.only or any(word in one.name for word in chosen.only)]
    if not defects:
        parser.error("no defect has a name with that in it")
    if chosen.list:
        _console.print(_listed(defects))
        return 0
    verdicts = asyncio.run(_plant(defects, jobs=max(1, chosen.jobs)))
    if chosen.json:
        chosen.json.write_text(json.dumps([_as_json(verdict) for verdict in verdicts], indent=2) + "\n")
    return 0 if verdicts and all(verdict.outcome is Outcome.RED for verdict in verdicts) else 1


async def _plant(defects: Sequence[Defect], *, jobs: int) -> list[Verdict]:
    """Show how it goes, then the table; gives no verdicts where the tests are not green to begin with."""
    since_s = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="foundry-defects-") as folder:
        trees = Trees(_ROOT, Path(folder), jobs, limit_s=_LIMIT_S)
        tests = len({test for defect in defects for test in defect.noticed_by})
        _console.print(f"without a defect: {tests} tests")
        if failing := await trees.not_green(defects):
            for name, why in failing.items():
                _console.print(f"[red]{escape(name)}[/red]: {escape(why)}")
            return []
        _console.print(f"  all green, {time.monotonic() - since_s:.0f} s")
        done = 0

        def tell(verdicts: list[Verdict]) -> None:
            nonlocal done
            done += 1
            for verdict in verdicts:
                said = f"\n{escape(verdict.says)}" if verdict.says else ""
                _console.print(
                    f"{done:3}/{len(defects)} {verdict.defect.name}: {_shown(verdict.outcome)}, "
                    f"{verdict.seconds:.1f} s, {_short(verdict.test)}{said}",
                    soft_wrap=True,
                )

        verdicts = await trees.plant(defects, tell)
    slipped = [verdict for verdict in verdicts if verdict.outcome is not Outcome.RED]
    _console.print(_table(verdicts))
    spent_s = time.monotonic() - since_s
    _console.print(f"{len(defects)} defects, {len(verdicts)} named tests, {len(slipped)} not red, {spent_s:.0f} s")
    return verdicts


def _listed(defects: Sequence[Defect]) -> Table:
    table = Table("defect", "why it matters", "planted in", "noticed by")
    for defect in defects:
        table.add_row(defect.name, defect.why, defect.places, "\n".join(map(_short, defect.noticed_by)))
    return table


def _table(verdicts: Sequence[Verdict]) -> Table:
    table = Table()
    for name in ("defect", "planted in", "named test", "outcome"):
        table.add_column(name, overflow="fold")
    table.add_column("seconds", justify="right")
    for verdict in verdicts:
        where, test = verdict.defect.places, verdict.test.rpartition("::")[2]
        table.add_row(verdict.defect.name, where, test, _shown(verdict.outcome), f"{verdict.seconds:.1f}")
    return table


def _shown(outcome: Outcome) -> str:
    return f"[{'green' if outcome is Outcome.RED else 'bold red'}]{outcome}[/]"


def _short(test: str) -> str:
    return test.removeprefix("tests/")


def _as_json(verdict: Verdict) -> dict[str, object]:
    return {
        "defect": verdict.defect.name,
        "why": verdict.defect.why,
        "planted_in": verdict.defect.places,
        "test": verdict.test,
        "outcome": verdict.outcome,
        "seconds": round(verdict.seconds, 1),
    }


if __name__ == "__main__":
    sys.exit(main())
