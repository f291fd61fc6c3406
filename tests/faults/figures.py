"""What faults cost: one line each, printed and kept in ``build/faults.json``."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

#: What a machine whose two cores have other work too may add to any bound, seconds.
SLACK_S: Final = 3.0

FIGURES: Final = Path(__file__).parents[2] / "build" / "faults.json"


def forget() -> None:
    """Begin a new list."""
    FIGURES.unlink(missing_ok=True)


def tell(fault: str, what: str, seconds: float | Sequence[float], bound_s: float | None = None) -> None:
    """Print and keep a figure, and hold it to its bound.

    Args:
        fault: What was done.
        what: What was measured.
        seconds: One time, or several; the longest counts.
        bound_s: What was promised, without the slack; None when nothing was.

    Raises:
        AssertionError: It took longer than the bound and the slack.
    """
    times = [seconds] if isinstance(seconds, float | int) else list(seconds)
    assert times, f"{fault}: nothing was measured of {what}"
    longest = max(times)
    often = f", {len(times)} times, median {median(times):.2f} s" if len(times) > 1 else ""
    promised = "no bound" if bound_s is None else f"bound {bound_s:g} s"
    count(fault, f"{what}: measured {longest:.2f} s, {promised}{often}", seconds=longest, bound_s=bound_s)
    if bound_s is not None:
        assert longest <= bound_s + SLACK_S, f"{fault}: {what} took {longest:.2f} s, promised were {bound_s:g} s"


def count(fault: str, text: str, **data: Any) -> None:
    """Print and keep a line that has no bound."""
    sys.stdout.write(f"fault {fault}; {text}\n")
    sys.stdout.flush()
    known: list[dict[str, Any]] = json.loads(FIGURES.read_text()) if FIGURES.exists() else []
    known.append({"fault": fault, "text": text, **data})
    FIGURES.parent.mkdir(exist_ok=True)
    beside = FIGURES.with_suffix(f".{os.getpid()}")
    beside.write_text(json.dumps(known, indent=1) + "\n")
    beside.replace(FIGURES)
